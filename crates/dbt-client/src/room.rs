//! Whether there is room for a download, asked before it begins: a full disk is found out at once,
//! and not by filling what is left of it.

use std::fs::File;
use std::io;

/// Asks for room for a file of this length, and reserves it where that can be done.
///
/// The only errors are those of a full disk and of a quota that is used up. Whatever else a file
/// system answers says nothing about room.
#[cfg(unix)]
pub(crate) fn reserve(file: &File, length: u64) -> io::Result<()> {
    use rustix::io::Errno;

    let system = rustix::fs::fstatvfs(file).ok().filter(|system| system.f_blocks > 0);
    let has = |blocks: u64, size: u64| blocks.saturating_mul(size) >= length;
    // What nobody could write is not reserved: some file systems fill themselves trying.
    if system.as_ref().is_some_and(|system| !has(system.f_bfree, system.f_frsize)) {
        return Err(Errno::NOSPC.into());
    }
    match allocate(file, length) {
        Ok(()) => Ok(()),
        // The quota is known to who keeps it alone.
        Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
        Err(_cannot) if system.is_some_and(|system| !has(system.f_bavail, system.f_frsize)) => {
            Err(Errno::NOSPC.into())
        }
        Err(_cannot) => Ok(()),
    }
}

/// The file keeps its length: how much of it has arrived is still to be seen.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn allocate(file: &File, length: u64) -> rustix::io::Result<()> {
    use rustix::fs::FallocateFlags;

    rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, length)
}

#[cfg(all(unix, not(any(target_os = "linux", target_os = "android"))))]
fn allocate(_file: &File, _length: u64) -> rustix::io::Result<()> {
    Err(rustix::io::Errno::OPNOTSUPP)
}

#[cfg(not(unix))]
pub(crate) fn reserve(_file: &File, _length: u64) -> io::Result<()> {
    Ok(())
}
