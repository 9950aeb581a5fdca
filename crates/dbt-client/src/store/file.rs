//! Files of a store: open, and either being written or to be read, never both.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dbt_core::digest::Digest;
use dbt_sys::files::Facts;

use super::root::{Directory, FileName, Root, Stamp};
use super::{Inner, StoreError};
use crate::fsx::FsxError;

/// An open file about which nothing is known yet: a download being staged, an installed artifact
/// to be verified again, or a copy that the reference has left.
///
/// Only staging files can be written, and what a staging file holds counts from the first read
/// after the last write: if it changes after that, it is not installed.
#[derive(Debug)]
pub struct StoreFile {
    pub(super) file: File,
    pub(super) form: Form,
    /// The path for words; a staging file without a name shows its directory.
    pub(super) path: PathBuf,
    /// What the file was when reading began; nothing for a staging file not yet read.
    pub(super) stamp: Option<Stamp>,
    /// An earlier run's digests stood in for reading it.
    pub(super) remembered: AtomicBool,
    pub(super) store: Arc<Inner>,
}

/// What a [`StoreFile`] is.
#[derive(Debug)]
pub(super) enum Form {
    /// It has no name until it is installed, so that nothing remains of it if we are killed.
    Unnamed(Arc<Root>),
    /// It has a random name among the staging files.
    Named(Arc<Root>, StagingName),
    /// It is in memory, because nothing can be written anywhere.
    Memory,
    /// It is installed.
    Placed(Placed),
    /// It lies where the reference keeps its files.
    Reference,
}

/// Where an installed file is.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) root: Arc<Root>,
    pub(super) directory: Directory,
    pub(super) digest: Digest,
    pub(super) name: FileName,
}

/// The name of a staging file, removed when this is dropped.
#[derive(Debug)]
pub(super) struct StagingName {
    pub(super) directory: Directory,
    pub(super) name: String,
    pub(super) owned: bool,
}

impl StoreFile {
    /// Returns the path, for words: it is never opened again.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how many bytes there are.
    pub fn length(&self) -> io::Result<u64> {
        self.file
            .metadata()
            .map(|metadata| metadata.len())
            .map_err(|error| self.failed("read", error))
    }

    /// Says whether this is an artifact that an earlier run has installed.
    pub const fn is_installed(&self) -> bool {
        matches!(self.form, Form::Placed(_))
    }

    /// Empties a staging file, for a download that begins again.
    pub fn restart(&mut self) -> io::Result<()> {
        self.begin_writing()?;
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(|error| self.failed("write to", error))
    }

    /// Returns the staging file itself, for a download that seeks and truncates. An installed file
    /// comes back as what it is: open for reading only.
    pub fn file_mut(&mut self) -> &mut File {
        if !matches!(self.form, Form::Placed(_) | Form::Reference) {
            self.stamp = None;
        }
        &mut self.file
    }

    /// Copies everything that is left in `from`, while this staging file is written.
    pub(super) fn fill(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut buffer = vec![0_u8; dbt_core::digest::READ_SIZE];
        loop {
            let count = match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.write_all(buffer.get(..count).unwrap_or_default())?;
        }
    }

    /// Checks that the file is still what it was when reading began.
    pub(super) fn check_unchanged(&self) -> Result<Stamp, StoreError> {
        let now = Facts::of(&self.file);
        let now = now.map_err(|error| FsxError::new("read", &self.path, error))?;
        match self.stamp {
            Some(stamp) if stamp == Stamp::of(&now) => Ok(stamp),
            Some(_) | None => Err(StoreError::Changed { path: self.path.clone() }),
        }
    }

    fn begin_reading(&mut self) -> io::Result<()> {
        if self.stamp.is_none() {
            let facts = Facts::of(&self.file).map_err(|error| self.failed("read", error))?;
            self.stamp = Some(Stamp::of(&facts));
        }
        Ok(())
    }

    fn begin_writing(&mut self) -> io::Result<()> {
        match self.form {
            Form::Unnamed(_) | Form::Named(..) | Form::Memory => {
                self.stamp = None;
                Ok(())
            }
            Form::Placed(_) | Form::Reference => {
                Err(self.failed("write to", io::Error::from(io::ErrorKind::PermissionDenied)))
            }
        }
    }

    /// Names the file in an error and keeps its kind.
    fn failed(&self, doing: &'static str, error: io::Error) -> io::Error {
        if error.kind() == io::ErrorKind::Interrupted {
            return error;
        }
        FsxError::new(doing, &self.path, error).into()
    }
}

impl Read for StoreFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.begin_reading()?;
        self.file.read(buffer).map_err(|error| self.failed("read", error))
    }
}

impl Seek for StoreFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.file.seek(position).map_err(|error| self.failed("read", error))
    }
}

impl Write for StoreFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begin_writing()?;
        self.file.write(bytes).map_err(|error| self.failed("write to", error))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush().map_err(|error| self.failed("write to", error))
    }
}

impl Drop for StagingName {
    fn drop(&mut self) {
        if self.owned {
            // What cannot be removed now is swept later.
            let _later = self.directory.remove_file(&self.name);
        }
    }
}

/// An artifact that was verified and is in the store, ready to be executed.
///
/// Only [`Store::install`](super::Store::install) makes one:
///
/// ```compile_fail
/// let forged = dbt_client::store::Installed { path: "/bin/sh".into() };
/// ```
#[derive(Debug)]
pub struct Installed {
    pub(super) file: File,
    pub(super) digest: Digest,
    pub(super) place: InstalledPlace,
    pub(super) remembered: bool,
    /// What the kernel kept the file as when this run read it; nothing for a file that this run
    /// has written, which somebody else could have done too.
    pub(super) kept_as: Option<Digest>,
}

/// Where an [`Installed`] artifact is.
#[derive(Debug)]
pub(super) enum InstalledPlace {
    /// In a store.
    Store {
        /// Its path, which is what gets executed.
        path: PathBuf,
        /// What it was while it was verified, and must still be.
        stamp: Stamp,
        root: Arc<Root>,
        name: FileName,
    },
    /// In sealed memory.
    Memory,
}

impl Installed {
    /// Returns the path in the store; nothing if the artifact is in memory only, because there
    /// was no place to write to.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            InstalledPlace::Store { path, .. } => Some(path),
            InstalledPlace::Memory => None,
        }
    }

    /// Returns the digest of the content.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns the verified file, open for reading.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Checks that the path still leads to the very file that was verified, and that nothing has
    /// touched it since.
    pub(crate) fn check_identity(&self) -> Result<(), StoreError> {
        if let InstalledPlace::Store { path, stamp, .. } = &self.place {
            let opened = Facts::of(&self.file).ok();
            if opened.is_none_or(|opened| Stamp::of(&opened) != *stamp) {
                return Err(StoreError::Changed { path: path.clone() });
            }
        }
        self.check_name()
    }

    /// Checks that the path leads to the file that was verified, when that one has just been
    /// looked at.
    pub(super) fn check_name(&self) -> Result<(), StoreError> {
        let InstalledPlace::Store { path, stamp, .. } = &self.place else { return Ok(()) };
        let named = Facts::of_name(path).ok();
        if named.is_some_and(|named| Stamp::of(&named) == *stamp) {
            Ok(())
        } else {
            Err(StoreError::Changed { path: path.clone() })
        }
    }
}

/// Marks a file whose digests come from an earlier run.
pub(super) fn mark_remembered(file: &StoreFile) {
    file.remembered.store(true, Ordering::Relaxed);
}
