//! What may be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::delete::Delete;
use crate::env;
use crate::stop::Stop;
use crate::trust::args::Trust;
use crate::verify::Verify;

/// The name of this program.
pub(crate) const PROGRAM: &str = "publisher";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(disable_help_subcommand = true, disable_version_flag = true)]
pub(crate) struct Cli {
    /// Say what is being done
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
    /// Show the version of this program
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign a version of a tool and upload it
    Publish(Publish),
    /// Upload a version without a signature, for `sign` on another machine: nobody sees it before
    Stage(Stage),
    /// Sign what was staged and publish it, or sign a published version again
    Sign(Sign),
    /// Publish the files of the program itself, its companions and its installers
    Release(Release),
    /// Put the settings of an organisation into prebuilt installers, for every platform
    Installer(Installer),
    /// Forbid versions of a tool: they never run again, not even from a cache
    Withdraw(Withdraw),
    /// Delete published versions; machines that have a copy go on running it
    Delete(Delete),
    /// Check a whole repository as a client would, and say everything that is wrong with it
    Verify(Verify),
    /// Make the project of a tool ready: a pipeline, a key, and what to type next
    Init(Init),
    /// Make, list and export signing keys
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Key(Key),
    /// Decide whose signatures count, for everybody who uses a repository
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Truststore(Truststore),
    /// Sign what a repository is said to have, so that its server can do nothing but be slow
    #[command(subcommand, arg_required_else_help = true, subcommand_required = true)]
    Trust(Trust),
}

/// Where to publish to. Exactly one of the ways.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where")]
pub(crate) struct Where {
    /// A server of the configuration; the default server when nothing is given
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["to", "repository", "tools_repository"])]
    pub(crate) server: Option<String>,
    /// The root of a server or a directory: both repositories are below it
    #[arg(long, value_name = "URL|DIR", conflicts_with_all = ["repository", "tools_repository"])]
    pub(crate) to: Option<String>,
    /// The repository of the program itself, with the truststore
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) repository: Option<String>,
    /// The repository of the tools
    #[arg(long, value_name = "URL|DIR")]
    pub(crate) tools_repository: Option<String>,
    /// Further certificate authorities, a PEM file
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// Who uploads.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Who uploads")]
pub(crate) struct SignIn {
    /// A file that holds the token to upload with
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "username"])]
    pub(crate) token_file: Option<PathBuf>,
    /// The token itself; others can see it in the list of processes
    #[arg(long, value_name = "TOKEN", conflicts_with = "username")]
    pub(crate) token: Option<String>,
    /// The user name for a server that wants user name and password
    #[arg(long, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// A file that holds the password
    #[arg(long, value_name = "FILE", requires = "username")]
    pub(crate) password_file: Option<PathBuf>,
}

/// Who signs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Who signs")]
pub(crate) struct Signing {
    /// `gpg` (the default), `gpg:ID`, `file:PATH`, `env:VARIABLE`, or `exec:COMMAND`, which gets a
    /// digest and writes the signature
    #[arg(long, value_name = "SIGNER")]
    pub(crate) signer: Option<String>,
    /// The certificate of the key behind `exec:`
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// A file that holds the passphrase of `file:` or `env:`
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

/// Where signed files go, who signs them and who uploads them.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Delivery {
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) signing: Signing,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}

/// What is published.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct What {
    /// The tool; the program's own name for the program itself
    #[arg(required_unless_present = "metadata")]
    pub(crate) tool: Option<String>,
    /// The version: `1.2.3`, perhaps with `-rc.1`
    #[arg(required_unless_present = "metadata")]
    pub(crate) version: Option<String>,
    /// What runs where: `linux/amd64=FILE` and so on, or a directory with `OS/ARCH/TOOL` or with
    /// release archives named for their platforms, or such an archive
    #[arg(required_unless_present = "metadata", value_name = "OS/ARCH=FILE|DIR|ARCHIVE")]
    pub(crate) artifacts: Vec<String>,
    /// A `metadata.json` of gomason says tool, version, targets and repository: then nothing is
    /// typed but the directories with the built files
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata: Option<PathBuf>,
    /// One line about the tool, for lists
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// Publish what is made for another platform, under a reserved name, or signed by a key that the
    /// truststore does not have
    #[arg(long)]
    pub(crate) force: bool,
}

/// `publish`
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) what: What,
    /// Sign and check everything, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Put other bytes in the place of a published version
    #[arg(long)]
    pub(crate) replace: bool,
    /// Under which URL the directory that is written is served: clients are told there
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `stage`
#[derive(Debug, Args)]
pub(crate) struct Stage {
    #[command(flatten)]
    pub(crate) what: What,
    /// Check everything, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Give up what is staged of this version already
    #[arg(long)]
    pub(crate) replace: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}

/// `sign`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct Sign {
    /// The tool; the program's own name for the program itself
    pub(crate) tool: String,
    /// The version that is staged or published
    pub(crate) version: String,
    /// Publish what was staged without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Sign also what no key of the truststore stands behind: whoever can write to the server may
    /// have put it there
    #[arg(long = "sign-unverified")]
    pub(crate) unverified: bool,
    /// Show what would be signed, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `release`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct Release {
    /// What a build has made: `OS/ARCH/PROGRAM`, `OS-ARCH/PROGRAM` or `PROGRAM_OS_ARCH`
    #[arg(required_unless_present = "from", conflicts_with = "from", value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Another repository, whose release is verified and signed again
    #[arg(long, value_name = "URL|DIR", requires = "upstream_key")]
    pub(crate) from: Option<String>,
    /// The certificate of whoever must have signed that release
    #[arg(long, value_name = "FILE", requires = "from")]
    pub(crate) upstream_key: Option<PathBuf>,
    /// The version; a file `VERSION` or `latest` can name it, too
    #[arg(short, long, id = "release_version", value_name = "VERSION")]
    pub(crate) version: Option<String>,
    /// Publish only what this is a part of: what it is, where it comes from, or where it goes
    #[arg(long, value_name = "PART")]
    pub(crate) include: Vec<String>,
    /// Leave out what this is a part of
    #[arg(long, value_name = "PART")]
    pub(crate) exclude: Vec<String>,
    /// Who uploads: `REPOSERVER_USER` and `REPOSERVER_PASS`, `REPOSERVER_TOKEN`, or a sign-in
    #[arg(long, value_enum)]
    pub(crate) auth: Option<Auth>,
    /// Sign and check everything, and upload nothing
    #[arg(short, long)]
    pub(crate) dry_run: bool,
    /// Publish without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Publish what is made for another platform, or signed by a key that the truststore does not have
    #[arg(long)]
    pub(crate) force: bool,
    /// Put other bytes in the place of a published version
    #[arg(long)]
    pub(crate) replace: bool,
    /// Under which URL the directory that is written is served: clients are told there
    #[arg(long, value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// How who uploads proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Auth {
    /// As the configuration or the options say
    None,
    /// A user name and a password
    Basic,
    /// A token
    Bearer,
    /// An identity provider: who is signed in there, or the identity of a job
    Oidc,
}

/// `withdraw`
#[derive(Debug, Args)]
pub(crate) struct Withdraw {
    /// The tool
    pub(crate) tool: String,
    /// The versions
    #[arg(required = true, value_name = "VERSION")]
    pub(crate) versions: Vec<String>,
    /// Why, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// Sign and check everything, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) delivery: Delivery,
}

/// `installer`
#[derive(Debug, Args)]
pub(crate) struct Installer {
    /// Prebuilt installers, or a directory with `OS/ARCH/` as a build leaves it
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) prebuilt: Vec<PathBuf>,
    /// The settings: `url`, `trust`, and what else an installer shows
    #[arg(long, value_name = "FILE")]
    pub(crate) settings: PathBuf,
    /// Where `OS/ARCH/` with the new installers goes
    #[arg(long, value_name = "DIR", default_value = "dist/installer")]
    pub(crate) output: PathBuf,
    /// A command of the shell that signs an installer, whose path is its last word
    #[arg(long, value_name = "COMMAND")]
    pub(crate) sign_command: Option<String>,
    /// Make a package of each installer for Linux, too
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) package: Vec<Package>,
    /// The version of the packages
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) package_version: String,
}

/// A kind of package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Package {
    /// For Debian and its relatives
    Deb,
    /// For Fedora, Red Hat, SUSE and their relatives
    Rpm,
}

/// `init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The tool
    pub(crate) tool: String,
    /// The project
    #[arg(default_value = ".", value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// One line about the tool, for lists
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: String,
    /// The root of the `reposerver` where it is published
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// Where its pipelines run; found out from the project when it is clear
    #[arg(long, value_enum)]
    pub(crate) ci: Option<System>,
    /// What builds it
    #[arg(long, value_name = "COMMAND", default_value = "make dist")]
    pub(crate) build: String,
    /// Where the build leaves `OS/ARCH/TOOL`
    #[arg(long, value_name = "DIR", default_value = "dist")]
    pub(crate) output: String,
    /// The key that signs; it is made when there is none of this name
    #[arg(long, value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// A file that holds the passphrase of a new key
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Print the pipeline, and write nothing
    #[arg(long)]
    pub(crate) print: bool,
}

/// Where pipelines run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum System {
    /// GitHub Actions
    Github,
    /// GitLab CI
    Gitlab,
}

/// `key ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a signing key, locked with a passphrase
    Generate {
        /// What to call it
        name: String,
        /// The address to put beside the name
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// Make it in the user's gpg instead of a file
        #[arg(long)]
        gpg: bool,
        /// How long it is valid: `2y`, `6m`, `90d` or `never`
        #[arg(long, value_name = "TIME", default_value = "2y")]
        expires: String,
        /// A file that holds the passphrase
        #[arg(long, value_name = "FILE")]
        passphrase_file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a certificate for a key that a key service or a card has
    Certificate {
        /// What to call it
        name: String,
        /// The address to put beside the name
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        /// The public key: RSA, NIST P-256 or Ed25519, as PEM
        #[arg(long, value_name = "FILE")]
        public_key: PathBuf,
        /// `exec:COMMAND`, which signs with it
        #[arg(long, value_name = "SIGNER")]
        signer: String,
        /// How long it is valid: `2y`, `6m`, `90d` or `never`
        #[arg(long, value_name = "TIME", default_value = "2y")]
        expires: String,
    },
    /// Print the public certificate of a key
    Export {
        /// Its name, or its fingerprint
        key: String,
    },
    /// List the keys in files
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `truststore ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Truststore {
    /// Let the signatures of further keys count
    Add {
        /// Certificate files, names of own keys, or what gpg calls them
        #[arg(required = true, value_name = "FILE|FINGERPRINT|NAME")]
        keys: Vec<String>,
        /// Let these keys sign the truststore's manifest too
        #[arg(long)]
        admin: bool,
        #[command(flatten)]
        change: Change,
    },
    /// Let the signatures of keys no longer count
    Remove {
        /// Their full fingerprints
        #[arg(required = true, value_name = "FINGERPRINT")]
        keys: Vec<String>,
        #[command(flatten)]
        change: Change,
    },
    /// List whose signatures count
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Where,
        #[command(flatten)]
        uploading: SignIn,
    },
}

/// How the truststore is changed.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct Change {
    /// How many administrators must sign the next change
    #[arg(long, value_name = "COUNT")]
    pub(crate) admin_threshold: Option<u32>,
    /// Sign and check everything, and upload nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask, whatever stops verifying
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Change it also when nothing that is published would verify any more
    #[arg(long)]
    pub(crate) even_if_nothing_verifies: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// An administrator's key: `gpg` (the default), `gpg:ID`, `file:PATH`, `env:VARIABLE` or
    /// `exec:COMMAND`; several when the manifest asks for several
    #[arg(long, value_name = "SIGNER", help_heading = "Who signs")]
    pub(crate) signer: Vec<String>,
    /// The certificate of the key behind `exec:`
    #[arg(long, value_name = "FILE", help_heading = "Who signs")]
    pub(crate) certificate: Option<PathBuf>,
    /// A file that holds the passphrase of `file:` or `env:`
    #[arg(long, value_name = "FILE", help_heading = "Who signs")]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}

/// What the words mean.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one of it in a run")]
pub(crate) enum Invocation {
    /// Show this.
    Show(String),
    /// Do it.
    Do {
        /// What.
        command: Command,
        /// Say what is being done.
        verbose: bool,
    },
}

/// Reads the words behind the program's name.
pub(crate) fn read(words: Vec<OsString>) -> Result<Invocation, Stop> {
    let mut grammar = grammar();
    let line = std::iter::once(OsString::from(PROGRAM)).chain(words);
    let matches = grammar.try_get_matches_from_mut(line);
    match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(Cli { version: true, .. }) => {
            let version = option_env!("DBT_BUILD_VERSION").unwrap_or(env!("CARGO_PKG_VERSION"));
            Ok(Invocation::Show(format!("{PROGRAM} version {version}\n")))
        }
        Ok(Cli { command: None, .. }) => {
            Ok(Invocation::Show(grammar.render_long_help().to_string()))
        }
        Ok(Cli { command: Some(command), verbose, version: false }) => {
            Ok(Invocation::Do { command, verbose })
        }
        Err(error) if asks_for_help(&error) => Ok(Invocation::Show(error.render().to_string())),
        Err(error) => Err(Stop(complaint(&error))),
    }
}

fn asks_for_help(error: &clap::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

const TEMPLATE: &str = "{about-with-newline}\nusage: {usage}\n\n{all-args}{after-help}";

pub(crate) fn grammar() -> clap::Command {
    let program = brand::PROGRAM;
    let publish = format!(
        "Example:\n  {PROGRAM} publish deploy 1.4.0 linux/amd64=dist/deploy --description \"ships it\" \\\n    \
         --to https://tools.example.com --signer file:alice --token-file token\n\n\
         Where it goes, below `--to`:\n  /{tools}/TOOL/VERSION/OS/ARCH/TOOL, and `{program}` itself to \
         /{repository}/VERSION/OS/ARCH/{program}\n\n\
         A run that was interrupted can be repeated: what is there and right is left alone.\n",
        tools = brand::TOOLS_PATH,
        repository = brand::REPOSITORY_PATH,
    );
    Cli::command()
        .name(PROGRAM)
        .bin_name(PROGRAM)
        .about("Signs and publishes tools, and decides whose signatures count")
        .after_help(env::help())
        .mut_subcommand("publish", |command| command.after_help(publish))
        .mut_subcommands(laid_out)
        .help_template(TEMPLATE)
}

fn laid_out(command: clap::Command) -> clap::Command {
    command.help_template(TEMPLATE).mut_subcommands(laid_out)
}

/// Puts the parser's complaint into our words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the parser's kinds of errors may grow")]
fn complaint(error: &clap::Error) -> Report {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join("`, `")),
        _ => None,
    };
    let argument = context(ContextKind::InvalidArg).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    let message = match error.kind() {
        ErrorKind::UnknownArgument => format!("`{argument}` is not expected"),
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("there is no command `{word}`")
        }
        ErrorKind::MissingRequiredArgument => format!("`{argument}` is missing"),
        ErrorKind::ArgumentConflict => {
            let other = context(ContextKind::PriorArg).unwrap_or_default();
            format!("`{argument}` and `{other}` cannot be used together")
        }
        ErrorKind::InvalidValue if value.is_empty() => format!("`{argument}` needs a value"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            format!("`{value}` is no value for `{argument}`")
        }
        _ => "the command line cannot be read".to_owned(),
    };
    let similar = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg];
    let similar = similar.into_iter().find_map(context);
    Report::new(ExitCode::USAGE, message)
        .hints(similar.map(|word| format!("did you mean `{word}`?")))
        .hint(format!("`{PROGRAM} COMMAND --help` shows how it is used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_explained_in_our_words() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect();
        let said = |line: &str| read(words(line)).unwrap_err().0.to_string();
        assert!(
            said("publish x 1.0.0")
                .starts_with("error: `<OS/ARCH=FILE|DIR|ARCHIVE>...` is missing\n")
        );
        assert!(said("publsh").contains("hint: did you mean `publish`?"), "{}", said("publsh"));
        assert!(said("key list --jso").contains("`--jso` is not expected"));
    }
}
