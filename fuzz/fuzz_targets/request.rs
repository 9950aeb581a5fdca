//! See `dbt_fuzz::request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::request::run(data));
