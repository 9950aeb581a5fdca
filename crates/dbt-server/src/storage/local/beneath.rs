//! Opening files beneath a root directory, and never anywhere else.
//!
//! Every open starts at the root's descriptor and follows no symbolic link, whoever made it and
//! however fast it is swapped. On Linux the kernel does this in one call (`openat2`); where that
//! call does not exist or is forbidden, each segment is opened by itself.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use dbt_core::repo_path::RepoPath;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

/// Flags for looking at a directory.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// What every open adds: no link at the end, no waiting for a pipe's other end, no terminal.
const SAFE: OFlags =
    OFlags::CLOEXEC.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What directories are made with, so that other servers can serve the same tree. The process's
/// umask may take from that.
pub(super) const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// What becomes of a rename to a name that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It fails.
    Fails,
    /// What is there goes. A directory is only replaced if it is empty.
    IsReplaced,
}

fn split(path: &RepoPath) -> io::Result<(RepoPath, &str)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// A directory that is the root of everything opened through it.
#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    way: Way,
    /// Whether a look at what is in memory never waits for another machine.
    is_local: bool,
}

/// How paths are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    #[cfg(target_os = "linux")]
    Kernel,
    Segments,
}

impl Root {
    /// Opens the root itself. Links in the path *to* it are the administrator's and are followed.
    pub(super) fn open_root(path: &Path) -> io::Result<Self> {
        let directory = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        let way = best_way(directory.as_fd());
        let is_local = is_local(directory.as_fd());
        Ok(Self { directory, way, is_local })
    }

    /// Opens what is at a path for reading, if that needs no waiting: the kernel has the whole way
    /// in memory, and all of it is on the root's own file system, which is one of this machine.
    /// Otherwise nothing, whatever is there: [`Root::open`] says that.
    #[cfg(target_os = "linux")]
    pub(super) fn open_at_once(&self, path: &RepoPath) -> Option<File> {
        use rustix::fs::ResolveFlags;
        if !self.is_local || self.way != Way::Kernel || path.is_root() {
            return None;
        }
        let at_once = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
        let flags = OFlags::RDONLY | SAFE;
        open_by_kernel(self.directory.as_fd(), path.as_str(), flags, at_once).ok().map(File::from)
    }

    /// As on Linux, where no call of the system can do it.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn open_at_once(&self, _path: &RepoPath) -> Option<File> {
        None
    }

    /// Opens what is at a path for reading.
    pub(super) fn open(&self, path: &RepoPath) -> io::Result<File> {
        self.open_with(path, OFlags::RDONLY | SAFE).map(File::from)
    }

    /// Opens a file of ours for writing at its end.
    pub(super) fn open_to_append(&self, path: &RepoPath) -> io::Result<File> {
        self.open_with(path, OFlags::WRONLY | OFlags::APPEND | SAFE).map(File::from)
    }

    /// Opens the directory at a path.
    pub(super) fn open_directory(&self, path: &RepoPath) -> io::Result<OwnedFd> {
        self.open_with(path, DIRECTORY | SAFE)
    }

    /// Opens the directory at a path, making it and those above it where they are missing.
    ///
    /// A directory that was made is on the disk, entry and all, before this returns.
    pub(super) fn make_directories(&self, path: &RepoPath, mode: Mode) -> io::Result<OwnedFd> {
        match self.open_directory(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut current = self.directory.try_clone()?;
        for segment in path.segments() {
            let is_new = match rustix::fs::mkdirat(&current, segment, mode) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            let next = rustix::fs::openat(&current, segment, DIRECTORY | SAFE, Mode::empty())?;
            if is_new {
                rustix::fs::fsync(&current)?;
            }
            current = next;
        }
        Ok(current)
    }

    /// Gives a file or a directory another path. The directory it goes to is made; when this
    /// returns, both directories are on the disk.
    pub(super) fn rename(&self, from: &RepoPath, to: &RepoPath, taken: Taken) -> io::Result<()> {
        let (from_parent, from_name) = split(from)?;
        let (to_parent, to_name) = split(to)?;
        let source = self.open_directory(&from_parent)?;
        let target = self.make_directories(&to_parent, DIRECTORY_MODE)?;
        match taken {
            Taken::IsReplaced => rustix::fs::renameat(&source, from_name, &target, to_name)?,
            Taken::Fails => {
                rename_without_replacing(source.as_fd(), from_name, target.as_fd(), to_name)?;
            }
        }
        rustix::fs::fsync(&target)?;
        if from_parent != to_parent {
            rustix::fs::fsync(&source)?;
        }
        Ok(())
    }

    /// Gives a file a second name.
    pub(super) fn link(&self, from: &RepoPath, to: &RepoPath) -> io::Result<()> {
        let ((from_parent, from_name), (to_parent, to_name)) = (split(from)?, split(to)?);
        let source = self.open_directory(&from_parent)?;
        let target = self.open_directory(&to_parent)?;
        match rustix::fs::linkat(&source, from_name, &target, to_name, AtFlags::empty()) {
            // It was linked before the program ended.
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets two directories change places in one step; says whether that is possible here.
    pub(super) fn exchange(&self, one: &RepoPath, other: &RepoPath) -> io::Result<bool> {
        let ((one_parent, one_name), (other_parent, other_name)) = (split(one)?, split(other)?);
        let one = self.open_directory(&one_parent)?;
        let other = self.open_directory(&other_parent)?;
        match exchanged(one.as_fd(), one_name, other.as_fd(), other_name) {
            Ok(()) => {}
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    /// Puts the directory around a path on the disk.
    pub(super) fn flush_around(&self, path: &RepoPath) -> io::Result<()> {
        let (parent, _name) = split(path)?;
        Ok(rustix::fs::fsync(self.open_directory(&parent)?)?)
    }

    /// Returns the names in a directory, with what each is; none if there is no directory.
    pub(super) fn entries(&self, path: &RepoPath) -> io::Result<Vec<(String, FileType)>> {
        let directory = match self.open_directory(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut entries = Vec::new();
        for entry in rustix::fs::Dir::read_from(&directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name == "." || name == ".." {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let looked = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                kind = FileType::from_raw_mode(looked.st_mode);
            }
            entries.push((name.to_owned(), kind));
        }
        entries.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(entries)
    }

    /// Removes what is at a path, with everything below. Nothing there is no error.
    pub(super) fn remove(&self, path: &RepoPath) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        let directory = match self.open_directory(&parent) {
            Ok(directory) => directory,
            Err(error) if gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let c_name = std::ffi::CString::new(name)?;
        match super::private::remove_all(&directory, &c_name, FileType::Unknown) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Reads a small file of ours.
    pub(super) fn read(&self, path: &RepoPath) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.open(path)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file that only we may read, and makes the directories above it.
    pub(super) fn write_private(&self, path: &RepoPath, bytes: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = self.make_directories(&parent, Mode::from(0o700))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | SAFE;
        let mut file = File::from(rustix::fs::openat(&directory, name, flags, Mode::from(0o600))?);
        io::Write::write_all(&mut file, bytes)?;
        file.sync_all()
    }

    /// Makes a file as old as this moment.
    pub(super) fn touch(&self, path: &RepoPath) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let directory = self.open_directory(&parent)?;
        let now = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        Ok(rustix::fs::utimensat(&directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn open_with(&self, path: &RepoPath, flags: OFlags) -> io::Result<OwnedFd> {
        match self.way {
            #[cfg(target_os = "linux")]
            Way::Kernel => {
                let name = if path.is_root() { "." } else { path.as_str() };
                let further = rustix::fs::ResolveFlags::empty();
                Ok(open_by_kernel(self.directory.as_fd(), name, flags, further)?)
            }
            Way::Segments => Ok(self.open_by_segments(path, flags)?),
        }
    }

    fn open_by_segments(&self, path: &RepoPath, flags: OFlags) -> Result<OwnedFd, Errno> {
        let Some(name) = path.file_name() else {
            return rustix::fs::openat(&self.directory, ".", flags, Mode::empty());
        };
        let mut current: Option<OwnedFd> = None;
        let parent = path.parent().unwrap_or_else(RepoPath::root);
        for segment in parent.segments() {
            let here = current.as_ref().unwrap_or(&self.directory);
            current = Some(rustix::fs::openat(here, segment, DIRECTORY | SAFE, Mode::empty())?);
        }
        let here = current.as_ref().unwrap_or(&self.directory);
        rustix::fs::openat(here, name, flags, Mode::empty())
    }

    #[cfg(test)]
    fn walking_by_segments(mut self) -> Self {
        self.way = Way::Segments;
        self
    }
}

#[cfg(target_os = "linux")]
fn open_by_kernel(
    root: BorrowedFd<'_>,
    name: &str,
    flags: OFlags,
    further: rustix::fs::ResolveFlags,
) -> Result<OwnedFd, Errno> {
    use rustix::fs::ResolveFlags;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, name, flags, Mode::empty(), resolve | further)
}

/// Says whether a directory is on a file system that asks no other machine and no program.
#[cfg(target_os = "linux")]
fn is_local(directory: BorrowedFd<'_>) -> bool {
    /// ext2 to ext4, XFS, Btrfs, tmpfs, ramfs, overlayfs, F2FS, ZFS, bcachefs (`man 2 statfs`, and
    /// `include/uapi/linux/magic.h` of Linux).
    const LOCAL: [u32; 9] = [
        0xEF53,
        0x5846_5342,
        0x9123_683E,
        0x0102_1994,
        0x8584_58F6,
        0x794C_7630,
        0xF2F5_2010,
        0x2FC1_2FC1,
        0xCA45_1A4E,
    ];
    let kind = rustix::fs::fstatfs(directory).map(|found| u32::try_from(found.f_type));
    matches!(kind, Ok(Ok(kind)) if LOCAL.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn is_local(_directory: BorrowedFd<'_>) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn best_way(root: BorrowedFd<'_>) -> Way {
    match open_by_kernel(root, ".", DIRECTORY, rustix::fs::ResolveFlags::empty()) {
        Ok(_opened) => Way::Kernel,
        // Old kernels do not have the call; some sandboxes forbid it.
        Err(_missing) => Way::Segments,
    }
}

#[cfg(not(target_os = "linux"))]
fn best_way(_root: BorrowedFd<'_>) -> Way {
    Way::Segments
}

#[cfg(target_os = "linux")]
fn exchanged(from: BorrowedFd<'_>, old: &str, to: BorrowedFd<'_>, new: &str) -> Result<(), Errno> {
    rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::EXCHANGE)
}

#[cfg(not(target_os = "linux"))]
fn exchanged(
    _from: BorrowedFd<'_>,
    _old: &str,
    _to: BorrowedFd<'_>,
    _new: &str,
) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Says whether an error means that a part of the path is not a directory, links included.
pub(super) fn is_not_a_directory(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotADirectory)
        || error.raw_os_error() == Some(Errno::LOOP.raw_os_error())
}

/// Gives a file a new name only if nothing has that name yet. Of several that try, one succeeds.
pub(super) fn rename_without_replacing(
    from: BorrowedFd<'_>,
    old: &str,
    to: BorrowedFd<'_>,
    new: &str,
) -> Result<(), Errno> {
    #[cfg(target_os = "linux")]
    match rustix::fs::renameat_with(from, old, to, new, rustix::fs::RenameFlags::NOREPLACE) {
        // Not every file system can; all of them can link.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
        other => return other,
    }
    match rustix::fs::linkat(from, old, to, new, AtFlags::empty()) {
        Ok(()) => rustix::fs::unlinkat(from, old, AtFlags::empty()),
        // A directory. It can only take the place of an empty one, and nothing is lost by that.
        Err(Errno::PERM) => rustix::fs::renameat(from, old, to, new).map_err(|error| match error {
            Errno::NOTEMPTY => Errno::EXIST,
            other => other,
        }),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    /// Runs a check with both ways of walking.
    fn both_ways(check: impl Fn(Root, &Path)) {
        for by_segments in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let root = Root::open_root(directory.path()).unwrap();
            let root = if by_segments { root.walking_by_segments() } else { root };
            check(root, directory.path());
        }
    }

    #[test]
    fn files_and_directories_are_opened_and_made() {
        both_ways(|root, directory| {
            drop(root.make_directories(&path("a/b/c"), Mode::from(0o755)).unwrap());
            std::fs::write(directory.join("a/b/c/file"), "x").unwrap();
            assert!(root.open(&path("a/b/c/file")).unwrap().metadata().unwrap().is_file());
            assert!(root.open(&RepoPath::root()).unwrap().metadata().unwrap().is_dir());
            let error = root.open(&path("a/missing")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            assert!(is_not_a_directory(&root.open(&path("a/b/c/file/d")).unwrap_err()));
            let error =
                root.make_directories(&path("a/b/c/file/d"), Mode::from(0o755)).unwrap_err();
            assert!(is_not_a_directory(&error), "{error}");
        });
    }

    #[test]
    fn no_link_is_followed_anywhere_in_a_path() {
        both_ways(|root, directory| {
            let outside = tempfile::tempdir().unwrap();
            std::fs::write(outside.path().join("secret"), "x").unwrap();
            std::fs::create_dir(directory.join("real")).unwrap();
            std::fs::write(directory.join("real/file"), "x").unwrap();
            symlink(outside.path(), directory.join("out")).unwrap();
            symlink("../../../../../../etc", directory.join("up")).unwrap();
            symlink("real", directory.join("inside")).unwrap();
            symlink("/proc/self/root", directory.join("magic")).unwrap();

            for text in ["out", "out/secret", "up/passwd", "inside/file", "magic/etc/passwd"] {
                assert!(root.open(&path(text)).is_err(), "{text}");
                assert!(root.make_directories(&path(text), Mode::from(0o755)).is_err(), "{text}");
            }
            assert!(root.open(&path("real/file")).is_ok());
            assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
        });
    }

    #[test]
    fn a_pipe_is_opened_without_waiting() {
        both_ways(|root, directory| {
            rustix::fs::mkfifoat(rustix::fs::CWD, directory.join("pipe"), Mode::from(0o600))
                .unwrap();
            assert!(!root.open(&path("pipe")).unwrap().metadata().unwrap().is_file());
        });
    }

    #[test]
    fn a_name_that_is_taken_is_not_replaced() {
        both_ways(|root, directory| {
            std::fs::write(directory.join("new"), "new").unwrap();
            std::fs::write(directory.join("old"), "old").unwrap();
            let fd = root.directory.as_fd();
            assert_eq!(rename_without_replacing(fd, "new", fd, "old"), Err(Errno::EXIST));
            assert_eq!(std::fs::read(directory.join("old")).unwrap(), b"old");
            rename_without_replacing(fd, "new", fd, "free").unwrap();
            assert_eq!(std::fs::read(directory.join("free")).unwrap(), b"new");
        });
    }
}
