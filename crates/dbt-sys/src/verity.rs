//! fs-verity: the kernel keeps a file as it is, and says in one call what it is.
//!
//! Once enabled it cannot be disabled. Nobody can write to the file, root included, and every page
//! that is read is compared with a tree of hashes; the digest of that tree stands for the content.

use std::fs::File;
use std::io;

/// The digest of a file's tree of SHA-256 hashes. It is not the file's SHA-256.
pub type Measurement = [u8; 32];

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::os::fd::AsRawFd as _;

    use super::{File, Measurement, io};

    /// `FS_IOC_ENABLE_VERITY` and `FS_IOC_MEASURE_VERITY` where the numbers of controls are made
    /// the usual way: on everything but MIPS, PowerPC and SPARC, whose kernels answer that they
    /// do not know these.
    const ENABLE: u64 = 0x4080_6685;
    const MEASURE: u64 = 0xC004_6686;

    const SHA256: u32 = 1;
    const VERSION: u32 = 1;
    /// The one block size that every kernel and file system with fs-verity has.
    const BLOCK: u32 = 4096;

    /// `struct fsverity_enable_arg`: neither salt nor signature.
    #[repr(C)]
    struct Enable {
        version: u32,
        algorithm: u32,
        block: u32,
        salt_size: u32,
        salt: u64,
        signature_size: u32,
        reserved: u32,
        signature: u64,
        more_reserved: [u64; 11],
    }

    /// `struct fsverity_digest`, with room for the longest digest there is.
    #[repr(C)]
    struct Measure {
        algorithm: u16,
        size: u16,
        digest: [u8; 64],
    }

    pub(super) fn enable(file: &File) -> io::Result<()> {
        let argument = Enable {
            version: VERSION,
            algorithm: SHA256,
            block: BLOCK,
            salt_size: 0,
            salt: 0,
            signature_size: 0,
            reserved: 0,
            signature: 0,
            more_reserved: [0; 11],
        };
        // SAFETY: the descriptor is open; the argument is the structure of 128 bytes that this
        // control reads, lives until the call returns, and has no pointers but null.
        let outcome = unsafe {
            libc::syscall(libc::SYS_ioctl, file.as_raw_fd(), ENABLE, std::ptr::from_ref(&argument))
        };
        if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    pub(super) fn measure(file: &File) -> io::Result<Option<Measurement>> {
        let mut answer = Measure { algorithm: 0, size: 64, digest: [0; 64] };
        // SAFETY: the descriptor is open; the kernel writes at most the `size` bytes that follow
        // the two numbers, which are ours and live until the call returns.
        let outcome = unsafe {
            libc::syscall(
                libc::SYS_ioctl,
                file.as_raw_fd(),
                MEASURE,
                std::ptr::from_mut(&mut answer),
            )
        };
        if outcome != 0 {
            let error = io::Error::last_os_error();
            return if error.raw_os_error() == Some(libc::ENODATA) { Ok(None) } else { Err(error) };
        }
        let Measure { algorithm, size, digest } = answer;
        if u32::from(algorithm) != SHA256 || size != 32 {
            return Ok(None);
        }
        Ok(digest.first_chunk().copied())
    }
}

/// Lets the kernel keep this file as it is, for ever.
///
/// The file must be open for reading only, here and everywhere else, and its mode must let us
/// write.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn enable(file: &File) -> io::Result<()> {
    linux::enable(file)
}

/// Returns what the kernel keeps the file as, or nothing where it keeps no watch over this file
/// or does so in a way we do not use. An error says that it cannot on this file system.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub fn measure(file: &File) -> io::Result<Option<Measurement>> {
    linux::measure(file)
}

/// Cannot be done on this system: says so.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn enable(_file: &File) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

/// Cannot be done on this system: says so.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub fn measure(_file: &File) -> io::Result<Option<Measurement>> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    // Files that are kept by the kernel are tested in a machine of their own, as few kernels and
    // file systems have it: `crates/dbt-cli/tests/long/verity.rs`.
    #[test]
    fn what_has_no_content_to_keep_is_refused_in_both_ways() {
        let processes = File::open("/proc").unwrap();
        assert!(enable(&processes).is_err());
        assert!(measure(&processes).is_err());
    }
}
