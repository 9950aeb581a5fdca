//! Tokens that keys of the SSH agent sign for an identity provider, which exchanges them for its own
//! (wire formats, 2.1).
//!
//! At the `ssh` connector of a Dex a token is the reference's to the letter, its signature encoded
//! twice; elsewhere it is a JWT as RFC 7515 has it. Each is signed when its turn comes.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_core::secret::Secret;

use super::agent::{Agent, AgentError, HeldKey, RsaHash};
use super::ssh_key::{SshKey, blob_of, fingerprint, name_of};
use super::{CredentialsError, SshError};
use crate::oidc::exchange::{Exchange, SubjectToken};
use crate::oidc::{Client, Issuer, TriedKey};

/// How long a token is valid, as the reference has it.
const LIFETIME: Duration = Duration::from_mins(5);

/// Who made it, by which the connector knows what it is.
const ISSUER: &str = "kubectl-ssh-oidc";

/// For whom tokens are signed, and how they are written.
#[derive(Debug)]
pub(crate) struct SshSubjects<'a> {
    pub(crate) issuer: &'a Issuer,
    pub(crate) client: &'a Client,
    pub(crate) exchange: &'a Exchange,
    /// In whose name. A Dex goes by the key alone, but wants a name.
    pub(crate) username: &'a str,
    pub(crate) agent: &'a Agent,
    pub(crate) now: SystemTime,
    /// How long the agent may take for one.
    pub(crate) limit: Duration,
}

/// What a token says, in the order in which the reference writes it.
#[derive(serde::Serialize)]
struct Claims<'a> {
    aud: &'a str,
    exp: u64,
    iat: u64,
    iss: &'a str,
    jti: String,
    nbf: u64,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_audience: Option<&'a str>,
}

impl<'a> SshSubjects<'a> {
    /// Returns a token of each key that the agent holds, in its order; or of the one key whose public
    /// line `only` is, which the key of the configuration gives that stands beside it.
    pub(crate) fn signed(
        self,
        only: Option<(&str, &str)>,
    ) -> Result<impl Iterator<Item = Result<SubjectToken, TriedKey>> + use<'a>, CredentialsError>
    {
        let keys = match only {
            None => self.held()?,
            Some((key, line)) => {
                let blob = blob_of(line)
                    .map_err(|source| SshError::Key { key: key.to_owned(), source })?;
                vec![HeldKey { blob, comment: String::new() }]
            }
        };
        Ok(keys.into_iter().map(move |key| self.of_key(&key)))
    }

    /// Returns the keys that can be shown: certificates sign with a key that stands beside them.
    fn held(&self) -> Result<Vec<HeldKey>, CredentialsError> {
        let mut held = self.agent.keys(self.limit).map_err(CredentialsError::Agent)?;
        held.retain(|key| name_of(&key.blob).is_some_and(|name| !name.contains("-cert-v")));
        Ok(held)
    }

    fn of_key(&self, key: &HeldKey) -> Result<SubjectToken, TriedKey> {
        let name = format!("{} {}", fingerprint(&key.blob), key.comment).trim_end().to_owned();
        match self.token_of(&key.blob) {
            Ok(token) => Ok(SubjectToken { key: name, token }),
            Err(answer) => Err(TriedKey { name, answer }),
        }
    }

    /// Signs a token, or says why this key does not.
    fn token_of(&self, blob: &[u8]) -> Result<Secret<String>, String> {
        let (signed, signature) = match self.exchange {
            Exchange::Connector(_) => {
                let kind = name_of(blob).unwrap_or_default();
                if kind.starts_with("sk-") {
                    return Err("keys of security tokens (`sk-…`) cannot sign this".to_owned());
                }
                let signed = self.signed_part("SSH", self.issuer.without_slash(), ISSUER)?;
                // The connector verifies RSA with SHA-1 alone, as keys sign when nothing is said.
                let signature = self.sign(blob, &signed, RsaHash::Sha1)?;
                if signature.algorithm != kind {
                    return Err(format!(
                        "the agent signs with `{}`, which the provider does not accept",
                        signature.algorithm.escape_debug()
                    ));
                }
                (signed, STANDARD.encode(signature.blob).into_bytes())
            }
            Exchange::Standard => {
                let key = SshKey::of_blob(blob).map_err(|problem| problem.to_string())?;
                let (issuer, client) = (self.issuer.as_str(), &self.client.id);
                let signed = self.signed_part(key.algorithm(), issuer, client)?;
                let signature = self.sign(blob, &signed, RsaHash::Sha256)?;
                let usable = key.token_signature(&signature);
                (signed, usable.ok_or("the agent signs in another way than this key does")?)
            }
        };
        Ok(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
    }

    fn sign(
        &self,
        blob: &[u8],
        signed: &str,
        hash: RsaHash,
    ) -> Result<super::agent::Signature, String> {
        let outcome = self.agent.sign(blob, signed.as_bytes(), hash, self.limit);
        outcome.map_err(|error: AgentError| crate::anchor::in_one_line(&error))
    }

    /// Returns what is signed: the header and the claims.
    fn signed_part(&self, algorithm: &str, audience: &str, maker: &str) -> Result<String, String> {
        let now = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let audience_of_ours = self.client.audience.as_deref();
        let claims = Claims {
            aud: audience,
            exp: now + LIFETIME.as_secs(),
            iat: now,
            iss: maker,
            jti: format!("{:032x}", u128::from_be_bytes(random)),
            nbf: now,
            sub: self.username,
            target_audience: audience_of_ours.filter(|audience| !audience.is_empty()),
        };
        let header = format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#);
        let claims = serde_json::to_vec(&claims).map_err(|error| error.to_string())?;
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(exchange: &Exchange, audience: Option<&str>) -> (String, String) {
        let issuer: Issuer = "https://dex.example.com/dex/".parse().unwrap();
        let audience = audience.map(str::to_owned);
        let client = Client { id: "app".to_owned(), secret: None, audience };
        let subjects = SshSubjects {
            issuer: &issuer,
            client: &client,
            exchange,
            username: "alice",
            agent: &Agent::at(None),
            now: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_900),
            limit: LIFETIME,
        };
        let signed = subjects.signed_part("SSH", issuer.without_slash(), ISSUER).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let text = |part| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        (text(header), text(claims))
    }

    #[test]
    fn a_token_is_written_as_the_reference_writes_it() {
        let connector = Exchange::Connector("ssh".to_owned());
        let (header, claims) = parts(&connector, Some("dbt-server"));
        assert_eq!(header, r#"{"alg":"SSH","typ":"JWT"}"#);
        let (before, rest) = claims.split_once(r#""jti":""#).unwrap();
        assert_eq!(
            before,
            r#"{"aud":"https://dex.example.com/dex","exp":1700000300,"iat":1700000000,"iss":"kubectl-ssh-oidc","#
        );
        let (id, after) = rest.split_once('"').unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
        assert_eq!(after, r#","nbf":1700000000,"sub":"alice","target_audience":"dbt-server"}"#);
        assert!(!parts(&connector, None).1.contains("target_audience"));
        assert_ne!(parts(&connector, None).1, parts(&connector, None).1);
    }
}
