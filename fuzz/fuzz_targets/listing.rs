//! See `dbt_fuzz::listing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::listing::run(data));
