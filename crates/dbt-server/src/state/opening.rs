//! Opening the database: made once, brought up to date, and never begun anew.

use crate::log::causes;
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use dbt_core::clock::Clock;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction};

use super::unusable::Unusable;

/// The name of the database in the state directory.
pub const FILE: &str = "state.db";

/// How long another program may be writing (`reposerver trash forget` beside a server).
const PATIENCE: Duration = Duration::from_secs(5);

/// What makes a database of each version one of the next. What stands here stays as it is.
const MIGRATIONS: [&str; 5] = [
    "
    CREATE TABLE about (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO about VALUES ('id', lower(hex(randomblob(16))));

    CREATE TABLE audit (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL, record TEXT NOT NULL);
    CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL,
        hash BLOB NOT NULL);
    INSERT INTO head VALUES (1, 0, zeroblob(32));
    CREATE TABLE attempts (seq INTEGER PRIMARY KEY, record TEXT NOT NULL);
    CREATE TABLE checkpoints (seq INTEGER PRIMARY KEY, note TEXT NOT NULL);
    CREATE TABLE segments (first INTEGER PRIMARY KEY, last INTEGER NOT NULL,
        closed INTEGER NOT NULL, bytes INTEGER NOT NULL, note TEXT NOT NULL,
        dropped INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE signers (since INTEGER PRIMARY KEY, key TEXT NOT NULL);

    CREATE TABLE tombstones (path TEXT PRIMARY KEY, sha256 BLOB NOT NULL) WITHOUT ROWID;

    CREATE TABLE used_tokens (key BLOB PRIMARY KEY, writes INTEGER NOT NULL,
        expires INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX used_tokens_by_expiry ON used_tokens (expires);
",
    "
    CREATE TABLE api_tokens (id TEXT PRIMARY KEY, digest BLOB NOT NULL UNIQUE,
        subject TEXT NOT NULL, created_by TEXT NOT NULL, origin TEXT NOT NULL, made_with TEXT,
        about TEXT NOT NULL, created INTEGER NOT NULL, expires INTEGER, used INTEGER, ended INTEGER,
        ending TEXT) WITHOUT ROWID;
    CREATE INDEX api_tokens_by_subject ON api_tokens (subject);
    CREATE INDEX api_tokens_by_parent ON api_tokens (made_with) WHERE made_with IS NOT NULL;
    CREATE INDEX api_tokens_by_end ON api_tokens (coalesce(ended, expires));
",
    "
    CREATE TABLE exchanges (token TEXT PRIMARY KEY, identity BLOB UNIQUE, source BLOB NOT NULL,
        salt BLOB NOT NULL, until INTEGER NOT NULL) WITHOUT ROWID;
    CREATE INDEX exchanges_by_end ON exchanges (until);
    CREATE INDEX exchanges_by_source ON exchanges (source);
",
    "
    CREATE TABLE users (subject TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE, managed INTEGER NOT NULL,
        created INTEGER NOT NULL, seen INTEGER, suspended INTEGER, suspended_by TEXT,
        suspended_because TEXT, disowned INTEGER, deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
    CREATE INDEX users_barred ON users (subject)
        WHERE suspended IS NOT NULL OR disowned IS NOT NULL;
    CREATE INDEX users_managed ON users (subject) WHERE managed;
    CREATE TABLE token_owners (token TEXT PRIMARY KEY, owner TEXT NOT NULL, since INTEGER NOT NULL)
        WITHOUT ROWID;
",
    "
    CREATE TABLE added_users (subject TEXT PRIMARY KEY, added_by TEXT NOT NULL, roles TEXT NOT NULL)
        WITHOUT ROWID;
",
];

/// Tells one state from all others. The tree remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Id(String);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Id {
    type Err = io::Error;

    fn from_str(text: &str) -> io::Result<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_digit) {
            return Err(io::Error::other("it is not the id of a state"));
        }
        Ok(Self(text.to_owned()))
    }
}

/// An opened database.
pub(super) struct Opened {
    pub(super) id: Id,
    pub(super) writes: Connection,
    pub(super) reads: Connection,
}

pub(super) fn open(directory: &Path, remembered: Option<&Id>) -> Result<Opened, Unusable> {
    if remembered.is_some() {
        return open_existing(directory, remembered);
    }
    connected(directory, OpenFlags::SQLITE_OPEN_CREATE, remembered)
}

pub(super) fn open_existing(directory: &Path, remembered: Option<&Id>) -> Result<Opened, Unusable> {
    let path = directory.join(FILE);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Unusable::Missing { path });
        }
        Err(error) => return Err(Unusable::failed(directory, &error)),
        Ok(_there) => {}
    }
    connected(directory, OpenFlags::empty(), remembered)
}

pub(super) fn look_at(directory: &Path) -> Result<Connection, Unusable> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Err(Unusable::Missing { path });
    }
    let opened = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.busy_timeout(PATIENCE).map(|()| connection));
    let connection = opened.map_err(|error| told(directory, &error))?;
    // What an earlier version made is whole, as far as it goes: a backup is brought up to date when
    // it is put back.
    match version(&connection).map_err(|error| told(directory, &error))? {
        0 => Err(Unusable::Damaged { path, reason: "it is not one of this server".to_owned() }),
        version if version > MIGRATIONS.len() => Err(Unusable::Newer { path }),
        _known => Ok(connection),
    }
}

fn connected(
    directory: &Path,
    create: OpenFlags,
    remembered: Option<&Id>,
) -> Result<Opened, Unusable> {
    let path = directory.join(FILE);
    let failed = |error| told(directory, &error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | create;
    let mut writes = Connection::open_with_flags(&path, flags).map_err(failed)?;
    writes.busy_timeout(PATIENCE).map_err(failed)?;
    let found = version(&writes).map_err(failed)?;
    if found > MIGRATIONS.len() {
        return Err(Unusable::Newer { path });
    }
    if found == 0 && remembered.is_some() {
        return Err(Unusable::Damaged { path, reason: "it is empty".to_owned() });
    }
    check(&writes, directory)?;
    let prepared = prepare(&mut writes, &MIGRATIONS).and_then(|()| begin(&mut writes, found));
    let id = prepared.map_err(failed)?.parse::<Id>();
    let id =
        id.map_err(|error| Unusable::Damaged { path: path.clone(), reason: error.to_string() })?;
    if let Some(remembered) = remembered.filter(|remembered| **remembered != id) {
        return Err(Unusable::OfAnother { path, found: id, remembered: remembered.clone() });
    }
    let reads = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE)
        .and_then(|reads| {
            reads.busy_timeout(PATIENCE)?;
            reads.pragma_update(None, "query_only", true)?;
            Ok(reads)
        })
        .map_err(failed)?;
    private(directory);
    Ok(Opened { id, writes, reads })
}

/// Brings a database up to date, and makes what is written to it last.
fn prepare(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Elsewhere than on macOS these say nothing.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    migrate(connection, migrations)
}

/// Brings a copy that nobody uses yet up to date, and changes it. It is one file, before and after.
pub(super) fn amend<T>(
    path: &Path,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection, &MIGRATIONS)?;
    let transaction = connection.transaction()?;
    let value = work(&transaction)?;
    transaction.commit()?;
    connection.close().map(|()| value).map_err(|(_connection, error)| error)
}

fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    for (known, migration) in migrations.iter().enumerate().skip(version(connection)?) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration)?;
        let done = i64::try_from(known + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", done)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Completes a database that was just made, and returns its id.
fn begin(connection: &mut Connection, version: usize) -> rusqlite::Result<String> {
    if version == 0 {
        let transaction = connection.transaction()?;
        super::tokens::forget_before(&transaction, Clock::System.now())?;
        transaction.commit()?;
    }
    id(connection)
}

fn version(connection: &Connection) -> rusqlite::Result<usize> {
    let version =
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))?;
    // What is negative is none of ours.
    Ok(usize::try_from(version).unwrap_or(usize::MAX))
}

fn id(connection: &Connection) -> rusqlite::Result<String> {
    let query = "SELECT value FROM about WHERE name = 'id'";
    Ok(connection.query_row(query, [], |row| row.get(0)).optional()?.unwrap_or_default())
}

/// Looks through the whole database; it is small, because closed parts of the record move out.
fn check(connection: &Connection, directory: &Path) -> Result<(), Unusable> {
    let said: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(|error| told(directory, &error))?;
    if said == "ok" {
        return Ok(());
    }
    let reason = said.lines().next().unwrap_or_default().to_owned();
    Err(Unusable::Damaged { path: directory.join(FILE), reason })
}

/// Says what an error at the opening means.
fn told(directory: &Path, error: &rusqlite::Error) -> Unusable {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};

    let (path, reason) = (directory.join(FILE), error.to_string());
    // A table of another form is an unknown error.
    match error.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase | Unknown) => Unusable::Damaged { path, reason },
        _ => Unusable::Failed { path, reason },
    }
}

/// Lets only the server's user read it. The directory is private too, unless somebody else made it.
fn private(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    for ending in ["", "-wal", "-shm"] {
        let path = directory.join(format!("{FILE}{ending}"));
        if let Err(error) = std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(
                error = causes(&error),
                "`{}` may be readable for others",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_brought_up_to_date_step_by_step_and_each_step_is_done_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE a (x)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (2)"];
        let rows = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM a", [], |row| row.get::<_, i64>(0)).unwrap()
        };
        prepare(&mut connection, &steps[..2]).unwrap();
        prepare(&mut connection, &steps[..2]).unwrap();
        assert_eq!((rows(&connection), version(&connection).unwrap()), (1, 2));
        prepare(&mut connection, &steps).unwrap();
        assert_eq!((rows(&connection), version(&connection).unwrap()), (2, 3));
    }

    /// A backup may be older than the program that puts it back.
    #[test]
    fn what_an_earlier_version_made_can_be_looked_at_and_is_brought_up_to_date_when_it_is_opened() {
        let tables = |connection: &Connection| {
            let query = "SELECT count(*) FROM sqlite_master WHERE name IN \
                         ('audit', 'api_tokens', 'exchanges', 'users', 'token_owners', 'added_users')";
            connection.query_row(query, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        for (earlier, had) in [(1, 1), (2, 2), (3, 3), (4, 5)] {
            let directory = tempfile::tempdir().unwrap();
            let mut connection = Connection::open(directory.path().join(FILE)).unwrap();
            prepare(&mut connection, &MIGRATIONS[..earlier]).unwrap();
            let kept = "INSERT INTO tombstones VALUES ('dbt/x', x'00')";
            connection.execute(kept, []).unwrap();
            drop(connection);
            let looked = look_at(directory.path()).unwrap();
            assert_eq!((version(&looked).unwrap(), tables(&looked)), (earlier, had));
            drop(looked);
            let opened = open_existing(directory.path(), None).unwrap();
            assert_eq!((version(&opened.writes).unwrap(), tables(&opened.reads)), (5, 6));
            let kept = "SELECT count(*) FROM tombstones WHERE path = 'dbt/x'";
            assert_eq!(opened.reads.query_row(kept, [], |row| row.get::<_, i64>(0)), Ok(1));
        }
        assert_eq!(MIGRATIONS.len(), 5, "each earlier version is tried here");
    }

    #[test]
    fn a_step_that_fails_leaves_the_database_as_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        prepare(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x); CREATE TABLE a (x)"];
        assert!(prepare(&mut connection, &steps).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        assert!(connection.execute("INSERT INTO b VALUES (1)", []).is_err());
    }
}
