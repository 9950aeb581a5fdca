//! Every environment variable of the publisher, documented, and read here and nowhere else.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use dbt_client::config::{Variables, begins_with};
use dbt_client::settings;
use dbt_core::brand;
use dbt_core::secret::{Secret, withheld_variables};
use dbt_ui::exit_code::ExitCode;

use crate::stop::Explained;

/// A variable that the publisher reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// The configuration file.
    Config,
    /// The directory of our files.
    Home,
    /// The server's name.
    Server,
    /// The token that uploads are made with.
    PublishToken,
    /// The password that uploads are made with.
    PublishPassword,
    /// What a key file is locked with.
    SigningPassphrase,
    /// An identity of a CI system.
    IdToken,
    /// A file with one.
    IdTokenFile,
    /// How `release` uploads, as for the older script; so are those that follow.
    UploadMethod,
    /// The bucket of dbt itself, where `release` uploads to buckets.
    DbtBucket,
    /// The bucket of the tools.
    ToolsBucket,
    /// The region of both.
    BucketRegion,
    /// Which key of gpg signs.
    GpgIdentity,
    /// The root of the server.
    ReposerverUrl,
    /// How one signs in there.
    ReposerverAuth,
    /// The user.
    ReposerverUser,
    /// The password.
    ReposerverPass,
    /// The token.
    ReposerverToken,
    /// The user's home directory.
    UserHome,
    /// No colour.
    NoColor,
    /// The kind of terminal.
    Term,
    /// The socket of the SSH agent.
    SshAgent,
}

/// One line of the documentation: the variable, its name, whether the name gets our prefix, and
/// what it means.
type Row = (Variable, &'static str, bool, &'static str);

const TABLE: [Row; 22] = [
    (Variable::Config, "CONFIG", true, "the configuration file that `-s` reads"),
    (Variable::Home, "HOME", true, "the directory of configuration and keys"),
    (Variable::Server, "SERVER", true, "the server to publish to, as `-s`"),
    (Variable::PublishToken, "PUBLISH_TOKEN", true, "the token that uploads are made with"),
    (
        Variable::PublishPassword,
        "PUBLISH_PASSWORD",
        true,
        "the password that belongs to `--username`",
    ),
    (
        Variable::SigningPassphrase,
        "SIGNING_PASSPHRASE",
        true,
        "the passphrase of a key given by `--signer file:` or `--signer env:`",
    ),
    (Variable::IdToken, "ID_TOKEN", true, "the identity of a CI job, which the server exchanges"),
    (Variable::IdTokenFile, "ID_TOKEN_FILE", true, "a file that holds such an identity"),
    (Variable::UploadMethod, "UPLOAD_METHOD", false, "`release`: `http` or `s3`, if it is said"),
    (
        Variable::DbtBucket,
        "S3_BUCKET",
        true,
        "`release` with `s3`: the bucket that `--repository` names",
    ),
    (
        Variable::ToolsBucket,
        "TOOLS_S3_BUCKET",
        false,
        "`release` with `s3`: the bucket that `--tools-repository` names",
    ),
    (Variable::BucketRegion, "S3_REGION", false, "`release` with `s3`: the region of both"),
    (Variable::GpgIdentity, "GPG_IDENTITY", false, "`release`: what `--signer gpg:ID` says"),
    (Variable::ReposerverUrl, "REPOSERVER_URL", false, "`release`: what `--to URL` says"),
    (Variable::ReposerverAuth, "REPOSERVER_AUTH", false, "`release`: what `--auth` says"),
    (Variable::ReposerverUser, "REPOSERVER_USER", false, "`release --auth basic`: the user"),
    (Variable::ReposerverPass, "REPOSERVER_PASS", false, "`release --auth basic`: the password"),
    (Variable::ReposerverToken, "REPOSERVER_TOKEN", false, "`release --auth bearer`: the token"),
    (
        Variable::UserHome,
        if cfg!(windows) { "USERPROFILE" } else { "HOME" },
        false,
        "the user's home directory (`USERPROFILE` on Windows)",
    ),
    (Variable::NoColor, "NO_COLOR", false, "set to anything: no colour"),
    (Variable::Term, "TERM", false, "`dumb`: no colour and no progress"),
    (
        Variable::SshAgent,
        "SSH_AUTH_SOCK",
        false,
        "the agent that signs in with the key that the configuration names",
    ),
];

/// What an armored secret key begins with.
const SECRET_KEY: &str = "-----BEGIN PGP PRIVATE KEY BLOCK-----";

impl Variable {
    /// Returns the variable's full name.
    pub fn name(self) -> String {
        let row = TABLE.iter().find(|(variable, ..)| *variable == self);
        row.map(|(_, name, ours, _)| full_name(name, *ours)).unwrap_or_default()
    }
}

fn full_name(name: &str, ours: bool) -> String {
    format!("{}{name}", if ours { brand::ENV_PREFIX } else { "" })
}

/// Returns the lines of the help about the variables that are ours.
pub(crate) fn help() -> String {
    let mut text = String::from("Environment:\n");
    let ours = TABLE.iter().filter(|(_, _, ours, _)| *ours);
    for (_, name, ours, meaning) in ours {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "  {:<24} {meaning}", full_name(name, *ours));
    }
    text
}

/// The environment of this process, as it was at the start.
#[derive(Clone)]
pub struct Environment {
    inherited: Vec<(OsString, OsString)>,
}

impl Environment {
    /// Reads the process's environment.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn read() -> Self {
        Self { inherited: std::env::vars_os().collect() }
    }

    /// Returns any variable by name, for `--signer env:`. An empty one is as good as none.
    pub(crate) fn lookup(&self, name: &str) -> Option<&OsStr> {
        self.variable(name).filter(|value| !value.is_empty())
    }

    /// Says whether a variable is set to something.
    pub(crate) fn is_set(&self, variable: Variable) -> bool {
        self.lookup(&variable.name()).is_some()
    }

    /// Returns a variable as a path.
    pub(crate) fn path(&self, variable: Variable) -> Option<PathBuf> {
        self.lookup(&variable.name()).map(PathBuf::from)
    }

    /// Returns a variable as text.
    pub(crate) fn text(&self, variable: Variable) -> Result<Option<String>, NotText> {
        self.text_of(&variable.name())
    }

    /// Returns any variable as text.
    pub(crate) fn text_of(&self, name: &str) -> Result<Option<String>, NotText> {
        let read = |value: &OsStr| value.to_str().map(str::to_owned);
        let value = self.lookup(name).map(|value| read(value).ok_or(NotText(name.to_owned())));
        value.transpose()
    }

    /// Returns a variable that nobody should see.
    pub(crate) fn secret(&self, variable: Variable) -> Result<Option<Secret<String>>, NotText> {
        Ok(self.text(variable)?.map(Secret::new))
    }

    /// Takes secrets out of the environment of a program that is about to be started: ours, and
    /// whatever holds a secret key for `--signer env:`.
    #[expect(clippy::disallowed_methods, reason = "the one file that reads the environment")]
    pub(crate) fn without_secrets(command: &mut Command) {
        for name in withheld_variables() {
            command.env_remove(name);
        }
        for variable in [Variable::ReposerverPass, Variable::ReposerverToken] {
            command.env_remove(variable.name());
        }
        for (name, value) in std::env::vars_os() {
            if value.to_string_lossy().contains(SECRET_KEY) {
                command.env_remove(name);
            }
        }
    }

    /// Lets a variable say what another one says, if that is set and it is not.
    pub(crate) fn replace(&mut self, variable: Variable, by: Variable) {
        let value = self.lookup(&by.name()).map(OsStr::to_owned);
        if let Some(value) = value.filter(|_value| !self.is_set(variable)) {
            self.inherited.retain(|(name, _empty)| name != OsStr::new(&variable.name()));
            self.inherited.push((variable.name().into(), value));
        }
    }

    /// Returns the directory of our files.
    pub(crate) fn our_home(&self) -> Option<PathBuf> {
        let below = || Some(self.path(Variable::UserHome)?.join(brand::HOME_DIRECTORY));
        self.path(Variable::Home).or_else(below)
    }
}

impl Variables for Environment {
    /// `${NAME}` in the configuration means any variable, ours or not.
    fn variable(&self, name: &str) -> Option<&OsStr> {
        let same = |other: &OsStr| {
            if cfg!(windows) { other.eq_ignore_ascii_case(name) } else { other == OsStr::new(name) }
        };
        let found = self.inherited.iter().find(|(other, _value)| same(other));
        found.map(|(_name, value)| value.as_os_str())
    }

    fn has_any(&self, beginning: &str) -> bool {
        self.inherited.iter().any(|(name, _value)| begins_with(name, beginning))
    }
}

impl fmt::Debug for Environment {
    /// Shows no values: environments are full of secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Environment({} variables)", self.inherited.len())
    }
}

/// A variable is not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable `{0}` is not UTF-8 text")]
pub struct NotText(String);

impl From<settings::NotText> for NotText {
    fn from(error: settings::NotText) -> Self {
        Self(error.name.to_owned())
    }
}

impl Explained for NotText {
    fn code(&self) -> ExitCode {
        ExitCode::CONFIGURATION
    }
}
