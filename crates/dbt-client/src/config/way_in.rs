//! How a server is told who asks: decided once, for every program that asks one.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dbt_core::brand;
use dbt_core::clock::Clock;

use super::provider::{self, Configured};
use super::{ConfigError, ConfigFile, Keys, ServerEntry, SharedClient, Surroundings, Variables};
use crate::auth::agent::Agent;
use crate::auth::{Credentials, Found, JobTokens, Netrc, ProviderTokens, SecretValue};
use crate::oidc::ci::Identity;
use crate::token_cache::{Recipient, TokenCache};
use crate::url::{Origin, RepositoryUrl};

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
    /// What the identity provider gives, where one is configured.
    pub provider: Option<Arc<ProviderTokens>>,
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
    /// An identity provider.
    Oidc {
        /// Its URL.
        issuer: String,
    },
    /// An identity provider, of which not enough is said.
    NamelessProvider {
        /// The path of the key that asks for one.
        key: String,
        /// The key that is missing beside it.
        missing: &'static str,
    },
    /// An identity provider, whose tokens another server would take, too.
    SharedProvider(SharedClient),
    /// The identity of a CI job.
    Job {
        /// Where it comes from, in words.
        from: String,
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

/// The server that is told, and what of the surroundings decides how.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Where its repository is, if that is no directory: tokens are kept for it, and the identity of
    /// a job is made for it.
    pub home: Option<&'a Origin>,
    /// Who is sent what is kept: the server at each of its origins.
    pub recipients: &'a [Recipient],
    /// Where an identity of a job would be.
    pub variables: &'a dyn Variables,
    /// Scales all time limits.
    pub time_scale: f64,
}

impl WayIn {
    /// Nothing is configured: a token that somebody has signed in with is sent, or what the user's
    /// netrc file has for these hosts, if there is either; or what the server gives for the identity
    /// of the job in which this runs.
    pub fn unconfigured(origins: BTreeSet<Origin>, asked: Asked<'_>, means: &Means) -> Self {
        let netrc = means.netrc.clone().map(Netrc::at);
        let found = Found::new(means.tokens.clone(), netrc, asked.recipients);
        let way_in = Self::looking(Kind::Nothing, found, origins);
        way_in.in_a_job(asked, means)
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
        Self { credentials, kind, hint, origins, provider: None, found: Some(found) }
    }

    /// Sends a token, which comes from the key or variable `from`.
    pub fn token(from: &str, token: SecretValue, origins: BTreeSet<Origin>) -> Self {
        let credentials = Credentials::bearer(origins.iter().cloned(), token);
        Self::configured(Kind::Token { from: from.to_owned() }, credentials, origins)
    }

    fn configured(kind: Kind, credentials: Credentials, origins: BTreeSet<Origin>) -> Self {
        Self { credentials, kind, hint: None, origins, provider: None, found: None }
    }

    /// A way of signing in that is configured and cannot be used. Repositories that need no
    /// sign-in are read all the same.
    fn unusable(kind: Kind, origins: BTreeSet<Origin>) -> Self {
        let hint = kind.unusable();
        Self { hint, ..Self::configured(kind, Credentials::none(), origins) }
    }

    /// An identity provider is configured. A token that somebody has given comes before its own.
    fn through_provider(
        settings: crate::oidc::ProviderSettings,
        origins: BTreeSet<Origin>,
        asked: Asked<'_>,
        means: &Means,
    ) -> Self {
        let issuer = settings.addresses.issuer.as_str().to_owned();
        let found = Found::new(means.tokens.clone(), None, asked.recipients);
        let mut way_in = Self::looking(Kind::Oidc { issuer }, found, origins);
        let Some(home) = asked.home else { return way_in };
        let recipients = asked.recipients;
        let to = recipients.iter().find(|it| it.origin == *home).cloned();
        let to = to.unwrap_or_else(|| Recipient::at_home(home.clone()));
        let tokens = ProviderTokens::new(settings, means.kept_tokens(), &to, recipients);
        let tokens = Arc::new(tokens);
        way_in = way_in.in_a_job(asked, means);
        let to = way_in.origins.iter().cloned();
        let its = Credentials::provider(to, Arc::clone(&tokens));
        way_in.credentials = way_in.credentials.or_else(its);
        way_in.provider = Some(tokens);
        way_in
    }

    /// Uses the identity of the job in which this runs where nothing else is sent. What every program
    /// in a job could have waits until the server asks, unless a provider is configured.
    fn in_a_job(mut self, asked: Asked<'_>, means: &Means) -> Self {
        let (Some(home), Ok(Some(identity))) = (asked.home, Identity::find(asked.variables)) else {
            return self;
        };
        if identity.is_given() {
            return self;
        }
        let is_wanted = matches!(self.kind, Kind::Oidc { .. });
        let from = identity.place();
        let its = asked.job(Ok(identity), home, means, is_wanted);
        let its = Credentials::job(self.origins.iter().cloned(), Arc::new(its));
        self.credentials = self.credentials.or_else(its);
        self.kind = Kind::Job { from };
        self
    }

    /// Sends what the server gives for an identity that somebody has put into a variable of ours, and
    /// only where it is for another server what is configured.
    #[must_use]
    pub fn after_given_identity(mut self, asked: Asked<'_>, means: &Means) -> Self {
        let Some(home) = asked.home else { return self };
        let identity = match Identity::find(asked.variables) {
            Ok(Some(identity)) if identity.is_given() => Ok(identity),
            Ok(_) => return self,
            Err(error) => Err(error),
        };
        match identity.as_ref().map(|identity| (identity, identity.not_for(home))) {
            Ok((identity, None)) => {
                self.kind = Kind::Job { from: identity.place() };
                self.found = None;
            }
            Ok((_identity, Some(why))) => self.hint = self.hint.or_else(|| Some(why.to_string())),
            Err(_unreadable) => {}
        }
        let its = asked.job(identity, home, means, true);
        let its = Credentials::job(self.origins.iter().cloned(), Arc::new(its));
        self.credentials = its.or_else(self.credentials);
        self
    }
}

impl Asked<'_> {
    fn job(
        self,
        identity: Result<Identity, crate::oidc::OidcError>,
        home: &Origin,
        means: &Means,
        is_wanted: bool,
    ) -> JobTokens {
        let limits = (means.clock, self.time_scale);
        JobTokens::new(identity, home, means.kept_tokens(), limits, is_wanted)
    }
}

impl Means {
    /// Returns where tokens are kept; for this process alone, if nowhere else.
    fn kept_tokens(&self) -> Arc<TokenCache> {
        self.tokens.clone().unwrap_or_else(|| Arc::new(TokenCache::in_memory()))
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
        let repository = entry.repository.as_ref().map(|text| text.url(around)).transpose()?;
        let repository = repository.as_ref().and_then(RepositoryUrl::origin);
        let recipients = Recipient::all(&entry.name, repository, &origins);
        let home = repository.or_else(|| origins.first()).cloned();
        let asked = Asked {
            home: home.as_ref(),
            recipients: &recipients,
            variables: around.variables,
            time_scale: entry.options.timeout.unwrap_or(1.0),
        };
        let shared = self.shared_client(entry, &origins, around);
        let mut way_in = configured(keys, shared, origins, around, asked, means)?;
        if way_in.hint.is_none() && !keys.own_the_shared() {
            way_in.hint = self.withheld(entry);
        }
        Ok(way_in.after_given_identity(asked, means))
    }
}

fn configured(
    keys: Keys<'_>,
    shared: Option<SharedClient>,
    origins: BTreeSet<Origin>,
    around: Surroundings<'_>,
    asked: Asked<'_>,
    means: &Means,
) -> Result<WayIn, ConfigError> {
    if let Some((key, token)) = keys.token(around)? {
        return Ok(WayIn::token(key.path(), token, origins));
    }
    if let Some(text) = keys.get(|keys| &keys.auth_type)
        && text.expand(around.variables)?.expose() == "oidc"
    {
        return Ok(match provider::settings(keys, around, asked.time_scale, means)? {
            Configured::Provider(settings) => match shared {
                None => WayIn::through_provider(*settings, origins, asked, means),
                Some(shared) => {
                    let found = Found::new(means.tokens.clone(), None, asked.recipients);
                    WayIn::looking(Kind::SharedProvider(shared), found, origins)
                }
            },
            Configured::Missing(missing) => {
                let kind = Kind::NamelessProvider { key: text.path().to_owned(), missing };
                let found = Found::new(means.tokens.clone(), None, asked.recipients);
                WayIn::looking(kind, found, origins)
            }
        });
    }
    // The reference sends both where both are configured.
    let (password, ssh_key) = (keys.password(around)?, keys.public_key(around)?);
    let Some(username) = keys.username(around)?.map(Arc::new) else {
        return Ok(match ssh_key {
            Some((text, _key)) => {
                WayIn::unusable(Kind::NamelessSshKey { key: text.path().to_owned() }, origins)
            }
            None => WayIn::unconfigured(origins, asked, means),
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
        None if basic.is_none() => return Ok(WayIn::unconfigured(origins, asked, means)),
        None => (Kind::Basic { username: shown }, basic),
    };
    Ok(WayIn::configured(kind, credentials, origins))
}

impl Kind {
    /// Returns its name, one word for scripts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Basic { .. } => "basic",
            Self::Token { .. } => "token",
            Self::Oidc { .. } | Self::NamelessProvider { .. } | Self::SharedProvider(_) => "oidc",
            Self::Job { .. } => "ci",
            Self::SshKey { .. } | Self::NamelessSshKey { .. } => "ssh",
            Self::Netrc { .. } => "netrc",
            Self::Login => "login",
        }
    }

    /// Says whether anything is sent.
    pub fn is_sent(&self) -> bool {
        self.unusable().is_none() && *self != Self::Nothing
    }

    /// Returns what is sent, in words.
    pub fn words(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Basic { .. } => "a user name and a password".to_owned(),
            Self::Token { from } => format!("the token of `{from}`"),
            Self::Oidc { issuer } => format!("the token of `{issuer}`"),
            Self::NamelessProvider { .. } | Self::SharedProvider(_) => {
                "an identity provider".to_owned()
            }
            Self::Job { from } => format!("the identity of this job, from {from}"),
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
            Self::Job { from } => Some(format!("the identity of this job, from {from}, stays")),
            Self::Nothing
            | Self::Oidc { .. }
            | Self::NamelessProvider { .. }
            | Self::SharedProvider(_)
            | Self::NamelessSshKey { .. }
            | Self::Login => None,
        }
    }

    /// Returns why this way of signing in cannot be used, if it cannot.
    pub fn unusable(&self) -> Option<String> {
        match self {
            Self::NamelessProvider { key, missing } => Some(format!(
                "`{key}` asks for sign-in through an identity provider, and `{missing}` is missing beside it"
            )),
            Self::SharedProvider(shared) => Some(shared.words()),
            Self::NamelessSshKey { key } => Some(format!(
                "`{key}` names an SSH key, and nothing says in whose name it signs: write `username` beside it"
            )),
            Self::Nothing
            | Self::Basic { .. }
            | Self::Token { .. }
            | Self::Oidc { .. }
            | Self::Job { .. }
            | Self::SshKey { .. }
            | Self::Netrc { .. }
            | Self::Login => None,
        }
    }
}
