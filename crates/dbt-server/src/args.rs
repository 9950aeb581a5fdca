//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// The repository server.
#[derive(Debug, Parser)]
#[command(name = "reposerver", version = concat!("version ", env!("CARGO_PKG_VERSION")))]
#[command(disable_version_flag = true, args_conflicts_with_subcommands = false)]
pub struct Arguments {
    /// Print the version
    #[arg(short = 'V', short_alias = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,

    /// What to do; without one, serve
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Where and what to serve
    #[command(flatten)]
    pub flags: Flags,
}

/// The commands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve the repository
    #[default]
    Serve,
    /// Check the configuration, show each setting and where it came from, and exit
    CheckConfig {
        /// Print the JSON Schema of the configuration file instead
        #[arg(long)]
        schema: bool,
    },
    /// Say whether somebody may do something, and by which rule
    Explain(Explain),
    /// Hash every file of the tree and write the index of hashes anew
    Reindex,
    /// Show and restore what was deleted
    Trash {
        /// What to do with it
        #[command(subcommand)]
        action: Trash,
    },
}

/// Of whom and what `explain` speaks.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explain {
    /// Who: `ssh:alice`, `static-token:ci`, `anonymous`
    pub subject: String,

    /// What: a method (`GET`, `PUT`, `DELETE`) or a permission (`read`, `replace`)
    pub method: String,

    /// Where, as in the URL; a directory ends with a slash
    pub path: String,

    /// A group that the subject is in; may be given several times
    #[arg(short, long = "group")]
    pub groups: Vec<String>,
}

/// What can be done with what was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Trash {
    /// List what was deleted and can be restored, the oldest first
    List {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Put something back where it was, if nothing is there now
    Restore {
        /// Its id, as `trash list` shows it
        id: String,
    },
    /// Let other bytes be published where some were deleted, in a server with `immutable`
    Forget {
        /// The path of a file, or of a directory with everything below
        path: String,
    },
}

/// The flags. With a configuration file they fill in what it leaves out; without one they go
/// before the environment.
#[derive(Clone, Debug, Default, Args)]
pub struct Flags {
    /// Address to listen on [default: 0.0.0.0]
    #[arg(short, long, global = true)]
    pub address: Option<String>,

    /// Port to listen on; 0 takes any free one [default: 9999]
    #[arg(short, long, global = true)]
    pub port: Option<u16>,

    /// Directory to serve
    #[arg(short, long, global = true)]
    pub root: Option<PathBuf>,

    /// Configuration file
    #[arg(short, long, global = true)]
    pub file: Option<PathBuf>,
}
