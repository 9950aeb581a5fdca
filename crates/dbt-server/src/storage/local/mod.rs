//! Files in a directory, at their plain paths, so that any other server can serve the same tree.
//!
//! Only `.reposerver` below the root is ours: uploads on their way, versions that are not whole yet,
//! what was deleted, and a lock that keeps a second server from writing to the same tree.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::body::Bytes;
use rustix::fs::{AtFlags, FileType};
use tokio::sync::{Mutex, RwLock, Semaphore};

use self::beneath::Root;
use self::drafts::Drafts;
use self::index::Index;
use self::remembered::{Identity, Remembered};
use self::state_dir::StateDir;
use super::{
    Detail, Directory, Entry, EntryKind, Found, ReleaseState, ReleaseStep, Removed, Storage,
    StorageError, StoredFile, Written,
};
use crate::action::{self, Action as _, Delete, ListTrash, Read, Release, Restore, Write};
use crate::authn::{Caller, Scope};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::content::{BoxFuture, Content};
use crate::limits;
use crate::upload::Upload;

mod beneath;
mod commit;
mod drafts;
mod host;
mod index;
mod judge;
mod private;
mod publish;
mod release;
mod remembered;
mod remove;
mod state_dir;
mod tombstones;
mod trash;
mod trust;
mod version;

pub use self::host::{OnHost, RestoreError, reindex};
pub use self::private::OpenError;
pub use self::trash::Discarded;
pub use self::trust::VerifyUploads;

/// How a tree is changed, and where what is known of it is kept.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The directory for what is known of the tree, if one is configured.
    pub state_dir: Option<PathBuf>,
    /// Whether what was published stays as it is, even after it was deleted.
    pub immutable: bool,
    /// Whether what is published must be signed by somebody in the truststore.
    pub verify: VerifyUploads,
    /// How long what was deleted can be restored.
    pub keep_deleted: Duration,
}

/// A directory of files.
#[derive(Clone)]
pub struct Local(Arc<Tree>);

/// What all uses of the directory share.
struct Tree {
    root: Root,
    remembered: Remembered,
    /// Held while a name is given or taken away, so that what was checked is still so.
    names: Arc<Mutex<()>>,
    /// One large file is hashed in the background at a time: serving comes first.
    background: Semaphore,
    private: Option<private::Directory>,
    state: Option<StateDir>,
    drafts: Drafts,
    /// Held for reading while a version is published, and for writing while something is deleted.
    deletions: Arc<RwLock<()>>,
    immutable: bool,
    verify: VerifyUploads,
    keep_deleted: Duration,
}

impl Local {
    /// Serves a directory that this server does not change.
    pub fn open_to_read(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        let state = StateDir::for_reading(rules.state_dir.as_deref(), root);
        Self::open(root, None, state, rules)
    }

    /// Serves and changes a directory. Refused while another server does.
    ///
    /// What an earlier server left half done is completed or cleared away.
    pub fn open_to_write(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        let private = private::Directory::open(root)?;
        let state = StateDir::for_writing(rules.state_dir.as_deref(), root)?;
        Self::open(root, Some(private), Some(state), rules)
    }

    fn open(
        path: &Path,
        private: Option<private::Directory>,
        state: Option<StateDir>,
        rules: Rules,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: PathBuf::from(path), source };
        let root = Root::open_root(path).map_err(failed)?;
        let Rules { immutable, verify, keep_deleted, state_dir: _ } = rules;
        let is_ours = private.is_some();
        let drafts = if is_ours { Drafts::open(&root).map_err(failed)? } else { Drafts::default() };
        let tree = Tree {
            root,
            remembered: Remembered::with(index(state.as_ref(), path)),
            names: Arc::default(),
            background: Semaphore::new(1),
            private,
            state,
            drafts,
            deletions: Arc::default(),
            immutable,
            verify,
            keep_deleted,
        };
        if is_ours {
            tree.recover().map_err(failed)?;
        }
        Ok(Self(Arc::new(tree)))
    }

    /// Removes drafts and deleted files whose time is over.
    pub async fn sweep(&self, now: SystemTime) {
        let alone = Arc::clone(&self.0.deletions).write_owned().await;
        let tree = Arc::clone(&self.0);
        let swept = on_disk(move || {
            for (version, draft) in tree.drafts.all() {
                if draft.expires() <= now {
                    tracing::info!(%version, owner = draft.owner, "an unfinished version has expired");
                    tree.drafts.remove(&tree.root, &version)?;
                }
            }
            let swept = tree.empty_trash(now);
            drop(alone);
            swept
        });
        if let Err(error) = swept.await {
            tracing::warn!(%error, "old files could not be removed");
        }
    }

    /// Hashes a file that was too large to be hashed while its reader waits.
    fn hash_in_background(&self, path: RepoPath, file: Arc<File>, identity: Identity) {
        if !self.0.remembered.begin_hashing(&path) {
            return;
        }
        let tree = Arc::clone(&self.0);
        tokio::spawn(async move {
            let turn = tree.background.acquire().await;
            let worker = Arc::clone(&tree);
            let place = path.clone();
            let hashed = on_disk(move || {
                let digest = hash(&file)?;
                worker.remembered.remember(&place, identity, digest);
                Ok::<(), io::Error>(())
            });
            if let Err(error) = hashed.await {
                tracing::warn!(%path, %error, "a file could not be hashed");
            }
            tree.remembered.end_hashing(&path);
            drop(turn);
        });
    }
}

impl Storage for Local {
    fn look<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        detail: Detail,
    ) -> BoxFuture<'a, Result<Found, StorageError>> {
        Box::pin(async move {
            let path = grant.action().path().clone();
            let tree = Arc::clone(&self.0);
            let drafted = self.drafted_for(grant);
            let (place, is_draft, found) = on_disk(move || {
                if let Some(drafted) = drafted {
                    match tree.look_with_draft(&path, &drafted, detail) {
                        Err(StorageError::NotFound) => {}
                        other => return other.map(|found| (drafted, true, found)),
                    }
                }
                tree.look(&path, detail).map(|found| (path, false, found))
            })
            .await?;
            let opened = match found {
                Looked::Directory(directory) => return Ok(Found::Directory(directory)),
                Looked::File(opened) => opened,
            };
            if opened.digest.is_none() {
                self.hash_in_background(place, Arc::clone(&opened.file), opened.identity);
            }
            Ok(Found::File(StoredFile {
                length: opened.length,
                modified: opened.modified,
                digest: opened.digest,
                is_draft,
                content: Arc::new(LocalContent(opened.file)),
            }))
        })
    }

    fn write<'a>(
        &'a self,
        grant: &'a Grant<Write>,
        upload: Upload,
    ) -> BoxFuture<'a, Result<Written, StorageError>> {
        Box::pin(publish::write(&self.0, grant, upload))
    }

    fn delete<'a>(
        &'a self,
        grant: &'a Grant<Delete>,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<Removed, StorageError>> {
        Box::pin(remove::delete(&self.0, grant, conditions))
    }

    fn state_within_the_tree(&self) -> Option<&Path> {
        let state = self.0.state.as_ref().filter(|_state| self.0.private.is_some())?;
        state.is_within_tree.then_some(state.path.as_path())
    }

    fn has_draft(&self, path: &RepoPath) -> bool {
        self.0.drafts.around(path).is_some()
    }

    fn discarded<'a>(
        &'a self,
        _grant: &'a Grant<ListTrash>,
    ) -> BoxFuture<'a, Result<Vec<Discarded>, StorageError>> {
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || {
            tree.discarded().map_err(|error| publish::writing("list", &private::trash(), error))
        }))
    }

    fn restore(&self, grant: Grant<Restore>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let tree = Arc::clone(&self.0);
            let alone = Arc::clone(&tree.deletions).write_owned().await;
            on_disk(move || {
                let restored = tree.temporary().and_then(|_ours| tree.restore(grant.action()));
                drop(alone);
                restored
            })
            .await
        })
    }

    fn release(
        &self,
        grant: Grant<Release>,
        step: ReleaseStep,
    ) -> BoxFuture<'_, Result<ReleaseState, StorageError>> {
        Box::pin(release::take(&self.0, grant, step))
    }

    fn version_of_release(&self, id: &str) -> Option<RepoPath> {
        self.0.drafts.of_release(id)
    }

    fn sweep(&self, now: SystemTime) -> BoxFuture<'_, ()> {
        Box::pin(Self::sweep(self, now))
    }
}

impl Local {
    /// Returns where the draft of a path lies, if the caller is the one who is uploading it.
    fn drafted_for(&self, grant: &Grant<Read>) -> Option<RepoPath> {
        let path = grant.action().path();
        let (version, draft) = self.0.drafts.around(path)?;
        let caller = grant.caller();
        let is_owner = caller.is_proven_for(Scope::Writes) && owner(caller) == draft.owner;
        is_owner.then(|| draft.place_of(&version, path))
    }
}

/// Returns whose an upload is, as it is written down.
fn owner(caller: &Caller) -> String {
    caller.subject().map_or_else(|| "anonymous".to_owned(), ToString::to_string)
}

/// Opens the index. Without one, everything is hashed anew after a start.
fn index(state: Option<&StateDir>, root: &Path) -> Option<Index> {
    match Index::open(&state?.path, root) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(%error, "the index cannot be opened; files are hashed anew after each start");
            None
        }
    }
}

enum Looked {
    File(Opened),
    Directory(Directory),
}

/// A file that was opened and looked at.
struct Opened {
    file: Arc<File>,
    identity: Identity,
    length: u64,
    modified: SystemTime,
    digest: Option<Digest>,
}

impl Tree {
    fn look(&self, path: &RepoPath, detail: Detail) -> Result<Looked, StorageError> {
        let file = self.root.open(path).map_err(|error| reading(path, error))?;
        let metadata = file.metadata().map_err(|error| reading(path, error))?;
        if metadata.is_dir() {
            let directory = list(&file, &metadata, detail).map_err(|error| reading(path, error))?;
            return Ok(Looked::Directory(directory));
        }
        if !metadata.is_file() {
            return Err(StorageError::NotFound);
        }
        self.opened(path, file, &metadata, limits::HASH_AT_ONCE).map(Looked::File)
    }

    /// Looks at what only the uploader sees: the draft's file, or a directory with the entries of
    /// both.
    fn look_with_draft(
        &self,
        path: &RepoPath,
        drafted: &RepoPath,
        detail: Detail,
    ) -> Result<Looked, StorageError> {
        let Looked::Directory(mut directory) = self.look(drafted, detail)? else {
            return self.look(drafted, detail);
        };
        if let Ok(Looked::Directory(published)) = self.look(path, detail) {
            let is_new = |entry: &Entry| directory.entries.iter().all(|it| it.name != entry.name);
            let others: Vec<Entry> = published.entries.into_iter().filter(is_new).collect();
            directory.entries.extend(others);
            directory.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(Looked::Directory(directory))
    }

    /// Completes what is known of an opened file, hashing it if it is not too large for that.
    fn opened(
        &self,
        path: &RepoPath,
        file: File,
        metadata: &Metadata,
        hash_up_to: u64,
    ) -> Result<Opened, StorageError> {
        let identity = Identity::of(metadata);
        let mut digest = self.remembered.recall(path, identity);
        if digest.is_none() && metadata.len() <= hash_up_to {
            let fresh = hash(&file).map_err(|error| reading(path, error))?;
            self.remembered.remember(path, identity, fresh);
            digest = Some(fresh);
        }
        let modified = metadata.modified().map_err(|error| reading(path, error))?;
        Ok(Opened { file: Arc::new(file), identity, length: metadata.len(), modified, digest })
    }
}

fn reading(path: &RepoPath, source: io::Error) -> StorageError {
    if source.kind() == io::ErrorKind::NotFound || beneath::is_not_a_directory(&source) {
        StorageError::NotFound
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        StorageError::NotReadable
    } else {
        StorageError::Io { action: "read", path: path.to_string(), source }
    }
}

fn list(directory: &File, metadata: &Metadata, detail: Detail) -> io::Result<Directory> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        // Names that no path can have cannot be asked for, so they are not shown either.
        let Ok(name) = entry.file_name().to_str() else { continue };
        let legal = RepoPath::root().join(name).is_ok();
        if !legal || !action::is_visible(name) || name == "index.html" {
            continue;
        }
        let needs_look = detail == Detail::All || entry.file_type() == FileType::Unknown;
        let looked = if needs_look {
            match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                // It went away meanwhile.
                Err(_gone) => continue,
            }
        } else {
            None
        };
        let file_type =
            looked.map_or_else(|| entry.file_type(), |stat| FileType::from_raw_mode(stat.st_mode));
        let kind = if file_type == FileType::RegularFile {
            EntryKind::File
        } else if file_type == FileType::Directory {
            EntryKind::Directory
        } else {
            continue;
        };
        let modified = looked.and_then(|stat| modified(stat.st_mtime, stat.st_mtime_nsec));
        let size = looked.filter(|_stat| kind == EntryKind::File);
        let size = size.and_then(|stat| u64::try_from(stat.st_size).ok());
        entries.push(Entry { name: name.to_owned(), kind, size, modified });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Directory { modified: metadata.modified()?, entries })
}

fn modified(seconds: i64, nanoseconds: impl TryInto<u32>) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanoseconds = nanoseconds.try_into().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}

/// Hashes a whole file without moving its position, which others share.
fn hash(file: &File) -> io::Result<Digest> {
    struct FromStart<'a>(&'a File, u64);

    impl io::Read for FromStart<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.read_at(buffer, self.1)?;
            self.1 += count as u64;
            Ok(count)
        }
    }

    Digest::of_reader(&mut FromStart(file, 0)).map(|(digest, _length)| digest)
}

/// The bytes of an opened file.
struct LocalContent(Arc<File>);

impl Content for LocalContent {
    fn read_at(
        self: Arc<Self>,
        offset: u64,
        length: usize,
    ) -> BoxFuture<'static, io::Result<Bytes>> {
        // Begins now, not when it is first waited for: the next chunk is read while the last
        // one is sent.
        let reading = tokio::task::spawn_blocking(move || {
            let mut chunk = vec![0; length];
            self.0.read_exact_at(&mut chunk, offset)?;
            Ok(Bytes::from(chunk))
        });
        Box::pin(async move { reading.await.map_err(io::Error::other)? })
    }
}

/// Does something slow on a thread that may wait.
async fn on_disk<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Interrupted> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(panicked) => Err(Interrupted(panicked).into()),
    }
}

/// Work on the disk panicked or was given up at the end of the program.
struct Interrupted(tokio::task::JoinError);

impl From<Interrupted> for StorageError {
    fn from(interrupted: Interrupted) -> Self {
        let source = io::Error::other(interrupted.0);
        Self::Io { action: "work on", path: String::new(), source }
    }
}

impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> Self {
        Self::other(interrupted.0)
    }
}
