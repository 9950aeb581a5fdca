//! Takes the program out of a release archive.
//!
//! Archives come from elsewhere. No name in one is ever used as a path: the program goes to a file
//! without a name, and what is unpacked is bounded. An archive that could mean two things to two
//! readers is refused.

mod tar;
mod zip;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use dbt_core::trust::ARTIFACT_LIMIT;
use dbt_ui::exit_code::ExitCode;
use flate2::read::MultiGzDecoder;

use crate::stop::{Explained, Stop};

/// The most bytes that an archive may hold, unpacked.
const UNPACKED_LIMIT: u64 = 2 * ARTIFACT_LIMIT;

/// The most entries an archive may have.
const ENTRIES_LIMIT: usize = 65_536;

/// How many of an archive's names an error shows.
const SHOWN: usize = 5;

/// How many letters of a name it shows.
const SHOWN_LETTERS: usize = 80;

/// The kinds of archives that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A tar archive compressed by gzip.
    TarGz,
    /// A zip archive.
    Zip,
}

const ENDINGS: [(&str, Format); 3] =
    [(".tar.gz", Format::TarGz), (".tgz", Format::TarGz), (".zip", Format::Zip)];

impl Format {
    /// Returns the format that a file's name says.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let ending = Self::ending_of(name);
        ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
    }

    /// Returns the ending of an archive's name, or nothing.
    pub(super) fn ending_of(name: &str) -> &'static str {
        let found = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
        found.map_or("", |(ending, _)| ending)
    }
}

/// Returns the one file of an archive that has one of these names, in whatever directory.
pub fn program_in(path: &Path, format: Format, names: &[String]) -> Result<File, Stop> {
    let failed = |problem| ArchiveError { archive: path.to_owned(), problem };
    let archive = File::open(path).map_err(|error| failed(Problem::Read(error)))?;
    let mut taken = Taken::new(names);
    match format {
        Format::TarGz => {
            let unpacked = MultiGzDecoder::new(BufReader::new(archive));
            tar::read(unpacked, UNPACKED_LIMIT, &mut taken)
        }
        Format::Zip => zip::read(archive, &mut taken),
    }
    .and_then(|()| taken.finish())
    .map_err(|problem| failed(problem).into())
}

/// What was taken out of an archive.
struct Taken<'a> {
    wanted: &'a [String],
    program: Option<File>,
    seen: Vec<String>,
    entries: usize,
}

/// What an entry of an archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    File,
    Link,
    Other,
}

impl<'a> Taken<'a> {
    const fn new(wanted: &'a [String]) -> Self {
        Self { wanted, program: None, seen: Vec::new(), entries: 0 }
    }

    /// Notes an entry and returns where its bytes go, if it is the program.
    fn meet(&mut self, path: &[u8], entry: Entry) -> Result<Option<&mut File>, Problem> {
        self.entries += 1;
        if self.entries > ENTRIES_LIMIT {
            return Err(Problem::TooMany);
        }
        let path = String::from_utf8_lossy(path);
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        if name.is_empty() || entry == Entry::Other {
            return Ok(None);
        }
        if !self.wanted.iter().any(|wanted| wanted == name) {
            if self.seen.len() < SHOWN {
                self.seen.push(shown(name));
            }
            return Ok(None);
        }
        if entry == Entry::Link {
            return Err(Problem::Link(name.to_owned()));
        }
        if self.program.is_some() {
            return Err(Problem::Ambiguous(self.wanted.join("`, `")));
        }
        Ok(Some(self.program.insert(tempfile::tempfile().map_err(Problem::Write)?)))
    }

    fn finish(self) -> Result<File, Problem> {
        let Some(mut program) = self.program else {
            let wanted = self.wanted.join("` or `");
            return Err(Problem::Missing { wanted, seen: self.seen.join("`, `") });
        };
        program.rewind().map_err(Problem::Write)?;
        Ok(program)
    }
}

/// Returns a name as an error shows it: an archive may have names as long as books.
fn shown(name: &str) -> String {
    match name.char_indices().nth(SHOWN_LETTERS) {
        Some((end, _letter)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// Copies exactly so many bytes, telling whose fault it is when that fails.
fn copy(mut from: impl Read, mut to: impl Write, length: u64) -> Result<(), Problem> {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = length;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        let count = from.read(room).map_err(Problem::Read)?;
        if count == 0 {
            return Err(Problem::Truncated);
        }
        to.write_all(room.get(..count).unwrap_or_default()).map_err(Problem::Write)?;
        left = left.saturating_sub(count as u64);
    }
    Ok(())
}

/// Why nothing is taken out of an archive.
#[derive(Debug, thiserror::Error)]
#[error("cannot take the program out of `{}`", archive.display())]
struct ArchiveError {
    archive: PathBuf,
    #[source]
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    #[error("failed to write a temporary file")]
    Write(#[source] io::Error),
    #[error("it ends too early")]
    Truncated,
    #[error("{0}")]
    Format(&'static str),
    #[error("it has more than {ENTRIES_LIMIT} entries")]
    TooMany,
    #[error("unpacked, it has more than {} GiB", UNPACKED_LIMIT >> 30)]
    TooLarge,
    #[error("`{0}` in it is a link")]
    Link(String),
    #[error("it has several files `{0}`")]
    Ambiguous(String),
    #[error("it has no file `{wanted}`; it has `{seen}`")]
    Missing { wanted: String, seen: String },
}

impl Explained for ArchiveError {
    fn code(&self) -> ExitCode {
        let ours = matches!(self.problem, Problem::Write(_));
        if ours { ExitCode::INTERNAL } else { ExitCode::USAGE }
    }

    fn hints(&self) -> Vec<String> {
        let hint = if matches!(self.problem, Problem::Write(_)) {
            "temporary files go to `TMPDIR`; is there room?"
        } else {
            "unpack it and publish the program: `OS/ARCH=FILE`"
        };
        vec![hint.to_owned()]
    }
}
