//! What the configuration says of a provider, and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;

use super::exchange::{self, Exchange};
use super::{Addresses, Channel, Client, OidcError, Provider, Tokens};
use crate::auth::agent::{Agent, HeldKey};
use crate::auth::{CredentialsError, SecretValue, SshSubjects};
use crate::token_cache::{Key, Recipient};

/// One server's provider: where it is, as whom it is asked, and which keys can sign.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Where it is.
    pub addresses: Addresses,
    /// As whom it is asked.
    pub client: Client,
    /// How what a key signs is exchanged, where the configuration says that one does.
    pub exchange: Option<Exchange>,
    /// In whose name a key signs.
    pub username: Option<Arc<SecretValue>>,
    /// The key of the agent that signs; without it, each in its turn.
    pub public_key: Option<Arc<SecretValue>>,
    /// The agent.
    pub agent: Agent,
    /// Where the time comes from.
    pub clock: Clock,
    /// Scales all time limits.
    pub time_scale: f64,
}

/// The connector for SSH keys, where nothing else is said.
const CONNECTOR: &str = "ssh";

impl ProviderSettings {
    /// Returns what tokens are kept under that are sent to a server.
    pub fn key(&self, to: &Recipient) -> Key {
        Key {
            issuer: self.addresses.issuer.as_str().to_owned(),
            client: self.client.id.clone(),
            audience: self.client.audience.clone().unwrap_or_default(),
            to: to.clone(),
            who: self.who(),
        }
    }

    /// Returns a digest of what the configuration says of who signs in; nothing where it says
    /// nothing. Commands for it are not run: what they print is asked for when somebody signs in.
    fn who(&self) -> String {
        let of = |value: &Option<Arc<SecretValue>>| {
            value.as_ref().map(|value| value.digest_of_words().to_string())
        };
        let connector = match &self.exchange {
            Some(Exchange::Connector(connector)) => Some(connector.clone()),
            Some(Exchange::Standard) | None => None,
        };
        let said = [of(&self.username), of(&self.public_key), connector];
        if said.iter().all(Option::is_none) {
            return String::new();
        }
        let said = said.map(Option::unwrap_or_default).join("\n");
        Digest::of(said.as_bytes()).to_string()
    }

    /// Returns the fingerprints of the keys that the agent holds, in its order.
    pub fn fingerprints(&self, limit: Duration) -> Result<Vec<String>, CredentialsError> {
        let held = self.agent.keys(limit).map_err(CredentialsError::Agent)?;
        Ok(held.iter().map(HeldKey::fingerprint).collect())
    }

    /// Returns the provider for what can be had without a person: a Dex is not asked what it offers.
    pub fn provider(&self, channel: &Channel) -> Result<Provider, OidcError> {
        match &self.exchange {
            Some(Exchange::Connector(_)) => Ok(Provider::of_dex(&self.addresses)),
            Some(Exchange::Standard) | None => Provider::discover(channel, &self.addresses),
        }
    }

    /// Signs in with a key of the agent, which may take `limit` for each signature: as the
    /// configuration says, and else at the usual connector of a Dex.
    pub fn with_keys(&self, channel: &Channel, limit: Duration) -> Result<Tokens, WithoutKeys> {
        let usual = Exchange::Connector(CONNECTOR.to_owned());
        let exchange = self.exchange.as_ref().unwrap_or(&usual);
        let username = self.username.as_ref().map(|username| username.read(limit)).transpose()?;
        let written = username.map(|name| name.expose().as_str()).filter(|name| !name.is_empty());
        let line = self.public_key.as_ref().map(|key| Ok((key.key(), key.read(limit)?.expose())));
        let line = line.transpose().map_err(WithoutKeys::Credentials)?;
        let subjects = SshSubjects {
            issuer: &self.addresses.issuer,
            client: &self.client,
            exchange,
            username: written.unwrap_or(&self.client.id),
            agent: &self.agent,
            now: channel.now(),
            limit,
        };
        let keys = subjects.signed(line.map(|(key, line)| (key, line.as_str())))?;
        let provider = match exchange {
            Exchange::Connector(_) => Provider::of_dex(&self.addresses),
            Exchange::Standard => Provider::discover(channel, &self.addresses)?,
        };
        Ok(exchange::with_keys(channel, &provider, &self.client, exchange, keys)?)
    }
}

/// Why no key signed somebody in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WithoutKeys {
    /// There is no agent, or it does not answer; or what the configuration says of the key is wrong.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The provider.
    #[error(transparent)]
    Provider(Arc<OidcError>),
}

impl From<OidcError> for WithoutKeys {
    fn from(error: OidcError) -> Self {
        Self::Provider(Arc::new(error))
    }
}

impl WithoutKeys {
    /// Says whether there was nothing to sign with, so that somebody may sign in in another way.
    pub fn is_for_want_of_keys(&self) -> bool {
        match self {
            Self::Credentials(CredentialsError::Agent(_)) => true,
            Self::Credentials(_) => false,
            Self::Provider(error) => matches!(**error, OidcError::NoKey { .. }),
        }
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Credentials(error) => error.hint(),
            Self::Provider(error) => error.hint(),
        }
    }
}
