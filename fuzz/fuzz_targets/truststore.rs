//! See `dbt_fuzz::truststore`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dbt_fuzz::truststore::run(data));
