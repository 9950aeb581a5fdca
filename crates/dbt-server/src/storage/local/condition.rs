//! How the tree is: whether it can be read and written at present, and how much room there is.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use dbt_core::repo_path::RepoPath;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::publish::{temporary_name, writing};
use super::{Tree, private, reading};
use crate::storage::StorageError;

/// How much is written to see whether anything can be: more than fits into what file systems keep
/// beside a file's name.
static SAMPLE: [u8; 64 * 1024] = [0x5a; 64 * 1024];

impl Tree {
    /// Returns the state directory that only this server has.
    pub(super) fn own_state(&self) -> Option<&Path> {
        let state = self.state.as_ref().filter(|_state| self.private.is_some())?;
        Some(&state.path)
    }

    /// Looks at the root.
    pub(super) fn readable(&self) -> Result<(), StorageError> {
        let root = RepoPath::root();
        let opened = self.root.open(&root).map_err(|error| reading(&root, error))?;
        let metadata = opened.metadata().map_err(|error| reading(&root, error))?;
        // A directory that is held open can be listed, and is empty, after it was removed.
        if metadata.nlink() == 0 {
            return Err(reading(&root, io::Error::other("the directory was removed")));
        }
        let first = rustix::fs::Dir::read_from(&opened).and_then(|mut dir| dir.next().transpose());
        first.map(|_entry| ()).map_err(|error| reading(&root, error.into()))
    }

    /// Writes a file, and removes it.
    pub(super) fn writable(&self) -> Result<(), StorageError> {
        let directory = self.temporary()?;
        let path = private::inside("tmp");
        let failed = |error| writing("try to write to", &path, error);
        // Without a name, where the file system has such files: nothing is left of it, however
        // the process ends.
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from(0o600);
        let mut name = None;
        let opened = match rustix::fs::openat(directory, ".", flags | OFlags::TMPFILE, mode) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => {
                let new = name.insert(temporary_name()).as_str();
                rustix::fs::openat(directory, new, flags | OFlags::CREATE | OFlags::EXCL, mode)
            }
            other => other,
        };
        let mut file = File::from(opened.map_err(|error| failed(error.into()))?);
        let written = file.write_all(&SAMPLE);
        if let Some(name) = name {
            // Whatever is left is swept at the next start.
            let _swept_later = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty());
        }
        written.map_err(failed)
    }

    /// Returns how many bytes are free for us, and how many there are in all.
    pub(super) fn space(&self) -> Option<(u64, u64)> {
        let root = self.root.open_directory(&RepoPath::root()).ok()?;
        let disk = rustix::fs::fstatvfs(&root).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
    }
}
