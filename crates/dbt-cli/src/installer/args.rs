//! What may be typed to the installer.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use dbt_core::brand;
use dbt_core::name::{ServerName, ToolName};

use crate::help;
use crate::usage::UsageError;

#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, disable_version_flag = true)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    install: Install,
    /// Say what is being done
    #[arg(long, global = true)]
    verbose: bool,
    /// Show the version of this program
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Remove what the installer has put on this machine, and nothing else
    Uninstall {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// An installation.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(super) struct Install {
    /// The root of the server, or a settings file: what the administrator says
    #[arg(long, value_name = "URL|FILE")]
    pub(super) from: Option<String>,
    /// Trust the server and its keys without being asked; compare the anchor first
    #[arg(short, long)]
    pub(super) yes: bool,
    /// What the configuration calls the server
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<ServerName>,
    /// Where the program goes, instead of `~/.local/bin`
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// What the program is called there
    #[arg(long = "as", value_name = "NAME")]
    pub(super) program_name: Option<ToolName>,
    /// Replace a server of the configuration, whose present anchor this is
    #[arg(long, value_name = "OLD_ANCHOR")]
    pub(super) replace_trust: Option<String>,
    /// Add the directory to the profile of the shell, without being asked
    #[arg(long, conflicts_with = "no_modify_profile")]
    pub(super) modify_profile: bool,
    /// Leave the profile of the shell alone, without being asked
    #[arg(long)]
    pub(super) no_modify_profile: bool,
    /// The name under which the identity provider knows you
    #[arg(long, value_name = "NAME", help_heading = "Signing in")]
    pub(super) user: Option<String>,
    /// Sign in with a key of the SSH agent
    #[arg(long, group = "way", help_heading = "Signing in")]
    pub(super) ssh: bool,
    /// Sign in with a code that is confirmed on any device
    #[arg(long, group = "way", help_heading = "Signing in")]
    pub(super) device: bool,
    /// Sign in with a browser
    #[arg(long, group = "way", help_heading = "Signing in")]
    pub(super) browser: bool,
    /// Do not sign in
    #[arg(long, group = "way", help_heading = "Signing in")]
    pub(super) no_sign_in: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Invocation {
    /// Show the help.
    Help(String),
    /// Show the version.
    Version,
    /// Install.
    Install(Box<Install>),
    /// Take an installation back.
    Uninstall {
        /// Without asking.
        yes: bool,
    },
}

/// Reads the command line, and whether more is to be said.
pub(super) fn parse(words: Vec<OsString>) -> Result<(Invocation, bool), UsageError> {
    let grammar = grammar();
    let path = help::path_of(&grammar, &words);
    let help = |path: &[String]| Invocation::Help(help::help_of(grammar.clone(), path));
    let line = std::iter::once(OsString::from(brand::INSTALLER)).chain(words);
    let parsed = grammar
        .clone()
        .try_get_matches_from(line)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(Cli { version: true, verbose, .. }) => Ok((Invocation::Version, verbose)),
        Ok(Cli { command: Some(Command::Uninstall { yes }), verbose, .. }) => {
            Ok((Invocation::Uninstall { yes }, verbose))
        }
        Ok(Cli { install, verbose, command: None, version: false }) => {
            Ok((Invocation::Install(Box::new(install)), verbose))
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelp => Ok((help(&path), false)),
        Err(error) => Err(UsageError::of_parser(&error, brand::INSTALLER, path)),
    }
}

/// Returns what may be typed.
pub(crate) fn grammar() -> clap::Command {
    let about = format!("Install {} from your organisation's server", brand::PROGRAM);
    help::laid_out(Cli::command()).name(brand::INSTALLER).bin_name(brand::INSTALLER).about(about)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn an_installation_is_what_is_done_when_nothing_else_is_said() {
        let parse = |words: &[&str]| parse(words.iter().map(OsString::from).collect());
        assert!(matches!(parse(&[]), Ok((Invocation::Install(_), false))));
        assert!(matches!(
            parse(&["uninstall", "-y"]),
            Ok((Invocation::Uninstall { yes: true }, _))
        ));
        assert!(parse(&["--ssh", "--device"]).is_err());
        assert!(parse(&["--modify-profile", "--no-modify-profile"]).is_err());
        assert!(parse(&["--yes", "uninstall"]).is_err());
    }
}
