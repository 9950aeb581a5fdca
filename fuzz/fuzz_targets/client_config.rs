//! See `dbt_fuzz::client_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::client_config::run(data));
