//! The one thread that changes the database: everything that waits, in one transaction, with one
//! flush to the disk.

use crate::log::causes;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::opening::FILE;
use super::reserve::Reserve;
use super::{Claim, StateError};

/// How many changes go into one transaction.
const TOGETHER: usize = 256;

/// A change, with whoever waits for it.
pub(super) trait Job: Send {
    /// Changes the database within a transaction that may yet fail. An error here is one of the
    /// whole transaction, unless the job keeps it for its own.
    fn run(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()>;

    /// Tells what came of the transaction.
    fn finish(self: Box<Self>, outcome: Result<(), StateError>);

    /// Says which space it may use.
    fn claim(&self) -> Claim;
}

/// A [`Job`] that gives a value.
pub(super) struct Work<T, F> {
    claim: Claim,
    change: F,
    value: Option<Result<T, StateError>>,
    reply: Reply<T>,
}

/// Tells whoever waits.
pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, StateError>) + Send>;

impl<T, F> Work<T, F> {
    pub(super) fn new(claim: Claim, change: F, reply: Reply<T>) -> Self {
        Self { claim, change, value: None, reply }
    }
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch("SAVEPOINT job")?;
        match (self.change)(transaction) {
            Ok(value) => {
                transaction.execute_batch("RELEASE job")?;
                self.value = Some(Ok(value));
            }
            Err(error) if is_of_the_database(&error) => return Err(error),
            Err(error) => {
                transaction.execute_batch("ROLLBACK TO job; RELEASE job")?;
                self.value = Some(Err(StateError::from(&error)));
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, outcome: Result<(), StateError>) {
        let value = match outcome {
            Ok(()) => self.value.unwrap_or_else(|| Err(StateError::closed())),
            Err(error) => Err(error),
        };
        (self.reply)(value);
    }

    fn claim(&self) -> Claim {
        self.claim
    }
}

/// Does what comes, until nobody can send any more.
pub(super) fn run(mut connection: Connection, jobs: &Receiver<Box<dyn Job>>, directory: &Path) {
    let mut reserve = Reserve::take(directory);
    let place = Place::of(directory);
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(TOGETHER - 1));
        if !place.as_ref().is_some_and(Place::is_still_there) {
            let gone = format!("`{}` was taken away", directory.join(FILE).display());
            finish(group, &Err(StateError::Failed { reason: gone }));
            continue;
        }
        answer(&mut connection, &mut reserve, group);
        reserve.renew();
    }
}

fn answer(connection: &mut Connection, reserve: &mut Reserve, mut group: Vec<Box<dyn Job>>) {
    let mut outcome = commit(connection, &mut group);
    if outcome.as_ref().is_err_and(is_full) {
        let (reserved, ordinary): (Vec<_>, Vec<_>) =
            group.into_iter().partition(|job| job.claim() == Claim::Reserved);
        finish(ordinary, &Err(StateError::OutOfSpace));
        group = reserved;
        if group.is_empty() {
            return;
        }
        outcome = commit(connection, &mut group);
        if outcome.as_ref().is_err_and(is_full) && reserve.give_up() {
            outcome = commit(connection, &mut group);
        }
    }
    if let Err(error) = &outcome {
        tracing::error!(error = causes(&error), "the state could not be changed");
    }
    finish(group, &outcome.map_err(|error| StateError::from(&error)));
}

fn commit(connection: &mut Connection, group: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in group {
        job.run(&mut transaction)?;
    }
    transaction.commit()
}

fn finish(group: Vec<Box<dyn Job>>, outcome: &Result<(), StateError>) {
    for job in group {
        job.finish(outcome.clone());
    }
}

/// Says whether there is no space for a change.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}

/// Says whether an error is not one of a single change.
fn is_of_the_database(error: &rusqlite::Error) -> bool {
    !matches!(
        error.sqlite_error_code(),
        None | Some(ErrorCode::ConstraintViolation | ErrorCode::Unknown | ErrorCode::TypeMismatch)
    )
}

/// Which file the database is. One that was removed can still be written, and what is in it would
/// be gone with the program.
struct Place {
    path: std::path::PathBuf,
    device: u64,
    inode: u64,
}

impl Place {
    fn of(directory: &Path) -> Option<Self> {
        let path = directory.join(FILE);
        let metadata = std::fs::metadata(&path).ok()?;
        Some(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    fn is_still_there(&self) -> bool {
        std::fs::metadata(&self.path)
            .is_ok_and(|now| now.dev() == self.device && now.ino() == self.inode)
    }
}
