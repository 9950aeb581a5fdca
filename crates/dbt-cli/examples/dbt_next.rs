//! The client as a later version, which tests and the demo of self-update publish.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A variable of its own: what the program itself is built with stays as it is.
    dbt_cli::main_with(option_env!("DBT_NEXT_VERSION").unwrap_or("99.0.0"))
}
