//! The directory of what the server knows beside the tree: `index.db` and `state.db`.

use std::fs::File;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::private::{self, OpenError};

/// Where packages and images make a directory for us.
const USUAL: &str = "/var/lib/reposerver";

/// The state directory. No second server uses it meanwhile.
#[derive(Debug)]
pub(super) struct StateDir {
    pub(super) path: PathBuf,
    /// Other servers of the tree could show it.
    pub(super) is_within_tree: bool,
    /// The lock goes when the descriptor is closed, however the process ends.
    lock: Option<File>,
}

impl StateDir {
    /// Opens the directory for a server that writes: the configured one, the usual one if it is
    /// there and can be written, or one below the root that is never served.
    pub(super) fn for_writing(configured: Option<&Path>, root: &Path) -> Result<Self, OpenError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Open { path, source }
        };
        if let Some(path) = configured {
            make(path).map_err(failed(path))?;
            return Self::locked(path).map_err(failed(path))?;
        }
        let usual = Path::new(USUAL);
        // Another server may have it; ours still has a place of its own.
        if let Ok(Ok(state)) = Self::locked(usual) {
            return Ok(state);
        }
        let own = root.join(private::NAME).join("state");
        make(&own).map_err(failed(&own))?;
        let state = Self::locked(&own).map_err(failed(&own))??;
        Ok(Self { is_within_tree: true, ..state })
    }

    /// Returns the directory for a server that does not write to the tree, if it can have one
    /// outside the tree that no other server has.
    pub(super) fn of_its_own(configured: Option<&Path>) -> Option<Self> {
        let path = configured.unwrap_or_else(|| Path::new(USUAL));
        Self::locked(path).ok()?.ok()
    }

    /// Says whether no other server uses it meanwhile.
    pub(super) const fn is_held(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns the directory for a program that only reads the tree, if there is one.
    pub(super) fn for_reading(configured: Option<&Path>, root: &Path) -> Option<Self> {
        let own = root.join(private::NAME).join("state");
        let usual = Path::new(USUAL);
        let path = match configured {
            Some(path) => path,
            None if usual.is_dir() => usual,
            None => &own,
        };
        path.is_dir().then(|| Self {
            path: path.to_owned(),
            is_within_tree: path == own,
            lock: None,
        })
    }

    fn locked(path: &Path) -> io::Result<Result<Self, OpenError>> {
        let place = path.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&place)?;
        let lock = private::hold(lock, place);
        let held = |lock| Self { path: path.to_owned(), is_within_tree: false, lock: Some(lock) };
        Ok(lock.map(held))
    }
}

/// Returns the state directory of a server of this tree, if one has ever run.
pub fn state_of(root: &Path, configured: Option<&Path>) -> Option<PathBuf> {
    StateDir::for_reading(configured, root).map(|state| state.path)
}

fn make(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
