//! Where a server's metadata is kept, and where what is not there comes from.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::SystemTime;

use dbt_core::timestamp;
use dbt_core::trust::metadata::RemoteFile;
use serde_json::Value;

use super::IndexError;
use crate::fsx::FsxError;
use crate::session::Session;
use crate::source::FetchError;
use crate::tuf::{Beside, DIRECTORY, Kept, Remote};

/// The directory of one server's metadata on this machine.
#[derive(Debug)]
pub(super) struct Place {
    directory: PathBuf,
    /// Where nothing can be written, it lives as long as the run.
    _temporary: Option<tempfile::TempDir>,
}

impl Place {
    pub(super) fn of(session: &Session<'_>) -> Result<Self, IndexError> {
        if let Some(directory) = session.state.directory() {
            return Ok(Self { directory: directory.join(DIRECTORY), _temporary: None });
        }
        let above = &session.settings.places.temporary;
        let failed = |error| FsxError::new("make a directory in", above, error);
        let temporary = tempfile::tempdir_in(above).map_err(failed)?;
        Ok(Self { directory: temporary.path().to_owned(), _temporary: Some(temporary) })
    }

    /// Opens it to read what is there: others may write meanwhile, whole files at a time.
    pub(super) fn look(&self) -> Kept {
        Kept::unlocked(&self.directory)
    }

    /// Opens it to write.
    pub(super) fn locked(&self) -> Result<Kept, IndexError> {
        Ok(Kept::open(&self.directory)?)
    }

    /// Returns what the root that is trusted says besides the specification's words.
    pub(super) fn own_words(&self) -> Result<OwnWords, IndexError> {
        let root = self.look().read("root.json")?.unwrap_or_default();
        Ok(OwnWords::of(&root))
    }
}

/// Returns when the timestamp ends that is kept: it was verified when it came.
pub(super) fn end_of(kept: &Kept) -> Result<Option<SystemTime>, IndexError> {
    let timestamp = kept.read("timestamp.json")?.unwrap_or_default();
    let document: Value = serde_json::from_slice(&timestamp).unwrap_or_default();
    Ok(document["signed"]["expires"].as_str().and_then(timestamp::parse))
}

/// What a root says to clients of ours. It counts where the root does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OwnWords {
    pub(super) repository_id: Option<String>,
    /// Clients decide by it alone; not while it is on trial.
    pub(super) enforce: bool,
}

impl OwnWords {
    pub(super) fn of(root: &[u8]) -> Self {
        let root: Value = serde_json::from_slice(root).unwrap_or_default();
        let own = &root["signed"]["x-dbt"];
        Self {
            repository_id: own["repository_id"].as_str().map(str::to_owned),
            enforce: own["enforce"] != false,
        }
    }
}

/// Nothing but what is kept, for who asks nobody, or knows that there is nothing newer.
pub(super) struct OnlyKept<'a> {
    pub(super) timestamp: &'a [u8],
}

impl Remote for OnlyKept<'_> {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        Ok((file.name == "timestamp.json").then(|| self.timestamp.to_vec()))
    }

    fn target(&self, _path: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(None)
    }
}

/// The server's files, with the timestamp that it has given already.
pub(super) struct OfServer<'a> {
    timestamp: &'a [u8],
    beside: &'a Beside<'a>,
    /// The repository that this machine knows.
    repository_id: Option<&'a str>,
    other: RefCell<Option<String>>,
}

impl<'a> OfServer<'a> {
    pub(super) const fn new(
        timestamp: &'a [u8],
        beside: &'a Beside<'a>,
        repository_id: Option<&'a str>,
    ) -> Self {
        Self { timestamp, beside, repository_id, other: RefCell::new(None) }
    }

    /// Says whether a root of another repository was offered. It was not looked at: two organisations that share keys,
    /// or one with two repositories, sign roots that fit each other.
    pub(super) fn refuse_other_repository(&self) -> Result<(), IndexError> {
        match self.other.take() {
            Some(found) => Err(IndexError::OtherRepository { found }),
            None => Ok(()),
        }
    }
}

impl Remote for OfServer<'_> {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        if file.name == "timestamp.json" {
            return Ok(Some(self.timestamp.to_vec()));
        }
        let bytes = self.beside.metadata(file)?;
        if let (Some(known), Some(root)) = (self.repository_id, &bytes)
            && file.name.ends_with(".root.json")
        {
            let found = OwnWords::of(root).repository_id.unwrap_or_default();
            if found != known {
                self.other.replace(Some(found));
                return Ok(None);
            }
        }
        Ok(bytes)
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        self.beside.target(path, limit)
    }
}
