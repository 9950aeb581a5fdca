//! Signs and publishes tools, and decides whose signatures count: the only program that touches
//! secret keys.
//!
//! Read [`run`] first, then `publish`, `signer` and `truststore`. What is published here, the
//! clients of the reference accept too.

mod announcement;
mod args;
mod binary;
mod config;
mod delete;
pub mod env;
mod exchange;
mod index;
mod init;
mod installer;
mod key;
mod known;
mod place;
pub mod publish;
mod release;
mod resign;
mod signer;
mod stage;
mod staged;
pub mod stop;
mod trust;
mod truststore;
mod verify;
mod withdraw;

use std::ffi::OsString;

use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::{Colour, Printer, Verbosity};

use crate::args::{Command, Invocation};
use crate::env::{Environment, Variable};
use crate::stop::Stop;

/// Returns what may be typed, for manual pages.
pub fn grammar() -> clap::Command {
    args::grammar()
}

/// Does what the words behind the program's name say.
pub fn run(words: Vec<OsString>, environment: &Environment) -> ExitCode {
    let dumb = environment.text(Variable::Term).ok().flatten().is_some_and(|term| term == "dumb");
    let colour = Colour::for_talk(dumb || environment.is_set(Variable::NoColor));
    let invocation = args::read(words);
    let verbose = matches!(invocation, Ok(Invocation::Do { verbose: true, .. }));
    let verbosity = if verbose { Verbosity::Verbose } else { Verbosity::Normal };
    let printer = Printer::standard(verbosity, colour);

    let outcome = match invocation {
        Ok(Invocation::Show(text)) => printer.data(text).map_err(Stop::from),
        Ok(Invocation::Do { command, .. }) => dispatch(command, environment, &printer),
        Err(stop) => Err(stop),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop(report)) => {
            printer.report(&report);
            report.code()
        }
    }
}

fn dispatch(command: Command, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    match command {
        Command::Publish(typed) => publish::run(typed, environment, printer),
        Command::Installer(typed) => installer::run(typed, printer),
        Command::Init(typed) => init::run(typed, environment, printer),
        Command::Key(command) => key::commands::run(command, environment, printer),
        Command::Trust(command) => trust::run(command, environment, printer),
        Command::Truststore(command) => truststore::run(command, environment, printer),
        Command::Stage(typed) => stage::run(typed, environment, printer),
        Command::Sign(typed) => resign::run(typed, environment, printer),
        Command::Release(typed) => release::run(typed, environment, printer),
        Command::Withdraw(typed) => withdraw::run(typed, environment, printer),
        Command::Delete(typed) => delete::run(typed, environment, printer),
        Command::Verify(typed) => verify::run(typed, environment, printer),
    }
}
