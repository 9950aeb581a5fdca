//! What signed metadata says of an artifact: its bytes, who signs it, and whether it may still run.
//! (Trust design, 2.5.)

use super::error::MetadataError;
use super::target::Target;
use crate::digest::Digest;
use crate::layout::Location;
use crate::release::{ArtifactId, Subject};
use crate::trust::fingerprint::Fingerprint;

/// An artifact as trusted metadata lists it.
///
/// Only [`ListedArtifact::of`] makes one:
///
/// ```compile_fail
/// use dbt_core::trust::metadata::ListedArtifact;
/// let forged = ListedArtifact { role: String::new(), ..todo!() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedArtifact {
    role: String,
    sha256: Digest,
    length: u64,
    signers: Vec<Fingerprint>,
    status: Status,
}

/// Whether a version may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// It may.
    Active,
    /// It may, and there is something better. Text from outside.
    Deprecated {
        /// Why.
        reason: String,
        /// What takes its place, if anything.
        replaced_by: Option<String>,
    },
    /// It never runs again, not even from a cache. Text from outside.
    Withdrawn {
        /// Why.
        reason: String,
    },
}

/// What is said beside length and digests.
#[derive(serde::Deserialize)]
struct Custom {
    dbt: Own,
}

#[derive(serde::Deserialize)]
struct Own {
    schema: u32,
    tool: String,
    version: String,
    os: String,
    arch: String,
    status: String,
    #[serde(default)]
    reason: String,
    replaced_by: Option<String>,
    pgp: Signers,
}

#[derive(serde::Deserialize)]
struct Signers {
    signers: Vec<Fingerprint>,
}

/// The member of a target's `custom` that is ours, and the kind of the program itself in it: the same for every brand.
pub const CUSTOM: &str = "dbt";

/// The schema of what is said of an artifact; a higher one is of a newer program.
const SCHEMA: u32 = 1;

impl ListedArtifact {
    /// Returns the path of an artifact in metadata.
    pub fn path_of(id: &ArtifactId) -> String {
        Location::artifact(id).target_path()
    }

    /// Takes what a target says of this artifact. It must say that it is this one: a path alone does not.
    pub fn of(target: &Target, id: &ArtifactId) -> Result<Self, MetadataError> {
        let wrong = |reason: String| MetadataError::NotThisArtifact {
            path: target.path().to_owned(),
            reason,
        };
        let custom = target.custom().cloned().unwrap_or_default();
        let Custom { dbt: own } =
            serde_json::from_value(custom).map_err(|error| wrong(error.to_string()))?;
        if own.schema > SCHEMA {
            return Err(wrong("it is written for a newer program".to_owned()));
        }
        let ArtifactId { subject, version, platform } = id;
        let expected =
            [subject.name(), version.spelling(), platform.os.as_str(), platform.arch.as_str()];
        let said = [&own.tool, &own.version, &own.os, &own.arch];
        if target.path() != Self::path_of(id) || said != expected {
            return Err(wrong(format!(
                "it is said to be {}",
                said.map(|it| it.escape_debug().to_string()).join(" ")
            )));
        }
        let sha256 = target.sha256().ok_or_else(|| wrong("it has no SHA-256 digest".to_owned()))?;
        let status = match own.status.as_str() {
            "active" => Status::Active,
            "deprecated" => Status::Deprecated { reason: own.reason, replaced_by: own.replaced_by },
            "withdrawn" => Status::Withdrawn { reason: own.reason },
            // What it means is not known here, and it may be that it must not run.
            _ => return Err(wrong("its status is not one that is known".to_owned())),
        };
        let (role, length, signers) = (target.role().to_owned(), target.length(), own.pgp.signers);
        Ok(Self { role, sha256, length, signers, status })
    }

    /// Returns the role that lists it.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns the digest of its bytes.
    pub const fn sha256(&self) -> Digest {
        self.sha256
    }

    /// Returns its length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Returns the keys of which one must have signed it.
    pub fn signers(&self) -> &[Fingerprint] {
        &self.signers
    }

    /// Says whether it may run.
    pub const fn status(&self) -> &Status {
        &self.status
    }
}

/// Returns the directory of a subject in metadata, with a slash at its end.
pub fn directory_of(subject: &Subject) -> String {
    let root = Location::versions_of(subject).target_path();
    if root.ends_with('/') { root } else { format!("{root}/") }
}
