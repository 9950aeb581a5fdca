//! Why metadata is not signed or not written, and what the client's updates refuse.

use dbt_client::tuf::UpdateError;
use dbt_ui::exit_code::ExitCode;

use crate::stop::Explained;

/// Why metadata is not signed or not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    /// The user has too few of the keys.
    #[error(
        "the `{role}` metadata is signed by {threshold} of its keys, and {found} of them are here"
    )]
    NotEnoughKeys {
        /// Which metadata.
        role: String,
        /// How many keys are here.
        found: usize,
        /// How many are needed.
        threshold: u64,
        /// Which keys it may be.
        ids: Vec<String>,
    },
    /// Metadata was published while this was being signed.
    #[error("somebody else has published in the meantime")]
    SomebodyElse,
}

impl Explained for TrustError {
    fn code(&self) -> ExitCode {
        match self {
            Self::NotEnoughKeys { .. } => ExitCode::REFUSED,
            Self::SomebodyElse => ExitCode::UNREACHABLE,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NotEnoughKeys { ids, .. } => {
                vec![format!(
                    "it may be signed by {}; `--trust-key FILE` names one that is elsewhere",
                    ids.join(", ")
                )]
            }
            Self::SomebodyElse => vec!["the same command again goes on from there".to_owned()],
        }
    }
}

impl Explained for UpdateError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Fetch(error) => error.code(),
            Self::Keep(_) => ExitCode::INTERNAL,
            Self::NoRoot | Self::Missing { .. } | Self::NoTarget { .. } | Self::Refused(_) | _ => {
                ExitCode::VERIFICATION_REFUSED
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoRoot => vec![
                "`publisher trust status --root sha256:...`, with the hash that `trust init` has shown, begins to trust it".to_owned(),
            ],
            Self::Fetch(error) => error.hints(),
            Self::Missing { .. } | Self::NoTarget { .. } | Self::Refused(_) | Self::Keep(_) | _ => {
                Vec::new()
            }
        }
    }
}
