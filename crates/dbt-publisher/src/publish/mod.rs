//! `publisher publish`: checks, signs and uploads a version, so that nobody ever sees half of it.
//!
//! A client skips a version that has no signature or no checksum for its platform. So everything
//! else is written first and the checksums last: until then the version before stays the newest.
//! Only where published bytes are replaced, each checksum follows its file at once. A `reposerver` holds
//! all platforms back until they are committed together; in a directory the whole version is made beside
//! its place and renamed into it.

pub mod archive;
pub(crate) mod inputs;
pub mod metadata;
pub(crate) mod plan;
mod together;
pub(crate) mod upload;

use std::io::Cursor;

use dbt_client::source::{Content, Replace};
use dbt_core::clock::Clock;
use dbt_core::layout::{CHECKSUM_ENDING, Location, SIGNATURE_ENDING, Tree};
use dbt_core::release::Subject;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::keys::{Keyring, TRUSTSTORE_LIMIT};
use dbt_core::version::Version;
use dbt_ui::printer::Printer;
use serde_json::json;

use self::plan::Plan;
use self::upload::{Item, Outcome, Role, Uploaded, Uploader, may_go_well};
use crate::announcement::Announcement;
use crate::args::Publish;
use crate::env::Environment;
use crate::exchange::{Body, Exchange, Presence, Spot, content_of};
use crate::place::Place;
use crate::signer::{self, Signer};
use crate::stop::Stop;
use crate::trust::Following;

/// The file that names the newest version of the program itself, for installers.
pub(crate) const LATEST_FILE: &str = "latest";

/// The most bytes that file may have.
pub(crate) const LATEST_LIMIT: u64 = 256;

/// Publishes a version.
pub(crate) fn run(
    typed: Publish,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    let plan = Plan::read(&typed.what, printer)?;
    let place = metadata::place_of(&typed.what, &typed.delivery.place)?;
    let place = Place::resolve(&place, &typed.delivery.uploading, environment, printer)?;
    let announcement = Announcement::of(typed.public_url.as_deref(), &place)?;
    let exchange = Exchange::open(&place, environment)?;
    let clock = Clock::System;
    needs_description(&plan, &place, &exchange)?;

    let signer = signer::of(&typed.delivery.signing, environment, clock)?;
    let (subject, version) = (plan.subject.clone(), plan.version.clone());
    let mut items = items(plan, Some(signer.as_ref()), clock, typed.replace)?;

    let untrusted = Untrusted::refused_unless(typed.what.force);
    untrusted.judge(signer.as_ref(), &place, &exchange, printer)?;
    let passphrase_file = typed.delivery.signing.passphrase_file.clone();
    let subjects = if typed.dry_run { &[][..] } else { &[&subject][..] };
    let following =
        Following::of((&place, &exchange), passphrase_file, subjects, environment, printer)?;
    let uploader = Uploader {
        exchange: &exchange,
        place: &place,
        signer: Some(signer.certificate()),
        clock,
        replace: typed.replace,
        dry_run: typed.dry_run,
        printer,
    };
    let failed = |stop: Stop| {
        let stop = stop.while_doing(format!("failed to publish `{}` {version}", subject.name()));
        if may_go_well(&stop) { stop.hint(AGAIN) } else { stop }
    };
    let mut files = uploader.upload(&mut items, &subject, &version).map_err(failed)?;
    following.list(&[(&subject, &version)]).map_err(failed)?;
    if subject == Subject::Program && !version.is_pre_release() {
        files.extend(mark_latest(&place, &exchange, &version, typed.dry_run).map_err(failed)?);
    }
    files.extend(announcement.write(typed.dry_run).map_err(failed)?);
    show(&typed, &subject, &version, &files, printer)
}

/// What is said when publishing stops in the middle.
const AGAIN: &str = "the same command again goes on where it stopped; until it is done, clients \
                     keep to the version before";

/// Checks that a tool has or gets a description.
pub(crate) fn needs_description(
    plan: &Plan,
    place: &Place,
    exchange: &Exchange,
) -> Result<(), Stop> {
    let Subject::Tool(name) = &plan.subject else {
        return Ok(());
    };
    if plan.description.is_some() {
        return Ok(());
    }
    let there = Spot::of(place, &Location::description(name, &plan.version))?;
    match exchange.compare(&there, &content_of(&[]))? {
        Presence::Absent => Err(Stop::usage("`--description TEXT` is missing")
            .hint("it is what lists of tools show; one line is enough")),
        Presence::Same { .. } | Presence::Different => Ok(()),
    }
}

/// Signs everything, if there is somebody who signs, in the order in which it is uploaded: checksums last, unless what they
/// belong to is replaced: then clients would see, all the while, bytes that do not match.
pub(crate) fn items(
    plan: Plan,
    signer: Option<&dyn Signer>,
    clock: Clock,
    replace: bool,
) -> Result<Vec<Item>, Stop> {
    let Plan { subject, version, artifacts, description } = plan;
    let mut items = Vec::new();
    let mut checksums = Vec::new();
    let mut add = |mut body: Box<dyn Body>, content: Content, at: Location, binding: String| {
        let sign = |signer| signer::sign(signer, &mut body, &binding, clock.now());
        let signature = signer.map(sign).transpose()?;
        let checksum = content.sha256.to_string().into_bytes();
        items.push(Item { at: at.clone(), body, content, role: Role::Content });
        if let Some(signature) = signature {
            let (role, bytes) = (Role::Signature { binding }, signature.armored().to_vec());
            items.push(Item::in_memory(at.with_ending(SIGNATURE_ENDING), bytes, role));
        }
        let checksum = Item::in_memory(at.with_ending(CHECKSUM_ENDING), checksum, Role::Checksum);
        if replace {
            items.push(checksum);
        } else {
            checksums.push(checksum);
        }
        Ok::<(), Stop>(())
    };
    for artifact in artifacts {
        let (at, binding) = (Location::artifact(&artifact.id), artifact.id.binding());
        add(Box::new(artifact.file), artifact.content, at, binding)?;
    }
    if let (Subject::Tool(name), Some(text)) = (&subject, description) {
        let (at, binding) =
            (Location::description(name, &version), format!("description/{name}/{version}"));
        let bytes = text.into_bytes();
        let content = content_of(&bytes);
        add(Box::new(Cursor::new(bytes)), content, at, binding)?;
    }
    items.append(&mut checksums);
    Ok(items)
}

/// What happens with a signer that clients will not accept, or not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Untrusted {
    /// Nothing is published that no client runs.
    Refused,
    /// Somebody wants it all the same, and is told.
    Warned,
}

impl Untrusted {
    pub(crate) const fn refused_unless(force: bool) -> Self {
        if force { Self::Warned } else { Self::Refused }
    }

    /// Looks whether the truststore has the signer. Finding out is worth one request, and its failure
    /// is not worth a failure. Where there is no truststore yet, somebody begins.
    pub(crate) fn judge(
        self,
        signer: &dyn Signer,
        place: &Place,
        exchange: &Exchange,
        printer: &Printer,
    ) -> Result<(), Stop> {
        let Some(url) = place.truststore() else { return Ok(()) };
        let fingerprint = signer.certificate().fingerprint();
        let truststore = Spot::at(url).and_then(|spot| exchange.get(&spot, TRUSTSTORE_LIMIT));
        let Ok(truststore) = truststore else {
            printer.verbose(format!("the truststore `{url}` could not be read"));
            return Ok(());
        };
        let knows = |bytes: &Vec<u8>| {
            Keyring::parse(bytes).is_ok_and(|keyring| {
                keyring.certificates.iter().any(|known| known.fingerprint() == fingerprint)
            })
        };
        if truststore.as_ref().is_some_and(knows) {
            return Ok(());
        }
        let message = format!("{fingerprint} is not in the truststore `{url}`");
        let hint = format!(
            "clients refuse what it signs until an administrator runs `publisher truststore add {fingerprint}`"
        );
        if self == Self::Refused && truststore.is_some() {
            return Err(Stop::refused(message).hint(hint));
        }
        printer.warning(message);
        printer.hint(hint);
        Ok(())
    }
}

/// Says in `latest` that this is the newest version, unless a newer one is named there.
pub(crate) fn mark_latest(
    place: &Place,
    exchange: &Exchange,
    version: &Version,
    dry_run: bool,
) -> Result<Option<Uploaded>, Stop> {
    let path: RepoPath = LATEST_FILE.parse().map_err(dbt_ui::report::Report::internal)?;
    let at = Location { tree: Tree::Repository, path };
    let spot = Spot::of(place, &at)?;
    let known = exchange.get(&spot, LATEST_LIMIT)?.unwrap_or_default();
    let known = String::from_utf8_lossy(&known).trim().parse::<Version>().ok();
    if known.is_some_and(|known| known.cmp_number(version).is_ge()) {
        return Ok(None);
    }
    let bytes = version.spelling().as_bytes();
    let content = content_of(bytes);
    if !dry_run {
        exchange.put(&spot, &mut Cursor::new(bytes), &content, Replace::Allowed)?;
    }
    let (url, sha256) = (spot.url().to_string(), content.sha256);
    Ok(Some(Uploaded { url, sha256, outcome: Outcome::Uploaded }))
}

/// The files that are where they should be, for scripts.
pub(crate) fn files_json(uploaded: &[Uploaded]) -> Vec<serde_json::Value> {
    let shown = |file: &Uploaded| json!({ "url": file.url, "sha256": file.sha256, "outcome": file.outcome.word() });
    uploaded.iter().map(shown).collect()
}

/// Says what a dry run would have written.
pub(crate) fn show_dry_run(uploaded: &[Uploaded], printer: &Printer) -> Result<(), Stop> {
    for file in uploaded.iter().filter(|file| file.outcome == Outcome::Uploaded) {
        printer.data(format!("would write {}\n", file.url))?;
    }
    Ok(())
}

fn show(
    typed: &Publish,
    subject: &Subject,
    version: &Version,
    uploaded: &[Uploaded],
    printer: &Printer,
) -> Result<(), Stop> {
    if typed.json {
        let document = json!({
            "name": subject.name(),
            "version": version,
            "self": *subject == Subject::Program,
            "dryRun": typed.dry_run,
            "files": files_json(uploaded),
        });
        return Ok(printer.json(document)?);
    }
    if typed.dry_run { show_dry_run(uploaded, printer) } else { Ok(()) }
}
