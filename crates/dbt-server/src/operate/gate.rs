//! How many are let in at once, and waiting until nobody is inside.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// Lets so many in, and no more until one leaves. The limit can change while some are inside.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: AtomicUsize,
    inside: watch::Sender<usize>,
}

/// Somebody who is inside, until this goes.
#[derive(Debug)]
#[must_use]
pub struct Pass(Gate);

/// Nobody can be let in now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Gate {
    /// Lets at most `limit` in.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Inner { limit: limit.into(), inside: watch::Sender::new(0) }))
    }

    /// Changes the limit. Who is inside stays.
    pub fn set_limit(&self, limit: usize) {
        let before = self.0.limit.swap(limit, Ordering::Relaxed);
        if limit > before {
            // Those who wait look again.
            self.0.inside.send_modify(|_inside| {});
        }
    }

    /// Goes in, if there is room.
    pub fn try_acquire(&self) -> Result<Pass, Full> {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let let_in = self.0.inside.send_if_modified(|inside| {
            let has_room = *inside < limit;
            *inside += usize::from(has_room);
            has_room
        });
        if let_in { Ok(Pass(self.clone())) } else { Err(Full) }
    }

    /// Waits until there is room, and goes in.
    pub async fn acquire(&self) -> Pass {
        let mut changes = self.0.inside.subscribe();
        loop {
            if let Ok(pass) = self.try_acquire() {
                return pass;
            }
            // It fails only when the gate is gone, and we have it.
            let _never_gone = changes.changed().await;
        }
    }

    /// Says how many are inside.
    pub fn inside(&self) -> usize {
        *self.0.inside.borrow()
    }

    /// Waits until nobody is inside.
    pub async fn idle(&self) {
        let mut changes = self.0.inside.subscribe();
        let _never_gone = changes.wait_for(|inside| *inside == 0).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.0.inside.send_modify(|inside| *inside = inside.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_more_than_the_limit_are_inside_also_when_it_changes() {
        let gate = Gate::new(2);
        let (first, second) = (gate.try_acquire().unwrap(), gate.try_acquire().unwrap());
        assert!(gate.try_acquire().is_err());
        gate.set_limit(1);
        drop(first);
        assert!(gate.try_acquire().is_err(), "one is still inside");
        assert_eq!(gate.inside(), 1);
        drop(second);
        gate.idle().await;
        assert!(gate.try_acquire().is_ok());
    }

    #[tokio::test]
    async fn who_waits_goes_in_when_one_leaves_or_the_limit_rises() {
        let gate = Gate::new(1);
        let first = gate.acquire().await;
        let waiting = gate.clone();
        let second = tokio::spawn(async move { waiting.acquire().await });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        let _second = second.await.unwrap();
        let waiting = gate.clone();
        let third = tokio::spawn(async move { waiting.acquire().await });
        tokio::task::yield_now().await;
        gate.set_limit(2);
        let _third = third.await.unwrap();
        assert_eq!(gate.inside(), 2);
    }
}
