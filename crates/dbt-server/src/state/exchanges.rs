//! Identities of jobs that were exchanged, each for one token: which, so that none is exchanged twice that
//! counts once, and that an answer that was lost can be given again.

use std::time::{Duration, SystemTime};

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::api_tokens::{self, OF_JOBS, Row};
use super::{Claim, State, StateError};
use crate::{limits, time};

/// An identity that is exchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// By what it is known again.
    pub identity: [u8; 32],
    /// What the token is made of beside what the job has.
    pub salt: [u8; 32],
    /// Until when it may be shown.
    pub until: SystemTime,
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
    /// Looks for what an identity was exchanged for.
    pub fn exchanged(
        &self,
        identity: &[u8; 32],
        now: SystemTime,
    ) -> Result<Option<Exchanged>, StateError> {
        self.look(|connection| {
            let query = "SELECT token, salt FROM exchanges WHERE identity = ?1 AND until > ?2";
            let found: Option<(String, [u8; 32])> = connection
                .prepare_cached(query)?
                .query_row(params![identity, seconds(now)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((token, salt)) = found else { return Ok(None) };
            let row = api_tokens::find(connection, &token)?;
            Ok(Some(Exchanged { token, salt, row }))
        })
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
    let Exchange { identity, salt, until } = exchange;
    let time = seconds(now);
    transaction.prepare_cached("DELETE FROM exchanges WHERE until <= ?1")?.execute([time])?;
    let query = "SELECT token FROM exchanges WHERE identity = ?1";
    let earlier: Option<String> = transaction
        .prepare_cached(query)?
        .query_row([identity.as_slice()], |row| row.get(0))
        .optional()?;
    if earlier.as_deref() != instead_of {
        return Ok(Exchanging::Moved);
    }
    drop_old(transaction, now)?;
    let count = |condition: &str, subject: &str| -> rusqlite::Result<i64> {
        let query = format!("SELECT count(*) FROM api_tokens WHERE {OF_JOBS} AND {condition}");
        transaction.prepare_cached(&query)?.query_row(params![time, subject], |row| row.get(0))
    };
    // What has ended counts, too, for as long as it is kept: who exchanges without end must not fill the
    // disk.
    if count("?1 = ?1 AND ?2 = ?2", "")? >= i64::from(limits::TOKENS_OF_JOBS) {
        return Ok(Exchanging::Full);
    }
    let counting = format!("{} AND subject = ?2", api_tokens::COUNTS);
    if count(&counting, &row.subject)? >= i64::from(limits::TOKENS_OF_JOB) {
        return Ok(Exchanging::TooMany);
    }
    api_tokens::insert(transaction, row)?;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO exchanges VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![identity, row.id, salt, seconds_after(*until)])?;
    Ok(Exchanging::Kept)
}

/// Drops tokens of jobs that ended a while ago. Nothing is made with them, and the record has them all.
fn drop_old(transaction: &Transaction<'_>, now: SystemTime) -> rusqlite::Result<()> {
    let before = now.checked_sub(limits::ENDED_JOB_TOKEN_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
    // Of one that was revoked it must be known as long as its identity may be shown.
    let query = format!(
        "DELETE FROM api_tokens WHERE {OF_JOBS} AND {} <= ?1 AND (ended IS NULL OR NOT EXISTS \
         (SELECT 1 FROM exchanges WHERE token = api_tokens.id))",
        api_tokens::END
    );
    transaction.prepare_cached(&query)?.execute([seconds(before)]).map(|_dropped| ())
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
