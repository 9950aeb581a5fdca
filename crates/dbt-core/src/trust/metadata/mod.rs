//! Signed metadata in the format of The Update Framework: what a repository says about itself,
//! and whether it may be believed.
//!
//! The workflow is that of the TUF specification 1.0, section 5, and its order is in the types:
//!
//! ```text
//! Roots ──settle──► Rooted ──timestamp──► Timed ──snapshot──► Listed ──targets──► Trusted
//! ```
//!
//! Each step takes bytes about which nothing is known and gives the next state, and an
//! [`Accepted`] for what was new: the only thing a store may write. Nothing is fetched here, and
//! the time is fixed when the update begins (specification, 5.1).
//!
//! Shapes, canonical form and thresholds are checked by `sigstore-tuf`, which knows no more of
//! the world than this crate does. What it leaves open is refused by `form.rs`, and what earlier runs
//! saw of a snapshot is kept here: see docs/design/0017.

mod artifact;
mod crypto;
mod error;
mod form;
mod recalled;
mod role;
mod search;
mod target;
mod update;

pub use artifact::{CUSTOM, ListedArtifact, Status, directory_of};
pub use error::MetadataError;
pub use role::{InvalidRoleName, RoleName};
pub use search::{Search, Step, Wanted};
pub use target::{MatchingTarget, Target};
pub use update::{Accepted, Listed, RemoteFile, Rooted, Roots, Stored, Timed, Trusted};

/// Returns the canonical form of a part of metadata: what signatures are made over, and what the names of
/// keys are digests of (specification, 4.1).
pub fn canonical(part: &serde_json::Value) -> Result<Vec<u8>, MetadataError> {
    sigstore_tuf::canonical_json::to_canonical_bytes(part)
        .map_err(|error| MetadataError::malformed("new", error.to_string()))
}

/// The most bytes of a root: some hundred keys.
pub const ROOT_LIMIT: u64 = 512 * 1024;

/// The most bytes of a timestamp, with its list of a thousand blocked artifacts.
pub const TIMESTAMP_LIMIT: u64 = 128 * 1024;

/// The most bytes of a snapshot: some tens of thousands of roles.
pub const SNAPSHOT_LIMIT: u64 = 2 * 1024 * 1024;

/// The most bytes of a targets file. One list of 16,000 artifacts has half of that.
pub const TARGETS_LIMIT: u64 = 5 * 1024 * 1024;

/// How many new roots one update follows (specification, 5.3.3). More are left to the next one.
pub const ROOTS_LIMIT: u32 = 256;

/// How many targets files are looked into for one target (specification, 5.6.7.1). Whoever may
/// delegate could otherwise make a client fetch for ever.
pub const VISITS_LIMIT: usize = 32;
