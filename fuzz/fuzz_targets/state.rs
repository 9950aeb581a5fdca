//! See `dbt_fuzz::state`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::state::run(data));
