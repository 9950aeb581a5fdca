//! Trusted metadata on disk: exactly the bytes that were received, under names without a version.

use std::path::{Path, PathBuf};
use std::time::Duration;

use dbt_core::trust::metadata::{
    Accepted, ROOT_LIMIT, SNAPSHOT_LIMIT, TARGETS_LIMIT, TIMESTAMP_LIMIT,
};

use crate::fsx::{self, FsxError, Lock};

/// How long another update of the same directory is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(30);

/// A directory of trusted metadata. One update at a time: of two, the older one could otherwise
/// write last.
///
/// What is read from it is checked again from the root on, as if it came from anywhere.
#[derive(Debug)]
pub struct Kept {
    directory: PathBuf,
    _lock: Option<Lock>,
}

impl Kept {
    /// Opens a directory, which is made if need be, for as long as this lives.
    pub fn open(directory: &Path) -> Result<Self, FsxError> {
        fsx::create_dir_all(directory, 0o700)?;
        let lock = fsx::lock_file(&directory.join("lock"), LOCK_PATIENCE)?;
        Ok(Self { directory: directory.to_owned(), _lock: Some(lock) })
    }

    /// Names a directory that is read, and may be missing. What is accepted beside what is there already is nothing: nothing
    /// is written.
    pub fn unlocked(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), _lock: None }
    }

    /// Reads a file, as nobody knows by now whether it may be believed; nothing if it is not there.
    pub fn read(&self, file: &str) -> Result<Option<Vec<u8>>, FsxError> {
        let limit = match file {
            "root.json" => ROOT_LIMIT,
            "timestamp.json" => TIMESTAMP_LIMIT,
            "snapshot.json" => SNAPSHOT_LIMIT,
            _ => TARGETS_LIMIT,
        };
        match fsx::read_own(&self.directory.join(file), limit) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps what was accepted.
    pub(super) fn write(&self, accepted: &Accepted<'_>) -> Result<(), FsxError> {
        fsx::write_atomic(&self.directory.join(accepted.file()), accepted.bytes(), 0o600)
    }

    /// Removes a file if it is there.
    pub(super) fn forget(&self, file: &str) -> Result<(), FsxError> {
        fsx::remove(&self.directory.join(file)).map(|_was_there| ())
    }
}
