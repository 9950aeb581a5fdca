//! Space that is kept free, so that what strangers cause to be recorded cannot stop what callers
//! with rights do: a file of zeros, given up when the disk is full.

use crate::log::causes;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The name of the file.
pub(super) const FILE: &str = "reserve";

/// How much is kept free: the records of some hundred writes. Enough to notice, and to delete.
const BYTES: u64 = 4 * 1024 * 1024;

/// How long after it was given up the space is asked for again.
const PAUSE: Duration = Duration::from_mins(1);

/// The space.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    given_up: Option<Instant>,
}

impl Reserve {
    /// Takes the space in a directory, as far as there is any.
    pub(super) fn take(directory: &Path) -> Self {
        let mut reserve = Self { path: directory.join(FILE), given_up: None };
        reserve.fill();
        reserve
    }

    /// Gives the space up; says whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        let had = std::fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > 0);
        let emptied = File::options().write(true).open(&self.path).and_then(|file| {
            file.set_len(0)?;
            file.sync_all()
        });
        self.given_up = Some(Instant::now());
        if had && emptied.is_ok() {
            tracing::error!(
                "the disk of the state is full: the space kept free for the record is given up; \
                 what strangers do is recorded no more until there is space"
            );
        }
        had && emptied.is_ok()
    }

    /// Takes the space again when it was given up a while ago.
    pub(super) fn renew(&mut self) {
        if self.given_up.is_some_and(|then| Instant::now().duration_since(then) >= PAUSE) {
            self.fill();
        }
    }

    fn fill(&mut self) {
        self.given_up = self.filled().err().map(|error| {
            tracing::warn!(error = causes(&error), "no space can be kept free for the record");
            Instant::now()
        });
    }

    fn filled(&self) -> io::Result<()> {
        let mut file = File::options().create(true).truncate(false).write(true).open(&self.path)?;
        let wanted = self.wanted(file.metadata()?.len())?;
        if file.metadata()?.len() >= wanted {
            return Ok(());
        }
        // Written, not only claimed: some file systems promise more than they have.
        let written = file.write_all(&vec![0; usize::try_from(wanted).unwrap_or(0)]);
        let written = written.and_then(|()| file.sync_all());
        if written.is_err() {
            file.set_len(0)?;
        }
        written
    }

    /// On a small disk, less.
    fn wanted(&self, has: u64) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(self.path.parent().unwrap_or(&self.path))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_add(has);
        Ok(BYTES.min(free / 8))
    }
}
