//! Uploads in parts that were committed: whoever did not get the answer may ask again.
//!
//! Each has a file in `.reposerver/committed`, for as long as an upload that nobody goes on with.
//! It says what came of the upload and is no proof of it: that is what lies there now.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};

use super::beneath::Taken;
use super::drafts::below;
use super::publish::writing;
use super::{LocalContent, Tree, private, uploads};
use crate::limits;
use crate::storage::{StorageError, StoredFile};
use crate::time;

/// Ends the name of what is being written.
const NEW: &str = ".new";

/// What is written down of one.
#[derive(Serialize, Deserialize)]
struct About {
    owner: String,
    path: String,
    sha256: String,
    /// When it is forgotten, in seconds since 1970.
    expires: u64,
}

impl Tree {
    /// Ends an upload of somebody that was published: its bytes go, and what came of it is
    /// remembered.
    pub(super) fn end_upload(
        &self,
        id: &str,
        owner: &str,
        path: &RepoPath,
        digest: Digest,
    ) -> Result<(), StorageError> {
        let own = place(id)?;
        let about = About {
            owner: owner.to_owned(),
            path: path.to_string(),
            sha256: digest.to_string(),
            expires: time::since_epoch(Clock::System.now() + limits::DRAFT_LIFE).as_secs(),
        };
        let remember = || {
            let known = self.root.entries(&committed())?;
            // Their ids sort by when they were begun.
            if let Some((oldest, _kind)) = known.first()
                && known.len() >= limits::COMMITTED_UPLOADS
            {
                self.root.remove(&below(&committed(), oldest))?;
            }
            let new = below(&committed(), &format!("{id}{NEW}"));
            self.root.write_private(&new, &serde_json::to_vec(&about)?)?;
            self.root.rename(&new, &own, Taken::IsReplaced)
        };
        remember().map_err(|error| writing("remember", &own, error))?;
        self.forget_upload(id, owner)
    }

    /// Opens what an upload of somebody became, if it was committed to this path with these bytes
    /// and they are still there.
    pub(super) fn committed(
        &self,
        id: &str,
        owner: &str,
        path: &RepoPath,
        digest: Digest,
    ) -> Result<StoredFile, StorageError> {
        let about = self.root.read(&place(id)?).ok();
        let about = about.and_then(|text| serde_json::from_slice::<About>(&text).ok());
        let is_it = |it: &About| {
            it.owner == owner && it.path == path.as_str() && it.sha256 == digest.to_string()
        };
        if !about.as_ref().is_some_and(is_it) {
            return Err(StorageError::NotFound);
        }
        let draft = self.drafts.around(path).filter(|(_version, draft)| draft.owner == owner);
        let drafted = draft.map(|(version, draft)| draft.place_of(&version, path));
        for place in drafted.iter().chain([path]) {
            let Ok(file) = self.root.open(place) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let opened = self.opened(place, file, &metadata, u64::MAX)?;
            if opened.digest == Some(digest) {
                return Ok(StoredFile {
                    length: opened.length,
                    modified: opened.modified,
                    digest: opened.digest,
                    older: self.remembered.older(digest),
                    is_draft: true,
                    content: Arc::new(LocalContent(opened.file)),
                });
            }
        }
        Err(StorageError::NotFound)
    }

    /// Forgets those whose time is over.
    pub(super) fn sweep_committed(&self, now: SystemTime) -> io::Result<()> {
        for (name, _kind) in self.root.entries(&committed())? {
            let place = below(&committed(), &name);
            let about = serde_json::from_slice::<About>(&self.root.read(&place)?);
            // One that cannot be read was being written when the program ended.
            let expires = about.map_or(0, |about| about.expires);
            if UNIX_EPOCH + Duration::from_secs(expires) <= now {
                self.root.remove(&place)?;
            }
        }
        Ok(())
    }
}

fn committed() -> RepoPath {
    private::inside("committed")
}

fn place(id: &str) -> Result<RepoPath, StorageError> {
    uploads::checked(id).map(|id| below(&committed(), id))
}
