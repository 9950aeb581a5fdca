//! Automation of this workspace: `cargo xtask TASK`.

mod tidy;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// What may be asked for.
const USAGE: &str = "usage: cargo xtask tidy    checks what the compiler cannot";

fn main() -> ExitCode {
    let mut tasks = std::env::args().skip(1);
    match (tasks.next().as_deref(), tasks.next()) {
        (Some("tidy"), None) => tidy_task(),
        (Some("help" | "--help" | "-h"), None) => say(&mut io::stdout(), USAGE, ExitCode::SUCCESS),
        _ => say(&mut io::stderr(), USAGE, ExitCode::from(2)),
    }
}

fn tidy_task() -> ExitCode {
    match tidy::problems(workspace_root()) {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => say(&mut io::stderr(), &problems.join("\n"), ExitCode::FAILURE),
        Err(error) => {
            say(&mut io::stderr(), &format!("cannot read the tree: {error}"), ExitCode::FAILURE)
        }
    }
}

/// Returns the directory of the workspace's manifest.
fn workspace_root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Prints one text; a closed pipe is nobody's error.
fn say(out: &mut dyn Write, text: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(out, "{text}"));
    code
}
