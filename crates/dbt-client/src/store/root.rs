//! One directory tree that holds artifacts, opened once, and what must be true of everything in
//! it before it is used (trust design, 2.10).
//!
//! Everything below the root is reached through descriptors and never through a symbolic link.
//! What is not as it must be is left alone and remembered as a [`Concern`] for `doctor`; a
//! harmless difference in something that belongs to us (a restored backup made the directory
//! readable) is put right.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::ownership::Distrust;

/// The directory below a root that holds the artifacts, by digest.
pub(super) const ARTIFACTS: &str = "sha256";

/// The mode of our directories.
const PRIVATE: u32 = 0o700;

/// The mode of installed files: nobody writes to them, the owner included.
pub(super) const INSTALLED: u32 = 0o500;

/// Write permission for others than the owner.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Everybody may rename only his own.
const STICKY: u32 = 0o1000;

/// What is not as it must be, so that it is not used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("`{}` {}: {oddity}", path.display(), oddity.makes_it())]
pub struct Concern {
    /// What it is about.
    pub path: PathBuf,
    /// What is wrong.
    pub oddity: Oddity,
}

impl Concern {
    pub(super) fn new(path: impl Into<PathBuf>, oddity: Oddity) -> Self {
        Self { path: path.into(), oddity }
    }

    pub(super) fn unusable(path: impl Into<PathBuf>, error: impl Into<io::Error>) -> Self {
        Self::new(path, Oddity::Unusable(Arc::new(error.into())))
    }

    /// Says whether waiting a moment may help: while a file moves from one name to another on a
    /// file system that cannot do it in one step, it has both.
    fn may_pass(&self) -> bool {
        matches!(self.oddity, Oddity::Names(2))
    }
}

/// What can be wrong with a file or a directory of a store.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Oddity {
    /// A symbolic link leads elsewhere.
    #[error("it is a symbolic link")]
    SymbolicLink,
    /// A directory, a FIFO, a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// A file or a link where a directory is due.
    #[error("it is not a directory")]
    NotADirectory,
    /// Whoever owns it can change it at any time.
    #[error("it belongs to user {0}")]
    Owner(u32),
    /// Others may write to it, or executing it changes the user.
    #[error("its mode is {0:04o}")]
    Mode(u32),
    /// A second name is a second way to it.
    #[error("it has {0} names")]
    Names(u64),
    /// The bytes have another digest than the directory says.
    #[error("it does not hold what its name says")]
    Content,
    /// Other users may rename what is in this directory.
    #[error("other users may rename what is in it")]
    Shared,
    /// Somebody else could put another directory in its place.
    #[error("{0}")]
    Way(Distrust),
    /// The system refuses it.
    #[error("the system refuses it ({0})")]
    Unusable(Arc<io::Error>),
}

impl Oddity {
    const fn makes_it(&self) -> &'static str {
        if matches!(self, Self::Way(_)) { "is not safe" } else { "is not used" }
    }
}

/// What is expected of a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// We write to it, and nobody else may do anything in it.
    Ours,
    /// The same in a directory that a person has named. It is only ours if nothing else is in it.
    Named,
    /// An image or a package brought it: everybody may read it, we never write.
    ReadOnly,
}

/// An open directory, and its path for words and for executing.
#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    pub(super) handle: File,
}

/// The top of a store.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) top: Directory,
    pub(super) rule: Rule,
    owner: u32,
}

/// An installed file, opened and found in order. Its content is not known to be anything.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) path: PathBuf,
    pub(super) directory: Directory,
    pub(super) file: File,
    pub(super) stamp: Stamp,
}

impl Root {
    /// Opens a root if it exists. Links on the way to it are followed: people put their store on
    /// another disk that way.
    pub(super) fn open(path: &Path, rule: Rule, owner: u32) -> Result<Option<Self>, Concern> {
        let Some(top) = Directory::open(path, OFlags::empty())? else { return Ok(None) };
        let root = Self { top, rule, owner };
        root.judge_top()?;
        Ok(Some(root))
    }

    /// Opens our root, which is created if it does not exist, and makes sure that it can be
    /// written.
    pub(super) fn create(path: &Path, rule: Rule, owner: u32) -> Result<Self, Concern> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(path)
            .map_err(|error| Concern::unusable(path, error))?;
        let missing = || Concern::unusable(path, io::Error::from(io::ErrorKind::NotFound));
        let root = Self::open(path, rule, owner)?.ok_or_else(missing)?;
        root.check_writable()?;
        Ok(root)
    }

    /// Opens a root in a directory that all users share, such as `/tmp`, if it exists.
    pub(super) fn open_shared(path: &Path, owner: u32) -> Result<Option<Self>, Concern> {
        let Some(top) = Directory::open(path, OFlags::NOFOLLOW)? else { return Ok(None) };
        check_sticky(path.parent().unwrap_or(path), owner)?;
        let root = Self { top, rule: Rule::Ours, owner };
        judge_ours(&root.top, owner)?;
        Ok(Some(root))
    }

    /// The same, and creates it.
    pub(super) fn create_shared(path: &Path, owner: u32) -> Result<Self, Concern> {
        match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(Concern::unusable(path, error)),
        }
        let missing = || Concern::unusable(path, io::Error::from(io::ErrorKind::NotFound));
        let root = Self::open_shared(path, owner)?.ok_or_else(missing)?;
        root.check_writable()?;
        Ok(root)
    }

    /// Opens the directory of one digest, if it exists.
    fn directory_of(&self, digest: Digest) -> Result<Option<Directory>, Concern> {
        let hex = digest.to_string();
        let mut names = [ARTIFACTS, prefix(&hex), hex.as_str()].into_iter();
        let Some(first) = names.next() else { return Ok(None) };
        let Some(mut directory) = self.child(&self.top, first)? else { return Ok(None) };
        for name in names {
            let Some(child) = self.child(&directory, name)? else { return Ok(None) };
            directory = child;
        }
        Ok(Some(directory))
    }

    /// Opens the directory of one digest and creates what is missing of it. Nothing is returned
    /// when somebody else removes it meanwhile; the caller tries again.
    pub(super) fn make_directory_of(&self, digest: Digest) -> Result<Option<Directory>, Concern> {
        let hex = digest.to_string();
        let Some(all) = self.make_child(&self.top, ARTIFACTS)? else { return Ok(None) };
        let Some(rack) = self.make_child(&all, prefix(&hex))? else { return Ok(None) };
        self.make_child(&rack, &hex)
    }

    /// Opens a directory of ours at the top, and creates it if it is missing.
    pub(super) fn make_room(&self, name: &str) -> Result<Directory, Concern> {
        let missing = || {
            let path = self.top.path.join(name);
            Concern::unusable(path, io::Error::from(io::ErrorKind::NotFound))
        };
        self.make_child(&self.top, name)?.ok_or_else(missing)
    }

    /// Opens an installed file, if it exists. Its content has yet to be verified.
    pub(super) fn open_artifact(
        &self,
        digest: Digest,
        name: &FileName,
    ) -> Result<Option<Opened>, Concern> {
        let Some(directory) = self.directory_of(digest)? else { return Ok(None) };
        let mut patience = 50;
        loop {
            match self.open_in(&directory, name) {
                Err(concern) if concern.may_pass() && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(concern) => return Err(concern),
                Ok(None) => return Ok(None),
                Ok(Some((file, stamp))) => {
                    let path = directory.path.join(name.as_str());
                    return Ok(Some(Opened { path, directory, file, stamp }));
                }
            }
        }
    }

    fn open_in(
        &self,
        directory: &Directory,
        name: &FileName,
    ) -> Result<Option<(File, Stamp)>, Concern> {
        let path = || directory.path.join(name.as_str());
        // A FIFO must not make us wait for somebody to write to it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::openat(&directory.handle, name.as_str(), flags, Mode::empty());
        let file = match opened {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(Concern::new(path(), Oddity::SymbolicLink)),
            Err(error) => return Err(Concern::unusable(path(), error)),
        };
        let stamp = self.judge_file(&file).map_err(|oddity| Concern::new(path(), oddity))?;
        Ok(Some((file, stamp)))
    }

    /// Checks everything about an installed file that can be checked without reading it.
    fn judge_file(&self, file: &File) -> Result<Stamp, Oddity> {
        let metadata = file.metadata().map_err(unusable)?;
        if !metadata.is_file() {
            return Err(Oddity::NotAFile);
        }
        let mode = metadata.mode() & 0o7777;
        match self.rule {
            Rule::ReadOnly => {
                judge_owner(&metadata, &[0, self.owner])?;
                // Packages and images share identical files between names, so names are not
                // counted; nobody but the owner can write through any of them.
                if mode & (0o6000 | WRITABLE_BY_OTHERS) != 0 {
                    return Err(Oddity::Mode(mode));
                }
                Ok(Stamp::of(&metadata))
            }
            Rule::Ours | Rule::Named => {
                judge_owner(&metadata, &[self.owner])?;
                if metadata.nlink() != 1 {
                    return Err(Oddity::Names(metadata.nlink()));
                }
                if mode == INSTALLED {
                    return Ok(Stamp::of(&metadata));
                }
                // Where others could write, one may still hold the file open for writing, and
                // no change of the mode takes that back.
                if mode & (0o7000 | WRITABLE_BY_OTHERS) != 0 {
                    return Err(Oddity::Mode(mode));
                }
                set_mode(file, INSTALLED)?;
                Ok(Stamp::of(&file.metadata().map_err(unusable)?))
            }
        }
    }

    fn judge_top(&self) -> Result<(), Concern> {
        let refused = |oddity| Concern::new(&self.top.path, oddity);
        let metadata = self.top.metadata()?;
        let mode = metadata.mode() & 0o7777;
        let owners: &[u32] = match self.rule {
            Rule::Ours | Rule::Named => &[self.owner],
            Rule::ReadOnly => &[0, self.owner],
        };
        judge_owner(&metadata, owners).map_err(refused)?;
        match self.rule {
            _ if mode & WRITABLE_BY_OTHERS == 0 => Ok(()),
            Rule::ReadOnly => Err(refused(Oddity::Mode(mode))),
            // Whoever else uses such a directory would lose it.
            Rule::Named if !self.holds_nothing_else()? => Err(refused(Oddity::Mode(mode))),
            // Nobody can move what is ours there, and it may be meant for others too.
            Rule::Named if mode & STICKY != 0 => Ok(()),
            // The reference keeps its files here too, so only what endangers us is changed.
            Rule::Ours | Rule::Named => {
                set_mode(&self.top.handle, mode & !WRITABLE_BY_OTHERS).map_err(refused)
            }
        }
    }

    /// Says whether everything at the top was made by us, or nothing is there.
    fn holds_nothing_else(&self) -> Result<bool, Concern> {
        let failed = |error| Concern::unusable(&self.top.path, error);
        for entry in std::fs::read_dir(&self.top.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_named = super::OURS.iter().any(|ours| entry.file_name() == **ours);
            let owner = entry.metadata().map_err(failed)?.uid();
            if !is_named || owner != self.owner {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_writable(&self) -> Result<(), Concern> {
        rustix::fs::accessat(&self.top.handle, c".", Access::WRITE_OK, AtFlags::EACCESS)
            .map_err(|error| Concern::unusable(&self.top.path, error))
    }

    fn child(&self, parent: &Directory, name: &str) -> Result<Option<Directory>, Concern> {
        let Some(child) = parent.child(name)? else { return Ok(None) };
        match self.rule {
            Rule::Ours | Rule::Named => judge_ours(&child, self.owner)?,
            Rule::ReadOnly => {
                let metadata = child.metadata()?;
                let mode = metadata.mode() & 0o7777;
                let refused = |oddity| Concern::new(&child.path, oddity);
                judge_owner(&metadata, &[0, self.owner]).map_err(refused)?;
                if mode & WRITABLE_BY_OTHERS != 0 {
                    return Err(refused(Oddity::Mode(mode)));
                }
            }
        }
        Ok(Some(child))
    }

    fn make_child(&self, parent: &Directory, name: &str) -> Result<Option<Directory>, Concern> {
        let mode = Mode::RWXU;
        match rustix::fs::mkdirat(&parent.handle, name, mode) {
            Ok(()) | Err(Errno::EXIST) => self.child(parent, name),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Concern::unusable(parent.path.join(name), error)),
        }
    }
}

impl Directory {
    fn open(path: &Path, more: OFlags) -> Result<Option<Self>, Concern> {
        Self::open_at(CWD, path.as_os_str(), path.to_owned(), more)
    }

    fn child(&self, name: &str) -> Result<Option<Self>, Concern> {
        let path = self.path.join(name);
        Self::open_at(self.handle.as_fd(), name.as_ref(), path, OFlags::NOFOLLOW)
    }

    fn open_at(
        parent: std::os::fd::BorrowedFd<'_>,
        name: &std::ffi::OsStr,
        path: PathBuf,
        more: OFlags,
    ) -> Result<Option<Self>, Concern> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | more;
        match rustix::fs::openat(parent, name, flags, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Self { path, handle: File::from(descriptor) })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(Concern::new(path, Oddity::NotADirectory)),
            Err(error) => Err(Concern::unusable(path, error)),
        }
    }

    fn metadata(&self) -> Result<Metadata, Concern> {
        self.handle.metadata().map_err(|error| Concern::unusable(&self.path, error))
    }
}

/// Checks a directory below our own root, and makes it private where only that is missing.
fn judge_ours(directory: &Directory, owner: u32) -> Result<(), Concern> {
    let refused = |oddity| Concern::new(&directory.path, oddity);
    let metadata = directory.metadata()?;
    judge_owner(&metadata, &[owner]).map_err(refused)?;
    if metadata.mode() & 0o7777 == PRIVATE {
        return Ok(());
    }
    set_mode(&directory.handle, PRIVATE).map_err(refused)
}

/// Refuses a shared directory in which others could move ours aside.
fn check_sticky(path: &Path, owner: u32) -> Result<(), Concern> {
    let metadata = std::fs::metadata(path).map_err(|error| Concern::unusable(path, error))?;
    let refused = |oddity| Concern::new(path, oddity);
    judge_owner(&metadata, &[0, owner]).map_err(refused)?;
    let mode = metadata.mode();
    if mode & WRITABLE_BY_OTHERS != 0 && mode & STICKY == 0 {
        return Err(refused(Oddity::Shared));
    }
    Ok(())
}

fn judge_owner(metadata: &Metadata, owners: &[u32]) -> Result<(), Oddity> {
    if owners.contains(&metadata.uid()) { Ok(()) } else { Err(Oddity::Owner(metadata.uid())) }
}

/// Sets a mode and makes sure that it is set: some file systems accept and ignore it.
pub(super) fn set_mode(file: &File, mode: u32) -> Result<(), Oddity> {
    file.set_permissions(Permissions::from_mode(mode)).map_err(unusable)?;
    let actual = file.metadata().map_err(unusable)?.mode() & 0o7777;
    if actual == mode { Ok(()) } else { Err(Oddity::Mode(actual)) }
}

fn unusable(error: io::Error) -> Oddity {
    Oddity::Unusable(Arc::new(error))
}

/// Returns the first two digits, the name of the shelf.
pub(super) fn prefix(hex: &str) -> &str {
    hex.get(..2).unwrap_or_default()
}

/// The name of an artifact's file: one legal component of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileName(ToolName);

impl FileName {
    /// Accepts what a tool, or dbt itself, can be called.
    pub(super) fn new(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// What the file system says of a file: if any of it differs, somebody has touched the file, or
/// it is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    pub(super) length: u64,
    mode: u32,
    owner: u32,
    names: u64,
    modified: (i64, i64),
    pub(super) changed: (i64, i64),
    /// When the file was created, where the file system keeps that.
    born: Option<Duration>,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            mode: metadata.mode(),
            owner: metadata.uid(),
            names: metadata.nlink(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            born: metadata.created().ok().and_then(|time| time.duration_since(epoch).ok()),
        }
    }

    /// Says whether both are of the same file with the same content, whatever else was done to
    /// it: installing changes mode and name.
    pub(super) fn same_content(&self, other: &Self) -> bool {
        self.is_same_file(other) && (self.length, self.modified) == (other.length, other.modified)
    }

    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    pub(super) const fn identity(&self) -> (u64, u64) {
        (self.device, self.inode)
    }
}
