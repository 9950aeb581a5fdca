//! See `dbt_fuzz::directory`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::directory::run(data));
