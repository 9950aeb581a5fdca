//! The identity provider at which browsers sign in: where it sends them, and what it gives for the code
//! with which they come back.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::secret::Secret;
use serde_json::Value;

use super::attempt::Attempt;
use crate::limits;
use crate::log::causes;
use crate::outbound::SafeUrl;
use crate::outbound::discovery::{Discovery, DiscoveryError};
use crate::outbound::get::{GetError, post_form};
use crate::outbound::proxy::Proxies;
use crate::outbound::tls::{Tls, TlsError};
use crate::strict_json;
use crate::web::query::escaped;

/// How long what a provider says of itself is believed.
const FRESH: Duration = Duration::from_hours(1);

/// How browsers sign in at an identity provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its `iss`, exactly.
    pub issuer: String,
    /// Where it says what it is.
    pub discovery: SafeUrl,
    /// The file of further certificate authorities.
    pub ca_file: Option<PathBuf>,
    /// How it is reached.
    pub proxies: Proxies,
    /// As whom this server is known there.
    pub client: String,
    /// What proves that, if the provider wants a proof.
    pub secret: Option<Secret<String>>,
    /// What is asked for, with spaces.
    pub scopes: String,
    /// The scheme, host and port under which browsers know this server.
    pub origin: String,
    /// Whether that is reached over TLS.
    pub is_secure: bool,
}

impl Settings {
    /// Returns where browsers come back to.
    pub(super) fn callback(&self) -> String {
        format!("{}/-/ui/callback", self.origin)
    }
}

/// The provider, with what is known of it.
pub struct SignIn {
    settings: Settings,
    tls: Tls,
    known: Mutex<Known>,
    /// Held while it is asked what it is, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    endpoints: Option<(Arc<Endpoints>, SystemTime)>,
    not_before: Option<SystemTime>,
}

/// Where a provider is asked.
#[derive(Debug)]
struct Endpoints {
    authorization: SafeUrl,
    token: SafeUrl,
    /// Whether a secret goes into the form, and not into a header.
    secret_in_form: bool,
}

impl SignIn {
    /// Asks nobody yet.
    pub fn new(settings: Settings) -> Result<Self, TlsError> {
        let tls = Tls::trusting(settings.ca_file.as_deref())?;
        Ok(Self { settings, tls, known: Mutex::default(), asking: tokio::sync::Mutex::default() })
    }

    /// Returns how browsers sign in.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns where a browser is sent to sign in (OIDC Core, 3.1.2.1; RFC 7636, 4.3).
    pub(super) async fn place(&self, attempt: &Attempt, now: SystemTime) -> Option<String> {
        let endpoints = self.endpoints(now).await?;
        let Settings { client, scopes, .. } = &self.settings;
        let (callback, challenge) = (self.settings.callback(), attempt.challenge());
        let query = form(&[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", &callback),
            ("scope", scopes),
            ("state", &attempt.state),
            ("nonce", &attempt.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let place = endpoints.authorization.as_str();
        let joint = if place.contains('?') { '&' } else { '?' };
        Some(format!("{place}{joint}{query}"))
    }

    /// Returns the ID token that the provider gives for a code (RFC 6749, 4.1.3). Nobody has checked it.
    pub(super) async fn unverified_token(
        &self,
        code: &str,
        attempt: &Attempt,
        now: SystemTime,
    ) -> Result<Secret<String>, NoToken> {
        let endpoints = self.endpoints(now).await.ok_or(NoToken::Away)?;
        let Settings { client, secret, proxies, .. } = &self.settings;
        let callback = self.settings.callback();
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &callback),
            ("code_verifier", attempt.verifier.expose()),
        ];
        let mut authorization = None;
        match secret {
            Some(secret) if !endpoints.secret_in_form => {
                // Both are escaped before they are joined (RFC 6749, 2.3.1).
                let pair = format!("{}:{}", escaped(client), escaped(secret.expose()));
                let line = format!("Basic {}", STANDARD.encode(Secret::new(pair).expose()));
                authorization = Some(Secret::new(line));
            }
            Some(secret) => {
                fields.extend([("client_id", client.as_str()), ("client_secret", secret.expose())]);
            }
            None => fields.push(("client_id", client)),
        }
        let form = Secret::new(form(&fields));
        let url = &endpoints.token;
        let answer = post_form(url, &self.tls, proxies, authorization.as_ref(), &form).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let (issuer, cause) = (&self.settings.issuer, causes(&error));
                tracing::warn!(issuer, error = cause, "the identity provider gave no token");
                // What it refuses is the code, or this server.
                let is_refusal = matches!(error, GetError::Status { status: 400..=499, .. });
                return Err(if is_refusal { NoToken::Refused } else { NoToken::Away });
            }
        };
        let document = strict_json::parse(&answer).map_err(|_error| NoToken::Refused)?;
        let token = document.get("id_token").and_then(Value::as_str).ok_or(NoToken::NoIdToken)?;
        if token.len() > limits::CREDENTIAL_BYTES {
            return Err(NoToken::Refused);
        }
        Ok(Secret::new(token.to_owned()))
    }

    /// Returns where the provider is asked, after asking it for that if it is not known.
    async fn endpoints(&self, now: SystemTime) -> Option<Arc<Endpoints>> {
        let fresh = || {
            let known = self.known();
            let (endpoints, since) = known.endpoints.as_ref()?;
            let age = now.duration_since(*since).unwrap_or_default();
            (age < FRESH).then(|| Arc::clone(endpoints))
        };
        if let Some(endpoints) = fresh() {
            return Some(endpoints);
        }
        let _turn = self.asking.lock().await;
        if let Some(endpoints) = fresh() {
            return Some(endpoints);
        }
        // A clock that was set back must not make a pause endless.
        let is_paused = self.known().not_before.is_some_and(|until| {
            until.duration_since(now).is_ok_and(|left| left <= limits::FIRST_PAUSE)
        });
        if is_paused {
            return None;
        }
        let answer = self.discover().await;
        let mut known = self.known();
        match answer {
            Ok(endpoints) => {
                let endpoints = Arc::new(endpoints);
                known.endpoints = Some((Arc::clone(&endpoints), now));
                Some(endpoints)
            }
            Err(error) => {
                known.not_before = Some(now + limits::FIRST_PAUSE);
                drop(known);
                let (issuer, cause) = (&self.settings.issuer, causes(&error));
                tracing::warn!(issuer, error = cause, "nobody can sign in at the web pages");
                None
            }
        }
    }

    async fn discover(&self) -> Result<Endpoints, DiscoveryError> {
        let Settings { issuer, discovery, proxies, .. } = &self.settings;
        let said = Discovery::ask(discovery, issuer, &self.tls, proxies).await?;
        let ways = "token_endpoint_auth_methods_supported";
        Ok(Endpoints {
            authorization: said.place("authorization_endpoint")?,
            token: said.place("token_endpoint")?,
            // The header is what holds where nothing is said.
            secret_in_form: said.lists(ways, "client_secret_post")
                && !said.lists(ways, "client_secret_basic"),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
    pairs.join("&")
}

/// Why there is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// The provider does not answer.
    Away,
    /// It does not take the code, or what it gives is of no use.
    Refused,
    /// It gives something, and no ID token.
    NoIdToken,
}
