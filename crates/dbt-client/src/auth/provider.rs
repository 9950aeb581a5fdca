//! Tokens of an identity provider: what somebody has signed in for is sent, and renewed without
//! anybody noticing where it can be. Whoever has to do something for it does so with `login`, and
//! never in the middle of a run.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dbt_core::secret::Secret;

use super::{AuthHeader, CredentialsError};
use crate::oidc::{Channel, OidcError, ProviderSettings, Tokens, WithoutKeys, refresh};
use crate::source::Connector;
use crate::token_cache::{Key, Need, NoToken, Recipient, Renewal, TokenCache};

/// How long another process is waited for at most that signs in: a key in hardware may want to be
/// touched.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// What one server is sent of its provider's tokens. Copies share what is known.
pub struct ProviderTokens {
    settings: ProviderSettings,
    cache: Arc<TokenCache>,
    /// What is kept for somebody who has signed in; what agents signed for is kept beside it.
    key: Key,
    /// Who is sent tokens.
    server: Vec<Recipient>,
    state: Mutex<State>,
}

/// What somebody has signed in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A key of the SSH agent.
    Agent,
    /// A person, in a browser.
    Person,
}

#[derive(Default)]
struct State {
    /// Why there is none: in one run nobody is asked again.
    lack: Option<Lack>,
    /// What was sent last.
    sent: Option<Secret<String>>,
    /// Whether another one could be had for one that the server refused.
    renewed: Option<bool>,
}

/// Why there is no token.
#[derive(Debug, Clone)]
enum Lack {
    /// Somebody has to sign in; why no key of the agent did, if it could have.
    SignIn { keys: Option<String> },
    /// Something went wrong.
    Failed(CredentialsError),
}

impl ProviderTokens {
    /// Keeps the tokens of a server in this cache under one of those who are sent them.
    pub fn new(
        settings: ProviderSettings,
        cache: Arc<TokenCache>,
        home: &Recipient,
        server: &[Recipient],
    ) -> Self {
        let key = settings.key(home);
        Self { settings, cache, key, server: server.to_vec(), state: Mutex::default() }
    }

    /// Returns what the configuration says of the provider.
    pub const fn settings(&self) -> &ProviderSettings {
        &self.settings
    }

    /// Returns what the tokens are kept under that somebody has signed in for.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Returns what is kept, good or not, and asks no provider.
    pub fn kept(&self, limit: Duration) -> Option<Tokens> {
        let of_agent = || self.cache.peek(&self.key_of_agent(limit).ok()??);
        self.cache.peek(&self.key).or_else(of_agent)
    }

    /// Returns a token that is good, as far as it can be had without a person: the one that is kept,
    /// a renewed one, or one that a key of the agent signs for. Nothing where somebody has to sign in.
    pub fn silently(
        &self,
        connector: &Arc<Connector>,
        limit: Duration,
    ) -> Result<Option<Tokens>, CredentialsError> {
        let mut state = self.lock();
        if let Some(lack) = &state.lack {
            return lack.outcome();
        }
        match self.obtained(connector, limit, None) {
            Ok(tokens) => {
                state.sent = Some(tokens.token.clone());
                Ok(Some(tokens))
            }
            Err(lack) => state.lack.insert(lack).outcome(),
        }
    }

    /// Keeps what somebody has signed in for, in the place of what they had for this server before.
    /// Says whether other processes will find it.
    pub fn keep(&self, tokens: &Tokens, by: By) -> bool {
        self.cache.make_way_for(&self.key, &self.server);
        let key = match by {
            By::Agent if self.settings.public_key.is_none() => {
                let held = self.settings.fingerprints(LONGEST_WAIT).unwrap_or_default();
                self.key.signed_by(&held)
            }
            By::Agent | By::Person => self.key.clone(),
        };
        self.cache.store(&key, tokens);
        *self.lock() = State::default();
        self.cache.is_kept(&key, tokens)
    }

    /// Says why no key of the agent has signed in, where one could have.
    pub(super) fn unused(&self) -> Option<String> {
        let program = dbt_core::brand::PROGRAM;
        match &self.lock().lack {
            Some(Lack::SignIn { keys }) => {
                keys.as_ref().map(|why| format!("{why}; `{program} login` signs you in"))
            }
            Some(Lack::Failed(_)) | None => None,
        }
    }

    pub(super) fn header(
        &self,
        connector: Option<&Arc<Connector>>,
        limit: Duration,
    ) -> Result<Option<AuthHeader>, CredentialsError> {
        let Some(connector) = connector else { return Ok(None) };
        let tokens = self.silently(connector, limit)?;
        Ok(tokens.map(|tokens| AuthHeader::authorization("Bearer", &tokens.token)))
    }

    /// Gets another token than the one that the server has refused, once in a run; says whether there
    /// is one.
    pub(super) fn renew(&self, connector: Option<&Arc<Connector>>, limit: Duration) -> bool {
        let mut state = self.lock();
        if let Some(renewed) = state.renewed {
            return renewed;
        }
        let (Some(connector), Some(refused)) = (connector, state.sent.take()) else { return false };
        let outcome = self.obtained(connector, limit, Some(&refused));
        let is_other = outcome.as_ref().is_ok_and(|tokens| tokens.token != refused);
        match outcome {
            // What it would be asked with has just been refused.
            Err(Lack::SignIn { .. }) => state.sent = Some(refused),
            Err(failed) => state.lack = Some(failed),
            Ok(tokens) => state.sent = Some(tokens.token),
        }
        state.renewed = Some(is_other);
        is_other
    }

    /// Says whether that was tried.
    pub(super) fn was_renewed(&self) -> bool {
        self.lock().renewed.is_some()
    }

    /// Returns what somebody has signed in for; else what keys of the agent have signed for, or sign
    /// for now.
    fn obtained(
        &self,
        connector: &Arc<Connector>,
        limit: Duration,
        refused: Option<&Secret<String>>,
    ) -> Result<Tokens, Lack> {
        let is_agents = self.settings.public_key.is_none();
        if !is_agents || self.cache.peek(&self.key).is_some() {
            match self.obtained_under(&self.key, connector, limit, refused) {
                Err(Lack::SignIn { .. }) if is_agents => {}
                outcome => return outcome,
            }
        }
        let key = self.key_of_agent(limit).map_err(WithoutKeys::from).map_err(Lack::from)?;
        let key = key.ok_or(Lack::SignIn { keys: None })?;
        self.obtained_under(&key, connector, limit, refused)
    }

    /// Returns what the tokens are kept under for which the agent signed that is there now: no other
    /// agent's are used. Nothing where no agent has signed, and none does by itself.
    fn key_of_agent(&self, limit: Duration) -> Result<Option<Key>, CredentialsError> {
        let signs = self.settings.exchange.is_some();
        if self.settings.public_key.is_some() || !signs && !self.cache.has_of_agents(&self.key) {
            return Ok(None);
        }
        match self.settings.fingerprints(limit) {
            Ok(held) => Ok(Some(self.key.signed_by(&held))),
            Err(error) if signs => Err(error),
            // It is only not the one that has signed.
            Err(_no_agent) => Ok(None),
        }
    }

    fn obtained_under(
        &self,
        key: &Key,
        connector: &Arc<Connector>,
        limit: Duration,
        refused: Option<&Secret<String>>,
    ) -> Result<Tokens, Lack> {
        let now = self.settings.clock.now();
        let need = Need { now, patience: limit.min(LONGEST_WAIT), refused };
        let outcome = self.cache.get_or_obtain(key, &need, |renewal| {
            // What is still good is not given up for a provider that does not answer.
            let limit = if renewal.before().is_some() { limit / 2 } else { limit };
            self.obtain(key, renewal, connector, limit)
        });
        outcome.map_err(|error| match error {
            NoToken::Obtain(lack) => lack,
            NoToken::Busy { waited } => Lack::Failed(CredentialsError::Busy { waited }),
        })
    }

    /// Renews what was kept, or has a key of the agent sign.
    fn obtain(
        &self,
        key: &Key,
        renewal: &mut Renewal<'_>,
        connector: &Arc<Connector>,
        limit: Duration,
    ) -> Result<Tokens, Lack> {
        let settings = &self.settings;
        let channel = Channel::new(connector, settings.clock, settings.time_scale)
            .until(Instant::now().checked_add(limit));
        let provider = || settings.provider(&channel);
        if let Some(tokens) = refresh::within(renewal, &channel, provider, &settings.client)? {
            return Ok(tokens);
        }
        // What an agent signs for is not kept as what somebody has signed in for.
        let is_persons = settings.public_key.is_none() && *key == self.key;
        if settings.exchange.is_none() || is_persons {
            return Err(Lack::SignIn { keys: None });
        }
        settings.with_keys(&channel, limit).map_err(Lack::from)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Without tokens.
impl fmt::Debug for ProviderTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderTokens").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Lack {
    /// A server that wants nobody to sign in is read all the same.
    fn outcome<T>(&self) -> Result<Option<T>, CredentialsError> {
        match self {
            Self::SignIn { .. } => Ok(None),
            Self::Failed(error) => Err(error.clone()),
        }
    }
}

impl From<OidcError> for Lack {
    fn from(error: OidcError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<WithoutKeys> for Lack {
    fn from(error: WithoutKeys) -> Self {
        if error.is_for_want_of_keys() {
            let words = crate::anchor::in_one_line(&error);
            return Self::SignIn { keys: Some(words) };
        }
        Self::Failed(match error {
            WithoutKeys::Credentials(error) => error,
            WithoutKeys::Provider(error) => CredentialsError::Provider(error),
        })
    }
}
