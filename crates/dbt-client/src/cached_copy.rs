//! The copy that will probably run: opened once, and read while the server is asked.
//!
//! Reading a tool takes longer than a server takes to say that nothing is new. What is found out
//! here are the digests of what was read, and nothing is believed of them: verification judges
//! them as if it had read the file itself, through the same open file, and whoever changes it
//! afterwards is found out when it is installed.

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::release::ArtifactId;
use dbt_core::trust::openpgp::{ContentDigests, SignatureBlock};
use dbt_core::trust::{ARTIFACT_LIMIT, Companions, Fetched};

use crate::state::InstalledVersion;
use crate::store::{Store, StoreFile};

/// Opens cached copies, at most one of them in advance.
#[derive(Debug)]
pub(crate) struct CachedCopies<'a> {
    store: &'a Store,
    now: SystemTime,
    ahead: Mutex<Option<CachedCopy>>,
}

/// What is read sooner than a thread is started for it.
const SHORT: u64 = 128 * 1024;

/// A copy in the store, open.
#[derive(Debug)]
struct CachedCopy {
    id: ArtifactId,
    sha256: Digest,
    companions: Companions,
    content: StoreFile,
    digests: Option<ContentDigests>,
}

impl<'a> CachedCopies<'a> {
    pub(crate) const fn of(store: &'a Store, now: SystemTime) -> Self {
        Self { store, now, ahead: Mutex::new(None) }
    }

    /// Opens a copy in advance. Says whether it is there.
    pub(crate) fn open_ahead(&self, id: ArtifactId, entry: &InstalledVersion) -> bool {
        let copy = self.open(id, entry);
        let is_there = copy.is_some();
        *self.ahead() = copy;
        is_there
    }

    /// Says whether reading the copy that was opened in advance takes longer than to have it done
    /// beside something else.
    pub(crate) fn is_worth_reading_ahead(&self) -> bool {
        self.ahead().as_ref().is_some_and(|copy| {
            copy.digests.is_none() && copy.content.length().is_ok_and(|length| length > SHORT)
        })
    }

    /// Reads the copy that was opened in advance.
    pub(crate) fn read_ahead(&self) {
        let Some(mut copy) = self.ahead().take() else { return };
        // What is wrong with the signature or the file is said when it is verified.
        let signatures = SignatureBlock::parse(&copy.companions.signature).ok();
        copy.digests = signatures.and_then(|it| it.hash(&mut copy.content, ARTIFACT_LIMIT).ok());
        *self.ahead() = Some(copy);
    }

    /// Returns the copy of an installed version, to be verified; nothing if it is not there.
    pub(crate) fn fetched(
        &self,
        id: ArtifactId,
        entry: &InstalledVersion,
    ) -> Option<Fetched<StoreFile>> {
        let ahead = self.ahead().take_if(|ahead| ahead.id == id && ahead.sha256 == entry.sha256);
        let CachedCopy { id, content, digests, .. } =
            ahead.map_or_else(|| self.open(id, entry), Some)?;
        // The companions are those of now: another signature than the one that was read for makes
        // the digests worthless, and verification says so.
        Some(Fetched::from_store(id, content, entry.companions(), digests))
    }

    fn open(&self, id: ArtifactId, entry: &InstalledVersion) -> Option<CachedCopy> {
        let content = self.store.find(entry.sha256, &id.file_name())?;
        let digests = self.store.remembered(&content, self.now);
        let (sha256, companions) = (entry.sha256, entry.companions());
        Some(CachedCopy { id, sha256, companions, content, digests })
    }

    fn ahead(&self) -> std::sync::MutexGuard<'_, Option<CachedCopy>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
