//! The truststore and its manifest: whose signatures count, for how long, and who says so.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use dbt_client::anchor::in_one_line;
use dbt_client::source::{Answer, Ask};
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::layout::MANIFEST_ENDING;
use dbt_core::timestamp;
use dbt_core::trust::TrustStore;
use dbt_core::trust::keys::{Certificate, Keyring, SkipReason, TRUSTSTORE_LIMIT};
use dbt_ui::exit_code::ExitCode;

use super::findings::{About, Findings, is_malformed};
use super::kind::Kind;
use super::reader::patience;
use crate::exchange::{Exchange, Spot, asked_again, present};
use crate::known;
use crate::place::Place;
use crate::stop::Stop;
use crate::truststore::manifest;

/// How long before its end somebody should look.
pub(crate) const SOON: Duration = Duration::from_hours(60 * 24);

/// Checks the truststore, and returns the verifier of a client that comes here for the first
/// time. Nothing, where there is none that could be used.
pub(crate) fn check(
    place: &Place,
    exchange: &Exchange,
    findings: &Findings,
    migration: bool,
    now: SystemTime,
) -> Result<Option<TrustStore>, Stop> {
    let Some(url) = place.truststore() else {
        return Err(Stop::usage("`--repository` is missing: the truststore is there"));
    };
    let say = |kind, found: String| findings.add(kind, About::default(), url.to_string(), found);
    let spot = Spot::at(url)?;
    let ask = || Ask::document(TRUSTSTORE_LIMIT, &patience());
    let source = exchange.reading(&spot.base);
    let bytes = match present(asked_again(|| source.get(&spot.path, &ask()))) {
        Ok(Some(Answer::Document { bytes, etag: _ })) => bytes,
        Ok(_nothing) => {
            say(Kind::TRUSTSTORE_MISSING, "there is none: clients verify nothing".to_owned());
            return Ok(None);
        }
        Err(error) if is_malformed(&error) => {
            say(Kind::TRUSTSTORE_REFUSED, in_one_line(&error));
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let keyring = match Keyring::parse(&bytes) {
        Ok(keyring) => keyring,
        Err(error) => {
            say(Kind::TRUSTSTORE_REFUSED, in_one_line(&error));
            return Ok(None);
        }
    };
    for skipped in &keyring.skipped {
        let mut found = skipped.to_string();
        if migration && reference_accepts(&skipped.reason) {
            found.push_str("; clients of the reference accept what it has signed");
        }
        say(Kind::CERTIFICATE_SKIPPED, found);
    }
    let certificates = keyring.certificates;
    for (kind, words) in certificates.iter().filter_map(|one| end_of(one, now)) {
        say(kind, words);
    }
    check_manifest(url, &bytes, &certificates, exchange, findings, now)?;
    match known::truststore(certificates, Clock::System) {
        Ok(trust) => Ok(Some(trust)),
        Err(Stop(report)) => {
            say(Kind::TRUSTSTORE_REFUSED, report.error().to_string());
            Ok(None)
        }
    }
}

/// Says whether a key has ended or ends soon, in words. A revoked one stays in the truststore for
/// ever, so that machines learn of it.
pub(crate) fn end_of(certificate: &Certificate, now: SystemTime) -> Option<(Kind, String)> {
    let expires = certificate.expires().filter(|_end| !certificate.is_revoked())?;
    let (key, name) = (certificate.fingerprint(), certificate.name());
    let on = timestamp::format_date(expires);
    if expires <= now {
        let words = format!("{key} ({name}) has expired on {on}; it can sign nothing new");
        return Some((Kind::KEY_EXPIRED, words));
    }
    let is_soon = expires.duration_since(now).is_ok_and(|left| left <= SOON);
    is_soon.then(|| (Kind::KEY_EXPIRES, format!("{key} ({name}) expires on {on}")))
}

/// Checks the manifest, if there is one, by the clients' rules.
fn check_manifest(
    url: &RepositoryUrl,
    truststore: &[u8],
    certificates: &[Certificate],
    exchange: &Exchange,
    findings: &Findings,
    now: SystemTime,
) -> Result<(), Stop> {
    let at = url.with_ending(MANIFEST_ENDING);
    let say = |kind, found: String| findings.add(kind, About::default(), at.to_string(), found);
    let manifest = match manifest::current(url, certificates, exchange, now) {
        Ok(Some(pinned)) => pinned.manifest,
        Ok(None) => return Ok(()),
        Err(Stop(report)) if report.code() == ExitCode::VERIFICATION_REFUSED => {
            let cause = report.error().source().map(|cause| format!(": {cause}"));
            say(Kind::MANIFEST_REFUSED, format!("{}{}", report.error(), cause.unwrap_or_default()));
            return Ok(());
        }
        Err(stop) => return Err(stop),
    };
    if manifest.sha256 != Digest::of(truststore) {
        let words =
            "it is about another truststore than the one that is there: clients refuse that";
        say(Kind::MANIFEST_REFUSED, words.to_owned());
    }
    let listed: BTreeSet<_> = manifest.certs.iter().collect();
    for stranger in certificates.iter().filter(|one| !listed.contains(one.fingerprint())) {
        let (key, name) = (stranger.fingerprint(), stranger.name());
        findings.add(
            Kind::CERTIFICATE_UNLISTED,
            About::default(),
            url.to_string(),
            format!("{key} ({name}) is there, and no administrator has listed it"),
        );
    }
    let expires = timestamp::parse(&manifest.expires);
    if let Some(expires) = expires.filter(|end| *end <= now + SOON) {
        say(
            Kind::MANIFEST_EXPIRES,
            format!("it should be renewed by {}", timestamp::format_date(expires)),
        );
    }
    let able = manifest::able_admins(&manifest.admins, certificates, now);
    let needed = usize::try_from(manifest.admin_threshold).unwrap_or(usize::MAX);
    if able < needed {
        let words = format!("{needed} administrators must sign the next change, and {able} can");
        say(Kind::ADMINISTRATORS, words);
    }
    Ok(())
}

/// Says whether a certificate that does not count here counts for the reference, which knows no key that
/// is too weak, and no hash (wire formats, 5.6).
const fn reference_accepts(reason: &SkipReason) -> bool {
    matches!(
        reason,
        SkipReason::KeyAlgorithm(_) | SkipReason::RsaTooSmall(_) | SkipReason::NoSelfSignature
    )
}
