//! Why dbt did not replace itself.

use std::io;
use std::path::PathBuf;

use dbt_core::digest::InvalidDigest;
use dbt_core::platform::Platform;
use dbt_core::trust::VerifyError;
use dbt_core::version::Version;

use crate::anchor::AnchorError;
use crate::download::DownloadError;
use crate::fsx::FsxError;
use crate::signed_index::IndexError;
use crate::source::{Failure, FetchError};
use crate::state::StateError;
use crate::store::StoreError;

/// Why dbt did not replace itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SelfUpdateError {
    /// The server did not give something.
    #[error(transparent)]
    Fetch(FetchError),
    /// What the signed index says of it cannot be read.
    #[error(transparent)]
    Index(IndexError),
    /// The published checksum is none.
    #[error("failed to read its checksum")]
    Checksum(#[source] InvalidDigest),
    /// It has no checksum or no signature yet.
    #[error("it is not completely published")]
    Incomplete,
    /// There is none for this machine.
    #[error("no version of {} is published for {platform}", dbt_core::brand::PROGRAM)]
    NotPublished {
        /// What this machine is.
        platform: Platform,
    },
    /// It could not be downloaded.
    #[error(transparent)]
    Download(#[from] DownloadError),
    /// The server's truststore is refused and there is no earlier one.
    #[error(transparent)]
    Trust(#[from] AnchorError),
    /// It is not what it should be.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It could not be staged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not work, or is something else than it should be.
    #[error("its self-test failed: {0}")]
    SelfTest(String),
    /// This machine could not even start it: nothing is known about it.
    #[error("failed to try the new program `{}`", path.display())]
    Trial {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The new program could not be written.
    #[error("failed to write beside the running program, in `{}`", path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The copy beside the running program differs from what was verified.
    #[error("the copy `{}` differs from what was verified", path.display())]
    CopyDiffers {
        /// Which copy.
        path: PathBuf,
    },
    /// A person asked for an update, and this is the version that was looked at.
    #[error("failed to update {} to version {version}", dbt_core::brand::PROGRAM)]
    Candidate {
        /// Which version.
        version: Version,
        /// What is wrong with it, or with this machine.
        source: Box<SelfUpdateError>,
    },
    /// It was to be installed on a machine that does not have it.
    #[error("{} {version} was not installed", dbt_core::brand::PROGRAM)]
    NotInstalled {
        /// Which version.
        version: Version,
        /// What is wrong with it, or with this machine.
        source: Box<SelfUpdateError>,
    },
    /// The system does not say where the running program is.
    #[error("the system does not say where the running program is")]
    Unknown,
    /// No earlier program was kept.
    #[error("there is no earlier program at `{}`", path.display())]
    NoPrevious {
        /// Where it would be.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FsxError),
    /// What this machine remembers could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
}

impl SelfUpdateError {
    /// Names the version that was looked at.
    pub(super) fn of(self, version: &Version) -> Self {
        Self::Candidate { version: version.clone(), source: Box::new(self) }
    }

    /// Names the version that was to be installed.
    pub(super) fn while_installing(self, version: &Version) -> Self {
        Self::NotInstalled { version: version.clone(), source: Box::new(self) }
    }

    /// Says whether it is a verdict about the candidate, which the next run would only repeat.
    pub(super) const fn is_verdict(&self) -> bool {
        let is_circumstance = matches!(
            self,
            Self::Verify(VerifyError::Unconfirmed { .. } | VerifyError::Read { .. })
        );
        !is_circumstance && matches!(self, Self::Verify(_) | Self::SelfTest(_) | Self::Checksum(_))
    }

    /// Says whether the server did not give all of it, which may take a while to find out.
    pub(super) const fn is_transfer(&self) -> bool {
        matches!(self, Self::Fetch(_) | Self::Download(DownloadError::Fetch(_)))
    }
}

impl SelfUpdateError {
    /// Says whether the download took longer than a tool should wait for it.
    pub(super) fn is_too_slow(&self) -> bool {
        let Self::Download(DownloadError::Fetch(error)) = self else { return false };
        matches!(error.failure(), Failure::TimeOver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_this_run_is_no_verdict_about_the_candidate() {
        let (artifact, reason) = ("dbt 5.0.0".to_owned(), "offline".to_owned());
        let unconfirmed = VerifyError::Unconfirmed { artifact: artifact.clone(), reason };
        assert!(!SelfUpdateError::from(unconfirmed).is_verdict());
        assert!(SelfUpdateError::from(VerifyError::NoSignature { artifact }).is_verdict());
    }
}
