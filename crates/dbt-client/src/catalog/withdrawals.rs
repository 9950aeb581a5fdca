//! Which versions of a tool its publisher has withdrawn, for people who look.
//!
//! What runs is decided by [`crate::prepare`], which remembers what it has seen; a look remembers nothing.

use std::time::SystemTime;

use dbt_core::layout::{Location, SIGNATURE_ENDING};
use dbt_core::name::ToolName;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::trust::{Document, TrustStore};

use super::file;
use crate::anchor::in_one_line;
use crate::source::{FetchError, Patience, Source};

/// A list of withdrawn versions, and whether it counts.
#[derive(Debug)]
pub enum Withdrawals {
    /// Somebody whose signatures count has signed it.
    Verified(Withdrawn),
    /// This machine knows no keys of this server yet to verify it with.
    NotVerified(Withdrawn),
    /// It does not count, and why. Clients run nothing of the tool until it does.
    Refused(String),
}

impl Withdrawals {
    /// Returns the list, unless it is refused.
    pub const fn list(&self) -> Option<&Withdrawn> {
        match self {
            Self::Verified(list) | Self::NotVerified(list) => Some(list),
            Self::Refused(_) => None,
        }
    }
}

/// Reads a tool's list and verifies it; nothing where there is none.
///
/// # Errors
///
/// When the server cannot be asked.
pub fn read(
    source: &dyn Source,
    tool: &ToolName,
    (trust, now): (Option<&TrustStore>, SystemTime),
    patience: &Patience,
) -> Result<Option<Withdrawals>, FetchError> {
    let at = Location::withdrawn(tool);
    let Some(bytes) = file(source, &at, WITHDRAWN_LIMIT, patience)? else { return Ok(None) };
    let signature = file(source, &at.with_ending(SIGNATURE_ENDING), SIGNATURE_LIMIT, patience)?;
    let list = match Withdrawn::parse(&bytes, tool) {
        Ok(list) => list,
        Err(error) => return Ok(Some(Withdrawals::Refused(in_one_line(&error)))),
    };
    let Some(trust) = trust else { return Ok(Some(Withdrawals::NotVerified(list))) };
    let (document, signature) = (Document::Withdrawn(tool.clone()), signature.unwrap_or_default());
    Ok(Some(match trust.verify_document(&document, &bytes, &signature, now) {
        Ok(_endorsement) => Withdrawals::Verified(list),
        Err(error) => Withdrawals::Refused(in_one_line(&error)),
    }))
}
