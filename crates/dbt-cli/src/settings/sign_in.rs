//! Which credentials belong to which server.

use std::collections::BTreeSet;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::url::Origin;
use dbt_core::brand;

use super::{Inputs, SettingsError, Urls};
use crate::config_file::{ConfigError, ConfigFile, ServerEntry, SignIn, Text};
use crate::env::{Environment, EnvironmentError, Variable};

/// How a server is told who asks.
#[derive(Debug)]
pub struct WayIn {
    /// What is sent.
    pub credentials: Credentials,
    /// How, in words: what `whoami` says. No secret stands in it.
    pub kind: Kind,
    /// What to do when the server does not accept it.
    pub hint: Option<String>,
    /// Where it is sent.
    pub origins: BTreeSet<Origin>,
}

/// A way of telling who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is configured.
    Nothing,
    /// A user name and a password; the name where the configuration has it.
    Basic {
        /// The name, unless a command prints it.
        username: Option<String>,
    },
    /// A token, and the key or variable it comes from.
    Token {
        /// The key or variable.
        from: String,
    },
    /// An identity provider, which this version does not ask yet.
    Oidc {
        /// The path of the key that says so.
        key: String,
    },
    /// A key of the SSH agent, which this version does not ask yet.
    SshKey {
        /// The path of the key that says so.
        key: String,
    },
}

impl WayIn {
    /// Decides for a server that no configuration knows.
    pub(super) fn of_environment(env: &Environment, urls: &Urls) -> Result<Self, SettingsError> {
        let origins = origins(urls);
        Ok(token_of_environment(env, &origins)?.unwrap_or_else(|| Self::nothing(origins)))
    }

    fn nothing(origins: BTreeSet<Origin>) -> Self {
        Self { credentials: Credentials::none(), kind: Kind::Nothing, hint: None, origins }
    }
}

impl Inputs<'_> {
    /// Decides how the server of an entry is told who asks.
    pub fn way_in(&self, entry: &ServerEntry) -> Result<WayIn, SettingsError> {
        let origins = origins(&self.urls(entry)?);
        if let Some(token) = token_of_environment(self.env, &origins)? {
            return Ok(token);
        }
        let nobody = SignIn::default();
        let owned = self.config().filter(|config| self.may_use_shared(config, entry, &origins));
        let shared = owned.map_or(&nobody, |config| &config.shared);
        let mut way_in = self.configured(&Merged { own: &entry.sign_in, shared }, origins)?;
        if way_in.hint.is_none() && owned.is_none() {
            way_in.hint = self.config().and_then(|config| withheld(config, entry));
        }
        Ok(way_in)
    }

    /// Says whether the top-level credentials are this server's: it owns them, or it is nowhere
    /// but where their owner is. The reference sends them to every server.
    fn may_use_shared(
        &self,
        config: &ConfigFile,
        entry: &ServerEntry,
        origins: &BTreeSet<Origin>,
    ) -> bool {
        owner(config).is_some_and(|owner| {
            owner.name == entry.name
                || self.urls(owner).is_ok_and(|urls| {
                    !origins.is_empty() && origins.is_subset(&self::origins(&urls))
                })
        })
    }

    fn configured(
        &self,
        keys: &Merged<'_>,
        origins: BTreeSet<Origin>,
    ) -> Result<WayIn, SettingsError> {
        let to = || origins.iter().cloned();
        if let Some((from, token)) = self.secret(
            keys.get(|keys| &keys.token),
            keys.get(|keys| &keys.token_file),
            keys.get(|keys| &keys.token_command),
        )? {
            let credentials = Credentials::bearer(to(), token);
            return Ok(WayIn { credentials, kind: Kind::Token { from }, hint: None, origins });
        }
        if let Some(text) = keys.get(|keys| &keys.auth_type)
            && text.expand(self.env)?.expose() == "oidc"
        {
            return Ok(not_yet(Kind::Oidc { key: text.path().to_owned() }, origins));
        }
        let name = keys.get(|keys| &keys.oidc_username).or(keys.get(|keys| &keys.username));
        let username = self.secret(name, None, keys.get(|keys| &keys.username_command))?;
        let password = keys.get(|keys| &keys.password);
        let password = self.secret(password, None, keys.get(|keys| &keys.password_command))?;
        if let (Some((_key, username)), Some((_other, password))) = (username, password) {
            let shown = match keys.get(|keys| &keys.username_command) {
                Some(_) => None,
                None => name.map(|text| text.expand(self.env)).transpose()?,
            };
            let username_shown = shown.map(|name| name.expose().clone());
            let credentials = Credentials::basic(to(), username, password);
            let kind = Kind::Basic { username: username_shown };
            return Ok(WayIn { credentials, kind, hint: None, origins });
        }
        let ssh_key = [
            keys.get(|keys| &keys.public_key_command),
            keys.get(|keys| &keys.public_key_file),
            keys.get(|keys| &keys.public_key),
        ];
        match ssh_key.into_iter().flatten().next() {
            Some(text) => Ok(not_yet(Kind::SshKey { key: text.path().to_owned() }, origins)),
            None => Ok(WayIn::nothing(origins)),
        }
    }

    /// Returns a secret and the key it comes from. A command beats a file, and a file what is
    /// written, as a command beats what is written for the reference.
    fn secret(
        &self,
        written: Option<&Text>,
        file: Option<&Text>,
        command: Option<&Text>,
    ) -> Result<Option<(String, SecretValue)>, ConfigError> {
        let found = if let Some(text) = command {
            // The shell replaces the variables itself, with its own rules of quoting.
            let line = text.as_written().expose().clone();
            Some((text, SecretValue::command(text.path(), line)))
        } else if let Some(text) = file {
            Some((text, SecretValue::file(text.path(), self.path(text)?)))
        } else if let Some(text) = written {
            Some((text, SecretValue::fixed(text.path(), text.expand(self.env)?)))
        } else {
            None
        };
        Ok(found.map(|(text, value)| (text.path().to_owned(), value)))
    }
}

/// The keys of a server, with those at the top level behind them.
struct Merged<'a> {
    own: &'a SignIn,
    shared: &'a SignIn,
}

impl<'a> Merged<'a> {
    fn get(&self, key: impl Fn(&'a SignIn) -> &'a Option<Text>) -> Option<&'a Text> {
        key(self.own).as_ref().or(key(self.shared).as_ref())
    }
}

fn origins(urls: &Urls) -> BTreeSet<Origin> {
    let urls = [&urls.repository, &urls.tools, &urls.truststore];
    urls.into_iter().filter_map(|url| url.origin().cloned()).collect()
}

fn token_of_environment(
    env: &Environment,
    origins: &BTreeSet<Origin>,
) -> Result<Option<WayIn>, EnvironmentError> {
    let to = origins.iter().cloned();
    let written = Variable::RepoToken.name();
    let file = Variable::RepoTokenFile.name();
    let (from, token) = if let Some(token) = env.secret(Variable::RepoToken)? {
        (written.clone(), SecretValue::fixed(&written, token))
    } else if let Some(path) = env.path(Variable::RepoTokenFile) {
        (file.clone(), SecretValue::file(&file, path))
    } else {
        return Ok(None);
    };
    let credentials = Credentials::bearer(to, token);
    let kind = Kind::Token { from };
    Ok(Some(WayIn { credentials, kind, hint: None, origins: origins.clone() }))
}

/// Returns the server that the top-level credentials belong to: the one named by `defaultServer`,
/// the only one, or the legacy one. With several and no word about it, nobody's.
fn owner(config: &ConfigFile) -> Option<&ServerEntry> {
    if let Some(name) = &config.default_server {
        return config.server(name);
    }
    match config.servers.as_slice() {
        [only] => Some(only),
        several => several.iter().find(|server| server.legacy),
    }
}

/// Says where credentials are that a server does not get, if there are any.
fn withheld(config: &ConfigFile, entry: &ServerEntry) -> Option<String> {
    let shared = &config.shared;
    let keys = [
        &shared.username,
        &shared.username_command,
        &shared.password,
        &shared.password_command,
        &shared.public_key,
        &shared.public_key_file,
        &shared.public_key_command,
        &shared.token,
        &shared.token_file,
        &shared.token_command,
        &shared.auth_type,
    ];
    let set: Vec<String> =
        keys.into_iter().flatten().map(|text| format!("`{}`", text.path())).collect();
    if set.is_empty() {
        return None;
    }
    let whose = match owner(config) {
        Some(owner) => format!("belong to the server `{}`", owner.name),
        None => "belong to no server, because there are several and no `defaultServer`".to_owned(),
    };
    Some(format!(
        "{} at the top level of the configuration {whose}; what is meant for this one stands in `servers.{}`",
        set.join(", "),
        entry.name
    ))
}

/// A way of signing in that is configured and that this version does not have. Repositories that
/// need no sign-in are read all the same.
fn not_yet(kind: Kind, origins: BTreeSet<Origin>) -> WayIn {
    let hint = kind.not_supported();
    WayIn { credentials: Credentials::none(), kind, hint, origins }
}

impl Kind {
    /// Returns its name, one word for scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Basic { .. } => "basic",
            Self::Token { .. } => "token",
            Self::Oidc { .. } => "oidc",
            Self::SshKey { .. } => "ssh",
        }
    }

    /// Returns what is sent, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Basic { .. } => "a user name and a password".to_owned(),
            Self::Token { from } => format!("the token of `{from}`"),
            Self::Oidc { .. } => "an identity provider".to_owned(),
            Self::SshKey { .. } => "a key of the SSH agent".to_owned(),
        }
    }

    /// Returns where it stands, as the beginning of a sentence.
    pub fn place(&self) -> String {
        match self {
            Self::Token { from } => format!("the token of `{from}` stays"),
            Self::Basic { .. } | Self::Nothing | Self::Oidc { .. } | Self::SshKey { .. } => {
                "what the configuration says stays".to_owned()
            }
        }
    }

    /// Returns why this way of signing in does not work in this version, if it does not.
    pub fn not_supported(&self) -> Option<String> {
        let program = brand::PROGRAM;
        match self {
            Self::Oidc { key } => Some(format!(
                "`{key}` asks for sign-in through an identity provider, which this version of {program} does not do yet; use `token` or `username` and `password`"
            )),
            Self::SshKey { key } => Some(format!(
                "`{key}` asks for sign-in with a key of the SSH agent, which this version of {program} does not do yet; use `token` or `username` and `password`"
            )),
            Self::Nothing | Self::Basic { .. } | Self::Token { .. } => None,
        }
    }
}
