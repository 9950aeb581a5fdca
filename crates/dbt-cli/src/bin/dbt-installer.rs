//! The installer: what users of an organisation run once.

use std::process::ExitCode;

fn main() -> ExitCode {
    dbt_cli::installer_with(dbt_cli::version::version())
}
