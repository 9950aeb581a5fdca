//! `dbt completions`: what a shell offers while one types.
//!
//! A shell asks whenever it starts, so the scripts are made out of the grammar beforehand, by
//! `cargo xtask generate`, and only printed here. What they cannot know, the names of the tools on
//! this machine, they ask for with `--tools` while somebody types: nothing is sent, written or
//! executed for it.

use std::fmt::Write as _;

use dbt_client::state::ServerState;
use dbt_core::brand;
use dbt_ui::report::Report;

use crate::cli::{Completions, Shell};
use crate::process::Process;

/// The most names that are offered; nobody looks through more.
const MOST_NAMES: usize = 1000;

/// Prints the completions for a shell, or the names that the shell asks for.
pub(crate) fn completions(process: &Process, asked: &Completions) -> Result<(), Report> {
    match asked.shell {
        Some(shell) => process.printer.data(brand::in_our_names(script(shell))),
        None => tools(process),
    }
}

/// Prints the tools of the selected server that this machine knows, a name each line. No name has a
/// character that means something to a shell.
fn tools(process: &Process) -> Result<(), Report> {
    let settings = process.settings()?;
    let server = &settings.server;
    let names =
        ServerState::known_tools(&settings.places, &server.name, &server.repository, MOST_NAMES);
    let lines = names.iter().fold(String::new(), |mut lines, name| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(lines, "{name}");
        lines
    });
    process.printer.data(lines)
}

const fn script(shell: Shell) -> &'static str {
    match shell {
        Shell::Bash => include_str!("../../completions/bash"),
        Shell::Elvish => include_str!("../../completions/elvish"),
        Shell::Fish => include_str!("../../completions/fish"),
        Shell::PowerShell => include_str!("../../completions/powershell"),
        Shell::Zsh => include_str!("../../completions/zsh"),
    }
}
