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
use super::drafts::below;
use crate::storage::StorageError;

/// Whether what is published must be signed by somebody in the repository's truststore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyUploads {
    /// As soon as the repository has a truststore with a certificate that counts.
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
        if self.verify == VerifyUploads::Never {
            return Ok(None);
        }
        let usable = self.truststore().and_then(|bytes| assembled(&bytes, now));
        match (usable, self.verify) {
            (Some(trust), _) => Ok(Some(trust)),
            (None, VerifyUploads::Always) => Err(StorageError::NotPublishable {
                reason: "`verifyUploads` is on, and the repository has no usable truststore"
                    .to_owned(),
            }),
            (None, VerifyUploads::WithTruststore | VerifyUploads::Never) => Ok(None),
        }
    }

    fn truststore(&self) -> Option<Vec<u8>> {
        let path = below(&below(&RepoPath::root(), brand::REPOSITORY_PATH), TRUSTSTORE_FILE);
        let file = self.root.open(&path).ok()?;
        let mut bytes = Vec::new();
        let mut limited = io::Read::take(file, TRUSTSTORE_LIMIT + 1);
        io::Read::read_to_end(&mut limited, &mut bytes).ok()?;
        Some(bytes)
    }
}

fn assembled(bytes: &[u8], now: SystemTime) -> Option<TrustStore> {
    let served = Keyring::parse(bytes).ok()?;
    let rules = TrustRules::default();
    let demands = Demands { rules: &rules, strict: false };
    let assembly =
        TrustMemory::default().assemble(served, None, demands, Confirmation::Confirmed, now);
    assembly.ok().map(|assembly| assembly.store)
}
