//! What is published of a version: for which platforms, how large, and when and by whom it says
//! that it was signed.
//!
//! Nothing of it is verified. Signatures are judged with the content, when a tool is fetched.

use std::time::SystemTime;

use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{CHECKSUM_ENDING, Location, SIGNATURE_ENDING};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{SIGNATURE_LIMIT, SignatureBlock, UnverifiedClaim};
use dbt_core::version::Version;

use super::{AT_ONCE, file};
use crate::beside;
use crate::source::{Class, FetchError, Patience, Source};

/// What is published for one platform.
#[derive(Debug)]
pub struct PublishedArtifact {
    /// What it is.
    pub id: ArtifactId,
    /// How many bytes it has, if the server says that.
    pub length: Option<u64>,
    /// What its signatures say of themselves; none where it has none that can be read.
    pub claims: Vec<UnverifiedClaim>,
    /// What went wrong while it was looked at.
    pub problem: Option<FetchError>,
}

/// Looks at what is published of some versions, the versions in their order.
pub fn of_versions(
    source: &dyn Source,
    tool: &ToolName,
    versions: &[Version],
    certificates: &[&Certificate],
    patience: &(impl Fn() -> Patience + Sync),
) -> Result<Vec<PublishedArtifact>, FetchError> {
    let ids = artifacts(source, &Subject::Tool(tool.clone()), versions, patience)?;
    Ok(beside::each(&ids, AT_ONCE, |id| look_at(source, id, certificates, &patience())))
}

/// Reads the signatures of some versions, the versions in their order. Nothing is judged, and an
/// artifact whose signatures cannot be read has none.
pub fn signatures_of(
    source: &dyn Source,
    subject: &Subject,
    versions: &[Version],
    patience: &(impl Fn() -> Patience + Sync),
) -> Result<Vec<(ArtifactId, Option<SignatureBlock>)>, FetchError> {
    let ids = artifacts(source, subject, versions, patience)?;
    let blocks = beside::each(&ids, AT_ONCE, |id| signatures(source, id, &patience()));
    ids.into_iter().zip(blocks).map(|(id, block)| Ok((id, block?))).collect()
}

/// Reads the checksums of some versions, the versions in their order. Nothing is judged; where there is
/// none that can be read, clients skip the artifact.
pub fn checksums_of(
    source: &dyn Source,
    subject: &Subject,
    versions: &[Version],
    patience: &(impl Fn() -> Patience + Sync),
) -> Result<Vec<(ArtifactId, Option<Digest>)>, FetchError> {
    let ids = artifacts(source, subject, versions, patience)?;
    let limit = CHECKSUM_FILE_LIMIT;
    let read = |id: &ArtifactId| companion(source, id, CHECKSUM_ENDING, limit, &patience());
    let files = beside::each(&ids, AT_ONCE, read);
    let digest = |bytes: Vec<u8>| Digest::from_checksum_file(&bytes).ok();
    ids.into_iter().zip(files).map(|(id, bytes)| Ok((id, bytes?.and_then(digest)))).collect()
}

/// Lists what is published of some versions.
fn artifacts(
    source: &dyn Source,
    subject: &Subject,
    versions: &[Version],
    patience: &(impl Fn() -> Patience + Sync),
) -> Result<Vec<ArtifactId>, FetchError> {
    let platforms =
        beside::each(versions, AT_ONCE, |version| platforms(source, subject, version, &patience()));
    let mut ids = Vec::new();
    for (version, platforms) in versions.iter().zip(platforms) {
        for platform in platforms? {
            let (subject, version) = (subject.clone(), version.clone());
            ids.push(ArtifactId { subject, version, platform });
        }
    }
    Ok(ids)
}

fn look_at(
    source: &dyn Source,
    id: &ArtifactId,
    certificates: &[&Certificate],
    patience: &Patience,
) -> PublishedArtifact {
    let (mut length, mut claims, mut problem) = (None, Vec::new(), None);
    for at in Location::artifacts(id) {
        // Only the head of the answer is read.
        match source.open(&at.path, 0, None, patience) {
            Ok(opened) => {
                (length, problem) = (opened.length, None);
                break;
            }
            // What is missed is what it is called first.
            Err(error) if error.class() == Class::NotFound => {
                problem.get_or_insert(error);
            }
            Err(error) => {
                problem = Some(error);
                break;
            }
        }
    }
    match signatures(source, id, patience) {
        Ok(block) => {
            claims = block.map(|block| block.unverified_claims(certificates)).unwrap_or_default();
        }
        Err(error) => problem = Some(error),
    }
    PublishedArtifact { id: id.clone(), length, claims, problem }
}

/// Returns when a version says that it was signed: the last of its platforms. Nothing where no
/// signature says it.
pub(crate) fn signed(
    source: &dyn Source,
    subject: &Subject,
    version: &Version,
    patience: &Patience,
) -> Result<Option<SystemTime>, FetchError> {
    let mut last = None;
    for platform in platforms(source, subject, version, patience)? {
        let (subject, version) = (subject.clone(), version.clone());
        let block = signatures(source, &ArtifactId { subject, version, platform }, patience)?;
        let claims = block.map(|block| block.unverified_claims(&[])).unwrap_or_default();
        last = claims.into_iter().filter_map(|claim| claim.made).chain(last).max();
    }
    Ok(last)
}

fn signatures(
    source: &dyn Source,
    id: &ArtifactId,
    patience: &Patience,
) -> Result<Option<SignatureBlock>, FetchError> {
    let bytes = companion(source, id, SIGNATURE_ENDING, SIGNATURE_LIMIT, patience)?;
    Ok(bytes.and_then(|bytes| SignatureBlock::parse(&bytes).ok()))
}

/// Reads what is beside an artifact, wherever that is; nothing where it is not there.
pub(super) fn companion(
    source: &dyn Source,
    id: &ArtifactId,
    ending: &str,
    limit: u64,
    patience: &Patience,
) -> Result<Option<Vec<u8>>, FetchError> {
    for at in Location::artifacts(id) {
        let bytes = file(source, &at.with_ending(ending), limit, patience)?;
        if bytes.is_some() {
            return Ok(bytes);
        }
    }
    Ok(None)
}

/// Lists the platforms of a version, in the order of their names.
pub(super) fn platforms(
    source: &dyn Source,
    subject: &Subject,
    version: &Version,
    patience: &Patience,
) -> Result<Vec<Platform>, FetchError> {
    let (subject, version) = (subject.clone(), version.clone());
    let any = ArtifactId { subject, version, platform: Platform::CURRENT };
    let at = Location::version(&any).path;
    let mut found = Vec::new();
    let systems = names(source, &at, patience)?;
    for os in systems {
        if !Platform::ALL.iter().any(|platform| platform.os.as_str() == os) {
            continue;
        }
        let Ok(below) = at.join(&os) else { continue };
        for arch in names(source, &below, patience)? {
            found.extend(format!("{os}/{arch}").parse::<Platform>());
        }
    }
    Ok(found)
}

fn names(
    source: &dyn Source,
    at: &RepoPath,
    patience: &Patience,
) -> Result<Vec<String>, FetchError> {
    match source.list(at, patience) {
        // Some servers do not mark directories.
        Ok(listing) => Ok(listing.names().map(str::to_owned).collect()),
        Err(error) if error.class() == Class::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
