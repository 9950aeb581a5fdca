//! Several things at once where the system gives threads, and one after the other where it does
//! not: the number of processes of a container or a user may be used up.

use std::sync::Arc;
use std::thread::{Builder, Scope, ScopedJoinHandle};

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
