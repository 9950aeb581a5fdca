//! See `dbt_fuzz::users`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::users::run(data));
