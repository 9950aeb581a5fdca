//! A consistent copy of the database while a server writes to it.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Transaction};

use super::unusable::Unusable;

/// Copies the database of a directory to a file that must not be there yet. The copy is on the disk
/// when this returns.
pub fn copy(directory: &Path, to: &Path) -> Result<(), BackupError> {
    let failed = |source| BackupError::Write { path: to.to_owned(), source };
    let source = super::opening::look_at(directory)?;
    // SQLite would make a file that others may read.
    let file = File::options().write(true).create_new(true).mode(0o600).open(to);
    let file = file.map_err(failed)?;
    let copied = fill(&source, to).map_err(|error| failed(io::Error::other(error)));
    if copied.is_err() {
        std::fs::remove_file(to).map_err(failed)?;
        return copied;
    }
    file.sync_all().map_err(failed)
}

/// Puts a copy of one database in the place of another, changed before it is there: who is interrupted
/// finds either what was there, or the whole change.
pub fn amended_copy<T>(
    from: &Path,
    to: &Path,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> Result<T, BackupError> {
    let new = to.with_extension("new");
    let failed = |source| BackupError::Write { path: to.to_owned(), source };
    for ending in ["", "-journal", "-wal", "-shm"] {
        // What an interrupted attempt left must not be taken for changes to this one.
        match std::fs::remove_file(format!("{}{ending}", new.display())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _gone => {}
        }
    }
    std::fs::copy(from, &new).map_err(failed)?;
    let value =
        super::opening::amend(&new, work).map_err(|error| failed(io::Error::other(error)))?;
    File::open(&new).and_then(|new| new.sync_all()).map_err(failed)?;
    rustix::fs::rename(&new, to).map_err(io::Error::from).map_err(failed)?;
    let directory = to.parent().unwrap_or(to);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed)?;
    Ok(value)
}

fn fill(source: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(to)?;
    let backup = Backup::new(source, &mut target)?;
    // All pages in one step: nobody writes in between, and it is small.
    while backup.step(-1)? != StepResult::Done {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    drop(backup);
    // One file, whole by itself.
    target.pragma_update(None, "journal_mode", "DELETE")?;
    target.close().map_err(|(_connection, error)| error)
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// There is nothing to copy.
    #[error(transparent)]
    Source(#[from] Unusable),
    /// The copy cannot be written.
    #[error("failed to write `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
