//! Automation of this workspace: `cargo xtask TASK`.

mod completions;
#[cfg(feature = "manuals")]
mod manuals;
mod map;
mod sbom;
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
  generate  writes the documents and scripts that are made from the code
  manuals DIR      writes the manual pages and completions of a release (feature `manuals`)
  sbom PROGRAM PACKAGE TARGET [NAME=VERSION...]
                   prints what a program is made of, as CycloneDX; the names are what else is in it";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["tidy"] => tree().and_then(|tree| tidy(&tree)),
        ["map"] => tree().and_then(|tree| map(&tree)),
        ["generate"] => tree().and_then(|tree| generate(&tree)),
        #[cfg(feature = "manuals")]
        ["manuals", directory] => manuals::write(Path::new(directory)),
        ["sbom", program, package, target, besides @ ..] => {
            sbom::document(program, package, target, besides).and_then(|document| print(&document))
        }
        ["help" | "--help" | "-h"] => print(USAGE),
        _ => return say(USAGE, ExitCode::from(2)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problems) => say(&problems, ExitCode::FAILURE),
    }
}

fn tree() -> Result<Tree, String> {
    Tree::read(workspace_root()).map_err(|error| format!("cannot read: {error}"))
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

/// Prints what was asked for.
fn print(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|error| format!("cannot print: {error}"))
}

/// Says what is wrong; a closed pipe is nobody's error.
fn say(text: &str, code: ExitCode) -> ExitCode {
    drop(writeln!(io::stderr(), "{text}"));
    code
}
