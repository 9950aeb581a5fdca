//! See `dbt_fuzz::netrc`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::netrc::run(data));
