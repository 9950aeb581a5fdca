//! Several things at once where the system gives threads, and one after the other where it does
//! not: the number of processes of a container or a user may be used up.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Builder, Scope, ScopedJoinHandle};

/// Work that another thread does, or that was done already because there was none.
#[derive(Debug)]
pub(crate) enum Beside<'scope, T> {
    Started(ScopedJoinHandle<'scope, T>),
    Done(T),
}

/// Begins something beside what this thread goes on with.
pub(crate) fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl Fn() -> T + Send + Sync + 'scope,
) -> Beside<'scope, T> {
    let ours = Arc::new(work);
    let theirs = Arc::clone(&ours);
    match Builder::new().spawn_scoped(scope, move || theirs()) {
        Ok(thread) => Beside::Started(thread),
        Err(_no_thread) => Beside::Done(ours()),
    }
}

impl<T> Beside<'_, T> {
    /// Waits until it is done. A panic there is a panic here.
    pub(crate) fn joined(self) -> T {
        match self {
            Self::Started(thread) => {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            Self::Done(outcome) => outcome,
        }
    }
}

/// Does the same with every item, so many at a time, and returns the outcomes in the items' order.
pub fn each<I: Sync, T: Send>(
    items: &[I],
    at_once: usize,
    work: impl Fn(&I) -> T + Sync,
) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(items.len()));
    thread::scope(|scope| {
        for _worker in 0..at_once.min(items.len()) {
            // The scope waits for those that have a thread of their own.
            let _worker = begin(scope, || {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(place) else { return };
                    let outcome = work(item);
                    outcomes.lock().unwrap_or_else(PoisonError::into_inner).push((place, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(place, _outcome)| *place);
    outcomes.into_iter().map(|(_place, outcome)| outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_in_the_order_of_the_items_and_each_once() {
        let items: Vec<usize> = (0..500).collect();
        assert_eq!(
            each(&items, 7, |item| item * 2),
            items.iter().map(|it| it * 2).collect::<Vec<_>>()
        );
        assert_eq!(each(&[1], 32, |item| *item), [1]);
        assert!(each(&[] as &[u8], 32, |item| *item).is_empty());
    }
}
