//! What an administrator does on the machine where the tree is, beside a running server or
//! without one. Every change is one rename, so that neither disturbs the other.

use std::io;
use std::path::Path;

use dbt_core::repo_path::RepoPath;

use super::index::Index;
use super::remembered::Identity;
use super::state_dir::StateDir;
use super::{Discarded, Local, OpenError, Rules, Tree};
use crate::action::{self, Restore};
use crate::authz::Guarded as _;
use crate::storage::StorageError;

/// The tree, for commands on its machine.
pub struct OnHost(Local);

impl OnHost {
    /// Opens the tree at `root`.
    pub fn open(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        Local::open_to_read(root, rules).map(Self)
    }

    /// Lists what was deleted and can be restored.
    pub fn discarded(&self) -> io::Result<Vec<Discarded>> {
        self.tree().discarded()
    }

    /// Puts something that was deleted back, under the checks of a publication; returns where.
    pub fn restore(&self, id: &str) -> Result<RepoPath, RestoreError> {
        let known = self.discarded().map_err(|source| RestoreError::List { source })?;
        let found = known
            .into_iter()
            .find(|it| it.id == id)
            .ok_or_else(|| RestoreError::Unknown { id: id.to_owned() })?;
        let unknown = |_damaged| RestoreError::Unknown { id: id.to_owned() };
        let path: RepoPath = found.path.parse().map_err(unknown)?;
        let action = Restore::of(path.clone(), found.id);
        if let Some(reason) = action.protected() {
            return Err(RestoreError::Protected { path: found.path, reason });
        }
        let failed = |source| RestoreError::Storage { path: found.path, source };
        self.tree().restore(&action).map_err(failed)?;
        Ok(path)
    }

    /// Lets other bytes be published where some were deleted; returns for how many files.
    pub fn forget_deleted(&self, path: &RepoPath) -> io::Result<usize> {
        self.tree().forget_tombstones(path)
    }

    fn tree(&self) -> &Tree {
        &self.0.0
    }
}

/// Hashes every file of the tree at `root` and writes the index anew. Returns how many there are.
pub fn reindex(root: &Path, rules: Rules) -> Result<usize, io::Error> {
    let state = StateDir::for_reading(rules.state_dir.as_deref(), root).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "there is no state directory yet; a server that writes makes it when it starts",
        )
    })?;
    let index = Index::open(&state.path, root)?;
    let local = Local::open_to_read(root, rules).map_err(io::Error::other)?;
    let tree = &local.0;
    let mut files = Vec::new();
    for path in tree.files_below(&RepoPath::root()) {
        if !path.segments().all(action::is_visible) {
            continue;
        }
        // One that goes away meanwhile is not there to be known.
        let Ok(file) = tree.root.open(&path) else { continue };
        let metadata = file.metadata()?;
        if metadata.is_file() {
            files.push((path, Identity::of(&metadata), super::hash(&file)?));
        }
    }
    index.replace(&files)?;
    Ok(files.len())
}

/// Why something is not put back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The trash cannot be read.
    #[error("failed to list what was deleted")]
    List {
        /// What the system said.
        source: io::Error,
    },
    /// There is no such deletion.
    #[error("nothing that was deleted is called `{id}`; `reposerver trash list` shows what is")]
    Unknown {
        /// What was asked for.
        id: String,
    },
    /// It is never put back.
    #[error("`/{path}` is not restored: {reason}")]
    Protected {
        /// Where it was.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// It could not be done.
    #[error("failed to restore `/{path}`")]
    Storage {
        /// Where it was.
        path: String,
        /// Why.
        source: StorageError,
    },
}
