//! The side of Unix: each function is one call of the system.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::fs::{Timespec, Timestamps, UTIME_NOW};

use super::{Directory, Facts, Links};

/// The mode of a directory that is ours alone.
const PRIVATE: Mode = Mode::RWXU;

/// The mode of a file that only we may read.
const SECRET: Mode = Mode::RUSR.union(Mode::WUSR);

pub(super) fn open_directory(path: &Path, links: Links) -> io::Result<File> {
    let more = match links {
        Links::Followed => OFlags::empty(),
        Links::Refused => OFlags::NOFOLLOW,
    };
    open_directory_at(CWD, path, more)
}

pub(super) fn open_child(parent: &Directory, name: &str) -> io::Result<File> {
    open_directory_at(parent.handle.as_fd(), Path::new(name), OFlags::NOFOLLOW)
}

fn open_directory_at(parent: BorrowedFd<'_>, path: &Path, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | more;
    Ok(File::from(rustix::fs::openat(parent, path, flags, Mode::empty())?))
}

pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(CWD, path, PRIVATE)?)
}

pub(super) fn make_child(parent: &Directory, name: &str) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(&parent.handle, name, PRIVATE)?)
}

pub(super) fn open_file(directory: &Directory, name: &str) -> io::Result<File> {
    // A FIFO must not make us wait for somebody to write to it.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::openat(&directory.handle, name, flags, Mode::empty())?))
}

pub(super) fn create_file(directory: &Directory, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(File::from(rustix::fs::openat(&directory.handle, name, flags, SECRET)?))
}

#[cfg(target_os = "linux")]
pub(super) fn create_unnamed(directory: &Directory) -> Option<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&directory.handle, c".", flags, SECRET).ok()?);
    // It gets its name by way of `/proc`, which a container may lack.
    let by_number = std::fs::metadata(by_number(&file)).ok()?;
    let itself = file.metadata().ok()?;
    ((by_number.dev(), by_number.ino()) == (itself.dev(), itself.ino())).then_some(file)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn create_unnamed(_directory: &Directory) -> Option<File> {
    None
}

/// Returns the path under which the kernel knows an open file of ours.
fn by_number(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

pub(super) fn reopen(file: &File) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(by_number(file), flags, Mode::empty())?))
}

pub(super) fn name_unnamed(file: &File, directory: &Directory, name: &str) -> io::Result<()> {
    let (unnamed, flags) = (by_number(file), AtFlags::SYMLINK_FOLLOW);
    Ok(rustix::fs::linkat(CWD, unnamed, &directory.handle, name, flags)?)
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(super) fn move_to_new(
    from: &Directory,
    name: &str,
    to: &Directory,
    new: &str,
) -> io::Result<()> {
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    Ok(rustix::fs::renameat_with(&from.handle, name, &to.handle, new, flags)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(super) fn move_to_new(_: &Directory, _: &str, _: &Directory, _: &str) -> io::Result<()> {
    Err(rustix::io::Errno::NOSYS.into())
}

pub(super) fn move_over(from: &Directory, name: &str, to: &Directory, new: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat(&from.handle, name, &to.handle, new)?)
}

pub(super) fn link(from: &Directory, name: &str, to: &Directory, new: &str) -> io::Result<()> {
    Ok(rustix::fs::linkat(&from.handle, name, &to.handle, new, AtFlags::empty())?)
}

pub(super) fn remove_file(directory: &Directory, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(&directory.handle, name, AtFlags::empty())?)
}

pub(super) fn remove_directory(directory: &Directory, name: &str) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(&directory.handle, name, AtFlags::REMOVEDIR)?)
}

pub(super) fn check_writable(directory: &Directory) -> io::Result<()> {
    let handle = &directory.handle;
    Ok(rustix::fs::accessat(handle, c".", Access::WRITE_OK, AtFlags::EACCESS)?)
}

pub(super) fn touch(directory: &Directory) -> io::Result<()> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    Ok(rustix::fs::futimens(&directory.handle, &times)?)
}

pub(super) fn facts_of(file: &File) -> io::Result<Facts> {
    file.metadata().map(|metadata| facts(&metadata))
}

pub(super) fn facts_of_name(path: &Path) -> io::Result<Facts> {
    std::fs::symlink_metadata(path).map(|metadata| facts(&metadata))
}

pub(super) fn facts_of_path(path: &Path) -> io::Result<Facts> {
    std::fs::metadata(path).map(|metadata| facts(&metadata))
}

fn facts(metadata: &Metadata) -> Facts {
    Facts {
        is_file: metadata.is_file(),
        device: metadata.dev(),
        number: metadata.ino(),
        length: metadata.len(),
        mode: metadata.mode(),
        owner: metadata.uid(),
        names: metadata.nlink(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        created: metadata.created().ok(),
    }
}

pub(super) fn us() -> u32 {
    static US: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *US.get_or_init(|| rustix::process::geteuid().as_raw())
}

pub(super) fn open_without_links(path: &Path) -> io::Result<File> {
    without_links().read(true).open(path)
}

pub(super) fn append_without_links(path: &Path) -> io::Result<File> {
    without_links().append(true).create(true).open(path)
}

pub(super) fn open_lock(path: &Path) -> io::Result<File> {
    without_links().read(true).write(true).create(true).truncate(false).open(path)
}

/// What is made is only ours to read.
fn without_links() -> OpenOptions {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(flags.bits().cast_signed());
    options
}

pub(super) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

#[cfg(not(target_vendor = "apple"))]
pub(super) fn forbids_execution(file: &File) -> bool {
    use rustix::fs::StatVfsMountFlags;

    rustix::fs::fstatvfs(file).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The same on macOS, whose `fstatvfs` does not say it.
#[cfg(target_vendor = "apple")]
pub(super) fn forbids_execution(file: &File) -> bool {
    /// `sys/mount.h`
    const MNT_NOEXEC: u32 = 0x4;

    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_flags & MNT_NOEXEC != 0)
}

pub(super) fn can_work_in(directory: &Path) -> bool {
    rustix::fs::access(directory, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

pub(super) fn can_read(path: &Path) -> bool {
    rustix::fs::access(path, Access::READ_OK).is_ok()
}

pub(super) fn is_held_as_a_program(_path: &Path) -> bool {
    false
}
