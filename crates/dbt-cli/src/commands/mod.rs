//! The built-in commands, a file each, and running a tool.

mod cache;
mod catalog;
mod completions;
mod doctor;
pub(crate) mod failure;
mod fetch;
mod link;
pub(crate) mod login;
mod offer;
pub(crate) mod provider;
mod rollback;
mod run;
mod screen;
mod self_program;
mod self_test;
pub(crate) mod server;
pub(crate) mod sign_in;
pub(crate) mod status;
mod trust;
mod which;
mod words;
pub(crate) mod world;

use dbt_ui::report::Report;

use crate::cli::BuiltIn;
use crate::help;
use crate::process::Process;
use crate::usage::UsageError;

pub(crate) use doctor::doctor_md;
pub(crate) use run::run as run_tool;
pub(crate) use self_test::self_test;
use world::World;

/// Does what a built-in command asks for.
pub(crate) fn dispatch(process: &Process, command: BuiltIn) -> Result<(), Report> {
    match command {
        BuiltIn::Fetch(asked) => offer::at_need(process, || fetch::fetch(process, &asked)),
        BuiltIn::Update(asked) => offer::at_need(process, || fetch::update(process, &asked)),
        BuiltIn::Rollback(asked) => rollback::rollback(process, asked),
        BuiltIn::Which(asked) => which::which(&World::open(process)?, asked),
        BuiltIn::Link(asked) => link::link(&World::open(process)?, &asked),
        BuiltIn::Unlink(asked) => link::unlink(&World::open(process)?, &asked),
        BuiltIn::Catalog(asked) => offer::at_need(process, || catalog::catalog(process, &asked)),
        BuiltIn::Cache(asked) => cache::cache(process, asked),
        BuiltIn::Server(asked) => server::server(process, asked),
        BuiltIn::Login(asked) => login::login(process, &asked),
        BuiltIn::Logout => login::logout(process),
        BuiltIn::Whoami(asked) => sign_in::whoami(process, &asked),
        BuiltIn::Trust(asked) => trust::trust(process, asked),
        BuiltIn::SelfCommand(asked) => self_program::self_program(&World::open(process)?, &asked),
        BuiltIn::Doctor(asked) => doctor::doctor(process, &asked),
        BuiltIn::Completions(asked) => completions::completions(process, &asked),
    }
}

/// Shows the help of a command, or the program's own when the path is empty.
pub(crate) fn help(process: &Process, path: &[String]) -> Result<(), Report> {
    process.printer.data(help::help(path).map_err(UsageError::report)?)
}
