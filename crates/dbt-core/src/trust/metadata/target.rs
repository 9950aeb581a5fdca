//! What metadata says about one target, and whether some bytes are it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha512};

use super::error::MetadataError;
use super::role::{LONGEST_NAME, escaped};
use crate::digest::Digest;

/// A target that trusted metadata lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    path: String,
    role: String,
    length: u64,
    hashes: BTreeMap<String, String>,
    custom: Option<Value>,
}

impl Target {
    pub(super) fn new(path: &str, role: &str, listed: &sigstore_tuf::TargetFile) -> Self {
        Self {
            path: path.to_owned(),
            role: role.to_owned(),
            length: listed.length,
            hashes: listed.hashes.clone(),
            custom: listed.custom.clone(),
        }
    }

    /// Returns its path as it stands in metadata. Text from outside: it may leave a directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the role that lists it: `targets`, or a delegated one.
    pub fn role(&self) -> &str {
        &self.role
    }

    /// Returns a name for a file that holds it: its path as one segment, so that it cannot leave a
    /// directory; for very long ones the path's digest.
    pub fn file_name(&self) -> String {
        let escaped = escaped(&self.path);
        let is_fit = escaped.len() <= LONGEST_NAME && !matches!(&*escaped, "" | "." | "..");
        if is_fit { escaped } else { Digest::of(self.path.as_bytes()).to_string() }
    }

    /// Returns its length in bytes.
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Returns its SHA-256 digest, if it is listed with one.
    pub fn sha256(&self) -> Option<Digest> {
        self.hashes.get("sha256")?.parse().ok()
    }

    /// Returns what else is said about it.
    pub const fn custom(&self) -> Option<&Value> {
        self.custom.as_ref()
    }

    /// Returns where it is fetched from: with consistent snapshots the last segment begins with its
    /// digest (specification, 5.7.3).
    pub fn remote_path(&self, consistent_snapshot: bool) -> Result<String, MetadataError> {
        if !consistent_snapshot {
            return Ok(self.path.clone());
        }
        let known = ["sha256", "sha512"].iter().find_map(|algorithm| self.hashes.get(*algorithm));
        let digest = known.filter(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digest = digest.ok_or_else(|| self.mismatch("it has no digest that is known here"))?;
        Ok(match self.path.rsplit_once('/') {
            Some((directory, name)) => format!("{directory}/{digest}.{name}"),
            None => format!("{digest}.{}", self.path),
        })
    }

    /// Checks that some bytes are this target: their length, and each digest of a kind that is known
    /// here, of which there has to be one (specification, 5.7.3).
    pub fn verify(self, bytes: Vec<u8>) -> Result<MatchingTarget, MetadataError> {
        if bytes.len() as u64 != self.length {
            let reason = format!("it has {} bytes instead of {}", bytes.len(), self.length);
            return Err(self.mismatch(&reason));
        }
        let mut compared = 0;
        for (algorithm, expected) in &self.hashes {
            let found = match algorithm.as_str() {
                "sha256" => hexadecimal(&Sha256::digest(&bytes)),
                "sha512" => hexadecimal(&Sha512::digest(&bytes)),
                _ => continue,
            };
            if !found.eq_ignore_ascii_case(expected) {
                return Err(self.mismatch(&format!("its {algorithm} is {found}")));
            }
            compared += 1;
        }
        if compared == 0 {
            return Err(self.mismatch("it has no digest that is known here"));
        }
        Ok(MatchingTarget { path: self.path, bytes })
    }

    fn mismatch(&self, reason: &str) -> MetadataError {
        MetadataError::TargetMismatch { path: self.path.clone(), reason: reason.to_owned() }
    }
}

fn hexadecimal(digest: &[u8]) -> String {
    let mut digits = String::with_capacity(digest.len() * 2);
    for byte in digest {
        let _written = write!(digits, "{byte:02x}");
    }
    digits
}

/// The bytes of a target, compared with what trusted metadata says of it.
///
/// Only [`Target::verify`] makes one:
///
/// ```compile_fail
/// let forged = dbt_core::trust::metadata::MatchingTarget { path: String::new(), bytes: vec![] };
/// ```
#[derive(Debug)]
pub struct MatchingTarget {
    path: String,
    bytes: Vec<u8>,
}

impl MatchingTarget {
    /// Returns the target's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
