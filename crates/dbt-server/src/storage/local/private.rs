//! The directory `.reposerver` below the root: uploads on their way, versions that are not whole,
//! the trash, and the lock.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use dbt_core::repo_path::RepoPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::Root;
use super::drafts::below;

/// The name of the directory. It begins with a dot, so it is neither listed nor served.
pub(super) const NAME: &str = ".reposerver";

/// Returns where versions lie that readers do not see yet.
pub(super) fn drafts() -> RepoPath {
    inside("drafts")
}

/// Returns where platforms lie that are on their way from a draft into the tree.
pub(super) fn publishing() -> RepoPath {
    inside("publishing")
}

/// Returns where it is written which releases were published of late.
pub(super) fn released() -> RepoPath {
    inside("released")
}

/// Returns where what was deleted lies.
pub(super) fn trash() -> RepoPath {
    inside("trash")
}

/// Returns the path of something in our own directory.
pub(super) fn inside(name: &str) -> RepoPath {
    below(&below(&RepoPath::root(), NAME), name)
}

/// Only for us: an upload that was not checked yet is nobody else's business.
const PRIVATE: Mode = Mode::from_raw_mode(0o700);

/// The directory, held by one server at a time.
#[derive(Debug)]
pub(super) struct Directory {
    temporary: OwnedFd,
    /// The lock goes when the descriptor is closed, however the process ends.
    _lock: File,
}

impl Directory {
    /// Makes, locks and clears the directory.
    pub(super) fn open(root: &Path) -> Result<Self, OpenError> {
        let failed = |path: PathBuf| move |source| OpenError::Open { path, source };
        let place = root.join(NAME);
        let below = Root::open_root(root).map_err(failed(root.to_owned()))?;
        let name = NAME.parse().map_err(|_never| OpenError::Open {
            path: place.clone(),
            source: io::ErrorKind::InvalidInput.into(),
        })?;
        let own = below.make_directories(&name, PRIVATE).map_err(failed(place.clone()))?;
        rustix::fs::fchmod(&own, PRIVATE)
            .map_err(io::Error::from)
            .map_err(failed(place.clone()))?;
        let lock = lock(&own, &place)?;

        let inner = name.join("tmp").unwrap_or(name);
        let temporary =
            below.make_directories(&inner, PRIVATE).map_err(failed(place.join("tmp")))?;
        clear(&temporary).map_err(|error| failed(place.join("tmp"))(error.into()))?;
        Ok(Self { temporary, _lock: lock })
    }

    /// Returns the directory of uploads on their way.
    pub(super) const fn temporary(&self) -> &OwnedFd {
        &self.temporary
    }
}

fn lock(own: &OwnedFd, place: &Path) -> Result<File, OpenError> {
    let path = place.join("lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(own, "lock", flags, Mode::from(0o600))
        .map_err(|error| OpenError::Open { path: path.clone(), source: error.into() })?;
    hold(File::from(file), path)
}

/// Locks an opened file, which is refused while another server has it.
pub(super) fn hold(file: File, path: PathBuf) -> Result<File, OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        // A file system without locks: renames still keep files whole.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(file),
        Err(TryLockError::Error(source)) => Err(OpenError::Open { path, source }),
    }
}

/// Removes everything in a directory.
pub(super) fn clear(directory: &OwnedFd) -> Result<(), Errno> {
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        remove_all(directory, name, entry.file_type())?;
    }
    Ok(())
}

/// Removes a name, with everything below if it is a directory. Links are removed, not followed.
pub(super) fn remove_all(
    parent: &OwnedFd,
    name: &std::ffi::CStr,
    file_type: FileType,
) -> Result<(), Errno> {
    if file_type != FileType::Directory {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => {}
            other => return other,
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let inner = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    clear(&inner)?;
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// A directory cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something in it could not be opened.
    #[error("failed to open `{}`", path.display())]
    Open {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server writes to it.
    #[error("another server holds `{}`", path.display())]
    InUse {
        /// The lock.
        path: PathBuf,
    },
}
