//! What a tool is for, in its author's words.

use std::time::SystemTime;

use dbt_core::layout::{Location, SIGNATURE_ENDING};
use dbt_core::name::ToolName;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::{Document, TrustStore, VerifyError};
use dbt_core::version::Version;

use super::{file, trimmed};
use crate::source::{FetchError, Patience, Source};

/// The most bytes of a description that are read.
const LIMIT: u64 = 16 * 1024;

/// A description, and who stands behind it.
#[derive(Debug)]
pub enum Description {
    /// Somebody whose signatures count has signed it.
    Signed {
        /// The text.
        text: String,
        /// The name of the signer. Text from outside.
        signer: String,
    },
    /// Nobody has signed it: whoever writes to the repository can have written it.
    Unsigned(String),
    /// It has a signature, and this machine knows no keys of this server yet to verify it with.
    NotVerified(String),
    /// Its signature does not count. It is not shown.
    Refused(VerifyError),
}

/// Reads a version's description and verifies it; nothing where there is none.
pub fn read(
    source: &dyn Source,
    tool: &ToolName,
    version: &Version,
    (trust, now): (Option<&TrustStore>, SystemTime),
    patience: &Patience,
) -> Result<Option<Description>, FetchError> {
    let at = Location::description(tool, version);
    let Some(bytes) = file(source, &at, LIMIT, patience)? else { return Ok(None) };
    let Some(text) = trimmed(&bytes) else { return Ok(None) };
    let signature = at.with_ending(SIGNATURE_ENDING);
    let Some(signature) = file(source, &signature, SIGNATURE_LIMIT, patience)? else {
        return Ok(Some(Description::Unsigned(text)));
    };
    let Some(trust) = trust else { return Ok(Some(Description::NotVerified(text))) };
    let document = Document::Description(tool.clone(), version.clone());
    Ok(Some(match trust.verify_document(&document, &bytes, &signature, now) {
        Ok(endorsement) => Description::Signed { text, signer: endorsement.name },
        Err(error) => Description::Refused(error),
    }))
}

/// Reads a version's description for a list, in which nobody's word is taken for anything: it is
/// not verified.
pub(super) fn unverified(
    source: &dyn Source,
    tool: &ToolName,
    version: &Version,
    patience: &Patience,
) -> Result<Option<String>, FetchError> {
    let bytes = file(source, &Location::description(tool, version), LIMIT, patience)?;
    Ok(bytes.as_deref().and_then(trimmed))
}
