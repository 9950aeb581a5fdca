//! People who have signed in, or whom the settings name, and who of all is suspended.

use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Row as Columns, Transaction, params};
use sha2::{Digest as _, Sha256};

use super::added_users::{self, Addition};
use super::api_tokens::{self, Revoking, Which};
use super::{Claim, Revoked, State, StateError};
use crate::limits;

/// Somebody of whom something is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who, as rules name them.
    pub subject: String,
    /// By what paths name them: see [`id`].
    pub id: String,
    /// Whether the settings name them.
    pub managed: bool,
    /// Since when something is kept.
    pub created: SystemTime,
    /// When they were last seen, to the hour.
    pub seen: Option<SystemTime>,
    /// Since when they are suspended, if they are.
    pub suspended: Option<Suspension>,
    /// By whom they were added, and the roles that they were given, if they were.
    pub added: Option<Addition>,
}

/// That somebody is suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Who.
    pub subject: String,
    /// Since when.
    pub since: SystemTime,
    /// Who did it; [`SETTINGS`] where the settings say so.
    pub by: String,
    /// Why, as whoever did it says.
    pub reason: String,
}

/// Why nothing is permitted to somebody, or by a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bar {
    /// They are suspended, or who owns the token is.
    Suspended(Suspension),
    /// Who owns the token was suspended or deleted since it is theirs, and nobody has taken it over.
    Disowned {
        /// Who.
        subject: String,
        /// When.
        since: SystemTime,
    },
}

/// Somebody who is or was suspended, or was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    /// Who.
    pub subject: String,
    /// Whether they are suspended now.
    pub suspended: bool,
}

/// Who suspends somebody of whom the settings say that they are.
pub const SETTINGS: &str = "the settings";

/// Some of the people of whom something is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Who.
    pub users: Vec<User>,
    /// After which id the next ones come, if there are more.
    pub next: Option<String>,
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is so now. These tokens of theirs counted until then.
    Done {
        /// Their ids.
        revoked: Vec<String>,
    },
    /// It was so before.
    Unchanged,
    /// The settings manage them, and win.
    Managed,
    /// They were added before.
    Known,
    /// Nothing is kept of them that could be changed.
    Unknown,
    /// Somebody else changed it meanwhile.
    Moved,
    /// As many were added as may be.
    Full,
}

/// What the settings changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reconciled {
    /// Of whom.
    pub subject: String,
    /// What.
    pub what: Difference,
    /// Which of their tokens counted until then.
    pub revoked: Vec<String>,
}

/// In what the settings differ from what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// They name somebody now.
    Added,
    /// They suspend somebody.
    Suspended,
    /// They say of somebody who was suspended otherwise that they are not.
    Reactivated,
    /// They do not name somebody any more.
    Removed,
    /// They do not name somebody any more who was suspended otherwise, and stays so.
    Released,
    /// They name somebody who was added otherwise; what was given to them then ends.
    Claimed,
}

impl Difference {
    /// Returns the word for it in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Suspended => "suspended",
            Self::Reactivated => "reactivated",
            Self::Removed => "removed",
            Self::Released => "released",
            Self::Claimed => "claimed",
        }
    }
}

const COLUMNS: &str =
    "subject, id, managed, created, seen, suspended, suspended_by, suspended_because";

/// Who is kept only because something of theirs still is: they are nobody else's business.
const IS_THERE: &str = "deleted = 0";

/// Whose a token is: who made it, and who made what it was made with, up to the first that somebody has
/// taken over, and since when. The one without a parent was made by who made the first of the line.
const OWNERS: &str = "WITH RECURSIVE line(owner, since, parent) AS (\
    SELECT coalesce(own.owner, it.created_by), coalesce(own.since, it.created), \
    iif(own.owner IS NULL, it.made_with, NULL) \
    FROM api_tokens it LEFT JOIN token_owners own ON own.token = it.id WHERE it.id = ?1 \
    UNION SELECT coalesce(own.owner, it.created_by), coalesce(own.since, it.created), \
    iif(own.owner IS NULL, it.made_with, NULL) \
    FROM line JOIN api_tokens it ON it.id = line.parent \
    LEFT JOIN token_owners own ON own.token = it.id)";

/// Returns by what paths name a subject, whose own name may not be a segment of one: a digest of it.
pub fn id(subject: &str) -> String {
    use std::fmt::Write as _;

    let mut text = String::new();
    for byte in Sha256::digest(subject.as_bytes()).iter().take(16) {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
    }
    text
}

impl State {
    /// Says why nothing is permitted to somebody, or by the token that they show, if so.
    pub fn bar(&self, subject: &str, token: Option<&str>) -> Result<Option<Bar>, StateError> {
        self.look(|connection| bar(connection, subject, token))
    }

    /// Returns everybody who is suspended, and those whose tokens were disowned.
    pub fn barred(&self) -> Result<Vec<Barred>, StateError> {
        self.look(|connection| {
            let query = "SELECT subject, suspended IS NOT NULL FROM users \
                         WHERE suspended IS NOT NULL OR disowned IS NOT NULL";
            let row =
                |row: &Columns<'_>| Ok(Barred { subject: row.get(0)?, suspended: row.get(1)? });
            connection.prepare_cached(query)?.query_map([], row)?.collect()
        })
    }

    /// Looks for somebody by their id.
    pub fn user(&self, id: &str) -> Result<Option<User>, StateError> {
        self.look(|connection| {
            let query = format!("SELECT {COLUMNS} FROM users WHERE id = ?1 AND {IS_THERE}");
            let found = connection.prepare_cached(&query)?.query_row([id], row).optional()?;
            found.map(|user| with_addition(connection, user)).transpose()
        })
    }

    /// Returns people in the order of their ids: that many after one at most.
    pub fn users(&self, after: Option<&str>, most: u32) -> Result<Page, StateError> {
        self.look(|connection| page(connection, after, most))
    }

    /// Returns who owns a token.
    pub fn owner(&self, token: &str) -> Result<Option<String>, StateError> {
        self.look(|connection| {
            let query = "SELECT coalesce(own.owner, it.created_by) FROM api_tokens it \
                         LEFT JOIN token_owners own ON own.token = it.id WHERE it.id = ?1";
            connection.prepare_cached(query)?.query_row([token], |row| row.get(0)).optional()
        })
    }

    /// Keeps who was seen. Of strangers there are so many at most.
    pub async fn users_seen(&self, seen: Vec<(String, SystemTime)>) -> Result<(), StateError> {
        self.write(Claim::Ordinary, move |transaction| keep_seen(transaction, &seen)).await
    }
}

/// Says whether a database that is only looked at is recent enough to know people.
pub fn are_known(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare("SELECT 1 FROM sqlite_master WHERE name = 'users'")?.exists([])
}

/// Says why nothing is permitted to somebody, or by the token that they show, if so: they are suspended, or
/// one of those whose it is; or one of those was since it is theirs.
pub fn bar(
    connection: &Connection,
    subject: &str,
    token: Option<&str>,
) -> rusqlite::Result<Option<Bar>> {
    let columns = "subject, suspended, suspended_by, suspended_because, disowned";
    let of = |row: &Columns<'_>| {
        let subject = row.get(0)?;
        let Some(since) = row.get::<_, Option<i64>>(1)? else {
            return Ok(Bar::Disowned { subject, since: api_tokens::moment(row.get(4)?) });
        };
        let (since, by, reason) = (api_tokens::moment(since), row.get(2)?, row.get(3)?);
        Ok(Bar::Suspended(Suspension { subject, since, by, reason }))
    };
    let query = format!("SELECT {columns} FROM users WHERE subject = ?1 AND suspended IS NOT NULL");
    let own = connection.prepare_cached(&query)?.query_row([subject], of).optional()?;
    let (None, Some(token)) = (&own, token) else { return Ok(own) };
    let query = format!(
        "{OWNERS} SELECT {columns} FROM line JOIN users ON subject = owner \
         WHERE suspended IS NOT NULL OR disowned >= since \
         ORDER BY suspended IS NULL, subject LIMIT 1"
    );
    connection.prepare_cached(&query)?.query_row([token], of).optional()
}

/// Returns people in the order of their ids: that many after one at most.
pub fn page(connection: &Connection, after: Option<&str>, most: u32) -> rusqlite::Result<Page> {
    let query =
        format!("SELECT {COLUMNS} FROM users WHERE id > ?1 AND {IS_THERE} ORDER BY id LIMIT ?2");
    let mut statement = connection.prepare_cached(&query)?;
    let after = after.unwrap_or_default();
    let found = statement.query_map(params![after, i64::from(most) + 1], row)?;
    let mut users: Vec<User> = found.collect::<rusqlite::Result<_>>()?;
    let has_more = users.len() > most as usize;
    users.truncate(most as usize);
    let next = users.last().filter(|_last| has_more).map(|last| last.id.clone());
    let users = users.into_iter().map(|user| with_addition(connection, user));
    Ok(Page { users: users.collect::<rusqlite::Result<_>>()?, next })
}

fn with_addition(connection: &Connection, user: User) -> rusqlite::Result<User> {
    Ok(User { added: added_users::find(connection, &user.subject)?, ..user })
}

/// Suspends somebody, and ends their tokens; what was made with these is not theirs alone and stays, as far
/// as it counts for anything while its maker is suspended.
pub(crate) fn suspend(
    transaction: &Transaction<'_>,
    subject: &str,
    by: &str,
    reason: &str,
    now: SystemTime,
) -> rusqlite::Result<Changed> {
    keep(transaction, subject, false, now)?;
    let query = "UPDATE users SET suspended = ?2, suspended_by = ?3, suspended_because = ?4, \
                 disowned = ?2 WHERE subject = ?1 AND suspended IS NULL";
    let changed = transaction.prepare_cached(query)?.execute(params![
        subject,
        api_tokens::seconds(now),
        by,
        reason
    ])?;
    // Also where they are suspended already: none that was made meanwhile may outlive it.
    let revoked = revoke(transaction, subject, now)?;
    if changed == 0 && revoked.is_empty() {
        return Ok(Changed::Unchanged);
    }
    Ok(Changed::Done { revoked })
}

/// Takes somebody's suspension away. Tokens that it ended stay ended, and those that were made meanwhile end,
/// too; what they made for others stays with whoever takes it over.
pub(crate) fn reactivate(
    transaction: &Transaction<'_>,
    subject: &str,
    now: SystemTime,
) -> rusqlite::Result<Changed> {
    let query = "UPDATE users SET suspended = NULL, suspended_by = NULL, suspended_because = NULL, \
                 disowned = max(disowned, ?2) WHERE subject = ?1 AND suspended IS NOT NULL";
    // Until the second before: what they make from now on is theirs.
    let until = api_tokens::seconds(now).saturating_sub(1);
    if transaction.prepare_cached(query)?.execute(params![subject, until])? == 0 {
        return Ok(Changed::Unchanged);
    }
    Ok(Changed::Done { revoked: revoke(transaction, subject, now)? })
}

/// Makes of those whom the settings manage what these say; returns what was otherwise.
pub(crate) fn reconcile(
    transaction: &Transaction<'_>,
    managed: &[(String, bool)],
    now: SystemTime,
) -> rusqlite::Result<Vec<Reconciled>> {
    let mut changes = Vec::new();
    let mut note = |subject: &str, what, revoked| {
        changes.push(Reconciled { subject: subject.to_owned(), what, revoked });
    };
    let before: Vec<String> = transaction
        .prepare_cached("SELECT subject FROM users WHERE managed ORDER BY subject")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let is_named = |subject: &String| managed.iter().any(|(named, _suspended)| named == subject);
    for subject in before.iter().filter(|subject| !is_named(subject)) {
        let revoked = revoke(transaction, subject, now)?;
        // Whom somebody else suspended was not suspended by the settings, and is not reactivated by them.
        // Of who is deleted stays known that what they made for others belongs to nobody.
        let query = "UPDATE users SET deleted = 1, disowned = ?3, suspended = NULL, \
                     suspended_by = NULL, suspended_because = NULL WHERE subject = ?1 \
                     AND (suspended IS NULL OR suspended_by = ?2)";
        let values = params![subject, SETTINGS, api_tokens::seconds(now)];
        let removed = transaction.prepare_cached(query)?.execute(values)? > 0;
        let release = "UPDATE users SET managed = 0 WHERE subject = ?1";
        transaction.prepare_cached(release)?.execute([subject])?;
        note(subject, if removed { Difference::Removed } else { Difference::Released }, revoked);
    }
    for (subject, suspended) in managed {
        let is_claimed = added_users::forget(transaction, subject)?;
        let is_new = keep(transaction, subject, true, now)?;
        if is_claimed {
            note(subject, Difference::Claimed, Vec::new());
        } else if is_new {
            note(subject, Difference::Added, Vec::new());
        }
        let done = if *suspended {
            suspend(transaction, subject, SETTINGS, "", now)?
        } else {
            reactivate(transaction, subject, now)?
        };
        if let Changed::Done { revoked } = done {
            let what = if *suspended { Difference::Suspended } else { Difference::Reactivated };
            note(subject, what, revoked);
        }
    }
    Ok(changes)
}

/// Gives a token another owner; says whether there is such a token that has not ended.
pub(crate) fn own(
    transaction: &Transaction<'_>,
    token: &str,
    owner: &str,
    now: SystemTime,
) -> rusqlite::Result<bool> {
    let query = "DELETE FROM token_owners WHERE token NOT IN (SELECT id FROM api_tokens)";
    transaction.execute(query, [])?;
    // From the next second on: what was disowned in this one, before, must not take it away again.
    let since = api_tokens::seconds(now).saturating_add(1);
    let query = "INSERT INTO token_owners SELECT id, ?2, ?3 FROM api_tokens \
                 WHERE id = ?1 AND ended IS NULL \
                 ON CONFLICT (token) DO UPDATE SET owner = excluded.owner, since = excluded.since";
    Ok(transaction.execute(query, params![token, owner, since])? > 0)
}

/// Keeps somebody, if they are not, or are deleted; says whether something was added.
pub(super) fn keep(
    transaction: &Transaction<'_>,
    subject: &str,
    managed: bool,
    now: SystemTime,
) -> rusqlite::Result<bool> {
    let query = "INSERT INTO users (subject, id, managed, created) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (subject) DO UPDATE SET managed = max(managed, excluded.managed), \
                 deleted = 0 WHERE excluded.managed > managed OR deleted";
    let values = params![subject, id(subject), managed, api_tokens::seconds(now)];
    Ok(transaction.prepare_cached(query)?.execute(values)? > 0)
}

/// Ends the tokens of a subject; returns which of them counted. What was made with them stays.
pub(super) fn revoke(
    transaction: &Transaction<'_>,
    subject: &str,
    now: SystemTime,
) -> rusqlite::Result<Vec<String>> {
    let which = Which::Of(subject.to_owned());
    let revoking = Revoking { which, keep_made: true, with: None };
    Ok(match api_tokens::end(transaction, &revoking, now)? {
        Revoked::Done { named, made: _ } => named,
        Revoked::Unknown | Revoked::Gone(_) | Revoked::Within => Vec::new(),
    })
}

fn keep_seen(transaction: &Transaction<'_>, seen: &[(String, SystemTime)]) -> rusqlite::Result<()> {
    let query = "SELECT count(*) FROM users";
    let all: i64 = transaction.query_row(query, [], |row| row.get(0))?;
    let mut room = i64::from(limits::USERS) - all;
    for (subject, time) in seen {
        let query = "UPDATE users SET seen = ?2 WHERE subject = ?1 AND deleted = 0";
        let time_kept = api_tokens::seconds(*time);
        let known = transaction.prepare_cached(query)?.execute(params![subject, time_kept])? > 0;
        if !known && room > 0 {
            keep(transaction, subject, false, *time)?;
            transaction.prepare_cached(query)?.execute(params![subject, time_kept])?;
            room -= 1;
        }
    }
    Ok(())
}

fn row(columns: &Columns<'_>) -> rusqlite::Result<User> {
    let time = |index: usize| -> rusqlite::Result<Option<SystemTime>> {
        Ok(columns.get::<_, Option<i64>>(index)?.map(api_tokens::moment))
    };
    let subject: String = columns.get(0)?;
    let suspended = match time(5)? {
        Some(since) => {
            let (by, reason) = (columns.get(6)?, columns.get(7)?);
            Some(Suspension { subject: subject.clone(), since, by, reason })
        }
        None => None,
    };
    Ok(User {
        subject,
        id: columns.get(1)?,
        managed: columns.get(2)?,
        created: time(3)?.unwrap_or(SystemTime::UNIX_EPOCH),
        seen: time(4)?,
        suspended,
        added: None,
    })
}

#[cfg(test)]
mod tests;
