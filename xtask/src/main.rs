//! Automation of this workspace: `cargo xtask TASK`.

mod completions;
mod map;
mod tidy;
mod tree;

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use tree::Tree;

/// What may be asked for.
const USAGE: &str = "\
usage: cargo xtask TASK
  tidy      checks what the compiler cannot
  map       writes the code map of ARCHITECTURE.md
  generate  writes the documents and scripts that are made from the code";

fn main() -> ExitCode {
    let mut tasks = std::env::args().skip(1);
    let task: fn(&Tree) -> Result<(), String> = match (tasks.next().as_deref(), tasks.next()) {
        (Some("tidy"), None) => tidy,
        (Some("map"), None) => map,
        (Some("generate"), None) => generate,
        (Some("help" | "--help" | "-h"), None) => {
            return say(&mut io::stdout(), USAGE, ExitCode::SUCCESS);
        }
        _ => return say(&mut io::stderr(), USAGE, ExitCode::from(2)),
    };
    let tree = Tree::read(workspace_root()).map_err(|error| format!("cannot read: {error}"));
    match tree.and_then(|tree| task(&tree)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => say(&mut io::stderr(), &problems, ExitCode::FAILURE),
    }
}

fn tidy(tree: &Tree) -> Result<(), String> {
    let problems = tidy::problems(tree);
    if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
}

fn map(tree: &Tree) -> Result<(), String> {
    let mapped = map::mapped(tree).ok_or(format!("{}: no place for the map", map::PAGE))?;
    write(tree, map::PAGE, &mapped.page)
}

fn generate(tree: &Tree) -> Result<(), String> {
    for (path, script) in completions::scripts() {
        write(tree, &path, &script)?;
    }
    write(tree, "docs/environment.md", &dbt_cli::docs::environment_md())?;
    write(tree, "docs/doctor.md", &dbt_cli::docs::doctor_md())?;
    write(tree, "docs/exit-codes.md", &dbt_cli::docs::exit_codes_md())
}

fn write(tree: &Tree, page: &str, text: &str) -> Result<(), String> {
    fs::write(tree.root.join(page), text).map_err(|error| format!("cannot write {page}: {error}"))
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
