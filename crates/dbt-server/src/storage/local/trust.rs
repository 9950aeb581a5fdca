//! The repository's own truststore, as a client that meets it for the first time would judge it.

use std::io;
use std::time::SystemTime;

use dbt_core::brand;
use dbt_core::layout::TRUSTSTORE_FILE;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::keys::{Keyring, TRUSTSTORE_LIMIT};
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{Confirmation, TrustRules, TrustStore};

use super::Tree;
use super::beneath::is_not_a_directory;
use super::drafts::below;
use super::publish::writing;
use crate::log::causes;
use crate::storage::StorageError;

/// Whether what is published must be signed by somebody in the repository's truststore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyUploads {
    /// As soon as the repository has a truststore, whatever is in it.
    #[default]
    WithTruststore,
    /// Always; without a truststore nothing can be published.
    Always,
    /// Never.
    Never,
}

impl Tree {
    /// Returns what uploads are verified with, or nothing if they are not verified.
    pub(super) fn trust(&self, now: SystemTime) -> Result<Option<TrustStore>, StorageError> {
        let verify = self.rules().verify;
        if verify == VerifyUploads::Never {
            return Ok(None);
        }
        match (self.truststore()?, verify) {
            (Some(bytes), _) => assembled(&bytes, now).map(Some),
            (None, VerifyUploads::Always) => Err(StorageError::NotPublishable {
                reason: "`verifyUploads` is on, and the repository has no usable truststore"
                    .to_owned(),
            }),
            (None, VerifyUploads::WithTruststore | VerifyUploads::Never) => Ok(None),
        }
    }

    /// Returns the truststore. Only where there is none, nothing is to be verified: one that is
    /// broken or cannot be read is none that vouches for everything.
    fn truststore(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let path = below(&below(&RepoPath::root(), brand::REPOSITORY_PATH), TRUSTSTORE_FILE);
        let failed = |error| writing("read", &path, error);
        let file = match self.root.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if is_not_a_directory(&error) => {
                return Err(unusable("a link or a file is on the way to it"));
            }
            Err(error) => return Err(failed(error)),
        };
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(unusable("it is no file"));
        }
        let mut bytes = Vec::new();
        let mut limited = io::Read::take(file, TRUSTSTORE_LIMIT + 1);
        io::Read::read_to_end(&mut limited, &mut bytes).map_err(failed)?;
        Ok(Some(bytes))
    }
}

fn assembled(bytes: &[u8], now: SystemTime) -> Result<TrustStore, StorageError> {
    let served = Keyring::parse(bytes).map_err(|error| unusable(&causes(&error)))?;
    let rules = TrustRules::default();
    let demands = Demands { rules: &rules, strict: false };
    let assembly =
        TrustMemory::default().assemble(served, None, demands, Confirmation::Confirmed, now);
    assembly.map(|assembly| assembly.store).map_err(|error| unusable(&causes(&error)))
}

fn unusable(why: &str) -> StorageError {
    let reason = format!(
        "nothing can be verified with the repository's truststore: {why}; without it, uploads are \
         taken only where `verifyUploads` is `off`"
    );
    StorageError::NotPublishable { reason }
}
