//! The truststore last accepted, and taking over another.
//!
//! A run may be ended between two of its writes. So `state.json` is written last, and names by its
//! digest the truststore that it was made for: of `truststore` and `truststore.previous`, that one
//! counts, and what an ended run has left in the place of the other was never accepted.

use std::path::Path;

use dbt_core::digest::Digest;
use dbt_core::trust::memory::TrustMemory;

use super::{InMemory, ServerRecord, ServerState, StateError, lock, read_if_any};
use crate::fsx;

/// What a truststore was judged by.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    /// What was remembered of the certificates.
    pub(crate) trust: &'a TrustMemory,
    /// The truststore last accepted.
    pub(crate) truststore: Option<&'a [u8]>,
}

/// A truststore as it was saved.
#[derive(Debug, Clone)]
pub(super) struct SavedTruststore {
    bytes: Vec<u8>,
    digest: Digest,
}

impl SavedTruststore {
    fn of(bytes: Vec<u8>) -> Self {
        let digest = Digest::of(&bytes);
        Self { bytes, digest }
    }

    fn read(directory: &Path, name: &str) -> Result<Option<Self>, StateError> {
        Ok(read_if_any(&directory.join(name))?.map(Self::of))
    }

    /// Reads the one that was accepted together with `record`: the present one, or the one before
    /// where a run was ended that was about to accept another. If neither is it, the present one
    /// is what there is.
    fn accepted(directory: &Path, record: &ServerRecord) -> Result<Option<Self>, StateError> {
        let present = Self::read(directory, TRUSTSTORE)?;
        let named = record.truststore_sha256;
        if named.is_none() || present.as_ref().map(|it| it.digest) == named {
            return Ok(present);
        }
        let previous = Self::read(directory, PREVIOUS_TRUSTSTORE).ok().flatten();
        Ok(previous.filter(|it| Some(it.digest) == named).or(present))
    }
}

/// The truststore last accepted, in a server's directory.
pub(super) const TRUSTSTORE: &str = "truststore";

/// The one before it.
pub(super) const PREVIOUS_TRUSTSTORE: &str = "truststore.previous";

impl ServerState {
    /// Returns the bytes of the truststore last accepted.
    pub fn truststore(&self) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.saved_truststore()?.map(|saved| saved.bytes))
    }

    fn saved_truststore(&self) -> Result<Option<SavedTruststore>, StateError> {
        if let Some(read) = &self.in_memory().truststore {
            return Ok(Some(read.clone()));
        }
        let saved = self.truststore_by_now(&self.server()?)?;
        self.in_memory().truststore.clone_from(&saved);
        Ok(saved)
    }

    /// The truststore that was accepted in this moment, if `record` is what is remembered by now.
    fn truststore_by_now(
        &self,
        record: &ServerRecord,
    ) -> Result<Option<SavedTruststore>, StateError> {
        let kept = || self.in_memory().truststore.clone();
        match (self.writable(), self.readable()) {
            (Some(directory), _) => SavedTruststore::accepted(directory, record),
            (None, Some(directory)) => match kept() {
                Some(saved) => Ok(Some(saved)),
                None => SavedTruststore::accepted(directory, record),
            },
            (None, None) => Ok(kept()),
        }
    }

    /// Returns the entity tag of the truststore last accepted, if that is still here as it was:
    /// without it, the answer that it is unchanged would be of no use.
    pub fn truststore_etag(&self) -> Result<Option<String>, StateError> {
        let here = self.is_truststore_accepted()?;
        Ok(self.server()?.truststore_etag.filter(|_etag| here))
    }

    /// Says whether what is remembered of the server was made for the truststore that is here.
    pub(crate) fn is_truststore_accepted(&self) -> Result<bool, StateError> {
        let here = self.saved_truststore()?.map(|saved| saved.digest);
        Ok(here.is_some() && here == self.server()?.truststore_sha256)
    }

    /// Takes over a truststore and what is to be remembered of it, in one step; the one before is
    /// kept as `truststore.previous`. Says whether it did.
    ///
    /// It does only if nobody has changed either since they were read (`judged`): a run that began
    /// earlier and judged by less must not undo what a later one has learnt.
    pub(crate) fn accept_truststore(
        &self,
        judged: &Judged<'_>,
        bytes: &[u8],
        mut change: impl FnMut(&mut ServerRecord),
    ) -> Result<bool, StateError> {
        let mut changed = self.server()?;
        let read = changed.clone();
        change(&mut changed);
        if changed == read && judged.truststore == Some(bytes) {
            return Ok(true);
        }
        let _lock = self.directory.as_deref().and_then(lock);
        let before = self.server_by_now()?;
        let known = self.truststore_by_now(&before)?.map(|saved| saved.bytes);
        if before.trust != *judged.trust || known.as_deref() != judged.truststore {
            if self.writable().is_some() {
                // It is read anew.
                *self.in_memory() = InMemory::default();
            }
            return Ok(false);
        }
        if known.as_deref() != Some(bytes) {
            // In this order: whenever this run is ended, one of them is what `state.json` names.
            let files = known.as_deref().map(|known| (PREVIOUS_TRUSTSTORE, known));
            for (name, bytes) in files.into_iter().chain([(TRUSTSTORE, bytes)]) {
                if let Some(directory) = self.writable() {
                    self.written(fsx::write_atomic(&directory.join(name), bytes, 0o600))?;
                }
            }
        }
        let mut after = before.clone();
        change(&mut after);
        self.keep_server(&before, after)?;
        self.in_memory().truststore = Some(SavedTruststore::of(bytes.to_vec()));
        Ok(true)
    }
}
