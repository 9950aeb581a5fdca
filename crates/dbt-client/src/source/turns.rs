//! Keeps the number of connections to one server small.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::url::Origin;

/// How many requests to one server are under way at once. More gain nothing and look like an
/// attack to small servers.
pub(super) const LIMIT: usize = 4;

/// The same where much is asked that waits for nothing else, as for a catalog: far from a server
/// it takes as long as there are round trips one after the other.
pub(super) const WIDE: usize = 32;

/// Counts the requests that are under way.
#[derive(Debug)]
pub(super) struct Turns {
    limit: usize,
    busy: Mutex<BTreeMap<Origin, usize>>,
    freed: Condvar,
}

/// The right to use one connection, until it goes.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    origin: Origin,
}

impl Turns {
    /// Lets so many requests to one server be under way at once.
    pub(super) fn of(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, busy: Mutex::default(), freed: Condvar::new() })
    }

    /// Waits for a turn, but not longer than `longest`: then the request goes out all the same.
    ///
    /// Waiting for ever could be a deadlock, when those who have the turns wait for a request of
    /// ours; that a server sees a fifth connection is not worth that.
    pub(super) fn take(turns: &Arc<Self>, origin: &Origin, longest: Duration) -> Turn {
        let full = |busy: &mut BTreeMap<Origin, usize>| {
            busy.get(origin).is_some_and(|count| *count >= turns.limit)
        };
        let waited = turns.freed.wait_timeout_while(turns.busy(), longest, full);
        let (mut busy, _time_over) = waited.unwrap_or_else(PoisonError::into_inner);
        *busy.entry(origin.clone()).or_default() += 1;
        Turn { turns: Arc::clone(turns), origin: origin.clone() }
    }

    fn busy(&self) -> MutexGuard<'_, BTreeMap<Origin, usize>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(count) = self.turns.busy().get_mut(&self.origin) {
            *count = count.saturating_sub(1);
        }
        self.turns.freed.notify_all();
    }
}
