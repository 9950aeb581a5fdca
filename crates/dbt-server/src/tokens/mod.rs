//! The server's own tokens: what each is good for, who may make which, and keeping them. That one
//! proves its bearer is `authn::api_tokens`'s business; what the bearer may do is `authz`'s.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;

use crate::authn::api_tokens::HeldToken;
use crate::authn::rate::{Rate, Rates, network};
use crate::limits;
use crate::state::{self, Claim, Making, Revoked, Revoking, Row, State, StateError, Unusable};

mod exchange;
mod kept;
pub mod mint;
pub mod text;

pub(crate) use self::exchange::under;
pub use self::exchange::{Came, Exchanging};
pub use self::kept::{About, ApiToken, Exchanged, KeptCeiling, NewToken};

/// How many tokens that count one subject may have, unless the settings say otherwise.
pub const EACH: u32 = 50;

/// How long a token counts, unless whoever makes it says otherwise.
pub const USUAL_LIFE: Duration = Duration::from_hours(90 * 24);

/// How exactly is kept when a token was last used, so that reading costs no writing.
pub const USE_KEPT_TO: Duration = Duration::from_mins(1);

/// What the settings say of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one may count; any time, if that is not said.
    pub longest: Option<Duration>,
    /// How many that count one subject may have.
    pub each: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { longest: None, each: EACH }
    }
}

/// What came of looking for a token.
#[derive(Debug)]
pub enum Found {
    /// It is kept; whether it counts is another question.
    Kept(Box<ApiToken>),
    /// There is none like it.
    Unknown,
    /// There is none like it, and it was not looked up: so many from this address were wrong that the
    /// next one is looked up only after this.
    TooMany(Duration),
}

/// Where tokens are kept, which of them were used lately, and who showed wrong ones.
#[derive(Debug)]
pub struct Tokens {
    state: Result<State, Unusable>,
    used: Mutex<HashMap<String, SystemTime>>,
    failed: Mutex<Rates<IpAddr>>,
    listed: Mutex<Option<(Instant, HashSet<[u8; 32]>)>>,
    lookups: AtomicU64,
    /// The digests of the rules of trusted publishing that are in force.
    rules: RwLock<HashSet<String>>,
}

impl Tokens {
    /// Keeps them in a state, if it can be used.
    pub fn new(state: Result<State, Unusable>) -> Self {
        let failed = Rate { at_once: limits::FAILED_LOOKUPS, every: limits::FAILED_LOOKUP_EVERY };
        Self {
            state,
            used: Mutex::default(),
            failed: Mutex::new(Rates::new(failed)),
            listed: Mutex::default(),
            lookups: AtomicU64::new(0),
            rules: RwLock::default(),
        }
    }

    /// Returns the state that they are in.
    pub fn state(&self) -> Result<&State, &Unusable> {
        self.state.as_ref()
    }

    /// Looks for a token that somebody shows.
    ///
    /// Nobody finds one by trying; what strangers can do is to make us look. So many failures of one
    /// address cost a look, and from then on only what is on a list of all tokens, which is read
    /// once a second at most: whoever has a right one is waited for by nobody, and waits for nobody.
    pub fn find(&self, digest: &[u8; 32], peer: IpAddr) -> Result<Found, StateError> {
        let state = self.usable()?;
        let (network, now) = (network(peer), Instant::now());
        let wait = locked(&self.failed).wait(&network, now);
        if !wait.is_zero() && !self.is_listed(state, digest, now)? {
            return Ok(Found::TooMany(wait));
        }
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let row = state.token_of_digest(digest)?;
        if let Some(row) = row.filter(|row| bool::from(row.digest.ct_eq(digest))) {
            return Ok(Found::Kept(Box::new(row.into())));
        }
        locked(&self.failed).take(network, now);
        Ok(Found::Unknown)
    }

    /// Says whether a token that was accepted a while ago still counts for what it was let do, by the rule
    /// that permitted it.
    pub fn counts(&self, held: &HeldToken, permitted_by: Option<&str>, now: SystemTime) -> bool {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let row = self.usable().and_then(|state| state.token(&held.id));
        match row {
            Ok(Some(row)) => {
                row.ended.is_none()
                    && row.expires.is_none_or(|expires| expires > now)
                    && self.are_in_force(&held.rules, permitted_by)
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "a token could not be looked up again");
                false
            }
        }
    }

    fn is_listed(
        &self,
        state: &State,
        digest: &[u8; 32],
        now: Instant,
    ) -> Result<bool, StateError> {
        let mut listed = locked(&self.listed);
        let fresh = listed.as_ref().filter(|(then, _all)| {
            now.saturating_duration_since(*then) < limits::LISTED_TOKENS_TIME
        });
        if let Some((_then, all)) = fresh {
            return Ok(all.contains(digest));
        }
        let all: HashSet<_> = state.token_digests()?.into_iter().collect();
        let is_there = all.contains(digest);
        *listed = Some((now, all));
        Ok(is_there)
    }

    /// Returns how often one was looked up.
    pub fn lookups(&self) -> u64 {
        self.lookups.load(Ordering::Relaxed)
    }

    /// Keeps a token. It is on the disk when this returns.
    pub async fn add(
        &self,
        new: Row,
        making: Making,
        clock: Clock,
    ) -> Result<state::Added, StateError> {
        // The time is asked for when it is kept: what it is made with may expire until then.
        let work =
            move |it: &rusqlite::Transaction<'_>| state::add_token(it, &new, &making, clock.now());
        let added = self.usable()?.write(Claim::Reserved, work).await;
        // Whoever has the new one need not wait until the list is read again.
        *locked(&self.listed) = None;
        added
    }

    /// Ends tokens. They count no more when this returns.
    pub async fn revoke(&self, revoking: Revoking, clock: Clock) -> Result<Revoked, StateError> {
        let work =
            move |it: &rusqlite::Transaction<'_>| state::end_tokens(it, &revoking, clock.now());
        self.usable()?.write(Claim::Reserved, work).await
    }

    /// Notes that a token was used, if that is not known to the minute.
    pub fn note_use(&self, token: &ApiToken, now: SystemTime) {
        let is_known =
            |then: SystemTime| now.duration_since(then).is_ok_and(|passed| passed < USE_KEPT_TO);
        if token.used.is_some_and(is_known) {
            return;
        }
        let mut used = locked(&self.used);
        if !used.get(&token.id).copied().is_some_and(is_known) {
            used.insert(token.id.clone(), now);
        }
    }

    /// Writes which tokens were used, all together.
    pub async fn keep_uses(&self) {
        let used: Vec<(String, SystemTime)> =
            std::mem::take(&mut *locked(&self.used)).into_iter().collect();
        if used.is_empty() {
            return;
        }
        let Ok(state) = &self.state else { return };
        if let Err(error) = state.tokens_used(used).await {
            tracing::warn!(%error, "when tokens were last used could not be kept");
        }
    }

    fn usable(&self) -> Result<&State, StateError> {
        let failed = |unusable: &Unusable| StateError::Failed { reason: unusable.to_string() };
        self.state.as_ref().map_err(failed)
    }
}

/// Says for the record, and to whoever revoked them, which tokens count no more: those that are named
/// beside what is revoked, and what was made with them.
pub fn told_revoked(what: &str, named: &[String], made: &[String], keep_made: bool) -> String {
    /// How many are named one by one.
    const MOST: usize = 20;

    let list = |ids: &[String]| {
        let shown: Vec<&str> = ids.iter().take(MOST).map(String::as_str).collect();
        let more = if ids.len() > MOST { ", …" } else { "" };
        format!("{} ({}{more})", ids.len(), shown.join(", "))
    };
    let mut told = what.to_owned();
    if !named.is_empty() {
        told.extend([": ", &list(named)]);
    }
    if keep_made {
        told.push_str("; what was made with it counts on");
    } else if !made.is_empty() {
        told.extend(["; with it what was made with it: ", &list(made)]);
    }
    told
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is one step.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
