//! See `dbt_fuzz::callback`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::callback::run(data));
