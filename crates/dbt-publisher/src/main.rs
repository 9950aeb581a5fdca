//! The `publisher` program: hands the world to [`dbt_publisher::run`] and ends as it says.

use std::process::ExitCode;

use dbt_publisher::env::Environment;

fn main() -> ExitCode {
    dbt_publisher::run(std::env::args_os().skip(1).collect(), &Environment::read()).into()
}
