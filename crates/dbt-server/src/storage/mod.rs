//! Where the files are: what any storage must do, and what it can answer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::TrustStore;
use http_body_util::BodyExt as _;
use serde::{Deserialize, Serialize};

use self::local::{Amount, Discarded, Rules};
use crate::action::{CreateSomewhere, Delete, ListTrash, Read, Release, Restore, TakeOver, Write};
use crate::authz::{Grant, Overwrite};
use crate::conditions::{Conditions, EntityTag, Validators};
use crate::content::{BoxFuture, Content, Pace, Piece, Stream};
use crate::operate::metrics::Metrics;
use crate::ranges::Part;
use crate::time;
use crate::upload::{OlderChecksums, RequestBody, Upload, UploadError};

pub mod local;
pub mod memory;
mod release;
mod shelf;

pub use self::release::{PlatformState, ReleaseState, ReleaseStep, Stager};
pub use self::shelf::{Shelf, Shelved, Standing};

/// A tree of files. Every method asks for the grant of its own kind, so that a caller that
/// forgot to authorise does not compile.
pub trait Storage: Send + Sync {
    /// Opens a file or lists a directory.
    fn look<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        detail: Detail,
    ) -> BoxFuture<'a, Result<Found, StorageError>>;

    /// Looks at the tools below a directory, from the one after `after` on, as far as a [`Shelf`]
    /// goes. What whoever asks may see of them is not decided here.
    fn shelf<'a>(
        &'a self,
        _grant: &'a Grant<Read>,
        _after: Option<ToolName>,
    ) -> BoxFuture<'a, Result<Shelf, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Writes a file whole or not at all.
    fn write<'a>(
        &'a self,
        grant: &'a Grant<Write>,
        upload: Upload,
    ) -> BoxFuture<'a, Result<Written, StorageError>>;

    /// Removes a file, or a directory with everything below.
    fn delete<'a>(
        &'a self,
        grant: &'a Grant<Delete>,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<Removed, StorageError>>;

    /// Returns the directory of what is known of the tree, if that lies in the tree itself.
    fn state_within_the_tree(&self) -> Option<&Path> {
        None
    }

    /// Says whether a path is part of a version that somebody is uploading, so that it matters
    /// who reads it.
    fn has_draft(&self, _path: &RepoPath) -> bool {
        false
    }

    /// Lists what was deleted and can be restored.
    fn discarded<'a>(
        &'a self,
        _grant: &'a Grant<ListTrash>,
    ) -> BoxFuture<'a, Result<Vec<Discarded>, StorageError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Puts something that was deleted back where it was.
    fn restore(&self, _grant: Grant<Restore>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Takes a step of a release.
    fn release(
        &self,
        _grant: Grant<Release>,
        _step: ReleaseStep,
    ) -> BoxFuture<'_, Result<ReleaseState, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Makes the upload of a version the caller's own, as a release of this id.
    fn take_over(
        &self,
        _grant: Grant<TakeOver>,
        _id: String,
    ) -> BoxFuture<'_, Result<ReleaseState, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Begins an upload in parts, unless the caller has this many already. One of which is said what
    /// it will be, and where, is the same one when it is begun again.
    fn begin_upload<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _named: Option<(RepoPath, Digest)>,
        _each: u32,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Says how far an upload of the caller's is.
    fn upload<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Adds a part to an upload of the caller's.
    fn append<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
        _offset: u64,
        _part: Upload,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Opens what has come of an upload of the caller's.
    fn uploaded<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<StoredFile, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Removes an upload of the caller's.
    fn forget_upload<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Removes an upload of the caller's that was committed to a path with these bytes, and
    /// remembers for a while that it was.
    fn end_upload<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
        _committed: (RepoPath, Digest),
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Opens what an upload of the caller's became that was committed to a path with these bytes.
    fn committed<'a>(
        &'a self,
        _grant: &'a Grant<CreateSomewhere>,
        _id: &'a str,
        _committed: (RepoPath, Digest),
    ) -> BoxFuture<'a, Result<StoredFile, StorageError>> {
        Box::pin(std::future::ready(Err(StorageError::NotFound)))
    }

    /// Returns the paths of files that may have these bytes, a few of them if there are many.
    fn places_of(&self, _digest: Digest) -> BoxFuture<'_, Vec<RepoPath>> {
        Box::pin(std::future::ready(Vec::new()))
    }

    /// Returns the directory of the version that a release is of.
    fn version_of_release(&self, _id: &str) -> Option<RepoPath> {
        None
    }

    /// Returns what signatures of what is written are verified with; nothing where they are not.
    fn trust(&self, _now: SystemTime) -> BoxFuture<'_, Result<Option<TrustStore>, StorageError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Goes by other rules from now on, as far as they can change meanwhile.
    fn adapt(&self, _rules: &Rules) {}

    /// Returns the directory of what is known of the tree, if no other server can have it.
    fn own_state(&self) -> Option<&Path> {
        None
    }

    /// Says whether files can be read at present.
    fn readable(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Says whether files can be written at present.
    fn writable(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Counts the bytes of all files at or below a path, unfinished ones too.
    fn usage(&self, _path: RepoPath) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(std::future::ready(Ok(0)))
    }

    /// Lets it be counted how long the disk takes.
    fn observe(&self, _metrics: &Arc<Metrics>) {}

    /// Returns how much there is in all, if that was counted.
    fn amount(&self) -> Option<Amount> {
        None
    }

    /// Counts how much there is, so that it is known from then on.
    fn count(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Waits until something is to be counted.
    fn uncounted(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Returns how many bytes are free, and how many there are in all.
    fn space(&self) -> Option<(u64, u64)> {
        None
    }

    /// Removes what is only kept for a time, when that is over.
    fn sweep(&self, _now: SystemTime) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// How much is wanted about the entries of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Their names and kinds.
    Names,
    /// Also their sizes and when they were last modified, which costs a look at each.
    All,
    /// Of directories that are versions, when they were published: with their first artifact. Of
    /// others, and of files, nothing but their names and kinds.
    Versions,
}

/// What is at a path.
pub enum Found {
    /// A file, opened.
    File(StoredFile),
    /// A directory.
    Directory(Directory),
}

/// An opened file.
pub struct StoredFile {
    /// Its size in bytes.
    pub length: u64,
    /// When it was last modified.
    pub modified: SystemTime,
    /// Its digest, if that is known already.
    pub digest: Option<Digest>,
    /// Older checksums of the same bytes, as far as they were declared when those came.
    pub older: OlderChecksums,
    /// Only its uploader sees it.
    pub is_draft: bool,
    /// Its bytes.
    pub content: Arc<dyn Content>,
}

impl StoredFile {
    /// Returns what conditions are compared with.
    pub fn validators(&self, now: SystemTime) -> Validators {
        validators(self.digest, self.modified, self.length, now)
    }

    /// Returns its bytes as the body of an upload.
    pub fn into_request_body(self) -> RequestBody {
        let all = (self.length > 0).then_some(Piece::Part(Part { start: 0, length: self.length }));
        Stream::new(self.content, all, Pace::Alone).map_err(Into::into).boxed_unsync()
    }
}

/// A file whose date is younger than this many seconds can be replaced by one of the same date.
const SETTLED: u64 = 2;

/// Returns the validators of a file: the digest is a strong tag; without it, the time and the
/// size make a weak one. A date is one only when no other bytes can come to have it.
fn validators(
    digest: Option<Digest>,
    modified: SystemTime,
    length: u64,
    now: SystemTime,
) -> Validators {
    let tag = if let Some(digest) = digest {
        EntityTag { weak: false, value: digest.to_string() }
    } else {
        let nanoseconds = time::since_epoch(modified).as_nanos();
        EntityTag { weak: true, value: format!("{nanoseconds:x}-{length:x}") }
    };
    let age = now.duration_since(modified).unwrap_or_default();
    let is_settled = age.as_secs() >= SETTLED;
    Validators { tag, modified: is_settled.then(|| time::whole_seconds(modified)) }
}

/// A directory as readers see it.
#[derive(Clone, Debug)]
pub struct Directory {
    /// When an entry was last added or removed.
    pub modified: SystemTime,
    /// The visible entries, in byte order of their names.
    pub entries: Vec<Entry>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// The size of a file in bytes, if that was asked for.
    pub size: Option<u64>,
    /// When it was last modified, if that was asked for.
    pub modified: Option<SystemTime>,
}

/// What an entry of a directory is. There are no others for readers: symbolic links, devices and
/// pipes are neither listed nor opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// An upload in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartialUpload {
    /// Its id.
    pub id: String,
    /// How many bytes there are.
    pub offset: u64,
    /// When it goes unless something is added.
    pub expires: SystemTime,
}

/// A file was written, or was there already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What changed.
    pub effect: Effect,
    /// The file's digest.
    pub digest: Digest,
    /// The file's size.
    pub length: u64,
    /// The digest of what it replaced.
    pub before: Option<Digest>,
    /// Who sees it now.
    pub publication: Publication,
}

/// Who sees a file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Everybody who may read.
    Seen,
    /// Its uploader, until these files of its platform are there too; without any, until a
    /// platform of its version is whole.
    WaitingFor(Vec<String>),
    /// Its uploader, until the release is committed.
    Held,
}

/// What a write changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// There was nothing before.
    Created,
    /// Other bytes were there before.
    Replaced,
    /// The same bytes were there before, and are untouched.
    Unchanged,
}

/// Something was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What it was.
    pub kind: EntryKind,
}

/// What stands where a file is to be written.
#[derive(Clone, Debug)]
pub struct Existing {
    /// Its digest. Known whenever it is compared.
    pub digest: Option<Digest>,
    /// When it was last modified.
    pub modified: SystemTime,
    /// Its size.
    pub length: u64,
}

impl Existing {
    /// Returns what conditions are compared with.
    pub fn validators(&self, now: SystemTime) -> Validators {
        validators(self.digest, self.modified, self.length, now)
    }
}

/// Decides whether a write may go ahead over what is there: once before the first byte of the
/// body is read, and once more, with the digest of the body, before it is published.
pub fn decide(
    grant: &Grant<Write>,
    conditions: &Conditions,
    existing: Option<&Existing>,
    arrived: Option<Digest>,
) -> Result<(), StorageError> {
    let current = existing.map(|existing| existing.validators(Clock::System.now()));
    if !conditions.admit_write(current.as_ref()) {
        return Err(StorageError::Precondition { existing: existing.and_then(|e| e.digest) });
    }
    let Some(existing) = existing else { return Ok(()) };
    let differs = arrived.is_some_and(|arrived| existing.digest != Some(arrived));
    match grant.overwrite() {
        Overwrite::SameBytesOnly if differs => {
            Err(StorageError::Immutable { existing: existing.digest })
        }
        Overwrite::Allowed | Overwrite::SameBytesOnly => Ok(()),
    }
}

/// Why the storage did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// There is nothing.
    #[error("nothing is there")]
    NotFound,

    /// A file cannot be written over a directory.
    #[error("a directory is there")]
    IsDirectory,

    /// A name there differs from one of the path only in the case of letters.
    #[error("a name there differs from this only in the case of letters")]
    CaseVariant,

    /// A file cannot lie below a file.
    #[error("a part of the path is a file")]
    ParentIsFile,

    /// The server itself may not read it.
    #[error("the server may not read it")]
    NotReadable,

    /// A condition of the request does not hold.
    #[error("a precondition does not hold")]
    Precondition {
        /// The digest of what is there, if it is known.
        existing: Option<Digest>,
    },

    /// Other bytes were published at this path before, and must stay.
    #[error("other bytes were published there before")]
    Immutable {
        /// Their digest.
        existing: Option<Digest>,
    },

    /// Somebody else is uploading this version.
    #[error("`{owner}` is uploading this version")]
    Claimed {
        /// Who. Not for everybody's ears.
        owner: String,
        /// When that expires.
        until: SystemTime,
    },

    /// A version that it would become a part of is being uploaded.
    #[error("a version there is being uploaded")]
    BeingUploaded {
        /// When that expires.
        until: SystemTime,
    },

    /// It is never put back.
    #[error("`/{path}` is part of it: {reason}")]
    NeverRestored {
        /// What.
        path: String,
        /// Why.
        reason: &'static str,
    },

    /// The platform would never be accepted by a client, or by nobody who trusts this repository.
    #[error("{reason}")]
    NotPublishable {
        /// Why.
        reason: String,
    },

    /// A release cannot be published yet.
    #[error("the release is not complete")]
    Incomplete {
        /// Which files are missing.
        waiting_for: Vec<String>,
    },

    /// Something is there, and what was deleted cannot return.
    #[error("something else is there now")]
    Taken,

    /// A part does not begin where the upload ends.
    #[error("the upload goes on at byte {offset}")]
    OffsetMismatch {
        /// Where that is.
        offset: u64,
    },

    /// Too many uploads in parts are open.
    #[error("{own} uploads of this caller are open")]
    TooManyOpen {
        /// How many are the caller's.
        own: usize,
    },

    /// The upload itself was not acceptable.
    #[error(transparent)]
    Upload(#[from] UploadError),

    /// A directory has more entries than are listed.
    #[error("the directory has more than {limit} entries, so it is not listed")]
    TooLong {
        /// How many are listed.
        limit: usize,
    },

    /// There is no space, or no quota, left.
    #[error("no space is left")]
    OutOfSpace,

    /// The disk does not take writes at present.
    #[error("the storage is read-only at present")]
    ReadOnly,

    /// Something unexpected.
    #[error("failed to {action} `/{path}`")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl StorageError {
    /// Leaves out what is in a file, for those who may not read it.
    #[must_use]
    pub fn without_digest(mut self) -> Self {
        if let Self::Precondition { existing } | Self::Immutable { existing } = &mut self {
            *existing = None;
        }
        self
    }
}
