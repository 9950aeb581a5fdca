//! Why somebody could not be signed in, and what a person can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dbt_core::brand;

use crate::source::{Class, FetchError, InvalidEndpoint};

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// Nobody answers, or not in a way that means anything.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A URL of the configuration, or one that the provider gives, is not one that is asked.
    #[error("`{name}` cannot be used")]
    Url {
        /// The key of the configuration, or what the provider calls it.
        name: &'static str,
        /// What is wrong with it.
        source: InvalidEndpoint,
    },
    /// The provider is somebody else.
    #[error("`{url}` is the provider `{found}`, and not `{expected}`")]
    OtherIssuer {
        /// What was asked.
        url: String,
        /// Who should have answered.
        expected: String,
        /// Who did.
        found: String,
    },
    /// The provider does not know this way of signing in.
    #[error("`{issuer}` does not offer {what}")]
    NotOffered {
        /// The provider.
        issuer: String,
        /// What is missing.
        what: &'static str,
    },
    /// An answer that says something else than it must.
    #[error("the answer of `{url}` cannot be used: {problem}")]
    Malformed {
        /// Whose it is.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The provider says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The provider says no to every key.
    #[error("`{url}` accepts none of {}", keys(tried))]
    NoKeyAccepted {
        /// Whom the keys were shown to.
        url: String,
        /// What became of each.
        tried: Vec<TriedKey>,
    },
    /// There is no key to sign with.
    #[error("there is no key to sign in with at `{url}`")]
    NoKey {
        /// Who would have been asked.
        url: String,
    },
    /// Nobody confirmed it.
    #[error("nobody signed in within {}", dbt_core::timestamp::in_words(*limit))]
    TimeOver {
        /// How long was waited.
        limit: Duration,
    },
    /// It was ended here.
    #[error("signing in was cancelled")]
    Cancelled,
    /// There is no place on this machine where a browser can come back to.
    #[error("failed to listen on this machine for the browser")]
    Listen(#[source] io::Error),
    /// What was pasted does not come from this sign-in.
    #[error("what was pasted is not the address that this sign-in leads to: {problem}")]
    Pasted {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The system gives no random numbers.
    #[error("this machine gives no random numbers")]
    NoRandomness,
    /// The ID token is not for us.
    #[error("the ID token of `{issuer}` cannot be used: {problem}")]
    IdToken {
        /// Who gave it.
        issuer: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A job's identity could not be read.
    #[error("failed to read the identity of this job from `{}`, named by `{variable}`", path.display())]
    IdentityFile {
        /// The variable that names the file.
        variable: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A job's identity is not for this server, or not for it alone.
    #[error(
        "the identity in `{variable}` is for {}, and not for `{expected}` alone",
        or_nobody(found)
    )]
    OtherAudience {
        /// The variable that holds it or names its file.
        variable: String,
        /// For whom it is.
        found: String,
        /// For whom it should be.
        expected: String,
    },
    /// A job's identity is none.
    #[error("`{variable}` does not hold a token")]
    NoIdentity {
        /// The variable.
        variable: String,
    },
}

impl OidcError {
    /// Returns the row of the outage table that this is: whether a copy that is here may run, or
    /// somebody has to sign in.
    pub fn class(&self) -> Class {
        match self {
            Self::Fetch(error) => error.class(),
            Self::Refused(refusal) if refusal.code.is_passing() => Class::Outage,
            Self::Cancelled => Class::Refused,
            Self::Url { .. }
            | Self::OtherIssuer { .. }
            | Self::NotOffered { .. }
            | Self::Malformed { .. }
            | Self::Refused(_)
            | Self::NoKeyAccepted { .. }
            | Self::NoKey { .. }
            | Self::TimeOver { .. }
            | Self::Listen(_)
            | Self::Pasted { .. }
            | Self::NoRandomness
            | Self::IdToken { .. }
            | Self::IdentityFile { .. }
            | Self::OtherAudience { .. }
            | Self::NoIdentity { .. } => Class::SignIn,
        }
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let program = brand::PROGRAM;
        match self {
            Self::Fetch(error) => error.hint(),
            Self::Refused(refusal) => refusal.hint(),
            Self::OtherIssuer { found, expected, .. } if is_slash_apart(found, expected) => {
                Some(format!("write `issuerUrl` as `{found}`: the slash at its end counts"))
            }
            Self::OtherIssuer { .. } => Some(
                "write `issuerUrl` as the provider calls itself, and where it is asked instead as \
                 `discoveryUrl` or `backchannelUrl`"
                    .to_owned(),
            ),
            Self::NotOffered { .. } => Some(format!(
                "sign in another way: `{program} login --browser`, `--device`, `--ssh` or `--token`"
            )),
            Self::NoKeyAccepted { .. } => Some(
                "ask the provider's administrator to add your public key (`ssh-add -L` shows it), \
                 or sign in another way"
                    .to_owned(),
            ),
            Self::NoKey { .. } => Some(
                "`ssh-add` adds a key to your agent; `ssh-add -l` shows what it has".to_owned(),
            ),
            Self::TimeOver { .. } => Some(format!("begin again with `{program} login`")),
            Self::Listen(_) => Some(format!("sign in with `{program} login --device`")),
            Self::Pasted { .. } => Some(
                "copy the whole address from the browser's address line after signing in, also \
                 where the browser says that it cannot be reached"
                    .to_owned(),
            ),
            Self::OtherAudience { expected, .. } => {
                Some(format!("have the CI system make it for the audience `{expected}`"))
            }
            Self::IdToken { .. } => Some("check `oidcClientId` and `issuerUrl`".to_owned()),
            Self::Url { .. }
            | Self::Malformed { .. }
            | Self::Cancelled
            | Self::NoRandomness
            | Self::IdentityFile { .. }
            | Self::NoIdentity { .. } => None,
        }
    }

    /// Says whether the provider has ended the session: what would get the next token counts no
    /// more (RFC 6749, 5.2).
    pub fn ends_the_session(&self) -> bool {
        matches!(
            self,
            Self::Refused(Refusal { what: What::Renewal, code: ErrorCode::InvalidGrant, .. })
        )
    }
}

fn or_nobody(found: &str) -> &str {
    if found.is_empty() { "nobody" } else { found }
}

fn is_slash_apart(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// One key that was shown, and the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedKey {
    /// The key, for people.
    pub name: String,
    /// What the provider said of it.
    pub answer: String,
}

fn keys(tried: &[TriedKey]) -> String {
    match tried {
        [only] => format!("your keys: {} ({})", only.name, only.answer),
        several => {
            let each = several.iter().map(|key| format!("{} ({})", key.name, key.answer));
            format!("your {} keys: {}", several.len(), each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// What a provider was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A token for another one (RFC 8693).
    Exchange,
    /// A code that somebody confirms elsewhere (RFC 8628, 3.1).
    DeviceCode,
    /// The token for a confirmed code (RFC 8628, 3.4).
    Device,
    /// The token for what the browser brought back (RFC 6749, 4.1.3).
    Code,
    /// What the browser was sent for (RFC 6749, 4.1.1).
    Authorization,
    /// The next token (RFC 6749, 6).
    Renewal,
    /// That a token counts no more (RFC 7009).
    Revocation,
    /// A token of the server for the identity of a job.
    Job,
}

impl What {
    /// Completes “refuses to”.
    const fn words(self) -> &'static str {
        match self {
            Self::Exchange => "exchange a signed token",
            Self::DeviceCode => "begin signing in by a code",
            Self::Device => "give a token for the code",
            Self::Code => "give a token for what the browser brought back",
            Self::Authorization => "sign you in",
            Self::Renewal => "renew the token",
            Self::Revocation => "take the token back",
            Self::Job => "exchange the identity of this job",
        }
    }
}

/// A provider says no (RFC 6749, 5.2), or the server does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Who.
    pub url: String,
    /// To what.
    pub what: What,
    /// Why.
    pub code: ErrorCode,
    /// Why, in the provider's words, made harmless.
    pub description: Option<String>,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, what, code, description } = self;
        write!(f, "`{url}` refuses to {}: {}", what.words(), code.words(*what))?;
        match (code.as_str(), description) {
            ("", Some(description)) => write!(f, " ({description})"),
            ("", None) => Ok(()),
            (code, Some(description)) => write!(f, " ({code}: {description})"),
            (code, None) => write!(f, " ({code})"),
        }
    }
}

/// Why a provider says no.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The question is malformed for it.
    InvalidRequest,
    /// It does not know the client, or its secret is wrong.
    InvalidClient,
    /// What was shown is no good, or no more.
    InvalidGrant,
    /// The client may not sign in this way.
    UnauthorizedClient,
    /// Nobody may sign in this way.
    UnsupportedGrantType,
    /// It does not know a scope, or does not give it.
    InvalidScope,
    /// It does not know the audience (RFC 8693, 2.2.2).
    InvalidTarget,
    /// Somebody or something said no.
    AccessDenied,
    /// Nobody has confirmed the code yet (RFC 8628, 3.5).
    AuthorizationPending,
    /// It is asked too often (the same).
    SlowDown,
    /// The code's time is over (the same).
    ExpiredToken,
    /// It failed.
    ServerError,
    /// It will be back.
    TemporarilyUnavailable,
    /// Another code, made harmless; nothing where there is none.
    Other(String),
}

/// The codes with a meaning here.
const CODES: [(&str, ErrorCode); 13] = [
    ("invalid_request", ErrorCode::InvalidRequest),
    ("invalid_client", ErrorCode::InvalidClient),
    ("invalid_grant", ErrorCode::InvalidGrant),
    ("unauthorized_client", ErrorCode::UnauthorizedClient),
    ("unsupported_grant_type", ErrorCode::UnsupportedGrantType),
    ("invalid_scope", ErrorCode::InvalidScope),
    ("invalid_target", ErrorCode::InvalidTarget),
    ("access_denied", ErrorCode::AccessDenied),
    ("authorization_pending", ErrorCode::AuthorizationPending),
    ("slow_down", ErrorCode::SlowDown),
    ("expired_token", ErrorCode::ExpiredToken),
    ("server_error", ErrorCode::ServerError),
    ("temporarily_unavailable", ErrorCode::TemporarilyUnavailable),
];

impl ErrorCode {
    /// Reads a code as providers write it.
    pub(super) fn of(text: &str) -> Self {
        let known = CODES.iter().find(|(code, _meaning)| *code == text);
        known.map_or_else(|| Self::Other(harmless(text, 40)), |(_code, meaning)| meaning.clone())
    }

    fn as_str(&self) -> &str {
        if let Self::Other(code) = self {
            return code;
        }
        let found = CODES.iter().find(|(_code, meaning)| meaning == self);
        found.map_or("", |(code, _meaning)| code)
    }

    /// Says whether the same may go well later.
    const fn is_passing(&self) -> bool {
        matches!(self, Self::ServerError | Self::TemporarilyUnavailable)
    }

    fn words(&self, what: What) -> &'static str {
        match (self, what) {
            (Self::InvalidRequest, _) => "it does not understand the request",
            (Self::InvalidClient, _) => "it does not know the client, or not with this secret",
            (Self::InvalidGrant, What::Renewal) => "the session has ended",
            (Self::InvalidGrant, What::Device) => "the code is not good",
            (Self::InvalidGrant, What::Code) => "that is not good, or no more",
            (Self::InvalidGrant, _) => "what was shown is not good",
            (Self::UnauthorizedClient, _) => "the client may not sign in in this way",
            (Self::UnsupportedGrantType, _) => "it does not offer this way of signing in",
            (Self::InvalidScope, _) => "it does not give what was asked for",
            (Self::InvalidTarget, _) => "it does not know the audience",
            (Self::AccessDenied, What::Exchange) => "it accepts the key of nobody's",
            (Self::AccessDenied, _) => "somebody, or a rule, has said no",
            (Self::AuthorizationPending, _) => "nobody has confirmed it yet",
            (Self::SlowDown, _) => "it is asked too often",
            (Self::ExpiredToken, _) => "the code has expired",
            (Self::ServerError, _) => "it has failed",
            (Self::TemporarilyUnavailable, _) => "it cannot do it now",
            (Self::Other(_), _) => "it says no",
        }
    }
}

impl Refusal {
    fn hint(&self) -> Option<String> {
        let program = brand::PROGRAM;
        let again = || Some(format!("sign in with `{program} login`"));
        match (&self.code, self.what) {
            (_, What::Job) => Some(
                "an administrator's rule says which jobs may sign in; the job's identity is made \
                 for the server's URL as audience"
                    .to_owned(),
            ),
            (ErrorCode::InvalidClient, _) => {
                Some("check `oidcClientId` and `oidcClientSecret` in the configuration".to_owned())
            }
            (ErrorCode::InvalidTarget, _) => {
                Some("check `oidcAudience` in the configuration".to_owned())
            }
            (ErrorCode::UnauthorizedClient | ErrorCode::UnsupportedGrantType, _) => Some(format!(
                "allow this grant for the client at the provider, or sign in another way: \
                 `{program} login --browser`, `--device`, `--ssh` or `--token`"
            )),
            (ErrorCode::InvalidRequest, What::Exchange) => Some(
                "check `connectorId` in the configuration: the provider needs a connector of that \
                 name that accepts SSH keys"
                    .to_owned(),
            ),
            (ErrorCode::AccessDenied, What::Exchange) => Some(
                "ask the provider's administrator whether your public key is known there"
                    .to_owned(),
            ),
            (
                ErrorCode::InvalidGrant | ErrorCode::ExpiredToken | ErrorCode::AccessDenied,
                What::Renewal | What::Device | What::Code | What::Authorization | What::DeviceCode,
            ) => again(),
            _ => None,
        }
    }
}

/// Makes words from outside harmless and short: they end in an error that people read.
pub(super) fn harmless(text: &str, limit: usize) -> String {
    let visible = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter });
    let words: String = visible.take(limit).collect();
    words.trim().escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
