//! What an administrator does on the machine where the tree is, beside a running server or
//! without one. Every change is one rename, so that neither disturbs the other.

use std::io;
use std::path::{Path, PathBuf};

use dbt_core::repo_path::RepoPath;

use super::beneath::{Root, Taken};
use super::index::Index;
use super::remembered::Identity;
use super::state_dir::StateDir;
use super::{Discarded, Local, OpenError, Rules, Tree, private, records};
use crate::action::{self, Restore};
use crate::authz::Guarded as _;
use crate::state::{Id, State, Unusable};
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
        let action = Restore::of(path.clone(), found.id, found.kind);
        if let Some(reason) = action.protected() {
            return Err(RestoreError::Protected { path: found.path, reason });
        }
        let failed = |source| RestoreError::Storage { path: found.path, source };
        self.tree().restore(&action).map_err(failed)?;
        Ok(path)
    }

    /// Lets other bytes be published where some were deleted; returns for how many files.
    pub fn forget_deleted(&self, path: &RepoPath) -> io::Result<usize> {
        super::tombstones::forget(self.tree().known()?, path)
    }

    /// Returns what must not be forgotten, to record in it what is done here.
    pub fn records(&self) -> Result<State, Unusable> {
        self.0.records()
    }

    fn tree(&self) -> &Tree {
        &self.0.0
    }
}

/// The tree and its state, for commands during which no server may run.
pub struct AloneOnHost {
    root: Root,
    state: StateDir,
    _private: private::Directory,
}

impl AloneOnHost {
    /// Holds the tree at `root` and its state directory. Refused while a server does.
    pub fn open(root: &Path, rules: &Rules) -> Result<Self, OpenError> {
        let private = private::Directory::open(root)?;
        let state = StateDir::for_writing(rules.state_dir.as_deref(), root)?;
        let failed = |source| OpenError::Open { path: root.to_owned(), source };
        let root = Root::open_root(root).map_err(failed)?;
        Ok(Self { root, state, _private: private })
    }

    /// Returns the state directory.
    pub fn directory(&self) -> &Path {
        &self.state.path
    }

    /// Returns which state the tree remembers.
    pub fn remembered(&self) -> io::Result<Option<Id>> {
        records::remembered(&self.root)
    }

    /// Lets the tree remember a state.
    pub fn remember(&self, id: &Id) -> io::Result<()> {
        records::remember(&self.root, id)
    }

    /// Says whether there is a list of an earlier version that the state does not have.
    pub fn has_damaged_list(&self) -> bool {
        self.root.open(&super::tombstones::place()).is_ok()
    }

    /// Puts that list aside.
    pub fn put_list_aside(&self) -> io::Result<()> {
        let aside = private::inside("tombstones.damaged");
        match self.root.rename(&super::tombstones::place(), &aside, Taken::IsReplaced) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Returns the state directory of the tree at `root`, for commands beside a server.
pub fn state_directory(root: &Path, rules: &Rules) -> io::Result<PathBuf> {
    let state = StateDir::for_reading(rules.state_dir.as_deref(), root);
    state.map(|state| state.path).ok_or_else(no_state_directory)
}

fn no_state_directory() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        "there is no state directory yet; a server that writes makes it when it starts",
    )
}

/// Hashes every file of the tree at `root` and writes the index anew. Returns how many there are.
pub fn reindex(root: &Path, rules: Rules) -> Result<usize, io::Error> {
    let index = Index::open(&state_directory(root, &rules)?, root)?;
    let local = Local::open_to_read(root, rules).map_err(io::Error::other)?;
    let tree = &local.0;
    let mut files = Vec::new();
    for path in tree.files_below(&RepoPath::root())? {
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
