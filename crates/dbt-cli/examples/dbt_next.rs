//! The client as the version that comes after every other: what tests of self-update publish.

use std::process::ExitCode;

fn main() -> ExitCode {
    dbt_cli::main_with("99.0.0")
}
