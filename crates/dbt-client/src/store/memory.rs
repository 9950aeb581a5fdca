//! Files in memory that nobody can change any more: for tools that must not be exchanged under
//! any circumstances, and for machines on which nothing can be written (Linux only).

use std::fs::File;
use std::io;

use dbt_core::digest::Digest;

/// Creates an empty file in memory. `name` appears in `/proc/self/exe` of what is executed from
/// it.
#[cfg(target_os = "linux")]
pub(crate) fn create(name: &str) -> io::Result<File> {
    use rustix::fs::MemfdFlags;

    let flags = MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC;
    // Kernels since 6.3 want to be told; older ones refuse the flag they do not know.
    let created = rustix::fs::memfd_create(name, flags | MemfdFlags::EXEC)
        .or_else(|_older| rustix::fs::memfd_create(name, flags));
    Ok(File::from(created?))
}

/// Takes away every way of changing the file, whoever has it open.
#[cfg(target_os = "linux")]
pub(crate) fn seal(file: &File) -> io::Result<()> {
    use rustix::fs::SealFlags;

    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}

/// There are no such files here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn create(_name: &str) -> io::Result<File> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no sealed memory"))
}

/// There are no such files here.
#[cfg(not(target_os = "linux"))]
pub(crate) fn seal(_file: &File) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no sealed memory"))
}

/// Seals the file and says whether what it then holds has this digest.
///
/// It is read after sealing: the same user could have written to it until then.
pub(crate) fn seal_and_compare(file: &File, digest: Digest) -> io::Result<bool> {
    use std::io::Seek as _;

    seal(file)?;
    let mut reader = file;
    reader.rewind()?;
    let (actual, _length) = Digest::of_reader(&mut reader)?;
    Ok(actual == digest)
}
