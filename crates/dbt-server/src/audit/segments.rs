//! Parts of the record that are closed: files of lines beside the database, each ended by the
//! checkpoint that signs it. The database keeps where each ends, so that the chain is whole after
//! the oldest are dropped.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};

use super::chain::{self, Line};
use crate::state::Id;

/// The directory of the files in the state directory. Below it, each state has its own.
pub const DIRECTORY: &str = "audit";

/// Begins the last line of a file.
const BEFORE_CHECKPOINT: &str = "{\"checkpoint\":";

/// A closed part of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The number of its first record.
    pub first: u64,
    /// The number of its last record.
    pub last: u64,
    /// When it was closed, in seconds since 1970.
    pub closed: u64,
    /// How large its file is.
    pub bytes: u64,
    /// The checkpoint of its last record.
    pub note: String,
    /// Whether its file was removed because it was older or larger than what is kept.
    pub dropped: bool,
}

impl Segment {
    /// Returns where its file lies.
    pub fn path(&self, directory: &Path, state: &Id) -> PathBuf {
        place(directory, state).join(format!("{:012}.jsonl", self.first))
    }
}

/// Returns the directory of the files of a state.
pub fn place(directory: &Path, state: &Id) -> PathBuf {
    directory.join(DIRECTORY).join(state.to_string())
}

/// Returns all closed parts, the oldest first.
pub fn all(connection: &Connection) -> rusqlite::Result<Vec<Segment>> {
    let query = "SELECT first, last, closed, bytes, note, dropped FROM segments ORDER BY first";
    let mut query = connection.prepare(query)?;
    let segments = query.query_map([], |row| {
        Ok(Segment {
            first: chain::number(row, 0)?,
            last: chain::number(row, 1)?,
            closed: chain::number(row, 2)?,
            bytes: chain::number(row, 3)?,
            note: row.get(4)?,
            dropped: row.get(5)?,
        })
    })?;
    segments.collect()
}

/// Returns the records that are still in the database, after some number.
pub fn open_lines(connection: &Connection, after: u64) -> rusqlite::Result<Vec<(u64, Line)>> {
    let query = "SELECT seq, hash, record FROM audit WHERE seq > ?1 ORDER BY seq";
    let mut query = connection.prepare(query)?;
    let lines = query.query_map([after.cast_signed()], |row| {
        let hash: Vec<u8> = row.get(1)?;
        Ok((chain::number(row, 0)?, Line { hash: chain::hex(&hash), record: row.get(2)? }))
    })?;
    lines.collect()
}

/// Writes a segment's file, which is on the disk when this returns. Returns its size.
pub fn write(path: &Path, lines: &[(u64, Line)], note: &str) -> io::Result<u64> {
    let parent = path.parent().unwrap_or(path);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let new = path.with_extension("new");
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut writer = BufWriter::new(file);
    for (_seq, line) in lines {
        writeln!(writer, "{}", line.to_json())?;
    }
    writeln!(writer, "{BEFORE_CHECKPOINT}{}}}", serde_json::Value::from(note))?;
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    rename(&new, path)?;
    Ok(file.metadata()?.len())
}

/// Moves the records of a segment out of the database, once its file is there.
pub fn close(transaction: &Transaction<'_>, segment: &Segment) -> rusqlite::Result<()> {
    let Segment { first, last, closed, bytes, note, dropped } = segment;
    let query = "INSERT INTO segments VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let [first, last, closed, bytes] = [first, last, closed, bytes].map(|it| it.cast_signed());
    transaction.execute(query, params![first, last, closed, bytes, note, dropped])?;
    transaction.execute("DELETE FROM audit WHERE seq <= ?1", [last])?;
    transaction.execute("DELETE FROM checkpoints WHERE seq <= ?1", [last])?;
    Ok(())
}

/// Reads the lines of a file; the checkpoint at its end apart.
pub fn read(path: &Path) -> io::Result<(Vec<String>, Option<String>)> {
    let mut lines = Vec::new();
    let mut checkpoint = None;
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        match line.strip_prefix(BEFORE_CHECKPOINT).and_then(|rest| rest.strip_suffix('}')) {
            Some(note) => checkpoint = serde_json::from_str(note).ok(),
            None => lines.push(line),
        }
    }
    Ok((lines, checkpoint))
}

/// Gives a file its name, for good.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rustix::fs::rename(from, to)?;
    File::open(to.parent().unwrap_or(to))?.sync_all()
}

/// Calls `each` for every record after some number, wherever it is now, as lines of JSON.
pub fn lines_after(
    connection: &Connection,
    directory: &Path,
    state: &Id,
    after: u64,
    each: &mut dyn FnMut(&str) -> io::Result<()>,
) -> io::Result<()> {
    // One look at the database: a segment that is closed meanwhile is still in it for us.
    let failed = io::Error::other;
    let look = connection.unchecked_transaction().map_err(failed)?;
    let open = open_lines(&look, after).map_err(failed)?;
    for segment in all(&look).map_err(failed)? {
        if segment.dropped || segment.last <= after {
            continue;
        }
        for line in read(&segment.path(directory, state))?.0 {
            if Line::parse(&line).and_then(|line| line.seq()).is_some_and(|seq| seq > after) {
                each(&line)?;
            }
        }
    }
    open.iter().try_for_each(|(_seq, line)| each(&line.to_json()))
}
