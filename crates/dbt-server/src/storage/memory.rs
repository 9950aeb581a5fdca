//! Files in memory, for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::body::Bytes;

use super::{
    Detail, Directory, Effect, Entry, EntryKind, Existing, Found, Publication, Removed, Storage,
    StorageError, StoredFile, Written, decide,
};
use crate::action::{Action as _, Delete, Read, Write};
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::content::BoxFuture;
use crate::upload::{OlderChecksums, Upload};

/// A tree of files in memory. Directories are there while something is below. Clones share it.
#[derive(Clone)]
pub struct Memory {
    files: Arc<Mutex<BTreeMap<RepoPath, Stored>>>,
    clock: Clock,
}

#[derive(Clone)]
struct Stored {
    bytes: Bytes,
    digest: Digest,
    modified: SystemTime,
}

impl Memory {
    /// Returns an empty tree, whose files are as old as the clock says.
    pub fn new(clock: Clock) -> Self {
        Self { files: Arc::default(), clock }
    }

    /// Puts a file without asking anybody.
    pub fn seed(&self, path: RepoPath, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let stored = Stored { digest: Digest::of(&bytes), bytes, modified: self.clock.now() };
        self.files().insert(path, stored);
    }

    /// Returns the paths of all files.
    pub fn paths(&self) -> Vec<String> {
        self.files().keys().map(ToString::to_string).collect()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<RepoPath, Stored>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, path: &RepoPath) -> Result<Found, StorageError> {
        let files = self.files();
        if let Some(stored) = files.get(path) {
            return Ok(Found::File(StoredFile {
                length: stored.bytes.len() as u64,
                modified: stored.modified,
                digest: Some(stored.digest),
                older: OlderChecksums::default(),
                is_draft: false,
                content: Arc::new(stored.bytes.clone()),
            }));
        }
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        let depth = path.segments().count();
        for (below, stored) in files.iter().filter(|(below, _stored)| below.is_within(path)) {
            let mut rest = below.segments().skip(depth);
            let Some(name) = rest.next() else { continue };
            let kind = if rest.next().is_some() { EntryKind::Directory } else { EntryKind::File };
            let size = (kind == EntryKind::File).then_some(stored.bytes.len() as u64);
            let modified = Some(stored.modified);
            let entry = Entry { name: name.to_owned(), kind, size, modified };
            entries.insert(name.to_owned(), entry);
        }
        if entries.is_empty() && !path.is_root() {
            return Err(StorageError::NotFound);
        }
        let entries = entries.into_values().collect();
        Ok(Found::Directory(Directory { modified: self.clock.now(), entries }))
    }

    fn publish(
        &self,
        grant: &Grant<Write>,
        conditions: &Conditions,
        bytes: Option<(Bytes, Digest)>,
    ) -> Result<Option<Written>, StorageError> {
        let path = grant.action().path();
        let mut files = self.files();
        let is_below = |other: &RepoPath| other.is_within(path) && other != path;
        if files.keys().any(is_below) {
            return Err(StorageError::IsDirectory);
        }
        if files.keys().any(|other| path.is_within(other) && other != path) {
            return Err(StorageError::ParentIsFile);
        }
        let existing = files.get(path).map(|stored| Existing {
            digest: Some(stored.digest),
            modified: stored.modified,
            length: stored.bytes.len() as u64,
        });
        let digest = bytes.as_ref().map(|(_bytes, digest)| *digest);
        decide(grant, conditions, existing.as_ref(), digest)?;
        let Some((bytes, digest)) = bytes else { return Ok(None) };
        let before = existing.and_then(|existing| existing.digest);
        let effect = match before {
            None => Effect::Created,
            Some(before) if before == digest => Effect::Unchanged,
            Some(_other) => Effect::Replaced,
        };
        let length = bytes.len() as u64;
        if effect != Effect::Unchanged {
            files.insert(path.clone(), Stored { bytes, digest, modified: self.clock.now() });
        }
        let publication = Publication::Seen;
        Ok(Some(Written { effect, digest, length, before, publication }))
    }
}

impl Storage for Memory {
    fn look<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        _detail: Detail,
    ) -> BoxFuture<'a, Result<Found, StorageError>> {
        Box::pin(std::future::ready(self.find(grant.action().path())))
    }

    fn write<'a>(
        &'a self,
        grant: &'a Grant<Write>,
        mut upload: Upload,
    ) -> BoxFuture<'a, Result<Written, StorageError>> {
        Box::pin(async move {
            self.publish(grant, &upload.conditions, None)?;
            let mut hasher = upload.declared.hasher();
            let mut bytes = Vec::new();
            while let Some(chunk) = upload.body.next().await? {
                hasher.update(&chunk);
                bytes.extend_from_slice(&chunk);
            }
            let digest = upload.declared.check(hasher)?;
            let written = self.publish(grant, &upload.conditions, Some((bytes.into(), digest)))?;
            written.ok_or(StorageError::NotFound)
        })
    }

    fn delete<'a>(
        &'a self,
        grant: &'a Grant<Delete>,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<Removed, StorageError>> {
        let path = grant.action().path();
        let removed = self.find(path).and_then(|found| match found {
            Found::File(_file) if grant.action().only_directory() => Err(StorageError::NotFound),
            Found::File(file) => {
                let current = file.validators(self.clock.now());
                if !conditions.admit_write(Some(&current)) {
                    return Err(StorageError::Precondition { existing: file.digest });
                }
                Ok(Removed { kind: EntryKind::File })
            }
            Found::Directory(_directory) => Ok(Removed { kind: EntryKind::Directory }),
        });
        if removed.is_ok() {
            self.files().retain(|other, _stored| !other.is_within(path));
        }
        Box::pin(std::future::ready(removed))
    }
}
