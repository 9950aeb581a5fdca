//! Signing in with an identity provider: OIDC, and what of OAuth 2 it is built on.
//!
//! A sign-in ends in [`Tokens`]: what the server is shown, and what gets the next one. Which of the
//! ways below is gone follows from the configuration and the surroundings, and is decided above:
//!
//! | way | for whom |
//! |---|---|
//! | [`exchange`] | who can sign with an SSH key, or has another token (RFC 8693) |
//! | [`device`] | a machine without a browser: somebody confirms a code elsewhere (RFC 8628) |
//! | [`browser`] | a person at a browser (RFC 6749 with 7636, 8252 and 9207) |
//! | [`refresh`] | who has signed in before, without anybody noticing |
//! | [`ci`] | a job: the identity that its system gave it, exchanged at the server |
//!
//! Whoever signs in hands its tokens to the [`TokenCache`](crate::token_cache::TokenCache), which
//! all processes share. Nothing here prints, asks, opens a browser or reads the environment: that
//! is given, and what a person should see is handed out. Providers are asked over TLS alone, and by
//! `http` only on this machine.
//!
//! The ID token is sent to the server where there is one, else the access token (wire formats,
//! 2.3). It comes straight from the provider over a connection that proves whose it is, so that its
//! signature is not verified here (OIDC Core, 3.1.3.7); the server does that.

mod answer;
pub mod browser;
mod channel;
pub mod ci;
mod claims;
pub mod device;
mod error;
pub mod exchange;
mod form;
mod id_token;
mod pace;
mod provider;
pub mod refresh;
pub mod revoke;
mod settings;
mod tokens;

pub use channel::Channel;
pub use claims::UnverifiedClaims;
pub use error::{ErrorCode, OidcError, Refusal, TriedKey, What};
pub use pace::{Pace, RealPace};
pub use provider::{Addresses, Issuer, Provider};
pub use settings::{ProviderSettings, WithoutKeys};
pub use tokens::Tokens;
pub(crate) use tokens::is_token;

use dbt_core::secret::Secret;

/// Who we are at the provider, and for whom its tokens are.
#[derive(Debug, Clone)]
pub struct Client {
    /// `oidcClientId`.
    pub id: String,
    /// `oidcClientSecret`: clients that are installed on many machines have none.
    pub secret: Option<Secret<String>>,
    /// `oidcAudience`.
    pub audience: Option<String>,
}
