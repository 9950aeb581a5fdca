//! Which bytes were deleted where what is published must stay: only the same may return.
//!
//! A file of lines in our own directory below the root: it belongs to the tree and goes where the
//! tree goes. It is read when a file is created whose name could be in it, which is rare.

use std::io::{self, BufRead as _, BufReader};

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;

use super::Tree;
use super::private;

impl Tree {
    /// Returns the digest of what was last deleted at a path.
    pub(super) fn tombstone_of(&self, path: &RepoPath) -> io::Result<Option<Digest>> {
        let mut found = None;
        for (digest, of) in self.tombstones()? {
            if of == path.as_str() {
                found = Some(digest);
            }
        }
        Ok(found)
    }

    /// Remembers what is being deleted. On the disk when this returns.
    pub(super) fn bury(&self, deleted: &[(RepoPath, Digest)]) -> io::Result<()> {
        if deleted.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (digest, path) in self.tombstones()? {
            if !deleted.iter().any(|(deleted, _digest)| deleted.as_str() == path) {
                text.push_str(&line(&digest, &path));
            }
        }
        for (path, digest) in deleted {
            text.push_str(&line(digest, path.as_str()));
        }
        self.write_tombstones(&text)
    }

    /// Forgets what was deleted at or below a path, so that other bytes may be published there.
    /// Returns how many files that were.
    pub(super) fn forget_tombstones(&self, path: &RepoPath) -> io::Result<usize> {
        let (mut text, mut forgotten) = (String::new(), 0);
        for (digest, of) in self.tombstones()? {
            if of.parse::<RepoPath>().is_ok_and(|of| of.is_within(path)) {
                forgotten += 1;
            } else {
                text.push_str(&line(&digest, &of));
            }
        }
        self.write_tombstones(&text)?;
        Ok(forgotten)
    }

    fn write_tombstones(&self, text: &str) -> io::Result<()> {
        let new = private::inside("tombstones.new");
        self.root.write_private(&new, text.as_bytes())?;
        self.root.rename(&new, &place(), super::beneath::Taken::IsReplaced)
    }

    fn tombstones(&self) -> io::Result<Vec<(Digest, String)>> {
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
            found.push((digest.map_err(|_error| damaged())?, path.to_owned()));
        }
        Ok(found)
    }
}

fn place() -> RepoPath {
    private::inside("tombstones")
}

/// As `sha256sum` writes it.
fn line(digest: &Digest, path: &str) -> String {
    format!("{digest}  {path}\n")
}
