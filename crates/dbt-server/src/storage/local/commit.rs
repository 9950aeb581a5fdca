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
        let gathered = follow(&incomplete, version);
        for part in parts {
            self.root.rename(
                &follow(&draft.files(), part),
                &follow(&gathered, part),
                Taken::Fails,
            )?;
        }
        self.root.rename(&incomplete, &complete, Taken::Fails)?;

        let turn = self.names.blocking_lock();
        self.finish_publishing(&complete)?;
        drop(turn);
        for (seen, identity, digest) in digests {
            self.remembered.remember(&seen, identity, digest);
        }
        self.tidy_draft(version, draft)
    }

    /// Moves what is to be published to its place.
    fn finish_publishing(&self, complete: &RepoPath) -> io::Result<()> {
        for (name, _kind) in self.root.entries(complete)? {
            self.merge(&below(complete, &name), &below(&RepoPath::root(), &name))?;
        }
        self.root.remove(complete)
    }

    /// Moves a file or directory to a place where parts of it may be already. What is missing
    /// there appears whole; files that are there are replaced. Doing it again does no harm.
    fn merge(&self, from: &RepoPath, to: &RepoPath) -> io::Result<()> {
        match self.root.rename(from, to, Taken::Fails) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other,
        }
        if self.root.open_directory(from).is_err() {
            return self.root.rename(from, to, Taken::IsReplaced);
        }
        for (name, _kind) in self.root.entries(from)? {
            self.merge(&below(from, &name), &below(to, &name))?;
        }
        Ok(())
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
            if let Some((version, draft)) = drafts.iter().find(|(_, draft)| draft.key() == key)
                && self.root.open_directory(&follow(&place, version)).is_ok()
            {
                self.merge(&follow(&place, version), &draft.files())?;
            }
            self.root.remove(&place)?;
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

/// Goes on from a directory along a path.
pub(super) fn follow(from: &RepoPath, path: &RepoPath) -> RepoPath {
    path.segments().fold(from.clone(), |place, segment| below(&place, segment))
}

/// Leaves out the first segments of a path.
pub(super) fn skip(path: &RepoPath, count: usize) -> RepoPath {
    path.segments().skip(count).fold(RepoPath::root(), |place, segment| below(&place, segment))
}
