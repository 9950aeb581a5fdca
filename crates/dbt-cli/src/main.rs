//! The client.

use std::process::ExitCode;

fn main() -> ExitCode {
    dbt_cli::main_with(dbt_cli::version::version())
}
