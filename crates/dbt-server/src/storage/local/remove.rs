//! Deleting: a name goes away in one step, and what had it lies in the trash for a while.

use std::io;
use std::sync::Arc;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;

use super::publish::writing;
use super::{Tree, on_disk};
use crate::action::{Action as _, Delete};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::storage::{EntryKind, Removed, StorageError, validators};
use crate::writable;

pub(super) async fn delete(
    tree: &Arc<Tree>,
    grant: &Grant<Delete>,
    conditions: &Conditions,
) -> Result<Removed, StorageError> {
    let (tree, path) = (Arc::clone(tree), grant.action().path().clone());
    let (by, conditions) = (super::owner(grant.caller()), conditions.clone());
    let alone = Arc::clone(&tree.deletions).write_owned().await;
    on_disk(move || {
        let removed = tree.delete(&path, &by, &conditions);
        drop(alone);
        removed
    })
    .await
}

impl Tree {
    /// Deletes what is published at a path, and what is in drafts at or below it.
    fn delete(
        &self,
        path: &RepoPath,
        by: &str,
        conditions: &Conditions,
    ) -> Result<Removed, StorageError> {
        self.temporary()?;
        let published = match self.kind_to_delete(path, conditions) {
            Ok(kind) => Some(kind),
            Err(StorageError::NotFound) => None,
            Err(other) => return Err(other),
        };
        if let Some(kind) = published {
            let failed = |error| writing("delete", path, error);
            if self.immutable {
                self.bury(&self.frozen_below(path)?).map_err(failed)?;
            }
            let _turn = self.names.blocking_lock();
            self.discard(path, kind, by).map_err(failed)?;
        }
        let drafted = self.delete_drafts(path).map_err(|error| writing("delete", path, error))?;
        let kind = published.or(drafted).ok_or(StorageError::NotFound)?;
        Ok(Removed { kind })
    }

    /// Removes what nobody has seen yet. It is not kept.
    fn delete_drafts(&self, path: &RepoPath) -> io::Result<Option<EntryKind>> {
        let mut removed = None;
        for (version, _draft) in self.drafts.within(path) {
            self.drafts.remove(&self.root, &version)?;
            removed = Some(EntryKind::Directory);
        }
        if let Some((version, draft)) = self.drafts.around(path) {
            let place = draft.place_of(&version, path);
            if let Ok(file) = self.root.open(&place) {
                let is_file = file.metadata()?.is_file();
                self.root.remove(&place)?;
                removed = Some(if is_file { EntryKind::File } else { EntryKind::Directory });
                self.tidy_draft(&version, &draft)?;
            }
        }
        Ok(removed)
    }

    fn kind_to_delete(
        &self,
        path: &RepoPath,
        conditions: &Conditions,
    ) -> Result<EntryKind, StorageError> {
        let existing = match self.existing(path) {
            Ok(Some(existing)) => existing,
            Ok(None) | Err(StorageError::ParentIsFile) => return Err(StorageError::NotFound),
            Err(StorageError::IsDirectory) if conditions.is_unconditional() => {
                return Ok(EntryKind::Directory);
            }
            // A directory has no bytes that a condition could be about.
            Err(StorageError::IsDirectory) => {
                return Err(StorageError::Precondition { existing: None });
            }
            Err(other) => return Err(other),
        };
        let current = validators(existing.digest, existing.modified, existing.length);
        if !conditions.admit_write(Some(&current)) {
            return Err(StorageError::Precondition { existing: existing.digest });
        }
        Ok(EntryKind::File)
    }

    /// Returns the files at or below a path whose bytes must not change, with their digests.
    fn frozen_below(&self, path: &RepoPath) -> Result<Vec<(RepoPath, Digest)>, StorageError> {
        let mut frozen = Vec::new();
        for file in self.files_below(path) {
            if !writable::is_create_only(&file) {
                continue;
            }
            if let Some(digest) = self.existing(&file)?.and_then(|existing| existing.digest) {
                frozen.push((file, digest));
            }
        }
        Ok(frozen)
    }
}
