//! See `dbt_fuzz::grammar`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::grammar::run(data));
