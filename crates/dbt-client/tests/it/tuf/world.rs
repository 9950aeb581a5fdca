//! A repository, a client with a directory of trusted metadata, and a clock that stands still.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_client::source::FetchError;
use dbt_client::tuf::{self, Kept, Remote, UpdateError};
use dbt_core::trust::metadata::{RemoteFile, Trusted};
use dbt_testkit::tuf::TufRepository;
use serde_json::Value;
use tempfile::TempDir;

pub(super) const DAY: Duration = Duration::from_hours(24);

pub(super) struct World {
    pub(super) repository: TufRepository,
    pub(super) now: SystemTime,
    directory: TempDir,
    log: RefCell<Vec<String>>,
}

impl World {
    /// A repository with version 1 of everything, and a client that trusts its root.
    pub(super) fn new() -> Self {
        // 2026-01-01.
        Self::at(UNIX_EPOCH + DAY * 20_454)
    }

    pub(super) fn at(now: SystemTime) -> Self {
        let repository = TufRepository::at(now);
        let directory = tempfile::tempdir().unwrap();
        let world = Self { repository, now, directory, log: RefCell::default() };
        world.init(&world.repository.metadata["1.root.json"]).unwrap();
        world
    }

    pub(super) fn init(&self, root: &[u8]) -> Result<(), UpdateError> {
        tuf::init(&self.kept(), root, self.now)
    }

    pub(super) fn kept(&self) -> Kept {
        Kept::open(self.directory.path()).unwrap()
    }

    pub(super) fn refresh(&self) -> Result<Trusted, UpdateError> {
        tuf::refresh(&self.kept(), self, self.now)
    }

    /// Refreshes, finds a target and downloads it.
    pub(super) fn download(&self, path: &str) -> Result<Vec<u8>, UpdateError> {
        let kept = self.kept();
        let mut trusted = tuf::refresh(&kept, self, self.now)?;
        let target = tuf::find(&mut trusted, path, &kept, self)?;
        let matching = tuf::download(target, trusted.has_consistent_snapshots(), self)?;
        Ok(matching.bytes().to_vec())
    }

    /// Refreshes, and expects a refusal with these words in it, and these versions on disk after it.
    #[track_caller]
    pub(super) fn is_refused(&self, words: &str, on_disk: &str) {
        check_refusal(&self.refresh().map(drop), words);
        assert_eq!(self.on_disk(), on_disk);
    }

    /// Refreshes, and expects these versions on disk after it.
    #[track_caller]
    pub(super) fn is_accepted(&self, on_disk: &str) {
        self.refresh().map_err(|error| said(&error)).unwrap();
        assert_eq!(self.on_disk(), on_disk);
    }

    /// Returns what is trusted on disk: `root 1, snapshot 1, targets 1, timestamp 1`.
    pub(super) fn on_disk(&self) -> String {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.directory.path()).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(role) = name.strip_suffix(".json") else { continue };
            let metadata: Value = serde_json::from_slice(&self.file(&name)).unwrap_or_default();
            found.insert(role.to_owned(), metadata["signed"]["version"].to_string());
        }
        let found: Vec<String> =
            found.iter().map(|(role, version)| format!("{role} {version}")).collect();
        found.join(", ")
    }

    pub(super) fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.path().join(name)).unwrap()
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.directory.path().join(name), bytes).unwrap();
    }

    pub(super) fn remove(&self, name: &str) {
        fs::remove_file(self.directory.path().join(name)).unwrap();
    }

    /// Returns what was asked for since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        self.log.take()
    }
}

impl Remote for World {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        self.log.borrow_mut().push(file.name.clone());
        let bytes = self.repository.metadata.get(&file.name);
        assert!(bytes.is_none_or(|bytes| bytes.len() as u64 <= file.limit), "the limit was passed");
        Ok(bytes.cloned())
    }

    fn target(&self, path: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.log.borrow_mut().push(path.to_owned());
        Ok(self.repository.targets.get(path).cloned())
    }
}

#[track_caller]
pub(super) fn check_refusal(outcome: &Result<(), UpdateError>, words: &str) {
    let Err(error) = outcome else { panic!("it was accepted; expected: {words}") };
    let said = said(error);
    assert!(said.contains(words), "expected: {words}\nfound: {said}");
}

pub(super) fn said(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", said(source)),
        None => error.to_string(),
    }
}
