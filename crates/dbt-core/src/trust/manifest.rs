//! The signed manifest of the truststore (level 1): who may change the truststore, and which
//! truststore is the current one. (Trust design, 2.5.)

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::digest::Digest;
use crate::timestamp;

use super::fingerprint::Fingerprint;
use super::keys::Certificate;
use super::openpgp::{SignatureBlock, SignatureFormatError};
use super::rules::TrustRules;

/// The schema name of a manifest.
pub const MANIFEST_SCHEMA: &str = "dbt.truststore/1";

/// The most bytes a manifest may have.
pub const MANIFEST_LIMIT: u64 = 64 * 1024;

/// A manifest as written: nothing about it has been checked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_SCHEMA`].
    pub schema: String,
    /// Names the repository for ever, whatever its URL.
    pub repository_id: String,
    /// Rises by one with every change.
    pub version: u64,
    /// When it was made, RFC 3339.
    pub issued: String,
    /// When it should have been renewed, RFC 3339. Said by `doctor`; it stops nothing.
    pub expires: String,
    /// The digest of the truststore's bytes.
    pub sha256: Digest,
    /// Who may sign the next manifest.
    pub admins: Vec<Fingerprint>,
    /// How many of them must.
    pub admin_threshold: u32,
    /// Every certificate of the truststore.
    pub certs: Vec<Fingerprint>,
    /// The digest of the manifest before this one; none for the first.
    pub prev: Option<Digest>,
}

impl Manifest {
    /// Reads a manifest and checks that it makes sense in itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(ManifestError::Json)?;
        let admins: BTreeSet<&Fingerprint> = manifest.admins.iter().collect();
        let threshold = usize::try_from(manifest.admin_threshold).unwrap_or(usize::MAX);
        if manifest.schema != MANIFEST_SCHEMA {
            return Err(ManifestError::Nonsense("its schema is not one that this version knows"));
        }
        if threshold == 0 || threshold > admins.len() {
            return Err(ManifestError::Nonsense("its threshold cannot be met by its admins"));
        }
        if manifest.version == 0 || (manifest.version == 1) != manifest.prev.is_none() {
            return Err(ManifestError::Nonsense("its version and its predecessor disagree"));
        }
        if timestamp::parse(&manifest.expires).is_none() {
            return Err(ManifestError::Nonsense("its expiry is not a time"));
        }
        Ok(manifest)
    }
}

/// The manifest that this machine holds on to. The next one must follow from it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PinnedManifest {
    /// What it says.
    pub manifest: Manifest,
    /// The digest of its bytes.
    pub sha256: Digest,
    /// Who signed the ones that it follows from, up to the first that was accepted here.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub earlier_admins: BTreeSet<Fingerprint>,
}

/// A manifest whose signatures have been checked by [`PinnedManifest::first`] or
/// [`PinnedManifest::follow`], the only makers of a new pin.
impl PinnedManifest {
    /// Accepts the first manifest of a repository: enough of its own admins signed it, and each
    /// of those is a certificate that the machine trusts already (`trusted`).
    pub fn first(
        bytes: &[u8],
        signature: &[u8],
        trusted: &[&Certificate],
        now: SystemTime,
    ) -> Result<Self, ManifestError> {
        let manifest = Manifest::parse(bytes)?;
        let (admins, threshold) = (manifest.admins.clone(), manifest.admin_threshold);
        count_admins(bytes, signature, &admins, threshold, trusted, now)?;
        Ok(Self { sha256: Digest::of(bytes), manifest, earlier_admins: BTreeSet::new() })
    }

    /// Accepts the next manifest: its version is one higher, it names this one as its
    /// predecessor and the same repository, and enough of *this* one's admins signed it.
    pub fn follow(
        &self,
        bytes: &[u8],
        signature: &[u8],
        certificates: &[&Certificate],
        now: SystemTime,
    ) -> Result<Self, ManifestError> {
        if Digest::of(bytes) == self.sha256 {
            return Ok(self.clone());
        }
        let next = Manifest::parse(bytes)?;
        let pinned = &self.manifest;
        if next.repository_id != pinned.repository_id {
            return Err(ManifestError::OtherRepository);
        }
        if next.version <= pinned.version {
            return Err(ManifestError::Rollback { offered: next.version, pinned: pinned.version });
        }
        if next.version != pinned.version + 1 || next.prev != Some(self.sha256) {
            return Err(ManifestError::Gap { offered: next.version, pinned: pinned.version });
        }
        count_admins(bytes, signature, &pinned.admins, pinned.admin_threshold, certificates, now)?;
        let earlier_admins = self.lineage().cloned().collect();
        Ok(Self { sha256: Digest::of(bytes), manifest: next, earlier_admins })
    }

    /// Says whether the configuration stands behind it still: it names nobody but for some tools, or an
    /// admin of this manifest or of one that it follows from. What was accepted under an anchor that
    /// has been replaced since speaks for nobody.
    #[must_use]
    pub fn is_anchored_in(&self, rules: &TrustRules) -> bool {
        !rules.names_general_signers() || self.lineage().any(|admin| rules.names(admin))
    }

    fn lineage(&self) -> impl Iterator<Item = &Fingerprint> {
        self.earlier_admins.iter().chain(&self.manifest.admins)
    }
}

/// Checks that enough distinct admins signed some bytes: the one place where they are counted.
fn count_admins(
    bytes: &[u8],
    signature: &[u8],
    admins: &[Fingerprint],
    threshold: u32,
    certificates: &[&Certificate],
    now: SystemTime,
) -> Result<(), ManifestError> {
    let signatures = SignatureBlock::parse(signature).map_err(ManifestError::Signature)?;
    let mut content = bytes;
    let digests =
        signatures.hash(&mut content, MANIFEST_LIMIT).map_err(|_error| ManifestError::TooLarge)?;
    let admins: Vec<&Certificate> = certificates
        .iter()
        .copied()
        .filter(|certificate| admins.contains(certificate.fingerprint()))
        .collect();
    let good: BTreeSet<Fingerprint> = signatures
        .judge(&digests, &admins, now)
        .good
        .into_iter()
        .map(|signature| signature.signer)
        .collect();
    let needed = usize::try_from(threshold).unwrap_or(usize::MAX);
    if good.len() < needed {
        return Err(ManifestError::TooFewAdmins { signed: good.len(), needed });
    }
    Ok(())
}

/// Why a manifest was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not JSON of the right shape.
    #[error("failed to read the truststore's manifest")]
    Json(#[source] serde_json::Error),
    /// It contradicts itself.
    #[error("the truststore's manifest makes no sense: {0}")]
    Nonsense(&'static str),
    /// It is larger than any manifest.
    #[error("the truststore's manifest is larger than {MANIFEST_LIMIT} bytes")]
    TooLarge,
    /// Its signature file is not exactly one block of signatures.
    #[error("failed to read the signature of the truststore's manifest")]
    Signature(#[source] SignatureFormatError),
    /// Not enough trusted admins stand behind it.
    #[error(
        "the truststore's manifest is signed by {signed} of the {needed} trusted administrators it needs"
    )]
    TooFewAdmins {
        /// How many signatures count.
        signed: usize,
        /// How many are needed.
        needed: usize,
    },
    /// It belongs to another repository.
    #[error("the truststore's manifest belongs to another repository")]
    OtherRepository,
    /// An older one is offered.
    #[error("the truststore's manifest went back from version {pinned} to {offered}")]
    Rollback {
        /// The version offered.
        offered: u64,
        /// The version seen before.
        pinned: u64,
    },
    /// Manifests in between are needed first.
    #[error("the truststore's manifest {offered} does not follow from version {pinned}")]
    Gap {
        /// The version offered.
        offered: u64,
        /// The version seen before.
        pinned: u64,
    },
}
