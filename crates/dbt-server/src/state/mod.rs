//! What the server must not forget, in `state.db`: the record, what was deleted where nothing may
//! change, which tokens were used, the server's own tokens, and who is suspended.
//!
//! One thread writes, everything that waits in one transaction: what is told to be written is on
//! the disk. The database is never begun anew silently: see [`Unusable`].

use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

mod added_users;
mod api_tokens;
mod copies;
mod exchanges;
mod opening;
mod reserve;
mod tokens;
mod unusable;
mod users;
mod writer;

pub use self::added_users::{Addition, find as addition_of};
pub(crate) use self::added_users::{add as add_user, delete as delete_user, give as give_roles};
pub use self::api_tokens::{
    Added, Ending, Making, Page, Revoked, Revoking, Row, Which, are_known as are_tokens_known,
    find as find_token, page as page_of_tokens,
};
pub(crate) use self::api_tokens::{add as add_token, end as end_tokens, end_all as end_all_tokens};
pub use self::copies::{BackupError, amended_copy, copy};
pub use self::exchanges::{Exchange, Exchanged, Exchanging, Known};
pub use self::opening::{FILE, Id};
pub use self::tokens::UsedToken;
pub(crate) use self::tokens::forget_before as forget_tokens_before;
pub use self::unusable::Unusable;
pub use self::users::{
    Bar, Barred, Changed, Difference, Page as PageOfUsers, Reconciled, SETTINGS, Suspension, User,
    are_known as are_users_known, bar, id as user_id, page as page_of_users,
};
pub(crate) use self::users::{
    own as own_token, reactivate as reactivate_user, reconcile as reconcile_users,
    suspend as suspend_user,
};
use self::writer::{Job, Reply, Work};

/// The database. Clones share it; it is closed with the last of them.
#[derive(Clone, Debug)]
pub struct State(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: Id,
    directory: PathBuf,
    reads: Mutex<Connection>,
    queue: Option<Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a change may use the space that is kept free for what callers with rights do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It may: it belongs to something that a caller is permitted.
    Reserved,
    /// It may not: strangers can cause it.
    Ordinary,
}

impl State {
    /// Opens the database in a directory, for the tree that remembers the state by this id. It is
    /// only made where the tree remembers none.
    pub fn open(directory: &Path, remembered: Option<&Id>) -> Result<Self, Unusable> {
        Self::begin(directory, opening::open(directory, remembered)?)
    }

    /// Opens the database that is there, beside a server or without one.
    pub fn open_existing(directory: &Path, remembered: Option<&Id>) -> Result<Self, Unusable> {
        Self::begin(directory, opening::open_existing(directory, remembered)?)
    }

    /// Opens the database only to look at it.
    pub fn look_at(directory: &Path) -> Result<Connection, Unusable> {
        opening::look_at(directory)
    }

    fn begin(directory: &Path, opened: opening::Opened) -> Result<Self, Unusable> {
        let opening::Opened { id, writes, reads } = opened;
        let (queue, jobs) = mpsc::channel();
        let place = directory.to_owned();
        let thread = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn(move || writer::run(writes, &jobs, &place))
            .map_err(|source| Unusable::failed(directory, &source))?;
        Ok(Self(Arc::new(Inner {
            id,
            directory: directory.to_owned(),
            reads: Mutex::new(reads),
            queue: Some(queue),
            thread: Some(thread),
        })))
    }

    /// Returns by what the tree remembers it.
    pub fn id(&self) -> &Id {
        &self.0.id
    }

    /// Returns the directory that it lies in.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Changes something. It is on the disk when this returns.
    ///
    /// `work` may run more than once: again after a failure of others in the same transaction.
    pub async fn write<T: Send + 'static>(
        &self,
        claim: Claim,
        work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have left; what was to be done is done all the same.
        self.send(claim, work, Box::new(|value| drop(reply.send(value))));
        answer.await.map_err(|_dropped| StateError::closed())?
    }

    /// Changes something, on a thread that may wait.
    pub fn write_and_wait<T: Send + 'static>(
        &self,
        claim: Claim,
        work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StateError> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.send(claim, work, Box::new(move |value| drop(reply.send(value))));
        answer.recv().map_err(|_dropped| StateError::closed())?
    }

    fn send<T: Send + 'static>(
        &self,
        claim: Claim,
        work: impl FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        reply: Reply<T>,
    ) {
        if let Some(queue) = &self.0.queue {
            // If the thread is gone, the answer is that there is none.
            let _closed = queue.send(Box::new(Work::new(claim, work, reply)));
        }
    }

    /// Looks something up.
    pub fn look<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        work(&self.reads()).map_err(|error| StateError::from(&error))
    }

    fn reads(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left nothing half done: nothing is changed on this connection.
        self.0.reads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

/// Something could not be kept or looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// There is no space, not even the space that is kept free.
    #[error("no space is left for `{FILE}`")]
    OutOfSpace,
    /// Something else.
    #[error("`{FILE}` cannot be used: {reason}")]
    Failed {
        /// What `SQLite` or the system said.
        reason: String,
    },
}

impl StateError {
    fn closed() -> Self {
        Self::Failed { reason: "it is closed".to_owned() }
    }
}

impl From<&rusqlite::Error> for StateError {
    fn from(error: &rusqlite::Error) -> Self {
        if writer::is_full(error) {
            return Self::OutOfSpace;
        }
        Self::Failed { reason: error.to_string() }
    }
}

impl From<StateError> for std::io::Error {
    fn from(error: StateError) -> Self {
        match error {
            StateError::OutOfSpace => std::io::ErrorKind::StorageFull.into(),
            failed @ StateError::Failed { .. } => Self::other(failed),
        }
    }
}

#[cfg(test)]
mod tests;
