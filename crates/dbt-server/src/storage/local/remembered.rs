//! Digests of files, remembered as long as the files look untouched: those that were asked for in
//! memory, all of them in the index, if there is one.

use std::collections::{HashMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;

use super::index::Index;
use crate::limits;
use crate::upload::OlderChecksums;

/// How many places of the same bytes are looked at.
const PLACES: u32 = 100;

/// What tells that a file is the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) size: u64,
    pub(super) seconds: i64,
    pub(super) nanoseconds: i64,
}

impl Identity {
    /// Returns the identity of a file.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}

/// Digests by path, each valid for one identity.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    state: Mutex<State>,
    index: Option<Index>,
}

#[derive(Debug, Default)]
struct State {
    digests: HashMap<RepoPath, (Identity, Digest)>,
    being_hashed: HashSet<RepoPath>,
    older: HashMap<Digest, OlderChecksums>,
}

impl Remembered {
    /// Remembers in an index too.
    pub(super) fn with(index: Option<Index>) -> Self {
        Self { state: Mutex::default(), index }
    }

    /// Returns the digest of the file of this identity at a path, if it is remembered.
    pub(super) fn recall(&self, path: &RepoPath, identity: Identity) -> Option<Digest> {
        if let Some((remembered, digest)) = self.state().digests.get(path)
            && *remembered == identity
        {
            return Some(*digest);
        }
        let digest = self.index.as_ref()?.find(path, identity)?;
        self.remember_here(path, identity, digest);
        Some(digest)
    }

    /// Returns the digest and the older checksums of a file, if both are in memory.
    pub(super) fn recall_at_once(
        &self,
        path: &RepoPath,
        identity: Identity,
    ) -> Option<(Digest, OlderChecksums)> {
        let state = self.state();
        let (_remembered, digest) =
            state.digests.get(path).filter(|(remembered, _digest)| *remembered == identity)?;
        Some((*digest, state.older.get(digest)?.clone()))
    }

    /// Remembers a digest.
    pub(super) fn remember(&self, path: &RepoPath, identity: Identity, digest: Digest) {
        self.remember_here(path, identity, digest);
        if let Some(index) = &self.index {
            index.keep(path, identity, digest);
        }
    }

    /// Forgets what was at or below a path.
    pub(super) fn forget(&self, path: &RepoPath) {
        if let Some(index) = &self.index {
            index.forget(path);
        }
    }

    fn remember_here(&self, path: &RepoPath, identity: Identity, digest: Digest) {
        let mut state = self.state();
        if state.digests.len() >= limits::REMEMBERED_HASHES {
            state.digests.clear();
        }
        state.digests.insert(path.clone(), (identity, digest));
    }

    /// Takes out what is remembered of a path, to be remembered of another.
    pub(super) fn take(&self, path: &RepoPath) -> Option<(Identity, Digest)> {
        let taken = self.state().digests.remove(path);
        self.forget(path);
        taken
    }

    /// Returns paths at which a file of this digest was seen, some if there are many.
    pub(super) fn places_of(&self, digest: Digest) -> Vec<RepoPath> {
        if let Some(index) = &self.index {
            return index.places_of(digest, PLACES);
        }
        let state = self.state();
        let has_it = state.digests.iter().filter(|(_path, (_, known))| *known == digest);
        has_it.map(|(path, _known)| path.clone()).take(PLACES as usize).collect()
    }

    /// Remembers older checksums of some bytes.
    pub(super) fn remember_older(&self, digest: Digest, older: OlderChecksums) {
        if older == OlderChecksums::default() {
            return;
        }
        let OlderChecksums { md5, sha1 } = self.older(digest);
        let older = OlderChecksums { md5: older.md5.or(md5), sha1: older.sha1.or(sha1) };
        if let Some(index) = &self.index {
            index.keep_older(digest, &older);
        }
        self.state().older.insert(digest, older);
    }

    /// Returns the older checksums of some bytes, as far as they are known.
    pub(super) fn older(&self, digest: Digest) -> OlderChecksums {
        if let Some(known) = self.state().older.get(&digest) {
            return known.clone();
        }
        let known = self.index.as_ref().map(|index| index.older(digest)).unwrap_or_default();
        let mut state = self.state();
        if state.older.len() >= limits::REMEMBERED_HASHES {
            state.older.clear();
        }
        state.older.insert(digest, known.clone());
        known
    }

    /// Says whether the caller is the one to hash a file now. If so, it must call
    /// [`Remembered::end_hashing`].
    pub(super) fn begin_hashing(&self, path: &RepoPath) -> bool {
        self.state().being_hashed.insert(path.clone())
    }

    /// Ends what [`Remembered::begin_hashing`] began.
    pub(super) fn end_hashing(&self, path: &RepoPath) {
        self.state().being_hashed.remove(path);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single call on a map, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
