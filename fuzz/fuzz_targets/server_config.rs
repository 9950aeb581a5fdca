//! See `dbt_fuzz::server_config`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::server_config::run(data));
