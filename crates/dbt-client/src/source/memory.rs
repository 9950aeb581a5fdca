//! A repository in memory, for tests of what uses sources.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbt_core::digest::Digest;
use dbt_core::listing::Listing;
use dbt_core::repo_path::RepoPath;

use super::error::{Failure, FetchError};
use super::patience::Patience;
use super::{Answer, Ask, Opened, Source};

/// A repository in memory. Copies are the same repository.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<RepoPath, Vec<u8>>,
    /// What a status makes of every request.
    failing: Option<u16>,
    requests: Vec<String>,
}

impl Memory {
    /// Returns an empty repository.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a file there, in place of what was there.
    pub fn put(&self, path: &RepoPath, bytes: impl Into<Vec<u8>>) {
        self.state().files.insert(path.clone(), bytes.into());
    }

    /// Takes a file away.
    pub fn remove(&self, path: &RepoPath) {
        self.state().files.remove(path);
    }

    /// Answers every request with this status from now on; with nothing, answers again. Anything
    /// but 401, 403 and 404 is an outage.
    pub fn fail_with(&self, status: Option<u16>) {
        self.state().failing = status;
    }

    /// Returns what was asked for so far and forgets it: `get PATH`, `list PATH`, `open PATH`.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.state().requests)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, action: &'static str, path: &RepoPath) -> Result<Vec<u8>, FetchError> {
        let state = self.asked(action, path)?;
        let found = state.files.get(path).cloned();
        found.ok_or_else(|| failed(action, path, Failure::NotFound))
    }

    fn asked(
        &self,
        action: &'static str,
        path: &RepoPath,
    ) -> Result<MutexGuard<'_, State>, FetchError> {
        let mut state = self.state();
        state.requests.push(format!("{action} {path}"));
        match state.failing {
            None => Ok(state),
            Some(401) => Err(failed(action, path, Failure::Unauthorized)),
            Some(403) => Err(failed(action, path, Failure::Forbidden)),
            Some(404) => Err(failed(action, path, Failure::NotFound)),
            Some(status) => {
                Err(failed(action, path, Failure::Server { status, retry_after: None }))
            }
        }
    }
}

fn failed(action: &'static str, path: &RepoPath, failure: Failure) -> FetchError {
    FetchError::new(action, format!("memory:/{path}"), failure)
}

fn etag_of(bytes: &[u8]) -> String {
    format!("\"{}\"", Digest::of(bytes))
}

impl Source for Memory {
    fn get(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, FetchError> {
        let bytes = self.find("get", path)?;
        let limit = ask.limit;
        if bytes.len() as u64 > limit {
            return Err(failed("get", path, Failure::TooLarge { limit }));
        }
        let etag = Some(etag_of(&bytes));
        if ask.etag.is_some() && ask.etag == etag {
            return Ok(Answer::NotModified);
        }
        Ok(Answer::Document { bytes, etag })
    }

    fn list(&self, directory: &RepoPath, _patience: &Patience) -> Result<Listing, FetchError> {
        let state = self.asked("list", directory)?;
        let depth = directory.segments().count();
        let below = state.files.keys().filter(|path| path.is_within(directory));
        let names: Vec<(&str, bool)> = below
            .filter_map(|path| {
                let name = path.segments().nth(depth)?;
                Some((name, path.segments().count() > depth + 1))
            })
            .collect();
        if names.is_empty() {
            return Err(failed("list", directory, Failure::NotFound));
        }
        Listing::of_names(names).map_err(|error| failed("list", directory, error.into()))
    }

    fn open(
        &self,
        path: &RepoPath,
        from: u64,
        if_range: Option<&str>,
        _patience: &Patience,
    ) -> Result<Opened, FetchError> {
        let bytes = self.find("open", path)?;
        let etag = etag_of(&bytes);
        let same = if_range.is_none_or(|wanted| wanted == etag);
        let offset = if same { from.min(bytes.len() as u64) } else { 0 };
        let length = Some(bytes.len() as u64);
        let mut reader = Cursor::new(bytes);
        reader.set_position(offset);
        let etag = Some(etag);
        Ok(Opened { length, offset, etag, is_draft: false, reader: Box::new(reader) })
    }

    fn place_of(&self, path: &RepoPath) -> String {
        format!("memory:/{path}")
    }
}
