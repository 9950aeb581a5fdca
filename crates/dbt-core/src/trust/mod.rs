//! Who may sign what, and whether some bytes are what they claim to be.
//!
//! In reading order: [`proof`] says what may be known about some bytes, [`rules`] what the
//! configuration demands, [`memory`] what earlier runs saw, and [`TrustStore`] decides. There is
//! one verifier for tools, for dbt itself and for signed documents; no second one exists.

pub mod fingerprint;
pub mod history;
pub mod keys;
pub mod manifest;
pub mod memory;
pub mod metadata;
pub mod openpgp;
pub mod proof;
pub mod rules;
pub mod withdrawn;

mod verify;

pub use fingerprint::Fingerprint;
pub use proof::{Companions, Endorsement, Fetched, Standing, Verified};
pub use rules::TrustRules;
pub use verify::{
    ARTIFACT_LIMIT, Confirmation, Document, Expectation, Foreign, Signer, TrustStore, VerifyError,
};
