//! `make bench`: each goal beside what it is measured against, in one table of ratios.

mod args;
mod bench;
mod goals;
mod limits;

use std::io::Write as _;
use std::process::ExitCode;

use args::{Args, Form, HELP};
use bench::Bench;
use dbt_bench::{Fault, page, report};

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)).and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            drop(writeln!(std::io::stderr(), "error: {fault}"));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Fault> {
    if args.help {
        return say(HELP);
    }
    let bench = Bench::prepare(args)?;
    match &args.form {
        Form::Check(file) => return say(&limits::check(&bench, file)?),
        Form::Renew(file) => return limits::renew(&bench, file),
        Form::Table | Form::Json | Form::Page(_) => {}
    }
    let mut rows = Vec::new();
    for (id, measure) in goals::ALL {
        if !args.wants(id) {
            continue;
        }
        note(&format!("{id} ..."));
        let more = measure(&bench).map_err(|fault| format!("{id}: {fault}"))?;
        note(&report::table(&more));
        rows.extend(more);
    }
    let felt = if args.wants(goals::felt::ID) { goals::felt::table(&bench)? } else { Vec::new() };
    match &args.form {
        Form::Table => {
            say(&format!("{}\n{}", bench.describe()?, report::table(&rows)))?;
            if !felt.is_empty() {
                say(&goals::felt::text(&felt))?;
            }
            Ok(())
        }
        Form::Json => say(&serde_json::to_string_pretty(&report::json(&rows))?),
        Form::Check(_) | Form::Renew(_) => Ok(()),
        Form::Page(file) => {
            let tables = [bench.describe()?, report::markdown(&rows), goals::felt::markdown(&felt)];
            let [machine, goals, felt] = tables;
            page::rewrite(file, "dbt-bench", &format!("{machine}.\n\n{goals}\n{felt}"))
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
