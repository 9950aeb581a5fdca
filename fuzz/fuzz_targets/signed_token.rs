//! See `dbt_fuzz::signed_token`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::signed_token::run(data));
