//! Which credentials belong to which server.

use std::collections::BTreeSet;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::config::{ConfigError, Keys, ServerEntry, Surroundings, Urls};
use dbt_client::url::Origin;
use dbt_core::brand;

use super::{Inputs, SettingsError};
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
        let origins = urls.origins();
        Ok(token_of_environment(env, &origins)?.unwrap_or_else(|| Self::nothing(origins)))
    }

    fn nothing(origins: BTreeSet<Origin>) -> Self {
        Self { credentials: Credentials::none(), kind: Kind::Nothing, hint: None, origins }
    }
}

impl Inputs<'_> {
    /// Decides how the server of an entry is told who asks.
    pub fn way_in(&self, entry: &ServerEntry) -> Result<WayIn, SettingsError> {
        let origins = self.urls(entry)?.origins();
        if let Some(token) = token_of_environment(self.env, &origins)? {
            return Ok(token);
        }
        let Some(config) = self.config() else {
            return Ok(WayIn::nothing(origins));
        };
        let directory = self.config_directory();
        let around = self.around(&directory);
        let keys = config.keys_of(entry, &origins, around);
        let mut way_in = configured(keys, origins, around)?;
        if way_in.hint.is_none() && !keys.own_the_shared() {
            way_in.hint = config.withheld(entry);
        }
        Ok(way_in)
    }
}

fn configured(
    keys: Keys<'_>,
    origins: BTreeSet<Origin>,
    around: Surroundings<'_>,
) -> Result<WayIn, ConfigError> {
    let to = || origins.iter().cloned();
    if let Some((key, token)) = keys.token(around)? {
        let credentials = Credentials::bearer(to(), token);
        let kind = Kind::Token { from: key.path().to_owned() };
        return Ok(WayIn { credentials, kind, hint: None, origins });
    }
    if let Some(text) = keys.get(|keys| &keys.auth_type)
        && text.expand(around.variables)?.expose() == "oidc"
    {
        return Ok(not_yet(Kind::Oidc { key: text.path().to_owned() }, origins));
    }
    if let Some((username, password)) = keys.username_and_password(around)? {
        let shown = match keys.get(|keys| &keys.username_command) {
            Some(_) => None,
            None => {
                keys.written_username().map(|text| text.expand(around.variables)).transpose()?
            }
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
