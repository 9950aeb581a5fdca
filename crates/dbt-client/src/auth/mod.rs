//! Credentials for one server: never sent to another origin.
//!
//! What is sent is asked for with [`Credentials::headers_for`], the one place that knows which
//! origins may see it. Commands and files are read then, and not before: a run that makes no
//! request starts no command.

pub mod agent;
mod found;
mod job;
mod netrc;
mod provider;
mod ssh_key;
mod ssh_subject;
mod ssh_token;
mod value;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;

use crate::oidc::OidcError;
use crate::source::{AwsError, Class, Connector};
use crate::url::{Origin, Scheme};

use self::agent::{Agent, AgentError};
use self::found::Proof;
use self::netrc::Login;
use self::ssh_token::SshTokens;

pub use found::Found;
pub use job::JobTokens;
pub use netrc::{Netrc, NetrcProblem};
pub use provider::{By, ProviderTokens};
pub use ssh_key::KeyProblem;
pub(crate) use ssh_subject::SshSubjects;
pub use ssh_token::SshError;
pub use value::{SecretValue, shell};

/// What is sent to one server's origins, and to no other.
///
/// Copies share what was once read: a command runs at most once.
#[derive(Debug, Clone)]
pub struct Credentials {
    origins: Arc<BTreeSet<Origin>>,
    /// The first of these that has something is sent, all of it.
    choices: Vec<Vec<Arc<Kind>>>,
}

/// One way of saying who asks. Several can be sent with the same request.
#[derive(Debug)]
enum Kind {
    Basic { username: Arc<SecretValue>, password: SecretValue },
    Bearer { token: SecretValue },
    Ssh(SshTokens),
    Found(Arc<Found>),
    Provider(Arc<ProviderTokens>),
    Job(Arc<JobTokens>),
}

/// Who waits for credentials.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    /// How providers are reached, where they may be.
    pub(crate) connector: Option<&'a Arc<Connector>>,
    /// How long commands, pipes, agents and providers are waited for.
    pub(crate) limit: Duration,
}

/// What a request is for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose<'a> {
    /// It changes nothing.
    Read,
    /// It changes something.
    Write {
        /// Its method.
        method: &'a str,
        /// Where it goes.
        url: &'a str,
    },
}

impl Credentials {
    /// Returns what is sent when nothing is configured: nothing.
    pub fn none() -> Self {
        Self { origins: Arc::default(), choices: Vec::new() }
    }

    /// Returns a user name and a password for these origins. When either is empty, nothing is
    /// sent.
    pub fn basic(
        origins: impl IntoIterator<Item = Origin>,
        username: impl Into<Arc<SecretValue>>,
        password: SecretValue,
    ) -> Self {
        Self::of(origins, Kind::Basic { username: username.into(), password })
    }

    /// Returns a token for these origins. When it is empty, nothing is sent.
    pub fn bearer(origins: impl IntoIterator<Item = Origin>, token: SecretValue) -> Self {
        Self::of(origins, Kind::Bearer { token })
    }

    /// Returns tokens for these origins that a key in the agent signs. `key` gives the public half
    /// as a line of OpenSSH. When it or the user name is empty, nothing is sent.
    pub fn ssh(
        origins: impl IntoIterator<Item = Origin>,
        username: impl Into<Arc<SecretValue>>,
        key: SecretValue,
        agent: Agent,
        clock: Clock,
    ) -> Self {
        Self::of(origins, Kind::Ssh(SshTokens::new(username.into(), key, agent, clock)))
    }

    /// Returns what is found for these origins where nothing is configured.
    pub fn found(origins: impl IntoIterator<Item = Origin>, found: Arc<Found>) -> Self {
        Self::of(origins, Kind::Found(found))
    }

    /// Returns what an identity provider has given for these origins.
    pub fn provider(
        origins: impl IntoIterator<Item = Origin>,
        tokens: Arc<ProviderTokens>,
    ) -> Self {
        Self::of(origins, Kind::Provider(tokens))
    }

    /// Returns what the server at these origins gives for the identity of a job.
    pub fn job(origins: impl IntoIterator<Item = Origin>, tokens: Arc<JobTokens>) -> Self {
        Self::of(origins, Kind::Job(tokens))
    }

    /// Says why something that these origins could be told is not used, and what helps. Looks at
    /// the files that it could be in.
    pub fn unused(&self) -> Option<String> {
        let problem = |kind: &Arc<Kind>| match kind.as_ref() {
            Kind::Found(found) => {
                let mut problems = self.origins.iter().filter_map(|it| found.proof(it).err());
                let problem = problems.next().map(|problem| problem.in_one_line());
                problem.or_else(|| found.origin_of_another().map(sign_in_of_another))
            }
            Kind::Provider(tokens) => tokens.unused(),
            Kind::Job(tokens) => tokens.unused(),
            Kind::Basic { .. } | Kind::Bearer { .. } | Kind::Ssh(_) => None,
        };
        self.kinds().find_map(problem)
    }

    /// Sends these beside others for the same origins.
    #[must_use]
    pub fn beside(self, others: Self) -> Self {
        let origins = self.origins_with(&others);
        let kinds: Vec<_> = self.choices.into_iter().chain(others.choices).flatten().collect();
        let choices = if kinds.is_empty() { Vec::new() } else { vec![kinds] };
        Self { origins, choices }
    }

    /// Sends others for the same origins where there is nothing of these, or where they cannot be had.
    #[must_use]
    pub fn or_else(self, others: Self) -> Self {
        let origins = self.origins_with(&others);
        let choices = self.choices.into_iter().chain(others.choices).collect();
        Self { origins, choices }
    }

    /// Says whether nothing is configured to be sent. Something may be found all the same.
    pub fn is_none(&self) -> bool {
        self.kinds().all(|kind| kind.is_found())
    }

    /// Reads from now on with what is sent to write, and says whether that is something else than
    /// before: then a server may show what it has not shown until now, such as what is not finished.
    pub fn begin_writing(&self) -> bool {
        let mut is_other = false;
        for kind in self.kinds() {
            is_other |= kind.begin_writing();
        }
        is_other
    }

    /// Returns the headers that tell `origin` who asks to read.
    ///
    /// There are none for an origin of another server. May run the configured commands, once; asks no
    /// identity provider.
    pub fn headers_for(&self, origin: &Origin) -> Result<Vec<AuthHeader>, CredentialsError> {
        let asker = Asker { connector: None, limit: Duration::MAX };
        self.headers_within(origin, Purpose::Read, asker)
    }

    /// Does so for one request.
    pub(crate) fn headers_within(
        &self,
        origin: &Origin,
        purpose: Purpose<'_>,
        asker: Asker<'_>,
    ) -> Result<Vec<AuthHeader>, CredentialsError> {
        if !self.origins.contains(origin) {
            return Ok(Vec::new());
        }
        let mut failed = None;
        for kinds in &self.choices {
            match headers_of(kinds, origin, purpose, asker) {
                Ok(headers) if headers.is_empty() => {}
                Err(error) => failed = failed.or(Some(error)),
                headers => return headers,
            }
        }
        failed.map_or(Ok(Vec::new()), Err)
    }

    /// Gets a token anew that a file, a command or a provider gives, because `origin` refused it: it
    /// may have expired since. Once in a run; says whether there is another one now.
    pub(crate) fn renew(
        &self,
        origin: &Origin,
        asker: Asker<'_>,
    ) -> Result<bool, CredentialsError> {
        if !self.origins.contains(origin) {
            return Ok(false);
        }
        let is_exposed = origin.scheme() == Scheme::Http && !origin.is_loopback();
        for kinds in &self.choices {
            let mut is_other = false;
            for kind in kinds.iter().filter(|_| !is_exposed) {
                is_other |= kind.renew(asker)?;
            }
            // What stands behind what was sent would not be.
            let is_sent = || headers_of(kinds, origin, Purpose::Read, asker);
            if is_other || is_sent().is_ok_and(|headers| !headers.is_empty()) {
                return Ok(is_other);
            }
        }
        Ok(false)
    }

    /// Says whether that was done.
    pub(crate) fn was_renewed(&self) -> bool {
        self.kinds().any(|kind| match kind.as_ref() {
            Kind::Bearer { token } => token.was_renewed(),
            Kind::Provider(tokens) => tokens.was_renewed(),
            Kind::Job(tokens) => tokens.was_renewed(),
            Kind::Basic { .. } | Kind::Ssh(_) | Kind::Found(_) => false,
        })
    }

    fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.choices.iter().flatten()
    }

    fn origins_with(&self, others: &Self) -> Arc<BTreeSet<Origin>> {
        let (one, other) = (&self.origins, &others.origins);
        debug_assert!(self.choices.is_empty() || others.choices.is_empty() || one == other);
        Arc::clone(if self.choices.is_empty() { other } else { one })
    }

    fn of(origins: impl IntoIterator<Item = Origin>, kind: Kind) -> Self {
        let origins = Arc::new(origins.into_iter().collect());
        Self { origins, choices: vec![vec![Arc::new(kind)]] }
    }
}

/// Says that a sign-in is not used which is another server's.
fn sign_in_of_another(origin: &Origin) -> String {
    format!(
        "the sign-in that is kept for `{origin}` is that of the server which is at home there; `{} login --token` keeps one for this server",
        dbt_core::brand::PROGRAM
    )
}

/// Returns what is sent of several kinds, together.
fn headers_of(
    kinds: &[Arc<Kind>],
    origin: &Origin,
    purpose: Purpose<'_>,
    asker: Asker<'_>,
) -> Result<Vec<AuthHeader>, CredentialsError> {
    let is_exposed = origin.scheme() == Scheme::Http && !origin.is_loopback();
    let mut headers = Vec::new();
    for kind in kinds {
        if is_exposed && !kind.is_found() {
            return Err(CredentialsError::PlainHttp { origin: origin.clone() });
        }
        headers.extend(kind.header(origin, purpose, asker)?);
    }
    Ok(headers)
}

impl Kind {
    /// Says whether it is looked for and not configured: then there is none for servers without TLS.
    fn is_found(&self) -> bool {
        match self {
            Self::Found(_) => true,
            Self::Job(tokens) => tokens.is_found(),
            Self::Basic { .. } | Self::Bearer { .. } | Self::Ssh(_) | Self::Provider(_) => false,
        }
    }

    fn begin_writing(&self) -> bool {
        match self {
            Self::Job(tokens) => tokens.begin_writing(),
            // What is sent to read is good for whatever is the same person's.
            Self::Basic { .. }
            | Self::Bearer { .. }
            | Self::Ssh(_)
            | Self::Found(_)
            | Self::Provider(_) => false,
        }
    }

    fn renew(&self, asker: Asker<'_>) -> Result<bool, CredentialsError> {
        match self {
            Self::Bearer { token } => token.renew(asker.limit),
            Self::Provider(tokens) => Ok(tokens.renew(asker.connector, asker.limit)),
            Self::Job(tokens) => tokens.renew(asker.connector, asker.limit),
            Self::Basic { .. } | Self::Ssh(_) | Self::Found(_) => Ok(false),
        }
    }

    fn header(
        &self,
        origin: &Origin,
        purpose: Purpose<'_>,
        asker: Asker<'_>,
    ) -> Result<Option<AuthHeader>, CredentialsError> {
        let is_exposed = origin.scheme() == Scheme::Http && !origin.is_loopback();
        let Asker { connector, limit } = asker;
        match self {
            Self::Provider(tokens) => tokens.header(connector, limit),
            Self::Job(_) if is_exposed => Ok(None),
            Self::Job(tokens) => tokens.header(purpose, connector, limit),
            Self::Ssh(tokens) => tokens.header(origin, purpose, limit),
            Self::Basic { username, password } => {
                let username = username.read(limit)?.expose();
                if username.is_empty() {
                    return Ok(None);
                }
                basic(username, || password.read(limit))
            }
            // What is wrong with the file is said where the server wants to know more.
            Self::Found(found) => match found.proof(origin) {
                Ok(Some(Proof::Token(token))) => {
                    Ok(Some(AuthHeader::authorization("Bearer", &token)))
                }
                Ok(Some(Proof::Login(Login { user, password }))) => basic(user, || Ok(password)),
                Ok(None) | Err(_) => Ok(None),
            },
            Self::Bearer { token } => {
                let value = token.read(limit)?;
                if !value.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(CredentialsError::BadCharacter { key: token.key().to_owned() });
                }
                let empty = value.expose().is_empty();
                Ok((!empty).then(|| AuthHeader::authorization("Bearer", value)))
            }
        }
    }
}

/// Returns the header of a user name and a password; none, if there is no password.
fn basic<'a>(
    username: &str,
    password: impl FnOnce() -> Result<&'a Secret<String>, CredentialsError>,
) -> Result<Option<AuthHeader>, CredentialsError> {
    if username.contains(':') {
        return Err(CredentialsError::Colon);
    }
    let password = password()?.expose();
    if password.is_empty() {
        return Ok(None);
    }
    let pair = Secret::new(format!("{username}:{password}"));
    let encoded = Secret::new(STANDARD.encode(pair.expose()));
    Ok(Some(AuthHeader::authorization("Basic", &encoded)))
}

/// One header of a request that says who asks.
#[derive(Debug, Clone)]
pub struct AuthHeader {
    /// The header's name.
    pub name: &'static str,
    /// Its value.
    pub value: Secret<String>,
}

impl AuthHeader {
    fn authorization(scheme: &str, value: &Secret<String>) -> Self {
        let value = Secret::new(format!("{scheme} {}", value.expose()));
        Self { name: "Authorization", value }
    }
}

/// Returns a limit of time in words: what is left of a second or two is called that.
fn said(limit: Duration) -> String {
    if limit < Duration::from_secs(1) {
        format!("{} ms", limit.as_millis())
    } else {
        format!("{:.0} s", limit.as_secs_f64())
    }
}

/// Why credentials are not sent.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Everybody on the way could read them.
    #[error("refusing to send credentials to `{origin}` without TLS")]
    PlainHttp {
        /// The server.
        origin: Origin,
    },

    /// The command could not be started or waited for.
    #[error("failed to run the command of `{key}`")]
    Run {
        /// The key of the configuration.
        key: String,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// The command said that it failed.
    #[error("the command of `{key}` failed ({status})")]
    Failed {
        /// The key of the configuration.
        key: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },

    /// The command did not end.
    #[error("the command of `{key}` did not end within {}", said(*limit))]
    TimeOver {
        /// The key of the configuration.
        key: String,
        /// How long was waited.
        limit: Duration,
    },

    /// The file with the secret could not be read.
    #[error("failed to read `{}`, named by `{key}`", path.display())]
    File {
        /// The key of the configuration.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },

    /// More came than any secret has.
    #[error("`{key}` gives more than {limit} bytes")]
    TooLong {
        /// The key of the configuration.
        key: String,
        /// The most that is read.
        limit: u64,
    },

    /// What came is not text.
    #[error("`{key}` does not give UTF-8 text")]
    NotText {
        /// The key of the configuration.
        key: String,
    },

    /// A token with characters that would end its header.
    #[error("`{key}` gives characters that no token has")]
    BadCharacter {
        /// The key of the configuration.
        key: String,
    },

    /// A user name that cannot be told from the password behind it.
    #[error("a user name must not contain a colon")]
    Colon,

    /// A key of the SSH agent did not sign.
    #[error(transparent)]
    Ssh(#[from] SshError),

    /// The SSH agent does not say which keys it holds.
    #[error(transparent)]
    Agent(AgentError),

    /// The identity provider, or the server that exchanges identities, gave no token.
    #[error(transparent)]
    Provider(Arc<OidcError>),

    /// Credentials of AWS are configured and cannot be had.
    #[error(transparent)]
    Aws(Box<AwsError>),

    /// Another process is about to sign in, and has not in time.
    #[error("another process was still signing in after {}", said(*waited))]
    Busy {
        /// How long was waited.
        waited: Duration,
    },
}

impl From<OidcError> for CredentialsError {
    fn from(error: OidcError) -> Self {
        Self::Provider(Arc::new(error))
    }
}

impl From<AwsError> for CredentialsError {
    fn from(error: AwsError) -> Self {
        Self::Aws(Box::new(error))
    }
}

impl CredentialsError {
    /// Returns the row of the outage table that this is: a provider that cannot be reached is as a
    /// server that cannot be; whatever else is missing is for a person to provide.
    pub fn class(&self) -> Class {
        let is_outage = if let Self::Provider(error) = self {
            error.class() == Class::Outage
        } else if let Self::Aws(error) = self {
            error.class() == Class::Outage
        } else {
            matches!(self, Self::Busy { .. })
        };
        if is_outage { Class::Outage } else { Class::SignIn }
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::PlainHttp { .. } => {
                Some("write the server's URLs in the configuration with `https://`".to_owned())
            }
            Self::Run { key, .. } | Self::Failed { key, .. } | Self::TimeOver { key, .. } => {
                Some(format!("run the command of `{key}` in a shell to see what it does"))
            }
            Self::Ssh(error) => error.hint(),
            Self::Agent(error) => error.hint(),
            Self::Provider(error) => error.hint(),
            Self::Aws(error) => error.hint(),
            Self::Busy { .. }
            | Self::File { .. }
            | Self::TooLong { .. }
            | Self::NotText { .. }
            | Self::BadCharacter { .. }
            | Self::Colon => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::RepositoryUrl;

    fn origin(url: &str) -> Origin {
        url.parse::<RepositoryUrl>().unwrap().origin().unwrap().clone()
    }

    fn fixed(text: &str) -> SecretValue {
        SecretValue::fixed("key", Secret::new(text.to_owned()))
    }

    fn alice() -> Credentials {
        let origins = [origin("https://dbt.example.com"), origin("http://127.0.0.1:9999")];
        Credentials::basic(origins, fixed("alice"), fixed("wonder:land"))
    }

    fn sent(credentials: &Credentials, to: &str) -> Option<String> {
        let headers = credentials.headers_for(&origin(to)).unwrap();
        headers.first().map(|header| format!("{}: {}", header.name, header.value.expose()))
    }

    #[test]
    fn credentials_are_sent_to_the_origins_of_their_server_alone() {
        let expected = Some("Authorization: Basic YWxpY2U6d29uZGVyOmxhbmQ=".to_owned());
        assert_eq!(sent(&alice(), "https://dbt.example.com/x"), expected);
        assert_eq!(sent(&alice(), "http://127.0.0.1:9999"), expected);
        for other in [
            "https://dbt.example.com:8443",
            "http://dbt.example.com",
            "http://127.0.0.1:9998",
            "https://x.dbt.example.com",
            "https://example.com",
        ] {
            assert_eq!(sent(&alice(), other), None, "{other}");
        }
    }

    #[test]
    fn credentials_are_not_sent_where_others_can_read_them() {
        let there = origin("http://dbt.example.com");
        let credentials = Credentials::bearer([there.clone()], fixed("token"));
        let error = credentials.headers_for(&there).unwrap_err();
        let words = "refusing to send credentials to `http://dbt.example.com` without TLS";
        assert_eq!(error.to_string(), words);
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let there = origin("https://h");
        let command = SecretValue::command("passwordfunc", "echo hunter2".to_owned());
        for credentials in [
            Credentials::basic([there.clone()], fixed("hunter2"), command),
            Credentials::bearer([there.clone()], fixed("hunter2")),
        ] {
            let headers = credentials.headers_for(&there).unwrap();
            assert_eq!(headers.len(), 1);
            let shown = format!("{credentials:?} {headers:?}");
            assert!(!shown.contains("hunter2") && !shown.contains("aHVudGVy"), "{shown}");
        }
    }

    #[test]
    fn an_empty_password_sends_nothing_and_a_bad_token_is_refused() {
        let there = origin("https://h");
        let empty = Credentials::basic([there.clone()], fixed("alice"), fixed(""));
        assert!(empty.headers_for(&there).unwrap().is_empty());
        let split = Credentials::bearer([there.clone()], fixed("a\r\nHost: evil"));
        assert!(matches!(split.headers_for(&there), Err(CredentialsError::BadCharacter { .. })));
        let colon = Credentials::basic([there.clone()], fixed("a:b"), fixed("c"));
        assert!(matches!(colon.headers_for(&there), Err(CredentialsError::Colon)));
    }
}
