//! A token for another one (RFC 8693): for who can sign with an SSH key, without anybody noticing.
//!
//! At the `ssh` connector of a Dex the form is the reference's to the letter (wire formats, 2.3),
//! but each key is shown once: what comes back is used, and not thrown away.

use dbt_core::secret::Secret;

use super::answer::{self, TokenAnswer};
use super::error::{ErrorCode, OidcError, Refusal, TriedKey, What};
use super::form::Form;
use super::{Channel, Client, Provider, Tokens};
use crate::source::EndpointUrl;

/// What a token is exchanged for.
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Kinds of tokens (RFC 8693, 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What is asked for along with it, as the reference has it.
const SCOPES: [&str; 4] = ["openid", "email", "groups", "profile"];

/// How an exchange is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exchange {
    /// At a connector of a Dex: `connectorId`.
    Connector(String),
    /// As the RFC has it, with what the provider gives by itself.
    Standard,
}

/// A token that proves who we are, and the key that signed it.
#[derive(Debug)]
pub struct SubjectToken {
    /// The key, for people: `SHA256:… alice@laptop`.
    pub key: String,
    /// The token.
    pub token: Secret<String>,
}

/// Shows one signed token after the other until the provider accepts one.
///
/// A key is asked to sign when its turn comes, and not before: keys in hardware want to be touched.
/// One that cannot sign is told with the others. Only a provider that does not know the key goes on
/// with the next one; everything else ends it.
pub fn with_keys(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    exchange: &Exchange,
    keys: impl IntoIterator<Item = Result<SubjectToken, TriedKey>>,
) -> Result<Tokens, OidcError> {
    let url = provider.token_endpoint()?;
    let mut tried = Vec::new();
    for key in keys {
        let key = match key {
            Ok(key) => key,
            Err(silent) => {
                tried.push(silent);
                continue;
            }
        };
        match one(channel, provider, client, exchange, &key.token) {
            Err(OidcError::Refused(refusal)) if is_about_the_key(&refusal) => {
                let answer = refusal.description.clone();
                let answer = answer.unwrap_or_else(|| "it is not known there".to_owned());
                tried.push(TriedKey { name: key.key, answer });
            }
            outcome => return outcome,
        }
    }
    let url = url.to_string();
    Err(if tried.is_empty() {
        OidcError::NoKey { url }
    } else {
        OidcError::NoKeyAccepted { url, tried }
    })
}

/// Exchanges one token.
pub fn one(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    exchange: &Exchange,
    subject: &Secret<String>,
) -> Result<Tokens, OidcError> {
    let url = provider.token_endpoint()?;
    let form = Form::default()
        .with("grant_type", GRANT)
        .with_secret("subject_token", subject)
        .with_if_any("audience", client.audience.as_deref());
    let form = match exchange {
        Exchange::Connector(id) => form
            .with("subject_token_type", ACCESS_TOKEN)
            .with("requested_token_type", ID_TOKEN)
            .with("scope", &SCOPES.join(" "))
            .with("connector_id", id),
        Exchange::Standard => {
            form.with("subject_token_type", JWT).with("scope", &provider.scope(&SCOPES))
        }
    };
    let who = (client, provider.secret_place());
    let answer = answer::ask(channel, &url, form, who, What::Exchange)?;
    check_kind(&answer, &url)?;
    Ok(answer.into_tokens(channel))
}

/// Refuses what no server is shown: a SAML assertion, or what would only get the next token.
fn check_kind(answer: &TokenAnswer, url: &EndpointUrl) -> Result<(), OidcError> {
    let is_known = |kind: &String| [ACCESS_TOKEN, ID_TOKEN, JWT].contains(&kind.as_str());
    if answer.issued_token_type.as_ref().is_none_or(is_known) {
        return Ok(());
    }
    let problem = "its token is neither an access token nor an ID token";
    Err(OidcError::Malformed { url: url.to_string(), problem })
}

/// Says whether another key may do.
fn is_about_the_key(refusal: &Refusal) -> bool {
    matches!(refusal.code, ErrorCode::AccessDenied | ErrorCode::InvalidGrant)
}
