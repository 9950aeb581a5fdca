//! How the server is: whether reads can be answered, whether writes can, and why not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long what was last found out counts. A disk that hangs answers nothing at all.
pub const STALE: Duration = Duration::from_mins(1);

/// Why writes cannot be taken, or reads not be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The server was told to stop.
    Stopping,
    /// The tree cannot be read.
    Unreadable,
    /// The disk has not answered for a while.
    Hanging,
    /// The server was started with `--read-only`.
    ToldSo,
    /// No way to sign in is configured for writers.
    NoWriters,
    /// There is no space left.
    DiskFull,
    /// The disk takes no writes.
    DiskReadOnly,
    /// What is done cannot be recorded.
    AuditStopped,
    /// What must not be forgotten is missing or cannot be used.
    NoState,
    /// Something else is wrong with the disk; the log has it.
    Disk,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Stopping,
        Self::Unreadable,
        Self::Hanging,
        Self::ToldSo,
        Self::NoWriters,
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::AuditStopped,
        Self::NoState,
        Self::Disk,
    ];

    /// Returns the word for it, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "stopping",
            Self::Unreadable => "unreadable",
            Self::Hanging => "hanging",
            Self::ToldSo => "read-only",
            Self::NoWriters => "no-writers",
            Self::DiskFull => "disk-full",
            Self::DiskReadOnly => "disk-read-only",
            Self::AuditStopped => "audit-stopped",
            Self::NoState => "no-state",
            Self::Disk => "disk",
        }
    }
}

/// What was last found out.
#[derive(Clone, Copy, Debug)]
struct Found {
    at: Instant,
    reads: Option<Trouble>,
    writes: Option<Trouble>,
}

/// How the server is. Asking costs nothing, so that anybody may.
#[derive(Debug, Default)]
pub struct Health {
    stopping: AtomicBool,
    found: Mutex<Option<Found>>,
}

impl Health {
    /// Notes that the server was told to stop.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Says whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Notes what was found out now.
    pub fn note(&self, reads: Option<Trouble>, writes: Option<Trouble>) {
        *self.found() = Some(Found { at: Instant::now(), reads, writes });
    }

    /// Says what keeps reads from being answered.
    pub fn reads(&self) -> Option<Trouble> {
        self.trouble(|found| found.reads)
    }

    /// Says what keeps writes from being taken.
    pub fn writes(&self) -> Option<Trouble> {
        self.trouble(|found| found.reads.or(found.writes))
    }

    fn trouble(&self, what: impl Fn(Found) -> Option<Trouble>) -> Option<Trouble> {
        if self.is_stopping() {
            return Some(Trouble::Stopping);
        }
        let found = *self.found();
        match found {
            Some(found) if found.at.elapsed() < STALE => what(found),
            _ => Some(Trouble::Hanging),
        }
    }

    fn found(&self) -> MutexGuard<'_, Option<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_full_disk_takes_no_reads_away_and_a_hanging_one_does() {
        let health = Health::default();
        assert_eq!(health.reads(), Some(Trouble::Hanging), "nothing is known yet");
        health.note(None, Some(Trouble::DiskFull));
        assert_eq!((health.reads(), health.writes()), (None, Some(Trouble::DiskFull)));
        tokio::time::sleep(STALE).await;
        assert_eq!(health.reads(), Some(Trouble::Hanging));
        health.note(Some(Trouble::Unreadable), None);
        assert_eq!(health.writes(), Some(Trouble::Unreadable));
        health.note(None, None);
        assert_eq!((health.reads(), health.writes()), (None, None));
        health.stop();
        assert_eq!(health.reads(), Some(Trouble::Stopping));
    }
}
