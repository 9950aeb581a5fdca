//! What the program does: serve, or one of the commands beside it. Each has a file here.

use std::error::Error;
use std::io::Write;

use crate::args::{Admin, Arguments, Command, StateCommand};
use crate::env::Environment;

mod audit;
mod backup;
mod check_config;
mod explain;
mod host;
mod quickstart;
mod reindex;
mod reload;
mod serve;
mod token;
mod trash;
mod user;

/// What a command answers. Its error is for people: the message, then its causes.
pub type Outcome = Result<(), Box<dyn Error>>;

/// Does what was typed. What a command was asked for goes to `out`.
pub fn run(arguments: Arguments, environment: &Environment, out: &mut dyn Write) -> Outcome {
    let flags = &arguments.flags;
    match arguments.command.unwrap_or_default() {
        Command::Serve => serve::run(flags, environment),
        Command::CheckConfig { schema: true } => check_config::schema(out),
        Command::CheckConfig { schema: false } => check_config::run(flags, environment, out),
        Command::Explain(question) => explain::run(&question, flags, environment, out),
        Command::Reload => reload::run(flags, environment, out),
        Command::Reindex => reindex::run(flags, environment, out),
        Command::Trash { action } => trash::run(flags, environment, action, out),
        Command::Token { action } => token::run(flags, environment, action, out),
        Command::User { action } => user::run(flags, environment, action, out),
        Command::Admin { action: Admin::Bootstrap { json } } => {
            token::bootstrap(flags, environment, json, out)
        }
        Command::Audit { action } => audit::run(flags, environment, action, out),
        Command::Backup { directory } => backup::backup(flags, environment, &directory, out),
        Command::Restore { directory, keep_tokens } => {
            backup::restore(flags, environment, &directory, keep_tokens, out)
        }
        Command::Quickstart { directory } => {
            quickstart::run(directory.as_deref(), flags, environment, out)
        }
        Command::State { action: StateCommand::Init { accept_loss } } => {
            backup::begin_anew(flags, environment, accept_loss, out)
        }
    }
}
