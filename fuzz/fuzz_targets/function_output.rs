//! See `dbt_fuzz::function_output`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::function_output::run(data));
