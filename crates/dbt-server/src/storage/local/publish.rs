//! Writing: whole or not at all, also when the power fails.
//!
//! An upload goes to a file without a visible name, is hashed on the way, checked, and flushed to
//! the disk. Only then it is given its name, in one step; and only when that step is on the disk
//! too is the client told. A file of a version that is not whole yet gets its name in a draft.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Instant;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use tokio::sync::OwnedMutexGuard;

use super::beneath::DIRECTORY_MODE;
use super::remembered::Identity;
use super::{Tree, beneath, on_disk, private};
use crate::action::{Action as _, Write};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::limits;
use crate::operate::metrics::Timer;
use crate::request_id::RequestId;
use crate::storage::{Effect, Existing, Publication, StorageError, Written, decide};
use crate::upload::{Hasher, Upload};
use crate::writable::InVersion;

/// What files are made with, so that other servers can serve the same tree.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// The right to give or take away a name. It goes along to the thread that does so, so that it
/// lasts exactly as long as that.
pub(super) type Turn = OwnedMutexGuard<()>;

/// How often publishing is tried again when something outside this process took the name.
const ATTEMPTS: u32 = 3;

pub(super) async fn write(
    tree: &Arc<Tree>,
    grant: &Grant<Write>,
    mut upload: Upload,
) -> Result<Written, StorageError> {
    let path = grant.action().path();
    let inside = InVersion::of(path);
    // Whatever can be refused is refused before the first byte is asked for.
    let existing = look(tree, path, grant).await?;
    decide(grant, &upload.conditions, existing.as_ref(), None)?;

    let staged = Staged::create(tree, path, upload.declared.hasher()).await?;
    let staged = receive(staged, &mut upload).await?;
    let (finished, length, hasher) = staged.finish().await?;
    let digest = upload.declared.check(hasher)?;
    tree.remembered.remember_older(digest, upload.declared.older());

    if let Some(inside) = inside {
        return super::version::publish(
            finished,
            grant,
            &upload.conditions,
            inside,
            digest,
            length,
        )
        .await;
    }
    for _attempt in 1..ATTEMPTS {
        match publish(&finished, grant, &upload.conditions, digest, length).await {
            Err(StorageError::Io { source, .. })
                if source.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
    }
    publish(&finished, grant, &upload.conditions, digest, length).await
}

/// Writes the body to the staged file, one buffer ahead of the disk.
async fn receive(staged: Staged, upload: &mut Upload) -> Result<Staged, StorageError> {
    let mut writing = None;
    let mut idle = Some(staged);
    let mut buffer = Vec::with_capacity(limits::CHUNK);
    loop {
        let arrived = upload.body.next().await?;
        let ended = arrived.is_none();
        buffer.extend_from_slice(&arrived.unwrap_or_default());
        if !ended && buffer.len() < limits::CHUNK {
            continue;
        }
        if let Some(task) = writing.take() {
            idle = Some(joined(task).await?);
        }
        let Some(mut staged) = idle.take() else { continue };
        let full = std::mem::replace(&mut buffer, Vec::with_capacity(limits::CHUNK));
        let task = tokio::task::spawn_blocking(move || staged.append(&full).map(|()| staged));
        if ended {
            return joined(task).await;
        }
        writing = Some(task);
    }
}

async fn joined(
    task: tokio::task::JoinHandle<Result<Staged, StorageError>>,
) -> Result<Staged, StorageError> {
    task.await.map_err(super::Interrupted)?
}

/// Gives the staged file its name, if that is still allowed by then.
async fn publish(
    staged: &Arc<Finished>,
    grant: &Grant<Write>,
    conditions: &Conditions,
    digest: Digest,
    length: u64,
) -> Result<Written, StorageError> {
    let spelling = staged.tree.spelling_turn().await;
    let turn = Arc::clone(&staged.tree.names).lock_owned().await;
    // What is there was hashed before the upload began, so this is quick unless it changed since.
    let existing = look(&staged.tree, &staged.path, grant).await?;
    decide(grant, conditions, existing.as_ref(), Some(digest))?;
    let before = existing.as_ref().and_then(|existing| existing.digest);
    let publication = Publication::Seen;
    if before == Some(digest) {
        return Ok(Written { effect: Effect::Unchanged, digest, length, before, publication });
    }
    let staged = Arc::clone(staged);
    let effect = if existing.is_some() { Effect::Replaced } else { Effect::Created };
    on_disk(move || {
        staged.publish(effect, digest, turn)?;
        drop(spelling);
        Ok::<(), StorageError>(())
    })
    .await?;
    Ok(Written { effect, digest, length, before, publication })
}

/// Returns what stands at a path for the caller, with its digest, or nothing. Refuses a directory
/// there, a file on the way there, and a version that somebody else is uploading.
pub(super) async fn look(
    tree: &Arc<Tree>,
    path: &RepoPath,
    grant: &Grant<Write>,
) -> Result<Option<Existing>, StorageError> {
    let (tree, path, owner) = (Arc::clone(tree), path.clone(), super::owner(grant.caller()));
    on_disk(move || {
        tree.refuse_variants_of(&path)?;
        let published = tree.existing(&path)?;
        let Some((version, draft)) = tree.drafts.around(&path) else { return Ok(published) };
        if draft.owner != owner {
            return Err(StorageError::Claimed { until: draft.expires(), owner: draft.owner });
        }
        let drafted = tree.existing(&draft.place_of(&version, &path))?;
        Ok(drafted.or(published))
    })
    .await
}

impl Tree {
    pub(super) fn existing(&self, path: &RepoPath) -> Result<Option<Existing>, StorageError> {
        if !self.is_spelled(path) {
            return Ok(None);
        }
        let file = match self.root.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if beneath::is_not_a_directory(&error) => {
                return Err(StorageError::ParentIsFile);
            }
            Err(error) => return Err(writing("look at", path, error)),
        };
        let metadata = file.metadata().map_err(|error| writing("look at", path, error))?;
        if !metadata.is_file() {
            return Err(StorageError::IsDirectory);
        }
        let opened = self.opened(path, file, &metadata, u64::MAX)?;
        Ok(Some(Existing {
            digest: opened.digest,
            modified: opened.modified,
            length: opened.length,
        }))
    }

    /// Returns the date of what is to be replaced at a path, in seconds.
    pub(super) fn date_of(&self, path: &RepoPath) -> Option<i64> {
        self.root.open(path).ok()?.metadata().ok().map(|metadata| metadata.mtime())
    }

    /// Makes the date of a file later than that of what it replaces: in requests they are told
    /// apart by the second, and not at all when one is older. Returns the file's identity if its
    /// date has changed.
    pub(super) fn date_after(file: &File, replaced: i64) -> Option<Identity> {
        if replaced < file.metadata().ok()?.mtime() {
            return None;
        }
        let tv_sec = replaced.saturating_add(1);
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times =
            Timestamps { last_access: now, last_modification: Timespec { tv_sec, tv_nsec: 0 } };
        // A date is not worth failing for.
        rustix::fs::futimens(file, &times).ok()?;
        file.sync_all().ok()?;
        file.metadata().ok().map(|metadata| Identity::of(&metadata))
    }

    /// Notes how long it took until something was on the disk.
    pub(super) fn note_flushed(&self, what: &'static str, began: Instant) {
        if let Some(metrics) = self.metrics.get() {
            metrics.observe(Timer::Flush, what, began.elapsed());
        }
    }

    pub(super) fn temporary(&self) -> Result<&OwnedFd, StorageError> {
        self.private.as_ref().map(private::Directory::temporary).ok_or(StorageError::ReadOnly)
    }
}

/// A file that is being received. It has no visible name, and goes when this does.
struct Staged {
    temporary: Temporary,
    file: File,
    hasher: Hasher,
    length: u64,
}

/// The name of a file in our own directory, removed when this goes.
struct Temporary {
    tree: Arc<Tree>,
    path: RepoPath,
    name: String,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Ok(directory) = self.tree.temporary() {
            // After publication the name is gone already; what remains otherwise is swept at
            // the next start.
            let _gone_or_swept_later =
                rustix::fs::unlinkat(directory, self.name.as_str(), AtFlags::empty());
        }
    }
}

impl Staged {
    async fn create(
        tree: &Arc<Tree>,
        path: &RepoPath,
        hasher: Hasher,
    ) -> Result<Self, StorageError> {
        let (tree, path) = (Arc::clone(tree), path.clone());
        on_disk(move || {
            let name = temporary_name();
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = rustix::fs::openat(tree.temporary()?, &name, flags, Mode::from(0o600))
                .map_err(|error| writing("create a file for", &path, error.into()))?;
            let temporary = Temporary { tree, path, name };
            Ok(Self { temporary, file: File::from(file), hasher, length: 0 })
        })
        .await
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|error| writing("write", &self.temporary.path, error))
    }

    /// Flushes the bytes to the disk.
    async fn finish(self) -> Result<(Arc<Finished>, u64, Hasher), StorageError> {
        on_disk(move || {
            let Self { temporary, file, hasher, length } = self;
            let failed = |error| writing("flush", &temporary.path, error);
            rustix::fs::fchmod(&file, FILE_MODE).map_err(|error| failed(error.into()))?;
            let began = Instant::now();
            file.sync_all().map_err(failed)?;
            temporary.tree.note_flushed("bytes", began);
            let identity = Identity::of(&file.metadata().map_err(failed)?);
            let Temporary { tree, path, name: _ } = &temporary;
            let (tree, path) = (Arc::clone(tree), path.clone());
            Ok((Arc::new(Finished { tree, path, file, temporary, identity }), length, hasher))
        })
        .await
    }
}

/// A staged file whose bytes are on the disk.
pub(super) struct Finished {
    pub(super) tree: Arc<Tree>,
    pub(super) path: RepoPath,
    /// Its bytes, while it has no name yet.
    pub(super) file: File,
    temporary: Temporary,
    identity: Identity,
}

impl Finished {
    /// Gives the file its name in the tree: that of what it replaces, or one that nothing has.
    pub(super) fn publish(
        &self,
        effect: Effect,
        digest: Digest,
        turn: Turn,
    ) -> Result<(), StorageError> {
        self.name(&self.path, effect, digest)?;
        drop(turn);
        Ok(())
    }

    /// Returns the file's identity, with a date that tells it from what it replaces.
    fn identity_at(&self, path: &RepoPath, effect: Effect) -> Identity {
        let is_seen = effect == Effect::Replaced && path == &self.path;
        let replaced = is_seen.then(|| self.tree.date_of(path)).flatten();
        let dated = replaced.and_then(|replaced| Tree::date_after(&self.file, replaced));
        dated.unwrap_or(self.identity)
    }

    /// Gives the file a name: that of what it replaces, or one that nothing has.
    pub(super) fn name(
        &self,
        path: &RepoPath,
        effect: Effect,
        digest: Digest,
    ) -> Result<(), StorageError> {
        let tree = &self.tree;
        let failed = |error| writing("publish", path, error);
        let identity = self.identity_at(path, effect);
        let parent = path.parent().unwrap_or_else(RepoPath::root);
        let name = path.file_name().unwrap_or_default();
        let directory = tree.root.make_directories(&parent, DIRECTORY_MODE).map_err(failed)?;
        let (temporary, from) = (self.temporary.name.as_str(), tree.temporary()?);
        let mut change = tree.amounts.change();
        let replaced = if effect == Effect::Created { None } else { size_of(&directory, name) };
        let renamed = if effect == Effect::Created {
            beneath::rename_without_replacing(from.as_fd(), temporary, directory.as_fd(), name)
        } else {
            rustix::fs::renameat(from, temporary, &directory, name)
        };
        renamed.map_err(|error| failed(error.into()))?;
        change.came([(self.path.clone(), self.identity.size)]);
        change.went(replaced.map(|size| (self.path.clone(), size)));
        drop(change);
        tree.remembered.remember(path, identity, digest);
        let began = Instant::now();
        rustix::fs::fsync(&directory).map_err(|error| failed(error.into()))?;
        tree.note_flushed("name", began);
        Ok(())
    }
}

/// Returns the size of the file of a name, if there is one.
fn size_of(directory: &OwnedFd, name: &str) -> Option<u64> {
    let there = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    is_file.then(|| u64::try_from(there.st_size).ok()).flatten()
}

/// Returns a name that nothing has.
pub(super) fn temporary_name() -> String {
    RequestId::new(Clock::System.now()).to_string()
}

pub(super) fn writing(action: &'static str, path: &RepoPath, source: io::Error) -> StorageError {
    let kind = source.kind();
    if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        StorageError::OutOfSpace
    } else if kind == io::ErrorKind::ReadOnlyFilesystem {
        StorageError::ReadOnly
    } else if kind == io::ErrorKind::IsADirectory {
        StorageError::IsDirectory
    } else if beneath::is_not_a_directory(&source) {
        StorageError::ParentIsFile
    } else {
        StorageError::Io { action, path: path.to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_full_or_read_only_disk_and_a_file_in_the_way_are_told_apart() {
        let path: RepoPath = "dbt/x".parse().unwrap();
        let told = |errno: Errno| writing("write", &path, errno.into());
        assert!(matches!(told(Errno::NOSPC), StorageError::OutOfSpace));
        assert!(matches!(told(Errno::DQUOT), StorageError::OutOfSpace));
        assert!(matches!(told(Errno::ROFS), StorageError::ReadOnly));
        assert!(matches!(told(Errno::NOTDIR), StorageError::ParentIsFile));
        assert!(matches!(told(Errno::LOOP), StorageError::ParentIsFile));
        assert!(matches!(told(Errno::ISDIR), StorageError::IsDirectory));
        assert!(matches!(told(Errno::IO), StorageError::Io { .. }));
    }
}
