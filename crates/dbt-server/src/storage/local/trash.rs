//! What was deleted, for as long as it can be restored.
//!
//! Each deletion has a directory in `.reposerver/trash`: what it was about, and what was there.

use std::io;
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};

use super::Tree;
use super::beneath::Taken;
use super::drafts::below;
use super::private;
use super::publish::{temporary_name, writing};
use crate::action::{Action as _, Restore};
use crate::storage::{EntryKind, StorageError};
use crate::time;

const ABOUT: &str = "about.json";
const CONTENT: &str = "content";

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
        if self.keep_deleted.is_zero() {
            let place = private::inside("tmp").join(&temporary_name()).map_err(io::Error::other)?;
            self.root.rename(path, &place, Taken::Fails)?;
            if let Err(error) = self.root.remove(&place) {
                tracing::warn!(%error, "something deleted still takes space until the next start");
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
        let moved = self.root.rename(path, &below(&place, CONTENT), Taken::Fails);
        if moved.is_err() {
            self.root.remove(&place)?;
        }
        moved
    }

    /// Returns what can be restored, the oldest first.
    pub(super) fn discarded(&self) -> io::Result<Vec<Discarded>> {
        let mut found = Vec::new();
        for (id, _kind) in self.root.entries(&private::trash())? {
            let place = below(&private::trash(), &id);
            // Without both, the program ended while it was being deleted, restored or removed.
            let Ok(file) = self.root.open(&below(&place, ABOUT)) else { continue };
            let Ok(about) = serde_json::from_reader::<_, Discarded>(file) else { continue };
            if self.root.open(&below(&place, CONTENT)).is_ok() {
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
        self.refuse_what_does_not_verify(path, &below(&place, CONTENT))?;
        let _turn = self.names.blocking_lock();
        match self.root.rename(&below(&place, CONTENT), path, Taken::Fails) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StorageError::Taken);
            }
            other => other.map_err(failed)?,
        }
        if let Err(error) = self.root.remove(&place) {
            tracing::warn!(%error, "the rest of what was restored is removed when its time is over");
        }
        Ok(())
    }

    /// Removes for good what was deleted longer ago than it is kept.
    pub(super) fn empty_trash(&self, now: SystemTime) -> io::Result<()> {
        let oldest = time::since_epoch(now).saturating_sub(self.keep_deleted);
        for (id, _kind) in self.root.entries(&private::trash())? {
            let place = below(&private::trash(), &id);
            let about = self.root.open(&below(&place, ABOUT)).ok();
            let about = about.and_then(|file| serde_json::from_reader::<_, Discarded>(file).ok());
            let is_whole = self.root.open(&below(&place, CONTENT)).is_ok();
            let is_due =
                about.is_none_or(|about| Duration::from_secs(about.seconds) <= oldest || !is_whole);
            if is_due {
                self.root.remove(&place)?;
            }
        }
        Ok(())
    }
}
