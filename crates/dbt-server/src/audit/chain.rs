//! The chain: each record's hash is made of the hash before it and of the record's own bytes, so
//! that none can be changed, left out or moved without changing all that follow.

use std::fmt::Write as _;

use rusqlite::{Connection, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::Record;
use super::record::Outcome;

/// The hash of a record and of all before it.
pub type Hash = [u8; 32];

/// The hash before the first record.
pub const BEGINNING: Hash = [0; 32];

/// Where the chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number of the last record; 0 before the first.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Returns the hash of a record that follows one of this hash.
pub fn next(before: &Hash, record: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(before);
    hasher.update(record);
    hasher.finalize().into()
}

/// A record on its way into the chain, where it gets its number.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The record without its number: an object's text from the first member on.
    members: String,
    is_attempt: bool,
    attempt: Option<u64>,
}

impl Draft {
    /// Takes a record.
    pub fn of(record: &Record) -> Self {
        let is_attempt = record.outcome == Outcome::Attempted;
        let text = serde_json::Value::Object(record.members()).to_string();
        let members = text.strip_prefix('{').unwrap_or(&text).to_owned();
        Self { members, is_attempt, attempt: record.attempt }
    }
}

/// Appends records; returns the number of the last.
pub fn append(transaction: &Transaction<'_>, drafts: &[Draft]) -> rusqlite::Result<u64> {
    let Head { mut seq, mut hash } = head(transaction)?;
    for Draft { members, is_attempt, attempt } in drafts {
        seq += 1;
        let record = format!("{{\"seq\":{seq},{members}");
        hash = next(&hash, &record);
        transaction.prepare("INSERT INTO audit VALUES (?1, ?2, ?3)")?.execute(params![
            seq.cast_signed(),
            hash,
            record
        ])?;
        if *is_attempt {
            transaction
                .prepare("INSERT INTO attempts VALUES (?1, ?2)")?
                .execute(params![seq.cast_signed(), members])?;
        }
        if let Some(attempt) = attempt {
            transaction
                .prepare("DELETE FROM attempts WHERE seq = ?1")?
                .execute([attempt.cast_signed()])?;
        }
    }
    transaction
        .prepare("UPDATE head SET seq = ?1, hash = ?2")?
        .execute(params![seq.cast_signed(), hash])?;
    Ok(seq)
}

/// Appends, for each write of which no outcome is known, that it was interrupted.
pub fn close_interrupted(transaction: &Transaction<'_>, now: &str) -> rusqlite::Result<usize> {
    let mut query = transaction.prepare("SELECT seq, record FROM attempts ORDER BY seq")?;
    let open = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
    let open: Vec<(i64, String)> = open.collect::<rusqlite::Result<_>>()?;
    let drafts: Vec<Draft> = open
        .iter()
        .map(|(seq, members)| {
            let attempted = serde_json::from_str(&format!("{{{members}")).unwrap_or_default();
            let mut again: serde_json::Map<String, serde_json::Value> = attempted;
            again.insert("time".to_owned(), now.into());
            again.insert("outcome".to_owned(), "interrupted".into());
            again.insert("attempt".to_owned(), (*seq).into());
            let text = serde_json::Value::Object(again).to_string();
            let members = text.strip_prefix('{').unwrap_or(&text).to_owned();
            Draft { members, is_attempt: false, attempt: u64::try_from(*seq).ok() }
        })
        .collect();
    if !drafts.is_empty() {
        append(transaction, &drafts)?;
    }
    Ok(drafts.len())
}

/// Returns where the chain ends.
pub fn head(connection: &Connection) -> rusqlite::Result<Head> {
    connection
        .prepare("SELECT seq, hash FROM head")?
        .query_row([], |row| Ok(Head { seq: number(row, 0)?, hash: row.get(1)? }))
}

/// Reads a column that holds a number of a record.
pub(super) fn number(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    // What is negative was none of ours.
    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or_default())
}

/// A record as it stands in the record or in a file of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The hash that is written beside it, in hexadecimal.
    pub hash: String,
    /// The record's bytes.
    pub record: String,
}

const BEFORE_HASH: &str = "{\"hash\":\"";
const BEFORE_RECORD: &str = "\",\"record\":";

impl Line {
    /// Returns the line of JSON that it is in files: the bytes of the record are in it as they
    /// were hashed.
    pub fn to_json(&self) -> String {
        let Self { hash, record } = self;
        format!("{BEFORE_HASH}{hash}{BEFORE_RECORD}{record}}}")
    }

    /// Reads such a line.
    pub fn parse(text: &str) -> Option<Self> {
        let (hash, rest) = text.strip_prefix(BEFORE_HASH)?.split_at_checked(64)?;
        let record = rest.strip_prefix(BEFORE_RECORD)?.strip_suffix('}')?;
        Some(Self { hash: hash.to_owned(), record: record.to_owned() })
    }

    /// Returns the number that the record says it has.
    pub fn seq(&self) -> Option<u64> {
        let digits = self.record.strip_prefix("{\"seq\":")?;
        digits.split_once(',')?.0.parse().ok()
    }
}

/// Writes a hash as hexadecimal digits.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_the_bytes_that_were_hashed() {
        let record = r#"{"seq":7,"path":"/dbt/\"x\"","reason":"{}"}"#.to_owned();
        let line = Line { hash: hex(&[0xab; 32]), record };
        assert_eq!(Line::parse(&line.to_json()), Some(line.clone()));
        assert_eq!(line.seq(), Some(7));
        let json: serde_json::Value = serde_json::from_str(&line.to_json()).unwrap();
        assert_eq!(json["record"]["path"], "/dbt/\"x\"");
        for text in ["", "{}", "{\"hash\":\"é\"}", &line.to_json()[1..]] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
