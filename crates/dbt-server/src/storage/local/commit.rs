//! From a draft into the tree: all platforms of one step together, also when the power fails.
//!
//! What is to appear is first gathered in `.reposerver/publishing`, under the paths it will have.
//! Giving that gathering its final name is the moment of publication: before it, the files are
//! taken back into the draft at the next start; after it, they are moved on into the tree, by
//! this process or by the next one.

use std::io;
use std::time::Instant;

use dbt_core::repo_path::RepoPath;
use rustix::fs::FileType;

use super::Tree;
use super::beneath::{Taken, is_not_a_directory};
use super::drafts::{Draft, below};
use super::private;
use super::publish::writing;
use crate::log::causes;
use crate::storage::StorageError;
use crate::writable;

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
        let began = Instant::now();
        let depth = draft.files().segments().count();
        let mut files = Vec::new();
        for drafted in self.files_of(draft, parts)? {
            let seen = follow(version, &skip(&drafted, depth));
            let replaced = self.date_of(&seen);
            files.push((seen, replaced, self.remembered.take(&drafted)));
        }

        let name = format!("{}-{}", super::publish::temporary_name(), draft.key());
        let incomplete = below(&private::publishing(), &format!("{name}{INCOMPLETE}"));
        let complete = below(&private::publishing(), &name);
        // Nothing comes or goes by this, but it is counted where it is.
        let change = self.amounts.change();
        let gathered = self.gather(version, draft, parts, &incomplete);
        let renamed =
            gathered.and_then(|()| self.root.rename(&incomplete, &complete, Taken::Fails));
        if let Err(error) = renamed {
            // A rename can have happened although it could not be flushed.
            self.put_back(version);
            return Err(error);
        }
        drop(change);
        self.finish_counted(version, draft, parts, &complete)?;
        self.note_flushed("platform", began);
        for (seen, replaced, known) in files {
            // Only now: in a draft, dates tell what was sent after what.
            let file = replaced.and_then(|replaced| Some((self.root.open(&seen).ok()?, replaced)));
            let dated = file.and_then(|(file, replaced)| Self::date_after(&file, replaced));
            if let Some((identity, digest)) = known {
                self.remembered.remember(&seen, dated.unwrap_or(identity), digest);
            }
        }
        self.tidy_draft(version, draft)
    }

    /// Moves what was gathered of a draft to its place, and counts what that changes.
    fn finish_counted(
        &self,
        version: &RepoPath,
        draft: &Draft,
        parts: &[RepoPath],
        complete: &RepoPath,
    ) -> io::Result<()> {
        let _turn = self.names.blocking_lock();
        // In this order: whoever has begun a change waits for nobody.
        let mut change = self.amounts.change();
        let places = [version.clone(), draft.files(), follow(complete, version)];
        let before = self.sizes_of_parts(version, parts, &places);
        let finished = self.finish_publishing(complete).inspect_err(|_error| {
            // What is in the tree already is seen; the rest waits for the next attempt.
            self.put_back(version);
        });
        change.replaced(before, self.sizes_of_parts(version, parts, &places));
        finished
    }

    /// Refuses to put other bytes in the place of what must stay. It can have been put back, or
    /// copied there, since the draft was begun.
    pub(super) fn refuse_to_replace(
        &self,
        version: &RepoPath,
        draft: &Draft,
        parts: &[RepoPath],
    ) -> Result<(), StorageError> {
        if !self.rules().immutable {
            return Ok(());
        }
        let depth = draft.files().segments().count();
        let files = self.files_of(draft, parts);
        for drafted in files.map_err(|error| writing("publish", version, error))? {
            let seen = follow(version, &skip(&drafted, depth));
            if !writable::is_create_only(&seen) {
                continue;
            }
            let Some(there) = self.existing(&seen)? else { continue };
            let new = self.existing(&drafted)?.and_then(|new| new.digest);
            if there.digest != new {
                return Err(StorageError::Immutable { existing: there.digest });
            }
        }
        Ok(())
    }

    /// Returns the files of parts of a draft.
    fn files_of(&self, draft: &Draft, parts: &[RepoPath]) -> io::Result<Vec<RepoPath>> {
        let mut files = Vec::new();
        for part in parts {
            files.extend(self.files_below(&follow(&draft.files(), part))?);
        }
        Ok(files)
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

    /// Puts back into its draft what could not be published. A disk that just failed may fail at that,
    /// too; then it is tried again before anything else is done with the version. Otherwise the next
    /// start would finish it, and put it in the place of what was published since.
    fn put_back(&self, version: &RepoPath) {
        self.drafts.set_scattered(version, true);
        if let Err(error) = self.take_back_scattered(version) {
            tracing::warn!(%version, error = causes(&error), "what could not be published is not back in its draft yet");
        }
    }

    /// Makes sure that all files of a version's draft are in it. The caller is the only one that
    /// changes this version, and calls it first.
    pub(super) fn gather_scattered(&self, version: &RepoPath) -> io::Result<()> {
        if !self.drafts.is_scattered(version) {
            return Ok(());
        }
        // Nothing comes or goes by this, but it is counted where it is.
        let _change = self.amounts.change();
        self.take_back_scattered(version)
    }

    fn take_back_scattered(&self, version: &RepoPath) -> io::Result<()> {
        let Some(draft) = self.drafts.find(version) else { return Ok(()) };
        for (name, _kind) in self.root.entries(&private::publishing())? {
            if key_of(&name) == draft.key() {
                self.take_back(&below(&private::publishing(), &name), version, &draft)?;
            }
        }
        self.drafts.set_scattered(version, false);
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
        self.note_replaced();
        // It has happened. What was replaced must not be taken for what is to be published: where
        // it cannot be removed, the mark tells the next start.
        if let Err(error) = self.root.remove(from) {
            tracing::warn!(
                error = causes(&error),
                "what was replaced takes space until the next start"
            );
            return Ok(true);
        }
        if let Err(error) = self.root.remove(&marked) {
            tracing::warn!(
                error = causes(&error),
                "an empty file with a hidden name stays in the tree"
            );
        }
        self.root.flush_around(to)?;
        Ok(true)
    }

    /// Completes or takes back what was on its way when the program ended.
    pub(super) fn recover(&self) -> io::Result<()> {
        for (name, _kind) in self.root.entries(&private::publishing())? {
            let place = below(&private::publishing(), &name);
            if !name.ends_with(INCOMPLETE) {
                self.finish_publishing(&place)?;
                continue;
            }
            let drafts = self.drafts.all();
            match drafts.iter().find(|(_, draft)| draft.key() == key_of(&name)) {
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
        if draft.release.is_none() && self.files_below(&draft.files())?.is_empty() {
            self.drafts.remove(&self.root, version)?;
        }
        Ok(())
    }

    /// Returns the paths of all files at or below a path. What could not be looked at is an error:
    /// a directory taken for empty would be removed.
    pub(super) fn files_below(&self, path: &RepoPath) -> io::Result<Vec<RepoPath>> {
        let mut files = Vec::new();
        let mut waiting = vec![path.clone()];
        while let Some(place) = waiting.pop() {
            let entries = match self.root.entries(&place) {
                Ok(entries) => entries,
                Err(error) if is_not_a_directory(&error) => {
                    if self.is_file(&place)? {
                        files.push(place);
                    }
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (name, kind) in entries {
                let inner = below(&place, &name);
                if kind == FileType::Directory {
                    waiting.push(inner);
                } else if kind == FileType::RegularFile {
                    files.push(inner);
                }
            }
        }
        Ok(files)
    }

    fn is_file(&self, path: &RepoPath) -> io::Result<bool> {
        match self.root.open(path) {
            Ok(file) => Ok(file.metadata()?.is_file()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            // A link.
            Err(error) if is_not_a_directory(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Returns the name of the file that tells that this very gathering was put into place.
fn mark(gathered: &RepoPath) -> String {
    format!("{MARK}{}", gathered.file_name().unwrap_or_default())
}

/// Returns the key of the draft from which something was gathered under this name.
fn key_of(name: &str) -> &str {
    let name = name.strip_suffix(INCOMPLETE).unwrap_or(name);
    name.rsplit_once('-').map_or("", |(_id, key)| key)
}

/// Goes on from a directory along a path.
pub(super) fn follow(from: &RepoPath, path: &RepoPath) -> RepoPath {
    path.segments().fold(from.clone(), |place, segment| below(&place, segment))
}

/// Leaves out the first segments of a path.
pub(super) fn skip(path: &RepoPath, count: usize) -> RepoPath {
    path.segments().skip(count).fold(RepoPath::root(), |place, segment| below(&place, segment))
}
