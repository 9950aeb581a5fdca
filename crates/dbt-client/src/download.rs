//! Brings an artifact into a staging file: bounded, resumed after a broken connection, whole.
//!
//! What comes out is unverified bytes in a file that only its opener knows. Nothing here makes it
//! executable, gives it a name, or believes anything about it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use dbt_core::digest::READ_SIZE;
use dbt_core::repo_path::RepoPath;

use crate::progress::Progress;
use crate::room;
use crate::source::{Failure, FetchError, Opened, Patience, Source};

/// How often a broken download is taken up again.
const RESUMES: u32 = 3;

/// Downloads `path` into a file that was opened for this, and returns its length.
///
/// What is in the file before is lost. After a broken connection the rest is asked for, if the
/// server gave the artifact a strong name and a length; otherwise everything is. Fails after the
/// third time, at the first byte beyond `limit`, and before the first one where there is no room for
/// the announced length. The file is not synchronised with its disk.
pub fn fetch(
    source: &dyn Source,
    path: &RepoPath,
    limit: u64,
    into: &mut File,
    progress: &dyn Progress,
    patience: &Patience,
) -> Result<u64, DownloadError> {
    let mut download = Download { source, path, limit, into, progress, patience, written: 0 };
    let mut shown = Shown { progress, begun: false };
    download.run(&mut shown)
}

/// One download, over all its connections.
struct Download<'a> {
    source: &'a dyn Source,
    path: &'a RepoPath,
    limit: u64,
    into: &'a mut File,
    progress: &'a dyn Progress,
    patience: &'a Patience,
    /// How many bytes of the artifact are in the file.
    written: u64,
}

/// Ends the progress that was begun, however the download ends.
struct Shown<'a> {
    progress: &'a dyn Progress,
    begun: bool,
}

impl Shown<'_> {
    fn begin(&mut self, what: &str, total: Option<u64>) {
        self.end();
        self.progress.begin(what, total);
        self.begun = true;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.begun) {
            self.progress.end();
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl Download<'_> {
    fn run(&mut self, shown: &mut Shown<'_>) -> Result<u64, DownloadError> {
        self.start_anew()?;
        let mut resumes = 0;
        // What the artifact was called when its length was known: without both, the rest cannot
        // be told from the rest of something else.
        let mut name: Option<String> = None;
        loop {
            let from = if name.is_some() { self.written } else { 0 };
            let opened = self.source.open(self.path, from, name.as_deref(), self.patience)?;
            if opened.offset != self.written || (from > 0 && opened.etag != name) {
                self.start_anew()?;
            }
            if opened.offset != self.written {
                // It continues something that is not what we have.
                name = None;
                if resumes == RESUMES {
                    return Err(self.failed(Failure::Status { status: 206 }));
                }
                resumes += 1;
                continue;
            }
            if self.written == 0 {
                shown.begin(self.path.file_name().unwrap_or_default(), opened.length);
            }
            name = opened.length.and(opened.etag.clone());
            match self.copy(opened) {
                Ok(()) => return Ok(self.written),
                Err(Broken::ForGood(error)) => return Err(error),
                Err(Broken::Connection(failure)) if resumes == RESUMES => {
                    return Err(self.failed(failure));
                }
                Err(Broken::Connection(_failure)) => resumes += 1,
            }
        }
    }

    /// Copies what one connection brings.
    fn copy(&mut self, opened: Opened) -> Result<(), Broken> {
        let Opened { length, mut reader, offset: _, etag: _, is_draft: _ } = opened;
        if length.is_some_and(|length| length > self.limit) {
            return Err(self.too_large());
        }
        if let Some(expected) = length.filter(|_| self.written == 0) {
            let reserved = room::reserve(self.into, expected);
            reserved.map_err(|error| Broken::ForGood(written(error, length)))?;
        }
        let mut buffer = vec![0_u8; READ_SIZE];
        loop {
            let count = match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(Failure::of_reading(error), length)),
            };
            if self.limit - self.written < count as u64 {
                return Err(self.too_large());
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            self.into.write_all(bytes).map_err(|error| Broken::ForGood(written(error, length)))?;
            self.written += count as u64;
            self.progress.advance(count as u64);
        }
        match length {
            Some(expected) if expected != self.written => {
                let received = self.written;
                Err(Broken::Connection(Failure::Truncated { received, expected }))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn start_anew(&mut self) -> Result<(), DownloadError> {
        self.written = 0;
        self.into.set_len(0).map_err(|error| written(error, None))?;
        self.into.seek(SeekFrom::Start(0)).map_err(|error| written(error, None))?;
        Ok(())
    }

    fn broken(&self, failure: Failure, length: Option<u64>) -> Broken {
        match (failure, length) {
            // One connection's count says little: what is missing of the whole does.
            (Failure::Reset { .. } | Failure::Truncated { .. }, Some(expected)) => {
                Broken::Connection(Failure::Truncated { received: self.written, expected })
            }
            (failure @ (Failure::Reset { .. } | Failure::Truncated { .. }), None) => {
                Broken::Connection(failure)
            }
            (failure, _) => Broken::ForGood(self.failed(failure)),
        }
    }

    fn too_large(&self) -> Broken {
        Broken::ForGood(self.failed(Failure::TooLarge { limit: self.limit }))
    }

    fn failed(&self, failure: Failure) -> DownloadError {
        FetchError::new("download", self.source.place_of(self.path), failure).into()
    }
}

/// Why one connection did not bring everything.
enum Broken {
    /// Another may bring the rest.
    Connection(Failure),
    ForGood(DownloadError),
}

#[expect(clippy::wildcard_enum_match_arm, reason = "everything else is said as it is")]
fn written(source: io::Error, needed: Option<u64>) -> DownloadError {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DownloadError::NoSpace { place: PathBuf::new(), needed, source }
        }
        io::ErrorKind::FileTooLarge => DownloadError::Limited { needed, source },
        _ => DownloadError::Write { place: PathBuf::new(), source },
    }
}

/// Why an artifact was not downloaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// The repository did not give it.
    #[error(transparent)]
    Fetch(#[from] FetchError),

    /// The disk, or the user's share of it, is full.
    #[error("there is no space left {}for the download{}", within(place), of_bytes(*needed))]
    NoSpace {
        /// Where.
        place: PathBuf,
        /// How much is needed, if the server said it.
        needed: Option<u64>,
        /// What the system said.
        source: io::Error,
    },

    /// This process may not write files of that size.
    #[error("this process may not write a file as large as the download{}", of_bytes(*needed))]
    Limited {
        /// How much is needed, if the server said it.
        needed: Option<u64>,
        /// What the system said.
        source: io::Error,
    },

    /// The staging file could not be written.
    #[error("failed to write the download{}", to(place))]
    Write {
        /// Where.
        place: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn within(place: &Path) -> String {
    if place.as_os_str().is_empty() { String::new() } else { format!("in `{}` ", place.display()) }
}

fn to(place: &Path) -> String {
    if place.as_os_str().is_empty() { String::new() } else { format!(" to `{}`", place.display()) }
}

fn of_bytes(needed: Option<u64>) -> String {
    needed.map(|needed| format!(" of {needed} bytes")).unwrap_or_default()
}

impl DownloadError {
    /// Names the place that was written to.
    #[must_use]
    pub fn at(mut self, written_to: &Path) -> Self {
        if let Self::NoSpace { place, .. } | Self::Write { place, .. } = &mut self {
            written_to.clone_into(place);
        }
        self
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Fetch(error) => error.hint(),
            Self::NoSpace { .. } => Some(format!(
                "`{} cache prune` deletes versions that are no longer run; {}CACHE_DIR moves the store",
                dbt_core::brand::PROGRAM,
                dbt_core::brand::ENV_PREFIX,
            )),
            Self::Limited { .. } => Some("`ulimit -f unlimited`".to_owned()),
            Self::Write { .. } => None,
        }
    }
}
