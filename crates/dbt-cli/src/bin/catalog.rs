//! The catalog: the client's `catalog` commands as a program of their own.

use std::process::ExitCode;

fn main() -> ExitCode {
    dbt_cli::catalog_with(dbt_cli::version::version())
}
