//! Files and directories as a store of programs needs them: what is below an open directory is
//! reached through it and never through a link, and what the system says of a file tells it from
//! every other one.
//!
//! On Unix every function here is one system call with the flags that matter. Windows has no such
//! calls: there an open directory is held so that nobody can rename or remove it or what is above
//! it, and what is below is reached by its path, which is why it still leads there.
//!
//! What belongs to whom is looked at on Unix alone. On Windows everything of ours lies in the user's
//! profile, which the system keeps for him, and is shown here as owned by us with the mode that is
//! due.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// An open directory, and its path for words and for executing.
#[derive(Debug)]
pub struct Directory {
    /// Where it is.
    pub path: PathBuf,
    handle: File,
}

impl Directory {
    /// Opens a directory; links on the way to it are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::of(path.to_owned(), system::open_directory(path, Links::Followed))
    }

    /// Opens a directory; a link in its place is refused.
    pub fn open_itself(path: &Path) -> io::Result<Self> {
        Self::of(path.to_owned(), system::open_directory(path, Links::Refused))
    }

    /// Opens a directory in this one; a link in its place is refused.
    pub fn child(&self, name: &str) -> io::Result<Self> {
        Self::of(self.path.join(name), system::open_child(self, name))
    }

    fn of(path: PathBuf, opened: io::Result<File>) -> io::Result<Self> {
        opened.map(|handle| Self { path, handle })
    }

    /// Returns the directory itself.
    pub const fn file(&self) -> &File {
        &self.handle
    }

    /// Makes a directory in this one that is ours alone.
    pub fn make(&self, name: &str) -> io::Result<()> {
        system::make_child(self, name)
    }

    /// Opens a file in this directory for reading, and does not wait for what is no file; a link in
    /// its place is refused.
    pub fn open_file(&self, name: &str) -> io::Result<File> {
        system::open_file(self, name)
    }

    /// Makes a file that only we may read, for reading and writing; nothing may have its name.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        system::create_file(self, name)
    }

    /// Makes such a file without a name, where that can be done and it can get one later.
    pub fn create_unnamed(&self) -> Option<File> {
        system::create_unnamed(self)
    }

    /// Gives a file without a name one in this directory, which nothing may have.
    pub fn name_unnamed(&self, file: &File, name: &str) -> io::Result<()> {
        system::name_unnamed(file, self, name)
    }

    /// Moves a file to a name that nothing may have.
    pub fn move_to_new(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        system::move_to_new(self, name, to, new)
    }

    /// Moves a file to a name, replacing what has it.
    pub fn move_over(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        system::move_over(self, name, to, new)
    }

    /// Gives a file a second name, which nothing may have.
    pub fn link(&self, name: &str, to: &Self, new: &str) -> io::Result<()> {
        system::link(self, name, to, new)
    }

    /// Removes a name of a file.
    pub fn remove_file(&self, name: &str) -> io::Result<()> {
        system::remove_file(self, name)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&self, name: &str) -> io::Result<()> {
        system::remove_directory(self, name)
    }

    /// Fails where files cannot be made here.
    pub fn check_writable(&self) -> io::Result<()> {
        system::check_writable(self)
    }

    /// Sets its times to now.
    pub fn touch(&self) -> io::Result<()> {
        system::touch(self)
    }

    /// Returns what the system says of it.
    pub fn facts(&self) -> io::Result<Facts> {
        Facts::of(&self.handle)
    }
}

/// What happens to a symbolic link at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

/// What the system says of a file or a directory.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Facts {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// What holds it.
    pub device: u64,
    /// Its number there.
    pub number: u64,
    /// How many bytes it has.
    pub length: u64,
    /// What may be done to it, as on Unix. On Windows what is due.
    pub mode: u32,
    /// The user that it belongs to; on Windows [`us`].
    pub owner: u32,
    /// How many names it has.
    pub names: u64,
    /// When its content changed: seconds since 1970, and the rest in nanoseconds.
    pub modified: (i64, i64),
    /// When anything of it changed.
    pub changed: (i64, i64),
    /// When it was made, where the file system keeps that.
    pub created: Option<SystemTime>,
}

impl Facts {
    /// Asks about an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        system::facts_of(file)
    }

    /// Asks about what has a name; a link is looked at itself.
    pub fn of_name(path: &Path) -> io::Result<Self> {
        system::facts_of_name(path)
    }

    /// Asks about what a path leads to, links followed.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        system::facts_of_path(path)
    }

    /// Says whether both are of one file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        (self.device, self.number) == (other.device, other.number)
    }
}

/// Returns our effective user.
pub fn us() -> u32 {
    system::us()
}

/// Makes a directory that is ours alone.
pub fn make_directory(path: &Path) -> io::Result<()> {
    system::make_directory(path)
}

/// Opens a file for reading without waiting for it; a link in its place is refused.
pub fn open_without_links(path: &Path) -> io::Result<File> {
    system::open_without_links(path)
}

/// Opens a file to write at its end; one that is made only we may read. A link in its place is
/// refused.
pub fn append_without_links(path: &Path) -> io::Result<File> {
    system::append_without_links(path)
}

/// Opens a file that is locked; one that is made only we may read. A link in its place is refused.
pub fn open_lock(path: &Path) -> io::Result<File> {
    system::open_lock(path)
}

/// Sets what may be done to a file. On Windows that is always what is due.
pub fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    system::set_mode(file, mode)
}

/// Opens a file of ours anew for reading, whatever its name is or whether it has one (Linux only).
pub fn reopen(file: &File) -> io::Result<File> {
    system::reopen(file)
}

/// Says whether the file system that a file is on forbids executing.
pub fn forbids_execution(file: &File) -> bool {
    system::forbids_execution(file)
}

/// Says whether files can be made, found and removed in a directory.
pub fn can_work_in(directory: &Path) -> bool {
    system::can_work_in(directory)
}

/// Says whether a file can be read.
pub fn can_read(path: &Path) -> bool {
    system::can_read(path)
}

/// Says whether a file cannot be written because it is executed, where the system keeps such files
/// from being removed and replaced (Windows); elsewhere never.
pub fn is_held_as_a_program(path: &Path) -> bool {
    system::is_held_as_a_program(path)
}
