//! The copy that will probably run: opened once, and read while the server is asked.
//!
//! Reading a tool takes longer than a server takes to say that nothing is new. What is found out
//! here are the digests of what was read, and nothing is believed of them: verification judges
//! them as if it had read the file itself, through the same open file, and whoever changes it
//! afterwards is found out when it is installed.

use std::cell::RefCell;
use std::io::{self, Read};
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
    ahead: RefCell<Option<CachedCopy>>,
}

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
        Self { store, now, ahead: RefCell::new(None) }
    }

    /// Opens a copy in advance. Says whether it is there.
    pub(crate) fn open_ahead(&self, id: ArtifactId, entry: &InstalledVersion) -> bool {
        let copy = self.open(id, entry);
        let is_there = copy.is_some();
        *self.ahead.borrow_mut() = copy;
        is_there
    }

    /// Reads the copy that was opened in advance, unless it is known already. Calls `look` before
    /// each of its pieces.
    pub(crate) fn read_ahead(&self, look: &dyn Fn()) {
        let mut ahead = self.ahead.borrow_mut();
        let Some(copy) = ahead.as_mut().filter(|copy| copy.digests.is_none()) else { return };
        // What is wrong with the signature or the file is said when it is verified.
        let signatures = SignatureBlock::parse(&copy.companions.signature).ok();
        let mut content = Watched { content: &mut copy.content, look };
        copy.digests = signatures.and_then(|it| it.hash(&mut content, ARTIFACT_LIMIT).ok());
    }

    /// Returns the copy of an installed version, to be verified; nothing if it is not there.
    pub(crate) fn fetched(
        &self,
        id: ArtifactId,
        entry: &InstalledVersion,
    ) -> Option<Fetched<StoreFile>> {
        let ahead =
            self.ahead.borrow_mut().take_if(|ahead| ahead.id == id && ahead.sha256 == entry.sha256);
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
}

/// Lets somebody look after something else before each piece that is read.
struct Watched<'a> {
    content: &'a mut StoreFile,
    look: &'a dyn Fn(),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.look)();
        self.content.read(buffer)
    }
}
