//! The documents that are made from the code are the ones in `docs/`.

use std::fs;
use std::path::Path;

#[track_caller]
fn is_current(name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, expected, "docs/{name} is not current: run `cargo xtask generate`");
}

#[test]
fn the_document_of_the_environment_is_current() {
    is_current("environment.md", &dbt_cli::docs::environment_md());
}

#[test]
fn the_document_of_the_exit_codes_is_current() {
    is_current("exit-codes.md", &dbt_cli::docs::exit_codes_md());
}

#[test]
fn the_page_of_findings_is_what_the_code_says() {
    is_current("doctor.md", &dbt_cli::docs::doctor_md());
}
