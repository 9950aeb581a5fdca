//! The keychain of the system, by the program that comes with it: `secret-tool` of libsecret, or
//! `/usr/bin/security` of macOS. No library, and no other way when that one fails.
//!
//! A secret goes in on standard input and comes out on standard output, as base64: it stands in no
//! argument, which every user of a machine can read, and needs no quotes.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::brand;
use dbt_core::secret::Secret;

use crate::bounded_program::{self, Ended, NotEnded};

/// How long one question may take: a keychain that is locked may ask a person for its password.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What is written to find out whether anything can be. It is no secret.
const TRIAL: &str = "nothing";

/// What `security` ends with where it finds nothing (`errSecItemNotFound`, of which a status has
/// eight bits).
const NOT_FOUND: i32 = 44;

/// The most of a program's words that are repeated.
const WORDS_LIMIT: usize = 200;

/// Where the tokens of a user are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenStore {
    /// All in one file, which nobody else can read.
    #[default]
    File,
    /// What is for long in the keychain of the system, and the rest in that file.
    Keychain,
}

/// Why a text names none of them here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidTokenStore {
    /// It is none of their names.
    #[error("expected `file` or `keychain`, and it is `{}`", .0.escape_debug())]
    Unknown(String),
    /// This system has no keychain with a program to it.
    #[error("`keychain` is possible on Linux and macOS, and not on this system: write `file`")]
    NoKeychain,
}

impl FromStr for TokenStore {
    type Err = InvalidTokenStore;

    fn from_str(text: &str) -> Result<Self, InvalidTokenStore> {
        Keychain::of_this_system().store_named(text)
    }
}

/// The keychain of whoever runs this.
#[derive(Debug, Clone)]
pub struct Keychain {
    program: Program,
    limit: Duration,
}

/// What asks it.
#[derive(Debug, Clone)]
enum Program {
    /// `secret-tool`, which speaks to the service of the session (freedesktop.org, Secret Service).
    SecretTool(PathBuf),
    /// `security` of macOS.
    Security(PathBuf),
    /// Nothing does here.
    None,
}

/// One secret in it.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// What it is found by.
    id: String,
    /// What a person sees who looks at the keychain.
    label: String,
}

impl Item {
    pub(super) fn new(id: String, place: &impl std::fmt::Display) -> Self {
        Self { id, label: format!("{}:{place}", brand::PROGRAM) }
    }

    /// What is written and taken away again, to see whether that is possible.
    fn trial() -> Self {
        Self::new("trial".to_owned(), &"trial")
    }
}

impl Keychain {
    /// Returns the keychain of this system, if it has one; asks nothing yet. On Linux its program is
    /// looked for in `PATH` when it is needed.
    pub fn of_this_system() -> Self {
        let program = if cfg!(target_vendor = "apple") {
            Program::Security("/usr/bin/security".into())
        } else if cfg!(unix) {
            Program::SecretTool("secret-tool".into())
        } else {
            Program::None
        };
        Self { program, limit: PATIENCE }
    }

    /// Reads where tokens are kept, as a configuration says it.
    fn store_named(&self, text: &str) -> Result<TokenStore, InvalidTokenStore> {
        match (text, &self.program) {
            ("file", _) => Ok(TokenStore::File),
            ("keychain", Program::None) => Err(InvalidTokenStore::NoKeychain),
            ("keychain", Program::SecretTool(_) | Program::Security(_)) => Ok(TokenStore::Keychain),
            (other, _) => Err(InvalidTokenStore::Unknown(other.to_owned())),
        }
    }

    /// Looks whether something can be written to it, by writing something that is no secret.
    pub fn check(&self) -> Result<(), KeychainError> {
        let trial = Item::trial();
        self.put(&trial, &Secret::new(URL_SAFE_NO_PAD.encode(TRIAL)))?;
        self.take_away(&trial).map(drop)
    }

    /// Puts a secret there, in the place of what the item had.
    pub(super) fn store(&self, item: &Item, secret: &Secret<String>) -> Result<(), KeychainError> {
        let written = Secret::new(URL_SAFE_NO_PAD.encode(secret.expose()));
        self.put(item, &written)?;
        // What `security` ends with says nothing of the commands that it was given.
        if matches!(self.program, Program::Security(_))
            && self.got(item)?.as_ref() != Some(&written)
        {
            return Err(KeychainError::NotStored);
        }
        Ok(())
    }

    /// Returns a secret.
    pub(super) fn lookup(&self, item: &Item) -> Result<Secret<String>, KeychainError> {
        let Some(written) = self.got(item)? else {
            // `secret-tool` says the same of a keychain that is locked, and only this tells which.
            return Err(self.check().err().unwrap_or(KeychainError::Missing));
        };
        let secret = URL_SAFE_NO_PAD.decode(written.expose()).map(Secret::new);
        let secret = secret.ok().and_then(|bytes| String::from_utf8(bytes.expose().clone()).ok());
        let secret = secret.map(Secret::new).filter(crate::oidc::is_token);
        secret.ok_or(KeychainError::NotAToken)
    }

    /// Takes a secret away; that it is not there is as good.
    pub(super) fn clear(&self, item: &Item) -> Result<(), KeychainError> {
        if self.take_away(item)? { Ok(()) } else { self.check() }
    }

    fn put(&self, item: &Item, written: &Secret<String>) -> Result<(), KeychainError> {
        let (command, input, limit) = match &self.program {
            Program::SecretTool(program) => {
                let mut command = Command::new(program);
                command.arg("store").arg(format!("--label={}", item.label)).args(attributes(item));
                // It takes less than 8192 bytes.
                (command, written.clone(), 8191)
            }
            Program::Security(program) => {
                let mut command = Command::new(program);
                // Commands stand on standard input, one a line of less than 4096 bytes.
                command.arg("-i");
                let service = brand::PROGRAM;
                let (id, label) = (&item.id, unquoted(&item.label));
                let secret = written.expose();
                let line = format!(
                    "add-generic-password -U -s {service} -a {id} -l {label} -w {secret}\n"
                );
                (command, Secret::new(line), 4095)
            }
            Program::None => return Err(KeychainError::Unsupported),
        };
        if input.expose().len() > limit {
            return Err(KeychainError::TooLong);
        }
        let ended = self.run(command, Some(&input))?;
        if ended.status.success() { Ok(()) } else { Err(self.failed(&ended, Some(written))) }
    }

    /// Returns what is there, as it was written; nothing where nothing is, or nothing is shown.
    fn got(&self, item: &Item) -> Result<Option<Secret<String>>, KeychainError> {
        let command = self.asking("lookup", "find-generic-password", item)?;
        let ended = self.run(command, None)?;
        if ended.status.success() {
            let text = std::str::from_utf8(ended.output.expose()).ok().map(str::trim_end);
            let text = text.ok_or(KeychainError::NotAToken)?;
            return Ok(Some(Secret::new(text.to_owned())).filter(|text| !text.expose().is_empty()));
        }
        if self.says_there_is_none(&ended) { Ok(None) } else { Err(self.failed(&ended, None)) }
    }

    /// Says whether there was something, as far as that is known.
    fn take_away(&self, item: &Item) -> Result<bool, KeychainError> {
        let command = self.asking("clear", "delete-generic-password", item)?;
        let ended = self.run(command, None)?;
        if ended.status.success() {
            return Ok(true);
        }
        if self.says_there_is_none(&ended) { Ok(false) } else { Err(self.failed(&ended, None)) }
    }

    fn asking(
        &self,
        of_secret_tool: &str,
        of_security: &str,
        item: &Item,
    ) -> Result<Command, KeychainError> {
        let mut command;
        match &self.program {
            Program::SecretTool(program) => {
                command = Command::new(program);
                command.arg(of_secret_tool).args(attributes(item));
            }
            Program::Security(program) => {
                command = Command::new(program);
                command.args([of_security, "-s", brand::PROGRAM, "-a", &item.id]);
                if of_security.starts_with("find") {
                    command.arg("-w");
                }
            }
            Program::None => return Err(KeychainError::Unsupported),
        }
        Ok(command)
    }

    /// `secret-tool` ends with 1 and has no words then.
    fn says_there_is_none(&self, ended: &Ended) -> bool {
        match &self.program {
            Program::SecretTool(_) => {
                ended.status.code() == Some(1) && ended.words.expose().trim_ascii().is_empty()
            }
            Program::Security(_) => ended.status.code() == Some(NOT_FOUND),
            Program::None => false,
        }
    }

    fn run(
        &self,
        mut command: Command,
        input: Option<&Secret<String>>,
    ) -> Result<Ended, KeychainError> {
        command.stderr(Stdio::piped());
        let program = || self.program_name();
        bounded_program::run(command, input, self.limit).map_err(|error| match error {
            NotEnded::Run(source) => {
                KeychainError::Run { program: program(), source: Arc::new(source) }
            }
            NotEnded::TooLong => KeychainError::NotAToken,
            NotEnded::TimeOver => KeychainError::TimeOver { program: program(), limit: self.limit },
        })
    }

    fn failed(&self, ended: &Ended, written: Option<&Secret<String>>) -> KeychainError {
        let (program, status) = (self.program_name(), ended.status);
        let said = String::from_utf8_lossy(ended.words.expose());
        let first = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let first = first.strip_prefix("secret-tool: ").unwrap_or(first);
        // What it was given is not said after it.
        let repeats = written.is_some_and(|written| said.contains(written.expose().as_str()));
        let words = if repeats || first.is_empty() {
            String::new()
        } else {
            let first: String = first.chars().filter(|it| !it.is_control()).collect();
            format!(": {}", first.chars().take(WORDS_LIMIT).collect::<String>())
        };
        KeychainError::Failed { program, status, words }
    }

    fn program_name(&self) -> String {
        match &self.program {
            Program::SecretTool(program) | Program::Security(program) => {
                program.display().to_string()
            }
            Program::None => String::new(),
        }
    }

    /// Returns the keychain that a program like `secret-tool` stands for.
    #[cfg(test)]
    pub(super) fn at(program: PathBuf, limit: Duration) -> Self {
        Self { program: Program::SecretTool(program), limit }
    }
}

/// What an item is found by.
fn attributes(item: &Item) -> [&str; 4] {
    ["application", brand::PROGRAM, "item", &item.id]
}

/// Leaves out what would have to be quoted on a line of `security`.
fn unquoted(text: &str) -> String {
    let is_plain = |it: &char| it.is_ascii_alphanumeric() || ".:/-[]".contains(*it);
    text.chars().filter(is_plain).collect()
}

/// Why the keychain did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum KeychainError {
    /// There is none here.
    #[error("this system has no keychain that can be used")]
    Unsupported,
    /// Its program could not be started.
    #[error("failed to run `{program}`, which asks the keychain")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// Its program did not end.
    #[error("`{program}`, which asks the keychain, did not end within {} s", .limit.as_secs_f64().round())]
    TimeOver {
        /// The program.
        program: String,
        /// How long was waited.
        limit: Duration,
    },
    /// Its program failed.
    #[error("`{program}`, which asks the keychain, failed ({status}){words}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said, after a colon.
        words: String,
    },
    /// It can be asked, and has no such secret.
    #[error("the keychain does not have it any more")]
    Missing,
    /// It has something else.
    #[error("what the keychain has in its place is no token")]
    NotAToken,
    /// It has something else than what was just written.
    #[error("the keychain has not kept what was written")]
    NotStored,
    /// Its program takes shorter ones.
    #[error("it is too long for the program that asks the keychain")]
    TooLong,
}

impl KeychainError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        let program = brand::PROGRAM;
        let file = format!(
            "`\"tokenStore\": \"file\"` in the configuration and `{program} login` do without a keychain"
        );
        match self {
            Self::Run { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                format!("install it (`libsecret-tools` on Debian, `libsecret` elsewhere); {file}")
            }
            Self::Missing | Self::NotAToken => format!("sign in again with `{program} login`"),
            Self::Unsupported
            | Self::Run { .. }
            | Self::TimeOver { .. }
            | Self::Failed { .. }
            | Self::NotStored => {
                let variable = format!("{}REPO_TOKEN", brand::ENV_PREFIX);
                format!(
                    "unlock the keychain of this session; where there is none, {file}, and so does a token in `{variable}`"
                )
            }
            Self::TooLong => file,
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
