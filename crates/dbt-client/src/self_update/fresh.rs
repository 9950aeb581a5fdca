//! The program on a machine that does not have it: the same road as an update, the same proof and
//! the same trial, and no program before it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::{Expectation, Verified};
use dbt_core::version::Version;

use super::{Candidate, REPLACING_PATIENCE, candidates, fetch_verified, look, reserve, trial};
use super::{SelfUpdateError, digest_of};
use crate::bounded_program;
use crate::session::Session;
use crate::source::Patience;
use crate::store::{Store, StoreFile};

/// How long a program that has the place may take to say which it is.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// A program that was verified, tried and put into its place.
#[derive(Debug, Clone)]
pub struct Installed {
    /// Where it is.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its version.
    pub version: Version,
    /// Whether it is new; otherwise the very same file was there.
    pub is_new: bool,
}

/// Fetches the newest version that is published for this platform, and verifies it. Nothing is
/// installed.
pub fn fetch_newest(session: &Session<'_>) -> Result<Verified<StoreFile>, SelfUpdateError> {
    let patience = session.patience(false);
    let (published, trust) = look(session, &patience)?;
    let for_artifact = Patience::for_artifact(session.settings.server.time_scale);
    let expectation = Expectation::default();
    let platform = session.settings.platform;
    let mut incomplete = None;
    for version in candidates(&published) {
        let id = ArtifactId { subject: Subject::Program, version, platform };
        let patience = (&patience, &for_artifact);
        match fetch_verified(session, &id, patience, &trust, &expectation) {
            Ok(verified) => return Ok(verified),
            // It is not, or not completely, published for this platform: the one below it counts.
            Err(SelfUpdateError::Incomplete) => {
                incomplete.get_or_insert(id.version);
            }
            Err(error) => return Err(error.while_installing(&id.version)),
        }
    }
    Err(match incomplete {
        Some(version) => SelfUpdateError::Incomplete.while_installing(&version),
        None => SelfUpdateError::NotPublished { platform },
    })
}

/// Puts a verified program at `path`, after it has said who it is. What has the name is replaced:
/// whether it may be is for the caller to know.
pub fn install(
    store: &Store,
    verified: Verified<StoreFile>,
    path: &Path,
) -> Result<Installed, SelfUpdateError> {
    let (version, sha256) = (verified.id().version.clone(), verified.digest());
    let built_as = verified.endorsement().built_as.clone();
    let mut content = verified.into_content();
    let _reservation = reserve(store, path, REPLACING_PATIENCE);
    let is_new = !digest_of(path).is_ok_and(|present| present == sha256);
    if is_new {
        let candidate = Candidate::copy_of(&mut content, sha256, path)?;
        trial::passes(candidate.path(), built_as.as_ref().unwrap_or(&version), sha256)
            .map_err(|error| error.while_installing(&version))?;
        candidate.keep_as(path, path)?;
    }
    Ok(Installed { path: path.to_owned(), sha256, version, is_new })
}

/// Asks a program for its version. Nothing, unless it answers as this program does, and as the
/// reference's did: other products have the same name.
pub fn version_of(program: &Path) -> Option<Version> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().stderr(Stdio::null());
    let ended = bounded_program::run(command, None, VERSION_PATIENCE).ok()?;
    let said = String::from_utf8_lossy(ended.output.expose()).into_owned();
    let said = said.trim_end();
    let number = said.strip_prefix(brand::PROGRAM)?.strip_prefix(" version ")?;
    ended.status.success().then(|| number.parse().ok()).flatten()
}
