//! Digests of files on the disk, in `index.db`: what was hashed once is not hashed again after a
//! restart.
//!
//! Nothing depends on it. A row counts only for the file it was made from; without the database,
//! or with a damaged one, files are served as before and hashed anew.

use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::remembered::Identity;
use crate::log::causes;
use crate::upload::OlderChecksums;

/// The name of the database in the state directory.
pub(super) const FILE: &str = "index.db";

/// How long another program may hold the database (`reindex` beside a server).
const PATIENCE: Duration = Duration::from_secs(5);

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS tree (root TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS files (
        path TEXT PRIMARY KEY,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        seconds INTEGER NOT NULL,
        nanoseconds INTEGER NOT NULL,
        sha256 BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS files_by_digest ON files (sha256);
    CREATE TABLE IF NOT EXISTS older (sha256 BLOB PRIMARY KEY, md5 TEXT, sha1 TEXT) WITHOUT ROWID;
";

/// The database.
#[derive(Debug)]
pub(super) struct Index(Mutex<Connection>);

impl Index {
    /// Opens the database in a directory for the tree at `root`. One that is damaged or of
    /// another tree is emptied.
    pub(super) fn open(directory: &Path, root: &Path) -> io::Result<Self> {
        match Self::connect(directory, root) {
            Ok(index) => return Ok(index),
            Err(error) if is_damaged(&error) => {
                tracing::warn!(error = causes(&error), "the index is damaged and begun anew");
            }
            Err(error) => return Err(io::Error::other(error)),
        }
        for ending in ["", "-wal", "-shm"] {
            match std::fs::remove_file(directory.join(format!("{FILE}{ending}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _gone => {}
            }
        }
        Self::connect(directory, root).map_err(io::Error::other)
    }

    fn connect(directory: &Path, root: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(directory.join(FILE))?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // What is lost when the power fails is hashed anew.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        let root = root.to_string_lossy();
        let known: Option<String> =
            connection.query_row("SELECT root FROM tree", [], |row| row.get(0)).optional()?;
        if known.as_deref() != Some(&root) {
            connection.execute_batch("DELETE FROM tree; DELETE FROM files;")?;
            connection.execute("INSERT INTO tree (root) VALUES (?1)", [&root])?;
        }
        Ok(Self(Mutex::new(connection)))
    }

    /// Returns the digest of the file of this identity at a path.
    pub(super) fn find(&self, path: &RepoPath, identity: Identity) -> Option<Digest> {
        let query = "SELECT sha256 FROM files WHERE path = ?1 AND inode = ?2 AND size = ?3 \
                     AND seconds = ?4 AND nanoseconds = ?5";
        let Identity { inode, size, seconds, nanoseconds } = identity;
        let connection = self.connection();
        let mut statement = connection.prepare(query).ok()?;
        let wanted =
            params![path.as_str(), inode.cast_signed(), size.cast_signed(), seconds, nanoseconds];
        let bytes: [u8; 32] = statement.query_row(wanted, |row| row.get(0)).ok()?;
        Some(Digest::from_bytes(bytes))
    }

    /// Returns paths at which a file of this digest was seen, hidden ones left out.
    pub(super) fn places_of(&self, digest: Digest, limit: u32) -> Vec<RepoPath> {
        let query = "SELECT path FROM files WHERE sha256 = ?1 AND path NOT GLOB '.*' LIMIT ?2";
        let find = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map(params![digest.as_bytes(), limit], |row| row.get(0))?;
            rows.collect()
        };
        let found = find(&self.connection()).unwrap_or_default();
        found.iter().filter_map(|path| path.parse().ok()).collect()
    }

    /// Keeps older checksums of some bytes, beside those that are known.
    pub(super) fn keep_older(&self, digest: Digest, older: &OlderChecksums) {
        let query = "INSERT INTO older VALUES (?1, ?2, ?3) ON CONFLICT (sha256) DO UPDATE \
                     SET md5 = coalesce(excluded.md5, md5), sha1 = coalesce(excluded.sha1, sha1)";
        let OlderChecksums { md5, sha1 } = older;
        self.tell(|connection| {
            connection.prepare(query)?.execute(params![digest.as_bytes(), md5, sha1])
        });
    }

    /// Returns the older checksums of some bytes, as far as they are known.
    pub(super) fn older(&self, digest: Digest) -> OlderChecksums {
        let query = "SELECT md5, sha1 FROM older WHERE sha256 = ?1";
        let find = |connection: &Connection| {
            connection.prepare(query)?.query_row(params![digest.as_bytes()], |row| {
                Ok(OlderChecksums { md5: row.get(0)?, sha1: row.get(1)? })
            })
        };
        find(&self.connection()).unwrap_or_default()
    }

    /// Keeps a digest.
    pub(super) fn keep(&self, path: &RepoPath, identity: Identity, digest: Digest) {
        self.tell(|connection| insert(connection, path, identity, digest));
    }

    /// Forgets what was at or below a path.
    pub(super) fn forget(&self, path: &RepoPath) {
        // `0` follows `/`: everything between begins with the path and a slash.
        let query = "DELETE FROM files WHERE path = ?1 OR (path > ?1 || '/' AND path < ?1 || '0')";
        self.tell(|connection| connection.prepare(query)?.execute([path.as_str()]));
    }

    /// Puts these files in the place of all that are known.
    pub(super) fn replace(&self, files: &[(RepoPath, Identity, Digest)]) -> io::Result<()> {
        let mut connection = self.connection();
        let mut all = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            transaction.execute("DELETE FROM files", [])?;
            for (path, identity, digest) in files {
                insert(&transaction, path, *identity, *digest)?;
            }
            transaction
                .execute("DELETE FROM older WHERE sha256 NOT IN (SELECT sha256 FROM files)", [])?;
            transaction.commit()
        };
        all().map_err(io::Error::other)
    }

    /// Does something that may fail: then the next question is answered by hashing.
    fn tell(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<usize>) {
        if let Err(error) = work(&self.connection()) {
            tracing::warn!(error = causes(&error), "the index could not be changed");
        }
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere left a connection whose transaction is rolled back when it is dropped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(
    connection: &Connection,
    path: &RepoPath,
    identity: Identity,
    digest: Digest,
) -> rusqlite::Result<usize> {
    let Identity { inode, size, seconds, nanoseconds } = identity;
    connection.prepare("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
        params![
            path.as_str(),
            inode.cast_signed(),
            size.cast_signed(),
            seconds,
            nanoseconds,
            digest.as_bytes()
        ],
    )
}

fn is_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};

    // A table of another form is an unknown error: a database of some other version.
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | Unknown))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    const IDENTITY: Identity = Identity { inode: u64::MAX, size: 2, seconds: -3, nanoseconds: 4 };

    #[test]
    fn a_digest_counts_for_the_file_it_was_made_from_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Index::open(directory.path(), Path::new("/srv/tree")).unwrap();
        let digest = Digest::of(b"x");
        open().keep(&path("dbt/x"), IDENTITY, digest);
        let index = open();
        assert_eq!(index.find(&path("dbt/x"), IDENTITY), Some(digest));
        assert_eq!(index.find(&path("dbt/y"), IDENTITY), None);
        for other in [
            Identity { inode: 1, ..IDENTITY },
            Identity { size: 1, ..IDENTITY },
            Identity { seconds: 1, ..IDENTITY },
            Identity { nanoseconds: 1, ..IDENTITY },
        ] {
            assert_eq!(index.find(&path("dbt/x"), other), None, "{other:?}");
        }
    }

    #[test]
    fn what_is_forgotten_is_the_path_and_what_is_below_and_no_neighbour() {
        let directory = tempfile::tempdir().unwrap();
        let index = Index::open(directory.path(), Path::new("/srv/tree")).unwrap();
        let paths = ["dbt/x", "dbt/x/y", "dbt/x/y/z", "dbt/xy", "dbt/x-y", "dbt/x0"].map(path);
        for path in &paths {
            index.keep(path, IDENTITY, Digest::of(b"x"));
        }
        index.forget(&path("dbt/x"));
        let known = paths.map(|path| index.find(&path, IDENTITY).is_some());
        assert_eq!(known, [false, false, false, true, true, true]);
    }

    #[test]
    fn a_damaged_database_and_one_of_another_tree_are_begun_anew() {
        let directory = tempfile::tempdir().unwrap();
        let open = |root: &str| Index::open(directory.path(), Path::new(root)).unwrap();
        open("/srv/tree").keep(&path("dbt/x"), IDENTITY, Digest::of(b"x"));
        assert_eq!(open("/srv/other").find(&path("dbt/x"), IDENTITY), None);
        std::fs::write(
            directory.path().join(FILE),
            b"not a database, but long enough to be looked at as one, if that is what it were",
        )
        .unwrap();
        let index = open("/srv/tree");
        index.keep(&path("dbt/x"), IDENTITY, Digest::of(b"y"));
        assert_eq!(index.find(&path("dbt/x"), IDENTITY), Some(Digest::of(b"y")));
    }
}
