//! Why there are no credentials of AWS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::CredentialsError;
use crate::source::{Class, FetchError};

/// Credentials of AWS are configured and cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AwsError {
    /// A file could not be read.
    #[error("failed to read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A file is not what it should be.
    #[error("the shared file `{}` cannot be used: {problem}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A profile that no file has.
    #[error("the AWS profile `{}` is in none of the shared files", name.escape_debug())]
    NoProfile {
        /// Its name.
        name: String,
    },
    /// A profile, or the environment, says half of what is needed.
    #[error("{place} has no `{key}`")]
    Incomplete {
        /// Where it should be.
        place: String,
        /// The key or variable.
        key: &'static str,
    },
    /// A value that means nothing.
    #[error("`{key}` of {place} cannot be used: {problem}")]
    BadValue {
        /// Where it is.
        place: String,
        /// The key or variable.
        key: &'static str,
        /// Why.
        problem: String,
    },
    /// A role whose source leads back to it.
    #[error("the AWS profile `{}` gets its credentials from itself", name.escape_debug())]
    Circle {
        /// The profile.
        name: String,
    },
    /// A role that wants a code of a device.
    #[error("the role of the AWS profile `{}` wants a code (`mfa_serial`)", name.escape_debug())]
    Code {
        /// The profile.
        name: String,
    },
    /// The program of `credential_process` failed.
    #[error(transparent)]
    Program(#[from] CredentialsError),
    /// Somebody answered with what are no credentials.
    #[error("{who} answered with what are no credentials")]
    NoCredentials {
        /// Who.
        who: String,
    },
    /// Nobody answered.
    #[error("{who} did not give credentials")]
    Asked {
        /// Who was asked.
        who: String,
        /// Why.
        source: Arc<FetchError>,
    },
    /// AWS says no.
    #[error("{who} refuses credentials: {code}{}", said(message))]
    Refused {
        /// Who was asked.
        who: String,
        /// The word for it.
        code: String,
        /// The words for people.
        message: String,
    },
    /// Nobody is signed in.
    #[error("nobody is signed in to IAM Identity Center at `{start}`, or no longer")]
    NotSignedIn {
        /// Where one signs in.
        start: String,
        /// The profile.
        profile: String,
    },
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({})", message.escape_debug()) }
}

impl AwsError {
    /// Returns the row of the outage table that this is.
    pub(crate) fn class(&self) -> Class {
        let is_outage = if let Self::Asked { source, .. } = self {
            source.class() == Class::Outage
        } else {
            false
        };
        if is_outage { Class::Outage } else { Class::SignIn }
    }

    /// Returns what the user can do about it, if anything.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NotSignedIn { profile, .. } => {
                Some(format!("run `aws sso login --profile {}`", profile.escape_debug()))
            }
            Self::NoProfile { .. } => {
                Some("`aws configure list-profiles` says which there are".to_owned())
            }
            Self::Code { .. } => Some(
                "give the credentials of a session instead: \
                 `eval \"$(aws configure export-credentials --format env)\"`"
                    .to_owned(),
            ),
            Self::Program(error) => error.hint(),
            Self::Asked { source, .. } => source.hint(),
            Self::Refused { .. } => Some(
                "`aws sts get-caller-identity` says whether the credentials are good".to_owned(),
            ),
            Self::File { .. }
            | Self::BadFile { .. }
            | Self::Incomplete { .. }
            | Self::BadValue { .. }
            | Self::Circle { .. }
            | Self::NoCredentials { .. } => None,
        }
    }
}
