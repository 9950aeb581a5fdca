//! Checking the record against itself, against its signatures, and against a checkpoint from
//! outside. Whoever can write to the machine can make a record anew, and sign it: only what has
//! left the machine shows that.

use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::chain::{self, BEGINNING, Hash, Head, Line};
use super::checkpoint::{self, Checkpoint, PublicKey, UnverifiedNote};
use super::kept::{public_key, unhex};
use super::segments::{self, Segment};
use crate::state::Id;

/// What is known from outside of the machine.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    /// A checkpoint.
    pub checkpoint: Option<UnverifiedNote>,
    /// The key that signs.
    pub key: Option<PublicKey>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The number of the oldest record that is still there.
    pub first: u64,
    /// The number of the last record.
    pub last: u64,
    /// How many closed parts were dropped, and with how many records.
    pub dropped: (usize, u64),
    /// The number of the last record that a checkpoint of the machine covers.
    pub signed: u64,
    /// The number of the last record that the checkpoint from outside covers.
    pub anchored: Option<u64>,
    /// What is wrong, in the order of the records.
    pub findings: Vec<Finding>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The number of the first record that it is about.
    pub first: u64,
    /// The number of the last one.
    pub last: u64,
    /// What differs.
    pub what: String,
}

/// Checks the record of a state directory.
pub fn verify(
    connection: &Connection,
    directory: &Path,
    state: &Id,
    outside: &Outside,
) -> io::Result<Report> {
    let failed = io::Error::other;
    let look = connection.unchecked_transaction().map_err(failed)?;
    let signers = signers(&look).map_err(failed)?;
    let mut walk = Walk {
        origin: checkpoint::origin(state),
        end: Head { seq: 0, hash: BEGINNING },
        hashes: Vec::new(),
        good: 0,
        signers,
        report: Report { first: 1, ..Report::default() },
    };
    let segments = segments::all(&look).map_err(failed)?;
    // No server has written to a record that was begun anew and not used since.
    let is_signed =
        !walk.signers.is_empty() || !segments.is_empty() || names_a_key(&look).map_err(failed)?;
    let is_unused = !is_signed && begins_anew(&look).map_err(failed)?;
    let of_host = if is_unused { None } else { public_key(directory, state)? };
    walk.keys(of_host, outside.key.as_ref());
    for segment in segments {
        let path = segment.path(directory, state);
        walk.segment(&segment, &path)?;
    }
    for (seq, line) in segments::open_lines(&look, 0).map_err(failed)? {
        walk.line(Some(seq), &line);
    }
    let checkpoints = checkpoints(&look).map_err(failed)?;
    for (seq, note) in checkpoints {
        walk.checkpoint(seq, &note);
    }
    walk.end(chain::head(&look).map_err(failed)?);
    walk.outside(outside);
    Ok(walk.report)
}

fn signers(connection: &Connection) -> rusqlite::Result<Vec<(u64, String)>> {
    let mut query = connection.prepare("SELECT since, key FROM signers ORDER BY since")?;
    let signers = query.query_map([], |row| Ok((chain::number(row, 0)?, row.get(1)?)))?;
    signers.collect()
}

/// Says whether the open part of the record says which key signs it: each server's first words.
fn names_a_key(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM audit WHERE record LIKE '%\"audit.key\"%' LIMIT 1";
    connection.prepare(query)?.exists([])
}

/// Says whether the first record is that somebody accepted the loss of what was before.
fn begins_anew(connection: &Connection) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM audit WHERE seq = 1 AND record LIKE '%\"state.init\"%'";
    connection.prepare(query)?.exists([])
}

fn checkpoints(connection: &Connection) -> rusqlite::Result<Vec<(u64, String)>> {
    let mut query = connection.prepare("SELECT seq, note FROM checkpoints ORDER BY seq")?;
    let notes = query.query_map([], |row| Ok((chain::number(row, 0)?, row.get(1)?)))?;
    notes.collect()
}

/// The walk along the chain.
struct Walk {
    origin: String,
    /// The last record that was seen, with the hash that is written beside it.
    end: Head,
    /// The hashes that are written beside the records.
    hashes: Vec<Head>,
    /// The last record that a checkpoint agrees with.
    good: u64,
    signers: Vec<(u64, String)>,
    report: Report,
}

impl Walk {
    fn find(&mut self, first: u64, last: u64, what: String) {
        let findings = &mut self.report.findings;
        // What was done to many in a row is said once.
        if let Some(before) = findings.last_mut()
            && before.last + 1 == first
            && before.what == what
        {
            before.last = last;
            return;
        }
        findings.push(Finding { first, last, what });
    }

    fn keys(&mut self, of_host: Option<String>, trusted: Option<&PublicKey>) {
        let now = self.signers.last().map(|(_since, key)| key.clone());
        if of_host.is_some() && of_host != now {
            let what = "the key in `audit.key` is not the one that signs this record".to_owned();
            self.find(0, 0, what);
        }
        let is_known = |key: &PublicKey| self.signers.iter().any(|(_, it)| *it == key.to_string());
        if trusted.is_some_and(|key| !is_known(key)) {
            self.find(0, 0, "the record is not signed with the key that was given".to_owned());
        }
    }

    /// Returns the key in force when a record was the last.
    fn key_at(&self, seq: u64) -> Option<PublicKey> {
        let (_since, key) = self.signers.iter().rfind(|(since, _key)| *since <= seq)?;
        key.parse().ok()
    }

    fn segment(&mut self, segment: &Segment, path: &Path) -> io::Result<()> {
        if segment.first != self.end.seq + 1 {
            let what = "a part of the record is missing from `state.db`".to_owned();
            self.find(self.end.seq + 1, segment.first.saturating_sub(1), what);
        }
        if segment.dropped {
            self.report.dropped.0 += 1;
            self.report.dropped.1 += segment.last + 1 - segment.first;
            self.report.first = segment.last + 1;
            if let Some(checkpoint) = self.checked(segment.last, &segment.note) {
                self.end = checkpoint.head;
                self.hashes.push(checkpoint.head);
            } else {
                self.end = Head { seq: segment.last, hash: BEGINNING };
            }
            return Ok(());
        }
        let (lines, note) = match segments::read(path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = format!("their file `{}` is missing", path.display());
                self.find(segment.first, segment.last, what);
                if let Some(checkpoint) = self.checked(segment.last, &segment.note) {
                    self.end = checkpoint.head;
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for text in &lines {
            match Line::parse(text) {
                Some(line) => self.line(None, &line),
                None => self.find(
                    self.end.seq + 1,
                    self.end.seq + 1,
                    format!("a line of `{}` is not a record", path.display()),
                ),
            }
        }
        if self.end.seq < segment.last {
            let what = "missing from the end of their file".to_owned();
            self.find(self.end.seq + 1, segment.last, what);
        }
        if note.as_ref() != Some(&segment.note) {
            let what = "the checkpoint at the end of their file is another than in `state.db`";
            self.find(segment.first, segment.last, what.to_owned());
        }
        self.checkpoint(segment.last, &segment.note);
        Ok(())
    }

    /// Takes the next record; `place` is the number under which the database has it.
    fn line(&mut self, place: Option<u64>, line: &Line) {
        let expected = self.end.seq + 1;
        let said = line.seq();
        let seq = place.or(said).unwrap_or(expected);
        if said != Some(seq) {
            let said = said.map_or("that it has no number".to_owned(), |it| format!("it is {it}"));
            self.find(seq, seq, format!("it stands at this number and says {said}"));
        }
        if seq < expected {
            let what = format!("it stands again, or in the wrong order, after {}", self.end.seq);
            self.find(seq, seq, what);
            return;
        }
        if seq > expected {
            self.find(expected, seq - 1, "missing".to_owned());
        }
        let Some(written) = unhex(&line.hash) else {
            self.find(seq, seq, "no hash is written beside it".to_owned());
            self.end = Head { seq, hash: BEGINNING };
            return;
        };
        if seq == expected && chain::next(&self.end.hash, &line.record) != written {
            let what = "its hash is not that of its bytes after the record before: it was changed";
            self.find(seq, seq, what.to_owned());
        }
        self.end = Head { seq, hash: written };
        self.hashes.push(self.end);
    }

    fn hash_of(&self, seq: u64) -> Option<Hash> {
        let index = self.hashes.binary_search_by_key(&seq, |head| head.seq).ok()?;
        self.hashes.get(index).map(|head| head.hash)
    }

    /// Returns the checkpoint of a record, if its signature is good.
    fn checked(&mut self, seq: u64, note: &str) -> Option<Checkpoint> {
        let key = self.key_at(seq);
        let verified =
            key.as_ref().ok_or_else(|| "no key is known for it".to_owned()).and_then(|key| {
                let note = note.parse::<UnverifiedNote>().and_then(|note| note.verify(key));
                note.map_err(|error| error.to_string())
            });
        let problem = match verified {
            Ok(checkpoint) if checkpoint.origin != self.origin => {
                format!("its checkpoint is of another record, `{}`", checkpoint.origin)
            }
            Ok(checkpoint) if checkpoint.head.seq != seq => {
                format!("its checkpoint is that of record {}", checkpoint.head.seq)
            }
            Ok(checkpoint) => return Some(checkpoint),
            Err(why) => format!("its checkpoint cannot be believed: {why}"),
        };
        self.find(seq, seq, problem);
        None
    }

    fn checkpoint(&mut self, seq: u64, note: &str) {
        let Some(checkpoint) = self.checked(seq, note) else { return };
        if self.agrees(&checkpoint.head, "a checkpoint") {
            self.report.signed = self.report.signed.max(seq);
        }
    }

    /// Compares the chain with what was signed of it.
    fn agrees(&mut self, signed: &Head, whose: &str) -> bool {
        if signed.seq > self.end.seq {
            let what = format!("missing from the end; {whose} has seen them");
            self.find(self.end.seq + 1, signed.seq, what);
            return false;
        }
        // What is missing itself has been found already.
        let Some(hash) = self.hash_of(signed.seq) else { return false };
        if hash != signed.hash {
            let what = format!(
                "made anew: {whose} signed the hash {} of record {}, which has {} now",
                chain::hex(&signed.hash),
                signed.seq,
                chain::hex(&hash)
            );
            self.find(self.good + 1, signed.seq, what);
            return false;
        }
        self.good = self.good.max(signed.seq);
        true
    }

    fn end(&mut self, head: Head) {
        self.report.last = self.end.seq.max(head.seq);
        if head.seq > self.end.seq {
            let what = "missing from the end; `state.db` remembers them".to_owned();
            self.find(self.end.seq + 1, head.seq, what);
        } else if head.seq < self.end.seq {
            let what = "added behind the end that `state.db` remembers".to_owned();
            self.find(head.seq + 1, self.end.seq, what);
        } else if head.hash != self.end.hash {
            let what = "its hash is another than `state.db` remembers of the end".to_owned();
            self.find(head.seq, head.seq, what);
        }
    }

    fn outside(&mut self, outside: &Outside) {
        let Some(note) = &outside.checkpoint else { return };
        let keys: Vec<PublicKey> = match &outside.key {
            Some(key) => vec![key.clone()],
            None => self.signers.iter().filter_map(|(_since, key)| key.parse().ok()).collect(),
        };
        let Some(checkpoint) = keys.iter().find_map(|key| note.verify(key).ok()) else {
            let what = "the checkpoint from outside is not signed with a key of this record: \
                        another key was put in its place, or it is of another server";
            self.find(0, 0, what.to_owned());
            return;
        };
        if checkpoint.origin != self.origin {
            let what = format!("the checkpoint from outside is of `{}`", checkpoint.origin);
            self.find(0, 0, what);
            return;
        }
        let head = checkpoint.head;
        // The records up to a dropped part's end are known by that end alone.
        if head.seq < self.report.first && self.hash_of(head.seq).is_none() {
            let what = "older than what is kept, so that the checkpoint from outside says nothing \
                        about it; give a later one";
            self.find(head.seq, head.seq, what.to_owned());
            return;
        }
        self.good = 0;
        if self.agrees(&head, "the checkpoint from outside") {
            self.report.anchored = Some(head.seq);
        }
    }
}
