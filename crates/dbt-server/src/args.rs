//! What may be typed.

use std::path::PathBuf;

use clap::{Arg, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

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

// Of the flags, the help of a command shows all where something is served or all settings are shown, and
// elsewhere those that say where the settings and the state are.
const OF_QUICKSTART: [&str; 2] = ["port", "read_only"];
const OF_ADMINISTRATION: [&str; 2] = ["root", "file"];

impl Arguments {
    /// Reads what was typed. Ends the program where that means nothing, or asks for help.
    pub fn typed() -> Self {
        let matches = grammar().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }
}

/// Returns what may be typed. Every command takes all flags, so that whoever starts a server with some may
/// put a command after them, and its help shows those that mean something to it.
pub fn grammar() -> clap::Command {
    let grammar = Arguments::command();
    let flags: Vec<Arg> =
        grammar.get_arguments().filter(|it| it.is_global_set()).cloned().collect();
    grammar.mut_subcommands(|command| {
        let shown: &[&str] = match command.get_name() {
            "serve" | "check-config" => return command,
            "quickstart" => &OF_QUICKSTART,
            _ => &OF_ADMINISTRATION,
        };
        let is_hidden = |flag: &&Arg| !shown.contains(&flag.get_id().as_str());
        command.args(flags.iter().filter(is_hidden).map(|flag| flag.clone().hide(true)))
    })
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
    /// Have the running server on this machine read its settings again
    Reload,
    /// Hash every file of the tree and write the index of hashes anew
    Reindex,
    /// Show and restore what was deleted
    Trash {
        /// What to do with it
        #[command(subcommand)]
        action: Trash,
    },
    /// Make, list and revoke the server's own tokens
    Token {
        /// What to do with them
        #[command(subcommand)]
        action: Token,
    },
    /// Show who is known, and suspend and reactivate people
    User {
        /// What to do
        #[command(subcommand)]
        action: User,
    },
    /// What only an administrator on the server's own machine can do
    Admin {
        /// What
        #[command(subcommand)]
        action: Admin,
    },
    /// Check and show the record of who did what, from the files on this machine
    Audit {
        /// What to do with it
        #[command(subcommand)]
        action: Audit,
    },
    /// Copy what the server must not forget, while it runs or not; the tree is copied by itself
    Backup {
        /// The directory to make and copy to
        directory: PathBuf,
    },
    /// Put back what `backup` copied; no server may run meanwhile
    Restore {
        /// The directory that `backup` made
        directory: PathBuf,

        /// Let the server's own tokens count that counted when the backup was made, though they may
        /// have been revoked since
        #[arg(long)]
        keep_tokens: bool,
    },
    /// Make a repository to try, with a key and a tool, and serve it on this machine alone
    Quickstart {
        /// The directory to make, or one that was made so; without it, one in the current directory
        directory: Option<PathBuf>,
    },
    /// Begin anew where what the server must not forget is lost
    State {
        /// What to do with it
        #[command(subcommand)]
        action: StateCommand,
    },
}

/// What can be done with the record of who did what.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Audit {
    /// Check that no record was changed, removed, moved or put in
    Verify {
        /// A state directory or backup to look at, instead of the configured server's
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// The last checkpoint that left the machine: a file, or `-` for standard input
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,

        /// The key that must have signed, as `audit key` printed it
        #[arg(long)]
        key: Option<String>,

        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print records as lines of JSON
    Export {
        /// A state directory or backup to look at, instead of the configured server's
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// Only records after this number
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
    },
    /// Show the last records
    Tail {
        /// A state directory or backup to look at, instead of the configured server's
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,

        /// How many
        #[arg(short = 'n', long, default_value_t = 20)]
        lines: u64,

        /// Go on showing what comes
        #[arg(short = 'F', long)]
        follow: bool,

        /// Print lines of JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the public half of the key that signs checkpoints
    Key {
        /// A state directory or backup to look at, instead of the configured server's
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
}

/// What can be done with what the server must not forget.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum StateCommand {
    /// Begin anew: what was recorded, what was deleted and which tokens were used is then unknown
    Init {
        /// Say that there is no backup, and that this is meant
        #[arg(long)]
        accept_loss: bool,
    },
}

/// Of whom and what `explain` speaks.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct Explain {
    /// Who: `ssh:alice`, `static-token:ci`, `agent:ci`, `anonymous`, or `token:ID` for whoever shows a
    /// token of the server's own
    pub subject: String,

    /// What: a method (`GET`, `PUT`, `DELETE`) or a permission (`read`, `replace`)
    pub method: String,

    /// Where, as in the URL; a directory ends with a slash
    pub path: String,

    /// A group that the subject is in; may be given several times
    #[arg(short, long = "group")]
    pub groups: Vec<String>,

    /// What their identity provider claims of them, for `auth.oidc.roleMappings`; may be given several times
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
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

/// What can be done with the server's own tokens.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Token {
    /// Make a token, and print it; it is never shown again
    Create(NewToken),
    /// List tokens, without what makes them tokens
    List {
        /// Only those of one subject
        subject: Option<String>,

        /// Those, too, that count no more
        #[arg(long)]
        all: bool,

        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Revoke tokens: they count no more from the next request on
    Revoke {
        /// Their ids, as `token list` shows them
        #[arg(required_unless_present_any = ["subject", "created_by"])]
        ids: Vec<String>,

        /// All tokens of a subject
        #[arg(long, conflicts_with_all = ["ids", "created_by"])]
        subject: Option<String>,

        /// All tokens that somebody made, also by tokens that they had made
        #[arg(long, conflicts_with = "ids")]
        created_by: Option<String>,

        /// Let what was made with them go on to count: after they were replaced, not after they were
        /// seen by others
        #[arg(long)]
        keep_made: bool,
    },
    /// Take tokens over from whoever owns them, so that they count although that one is suspended
    Own {
        /// Their ids, as `token list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

/// What can be done with people.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum User {
    /// List who has signed in, whom the settings name, and who is suspended
    List {
        /// Only who is suspended
        #[arg(long)]
        suspended: bool,

        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show what is kept of somebody
    Show {
        /// Who: `ssh:alice`, `oidc:ISSUER#NAME`
        subject: String,

        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Add somebody, who need not have been there yet
    Add {
        /// Who: `user:NAME` of whoever has nothing but tokens of this server's own, `ssh:alice`,
        /// `oidc:ISSUER#NAME`
        subject: String,

        /// A role that they are given; may be given several times
        #[arg(long = "role")]
        roles: Vec<String>,
    },
    /// Give somebody who was added these roles, and no others
    Roles {
        /// Who: `user:NAME`, `ssh:alice`, `oidc:ISSUER#NAME`
        subject: String,

        /// The roles; without any, what was given is taken back
        roles: Vec<String>,
    },
    /// Delete what is kept of somebody, with their roles: their tokens are revoked
    Remove {
        /// Who: `user:NAME`, `ssh:alice`, `oidc:ISSUER#NAME`
        subject: String,
    },
    /// Suspend somebody: their tokens are revoked, and nothing is permitted to them from the next request on
    Suspend {
        /// Who: `ssh:alice`, `oidc:ISSUER#NAME`
        subject: String,

        /// Why, for the record and for whoever looks
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take a suspension back; tokens that it revoked stay revoked
    Reactivate {
        /// Who: `ssh:alice`, `oidc:ISSUER#NAME`
        subject: String,
    },
}

/// The token that is to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct NewToken {
    /// Whose it is: `agent:NAME` for a program, or somebody who can sign in, as `ssh:alice`
    pub subject: String,

    /// What to call it [default: the subject]
    #[arg(long)]
    pub name: Option<String>,

    /// A role that an agent holds by it, or to which it narrows a user's rights; may be given several
    /// times
    #[arg(long = "role")]
    pub roles: Vec<String>,

    /// A pattern of paths where it counts, as in `policies`; may be given several times [default:
    /// everywhere]
    #[arg(long = "path")]
    pub paths: Vec<String>,

    /// A group that the agent is in; may be given several times
    #[arg(long = "group")]
    pub groups: Vec<String>,

    /// How long it counts: `12h`, `30d` [default: 90d]
    #[arg(long)]
    pub expires: Option<String>,

    /// Let it count until it is revoked
    #[arg(long, conflicts_with = "expires")]
    pub no_expiry: bool,

    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// What only an administrator on the server's own machine can do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Admin {
    /// Print a token for a quarter of an hour with which an administrator makes their first one
    Bootstrap {
        /// Print JSON, for programs
        #[arg(long)]
        json: bool,
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

    /// Serve what is there and change nothing, whoever asks
    #[arg(long, global = true)]
    pub read_only: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `look` with the words of each command that has none below it, and its help.
    fn each(command: &mut clap::Command, words: &str, look: &mut dyn FnMut(&str, &str)) {
        let names: Vec<String> =
            command.get_subcommands().map(|it| it.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            let below = command.find_subcommand_mut(name).unwrap();
            each(below, format!("{words} {name}").trim(), look);
        }
        if names.is_empty() {
            look(words, &command.render_long_help().to_string());
        }
    }

    #[test]
    fn the_help_of_a_command_shows_the_flags_that_mean_something_to_it_and_no_others() {
        let all = ["--address", "--port", "--root", "--file", "--read-only"];
        let mut grammar = grammar();
        grammar.build();
        let mut seen = Vec::new();
        each(&mut grammar, "", &mut |words, help| {
            let expected: &[&str] = match words {
                "serve" | "check-config" => &all,
                "quickstart" => &["--port", "--read-only"],
                _ => &["--root", "--file"],
            };
            for flag in all {
                let is_shown =
                    help.contains(&format!(" {flag} <")) || help.contains(&format!(" {flag}\n"));
                assert_eq!(is_shown, expected.contains(&flag), "{words}: {flag}: {help}");
            }
            seen.push(words.to_owned());
        });
        for words in
            ["serve", "quickstart", "token create", "user suspend", "audit verify", "reload"]
        {
            assert!(seen.iter().any(|it| it == words), "{words} is not among {seen:?}");
        }
        assert!(seen.len() > 20, "{seen:?}");
    }

    #[test]
    fn flags_that_the_help_of_a_command_does_not_show_count_wherever_they_stand() {
        for line in [
            "reposerver -p 7 -f x --read-only token create agent:a --role publisher",
            "reposerver token -p 7 --read-only create agent:a -f x --role publisher",
            "reposerver token create agent:a --role publisher -p 7 -f x --read-only",
        ] {
            let matches = grammar().try_get_matches_from(line.split(' ')).unwrap();
            let Arguments { flags, command, .. } = Arguments::from_arg_matches(&matches).unwrap();
            assert_eq!((flags.port, flags.read_only), (Some(7), true), "{line}");
            assert_eq!(flags.file.as_deref(), Some("x".as_ref()), "{line}");
            let Some(Command::Token { action: Token::Create(token) }) = command else {
                panic!("{line}")
            };
            assert_eq!(token.roles, ["publisher"], "{line}");
        }
    }
}
