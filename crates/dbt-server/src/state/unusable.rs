//! Why the state cannot be used, and what an administrator does about it.

use std::io;
use std::path::{Path, PathBuf};

use super::opening::{FILE, Id};

/// The state cannot be used. Nothing is written until an administrator has decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// It was there, and is not.
    #[error(
        "`{}` is missing, and the tree remembers that there was one: who did what, what was \
         deleted and which tokens were used is not known", path.display()
    )]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// It is there and cannot be believed.
    #[error("`{}` is damaged: {reason}", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// In what way.
        reason: String,
    },
    /// It belongs to another tree.
    #[error("`{}` is the state {found}, and the tree remembers {remembered}", path.display())]
    OfAnother {
        /// The database.
        path: PathBuf,
        /// Which it is.
        found: Id,
        /// Which it should be.
        remembered: Id,
    },
    /// A newer version of the program made it.
    #[error("`{}` was made by a newer version of this program", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
    },
    /// The system does not let us.
    #[error("`{}` cannot be opened: {reason}", path.display())]
    Failed {
        /// The database.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Unusable {
    pub(super) fn failed(directory: &Path, error: &io::Error) -> Self {
        Self::Failed { path: directory.join(FILE), reason: error.to_string() }
    }

    /// Says what to do.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Damaged { .. } | Self::OfAnother { .. } => {
                "stop the server and put a backup back with `reposerver restore DIR`; without one, \
                 accept the loss with `reposerver state init --accept-loss`"
            }
            Self::Newer { .. } => "start the version that made it, or a newer one",
            Self::Failed { .. } => {
                "see that the server's user may read and write it and its directory, and that \
                 there is space, and start the server again"
            }
        }
    }
}
