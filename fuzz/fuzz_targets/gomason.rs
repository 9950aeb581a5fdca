//! See `dbt_fuzz::gomason`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::gomason::run(data));
