//! Why a server's signed index cannot be used.

use dbt_core::trust::VerifyError;
use dbt_core::trust::metadata::MetadataError;

use crate::fsx::FsxError;
use crate::source::FetchError;
use crate::state::StateError;
use crate::tuf::UpdateError;

/// Why a server's signed index cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The server could not be asked.
    #[error(transparent)]
    Fetch(FetchError),
    /// This machine has seen it, and it is gone.
    #[error("the server no longer has the signed index that this machine has seen there")]
    Gone,
    /// It has ended, and nothing new is installed any more.
    #[error("the signed index of the server has ended and was not renewed")]
    TooOld,
    /// It belongs to another repository.
    #[error("the signed index belongs to another repository: `{}`", found.escape_debug())]
    OtherRepository {
        /// What it calls itself.
        found: String,
    },
    /// A root says nothing about the repository that it is of.
    #[error("the root of the signed index does not say which repository it is of")]
    Nameless,
    /// It is not to be believed.
    #[error("the signed index of the server is refused")]
    Refused(#[source] UpdateError),
    /// No key that counts stands behind its root.
    #[error("no key that this machine knows stands behind the root of the signed index")]
    NotVouchedFor(#[source] VerifyError),
    /// What is remembered could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is kept of it could not be read or written.
    #[error("cannot keep the signed index of the server")]
    Keep(#[from] FsxError),
}

impl From<UpdateError> for IndexError {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Fetch(error) => Self::Fetch(error),
            UpdateError::Keep(error) => Self::Keep(error),
            UpdateError::NoRoot
            | UpdateError::Missing { .. }
            | UpdateError::NoTarget { .. }
            | UpdateError::Refused(_) => Self::Refused(error),
        }
    }
}

impl From<MetadataError> for IndexError {
    fn from(error: MetadataError) -> Self {
        Self::Refused(UpdateError::Refused(error))
    }
}
