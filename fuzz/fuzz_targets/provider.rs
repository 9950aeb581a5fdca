//! See `dbt_fuzz::provider`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::provider::run(data));
