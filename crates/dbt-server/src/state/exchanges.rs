//! Identities of jobs that were exchanged, each for one token: which, so that none is exchanged twice that
//! counts once, and that an answer that was lost can be given again.
//!
//! The same identity may be exchanged in several ways (to read, to write), and again when a token has
//! expired. Of what it was exchanged for, all has one source: once one of these tokens is ended, the
//! identity gets nothing more in any way.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::api_tokens::{self, Ending, OF_JOBS, Row};
use super::{Claim, State, StateError};
use crate::{limits, time};

/// An identity that is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// By what it is known again.
    pub identity: [u8; 32],
    /// What stands for it, however it is exchanged.
    pub source: [u8; 32],
    /// What the token is made of beside what the job has.
    pub salt: [u8; 32],
    /// Until when it may be shown.
    pub until: SystemTime,
    /// Whether the token writes.
    pub writes: bool,
}

/// What is known of an identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How something that it was exchanged for, in whichever way, was ended before its time.
    pub ended: Option<Ending>,
    /// What it was exchanged for in this way.
    pub exchanged: Option<Exchanged>,
}

/// An identity that was exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// The id of the token.
    pub token: String,
    /// See [`Exchange::salt`].
    pub salt: [u8; 32],
    /// The token, if it is kept still.
    pub row: Option<Row>,
}

/// What came of exchanging an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exchanging {
    /// The token is on the disk.
    Kept,
    /// Somebody else exchanged it meanwhile.
    Moved,
    /// Its subject has as many tokens as may be.
    TooMany,
    /// All jobs together have.
    Full,
}

impl State {
    /// Looks for what an identity was exchanged for, and how that of its source ended.
    pub fn exchanged(
        &self,
        identity: &[u8; 32],
        source: &[u8; 32],
        now: SystemTime,
    ) -> Result<Known, StateError> {
        self.look(|connection| {
            let ended = ended(connection, source)?;
            let query = "SELECT token, salt FROM exchanges WHERE identity = ?1 AND until > ?2";
            let found: Option<(String, [u8; 32])> = connection
                .prepare_cached(query)?
                .query_row(params![identity, seconds(now)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((token, salt)) = found else { return Ok(Known { ended, exchanged: None }) };
            let row = api_tokens::find(connection, &token)?;
            Ok(Known { ended, exchanged: Some(Exchanged { token, salt, row }) })
        })
    }

    /// Says whether there is no room for one more token of a subject's jobs.
    pub fn is_full_for(
        &self,
        subject: &str,
        writes: bool,
        now: SystemTime,
    ) -> Result<Option<Exchanging>, StateError> {
        self.look(|connection| full(connection, subject, writes, now))
    }

    /// Keeps the token that an identity is exchanged for, in the place of the one that it was exchanged for
    /// before, if that is still so. It is on the disk when this returns.
    pub async fn exchange(
        &self,
        exchange: Exchange,
        row: Row,
        instead_of: Option<String>,
        now: SystemTime,
    ) -> Result<Exchanging, StateError> {
        let work = move |transaction: &Transaction<'_>| {
            keep(transaction, &exchange, &row, instead_of.as_deref(), now)
        };
        self.write(Claim::Reserved, work).await
    }
}

fn keep(
    transaction: &Transaction<'_>,
    exchange: &Exchange,
    row: &Row,
    instead_of: Option<&str>,
    now: SystemTime,
) -> rusqlite::Result<Exchanging> {
    let Exchange { identity, source, salt, until, writes } = exchange;
    let time = seconds(now);
    // A clock that is put back must not make them fresh again.
    let long_ago = now.checked_sub(limits::EXCHANGE_MARGIN).unwrap_or(SystemTime::UNIX_EPOCH);
    transaction
        .prepare_cached("DELETE FROM exchanges WHERE until <= ?1")?
        .execute([seconds(long_ago)])?;
    let query = "SELECT token FROM exchanges WHERE identity = ?1 AND until > ?2";
    let earlier: Option<String> = transaction
        .prepare_cached(query)?
        .query_row(params![identity, time], |row| row.get(0))
        .optional()?;
    // What was ended meanwhile ends this, too.
    if earlier.as_deref() != instead_of || ended(transaction, source)?.is_some() {
        return Ok(Exchanging::Moved);
    }
    drop_old(transaction, now)?;
    if let Some(full) = full(transaction, &row.subject, *writes, now)? {
        return Ok(full);
    }
    api_tokens::insert(transaction, row)?;
    // Of what it is in the place of it stays known where it came from: that can be ended still.
    transaction
        .prepare_cached("UPDATE exchanges SET identity = NULL WHERE identity = ?1")?
        .execute([identity.as_slice()])?;
    transaction
        .prepare_cached("INSERT INTO exchanges VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![row.id, identity, source, salt, seconds_after(*until)])?;
    Ok(Exchanging::Kept)
}

/// Returns how one of the tokens of a source was ended before its time, if one was.
fn ended(connection: &Connection, source: &[u8; 32]) -> rusqlite::Result<Option<Ending>> {
    let query = "SELECT ending FROM exchanges JOIN api_tokens ON id = token \
                 WHERE source = ?1 AND ended IS NOT NULL LIMIT 1";
    let word: Option<Option<String>> = connection
        .prepare_cached(query)?
        .query_row([source.as_slice()], |row| row.get(0))
        .optional()?;
    Ok(word.map(|word| Ending::of(&word.unwrap_or_default())))
}

/// Says whether a subject, or all jobs together, have as many tokens as may be.
///
/// What has ended counts, too, for as long as it is kept: who exchanges without end must not fill the
/// disk. Who only reads leaves places to those who publish.
fn full(
    connection: &Connection,
    subject: &str,
    writes: bool,
    now: SystemTime,
) -> rusqlite::Result<Option<Exchanging>> {
    let (before, time) = long_ended(now);
    let count = |subject: Option<&str>| -> rusqlite::Result<i64> {
        let of = if subject.is_some() { "subject = ?3" } else { "?3 IS NULL" };
        let query = format!(
            "SELECT count(*) FROM api_tokens WHERE {OF_JOBS} AND {of} AND NOT ({})",
            goes()
        );
        let mut count = connection.prepare_cached(&query)?;
        count.query_row(params![before, time, subject], |row| row.get(0))
    };
    let most = |most: u32| i64::from(if writes { most } else { most / 4 * 3 });
    if count(None)? >= most(limits::TOKENS_OF_JOBS) {
        return Ok(Some(Exchanging::Full));
    }
    let is_full = count(Some(subject))? >= most(limits::TOKENS_OF_JOB);
    Ok(is_full.then_some(Exchanging::TooMany))
}

/// Drops tokens of jobs that ended a while ago. Nothing is made with them, and the record has them all.
fn drop_old(transaction: &Transaction<'_>, now: SystemTime) -> rusqlite::Result<()> {
    let (before, time) = long_ended(now);
    let query = format!("DELETE FROM api_tokens WHERE {OF_JOBS} AND {}", goes());
    transaction.prepare_cached(&query)?.execute([before, time]).map(|_dropped| ())
}

/// Returns which tokens go, by the times of [`long_ended`].
///
/// As long as an identity may be shown, each of its tokens can be revoked, also one that another has
/// taken the place of: whoever reads its id in the record ends the identity with it. Of those that were
/// revoked it is known until then: without the row, the identity would get another.
fn goes() -> String {
    format!(
        "{} <= ?1 AND NOT EXISTS (SELECT 1 FROM exchanges \
         WHERE token = api_tokens.id AND (ended IS NOT NULL OR until > ?2))",
        api_tokens::END
    )
}

fn long_ended(now: SystemTime) -> (i64, i64) {
    let before = now.checked_sub(limits::ENDED_JOB_TOKEN_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
    (seconds(before), seconds(now))
}

fn seconds(time: SystemTime) -> i64 {
    i64::try_from(time::since_epoch(time).as_secs()).unwrap_or(i64::MAX)
}

/// Rounds up: what is rounded away could be exchanged once more.
fn seconds_after(time: SystemTime) -> i64 {
    seconds(time + Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
