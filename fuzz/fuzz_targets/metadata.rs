//! See `dbt_fuzz::metadata`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::metadata::run(data));
