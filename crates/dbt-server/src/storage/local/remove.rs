//! Deleting: a name goes away in one step, and what had it lies in the trash for a while.

use std::io;
use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;

use super::publish::writing;
use super::{Tree, on_disk};
use crate::action::{Action as _, Delete};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::storage::{EntryKind, Removed, StorageError};
use crate::writable;

pub(super) async fn delete(
    tree: &Arc<Tree>,
    grant: &Grant<Delete>,
    conditions: &Conditions,
) -> Result<Removed, StorageError> {
    let (tree, action) = (Arc::clone(tree), grant.action().clone());
    let (by, conditions) = (super::owner(grant.caller()), conditions.clone());
    let alone = Arc::clone(&tree.deletions).write_owned().await;
    on_disk(move || {
        let removed = tree.delete(&action, &by, &conditions);
        drop(alone);
        removed
    })
    .await
}

impl Tree {
    /// Deletes what is published at a path, and what is in drafts at or below it. A condition holds
    /// for all that goes.
    fn delete(
        &self,
        action: &Delete,
        by: &str,
        conditions: &Conditions,
    ) -> Result<Removed, StorageError> {
        self.temporary()?;
        let path = action.path();
        let drafts = self.drafts.within(path).into_iter().chain(self.drafts.around(path));
        for (version, _draft) in drafts {
            self.gather_scattered(&version).map_err(|error| writing("delete", path, error))?;
        }
        // This may hash, which nobody should have to wait for.
        let published = self.kind_to_delete(path, action, conditions)?;
        let drafted = self.drafted_to_delete(action, conditions)?;
        let kind = published.or(drafted).ok_or(StorageError::NotFound)?;
        if published.is_some() {
            let failed = |error| writing("delete", path, error);
            if self.rules().immutable {
                self.bury(&self.frozen_below(path)?).map_err(failed)?;
            }
            let _turn = self.names.blocking_lock();
            // A file that is part of no version can have been replaced meanwhile.
            let kind = self.kind_to_delete(path, action, conditions)?;
            let kind = kind.ok_or(StorageError::NotFound)?;
            self.discard(path, kind, by).map_err(failed)?;
        }
        self.delete_drafts(path).map_err(|error| writing("delete", path, error))?;
        Ok(Removed { kind })
    }

    /// Returns what of drafts a deletion is about. What is in them is nobody's business.
    fn drafted_to_delete(
        &self,
        action: &Delete,
        conditions: &Conditions,
    ) -> Result<Option<EntryKind>, StorageError> {
        let path = action.path();
        if !self.drafts.within(path).is_empty() {
            return whole_directory(conditions).map(Some);
        }
        let Some((version, draft)) = self.drafts.around(path) else { return Ok(None) };
        let kind = self.kind_to_delete(&draft.place_of(&version, path), action, conditions);
        kind.map_err(StorageError::without_digest)
    }

    /// Removes what nobody has seen yet. It is not kept.
    fn delete_drafts(&self, path: &RepoPath) -> io::Result<()> {
        for (version, _draft) in self.drafts.within(path) {
            self.remove_draft(&version)?;
        }
        if let Some((version, draft)) = self.drafts.around(path) {
            let place = draft.place_of(&version, path);
            if self.root.open(&place).is_ok() {
                let mut change = self.amounts.change();
                let before = self.sizes_of(&place, path);
                let removed = self.root.remove(&place);
                change.replaced(before, self.sizes_of(&place, path));
                drop(change);
                removed?;
                self.tidy_draft(&version, &draft)?;
            }
        }
        Ok(())
    }

    /// Returns what is at a place, if it is meant and the conditions let it go.
    fn kind_to_delete(
        &self,
        place: &RepoPath,
        action: &Delete,
        conditions: &Conditions,
    ) -> Result<Option<EntryKind>, StorageError> {
        let existing = match self.existing(place) {
            Ok(Some(_file)) if action.only_directory() => return Ok(None),
            Ok(Some(existing)) => existing,
            Ok(None) | Err(StorageError::ParentIsFile) => return Ok(None),
            Err(StorageError::IsDirectory) => return whole_directory(conditions).map(Some),
            Err(other) => return Err(other),
        };
        let current = existing.validators(Clock::System.now());
        if !conditions.admit_write(Some(&current)) {
            return Err(StorageError::Precondition { existing: existing.digest });
        }
        Ok(Some(EntryKind::File))
    }

    /// Returns the files at or below a path whose bytes must not change, with their digests.
    fn frozen_below(&self, path: &RepoPath) -> Result<Vec<(RepoPath, Digest)>, StorageError> {
        let mut frozen = Vec::new();
        let files = self.files_below(path);
        for file in files.map_err(|error| writing("delete", path, error))? {
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

/// A directory has no bytes that a condition could be about.
fn whole_directory(conditions: &Conditions) -> Result<EntryKind, StorageError> {
    if conditions.is_unconditional() {
        Ok(EntryKind::Directory)
    } else {
        Err(StorageError::Precondition { existing: None })
    }
}
