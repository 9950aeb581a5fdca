//! The documents that are made from the code, for `cargo xtask generate` and the test that they
//! are current.

/// Returns `docs/environment.md`.
pub fn environment_md() -> String {
    crate::env::environment_md()
}

/// Returns `docs/doctor.md`.
pub fn doctor_md() -> String {
    crate::commands::doctor_md()
}

/// Returns `docs/exit-codes.md`.
pub fn exit_codes_md() -> String {
    dbt_ui::exit_code::exit_codes_md()
}
