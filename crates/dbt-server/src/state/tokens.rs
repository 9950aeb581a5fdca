//! Which tokens were used.

use std::time::{Duration, SystemTime};

use rusqlite::{Transaction, params};

use super::{Claim, State, StateError};
use crate::time;

/// A token that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedToken {
    /// By what it is known again.
    pub key: [u8; 32],
    /// Whether it was first used for a write.
    pub writes: bool,
    /// Until when it would be valid.
    pub expires: SystemTime,
}

/// From when on tokens that were issued can be known to be unused.
const SINCE: &str = "tokens_since";

impl State {
    /// Keeps that a token was used, and forgets those that have expired.
    pub async fn use_token(&self, used: UsedToken, now: SystemTime) -> Result<(), StateError> {
        let (expires, now) = (seconds_after(used.expires), whole_seconds(now));
        self.write(Claim::Reserved, move |transaction| {
            transaction.prepare("DELETE FROM used_tokens WHERE expires <= ?1")?.execute([now])?;
            transaction
                .prepare("INSERT OR REPLACE INTO used_tokens VALUES (?1, ?2, ?3)")?
                .execute(params![used.key, used.writes, expires])?;
            Ok(())
        })
        .await
    }

    /// Returns the tokens that were used and would still be valid.
    pub fn used_tokens(&self, now: SystemTime) -> Result<Vec<UsedToken>, StateError> {
        self.look(|connection| {
            let query = "SELECT key, writes, expires FROM used_tokens WHERE expires > ?1";
            let mut statement = connection.prepare(query)?;
            let used = statement.query_map([whole_seconds(now)], |row| {
                let expires = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
                let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(expires);
                Ok(UsedToken { key: row.get(0)?, writes: row.get(1)?, expires })
            })?;
            used.collect()
        })
    }

    /// Returns from when on all used tokens are known: since the state was begun or put back.
    pub fn tokens_since(&self) -> Result<SystemTime, StateError> {
        self.look(|connection| {
            let query =
                "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM about WHERE name = ?1";
            let seconds: i64 = connection.query_row(query, [SINCE], |row| row.get(0))?;
            Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
        })
    }
}

/// Notes that tokens from before may have been used, which nobody knows any more.
pub(crate) fn forget_before(
    transaction: &Transaction<'_>,
    now: SystemTime,
) -> rusqlite::Result<()> {
    let query = "INSERT OR REPLACE INTO about VALUES (?1, ?2)";
    transaction.execute(query, params![SINCE, whole_seconds(now).to_string()]).map(|_one| ())
}

fn whole_seconds(time: SystemTime) -> i64 {
    i64::try_from(time::since_epoch(time).as_secs()).unwrap_or(i64::MAX)
}

/// Rounds up: what is rounded away could be used once more.
fn seconds_after(time: SystemTime) -> i64 {
    whole_seconds(time).saturating_add(1)
}
