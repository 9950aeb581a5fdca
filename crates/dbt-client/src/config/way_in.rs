//! How a server is told who asks: decided once, for every program that asks one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dbt_core::brand;
use dbt_core::clock::Clock;

use super::{ConfigError, ConfigFile, Keys, ServerEntry, Surroundings};
use crate::auth::agent::Agent;
use crate::auth::{Credentials, Found, Netrc, SecretValue};
use crate::token_cache::TokenCache;
use crate::url::Origin;

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
    /// Where it is looked for what is sent when nothing is configured.
    found: Option<Arc<Found>>,
}

/// What it takes to tell who asks, besides the configuration.
#[derive(Debug, Clone)]
pub struct Means {
    /// The agent that holds the user's SSH keys.
    pub agent: Agent,
    /// Where the time comes from.
    pub clock: Clock,
    /// The user's netrc file, which need not exist.
    pub netrc: Option<PathBuf>,
    /// The tokens that somebody has signed in with.
    pub tokens: Option<Arc<TokenCache>>,
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
    /// Tokens that a key of the SSH agent signs.
    SshKey {
        /// The path of the key of the configuration that names the SSH key.
        key: String,
        /// In whose name, unless a command prints that.
        username: Option<String>,
        /// Whether a password is sent beside.
        with_password: bool,
    },
    /// A key of the SSH agent, and nobody in whose name it signs.
    NamelessSshKey {
        /// The path of the key of the configuration that names the SSH key.
        key: String,
    },
    /// The entry for the host in the user's netrc file.
    Netrc {
        /// The file.
        path: PathBuf,
        /// The user's name there.
        username: String,
    },
    /// A token that somebody has signed in with.
    Login,
}

impl WayIn {
    /// Nothing is configured: a token that somebody has signed in with is sent, or what the user's
    /// netrc file has for these hosts, if there is either.
    pub fn unconfigured(origins: BTreeSet<Origin>, means: &Means) -> Self {
        let netrc = means.netrc.clone().map(Netrc::at);
        Self::looking(Kind::Nothing, Found::new(means.tokens.clone(), netrc), origins)
    }

    /// Returns how, with what is found where nothing is configured. Looks for it.
    pub fn found(&self) -> Kind {
        let find = |found: &Arc<Found>| {
            if self.origins.iter().any(|origin| found.has_token(origin)) {
                return Some(Kind::Login);
            }
            let netrc = found.netrc()?;
            let mut users = self.origins.iter().filter_map(|it| netrc.user(it).ok().flatten());
            let username = users.next()?.to_owned();
            Some(Kind::Netrc { path: netrc.path().to_owned(), username })
        };
        self.found.as_ref().and_then(find).unwrap_or_else(|| self.kind.clone())
    }

    fn looking(kind: Kind, found: Found, origins: BTreeSet<Origin>) -> Self {
        let (hint, found) = (kind.unusable(), Arc::new(found));
        let credentials = Credentials::found(origins.iter().cloned(), Arc::clone(&found));
        Self { credentials, kind, hint, origins, found: Some(found) }
    }

    /// Sends a token, which comes from the key or variable `from`.
    pub fn token(from: &str, token: SecretValue, origins: BTreeSet<Origin>) -> Self {
        let credentials = Credentials::bearer(origins.iter().cloned(), token);
        let kind = Kind::Token { from: from.to_owned() };
        Self { credentials, kind, hint: None, origins, found: None }
    }

    /// A way of signing in that is configured and cannot be used. Repositories that need no
    /// sign-in are read all the same.
    fn unusable(kind: Kind, origins: BTreeSet<Origin>) -> Self {
        let hint = kind.unusable();
        Self { credentials: Credentials::none(), kind, hint, origins, found: None }
    }
}

impl ConfigFile {
    /// Decides how the server of an entry, which is at these origins, is told who asks.
    pub fn way_in(
        &self,
        entry: &ServerEntry,
        origins: BTreeSet<Origin>,
        around: Surroundings<'_>,
        means: &Means,
    ) -> Result<WayIn, ConfigError> {
        let keys = self.keys_of(entry, &origins, around);
        let mut way_in = configured(keys, origins, around, means)?;
        if way_in.hint.is_none() && !keys.own_the_shared() {
            way_in.hint = self.withheld(entry);
        }
        Ok(way_in)
    }
}

fn configured(
    keys: Keys<'_>,
    origins: BTreeSet<Origin>,
    around: Surroundings<'_>,
    means: &Means,
) -> Result<WayIn, ConfigError> {
    if let Some((key, token)) = keys.token(around)? {
        return Ok(WayIn::token(key.path(), token, origins));
    }
    if let Some(text) = keys.get(|keys| &keys.auth_type)
        && text.expand(around.variables)?.expose() == "oidc"
    {
        let kind = Kind::Oidc { key: text.path().to_owned() };
        return Ok(WayIn::looking(kind, Found::new(means.tokens.clone(), None), origins));
    }
    // The reference sends both where both are configured.
    let (password, ssh_key) = (keys.password(around)?, keys.public_key(around)?);
    let Some(username) = keys.username(around)?.map(Arc::new) else {
        return Ok(match ssh_key {
            Some((text, _key)) => {
                WayIn::unusable(Kind::NamelessSshKey { key: text.path().to_owned() }, origins)
            }
            None => WayIn::unconfigured(origins, means),
        });
    };
    let to = || origins.iter().cloned();
    let basic = match password {
        Some(password) => Credentials::basic(to(), Arc::clone(&username), password),
        None => Credentials::none(),
    };
    let shown = keys.shown_username(around)?;
    let (kind, credentials) = match ssh_key {
        Some((text, key)) => {
            let with_password = !basic.is_none();
            let key_path = text.path().to_owned();
            let kind = Kind::SshKey { key: key_path, username: shown, with_password };
            let Means { agent, clock, netrc: _, tokens: _ } = means;
            (kind, basic.beside(Credentials::ssh(to(), username, key, agent.clone(), *clock)))
        }
        None if basic.is_none() => return Ok(WayIn::unconfigured(origins, means)),
        None => (Kind::Basic { username: shown }, basic),
    };
    Ok(WayIn { credentials, kind, hint: None, origins, found: None })
}

impl Kind {
    /// Returns its name, one word for scripts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Basic { .. } => "basic",
            Self::Token { .. } => "token",
            Self::Oidc { .. } => "oidc",
            Self::SshKey { .. } | Self::NamelessSshKey { .. } => "ssh",
            Self::Netrc { .. } => "netrc",
            Self::Login => "login",
        }
    }

    /// Says whether anything is sent.
    pub const fn is_sent(&self) -> bool {
        !matches!(self, Self::Nothing | Self::Oidc { .. } | Self::NamelessSshKey { .. })
    }

    /// Returns what is sent, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Basic { .. } => "a user name and a password".to_owned(),
            Self::Token { from } => format!("the token of `{from}`"),
            Self::Oidc { .. } => "an identity provider".to_owned(),
            Self::SshKey { key, with_password: false, .. } | Self::NamelessSshKey { key } => {
                format!("the key of `{key}` in the SSH agent")
            }
            Self::SshKey { key, with_password: true, .. } => {
                format!("the key of `{key}` in the SSH agent, and a password")
            }
            Self::Netrc { path, .. } => format!("the password in `{}`", path.display()),
            Self::Login => format!("the token of `{} login`", brand::PROGRAM),
        }
    }

    /// Returns where what is sent stands when it is no sign-in that could be forgotten, as the
    /// beginning of a sentence.
    pub fn place(&self) -> Option<String> {
        match self {
            Self::Token { from } => Some(format!("the token of `{from}` stays")),
            Self::Basic { .. } => Some("what the configuration says stays".to_owned()),
            Self::SshKey { key, .. } => {
                Some(format!("the SSH key that `{key}` names stays in its agent, and stays"))
            }
            Self::Netrc { path, .. } => Some(format!("what `{}` says stays", path.display())),
            Self::Nothing | Self::Oidc { .. } | Self::NamelessSshKey { .. } | Self::Login => None,
        }
    }

    /// Returns why this way of signing in cannot be used, if it cannot.
    pub fn unusable(&self) -> Option<String> {
        let program = brand::PROGRAM;
        match self {
            Self::Oidc { key } => Some(format!(
                "`{key}` asks for sign-in through an identity provider, which this version of {program} does not do yet; use `token` or `username` and `password`"
            )),
            Self::NamelessSshKey { key } => Some(format!(
                "`{key}` names an SSH key, and nothing says in whose name it signs: write `username` beside it"
            )),
            Self::Nothing
            | Self::Basic { .. }
            | Self::Token { .. }
            | Self::SshKey { .. }
            | Self::Netrc { .. }
            | Self::Login => None,
        }
    }
}
