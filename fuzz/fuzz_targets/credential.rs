//! See `dbt_fuzz::credential`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::credential::run(data));
