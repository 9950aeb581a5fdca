//! What was deleted, for as long as it can be restored.
//!
//! Each deletion has a directory in `.reposerver/trash`: what it was about, and what was there.

use std::io;
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};

use super::Tree;
use super::beneath::{Taken, is_not_a_directory};
use super::commit::{follow, skip};
use super::drafts::{Drafts, below};
use super::private;
use super::publish::{temporary_name, writing};
use crate::action::{self, Action as _, Restore};
use crate::log::causes;
use crate::storage::{EntryKind, StorageError};
use crate::time;
use crate::writable;

const ABOUT: &str = "about.json";
const CONTENT: &str = "content";

/// So much of an id says when it was made.
const ID_TIME: usize = 10;

/// Something that was deleted and can be restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discarded {
    /// Names it.
    #[serde(default)]
    pub id: String,
    /// Where it was.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// When it was deleted, as RFC 3339.
    pub deleted: String,
    /// Who deleted it.
    pub by: String,
    #[serde(default)]
    seconds: u64,
}

impl Tree {
    /// Takes a name away in one step and keeps what had it.
    pub(super) fn discard(&self, path: &RepoPath, kind: EntryKind, by: &str) -> io::Result<()> {
        self.remembered.forget(path);
        if self.rules().keep_deleted.is_zero() {
            let place = private::inside("tmp").join(&temporary_name()).map_err(io::Error::other)?;
            self.move_out(path, &place)?;
            self.note_replaced();
            if let Err(error) = self.root.remove(&place) {
                tracing::warn!(
                    error = causes(&error),
                    "something deleted still takes space until the next start"
                );
            }
            return Ok(());
        }
        let now = Clock::System.now();
        let place = below(&private::trash(), &temporary_name());
        let about = Discarded {
            id: String::new(),
            path: path.to_string(),
            kind,
            deleted: time::rfc_3339(now),
            by: by.to_owned(),
            seconds: time::since_epoch(now).as_secs(),
        };
        self.root.write_private(&below(&place, ABOUT), &serde_json::to_vec(&about)?)?;
        let moved = self.move_out(path, &below(&place, CONTENT));
        if moved.is_err() {
            self.root.remove(&place)?;
        }
        moved
    }

    /// Moves what has a name out of the tree. How much that is is counted where it lies then, and
    /// nobody comes by.
    fn move_out(&self, path: &RepoPath, place: &RepoPath) -> io::Result<()> {
        let mut change = self.amounts.change();
        let moved = self.root.rename(path, place, Taken::Fails);
        match self.sizes_of(place, path) {
            Ok(gone) if moved.is_ok() => change.went(gone),
            // It can have happened although it could not be flushed.
            Ok(_) | Err(_) => change.is_not_known(),
        }
        moved
    }

    /// Returns what can be restored, the oldest first.
    pub(super) fn discarded(&self) -> io::Result<Vec<Discarded>> {
        let mut found = Vec::new();
        for (id, _kind) in self.root.entries(&private::trash())? {
            let place = below(&private::trash(), &id);
            // Without both, the program ended while it was being deleted, restored or removed.
            if !self.is_there(&below(&place, ABOUT))? {
                continue;
            }
            let about = self.root.read(&below(&place, ABOUT))?;
            let Ok(about) = serde_json::from_slice::<Discarded>(&about) else { continue };
            if self.is_there(&below(&place, CONTENT))? {
                found.push(Discarded { id, ..about });
            }
        }
        Ok(found)
    }

    /// Puts something back where it was, if nothing is there now.
    pub(super) fn restore(&self, action: &Restore) -> Result<(), StorageError> {
        let path = action.path();
        let failed = |error| writing("restore", path, error);
        let place = below(&private::trash(), action.id());
        let known = self.discarded().map_err(failed)?;
        if !known.iter().any(|it| it.id == action.id() && it.path == path.as_str()) {
            return Err(StorageError::NotFound);
        }
        // Two of the same moment are each taken for the later one.
        let is_later = |it: &Discarded| {
            it.id != action.id() && it.id.get(..ID_TIME) >= action.id().get(..ID_TIME)
        };
        let later: Vec<Discarded> = known.into_iter().filter(is_later).collect();
        let content = below(&place, CONTENT);
        self.refuse_beside_a_draft(path)?;
        self.refuse_what_may_not_return(path, &content, &later)?;
        self.refuse_what_does_not_verify(path, &content)?;
        let _spelling = self.only_spelling(path)?;
        let _turn = self.names.blocking_lock();
        let mut change = self.amounts.change();
        match (self.sizes_of(&content, path), self.root.rename(&content, path, Taken::Fails)) {
            (_, Err(error)) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StorageError::Taken);
            }
            (Ok(back), Ok(())) => change.came(back),
            (_, renamed) => {
                change.is_not_known();
                renamed.map_err(failed)?;
            }
        }
        drop(change);
        if let Err(error) = self.root.remove(&place) {
            tracing::warn!(
                error = causes(&error),
                "the rest of what was restored is removed when its time is over"
            );
        }
        Ok(())
    }

    /// Refuses to put something where a version is being uploaded: what comes of that was judged
    /// without it.
    fn refuse_beside_a_draft(&self, path: &RepoPath) -> Result<(), StorageError> {
        let drafts = Drafts::look(&self.root).map_err(|error| writing("restore", path, error))?;
        let within = drafts.within(path).into_iter().next();
        match within.or_else(|| drafts.around(path)) {
            Some((_version, draft)) => Err(StorageError::BeingUploaded { until: draft.expires() }),
            None => Ok(()),
        }
    }

    /// Refuses what is never restored, also in a directory, and other bytes than those that were
    /// deleted last where what was published must stay.
    ///
    /// A list of withdrawn versions returns with the directory of its tool: without it they would
    /// run again. One of an earlier deletion than the last must not take a withdrawal back.
    fn refuse_what_may_not_return(
        &self,
        path: &RepoPath,
        content: &RepoPath,
        later: &[Discarded],
    ) -> Result<(), StorageError> {
        let depth = content.segments().count();
        let files = self.files_below(content);
        for file in files.map_err(|error| writing("restore", path, error))? {
            let seen = follow(path, &skip(&file, depth));
            let returns_with_its_tool = || {
                let is_newest = || self.was_in_one_of(later, &seen).map(|was| !was);
                if action::is_of_withdrawals(&seen) { is_newest() } else { Ok(false) }
            };
            if let Some(reason) = action::never_restored(&seen)
                && !returns_with_its_tool().map_err(|error| writing("restore", path, error))?
            {
                return Err(StorageError::NeverRestored { path: seen.to_string(), reason });
            }
            if !self.rules().immutable || !writable::is_create_only(&seen) {
                continue;
            }
            if let Some(digest) = self.existing(&file)?.and_then(|existing| existing.digest) {
                self.refuse_after_deletion(&seen, digest)?;
            }
        }
        Ok(())
    }

    /// Says whether a file that was at a path lies in one of these deletions.
    fn was_in_one_of(&self, deletions: &[Discarded], path: &RepoPath) -> io::Result<bool> {
        for it in deletions {
            let Ok(deleted) = it.path.parse::<RepoPath>() else { continue };
            let content = below(&below(&private::trash(), &it.id), CONTENT);
            let place = follow(&content, &skip(path, deleted.segments().count()));
            if path.is_within(&deleted) && self.is_there(&place)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes for good what was deleted longer ago than it is kept.
    pub(super) fn empty_trash(&self, now: SystemTime) -> io::Result<()> {
        let oldest = time::since_epoch(now).saturating_sub(self.rules().keep_deleted);
        for (id, _kind) in self.root.entries(&private::trash())? {
            let place = below(&private::trash(), &id);
            let is_whole = self.is_there(&below(&place, CONTENT))?;
            let about = if self.is_there(&below(&place, ABOUT))? {
                let text = self.root.read(&below(&place, ABOUT))?;
                serde_json::from_slice::<Discarded>(&text).ok()
            } else {
                None
            };
            let is_due =
                about.is_none_or(|about| Duration::from_secs(about.seconds) <= oldest || !is_whole);
            if is_due {
                self.root.remove(&place)?;
            }
        }
        Ok(())
    }

    /// Says whether something is at a place. What could not be looked at is an error: what is taken
    /// for missing would be removed for good.
    fn is_there(&self, place: &RepoPath) -> io::Result<bool> {
        match self.root.open(place) {
            Ok(_there) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) if is_not_a_directory(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
