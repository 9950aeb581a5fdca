//! See `dbt_fuzz::token_cache`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::token_cache::run(data));
