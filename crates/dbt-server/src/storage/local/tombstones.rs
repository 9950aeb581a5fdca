//! Which bytes were deleted where what is published must stay: only the same may return.

use std::io::{self, BufRead as _, BufReader};

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::Tree;
use super::private;
use super::publish::writing;
use crate::state::{Claim, State};
use crate::storage::StorageError;

impl Tree {
    /// Refuses other bytes than those that were deleted at a path.
    pub(super) fn refuse_after_deletion(
        &self,
        path: &RepoPath,
        digest: Digest,
    ) -> Result<(), StorageError> {
        let known = self.tombstone_of(path).map_err(|error| writing("look up", path, error))?;
        match known {
            Some(known) if known != digest => {
                Err(StorageError::Immutable { existing: Some(known) })
            }
            _ => Ok(()),
        }
    }

    /// Returns the digest of what was last deleted at a path.
    pub(super) fn tombstone_of(&self, path: &RepoPath) -> io::Result<Option<Digest>> {
        let query = "SELECT sha256 FROM tombstones WHERE path = ?1";
        let found: Option<[u8; 32]> = self.known()?.look(|connection| {
            connection.query_row(query, [path.as_str()], |row| row.get(0)).optional()
        })?;
        Ok(found.map(Digest::from_bytes))
    }

    /// Remembers what is being deleted. On the disk when this returns.
    pub(super) fn bury(&self, deleted: &[(RepoPath, Digest)]) -> io::Result<()> {
        if deleted.is_empty() {
            return Ok(());
        }
        let deleted: Vec<_> =
            deleted.iter().map(|(path, digest)| (path.to_string(), *digest)).collect();
        let work = move |transaction: &Transaction<'_>| insert(transaction, &deleted);
        Ok(self.known()?.write_and_wait(Claim::Reserved, work)?)
    }

    /// Takes over the list of an earlier version of the program.
    pub(super) fn take_over_tombstones(&self, state: &State) -> io::Result<()> {
        let old = self.old_tombstones()?;
        if !old.is_empty() {
            let count = old.len();
            let work = move |transaction: &Transaction<'_>| insert(transaction, &old);
            state.write_and_wait(Claim::Reserved, work)?;
            tracing::info!(count, "the list of what was deleted is in the state now");
        }
        self.root.remove(&place())
    }

    fn old_tombstones(&self) -> io::Result<Vec<(String, Digest)>> {
        let file = match self.root.open(&place()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line?;
            let damaged = || io::Error::other("the list of what was deleted is damaged");
            let (digest, path) = line.split_once("  ").ok_or_else(damaged)?;
            let digest = Digest::from_checksum_file(digest.as_bytes());
            found.push((path.to_owned(), digest.map_err(|_error| damaged())?));
        }
        Ok(found)
    }
}

fn insert(transaction: &Transaction<'_>, deleted: &[(String, Digest)]) -> rusqlite::Result<()> {
    let query = "INSERT OR REPLACE INTO tombstones VALUES (?1, ?2)";
    let mut statement = transaction.prepare(query)?;
    for (path, digest) in deleted {
        statement.execute(params![path, digest.as_bytes()])?;
    }
    Ok(())
}

/// Forgets what was deleted at or below a path, so that other bytes may be published there.
/// Returns how many files that were.
pub(super) fn forget(state: &State, path: &RepoPath) -> io::Result<usize> {
    // `0` follows `/`: everything between begins with the path and a slash.
    let below = "path = ?1 OR (path > ?1 || '/' AND path < ?1 || '0')";
    let query = if path.is_root() { "?1 = ''" } else { below };
    let (query, path) = (format!("DELETE FROM tombstones WHERE {query}"), path.to_string());
    let work = move |transaction: &Transaction<'_>| transaction.execute(&query, [&path]);
    Ok(state.write_and_wait(Claim::Reserved, work)?)
}

/// Returns where earlier versions of the program kept the list.
pub(super) fn place() -> RepoPath {
    private::inside("tombstones")
}
