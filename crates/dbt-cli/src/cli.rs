//! The built-in commands: what may be typed after their names, and their help.
//!
//! Nothing here ever sees the words of a tool ([`crate::args`] keeps them away). The flags before
//! a tool's name are declared once more, for the help and the completions; a test keeps both
//! lists the same.

use std::ffi::OsString;
use std::str::FromStr;

use clap::builder::PossibleValue;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use dbt_client::config::duration::Interval;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::name::{ServerName, ToolName};
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::version::{Version, Wanted};

use crate::help::{self, commands, help_of, path_of};
use crate::usage::UsageError;

/// The flags that every command takes, before or after its name.
#[derive(Debug, Clone, Default, Args)]
pub struct Everywhere {
    /// Use this server of the configuration
    #[arg(short, long, global = true, value_name = "NAME")]
    pub server: Option<String>,
    /// Use what is cached and make no request
    #[arg(short, long, global = true)]
    pub offline: bool,
    /// Say what is being done
    #[arg(short = 'V', long, global = true)]
    pub verbose: bool,
}

#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, disable_version_flag = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) everywhere: Everywhere,
    #[command(flatten)]
    _before_a_tool: BeforeATool,
    #[command(subcommand)]
    command: BuiltIn,
}

/// Read by [`crate::args`]; here for the help and the completions.
#[derive(Debug, Args)]
struct BeforeATool {
    /// Run exactly this version, or the newest under it (`1`, `1.4`)
    #[arg(short = 'v', long = "toolversion", value_name = "VERSION")]
    _version: Option<String>,
    /// Copy the tool into sealed memory and run that copy
    #[arg(long = "sealed")]
    _sealed: bool,
    /// Say how this client signs in to the server
    #[arg(long = "auth-check")]
    _auth_check: bool,
    /// Show the version of this program
    #[arg(long = "version")]
    _version_of_ours: bool,
}

/// The built-in commands, `run` and `help` aside, which need no parser.
#[derive(Debug, Subcommand)]
pub enum BuiltIn {
    /// Download and verify tools without running them
    Fetch(Fetch),
    /// Look for newer versions now
    Update(Update),
    /// Hold a tool on the version before, until a newer one appears
    Rollback(Rollback),
    /// Show which version runs, from where, and why not a newer one
    Which(Which),
    /// Make a tool startable by its own name
    Link(Link),
    /// Remove such a link
    Unlink(Link),
    /// List, search and show tools
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Catalog(Catalog),
    /// Look after the tools kept on this machine
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Cache(Cache),
    /// Add, list, choose and remove servers of the configuration
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Server(Server),
    /// Sign in to a server
    Login(Login),
    /// Forget the sign-in to a server
    Logout,
    /// Show as whom this client signs in, and where
    Whoami(Whoami),
    /// Show and decide whose signatures count on this machine
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Trust(Trust),
    /// Update this program itself
    #[command(name = "self", subcommand, arg_required_else_help = true, subcommand_required = true)]
    SelfCommand(SelfCommand),
    /// Check everything that can be wrong on this machine and with a server
    Doctor(Doctor),
    /// Print the completions for a shell
    Completions(Completions),
}

/// `fetch TOOL...`
#[derive(Debug, Args)]
pub struct Fetch {
    /// The tools, each perhaps with `@VERSION`
    #[arg(required = true, value_name = "TOOL[@VERSION]")]
    pub tools: Vec<ToolRequest>,
}

/// `update [TOOL...]`
#[derive(Debug, Args)]
pub struct Update {
    /// The tools; all that this machine has when none is named
    #[arg(value_name = "TOOL")]
    pub tools: Vec<ToolName>,
}

/// `rollback TOOL [VERSION]`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The tool
    pub tool: ToolName,
    /// The version to go back to; the one before when none is named
    #[arg(conflicts_with = "undo")]
    pub version: Option<Version>,
    /// End the hold
    #[arg(long)]
    pub undo: bool,
}

/// `which TOOL`
#[derive(Debug, Args)]
pub struct Which {
    /// The tool, perhaps with `@VERSION`
    #[arg(value_name = "TOOL[@VERSION]")]
    pub tool: ToolRequest,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `link TOOL...` and `unlink TOOL...`
#[derive(Debug, Args)]
pub struct Link {
    /// The tools
    #[arg(required = true, value_name = "TOOL")]
    pub tools: Vec<ToolName>,
}

/// `catalog ...`
#[derive(Debug, Subcommand)]
pub enum Catalog {
    /// List the tools, their newest versions and descriptions
    List {
        /// List every version
        #[arg(short = 'v', long)]
        versions: bool,
        /// List the newest version of each platform, and not of this one alone
        #[arg(long)]
        all_platforms: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List the tools whose name or description contains a text
    Search {
        /// The text, in any case
        text: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one tool: versions, platforms, sizes, and when and by whom they were signed
    Show {
        /// The tool
        tool: ToolName,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Empty the local cache (`cache clear`); with a tool, delete its versions from the server, as
    /// `publisher delete` does
    Purge(Purge),
}

/// `catalog purge [TOOL] ...`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub struct Purge {
    /// A tool of the repository: its versions are deleted there, for everybody
    // Shells offer names of tools for what is called `tool`, and nothing should be deleted by a Tab.
    #[arg(value_name = "TOOL")]
    pub published: Option<ToolName>,
    /// Delete every version
    #[arg(long, requires = "published", conflicts_with_all = ["older_than", "keep", "keep_latest"])]
    pub all: bool,
    /// Delete versions that were signed longer ago than this (`30d`, `2w`, `12h`); the newest stays
    #[arg(long, requires = "published", value_name = "AGE")]
    pub older_than: Option<Interval>,
    /// Keep this many of the newest releases, and what is newer than those
    #[arg(long, requires = "published", value_name = "COUNT")]
    pub keep: Option<u32>,
    /// Keep the newest release, and what is newer than that
    #[arg(long, requires = "published", conflicts_with = "keep")]
    pub keep_latest: bool,
    /// Say what would be deleted, and delete nothing
    #[arg(long, requires = "published")]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `cache ...`
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// List what is kept
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove versions that were not run for 30 days, beyond the newest three
    Prune {
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Remove everything that is not running, pinned or held
    Clear {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// `server ...`
#[derive(Debug, Subcommand)]
pub enum Server {
    /// Add a server to the configuration, after showing its signing keys
    Add {
        /// `[NAME] URL`: what to call it (its host, when left out), and where it is
        #[arg(required = true, num_args = 1..=2, value_names = ["NAME", "URL"])]
        name_and_url: Vec<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// List the servers; the one in use is marked
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a server the default
    Use {
        /// Its name
        name: ServerName,
    },
    /// Remove a server from the configuration
    Remove {
        /// Its name
        name: ServerName,
    },
}

/// `login`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
#[group(id = "way", multiple = false)]
pub struct Login {
    /// With a key of the SSH agent
    #[arg(long, group = "way")]
    pub ssh: bool,
    /// With a code that is typed on another device
    #[arg(long, group = "way")]
    pub device: bool,
    /// With the browser
    #[arg(long, group = "way")]
    pub browser: bool,
    /// With a token that is pasted
    #[arg(long, group = "way")]
    pub token: bool,
}

/// `whoami`
#[derive(Debug, Args)]
pub struct Whoami {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `trust ...`
#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Show what each server could do to this machine, and by whose signatures
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain why a tool is trusted or refused
    Explain {
        /// The tool, perhaps with `@VERSION`
        #[arg(value_name = "TOOL[@VERSION]")]
        tool: ToolRequest,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let a new signing key count, by its full fingerprint
    Approve {
        /// The fingerprint, from the administrator
        fingerprint: Fingerprint,
    },
    /// Forget what this machine remembers of a server's keys, and begin with this one
    Reset {
        /// The full fingerprint, or `sha256:` and the hash of the root, from the administrator
        #[arg(value_name = "FINGERPRINT|ROOT")]
        anchor: Anchor,
    },
}

/// `self ...`
#[derive(Debug, Subcommand)]
pub enum SelfCommand {
    /// Update this program now, or say why not
    Update,
    /// Go back to the version before
    Rollback,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Print one block to paste, without secrets
    #[arg(long)]
    pub report: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(required_unless_present = "tools", conflicts_with = "tools")]
    pub shell: Option<Shell>,
    /// Print the names of the tools that this machine knows; the scripts ask for them
    #[arg(long)]
    pub tools: bool,
}

/// A shell that can be told what may be typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shell {
    /// GNU's.
    Bash,
    /// Elvish.
    Elvish,
    /// Fish.
    Fish,
    /// `PowerShell`.
    PowerShell,
    /// Z shell.
    Zsh,
}

impl Shell {
    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::PowerShell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

impl ValueEnum for Shell {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Bash, Self::Elvish, Self::Fish, Self::PowerShell, Self::Zsh]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// A tool as typed: `deploy` or `deploy@1.4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolRequest {
    /// Its name.
    pub name: ToolName,
    /// Which version, when one is named.
    pub wanted: Option<Wanted>,
}

impl FromStr for ToolRequest {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => (name, Some(version)),
            None => (text, None),
        };
        Ok(Self { name: name.parse()?, wanted: version.map(str::parse).transpose()? })
    }
}

/// What trust begins with: a signing key, or the root of signed metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Anchor {
    /// A key's full fingerprint.
    Key(Fingerprint),
    /// The hash of the root.
    Root(Digest),
}

impl FromStr for Anchor {
    type Err = Box<dyn std::error::Error + Send + Sync>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("sha256:") {
            Some(digest) => Ok(Self::Root(digest.parse()?)),
            None => Ok(Self::Key(text.parse()?)),
        }
    }
}

impl BuiltIn {
    /// Takes in the version that was named by `-v` before the command.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a new command runs no tool either")]
    pub(crate) fn with_version(mut self, version: &Wanted) -> Result<Self, UsageError> {
        let tools = match &mut self {
            Self::Fetch(Fetch { tools }) => tools.as_mut_slice(),
            Self::Which(Which { tool, .. }) => std::slice::from_mut(tool),
            _ => {
                let told = "`-v` names the version of a tool, and this command runs none";
                return Err(UsageError::new(told));
            }
        };
        for tool in tools {
            if tool.wanted.replace(version.clone()).is_some() {
                return Err(UsageError::version_twice(&tool.name));
            }
        }
        Ok(self)
    }
}

/// A built-in command with the flags that stood after its name.
#[derive(Debug)]
pub struct ParsedCommand {
    /// The command.
    pub command: BuiltIn,
    /// The flags every command takes.
    pub everywhere: Everywhere,
}

/// What a command's words mean.
#[derive(Debug)]
pub enum Parsed {
    /// Show the help of this command.
    Help(Vec<String>),
    /// Do it.
    Command(ParsedCommand),
}

/// Reads the words of a built-in command, its own name first.
pub fn parse_built_in(word: OsString, rest: Vec<OsString>) -> Result<Parsed, UsageError> {
    let words: Vec<OsString> = std::iter::once(word).chain(rest).collect();
    let line = std::iter::once(OsString::from(brand::PROGRAM)).chain(words.clone());
    let parsed =
        commands().try_get_matches_from(line).and_then(|matches| Cli::from_arg_matches(&matches));
    let path = || path_of(&commands(), &words);
    match parsed {
        Ok(Cli { everywhere, command, _before_a_tool }) => {
            Ok(Parsed::Command(ParsedCommand { command, everywhere }))
        }
        Err(error) if asks_for_help(&error) => Ok(Parsed::Help(path())),
        Err(error) => Err(UsageError::of_parser(&error, brand::PROGRAM, path())),
    }
}

#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, disable_version_flag = true)]
struct CatalogCli {
    #[command(flatten)]
    everywhere: Everywhere,
    /// Show the version of this program
    #[arg(long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Catalog>,
}

/// The name of the catalog program.
pub const CATALOG: &str = "catalog";

/// What the words of the catalog program mean.
#[derive(Debug)]
pub enum CatalogInvocation {
    /// Show the help.
    Help(String),
    /// Show the version.
    Version,
    /// Do it.
    Command(Catalog, Everywhere),
}

/// Returns what may be typed to the catalog program.
pub fn catalog_grammar() -> clap::Command {
    help::laid_out(CatalogCli::command())
        .name(CATALOG)
        .bin_name(CATALOG)
        .about("List, search and show tools")
}

/// Reads the words of the catalog program.
pub fn parse_catalog(words: Vec<OsString>) -> Result<CatalogInvocation, UsageError> {
    let grammar = catalog_grammar();
    let path = path_of(&grammar, &words);
    let help = |path: &[String]| CatalogInvocation::Help(help_of(grammar.clone(), path));
    let line = std::iter::once(OsString::from(CATALOG)).chain(words);
    let parsed = grammar
        .clone()
        .try_get_matches_from(line)
        .and_then(|matches| CatalogCli::from_arg_matches(&matches));
    match parsed {
        Ok(CatalogCli { version: true, .. }) => Ok(CatalogInvocation::Version),
        Ok(CatalogCli { command: None, .. }) => Ok(help(&[])),
        Ok(CatalogCli { command: Some(command), everywhere, .. }) => {
            Ok(CatalogInvocation::Command(command, everywhere))
        }
        Err(error) if asks_for_help(&error) => Ok(help(&path)),
        Err(error) => Err(UsageError::of_parser(&error, CATALOG, path)),
    }
}

fn asks_for_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::help::grammar;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
        CatalogCli::command().debug_assert();
    }

    #[test]
    fn the_flags_in_the_help_are_those_that_are_read() {
        for argument in grammar().get_arguments() {
            let spellings = argument.get_short().map(|short| format!("-{short}")).into_iter();
            let spellings = spellings.chain(argument.get_long().map(|long| format!("--{long}")));
            for flag in spellings.filter(|flag| flag != "-h" && flag != "--help") {
                let takes_value = argument.get_action().takes_values();
                let mut words = vec![OsString::from(&flag)];
                words.extend(takes_value.then(|| "1".into()));
                // A check of the sign-in runs no tool, and says so.
                words.extend((flag != "--auth-check").then(|| "deploy".into()));
                assert!(crate::args::read(words).is_ok(), "{flag}");
            }
        }
    }

    #[test]
    fn every_command_that_lists_prints_json_when_asked() {
        let grammar = grammar();
        for path in [
            "which",
            "catalog list",
            "catalog search",
            "catalog show",
            "cache list",
            "server list",
            "whoami",
            "trust show",
            "trust explain",
            "doctor",
        ] {
            let mut here = &grammar;
            for word in path.split(' ') {
                here = here.find_subcommand(word).unwrap();
            }
            assert!(here.get_arguments().any(|flag| flag.get_long() == Some("json")), "{path}");
        }
    }
}
