//! See `dbt_fuzz::announcement`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::announcement::run(data));
