//! See `dbt_fuzz::directory_filter`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::directory_filter::run(data));
