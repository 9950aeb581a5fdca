//! What the system's number of an error means, where what follows depends on it.
//!
//! The library's kinds do not tell all of them apart, and systems number them differently.

use std::io;

/// What an error of the system means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// There is something of that name.
    Exists,
    /// There is nothing of that name.
    Missing,
    /// A symbolic link is where none is followed.
    Link,
    /// Something else is where a directory is due.
    NotADirectory,
    /// A directory is where something else is due.
    IsADirectory,
    /// It may not be done to this, by whomever. On Windows also what the rights forbid: both have one
    /// number there.
    NotPermitted,
    /// The rights forbid it.
    Denied,
    /// It cannot be done in this way.
    Invalid,
    /// It cannot be done here.
    Unsupported,
    /// The file has as many names as it can have.
    TooManyLinks,
    /// It is nothing that the system can execute.
    NotAProgram,
    /// This machine has nothing left to do it with.
    Shortage,
    /// The disk is full, or the part of it that one may use.
    Full,
    /// Something else, or nothing that the system has said.
    Other,
}

impl Cause {
    /// Says what an error means.
    pub fn of(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::Other, Self::of_number)
    }

    /// Returns the error of what is not there, as the system would.
    pub fn missing() -> io::Error {
        // `ENOENT` and `ERROR_FILE_NOT_FOUND` are one number.
        io::Error::from_raw_os_error(2)
    }

    /// Says whether this is what an error means.
    pub fn explains(self, error: &io::Error) -> bool {
        Self::of(error) == self
    }

    #[cfg(unix)]
    fn of_number(number: i32) -> Self {
        match number {
            libc::EEXIST => Self::Exists,
            libc::ENOENT => Self::Missing,
            libc::ELOOP => Self::Link,
            libc::ENOTDIR => Self::NotADirectory,
            libc::EISDIR => Self::IsADirectory,
            libc::EPERM => Self::NotPermitted,
            libc::EACCES => Self::Denied,
            libc::EINVAL => Self::Invalid,
            libc::ENOSYS | libc::EOPNOTSUPP => Self::Unsupported,
            libc::EMLINK => Self::TooManyLinks,
            libc::ENOEXEC => Self::NotAProgram,
            libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE => Self::Shortage,
            libc::ENOSPC | libc::EDQUOT => Self::Full,
            _ => Self::Other,
        }
    }

    /// (`winerror.h`.)
    #[cfg(windows)]
    fn of_number(number: i32) -> Self {
        match number {
            80 | 183 => Self::Exists,
            2 | 3 => Self::Missing,
            STOPPED_ON_LINK => Self::Link,
            NO_DIRECTORY => Self::NotADirectory,
            5 => Self::NotPermitted,
            87 => Self::Invalid,
            1 | 50 => Self::Unsupported,
            1142 => Self::TooManyLinks,
            11 | 193 | 216 => Self::NotAProgram,
            4 | 8 | 14 | 1450 | 1455 => Self::Shortage,
            39 | 112 => Self::Full,
            _ => Self::Other,
        }
    }
}

/// `ERROR_STOPPED_ON_SYMLINK`.
#[cfg(windows)]
pub(crate) const STOPPED_ON_LINK: i32 = 681;

/// `ERROR_DIRECTORY`.
#[cfg(windows)]
pub(crate) const NO_DIRECTORY: i32 = 267;

/// `ERROR_SHARING_VIOLATION`: somebody has the file open in a way that excludes this one.
#[cfg(windows)]
pub(crate) const IN_USE: i32 = 32;

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_the_kinds_of_the_library_mix_is_told_apart() {
        let of = |number| Cause::of(&io::Error::from_raw_os_error(number));
        assert_eq!((of(libc::EPERM), of(libc::EACCES)), (Cause::NotPermitted, Cause::Denied));
        assert_eq!(of(libc::ELOOP), Cause::Link);
        assert_eq!(Cause::of(&io::Error::other("words")), Cause::Other);
    }
}
