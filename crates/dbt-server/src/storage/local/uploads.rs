//! Uploads that come in parts: bytes of which nobody knows yet where they go, kept until they are
//! committed, given up or a day old.
//!
//! Each has a directory in `.reposerver/uploads`: whose it is, and what has come so far. What came
//! before a connection broke stays, so that a large file need not be sent again from the start.

use std::fs::File;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};

use super::drafts::below;
use super::publish::writing;
use super::{LocalContent, Tree, on_disk, private};
use crate::action::CreateSomewhere;
use crate::authn::subject_of_owner;
use crate::authz::Grant;
use crate::limits;
use crate::storage::{PartialUpload, StorageError, StoredFile};
use crate::upload::{OlderChecksums, Upload, UploadError};

const ABOUT: &str = "about.json";
const BYTES: &str = "bytes";

/// What is written beside the bytes.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    owner: String,
    /// Where it will go, and the digest of all of it, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    named: Option<(String, Digest)>,
}

/// Adds the body of a request at an offset, which must be where the upload ends. What arrives of a
/// body that is cut stays.
pub(super) async fn append(
    tree: &Arc<Tree>,
    grant: &Grant<CreateSomewhere>,
    id: &str,
    offset: u64,
    upload: Upload,
) -> Result<PartialUpload, StorageError> {
    let place = place(id)?;
    let turn = tree.drafts.turn(&place).await;
    let (shared, owner, own) = (Arc::clone(tree), super::owner(grant.caller()), id.to_owned());
    let file = on_disk(move || {
        let known = shared.upload(&own, &owner)?;
        if known.offset != offset {
            return Err(StorageError::OffsetMismatch { offset: known.offset });
        }
        shared.root.open_to_append(&bytes_of(&own)?).map_err(|error| failed(&own, error))
    })
    .await?;

    let Upload { mut body, declared, .. } = upload;
    let (limit, file) = (body.limit(), Arc::new(file));
    let (mut length, mut hasher) = (offset, declared.hasher());
    let arrived = loop {
        let chunk = match body.next().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        length += chunk.len() as u64;
        if length > limit {
            break Err(UploadError::TooLarge { limit });
        }
        hasher.update(&chunk);
        let (to, own) = (Arc::clone(&file), id.to_owned());
        on_disk(move || (&*to).write_all(&chunk).map_err(|error| failed(&own, error))).await?;
    };
    let checked = arrived.and_then(|()| declared.check(hasher).map(|_digest| ()));
    let (shared, owner, own) = (Arc::clone(tree), super::owner(grant.caller()), id.to_owned());
    on_disk(move || {
        if matches!(checked, Err(UploadError::DigestMismatch { .. })) {
            // The part is not what was sent; it can be sent again.
            file.set_len(offset).map_err(|error| failed(&own, error))?;
        }
        file.sync_all().map_err(|error| failed(&own, error))?;
        let known = shared.upload(&own, &owner);
        drop(turn);
        checked?;
        known
    })
    .await
}

impl Tree {
    /// Begins an upload, unless its subject has this many already, by whatever they show; or finds
    /// the one that its owner has begun of the same.
    pub(super) fn begin_upload(
        &self,
        id: &str,
        about: About,
        each: u32,
    ) -> Result<PartialUpload, StorageError> {
        self.temporary()?;
        let owner = &about.owner;
        if let Some(known) = self.begun(&about).map_err(|error| failed(id, error))? {
            return self.upload(&known, owner);
        }
        let (all, own) = self.count_uploads(owner).map_err(|error| failed(id, error))?;
        if own >= each as usize || all >= limits::OPEN_UPLOADS {
            return Err(StorageError::TooManyOpen { own });
        }
        let written = serde_json::to_vec(&about).map_err(io::Error::from);
        let begun = written.and_then(|about| {
            self.root.write_private(&below(&directory(id), BYTES), b"")?;
            self.root.write_private(&below(&directory(id), ABOUT), &about)?;
            self.root.flush_around(&directory(id))
        });
        begun.map_err(|error| failed(id, error))?;
        self.upload(id, owner)
    }

    /// Returns the upload of the same file by the same owner.
    fn begun(&self, about: &About) -> io::Result<Option<String>> {
        if about.named.is_none() {
            return Ok(None);
        }
        let all = self.root.entries(&uploads())?;
        let is_it = |id: &String| self.about_upload(&directory(id)).as_ref() == Some(about);
        Ok(all.into_iter().map(|(id, _kind)| id).find(is_it))
    }

    /// Returns how far an upload of somebody is.
    pub(super) fn upload(&self, id: &str, owner: &str) -> Result<PartialUpload, StorageError> {
        let file = self.open_upload(id, owner)?;
        let metadata = file.metadata().map_err(|error| failed(id, error))?;
        let touched = metadata.modified().map_err(|error| failed(id, error))?;
        let (offset, expires) = (metadata.len(), touched + limits::DRAFT_LIFE);
        Ok(PartialUpload { id: id.to_owned(), offset, expires })
    }

    /// Opens what has come of an upload of somebody.
    pub(super) fn uploaded(&self, id: &str, owner: &str) -> Result<StoredFile, StorageError> {
        let file = self.open_upload(id, owner)?;
        let metadata = file.metadata().map_err(|error| failed(id, error))?;
        Ok(StoredFile {
            length: metadata.len(),
            modified: metadata.modified().map_err(|error| failed(id, error))?,
            digest: None,
            older: OlderChecksums::default(),
            is_draft: true,
            content: Arc::new(LocalContent(Arc::new(file))),
        })
    }

    /// Removes an upload of somebody.
    pub(super) fn forget_upload(&self, id: &str, owner: &str) -> Result<(), StorageError> {
        let _its = self.open_upload(id, owner)?;
        self.root.remove(&directory(id)).map_err(|error| failed(id, error))
    }

    /// Removes the uploads whose time is over.
    pub(super) fn sweep_uploads(&self, now: SystemTime) -> io::Result<()> {
        for (id, _kind) in self.root.entries(&uploads())? {
            let bytes = self.root.open(&below(&directory(&id), BYTES));
            let touched = bytes.and_then(|file| file.metadata()?.modified());
            if touched.is_ok_and(|touched| touched + limits::DRAFT_LIFE > now) {
                continue;
            }
            tracing::info!(upload = id, "an unfinished upload has expired");
            self.root.remove(&directory(&id))?;
        }
        Ok(())
    }

    fn open_upload(&self, id: &str, owner: &str) -> Result<File, StorageError> {
        let about = self.owner_of_upload(&place(id)?);
        if about.as_deref() != Some(owner) {
            return Err(StorageError::NotFound);
        }
        self.root.open(&bytes_of(id)?).map_err(|error| super::reading(&directory(id), error))
    }

    fn owner_of_upload(&self, place: &RepoPath) -> Option<String> {
        self.about_upload(place).map(|about| about.owner)
    }

    fn about_upload(&self, place: &RepoPath) -> Option<About> {
        let file = self.root.open(&below(place, ABOUT)).ok()?;
        serde_json::from_reader(file).ok()
    }

    fn count_uploads(&self, owner: &str) -> io::Result<(usize, usize)> {
        let all = self.root.entries(&uploads())?;
        let subject = subject_of_owner(owner);
        let is_own = |id: &String| {
            let theirs = self.owner_of_upload(&directory(id));
            theirs.is_some_and(|theirs| subject_of_owner(&theirs) == subject)
        };
        let own = all.iter().filter(|(id, _kind)| is_own(id)).count();
        Ok((all.len(), own))
    }
}

fn uploads() -> RepoPath {
    private::inside("uploads")
}

fn directory(id: &str) -> RepoPath {
    below(&uploads(), id)
}

/// Returns where an upload of this id lies, if that can be an id.
fn place(id: &str) -> Result<RepoPath, StorageError> {
    checked(id).map(directory)
}

/// Returns what can be the id of an upload.
pub(super) fn checked(id: &str) -> Result<&str, StorageError> {
    let is_id = id.len() == 26 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_id { Ok(id) } else { Err(StorageError::NotFound) }
}

fn bytes_of(id: &str) -> Result<RepoPath, StorageError> {
    place(id).map(|place| below(&place, BYTES))
}

fn failed(id: &str, error: io::Error) -> StorageError {
    writing("upload to", &directory(id), error)
}

/// Begins an upload of the caller's.
pub(super) async fn begin(
    tree: &Arc<Tree>,
    grant: &Grant<CreateSomewhere>,
    named: Option<(RepoPath, Digest)>,
    each: u32,
) -> Result<PartialUpload, StorageError> {
    let (tree, owner) = (Arc::clone(tree), super::owner(grant.caller()));
    let named = named.map(|(path, sha256)| (path.to_string(), sha256));
    let id = crate::request_id::RequestId::new(Clock::System.now()).to_string();
    // What has expired is looked for meanwhile, and half an upload looks like that.
    let unswept = Arc::clone(&tree.deletions).read_owned().await;
    // One after another, so that nobody gets more than they may have.
    let turn = tree.drafts.turn(&uploads()).await;
    on_disk(move || {
        let begun = tree.begin_upload(&id, About { owner, named }, each);
        drop((turn, unswept));
        begun
    })
    .await
}
