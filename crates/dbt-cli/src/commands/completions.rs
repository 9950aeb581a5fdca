//! `dbt completions`: what a shell offers while one types.

use dbt_core::brand;
use dbt_ui::report::Report;

use crate::cli::Completions;
use crate::help;
use crate::process::Process;

/// Prints the completions for a shell.
pub(crate) fn completions(process: &Process, asked: &Completions) -> Result<(), Report> {
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut help::commands(), brand::PROGRAM, &mut script);
    process.printer.data(String::from_utf8_lossy(&script))
}
