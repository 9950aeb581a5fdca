//! How long to wait, and when to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a server is waited for (product, outage rule). Made when the waiting begins: requests
/// that share one share its deadline.
#[derive(Debug, Clone)]
pub struct Patience {
    /// To resolve the name, connect, and agree on TLS.
    pub connect: Duration,
    /// From the request to the answer's head.
    pub first_byte: Duration,
    /// When everything must be over.
    pub deadline: Option<Instant>,
    /// When the last pause between two attempts must be over, where that is before everything must.
    pub pauses: Option<Instant>,
    /// When whatever tells who asks must be known: a command may take its time to find that out.
    pub credentials: Option<Instant>,
    /// In how much time a body must bring 1 KiB for each of its seconds.
    pub stall: Duration,
    /// Ends the waiting from elsewhere.
    pub cancel: Cancel,
}

/// How long a body may be slow.
const STALL: Duration = Duration::from_secs(15);

/// The slowest body that is not a stall, in bytes per second.
const SLOWEST: f64 = 1024.0;

impl Patience {
    /// Returns the limits of a check whose failure does not matter much, because a verified copy
    /// can run: 1 s to connect, 2 s in all.
    pub fn with_cached_copy(time_scale: f64) -> Self {
        Self::scaled(time_scale, 1.0, 2.0, Some(2.0))
    }

    /// Returns the limits of reading metadata without which nothing can run: 3 s to connect, 5 s
    /// to the first byte, 15 s in all.
    pub fn without_cached_copy(time_scale: f64) -> Self {
        Self::scaled(time_scale, 3.0, 5.0, Some(15.0))
    }

    /// Returns the limits of an artifact's download: as long as it moves, it may take its time.
    pub fn for_artifact(time_scale: f64) -> Self {
        Self::scaled(time_scale, 3.0, 5.0, None)
    }

    /// Returns the limits of the download of a newer dbt that a run takes by itself while a tool
    /// waits: 15 s in all, however well it moves.
    pub fn for_candidate(time_scale: f64) -> Self {
        Self::scaled(time_scale, 3.0, 5.0, Some(15.0))
    }

    /// Returns the limits of an upload. Servers answer when they have stored and hashed
    /// everything, which takes a while.
    pub fn for_upload(time_scale: f64) -> Self {
        Self::scaled(time_scale, 10.0, 120.0, None)
    }

    /// Returns the same limits, ended by `cancel`.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: Cancel) -> Self {
        self.cancel = cancel;
        self
    }

    /// Returns the same limits for what a verified copy can stand in for: a server that wants to be
    /// asked again later is asked again within 2 s, or not in this run.
    #[must_use]
    pub(crate) fn with_copy_at_hand(mut self, time_scale: f64) -> Self {
        self.pauses = Some(Instant::now() + Self::in_seconds(2.0, time_scale));
        self
    }

    /// Returns the same limits with half of the time that is left: for what others wait for, and
    /// could do without.
    #[must_use]
    pub fn half(&self) -> Self {
        let now = Instant::now();
        let half = |deadline: Instant| now + deadline.saturating_duration_since(now) / 2;
        Self { deadline: self.deadline.map(half), ..self.clone() }
    }

    /// Returns the same limits, with a deadline that is so much later.
    #[must_use]
    pub(crate) fn later(mut self, by: Duration) -> Self {
        self.deadline = self.deadline.map(|deadline| deadline + by);
        self.credentials = self.credentials.map(|deadline| deadline + by);
        self
    }

    /// Returns how long a name and a connection are waited for: a little less than the limit, so
    /// that a run that waits for one in vain is over within it, start and end included.
    pub(super) fn to_connect(&self) -> Duration {
        self.connect * 19 / 20
    }

    /// Returns how long credentials may be waited for. What others wait for a shorter time for, they
    /// wait for as long: they are asked for once.
    pub(super) fn for_credentials(&self) -> Duration {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        self.credentials.map_or(Duration::MAX, left)
    }

    /// Returns how much must come in a stretch of [`Self::stall`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a stretch of hours would be needed to leave the range"
    )]
    pub(super) fn least_bytes(&self) -> u64 {
        (self.stall.as_secs_f64() * SLOWEST) as u64
    }

    /// Returns what is left of `limit` before the deadline; nothing when that has passed.
    pub(super) fn within_deadline(&self, limit: Duration) -> Option<Duration> {
        match self.deadline {
            None => Some(limit),
            Some(deadline) => {
                let left = deadline.checked_duration_since(Instant::now())?;
                Some(left.min(limit))
            }
        }
    }

    fn scaled(scale: f64, connect: f64, first_byte: f64, in_all: Option<f64>) -> Self {
        let time = |seconds: f64| Self::in_seconds(seconds, scale);
        let deadline = in_all.map(|seconds| Instant::now() + time(seconds));
        Self {
            connect: time(connect),
            first_byte: time(first_byte),
            deadline,
            pauses: None,
            credentials: deadline,
            stall: time(STALL.as_secs_f64()),
            cancel: Cancel::default(),
        }
    }

    fn in_seconds(seconds: f64, scale: f64) -> Duration {
        let scale = if scale.is_finite() { scale.clamp(0.001, 1000.0) } else { 1.0 };
        Duration::from_secs_f64(seconds * scale)
    }
}

/// Ends work in other threads. Copies are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends everything that was given this switch, at its next opportunity.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Says whether it has been ended.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
