//! See `dbt_fuzz::checksum`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::checksum::run(data));
