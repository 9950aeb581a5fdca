//! See `dbt_fuzz::job`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::job::run(data));
