//! See `dbt_fuzz::web`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::web::run(data));
