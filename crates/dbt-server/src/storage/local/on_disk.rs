//! Work that waits for a disk, on threads that may wait.

use std::io;

use crate::storage::StorageError;

/// Does something slow on a thread that may wait.
pub(super) async fn on_disk<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Interrupted> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => Err(Interrupted(panicked).into()),
    }
}

/// Work on the disk panicked or was given up at the end of the program.
pub(super) struct Interrupted(pub(super) tokio::task::JoinError);

impl From<Interrupted> for StorageError {
    fn from(interrupted: Interrupted) -> Self {
        let source = io::Error::other(interrupted.0);
        Self::Io { action: "work on", path: String::new(), source }
    }
}

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> Self {
        Self::other(interrupted.0)
    }
}
