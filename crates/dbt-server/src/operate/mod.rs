//! Running for years: how the server is, what it tells of itself, and how it takes new settings
//! without a restart. Nothing here decides who may do what.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use self::clients::Clients;
use self::gate::Gate;
use self::health::Health;
use self::metrics::Metrics;
use self::proxies::Proxies;
use self::quota::Reserved;
use crate::authn::Scope;
use crate::authn::rate::{Rate, Rates, network};
use crate::content::LargeChunks;
use crate::limits;
use crate::v1::Shelves;
use crate::web::sign_in::{Attempts, Sessions};

pub mod account;
mod certificate;
pub mod clients;
pub mod gate;
pub mod health;
pub mod live;
pub mod metrics;
pub mod notify;
pub mod probes;
mod providers;
pub mod proxies;
pub mod quota;
pub mod socket;
pub mod tls;
pub mod told;

/// What stays the same however often the settings change.
#[derive(Default)]
pub struct Running {
    /// How the server is.
    pub health: Health,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// What each client does.
    pub clients: Clients,
    /// How many connections are open, and answers under way beside others of theirs.
    pub connections: Gate,
    /// What is being uploaded below the paths that have a quota.
    pub reserved: Reserved,
    /// The large chunks that answers over HTTP/2 hold.
    pub large_chunks: LargeChunks,
    /// How reading the settings went.
    pub settings: Standing,
    /// Who showed identities of jobs in vain.
    pub failed_exchanges: FailedExchanges,
    /// How often the identities of each subject were exchanged.
    pub exchanges: Exchanges,
    /// Parts of the catalog that were looked at a moment ago.
    pub shelves: Shelves,
    /// What binds those to a browser who begin to sign in at the pages.
    pub sign_ins: Attempts,
    /// Who is signed in at the pages.
    pub sessions: Sessions,
    /// Who came back from a provider to the pages in vain.
    pub failed_sign_ins: FailedExchanges,
    /// Whether it was said already that a proxy says something that does not count.
    pub hinted: AtomicBool,
    orders: OnceLock<mpsc::Sender<Order>>,
}

/// Who showed identities of jobs in vain, by their network: what one address makes us verify is bounded.
///
/// Others may share it, so that a right identity has to count at any time: where there were too many in
/// vain, they are verified one after the other.
pub struct FailedExchanges {
    rates: Mutex<Rates<IpAddr>>,
    slow: Semaphore,
}

/// An identity that is being verified. It counts as one in vain unless that is taken back.
#[must_use]
pub struct Verifying<'a> {
    of: &'a FailedExchanges,
    network: IpAddr,
    /// Held where there were too many in vain before it.
    slow: Option<SemaphorePermit<'a>>,
}

impl Default for FailedExchanges {
    fn default() -> Self {
        let (at_once, every) = (limits::FAILED_EXCHANGES, limits::FAILED_EXCHANGE_EVERY);
        let rates = Mutex::new(Rates::new(Rate { at_once, every }));
        Self { rates, slow: Semaphore::new(1) }
    }
}

impl FailedExchanges {
    /// Waits until an identity from an address may be verified.
    pub async fn turn(&self, peer: IpAddr) -> Verifying<'_> {
        let network = network(peer);
        let is_at_once = self.rates().take_now(network, Instant::now());
        // Nobody closes it; and without it, they would only be verified at the same time.
        let slow = if is_at_once { None } else { self.slow.acquire().await.ok() };
        Verifying { of: self, network, slow }
    }

    fn rates(&self) -> MutexGuard<'_, Rates<IpAddr>> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Verifying<'_> {
    /// Takes back that it was in vain.
    pub fn was_not_in_vain(self) {
        if self.slow.is_none() {
            self.of.rates().give_back(&self.network);
        }
    }

    /// Notes that it was in vain; returns after how long the next one may be, if there were too many.
    pub fn was_in_vain(self) -> Option<Duration> {
        let wait = || self.of.rates().wait(&self.network, Instant::now());
        self.slow.as_ref().map(|_turn| wait().max(limits::FAILED_EXCHANGE_EVERY))
    }
}

/// How often the identities of each subject were exchanged, to read and to write apart: who only reads must
/// not stop what is published.
#[derive(Debug)]
pub struct Exchanges(Mutex<Rates<(String, Scope)>>);

impl Default for Exchanges {
    fn default() -> Self {
        let (at_once, every) = (limits::EXCHANGES_OF_SUBJECT, limits::EXCHANGE_OF_SUBJECT_EVERY);
        Self(Mutex::new(Rates::new(Rate { at_once, every })))
    }
}

impl Exchanges {
    /// Counts one, or says after how long it may be.
    pub fn take(&self, subject: String, scope: Scope) -> Result<(), Duration> {
        let (who, now) = ((subject, scope), Instant::now());
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = rates.wait(&who, now);
        if !wait.is_zero() {
            return Err(wait);
        }
        rates.take(who, now);
        Ok(())
    }
}

/// How the last reading of the settings went.
#[derive(Debug, Default)]
pub struct Standing {
    refused: AtomicBool,
    taken: AtomicU64,
    number: AtomicU64,
}

impl Standing {
    /// Notes that settings were taken.
    pub fn taken(&self, now: SystemTime) {
        self.taken.store(crate::time::since_epoch(now).as_secs(), Ordering::Relaxed);
        self.refused.store(false, Ordering::Relaxed);
        self.number.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how often settings were taken.
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Relaxed)
    }

    /// Notes that settings could not be used.
    pub fn refused(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Says whether the last settings that were read are in force.
    pub fn are_good(&self) -> bool {
        !self.refused.load(Ordering::Relaxed)
    }

    /// Returns when settings were last taken, in seconds since 1970.
    pub fn taken_at(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

/// What is asked of whoever holds the settings: to read them again, and to say what came of it.
pub type Order = oneshot::Sender<Result<live::Reloaded, String>>;

impl Running {
    /// Names who takes orders. Without anybody, there is no reloading.
    pub fn take_orders(&self, orders: mpsc::Sender<Order>) {
        // Set once, when the server starts.
        let _set_before = self.orders.set(orders);
    }

    /// Has the settings read again, and returns what came of it.
    pub async fn reload(&self) -> Result<live::Reloaded, String> {
        let away = || "the server is starting or stopping".to_owned();
        let orders = self.orders.get().ok_or_else(away)?;
        let (order, answer) = oneshot::channel();
        orders.send(order).await.map_err(|_closed| away())?;
        answer.await.map_err(|_dropped| away())?
    }
}

/// What of the settings is about connections.
#[derive(Clone, Default)]
pub struct Edge {
    /// The certificate, if connections are encrypted here.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Until when it is valid, with those between it and an authority.
    pub tls_end: Option<SystemTime>,
    /// Whose word counts about where a request comes from.
    pub proxies: Proxies,
    /// Whether nothing is written, whoever asks: `--read-only`.
    pub read_only: bool,
}
