//! Why metadata was refused.

use super::role::InvalidRoleName;

/// Why metadata, or what it says, was refused.
///
/// Names of roles and targets are text from outside: escape it before a terminal sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetadataError {
    /// It is not metadata of its role, or says what none may say.
    #[error("the {role} metadata is malformed: {reason}")]
    Malformed {
        /// Whose it claims to be.
        role: String,
        /// What is wrong.
        reason: String,
    },

    /// Too few of the keys that may sign it did.
    #[error("the {role} metadata has {found} valid signatures of the {threshold} it needs")]
    Threshold {
        /// Whose it claims to be.
        role: String,
        /// How many keys signed it.
        found: usize,
        /// How many have to.
        threshold: usize,
    },

    /// A root does not follow the one before.
    #[error("root {new} does not follow root {trusted}")]
    RootOrder {
        /// The version that is trusted.
        trusted: u64,
        /// The version that was given.
        new: u64,
    },

    /// It is older than what was trusted before.
    #[error(
        "version {new} of the {role} metadata is older than version {trusted}, which was trusted before"
    )]
    Rollback {
        /// What is older.
        role: String,
        /// The version that was trusted.
        trusted: u64,
        /// The version that was given.
        new: u64,
    },

    /// A snapshot no longer lists what an earlier one did.
    #[error("the snapshot no longer lists `{file}`, which was listed before")]
    Removed {
        /// The file.
        file: String,
    },

    /// Nobody vouches for it any more.
    #[error("the {role} metadata expired at {expires}")]
    Expired {
        /// Whose it is.
        role: String,
        /// When it expired: RFC 3339.
        expires: String,
    },

    /// It is not the file that is listed.
    #[error("metadata is not what is listed: {reason}")]
    NotAsListed {
        /// The difference.
        reason: String,
    },

    /// A role is delegated to and has no place in the snapshot.
    #[error("the snapshot does not list `{file}`")]
    NotListed {
        /// The file.
        file: String,
    },

    /// A delegation's name cannot be used.
    #[error(transparent)]
    RoleName(#[from] InvalidRoleName),

    /// The search for a target went through too many roles.
    #[error("looking for `{path}` leads through more than {limit} roles")]
    TooManyRoles {
        /// The target.
        path: String,
        /// How many are looked into.
        limit: usize,
    },

    /// A target does not say of itself that it is what its path says, or not what can be understood.
    #[error("what metadata says of `{path}` cannot be used: {reason}")]
    NotThisArtifact {
        /// The target.
        path: String,
        /// What is wrong.
        reason: String,
    },

    /// A target is not the one that is listed.
    #[error("`{path}` is not what is listed: {reason}")]
    TargetMismatch {
        /// The target.
        path: String,
        /// The difference.
        reason: String,
    },
}

impl MetadataError {
    pub(super) fn malformed(role: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { role: role.to_owned(), reason: reason.into() }
    }

    /// Says what the library refused, in our words.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the rest are faults of the form")]
    pub(super) fn of(role: &str, error: sigstore_tuf::Error) -> Self {
        use sigstore_tuf::Error;
        let owned = role.to_owned();
        match error {
            Error::ThresholdNotMet { found, threshold, .. } => {
                Self::Threshold { role: owned, found, threshold }
            }
            Error::BadRootVersion { trusted, new } => Self::RootOrder { trusted, new },
            Error::Rollback { role, trusted, new } => Self::Rollback { role, trusted, new },
            Error::Expired { role, expires } => {
                Self::Expired { role, expires: expires.to_string() }
            }
            Error::IntegrityMismatch(reason) => Self::NotAsListed { reason },
            other => {
                let cause = std::error::Error::source(&other);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                Self::malformed(role, format!("{other}{cause}"))
            }
        }
    }
}
