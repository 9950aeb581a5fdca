//! From a draft into the tree: all platforms of one step together, also when the power fails.
//!
//! What is to appear is first gathered in `.reposerver/publishing`, under the paths it will have.
//! Giving that gathering its final name is the moment of publication: before it, the files are
//! taken back into the draft at the next start; after it, they are moved on into the tree, by
//! this process or by the next one.

use std::io;

use dbt_core::repo_path::RepoPath;
use rustix::fs::FileType;

use super::Tree;
use super::beneath::Taken;
use super::drafts::{Draft, below};
use super::private;

/// Ends the name of a gathering that is not complete.
const INCOMPLETE: &str = ".incomplete";

/// Begins the name of a file in a directory that has just taken the place of another. Such names
/// are never shown.
const MARK: &str = ".reposerver-";

impl Tree {
    /// Publishes parts of a draft, given by their paths below the version. The caller is the only
    /// one that changes this version.
    pub(super) fn commit(
        &self,
        version: &RepoPath,
        draft: &Draft,
        parts: &[RepoPath],
    ) -> io::Result<()> {
        let depth = draft.files().segments().count();
        let digests: Vec<_> = parts
            .iter()
            .flat_map(|part| self.files_below(&follow(&draft.files(), part)))
            .filter_map(|drafted| {
                let (identity, digest) = self.remembered.take(&drafted)?;
                Some((follow(version, &skip(&drafted, depth)), identity, digest))
            })
            .collect();

        let name = format!("{}-{}", super::publish::temporary_name(), draft.key());
        let incomplete = below(&private::publishing(), &format!("{name}{INCOMPLETE}"));
        let complete = below(&private::publishing(), &name);
        let gathered = self.gather(version, draft, parts, &incomplete);
        let renamed =
            gathered.and_then(|()| self.root.rename(&incomplete, &complete, Taken::Fails));
        if let Err(error) = renamed {
            // A rename can have happened although it could not be flushed.
            self.take_back(&incomplete, version, draft)?;
            self.take_back(&complete, version, draft)?;
            return Err(error);
        }
        let turn = self.names.blocking_lock();
        let finished = self.finish_publishing(&complete);
        drop(turn);
        if let Err(error) = finished {
            // What is in the tree already is seen; the rest waits for the next attempt.
            self.take_back(&complete, version, draft)?;
            return Err(error);
        }
        for (seen, identity, digest) in digests {
            self.remembered.remember(&seen, identity, digest);
        }
        self.tidy_draft(version, draft)
    }

    fn gather(
        &self,
        version: &RepoPath,
        draft: &Draft,
        parts: &[RepoPath],
        incomplete: &RepoPath,
    ) -> io::Result<()> {
        let gathered = follow(incomplete, version);
        for part in parts {
            self.root.rename(
                &follow(&draft.files(), part),
                &follow(&gathered, part),
                Taken::Fails,
            )?;
        }
        Ok(())
    }

    /// Puts what was gathered back into its draft.
    fn take_back(&self, gathered: &RepoPath, version: &RepoPath, draft: &Draft) -> io::Result<()> {
        let place = follow(gathered, version);
        if self.root.open_directory(&place).is_ok() {
            self.merge(&place, &draft.files(), &mark(gathered))?;
        }
        self.root.remove(gathered)
    }

    /// Moves what is to be published to its place.
    fn finish_publishing(&self, complete: &RepoPath) -> io::Result<()> {
        for (name, _kind) in self.root.entries(complete)? {
            self.merge(&below(complete, &name), &below(&RepoPath::root(), &name), &mark(complete))?;
        }
        self.root.remove(complete)
    }

    /// Moves a file or directory to a place where parts of it may be already. What is missing
    /// there appears whole; files that are there are replaced. Doing it again does no harm.
    fn merge(&self, from: &RepoPath, to: &RepoPath, mark: &str) -> io::Result<()> {
        match self.root.rename(from, to, Taken::Fails) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        if self.root.open_directory(from).is_err() {
            return self.root.rename(from, to, Taken::IsReplaced);
        }
        if self.exchange(from, to, mark)? {
            return Ok(());
        }
        for (name, _kind) in self.root.entries(from)? {
            self.merge(&below(from, &name), &below(to, &name), mark)?;
        }
        Ok(())
    }

    /// Puts a directory of files in the place of another in one step, if that can be done here:
    /// what only the other one has is there too, and nobody sees some files of each.
    fn exchange(&self, from: &RepoPath, to: &RepoPath, mark: &str) -> io::Result<bool> {
        let marked = below(to, mark);
        if self.root.open(&marked).is_ok() {
            // It was done, and the program ended before it could clear up.
            self.root.remove(from)?;
            self.root.remove(&marked)?;
            return Ok(true);
        }
        let (new, old) = (self.root.entries(from)?, self.root.entries(to)?);
        let is_file = |(_name, kind): &(String, FileType)| *kind == FileType::RegularFile;
        if new.is_empty() || !new.iter().chain(&old).all(is_file) {
            return Ok(false);
        }
        for (name, _kind) in old.iter().filter(|(name, _kind)| !name.starts_with(MARK)) {
            if !new.iter().any(|(other, _kind)| other == name)
                && self.root.link(&below(to, name), &below(from, name)).is_err()
            {
                return Ok(false);
            }
        }
        self.root.write_private(&below(from, mark), b"")?;
        if !self.root.exchange(from, to)? {
            self.root.remove(&below(from, mark))?;
            return Ok(false);
        }
        // It has happened. What was replaced must not be taken for what is to be published: where
        // it cannot be removed, the mark tells the next start.
        if let Err(error) = self.root.remove(from) {
            tracing::warn!(%error, "what was replaced takes space until the next start");
            return Ok(true);
        }
        if let Err(error) = self.root.remove(&marked) {
            tracing::warn!(%error, "an empty file with a hidden name stays in the tree");
        }
        self.root.flush_around(to)?;
        Ok(true)
    }

    /// Completes or takes back what was on its way when the program ended.
    pub(super) fn recover(&self) -> io::Result<()> {
        for (name, _kind) in self.root.entries(&private::publishing())? {
            let place = below(&private::publishing(), &name);
            let Some(complete) = name.strip_suffix(INCOMPLETE) else {
                self.finish_publishing(&place)?;
                continue;
            };
            let key = complete.rsplit_once('-').map_or("", |(_id, key)| key);
            let drafts = self.drafts.all();
            match drafts.iter().find(|(_, draft)| draft.key() == key) {
                Some((version, draft)) => self.take_back(&place, version, draft)?,
                None => self.root.remove(&place)?,
            }
        }
        for (version, draft) in self.drafts.all() {
            self.tidy_draft(&version, &draft)?;
        }
        Ok(())
    }

    /// Removes a draft of which nothing is left and that no release holds.
    pub(super) fn tidy_draft(&self, version: &RepoPath, draft: &Draft) -> io::Result<()> {
        if draft.release.is_none() && self.files_below(&draft.files()).is_empty() {
            self.drafts.remove(&self.root, version)?;
        }
        Ok(())
    }

    /// Returns the paths of all files at or below a path of ours.
    pub(super) fn files_below(&self, path: &RepoPath) -> Vec<RepoPath> {
        let mut files = Vec::new();
        let mut waiting = vec![path.clone()];
        while let Some(directory) = waiting.pop() {
            // One that is gone or is a file has no entries.
            let entries = self.root.entries(&directory).unwrap_or_default();
            if entries.is_empty() && self.root.open_directory(&directory).is_err() {
                if self.root.open(&directory).is_ok() {
                    files.push(directory);
                }
                continue;
            }
            for (name, kind) in entries {
                let inner = below(&directory, &name);
                if kind == FileType::Directory {
                    waiting.push(inner);
                } else if kind == FileType::RegularFile {
                    files.push(inner);
                }
            }
        }
        files
    }
}

/// Returns the name of the file that tells that this very gathering was put into place.
fn mark(gathered: &RepoPath) -> String {
    format!("{MARK}{}", gathered.file_name().unwrap_or_default())
}

/// Goes on from a directory along a path.
pub(super) fn follow(from: &RepoPath, path: &RepoPath) -> RepoPath {
    path.segments().fold(from.clone(), |place, segment| below(&place, segment))
}

/// Leaves out the first segments of a path.
pub(super) fn skip(path: &RepoPath, count: usize) -> RepoPath {
    path.segments().skip(count).fold(RepoPath::root(), |place, segment| below(&place, segment))
}
