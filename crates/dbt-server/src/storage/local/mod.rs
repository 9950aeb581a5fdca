//! Files in a directory, at their plain paths, so that any other server can serve the same tree.
//!
//! Only `.reposerver` below the root is ours: uploads on their way, and a lock that keeps a
//! second server from writing to the same tree.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::body::Bytes;
use rustix::fs::{AtFlags, FileType};
use tokio::sync::{Mutex, Semaphore};

use self::beneath::Root;
use self::remembered::{Identity, Remembered};
use super::{
    Detail, Directory, Entry, EntryKind, Found, Removed, Storage, StorageError, StoredFile, Written,
};
use crate::action::{self, Action as _, Delete, Read, Write};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::content::{BoxFuture, Content};
use crate::limits;
use crate::upload::Upload;

mod beneath;
mod private;
mod publish;
mod remembered;

pub use self::private::OpenError;

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
}

impl Local {
    /// Serves a directory that this server does not change.
    pub fn open_to_read(root: &Path) -> Result<Self, OpenError> {
        Self::open(root, None)
    }

    /// Serves and changes a directory. Refused while another server does.
    ///
    /// What an earlier server left half done is cleared away.
    pub fn open_to_write(root: &Path) -> Result<Self, OpenError> {
        let private = private::Directory::open(root)?;
        Self::open(root, Some(private))
    }

    fn open(path: &Path, private: Option<private::Directory>) -> Result<Self, OpenError> {
        let root = Root::open_root(path)
            .map_err(|source| OpenError::Open { path: PathBuf::from(path), source })?;
        Ok(Self(Arc::new(Tree {
            root,
            remembered: Remembered::default(),
            names: Arc::default(),
            background: Semaphore::new(1),
            private,
        })))
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
            let found = on_disk(move || tree.look(&path, detail)).await?;
            let opened = match found {
                Looked::Directory(directory) => return Ok(Found::Directory(directory)),
                Looked::File(opened) => opened,
            };
            if opened.digest.is_none() {
                let path = grant.action().path().clone();
                self.hash_in_background(path, Arc::clone(&opened.file), opened.identity);
            }
            Ok(Found::File(StoredFile {
                length: opened.length,
                modified: opened.modified,
                digest: opened.digest,
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
        Box::pin(publish::delete(&self.0, grant, conditions))
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
        let needs_look = detail == Detail::Times || entry.file_type() == FileType::Unknown;
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
        entries.push(Entry { name: name.to_owned(), kind, modified });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Directory { modified: metadata.modified()?, entries })
}

fn modified(seconds: i64, nanoseconds: impl TryInto<u32>) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanoseconds = nanoseconds.try_into().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::new(seconds, nanoseconds))
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
