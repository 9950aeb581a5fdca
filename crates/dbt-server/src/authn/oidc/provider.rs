//! An identity provider and its keys: asked when they are first needed, and not again too soon.
//!
//! A provider that is away never stops the start, its last keys go on counting for a day, and
//! nobody can make the server ask it often. Where it is asked comes from the configuration and
//! from its own discovery document, never from a token.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::Settings;
use super::claims::Claims;
use super::keys::{KeySet, Signed};
use crate::authn::jwt::Jwt;
use crate::authn::verified::Verified;
use crate::authn::{BadCredential, ProviderStanding, away};
use crate::limits;
use crate::log::causes;
use crate::outbound::SafeUrl;
use crate::outbound::discovery::{Discovery, DiscoveryError};
use crate::outbound::get::{GetError, get};
use crate::outbound::tls::Tls;

/// What its document calls the place of its keys.
const KEYS_PLACE: &str = "jwks_uri";

/// An identity provider, with what is known of it.
pub struct Provider {
    settings: Arc<Settings>,
    tls: Tls,
    known: Mutex<Known>,
    verified: Verified,
    /// Held while it is asked, so that it is asked once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Arc<KeySet>, SystemTime)>,
    /// How often it was asked in vain since it last answered.
    failures: u32,
    answered: u64,
    failed: u64,
    not_before: Option<SystemTime>,
    asked_for_unknown: Option<SystemTime>,
}

impl Provider {
    /// Knows nothing yet, and asks nobody.
    pub fn new(settings: Arc<Settings>, tls: Tls) -> Self {
        let (known, asking) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { settings, tls, known, verified: Verified::new(), asking }
    }

    /// Returns how it stands with it.
    pub fn standing(&self, now: SystemTime) -> ProviderStanding {
        let known = self.known();
        let keys_age = known.keys.as_ref().map(|(_keys, asked)| {
            // A clock that was set back makes nothing younger than new.
            now.duration_since(*asked).unwrap_or_default()
        });
        let (answers, failures) = (known.answered, known.failed);
        drop(known);
        ProviderStanding { issuer: self.settings.issuer.clone(), keys_age, answers, failures }
    }

    /// Checks who signed a token, and returns what it claims.
    pub async fn verify<'t>(
        &self,
        token: &'t Jwt<'_>,
        now: SystemTime,
    ) -> Result<&'t Claims, BadCredential> {
        let refuse = |why: String| BadCredential::default().noting(why);
        let keys = self.keys(now).await?;
        let signed = match keys.judge(token, &self.verified) {
            // Rotated since they were asked for, perhaps.
            Signed::Unknown => self.keys_after(&keys, now).await.judge(token, &self.verified),
            known @ (Signed::Yes | Signed::No) => known,
        };
        match signed {
            Signed::Yes => Ok(token.claims()),
            Signed::No => Err(refuse("the signature is not that of the key it names".to_owned())),
            Signed::Unknown => {
                let key: String = token.key_id().unwrap_or("(none)").chars().take(100).collect();
                let key = key.escape_debug();
                Err(refuse(format!("no key of the provider signed it; it names the key `{key}`")))
            }
        }
    }

    /// Returns the keys, after asking for them if they are not known or no longer fresh.
    async fn keys(&self, now: SystemTime) -> Result<Arc<KeySet>, BadCredential> {
        if let Some(keys) = self.younger_than(self.settings.keys_fresh, now) {
            return Ok(keys);
        }
        let stale = self.younger_than(self.settings.keys_fresh + limits::STALE_KEYS, now);
        let turn = match (&stale, self.asking.try_lock()) {
            (_, Ok(turn)) => turn,
            // Somebody else asks; what is known will do.
            (Some(keys), Err(_taken)) => return Ok(Arc::clone(keys)),
            (None, Err(_taken)) => self.asking.lock().await,
        };
        if let Some(keys) = self.younger_than(self.settings.keys_fresh, now) {
            return Ok(keys);
        }
        if self.may_ask(now)
            && let Some(keys) = self.ask(now).await
        {
            return Ok(keys);
        }
        drop(turn);
        stale.ok_or_else(|| away(format!("the keys of `{}` are not known", self.settings.issuer)))
    }

    /// Returns the keys that are known after a token was signed with none of those `seen`.
    async fn keys_after(&self, seen: &Arc<KeySet>, now: SystemTime) -> Arc<KeySet> {
        let _turn = self.asking.lock().await;
        let newest = self.known().keys.as_ref().map(|(keys, _asked)| Arc::clone(keys));
        if let Some(newest) = newest.filter(|newest| !Arc::ptr_eq(newest, seen)) {
            return newest;
        }
        let paused = self.known().asked_for_unknown.is_some_and(|last| {
            now.duration_since(last).is_ok_and(|since| since < limits::UNKNOWN_KEY_PAUSE)
        });
        if paused || !self.may_ask(now) {
            return Arc::clone(seen);
        }
        self.known().asked_for_unknown = Some(now);
        self.ask(now).await.unwrap_or_else(|| Arc::clone(seen))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn younger_than(&self, age: Duration, now: SystemTime) -> Option<Arc<KeySet>> {
        let known = self.known();
        let (keys, asked) = known.keys.as_ref()?;
        // A clock that was set back makes nothing older.
        (now.duration_since(*asked).unwrap_or_default() < age).then(|| Arc::clone(keys))
    }

    fn may_ask(&self, now: SystemTime) -> bool {
        // A clock that was set back by more than any pause must not make one endless.
        self.known().not_before.is_none_or(|until| {
            until.duration_since(now).map_or(true, |left| left > limits::LONGEST_PAUSE)
        })
    }

    /// Asks for the keys; whoever calls this holds the turn.
    async fn ask(&self, now: SystemTime) -> Option<Arc<KeySet>> {
        let answer = self.fetch().await;
        let mut known = self.known();
        match answer {
            Ok(keys) => {
                let keys = Arc::new(keys);
                known.keys = Some((Arc::clone(&keys), now));
                known.failures = 0;
                known.answered += 1;
                known.not_before = None;
                Some(keys)
            }
            Err(error) => {
                let doubled = limits::FIRST_PAUSE * 2_u32.saturating_pow(known.failures.min(10));
                let pause = doubled.min(limits::LONGEST_PAUSE);
                known.failures = known.failures.saturating_add(1);
                known.failed += 1;
                known.not_before = Some(now + pause);
                drop(known);
                tracing::warn!(
                    issuer = self.settings.issuer,
                    error = causes(&error),
                    "the identity provider's keys could not be read; it is asked again after {} s",
                    pause.as_secs()
                );
                None
            }
        }
    }

    async fn fetch(&self) -> Result<KeySet, ProviderError> {
        let place = match &self.settings.keys_at {
            Some(place) => place.clone(),
            None => self.discover().await?,
        };
        let failed = |source| ProviderError::Get { url: place.to_string(), source };
        let answer = get(&place, &self.tls, &self.settings.proxies).await.map_err(failed)?;
        KeySet::parse(&answer).ok_or_else(|| ProviderError::NoKeys { url: place.to_string() })
    }

    /// Returns where the provider says that its keys are.
    async fn discover(&self) -> Result<SafeUrl, ProviderError> {
        let Settings { discovery, issuer, proxies, .. } = &*self.settings;
        let place = discovery.as_ref().ok_or(ProviderError::NoPlace)?;
        Ok(Discovery::ask(place, issuer, &self.tls, proxies).await?.place(KEYS_PLACE)?)
    }
}

/// Why a provider's keys are not known.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer.
    #[error("`{url}`: {source}")]
    Get {
        /// What was asked for.
        url: String,
        /// What came instead.
        source: GetError,
    },
    /// The answer holds no key.
    #[error("`{url}` is not a set of keys with at least one that can be used")]
    NoKeys {
        /// What was asked for.
        url: String,
    },
    /// Nobody says where they are.
    #[error("neither a `discoveryUrl` nor a `jwksUri` is known")]
    NoPlace,
    /// What it says of itself is not known.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
}
