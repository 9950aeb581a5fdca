//! What is known about some bytes: nothing ([`Fetched`]), or that they are the published ones
//! ([`Verified`]).

use std::time::SystemTime;

use crate::digest::Digest;
use crate::release::ArtifactId;
use crate::version::Version;

use super::fingerprint::Fingerprint;
use super::openpgp::ContentDigests;

/// The two small files that lie beside an artifact, as received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Companions {
    /// The `.sha256` file.
    pub checksum: Vec<u8>,
    /// The `.asc` file.
    pub signature: Vec<u8>,
}

/// An artifact about which nothing is known yet: its open content and its companions.
///
/// It holds the open content and not a path, so that what is checked is what is used.
#[derive(Debug)]
pub struct Fetched<C> {
    pub(super) id: ArtifactId,
    pub(super) content: C,
    pub(super) companions: Companions,
    pub(super) origin: Origin,
    pub(super) remembered: Option<ContentDigests>,
}

/// Where some content came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was fetched in this run, and would be new on this machine.
    Network,
    /// It was verified and installed by an earlier run, or by the reference.
    Store,
}

impl<C> Fetched<C> {
    /// Takes in what was just downloaded.
    pub const fn from_network(id: ArtifactId, content: C, companions: Companions) -> Self {
        Self { id, content, companions, origin: Origin::Network, remembered: None }
    }

    /// Takes in what lies in a store. It takes the same road as a download.
    ///
    /// `remembered` are digests that an earlier run computed over the very same file, for files
    /// too large to read on every run; whoever passes them vouches for that (trust design, 2.10).
    pub const fn from_store(
        id: ArtifactId,
        content: C,
        companions: Companions,
        remembered: Option<ContentDigests>,
    ) -> Self {
        Self { id, content, companions, origin: Origin::Store, remembered }
    }

    /// Returns what it claims to be.
    pub const fn id(&self) -> &ArtifactId {
        &self.id
    }
}

/// An artifact whose checksum and signature have been checked.
///
/// Only [`TrustStore::verify`](super::TrustStore::verify) makes one:
///
/// ```compile_fail
/// let forged = dbt_core::trust::Verified { content: std::io::empty() };
/// ```
#[derive(Debug)]
pub struct Verified<C> {
    pub(super) id: ArtifactId,
    pub(super) content: C,
    pub(super) companions: Companions,
    pub(super) digests: ContentDigests,
    pub(super) endorsement: Endorsement,
}

impl<C> Verified<C> {
    /// Returns what it is.
    pub const fn id(&self) -> &ArtifactId {
        &self.id
    }

    /// Returns the digest of the content.
    pub fn digest(&self) -> Digest {
        self.digests.sha256()
    }

    /// Returns the content's length in bytes.
    pub fn length(&self) -> u64 {
        self.digests.length()
    }

    /// Returns the digests that were compared, to be remembered for large files.
    pub const fn content_digests(&self) -> &ContentDigests {
        &self.digests
    }

    /// Returns who signed it.
    pub const fn endorsement(&self) -> &Endorsement {
        &self.endorsement
    }

    /// Returns the companions it was verified with.
    pub const fn companions(&self) -> &Companions {
        &self.companions
    }

    /// Returns the open content that was verified.
    pub const fn content(&self) -> &C {
        &self.content
    }

    /// Returns the open content that was verified, and gives the proof up.
    pub fn into_content(self) -> C {
        self.content
    }
}

/// Who stands behind some verified bytes, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The primary key of the signer.
    pub signer: Fingerprint,
    /// The signer's name. Text from outside: escape it before a terminal sees it.
    pub name: String,
    /// How the signer came to be trusted.
    pub standing: Standing,
    /// When the signature says that it was made.
    pub made: SystemTime,
    /// When the signer's key expires or expired, if ever.
    pub expires: Option<SystemTime>,
    /// The signature names what it signs.
    pub bound: bool,
    /// The version that the signer says it was built as, where he has put an older one back under
    /// the number of this one ([`ArtifactId::put_back`]).
    pub built_as: Option<Version>,
}

/// How a certificate came to be trusted on this machine (trust design, 2.7).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It appeared later and nobody known stands behind it.
    Newcomer,
    /// An established certificate, or the signed manifest, stands behind it.
    Vouched,
    /// It was there at the first contact, or a person approved it.
    Established,
    /// The configuration names it.
    Pinned,
}

impl Standing {
    /// Returns the word for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newcomer => "newcomer",
            Self::Vouched => "vouched",
            Self::Established => "established",
            Self::Pinned => "pinned",
        }
    }
}
