//! A file that is read again when it changes. What cannot be read leaves what was read before.

use crate::log::causes;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest file of identities.
const SIZE_LIMIT: u64 = 16 * 1024 * 1024;

/// A file, and what it says.
pub struct Watched<T> {
    path: PathBuf,
    parse: fn(&[u8]) -> Result<T, String>,
    state: Mutex<State<T>>,
}

struct State<T> {
    seen: Option<Stamp>,
    content: Arc<T>,
}

/// What changes when a file does, or when a link leads to another one.
type Stamp = (u64, u64, i64, i64, i64, i64);

impl<T> Watched<T> {
    /// Reads a file for the first time.
    pub fn open(path: &Path, parse: fn(&[u8]) -> Result<T, String>) -> Result<Self, Unreadable> {
        let (seen, content) = read(path, parse)?;
        let state = Mutex::new(State { seen: Some(seen), content: Arc::new(content) });
        Ok(Self { path: path.to_owned(), parse, state })
    }

    /// Returns what the file says now. It may wait for the disk.
    pub fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = std::fs::metadata(&self.path).ok().map(|metadata| stamp(&metadata));
        if now != state.seen {
            match read(&self.path, self.parse) {
                Ok((seen, content)) => {
                    *state = State { seen: Some(seen), content: Arc::new(content) };
                    tracing::info!(path = %self.path.display(), "read again, because it changed");
                }
                Err(error) => {
                    state.seen = now;
                    tracing::error!(error = causes(&error), "what was read before stays in force");
                }
            }
        }
        Arc::clone(&state.content)
    }
}

fn read<T>(path: &Path, parse: fn(&[u8]) -> Result<T, String>) -> Result<(Stamp, T), Unreadable> {
    let unreadable = |reason: String| Unreadable { path: path.to_owned(), reason };
    let of_io = |error: io::Error| unreadable(error.to_string());
    let mut file = std::fs::File::open(path).map_err(of_io)?;
    let metadata = file.metadata().map_err(of_io)?;
    if !metadata.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    if metadata.len() > SIZE_LIMIT {
        return Err(unreadable("it is larger than 16 MiB".to_owned()));
    }
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut file, &mut bytes).map_err(of_io)?;
    let content = parse(&bytes).map_err(unreadable)?;
    Ok((stamp(&metadata), content))
}

fn stamp(metadata: &std::fs::Metadata) -> Stamp {
    (
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec(),
    )
}

/// A file of identities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be used: {reason}", path.display())]
pub struct Unreadable {
    path: PathBuf,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(bytes: &[u8]) -> Result<u32, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        text.trim().parse().map_err(|_error| "it is no number".to_owned())
    }

    #[test]
    fn a_change_counts_at_once_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let watched = Watched::open(&path, number).unwrap();
        assert_eq!(*watched.current(), 1);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(*watched.current(), 22);
        std::fs::write(&path, "nonsense").unwrap();
        assert_eq!(*watched.current(), 22);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(*watched.current(), 22);
        // As a mounted configuration is exchanged: a link that leads elsewhere.
        std::fs::write(directory.path().join("new"), "3").unwrap();
        std::os::unix::fs::symlink("new", &path).unwrap();
        assert_eq!(*watched.current(), 3);
    }

    #[test]
    fn what_cannot_be_used_at_first_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Watched::open(&directory.path().join("missing"), number).is_err());
        assert!(Watched::open(directory.path(), number).is_err());
    }
}
