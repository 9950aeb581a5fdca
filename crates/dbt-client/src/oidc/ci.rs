//! Jobs: the identity that a CI system gives each, exchanged at the server for a token of minutes.
//! No secret is stored anywhere.
//!
//! The identity is for one server: its audience is the origin of the configured repository, and
//! never one that a server names. One that was made for another server is shown to none: whoever is
//! shown it can exchange it there.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::secret::Secret;
use serde_json::json;

use super::answer;
use super::error::{ErrorCode, OidcError, Refusal, What, harmless};
use super::tokens::is_token;
use super::{Channel, Tokens, UnverifiedClaims};
use crate::config::Variables;
use crate::fsx;
use crate::source::{EndpointReply, EndpointUrl, Failure, FetchError};
use crate::token_cache::Key;
use crate::url::Origin;

/// What GitHub Actions gives a job with `id-token: write`.
const GITHUB_URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const GITHUB_TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

/// Where the server exchanges identities.
const EXCHANGE: &str = "/-/api/v1/oidc/exchange";

/// The most bytes of a file with an identity.
const FILE_LIMIT: u64 = 64 * 1024;

/// How often an exchange is tried whose answer is lost.
const TRIES: u32 = 3;

/// The longest words of a server that are repeated.
const WORDS_LIMIT: usize = 500;

/// Returns the variable that holds an identity: GitLab's `id_tokens` and others fill it.
pub fn variable() -> String {
    format!("{}ID_TOKEN", brand::ENV_PREFIX)
}

/// Returns the variable that names a file with an identity, which its giver may replace: as
/// clusters do for what runs in them.
pub fn file_variable() -> String {
    format!("{}ID_TOKEN_FILE", brand::ENV_PREFIX)
}

/// Where a job has its identity from.
pub enum Identity {
    /// GitHub Actions: one is made for each audience that is asked for.
    GitHub {
        /// Who makes it.
        url: EndpointUrl,
        /// What tells them which job asks.
        token: Secret<String>,
    },
    /// A variable.
    Given {
        /// Its name.
        variable: String,
        /// The identity.
        token: Secret<String>,
    },
    /// A file.
    File {
        /// The variable that names it.
        variable: String,
        /// The file.
        path: PathBuf,
    },
}

/// Without secrets.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GitHub { url, token: _ } => write!(f, "Identity::GitHub({url})"),
            Self::Given { variable, token: _ } => write!(f, "Identity::Given({variable})"),
            Self::File { variable, path } => {
                write!(f, "Identity::File({variable}, {})", path.display())
            }
        }
    }
}

impl Identity {
    /// Finds the identity of the job that this program runs in, if it does. What somebody has put
    /// into a variable of ours comes first. A variable that is set to nothing counts as not set.
    pub fn find(variables: &dyn Variables) -> Result<Option<Self>, OidcError> {
        let value = |name: &str| variables.variable(name).filter(|value| !value.is_empty());
        if let Some(token) = value(&variable()) {
            let token = secret(&variable(), token)?;
            return Ok(Some(Self::Given { variable: variable(), token }));
        }
        if let Some(path) = value(&file_variable()) {
            return Ok(Some(Self::File { variable: file_variable(), path: PathBuf::from(path) }));
        }
        let (Some(url), Some(token)) = (value(GITHUB_URL), value(GITHUB_TOKEN)) else {
            return Ok(None);
        };
        let url = url.to_string_lossy().parse();
        let url = url.map_err(|source| OidcError::Url { name: GITHUB_URL, source })?;
        Ok(Some(Self::GitHub { url, token: secret(GITHUB_TOKEN, token)? }))
    }

    /// Returns the identity, made for the server at `origin` where its giver makes one for whom one
    /// likes. One that is not for this server, and for it alone, is refused.
    pub fn token(&self, channel: &Channel, origin: &Origin) -> Result<Secret<String>, OidcError> {
        match self {
            Self::Given { variable, token } => made_for(origin, variable, token.clone()),
            Self::File { variable, path } => made_for(origin, variable, read_file(variable, path)?),
            Self::GitHub { url, token } => ask_github(channel, url, token, &origin.to_string()),
        }
    }

    /// Returns where the identity comes from, in words.
    pub fn place(&self) -> String {
        match self {
            Self::GitHub { .. } => "GitHub Actions".to_owned(),
            Self::Given { variable, .. } | Self::File { variable, .. } => format!("`{variable}`"),
        }
    }

    /// Says why it is not, and cannot be made, for the server at `origin`, as far as that is known: a file
    /// that cannot be read is told when it is needed.
    pub fn not_for(&self, origin: &Origin) -> Option<OidcError> {
        match self {
            Self::GitHub { .. } => None,
            Self::Given { variable, token } => made_for(origin, variable, token.clone()).err(),
            Self::File { variable, path } => {
                made_for(origin, variable, read_file(variable, path).ok()?).err()
            }
        }
    }

    /// Says whether somebody has given it to this program, and not to all that run in the job.
    pub const fn is_given(&self) -> bool {
        matches!(self, Self::Given { .. } | Self::File { .. })
    }

    /// Returns what the server's token is kept under, by this process: one for each identity.
    pub fn key(&self, origin: &Origin, scope: Scope) -> Key {
        let job = match self {
            Self::GitHub { token, .. } | Self::Given { token, .. } => {
                Digest::of(token.expose().as_bytes()).to_string()
            }
            // The name of the file is the same in every job; one that cannot be read gets nothing.
            Self::File { variable, path } => read_file(variable, path).map_or_else(
                |_unreadable| path.display().to_string(),
                |token| Digest::of(token.expose().as_bytes()).to_string(),
            ),
        };
        Key::of_job(format!("{job} {}", scope.as_str()), origin.clone())
    }
}

/// What a job's token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To read. It does not use the identity up.
    Read,
    /// To write, and to read. Most identities count once for it.
    Write,
}

impl Scope {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Returns an identity if it is for this server and no other. What does not say for whom it is may
/// be anybody's.
fn made_for(
    origin: &Origin,
    variable: &str,
    token: Secret<String>,
) -> Result<Secret<String>, OidcError> {
    let claims = UnverifiedClaims::of(&token);
    let audiences = claims.as_ref().map(|claims| claims.texts("aud")).unwrap_or_default();
    let (variable, expected) = (variable.to_owned(), origin.to_string());
    if audiences == [expected.as_str()] {
        return Ok(token);
    }
    let found = audiences.iter().map(|it| format!("`{}`", harmless(it, 200)));
    let found = found.take(5).collect::<Vec<_>>().join(", ");
    Err(OidcError::OtherAudience { variable, found, expected })
}

fn secret(variable: &str, value: &OsStr) -> Result<Secret<String>, OidcError> {
    let token = value.to_str().map(|text| Secret::new(text.trim().to_owned()));
    let none = || OidcError::NoIdentity { variable: variable.to_owned() };
    token.filter(is_token).ok_or_else(none)
}

fn read_file(variable: &str, path: &std::path::Path) -> Result<Secret<String>, OidcError> {
    let bytes = fsx::read_limited(path, FILE_LIMIT).map(Secret::new).map_err(|error| {
        let (variable, path) = (variable.to_owned(), path.to_owned());
        OidcError::IdentityFile { variable, path, source: error.into_cause() }
    })?;
    let text = std::str::from_utf8(bytes.expose()).unwrap_or_default();
    secret(variable, OsStr::new(text))
}

/// What GitHub answers.
#[derive(serde::Deserialize)]
struct Made {
    value: Secret<String>,
}

fn ask_github(
    channel: &Channel,
    url: &EndpointUrl,
    token: &Secret<String>,
    audience: &str,
) -> Result<Secret<String>, OidcError> {
    let uri = url.to_uri();
    let joint = if uri.contains('?') { '&' } else { '?' };
    let whole = format!("{uri}{joint}{}", super::form::encode([("audience", audience)]));
    let whole = whole.parse().map_err(|source| OidcError::Url { name: GITHUB_URL, source })?;
    let bearer = Secret::new(format!("Bearer {}", token.expose()));
    let body = channel.get(&whole, Some(bearer))?.into_result()?;
    let made: Option<Made> = answer::object(body.expose());
    let problem = "there is no token in it";
    made.map(|made| made.value)
        .filter(is_token)
        .ok_or_else(|| OidcError::Malformed { url: url.to_string(), problem })
}

/// What the server answers.
#[derive(serde::Deserialize)]
struct Exchanged {
    token: Secret<String>,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// Why it does not (RFC 9457).
#[derive(serde::Deserialize)]
struct Problem {
    detail: String,
    #[serde(default, rename = "requestId")]
    request_id: Option<String>,
}

/// Exchanges an identity at the server for a token of its own. An answer that is lost is asked for
/// again and is then the same one: the identity may count once.
pub fn exchange(
    channel: &Channel,
    origin: &Origin,
    identity: &Secret<String>,
    scope: Scope,
) -> Result<Tokens, OidcError> {
    let url = EndpointUrl::of_server(origin, EXCHANGE);
    let url = url.map_err(|source| OidcError::Url { name: "repository", source })?;
    let reply = ask_server(channel, &url, identity, scope)?;
    if !reply.is_success() {
        return Err(refused(reply, &url, identity));
    }
    let received = channel.now();
    let body = reply.into_result()?;
    let malformed = |problem| OidcError::Malformed { url: url.to_string(), problem };
    let Exchanged { token, expires_in } = answer::object(body.expose())
        .ok_or_else(|| malformed("it is not the JSON object with a `token` that it must be"))?;
    if !is_token(&token) {
        return Err(malformed("its token is empty, too long or has characters no token has"));
    }
    Ok(Tokens::for_seconds(token, expires_in, received))
}

fn ask_server(
    channel: &Channel,
    url: &EndpointUrl,
    identity: &Secret<String>,
    scope: Scope,
) -> Result<EndpointReply, OidcError> {
    let mut random = [0_u8; 16];
    getrandom::fill(&mut random).map_err(|_error| OidcError::NoRandomness)?;
    let once = format!("{:032x}", u128::from_ne_bytes(random));
    let question = match scope {
        Scope::Read => json!({"token": identity.expose(), "scope": "read"}),
        Scope::Write => json!({"token": identity.expose()}),
    };
    let body = Secret::new(question.to_string());
    let mut tries = 1;
    loop {
        let headers = vec![
            ("accept", "application/json, application/problem+json".to_owned()),
            ("idempotency-key", once.clone()),
        ];
        match channel.post(url, ("application/json", body.clone()), None, headers) {
            Err(error) if tries < TRIES && is_lost(&error) => tries += 1,
            outcome => return Ok(outcome?),
        }
    }
}

/// Says whether the server may have answered all the same.
fn is_lost(error: &FetchError) -> bool {
    matches!(
        error.failure(),
        Failure::Reset { .. } | Failure::Truncated { .. } | Failure::Stall { .. }
    )
}

/// Returns why the server says no: in its words, which name the claim that does not match.
fn refused(reply: EndpointReply, url: &EndpointUrl, identity: &Secret<String>) -> OidcError {
    let problem = answer::object::<Problem>(reply.body.expose());
    let error = match reply.into_result() {
        Err(error) => error,
        Ok(_body) => {
            let problem = "it is neither a token nor a refusal";
            return OidcError::Malformed { url: url.to_string(), problem };
        }
    };
    let is_refusal = matches!(
        error.failure(),
        Failure::Unauthorized | Failure::Forbidden | Failure::Status { status: 400 | 409 | 422 }
    );
    match problem {
        Some(Problem { detail, request_id }) if is_refusal => {
            let shown =
                |words: &str, limit| harmless(&words.replace(identity.expose(), "***"), limit);
            let detail = shown(&detail, WORDS_LIMIT);
            let id = request_id.map(|id| format!(", request {}", shown(&id, 64)));
            let description = Some(format!("{detail}{}", id.unwrap_or_default()));
            let code = ErrorCode::Other(String::new());
            Refusal { url: url.to_string(), what: What::Job, code, description }.into()
        }
        _ => error.into(),
    }
}
