//! `make bench-server`: what the server costs beside nginx and dufs, in one table of ratios.

mod goals;
mod load;
mod servers;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use dbt_bench::{Fault, page, report};

const HELP: &str = "\
bench-server: what the server costs beside nginx and dufs, as ratios of processor time

  --reposerver PATH  the program (default: the static one, else the one built beside this one)
  --only S1,S3       these goals only
  --quick            few repetitions: to see whether it works, not what it says
  --json             everything, for a program
  --write FILE       rewrites the marked part of a page";

/// What was typed.
struct Args {
    program: Option<PathBuf>,
    only: Vec<String>,
    is_quick: bool,
    form: Form,
}

/// How the result is given.
enum Form {
    Help,
    Table,
    Json,
    Page(PathBuf),
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            drop(writeln!(std::io::stderr(), "error: {fault}"));
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, Fault> {
    let mut args = Args { program: None, only: Vec::new(), is_quick: false, form: Form::Table };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        match word.as_str() {
            "-h" | "--help" => args.form = Form::Help,
            "--quick" => args.is_quick = true,
            "--json" => args.form = Form::Json,
            "--reposerver" => args.program = Some(value()?.into()),
            "--write" => args.form = Form::Page(value()?.into()),
            "--only" => {
                args.only = value()?.to_uppercase().split(',').map(String::from).collect();
            }
            _ => return Err(format!("`{word}` is unknown\n{HELP}").into()),
        }
    }
    Ok(args)
}

fn run(args: &Args) -> Result<(), Fault> {
    if let Form::Help = args.form {
        return say(HELP);
    }
    let bench = goals::Bench::prepare(args.program.as_deref(), args.is_quick)?;
    let mut rows = Vec::new();
    for (id, measure) in goals::ALL {
        if !args.only.is_empty() && !args.only.iter().any(|only| only == id) {
            continue;
        }
        note(&format!("{id} ..."));
        let more = measure(&bench).map_err(|fault| format!("{id}: {fault}"))?;
        note(&report::table(&more));
        rows.extend(more);
    }
    let machine = bench.describe()?;
    match &args.form {
        Form::Help => Ok(()),
        Form::Table => say(&format!("{machine}\n{}", report::table(&rows))),
        Form::Json => say(&serde_json::to_string_pretty(&report::json(&rows))?),
        Form::Page(file) => {
            let tables = format!("{machine}.\n\n{}", report::markdown(&rows));
            page::rewrite(file, "bench-server", &tables)
        }
    }
}

fn say(text: &str) -> Result<(), Fault> {
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

/// Tells who waits how far it has come.
fn note(text: &str) {
    drop(writeln!(std::io::stderr(), "{}", text.trim_end()));
}
