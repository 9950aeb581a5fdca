//! The server's own tokens, as rows: who has which, made with which, until when, and how each ended.
//! What a row says about rights is text here. Of the token itself there is a digest.

use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OptionalExtension as _, Row as Columns, Transaction, params};

use super::{Claim, State, StateError};
use crate::{limits, time};

/// A token, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// By what people and the record know it.
    pub id: String,
    /// The SHA-256 of its text.
    pub digest: [u8; 32],
    /// Whose it is, as rules name them.
    pub subject: String,
    /// Who made it.
    pub created_by: String,
    /// Who made the first of the tokens that lead to it, without showing one.
    pub origin: String,
    /// The token that it was made with and is revoked with.
    pub made_with: Option<String>,
    /// What else there is to say of it.
    pub about: String,
    /// When it was made.
    pub created: SystemTime,
    /// Until when it counts, if not for ever.
    pub expires: Option<SystemTime>,
    /// When it was last used, to the minute.
    pub used: Option<SystemTime>,
    /// When and how it ended before its time.
    pub ended: Option<(SystemTime, Ending)>,
}

/// Some of the tokens there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Which.
    pub rows: Vec<Row>,
    /// After which the next ones come, if there are more.
    pub next: Option<String>,
}

/// How a token ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody revoked it, or what it was made with.
    Revoked,
    /// It was for one use.
    Spent,
    /// The state is that of a backup, after which it may have been revoked.
    Restored,
}

impl Ending {
    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Spent => "spent",
            Self::Restored => "restored",
        }
    }

    pub(super) fn of(word: &str) -> Self {
        let known = [Self::Spent, Self::Restored].into_iter().find(|it| it.as_str() == word);
        known.unwrap_or(Self::Revoked)
    }
}

/// What there has to be for one more token, and what it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Making {
    /// How many tokens that count its subject may have.
    pub each: u32,
    /// The token that whoever makes it has shown.
    pub with: Option<String>,
    /// Whether that one was for one use, which this is.
    pub spending: bool,
    /// Whether the others of its subject end, so that there is one of them at most.
    pub alone: bool,
}

/// What came of adding a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is on the disk, and so many others ended for it.
    Kept {
        /// How many.
        ended: usize,
    },
    /// Its subject has as many as may be.
    TooMany,
    /// The server has as many as may be.
    Full,
    /// The token that it is made with counts no more, for this reason; without one, it has expired
    /// or is not kept any more.
    Gone(Option<Ending>),
}

/// Which tokens to revoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this id.
    One(String),
    /// All of a subject.
    Of(String),
    /// All that somebody made, also by tokens that they had made.
    CreatedBy(String),
}

/// What is to be revoked, by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoking {
    /// Which tokens.
    pub which: Which,
    /// Whether what was made with them goes on to count.
    pub keep_made: bool,
    /// The token that whoever revokes them has shown.
    pub with: Option<String>,
}

/// What came of revoking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// None of them counts any more. These did until now.
    Done {
        /// Those that were asked for.
        named: Vec<String>,
        /// Those that were made with them.
        made: Vec<String>,
    },
    /// There is no such token, and was none.
    Unknown,
    /// The token that was shown for it counts no more.
    Gone(Option<Ending>),
    /// What was made with them was to stay, and the token that was shown is one of them, or was made
    /// with one.
    Within,
}

const COLUMNS: &str = "id, digest, subject, created_by, origin, made_with, about, created, expires, \
                       used, ended, ending";

/// What is true of a token that counts at the time `?1`.
const COUNTS: &str = "ended IS NULL AND (expires IS NULL OR expires > ?1)";

/// What was true of a token that ended only now, at the time `?1`.
const COUNTED: &str = "expires IS NULL OR expires > ?1";

/// What is true of the tokens that jobs got for their identities, which have places of their own: no other
/// subjects are between these.
pub(super) const OF_JOBS: &str = "(subject >= 'ci:' AND subject < 'ci;')";

/// When a token ended, or will. There is an index of this.
pub(super) const END: &str = "coalesce(ended, expires)";

impl State {
    /// Looks for the token with a digest.
    pub fn token_of_digest(&self, digest: &[u8; 32]) -> Result<Option<Row>, StateError> {
        self.look(|connection| {
            let query = format!("SELECT {COLUMNS} FROM api_tokens WHERE digest = ?1");
            connection.prepare_cached(&query)?.query_row([digest.as_slice()], row).optional()
        })
    }

    /// Returns the digests of all tokens that are kept, whether or not they count.
    pub fn token_digests(&self) -> Result<Vec<[u8; 32]>, StateError> {
        self.look(|connection| {
            let mut statement = connection.prepare("SELECT digest FROM api_tokens")?;
            statement.query_map([], |row| row.get(0))?.collect()
        })
    }

    /// Looks for the token with an id.
    pub fn token(&self, id: &str) -> Result<Option<Row>, StateError> {
        self.look(|connection| find(connection, id))
    }

    /// Returns tokens, or those of one subject, in the order of their ids: that many after one at most.
    pub fn tokens(
        &self,
        subject: Option<&str>,
        after: Option<&str>,
        most: u32,
    ) -> Result<Page, StateError> {
        self.look(|connection| page(connection, subject, after, most))
    }

    /// Writes the times at which tokens were last used.
    pub async fn tokens_used(&self, used: Vec<(String, SystemTime)>) -> Result<(), StateError> {
        self.write(Claim::Ordinary, move |transaction| {
            let query = "UPDATE api_tokens SET used = ?2 WHERE id = ?1";
            let mut statement = transaction.prepare(query)?;
            for (id, time) in &used {
                statement.execute(params![id, seconds(*time)])?;
            }
            Ok(())
        })
        .await
    }
}

/// Says whether a database that is only looked at is recent enough to have tokens.
pub fn are_known(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM sqlite_master WHERE name = 'api_tokens'")?.exists([])
}

/// Looks for the token with an id.
pub fn find(connection: &Connection, id: &str) -> rusqlite::Result<Option<Row>> {
    let query = format!("SELECT {COLUMNS} FROM api_tokens WHERE id = ?1");
    connection.prepare_cached(&query)?.query_row([id], row).optional()
}

/// Returns tokens, or those of one subject, in the order of their ids: that many after one at most, and
/// fewer where they are long.
pub fn page(
    connection: &Connection,
    subject: Option<&str>,
    after: Option<&str>,
    most: u32,
) -> rusqlite::Result<Page> {
    let of = if subject.is_some() { "subject = ?1" } else { "?1 IS NULL" };
    let query = format!("SELECT {COLUMNS} FROM api_tokens WHERE {of} AND id > ?2 ORDER BY id");
    let mut statement = connection.prepare_cached(&query)?;
    let mut found = statement.query_map(params![subject, after.unwrap_or_default()], row)?;
    let (mut rows, mut bytes) = (Vec::<Row>::new(), 0);
    while rows.len() < most as usize && bytes < limits::PAGE_OF_TOKENS_BYTES {
        let Some(row) = found.next().transpose()? else { return Ok(Page { rows, next: None }) };
        bytes += row.about.len() + row.subject.len() + row.created_by.len() + row.origin.len();
        rows.push(row);
    }
    let has_more = found.next().transpose()?.is_some();
    let next = rows.last().filter(|_last| has_more).map(|last| last.id.clone());
    Ok(Page { rows, next })
}

/// Adds a token, if the one that it is made with still counts and there is room. In the same step it
/// ends what the new one ends.
pub(crate) fn add(
    transaction: &Transaction<'_>,
    new: &Row,
    making: &Making,
    now: SystemTime,
) -> rusqlite::Result<Added> {
    let Making { each, with, spending, alone } = making;
    let time = seconds(now);
    if let Some(id) = with
        && let Err(ending) = counts(transaction, id, time)?
    {
        return Ok(Added::Gone(ending));
    }
    let has_room = drop_old(transaction, now)?;
    let query = format!("SELECT count(*) FROM api_tokens WHERE NOT {OF_JOBS}");
    let all: i64 = transaction.query_row(&query, [], |row| row.get(0))?;
    if !has_room || all - ended_at(transaction, time)? >= i64::from(limits::TOKENS) {
        return Ok(Added::Full);
    }
    let ended =
        if *alone { end_every(transaction, Some(&new.subject), time, Ending::Revoked)? } else { 0 };
    let query = format!("SELECT count(*) FROM api_tokens WHERE {COUNTS} AND subject = ?2");
    let own: i64 = transaction.query_row(&query, params![time, new.subject], |row| row.get(0))?;
    if own >= i64::from(*each) {
        return Ok(Added::TooMany);
    }
    if let Some(spent) = with.as_ref().filter(|_id| *spending) {
        let query = "UPDATE api_tokens SET ended = ?1, ending = ?3 WHERE id = ?2";
        transaction.execute(query, params![time, spent, Ending::Spent.as_str()])?;
    }
    insert(transaction, new)?;
    Ok(Added::Kept { ended })
}

/// Adds a token, whatever there is.
pub(super) fn insert(transaction: &Transaction<'_>, new: &Row) -> rusqlite::Result<()> {
    let query = format!(
        "INSERT INTO api_tokens ({COLUMNS}) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, NULL, NULL, NULL)"
    );
    let (created, expires) = (seconds(new.created), new.expires.map(seconds));
    let Row { id, digest, subject, created_by, origin, made_with, about, .. } = new;
    transaction.execute(
        &query,
        params![id, digest, subject, created_by, origin, made_with, about, created, expires],
    )?;
    Ok(())
}

/// Ends tokens, and all that was made with them unless that is to stay.
pub(crate) fn end(
    transaction: &Transaction<'_>,
    revoking: &Revoking,
    now: SystemTime,
) -> rusqlite::Result<Revoked> {
    let Revoking { which, keep_made, with } = revoking;
    let time = seconds(now);
    if let Some(id) = with
        && let Err(ending) = counts(transaction, id, time)?
    {
        return Ok(Revoked::Gone(ending));
    }
    let (condition, value) = match which {
        Which::One(id) => ("id = ?1", id),
        Which::Of(subject) => ("subject = ?1", subject),
        Which::CreatedBy(subject) => ("(created_by = ?1 OR origin = ?1)", subject),
    };
    let ids = |query: &str| -> rusqlite::Result<Vec<String>> {
        transaction.prepare(query)?.query_map([value], |row| row.get(0))?.collect()
    };
    let meant = format!("SELECT id FROM api_tokens WHERE {condition}");
    let named = ids(&meant)?;
    if named.is_empty() {
        return Ok(Revoked::Unknown);
    }
    let with_made = ids(&format!(
        "WITH RECURSIVE made(id) AS ({meant} UNION SELECT it.id FROM api_tokens it \
         JOIN made ON it.made_with = made.id) SELECT id FROM made"
    ))?;
    if *keep_made && with.as_ref().is_some_and(|with| with_made.contains(with)) {
        return Ok(Revoked::Within);
    }
    let mut statement = transaction.prepare(&format!(
        "UPDATE api_tokens SET ended = ?1, ending = ?3 WHERE id = ?2 AND ended IS NULL \
         RETURNING {COUNTED}"
    ))?;
    let mut end = |id: &String| -> rusqlite::Result<bool> {
        let values = params![time, id, Ending::Revoked.as_str()];
        // An expired one, too, is revoked: a clock that is put back must not revive it.
        Ok(statement.query_row(values, |row| row.get(0)).optional()?.unwrap_or_default())
    };
    let known: std::collections::HashSet<String> = named.iter().cloned().collect();
    let (mut counted, mut made) = (Vec::new(), Vec::new());
    for id in named {
        if end(&id)? {
            counted.push(id);
        }
    }
    for id in with_made.into_iter().filter(|id| !*keep_made && !known.contains(id)) {
        if end(&id)? {
            made.push(id);
        }
    }
    Ok(Revoked::Done { named: counted, made })
}

/// Ends every token that counts; returns how many there were.
pub(crate) fn end_all(
    transaction: &Transaction<'_>,
    now: SystemTime,
    ending: Ending,
) -> rusqlite::Result<usize> {
    end_every(transaction, None, seconds(now), ending)
}

/// Ends every token, or every one of a subject; returns how many counted. Those that have expired end,
/// too: a clock that is put back must not revive them.
fn end_every(
    transaction: &Transaction<'_>,
    subject: Option<&str>,
    time: i64,
    ending: Ending,
) -> rusqlite::Result<usize> {
    let query = format!(
        "UPDATE api_tokens SET ended = ?1, ending = ?3 \
         WHERE ended IS NULL AND (?2 IS NULL OR subject = ?2) RETURNING {COUNTED}"
    );
    let mut statement = transaction.prepare(&query)?;
    let ended: Vec<bool> = statement
        .query_map(params![time, subject, ending.as_str()], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(ended.into_iter().filter(|counted| *counted).count())
}

/// Says whether a token counts; where not, why, if somebody ended it.
fn counts(
    transaction: &Transaction<'_>,
    id: &str,
    time: i64,
) -> rusqlite::Result<Result<(), Option<Ending>>> {
    let query = format!("SELECT {COUNTS}, ending FROM api_tokens WHERE id = ?2");
    let found = transaction.prepare_cached(&query)?.query_row(params![time, id], |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?))
    });
    Ok(match found.optional()? {
        Some((true, _ending)) => Ok(()),
        Some((false, ending)) => Err(ending.map(|word| Ending::of(&word))),
        None => Err(None),
    })
}

/// Returns how many tokens had ended at some time.
fn ended_at(transaction: &Transaction<'_>, time: i64) -> rusqlite::Result<i64> {
    let query = format!("SELECT count(*) FROM api_tokens WHERE {END} <= ?1 AND NOT {OF_JOBS}");
    transaction.query_row(&query, [time], |row| row.get(0))
}

/// Drops what ended long ago, and what ended first where too many have. What others were made with stays
/// as long as they do: without it, nobody could end them by it any more. Says whether there is room then
/// for one more.
fn drop_old(transaction: &Transaction<'_>, now: SystemTime) -> rusqlite::Result<bool> {
    let long_ago = now.checked_sub(limits::ENDED_TOKEN_TIME).unwrap_or(SystemTime::UNIX_EPOCH);
    let query = format!(
        "DELETE FROM api_tokens WHERE id IN (SELECT id FROM api_tokens it WHERE {END} <= ?1 \
         AND NOT {OF_JOBS} AND NOT EXISTS (SELECT 1 FROM api_tokens WHERE made_with = it.id) \
         ORDER BY {END}, id LIMIT ?2)"
    );
    let mut drop = transaction.prepare_cached(&query)?;
    drop.execute(params![seconds(long_ago), i64::MAX])?;
    let too_many = ended_at(transaction, seconds(now))? - i64::from(limits::ENDED_TOKENS);
    Ok(too_many <= 0 || drop.execute(params![seconds(now), too_many])? > 0)
}

fn row(columns: &Columns<'_>) -> rusqlite::Result<Row> {
    let time = |index: usize| -> rusqlite::Result<Option<SystemTime>> {
        Ok(columns.get::<_, Option<i64>>(index)?.map(moment))
    };
    let ending: Option<String> = columns.get(11)?;
    let ended = time(10)?.map(|when| (when, Ending::of(ending.as_deref().unwrap_or_default())));
    Ok(Row {
        id: columns.get(0)?,
        digest: columns.get(1)?,
        subject: columns.get(2)?,
        created_by: columns.get(3)?,
        origin: columns.get(4)?,
        made_with: columns.get(5)?,
        about: columns.get(6)?,
        created: moment(columns.get(7)?),
        expires: time(8)?,
        used: time(9)?,
        ended,
    })
}

pub(super) fn seconds(time: SystemTime) -> i64 {
    i64::try_from(time::since_epoch(time).as_secs()).unwrap_or(i64::MAX)
}

pub(super) fn moment(seconds: i64) -> SystemTime {
    // Nobody lives to see more, and the clock cannot count further.
    let most = Duration::from_secs(253_402_300_799);
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(most)
}

#[cfg(test)]
mod tests;
