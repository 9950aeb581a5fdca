//! Tokens that a key in the SSH agent signs, for the header `Token` (wire formats, section 1).
//!
//! A token is for the host that it is sent to, by the URL of the configuration: no server says for
//! whom one is. Reads of a run share one, which says that it is for reads: whoever sees it, at
//! another port of the host or on the way, writes nothing with it. Each write has its own, bound to
//! that very request, so that whoever sees it can do nothing else with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::clock::Clock;
use dbt_core::secret::Secret;

use super::agent::{Agent, AgentError, RsaHash};
use super::ssh_key::{KeyProblem, SshKey};
use super::{AuthHeader, CredentialsError, Purpose, SecretValue};
use crate::url::Origin;

/// How long a token is valid: the longest that servers accept.
const LIFETIME: Duration = Duration::from_mins(5);

/// How old a token may be when it is used again. The minute that is left is for the request to
/// arrive in.
const USED_FOR: Duration = Duration::from_mins(4);

/// Signs tokens in one user's name.
#[derive(Debug)]
pub(super) struct SshTokens {
    username: Arc<SecretValue>,
    key: SecretValue,
    agent: Agent,
    clock: Clock,
    /// What reads of a host send.
    reads: Mutex<BTreeMap<String, Kept>>,
}

/// A token that is sent more than once, or why there is none: an agent is not asked again.
#[derive(Debug)]
struct Kept {
    since: SystemTime,
    token: Result<Secret<String>, CredentialsError>,
}

/// What a token says, in the order in which the reference writes it.
#[derive(serde::Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: [&'a str; 1],
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    #[serde(flatten)]
    only: Only<'a>,
}

/// The requests that a token is for (the claims of RFC 9449, section 4.2).
#[derive(serde::Serialize)]
struct Only<'a> {
    htm: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    htu: Option<&'a str>,
}

/// Reads: all that are asked with a token ask by this method.
const READS: Only<'_> = Only { htm: "GET", htu: None };

impl SshTokens {
    /// Signs in the name of `username` with the key that `key` gives the public half of.
    pub(super) fn new(
        username: Arc<SecretValue>,
        key: SecretValue,
        agent: Agent,
        clock: Clock,
    ) -> Self {
        Self { username, key, agent, clock, reads: Mutex::default() }
    }

    /// Returns the header of a request; none, if there is no name or no key.
    pub(super) fn header(
        &self,
        origin: &Origin,
        purpose: Purpose<'_>,
        limit: Duration,
    ) -> Result<Option<AuthHeader>, CredentialsError> {
        let username = self.username.read(limit)?.expose();
        let line = self.key.read(limit)?.expose();
        if username.is_empty() || line.is_empty() {
            return Ok(None);
        }
        let (audience, now) = (audience_of(origin), self.clock.now());
        let sign = |only| self.sign(line, username, &audience, only, now, limit);
        let token = match purpose {
            Purpose::Write { method, url } => sign(Only { htm: method, htu: Some(url) }),
            Purpose::Read => {
                // Whoever else reads from this host waits here for the same token.
                let mut reads = self.reads.lock().unwrap_or_else(PoisonError::into_inner);
                let young =
                    |kept: &&Kept| now.duration_since(kept.since).is_ok_and(|age| age < USED_FOR);
                if let Some(kept) = reads.get(&audience).filter(young) {
                    kept.token.clone()
                } else {
                    let token = sign(READS);
                    reads.insert(audience.clone(), Kept { since: now, token: token.clone() });
                    token
                }
            }
        };
        Ok(Some(AuthHeader { name: "Token", value: token? }))
    }

    fn sign(
        &self,
        line: &str,
        username: &str,
        audience: &str,
        only: Only<'_>,
        now: SystemTime,
        limit: Duration,
    ) -> Result<Secret<String>, CredentialsError> {
        let named = || self.key.key().to_owned();
        let key = SshKey::parse(line).map_err(|source| SshError::Key { key: named(), source })?;
        let signed = signed_part(key.algorithm(), username, audience, only, now)?;
        let signature = self
            .agent
            .sign(key.blob(), signed.as_bytes(), RsaHash::Sha256, limit)
            .map_err(|error| self.explained(&key, error, limit))?;
        let usable = key.token_signature(&signature).ok_or_else(|| SshError::OtherSignature {
            key: named(),
            fingerprint: key.fingerprint(),
            algorithm: signature.algorithm.chars().take(40).collect(),
        })?;
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(usable))))
    }

    /// Finds out why an agent did not sign: it says only that it does not.
    fn explained(&self, key: &SshKey, error: AgentError, limit: Duration) -> SshError {
        let (named, fingerprint) = (self.key.key().to_owned(), key.fingerprint());
        if matches!(error, AgentError::Refused)
            && let Ok(held) = self.agent.keys(limit)
        {
            if held.is_empty() {
                return SshError::NoKeys { key: named, fingerprint };
            }
            if !held.iter().any(|held| held.blob == key.blob()) {
                return SshError::NotHeld { key: named, fingerprint };
            }
        }
        SshError::Agent { key: named, fingerprint, source: error }
    }
}

/// Returns for whom a token is that is sent there: the host, as the reference names it, but for
/// what it gets wrong (wire formats, 1.3 and D30).
fn audience_of(origin: &Origin) -> String {
    let host = origin.host().trim_end_matches('.');
    host.strip_prefix("www.").unwrap_or(host).to_owned()
}

/// Returns what is signed: the header and the claims.
fn signed_part(
    algorithm: &str,
    username: &str,
    audience: &str,
    only: Only<'_>,
    now: SystemTime,
) -> Result<String, SshError> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let claims = Claims {
        iss: username,
        sub: username,
        aud: [audience],
        exp: now + LIFETIME.as_secs(),
        nbf: now,
        iat: now,
        jti: random_id()?,
        only,
    };
    let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
    let failed = |error: serde_json::Error| SshError::Made { source: Arc::new(error.into()) };
    let claims = serde_json::to_vec(&claims).map_err(failed)?;
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)))
}

/// Returns an id that nobody else has.
fn random_id() -> Result<String, SshError> {
    let mut bytes = [0; 32];
    let failed = |error| SshError::Made { source: Arc::new(io::Error::other(error)) };
    getrandom::fill(&mut bytes).map_err(failed)?;
    Ok(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

/// Why a key of the SSH agent says nothing for us.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SshError {
    /// The configuration does not name a key that can sign.
    #[error("`{key}` names no key that can sign in")]
    Key {
        /// The key of the configuration.
        key: String,
        /// What is wrong with it.
        source: KeyProblem,
    },

    /// The agent holds no key, or does not show any.
    #[error("the SSH agent holds no keys, or is locked; `{key}` names {fingerprint}")]
    NoKeys {
        /// The key of the configuration.
        key: String,
        /// The SSH key.
        fingerprint: String,
    },

    /// The agent holds other keys.
    #[error("the SSH agent does not hold the key {fingerprint}, which `{key}` names")]
    NotHeld {
        /// The key of the configuration.
        key: String,
        /// The SSH key.
        fingerprint: String,
    },

    /// The agent did not sign.
    #[error("failed to sign with the key {fingerprint}, which `{key}` names")]
    Agent {
        /// The key of the configuration.
        key: String,
        /// The SSH key.
        fingerprint: String,
        /// Why.
        source: AgentError,
    },

    /// The agent signed in another way than it was asked to.
    #[error(
        "the SSH agent signed with `{algorithm}`, which is not how the key {fingerprint}, which `{key}` names, signs in"
    )]
    OtherSignature {
        /// The key of the configuration.
        key: String,
        /// The SSH key.
        fingerprint: String,
        /// How it signed.
        algorithm: String,
    },

    /// There was nothing to sign.
    #[error("failed to make a token")]
    Made {
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl SshError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Key { .. } | Self::Made { .. } => None,
            Self::NoKeys { .. } => {
                Some("`ssh-add FILE` gives it the key; `ssh-add -X` unlocks it".to_owned())
            }
            Self::NotHeld { .. } => Some(
                "`ssh-add FILE` gives it the key; `ssh-add -l` lists those that it holds"
                    .to_owned(),
            ),
            Self::Agent { source, .. } => source.hint(),
            Self::OtherSignature { .. } => {
                Some("this agent is too old for RSA keys; use an ed25519 key".to_owned())
            }
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

    fn claims_of(signed: &str) -> String {
        let (header, claims) = signed.split_once('.').unwrap();
        let text = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(text(header), r#"{"alg":"EdDSA","typ":"JWT"}"#);
        text(claims)
    }

    #[test]
    fn a_token_of_reads_is_written_as_the_reference_writes_it_but_that_it_says_so() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900);
        let signed = signed_part("EdDSA", "alice", "dbt.example.com", READS, now).unwrap();
        let claims = claims_of(&signed);
        let (before, id) = claims.split_once(r#""jti":""#).unwrap();
        assert_eq!(
            before,
            r#"{"iss":"alice","sub":"alice","aud":["dbt.example.com"],"exp":1700000300,"nbf":1700000000,"iat":1700000000,"#
        );
        let id = id.strip_suffix(r#"","htm":"GET"}"#).unwrap();
        assert!(
            id.len() == 64 && id.bytes().all(|byte| b"0123456789abcdef".contains(&byte)),
            "{id}"
        );
        let another = signed_part("EdDSA", "alice", "dbt.example.com", READS, now).unwrap();
        assert_ne!(signed, another);
    }

    #[test]
    fn a_write_is_named_in_its_token() {
        let only = Only { htm: "PUT", htu: Some("https://h/dbt/x") };
        let signed = signed_part("EdDSA", "a\"b", "h", only, SystemTime::UNIX_EPOCH).unwrap();
        let claims = claims_of(&signed);
        assert!(claims.starts_with(r#"{"iss":"a\"b","sub":"a\"b","aud":["h"],"exp":300,"#));
        assert!(claims.ends_with(r#","htm":"PUT","htu":"https://h/dbt/x"}"#), "{claims}");
    }

    #[test]
    fn the_audience_is_the_host_of_the_url() {
        for (url, audience) in [
            ("https://dbt.example.com:8443/dbt", "dbt.example.com"),
            ("https://www.DBT.example.com", "dbt.example.com"),
            ("https://a-b.example.com.", "a-b.example.com"),
            ("https://my_repo.example.com", "my_repo.example.com"),
            ("http://127.0.0.1:9999/dbt", "127.0.0.1"),
            ("http://[::1]:9999/dbt", "::1"),
            ("http://localhost", "localhost"),
            ("https://httpd.example.com/dbt", "httpd.example.com"),
        ] {
            assert_eq!(audience_of(&origin(url)), audience, "{url}");
        }
    }
}
