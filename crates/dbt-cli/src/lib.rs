//! The programs that every user runs: the client and the catalog.
//!
//! Parse, resolve, dispatch, report: the work is `dbt_client`'s, the words are `dbt_ui`'s. In
//! reading order: [`args`] routes what was typed, [`cli`] knows the built-in commands, [`env`],
//! [`host`] and [`places`] say what there is, [`settings`] decides, and the commands do it.

pub mod args;
pub mod cli;
mod commands;
pub mod docs;
pub mod env;
pub mod help;
pub mod host;
mod installer;
pub mod places;
pub mod process;
pub mod settings;
pub mod tool_environment;
pub mod usage;
pub mod version;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode as ProcessCode;

use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::name::ToolName;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use args::{Flags, Invocation, ToolCall, Words};
use commands::status;
use env::{Environment, Variable};
use process::Process;

/// Runs the client, as a program of this version.
///
/// The version is an argument so that a test can build the same program as a newer one.
pub fn main_with(version: &str) -> ProcessCode {
    main_as(version, client)
}

/// Runs the catalog program: the same commands, fewer of them.
pub fn catalog_with(version: &str) -> ProcessCode {
    main_as(version, catalog)
}

/// Returns what may be typed to the installer, for manual pages.
pub fn installer_grammar() -> clap::Command {
    installer::grammar()
}

/// Runs the installer.
pub fn installer_with(version: &str) -> ProcessCode {
    main_as(version, installer::run)
}

fn main_as(version: &str, program: impl FnOnce(&mut Process) -> Result<(), Report>) -> ProcessCode {
    let Ok(version) = version.parse::<Version>() else {
        // Who compiled it gave it a version that cannot be published.
        return ExitCode::INTERNAL.into();
    };
    let line = std::env::args_os().collect();
    let mut process = Process::new(version, Environment::read(), line);
    // What is left behind by a panic is looked at once more, to say how this ended.
    let outcome = catch_unwind(AssertUnwindSafe(|| program(&mut process)));
    let code = match outcome.unwrap_or_else(|_panic| Err(panicked())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) => {
            let hint = clock_hint(report.code());
            let report = report.hints(hint);
            process.printer.report(&report);
            report.code()
        }
    };
    status::ended(process.status_file().as_deref(), code);
    code.into()
}

/// Returns the hint for failures that an impossible clock explains, whatever else is said of them.
fn clock_hint(code: ExitCode) -> Option<String> {
    let depends_on_time =
        [ExitCode::UNREACHABLE, ExitCode::METADATA_TOO_OLD, ExitCode::VERIFICATION_REFUSED];
    let now = Clock::System.now();
    version::impossible(now).filter(|_impossible| depends_on_time.contains(&code))?;
    let shown = dbt_core::timestamp::format(now);
    Some(format!("the clock of this machine shows {shown}, which cannot be: set it"))
}

/// Says for people what a panic has said for those who look for the mistake. The code is ours: the
/// runtime's own, 101, could be the tool's.
fn panicked() -> Report {
    Report::internal("a mistake inside the program has ended it; the lines above say where")
        .hint("please report it, with those lines")
}

fn client(process: &mut Process) -> Result<(), Report> {
    let words = typed(process)?;
    let given_back = given_back(process, &words);
    let (flags, invocation) = words.decide(&given_back).map_err(usage::UsageError::report)?;
    process.take_flags(flags);
    match invocation {
        Invocation::Help(path) => commands::help(process, &path),
        Invocation::Version => say_version(process, brand::PROGRAM),
        Invocation::AuthCheck(asked) => commands::sign_in::auth_check(process, &asked),
        Invocation::SelfTest { expected } => commands::self_test(process, expected),
        Invocation::Tool(call) => {
            warn_of_flags_for_the_tool(process, &call);
            commands::run_tool(process, call)
        }
        Invocation::BuiltIn(command) => commands::dispatch(process, *command),
    }
}

fn catalog(process: &mut Process) -> Result<(), Report> {
    let words = process.line.get(1..).unwrap_or_default().to_vec();
    match cli::parse_catalog(words).map_err(usage::UsageError::report)? {
        cli::CatalogInvocation::Help(text) => process.printer.data(text),
        cli::CatalogInvocation::Version => say_version(process, cli::CATALOG),
        cli::CatalogInvocation::Command(command, everywhere) => {
            let cli::Everywhere { server, offline, verbose } = everywhere;
            process.take_flags(Flags { offline, verbose, server, ..Flags::default() });
            commands::dispatch(process, cli::BuiltIn::Catalog(command))
        }
    }
}

/// Reads the command line, or the tool's name where we were started by it.
fn typed(process: &Process) -> Result<Words, Report> {
    let mut words = process.line.iter().cloned();
    let started_as = words.next().unwrap_or_else(|| OsString::from(brand::PROGRAM));
    let rest: Vec<OsString> = words.collect();
    match args::tool_of_link(&started_as, process.host.executable.as_deref()) {
        Some(tool) => Ok(args::linked(tool, rest)),
        None => args::read(rest).map_err(usage::UsageError::report),
    }
}

/// Returns the built-in words that mean tools here. The file is read only where it matters, and
/// one that cannot be read gives nothing back: `doctor` must work most of all then.
fn given_back(process: &Process, words: &Words) -> BTreeSet<ToolName> {
    if words.built_in_word().is_none() {
        return BTreeSet::new();
    }
    let file = process.file().ok().flatten();
    file.map(|file| file.config.tools.clone()).unwrap_or_default()
}

/// Says, where that is wanted, that a flag of ours stands where it is the tool's. The older
/// program would have taken it; people who move from it ask to be told.
fn warn_of_flags_for_the_tool(process: &Process, call: &ToolCall) {
    let wanted = process.env.flag(Variable::CompatWarn).unwrap_or(false);
    let Some(flag) = args::flag_for_the_tool(&call.arguments).filter(|_flag| wanted) else {
        return;
    };
    let (program, tool) = (brand::PROGRAM, &call.name);
    process.printer.warning(format!(
        "`{flag}` stands after `{tool}` and goes to it; to give it to {program}, write it before the name"
    ));
}

fn say_version(process: &Process, program: &str) -> Result<(), Report> {
    process.printer.data(format!("{program} version {}\n", process.program.version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_with_the_code_of_an_internal_error() {
        let code = main_as("4.0.0", |_process| panic!("on purpose"));
        assert_eq!(format!("{code:?}"), format!("{:?}", ProcessCode::from(ExitCode::INTERNAL)));
    }
}
