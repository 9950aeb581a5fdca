//! What plain writers may put in the place of a truststore and of its manifest, and jobs that withdraw
//! in that of a list of withdrawn versions: only what follows from what is there.
//!
//! Whoever may publish a tool must not be able to decide whose signature counts. A truststore
//! keeps a certificate that counts already, and what it adds is vouched for; a manifest is the
//! next one, signed by the administrators whom the one before names. Where there is none yet,
//! the first one is taken. Anything else takes a rule that permits it, or the host.

use std::collections::BTreeSet;
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::layout::{MANIFEST_ENDING, SIGNATURE_ENDING, TRUSTSTORE_FILE};
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::Fingerprint;
use dbt_core::trust::keys::{Certificate, Keyring};
use dbt_core::trust::manifest::{Manifest, PinnedManifest};
use dbt_core::trust::openpgp::SignatureBlock;
use http_body_util::{BodyExt as _, Full};
use hyper::HeaderMap;
use hyper::body::Bytes;
use tokio::sync::{Mutex, MutexGuard};

use crate::action::{Action as _, Write, is_of_withdrawals};
use crate::app::App;
use crate::authz::Grant;
use crate::authz::rules::is_truststore;
use crate::error::ApiError;
use crate::storage::{Detail, Found, StorageError};
use crate::upload::{BodyReader, Upload, UploadError};

mod withdrawals;

/// The most bytes of a file that is checked.
const SIZE_LIMIT: usize = 1024 * 1024;

/// Held from the check to the write, so that nothing is written that followed from something else.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Which file of the truststore's is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Truststore,
    Manifest,
    ManifestSignature,
    Kept(u64),
    KeptSignature(u64),
}

impl Part {
    fn of(name: &str) -> Option<Self> {
        let rest = name.strip_prefix(TRUSTSTORE_FILE)?;
        let (rest, signed) = match rest.strip_suffix(SIGNATURE_ENDING) {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let kept = rest.strip_prefix(".manifest.").and_then(|rest| rest.strip_suffix(".json"));
        match (rest, kept.and_then(|number| number.parse().ok()), signed) {
            ("", _, false) => Some(Self::Truststore),
            (MANIFEST_ENDING, _, false) => Some(Self::Manifest),
            (MANIFEST_ENDING, _, true) => Some(Self::ManifestSignature),
            (_, Some(number), false) => Some(Self::Kept(number)),
            (_, Some(number), true) => Some(Self::KeptSignature(number)),
            _ => None,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Truststore => TRUSTSTORE_FILE.to_owned(),
            Self::Manifest => format!("{TRUSTSTORE_FILE}{MANIFEST_ENDING}"),
            Self::ManifestSignature => format!("{}{SIGNATURE_ENDING}", Self::Manifest.name()),
            Self::Kept(number) => format!("{TRUSTSTORE_FILE}.manifest.{number}.json"),
            Self::KeptSignature(number) => {
                format!("{}{SIGNATURE_ENDING}", Self::Kept(number).name())
            }
        }
    }
}

/// The right to write what must follow. Until it ends, nobody else has it.
pub type Turn = MutexGuard<'static, ()>;

/// Waits for the right to delete a file of the truststore's, or of withdrawals; others need none.
pub async fn turn_to_delete(path: &RepoPath) -> Option<Turn> {
    let may_be_followed = is_truststore(path) || withdrawals::is_one(path);
    if may_be_followed { Some(ONE_AT_A_TIME.lock().await) } else { None }
}

/// Lets an upload pass that needs no check, and checks the others, whose bytes it reads.
pub async fn admit(
    app: &App,
    grant: &Grant<Write>,
    upload: Upload,
) -> Result<(Upload, Option<Turn>), ApiError> {
    let path = grant.action().path();
    // Nobody writes while somebody else's bytes are being compared with what is there: not even
    // who may write anything, because those would then be replaced by what does not follow.
    if !grant.must_follow() && !is_truststore(path) && !withdrawals::is_one(path) {
        return Ok((upload, None));
    }
    let Upload { mut body, declared, conditions } = upload;
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await.map_err(StorageError::from)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > SIZE_LIMIT {
            let limit = SIZE_LIMIT as u64;
            return Err(StorageError::from(UploadError::TooLarge { limit }).into());
        }
    }
    let bytes = Bytes::from(bytes);
    // Only now: who sends slowly must not keep others waiting.
    let turn = ONE_AT_A_TIME.lock().await;
    if grant.must_follow() {
        let there = There { app, grant };
        if is_of_withdrawals(path) {
            withdrawals::check(&there, path, &bytes).await?;
        } else {
            let part = path.file_name().and_then(Part::of);
            let part = part.ok_or_else(|| refusal("only an administrator may write it"))?;
            check(&there, part, bytes.clone()).await?;
        }
    }
    let whole = Full::new(bytes).map_err(|never| match never {}).boxed_unsync();
    let body = BodyReader::new(&HeaderMap::new(), whole, &app.limits);
    Ok((Upload { body, declared, conditions }, Some(turn)))
}

/// What is there already.
struct There<'a> {
    app: &'a App,
    grant: &'a Grant<Write>,
}

impl There<'_> {
    async fn read(&self, part: Part) -> Result<Option<Bytes>, ApiError> {
        self.read_file(&part.name()).await
    }

    async fn read_file(&self, name: &str) -> Result<Option<Bytes>, ApiError> {
        let Some(grant) = self.grant.look_beside(name) else { return Ok(None) };
        let file = match self.app.storage.look(&grant, Detail::Names).await {
            Ok(Found::File(file)) => file,
            Ok(Found::Directory(_)) => return Err(refusal("a directory is in its place")),
            Err(StorageError::NotFound) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let length = usize::try_from(file.length).unwrap_or(usize::MAX);
        if length > SIZE_LIMIT {
            return Err(refusal("what is there is too large to be followed"));
        }
        let read = file.content.read_at(0, length).await;
        read.map(Some).map_err(|error| ApiError::Internal(error.to_string()))
    }

    async fn manifest(&self) -> Result<Option<PinnedManifest>, ApiError> {
        let Some(bytes) = self.read(Part::Manifest).await? else { return Ok(None) };
        let manifest = Manifest::parse(&bytes).map_err(|error| broken(&error))?;
        Ok(Some(PinnedManifest { manifest, sha256: Digest::of(&bytes), earlier_admins: [].into() }))
    }
}

async fn check(there: &There<'_>, part: Part, new: Bytes) -> Result<(), ApiError> {
    let old = there.read(part).await?;
    if old.as_ref() == Some(&new) {
        return Ok(());
    }
    match part {
        Part::Truststore => {
            let manifest = there.manifest().await?;
            let now = there.app.clock.now();
            let checked = tokio::task::spawn_blocking(move || {
                truststore_follows(old.as_deref(), &new, manifest.as_ref(), now)
            });
            checked.await.map_err(|error| ApiError::Internal(error.to_string()))?
        }
        Part::Kept(_) if old.is_some() => Err(refusal("a manifest that was kept does not change")),
        Part::KeptSignature(number) if there.read(Part::Kept(number)).await?.is_some() => {
            Err(refusal("the signature of a manifest that was kept does not change"))
        }
        Part::KeptSignature(_) => SignatureBlock::parse(&new)
            .map(|_parsed| ())
            .map_err(|_error| refusal("it is no signature")),
        Part::Kept(number) => manifest_follows(there, number, new).await,
        Part::Manifest => {
            let number = Manifest::parse(&new).map_err(|error| broken(&error))?.version;
            if there.read(Part::Kept(number)).await?.as_ref() != Some(&new) {
                return Err(refusal("it must first be written as the kept one of its version"));
            }
            manifest_follows(there, number, new).await
        }
        Part::ManifestSignature => {
            let current = there.manifest().await?.map_or(0, |pinned| pinned.manifest.version);
            for number in [current, current + 1] {
                let signed = there.read(Part::Kept(number)).await?.is_some();
                let signature = there.read(Part::KeptSignature(number)).await?;
                if signed && signature.as_ref() == Some(&new) {
                    return Ok(());
                }
            }
            Err(refusal("it is not the signature of this manifest or of the next"))
        }
    }
}

/// Checks that a manifest is the next one, by the signature that was written before it.
async fn manifest_follows(there: &There<'_>, number: u64, new: Bytes) -> Result<(), ApiError> {
    let signature = there.read(Part::KeptSignature(number)).await?;
    let signature = signature.ok_or_else(|| refusal("its signature must be written first"))?;
    let (pinned, truststore) = (there.manifest().await?, there.read(Part::Truststore).await?);
    let now = there.app.clock.now();
    let checked = tokio::task::spawn_blocking(move || {
        let manifest = Manifest::parse(&new).map_err(|error| broken(&error))?;
        if manifest.version != number {
            return Err(refusal("its version is not that of its name"));
        }
        let Some(truststore) = truststore else {
            return match pinned {
                None => Ok(()),
                Some(_manifest_alone) => Err(refusal("there is no truststore to verify it with")),
            };
        };
        let keyring = Keyring::parse(&truststore).map_err(|error| broken(&error))?;
        let certificates: Vec<&Certificate> = keyring.certificates.iter().collect();
        let next = match pinned {
            None => PinnedManifest::first(&new, &signature, &certificates, now),
            Some(pinned) => pinned.follow(&new, &signature, &certificates, now),
        };
        next.map(|_verified| ()).map_err(|error| broken(&error))
    });
    checked.await.map_err(|error| ApiError::Internal(error.to_string()))?
}

/// Checks that a truststore keeps one certificate that counts, and that each that it adds is
/// certified by one that it keeps, or listed in the manifest that names exactly this truststore.
fn truststore_follows(
    old: Option<&[u8]>,
    new: &[u8],
    manifest: Option<&PinnedManifest>,
    now: SystemTime,
) -> Result<(), ApiError> {
    let after = Keyring::parse(new).map_err(|error| broken(&error))?;
    let Some(old) = old else { return Ok(()) };
    let before = Keyring::parse(old).map_err(|error| broken(&error))?;
    let known: BTreeSet<&Fingerprint> =
        before.certificates.iter().map(Certificate::fingerprint).collect();
    let (kept, added): (Vec<&Certificate>, Vec<&Certificate>) = after
        .certificates
        .iter()
        .partition(|certificate| known.contains(certificate.fingerprint()));
    let counting: Vec<&Certificate> =
        kept.iter().copied().filter(|certificate| !certificate.is_revoked()).collect();
    if counting.is_empty() {
        return Err(refusal("no certificate that counts today is left in it"));
    }
    // A revocation is for ever, so what was revoked cannot come back as if it were not.
    for certificate in &before.certificates {
        let comes_back = counting.iter().any(|it| it.fingerprint() == certificate.fingerprint());
        if certificate.is_revoked() && comes_back {
            return Err(refusal("a revocation is missing in it"));
        }
    }
    let listed = manifest.filter(|pinned| pinned.manifest.sha256 == Digest::of(new));
    for certificate in added {
        let vouched = counting.iter().any(|voucher| certificate.is_certified_by(voucher, now));
        let named =
            listed.is_some_and(|pinned| pinned.manifest.certs.contains(certificate.fingerprint()));
        if !vouched && !named {
            let fingerprint = certificate.fingerprint();
            return Err(refusal(&format!(
                "`{fingerprint}` is new in it, and certified by nobody who counts today"
            )));
        }
    }
    Ok(())
}

fn broken(error: &dyn std::error::Error) -> ApiError {
    refusal(&error.to_string())
}

fn refusal(why: &str) -> ApiError {
    let detail = format!(
        "it does not follow from what is there: {why}; anything else takes an administrator"
    );
    ApiError::Forbidden { detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_of_the_truststore_is_known_by_its_name() {
        for part in [
            Part::Truststore,
            Part::Manifest,
            Part::ManifestSignature,
            Part::Kept(7),
            Part::KeptSignature(7),
        ] {
            assert_eq!(Part::of(&part.name()), Some(part));
        }
        for name in ["truststore.sha256", "trust", "truststore.manifest.x.json"] {
            assert_eq!(Part::of(name), None, "{name}");
        }
    }
}
