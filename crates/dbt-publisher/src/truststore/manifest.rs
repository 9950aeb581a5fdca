//! The signed manifest of the truststore: reading the current one, making the next one.
//! (Trust design, 2.5.)

use std::time::{Duration, SystemTime};

use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::layout::{MANIFEST_ENDING, SIGNATURE_ENDING};
use dbt_core::timestamp;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::manifest::{
    MANIFEST_LIMIT, MANIFEST_SCHEMA, Manifest, ManifestError, PinnedManifest,
};
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::exchange::{Exchange, Spot};
use crate::key::certificate::join_signatures;
use crate::signer::{self, Signer};
use crate::stop::{Explained, Stop};

/// After how long a manifest should be renewed. It stops nothing; `doctor` says it.
const RENEWAL: Duration = Duration::from_hours(400 * 24);

/// Reads the manifest beside a truststore, if there is one. It must be signed by its own
/// administrators: `certificates` are those that may be them.
pub(crate) fn current(
    truststore: &RepositoryUrl,
    certificates: &[Certificate],
    exchange: &Exchange,
    now: SystemTime,
) -> Result<Option<PinnedManifest>, Stop> {
    let at = truststore.with_ending(MANIFEST_ENDING);
    let Some(bytes) = exchange.get(&Spot::at(&at)?, MANIFEST_LIMIT)? else {
        return Ok(None);
    };
    let signature = exchange.get(&Spot::at(&at.with_ending(SIGNATURE_ENDING))?, SIGNATURE_LIMIT)?;
    let trusted: Vec<&Certificate> = certificates.iter().collect();
    let pinned = PinnedManifest::first(&bytes, &signature.unwrap_or_default(), &trusted, now);
    pinned.map(Some).map_err(|error| {
        let report =
            Report::because(ExitCode::VERIFICATION_REFUSED, format!("refusing `{at}`"), error);
        Stop(report.hint(
            "the repository may be damaged, or somebody has changed it: look before you sign",
        ))
    })
}

/// Says whether a key can sign something new.
pub(crate) fn can_sign(certificate: &Certificate, now: SystemTime) -> bool {
    !certificate.is_revoked() && certificate.expires().is_none_or(|end| end > now)
}

/// Counts the administrators who can sign the next manifest.
pub(crate) fn able_admins(
    admins: &[Fingerprint],
    certificates: &[Certificate],
    now: SystemTime,
) -> usize {
    let is_able = |one: &&Certificate| admins.contains(one.fingerprint()) && can_sign(one, now);
    certificates.iter().filter(is_able).count()
}

/// A manifest and its signature, which clients accept after the one before.
#[derive(Debug)]
pub(crate) struct SignedManifest {
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// Its signature file.
    pub(crate) signature: Vec<u8>,
    /// What it says.
    pub(crate) manifest: Manifest,
}

/// What the next manifest says.
pub(crate) struct Next<'a> {
    /// The one before.
    pub(crate) before: Option<&'a PinnedManifest>,
    /// The truststore's new bytes.
    pub(crate) truststore: &'a [u8],
    /// Its certificates.
    pub(crate) certificates: &'a [Certificate],
    /// Who may sign the manifest after this one.
    pub(crate) admins: Vec<Fingerprint>,
    /// How many of them must.
    pub(crate) threshold: u32,
}

impl Next<'_> {
    /// Makes and signs it, and lets the client's own rules judge it: a machine that holds on to
    /// the one before must accept it, and so must a machine that has seen none.
    pub(crate) fn sign(
        self,
        signers: &[Box<dyn Signer>],
        clock: Clock,
    ) -> Result<SignedManifest, Stop> {
        let now = clock.now();
        let expires = now.checked_add(RENEWAL).unwrap_or(now);
        let before = self.before.map(|pinned| &pinned.manifest);
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            repository_id: match before {
                Some(before) => before.repository_id.clone(),
                None => random_uuid()?,
            },
            version: before.map_or(0, |before| before.version) + 1,
            issued: timestamp::format(now),
            expires: timestamp::format(expires),
            sha256: Digest::of(self.truststore),
            admins: self.admins,
            admin_threshold: self.threshold,
            certs: self.certificates.iter().map(|one| one.fingerprint().clone()).collect(),
            prev: self.before.map(|pinned| pinned.sha256),
        };
        let mut bytes = serde_json::to_vec_pretty(&manifest).map_err(Report::internal)?;
        bytes.push(b'\n');

        let binding = format!("truststore/{}/{}", manifest.repository_id, manifest.version);
        let mut signatures = Vec::new();
        for signer in signers {
            let mut content = std::io::Cursor::new(bytes.as_slice());
            let signed = signer::sign(signer.as_ref(), &mut content, &binding, clock.now())?;
            signatures.push(signed.armored().to_vec());
        }
        let signature = join_signatures(&signatures)?;

        let certificates: Vec<&Certificate> = self.certificates.iter().collect();
        let now = clock.now();
        PinnedManifest::first(&bytes, &signature, &certificates, now).map_err(NotAccepted)?;
        if let Some(before) = self.before {
            before.follow(&bytes, &signature, &certificates, now).map_err(NotAccepted)?;
        }
        Ok(SignedManifest { bytes, signature, manifest })
    }
}

/// Returns a random UUID (version 4).
pub(crate) fn random_uuid() -> Result<String, Stop> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Report::internal)?;
    let number =
        u128::from_be_bytes(bytes) & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let digits = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts: Vec<&str> = parts.into_iter().filter_map(|part| digits.get(part)).collect();
    Ok(parts.join("-"))
}

/// Clients would not accept what was just made.
#[derive(Debug, thiserror::Error)]
#[error("clients would not accept this change of the truststore")]
struct NotAccepted(#[source] ManifestError);

impl Explained for NotAccepted {
    fn code(&self) -> ExitCode {
        ExitCode::VERIFICATION_REFUSED
    }

    fn hints(&self) -> Vec<String> {
        let ManifestError::TooFewAdmins { needed, .. } = &self.0 else {
            return Vec::new();
        };
        vec![format!("give `--signer` {needed} times, for as many administrators")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_gets_a_random_uuid() {
        let (one, other) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 36);
        let bytes = one.as_bytes();
        assert_eq!(bytes[14], b'4', "{one}");
        assert!(b"89ab".contains(&bytes[19]), "{one}");
    }
}
