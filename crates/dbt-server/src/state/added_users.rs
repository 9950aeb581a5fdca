//! People whom somebody with the right to has added, over HTTP or by a command, and the roles that they were
//! given. Whom the settings manage are not among them: for those the settings alone speak.

use std::collections::HashMap;
use std::time::SystemTime;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::api_tokens;
use super::users::{self, Changed};
use super::{State, StateError};
use crate::limits;

/// That somebody was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// By whom.
    pub by: String,
    /// The roles that were given to them.
    pub roles: Vec<String>,
}

impl State {
    /// Says by whom somebody was added, if they were.
    pub fn addition(&self, subject: &str) -> Result<Option<Addition>, StateError> {
        self.look(|connection| find(connection, subject))
    }

    /// Returns the roles of all who were given some.
    pub fn given_roles(&self) -> Result<HashMap<String, Vec<String>>, StateError> {
        self.look(|connection| {
            let query = "SELECT subject, roles FROM added_users WHERE roles <> '[]'";
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, read(&row.get::<_, String>(1)?)));
            connection.prepare_cached(query)?.query_map([], row)?.collect()
        })
    }
}

/// Says whether a database that is only looked at is recent enough to know of anybody who was added.
fn are_known(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM sqlite_master WHERE name = 'added_users'")?.exists([])
}

/// Says by whom somebody was added, if they were.
pub fn find(connection: &Connection, subject: &str) -> rusqlite::Result<Option<Addition>> {
    if !are_known(connection)? {
        return Ok(None);
    }
    let query = "SELECT added_by, roles FROM added_users WHERE subject = ?1";
    connection
        .prepare_cached(query)?
        .query_row([subject], |row| {
            Ok(Addition { by: row.get(0)?, roles: read(&row.get::<_, String>(1)?) })
        })
        .optional()
}

/// Adds somebody whom the settings do not manage, also somebody who has signed in already.
pub(crate) fn add(
    transaction: &Transaction<'_>,
    subject: &str,
    by: &str,
    roles: &[String],
    now: SystemTime,
) -> rusqlite::Result<Changed> {
    if is_managed(transaction, subject)? {
        return Ok(Changed::Managed);
    }
    if find(transaction, subject)?.is_some() {
        return Ok(Changed::Known);
    }
    let query = "SELECT count(*) FROM added_users";
    let all: i64 = transaction.query_row(query, [], |row| row.get(0))?;
    if all >= i64::from(limits::ADDED_USERS) {
        return Ok(Changed::Full);
    }
    users::keep(transaction, subject, false, now)?;
    let query = "INSERT INTO added_users (subject, added_by, roles) VALUES (?1, ?2, ?3)";
    transaction.prepare_cached(query)?.execute(params![subject, by, written(roles)])?;
    Ok(Changed::Done { revoked: Vec::new() })
}

/// Gives somebody who was added other roles, unless somebody else did meanwhile.
pub(crate) fn give(
    transaction: &Transaction<'_>,
    subject: &str,
    before: &[String],
    roles: &[String],
) -> rusqlite::Result<Changed> {
    if is_managed(transaction, subject)? {
        return Ok(Changed::Managed);
    }
    let Some(Addition { by: _, roles: held }) = find(transaction, subject)? else {
        return Ok(Changed::Unknown);
    };
    if held != before {
        return Ok(Changed::Moved);
    }
    if held == roles {
        return Ok(Changed::Unchanged);
    }
    let query = "UPDATE added_users SET roles = ?2 WHERE subject = ?1";
    transaction.prepare_cached(query)?.execute(params![subject, written(roles)])?;
    Ok(Changed::Done { revoked: Vec::new() })
}

/// Deletes somebody with their roles, and ends their tokens. What they made for others belongs to nobody
/// then. Who is suspended stays so: to be deleted is no way back.
pub(crate) fn delete(
    transaction: &Transaction<'_>,
    subject: &str,
    now: SystemTime,
) -> rusqlite::Result<Changed> {
    if is_managed(transaction, subject)? {
        return Ok(Changed::Managed);
    }
    forget(transaction, subject)?;
    let query = "UPDATE users SET deleted = suspended IS NULL, disowned = ?2 \
                 WHERE subject = ?1 AND deleted = 0";
    let values = params![subject, api_tokens::seconds(now)];
    if transaction.prepare_cached(query)?.execute(values)? == 0 {
        return Ok(Changed::Unknown);
    }
    Ok(Changed::Done { revoked: users::revoke(transaction, subject, now)? })
}

/// Takes away that somebody was added; says whether they were.
pub(super) fn forget(transaction: &Transaction<'_>, subject: &str) -> rusqlite::Result<bool> {
    let query = "DELETE FROM added_users WHERE subject = ?1";
    Ok(transaction.prepare_cached(query)?.execute([subject])? > 0)
}

fn is_managed(transaction: &Transaction<'_>, subject: &str) -> rusqlite::Result<bool> {
    let query = "SELECT 1 FROM users WHERE subject = ?1 AND managed";
    transaction.prepare_cached(query)?.exists([subject])
}

/// What cannot be read gives nothing.
fn read(roles: &str) -> Vec<String> {
    serde_json::from_str(roles).unwrap_or_default()
}

fn written(roles: &[String]) -> String {
    // Texts can always be written.
    serde_json::to_string(roles).unwrap_or_else(|_never| "[]".to_owned())
}

#[cfg(test)]
mod tests;
