//! The program: read what was typed and set, do it, report.

use std::error::Error;
use std::io::{self, Write as _};
use std::process::ExitCode;

use dbt_server::args::Arguments;
use dbt_server::{commands, env};

/// The system's own is meant to be small, and has one lock for all threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match commands::run(Arguments::typed(), &env::read(), &mut io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

/// Prints an error and its causes.
fn report(error: &dyn Error) {
    let mut text = format!("error: {error}\n");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.extend(["  caused by: ", &error.to_string(), "\n"]);
        cause = error.source();
    }
    // If nobody can be told, the exit code still tells.
    let _nobody_listens = io::stderr().write_all(text.as_bytes());
}
