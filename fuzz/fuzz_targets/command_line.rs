//! See `dbt_fuzz::command_line`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::command_line::run(data));
