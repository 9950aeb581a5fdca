//! What the program does: serve, or one of the commands beside it. Each has a file here.

use std::error::Error;
use std::io::Write;

use crate::args::{Arguments, Command};
use crate::env::Environment;

mod check_config;
mod explain;
mod reindex;
mod serve;
mod trash;

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
        Command::Reindex => reindex::run(flags, environment, out),
        Command::Trash { action } => trash::run(flags, environment, action, out),
    }
}
