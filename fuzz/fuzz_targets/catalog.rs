//! See `dbt_fuzz::catalog`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::catalog::run(data));
