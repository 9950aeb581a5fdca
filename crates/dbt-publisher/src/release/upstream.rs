//! A release that somebody else has published, verified by the key that is named before anything
//! of it is signed again.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use dbt_client::source::Content;
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::digest::CHECKSUM_FILE_LIMIT;
use dbt_core::layout::{CHECKSUM_ENDING, Location, SIGNATURE_ENDING, Tree};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::keys::{Certificate, Keyring, TRUSTSTORE_LIMIT};
use dbt_core::trust::openpgp::{SIGNATURE_LIMIT, SignatureBlock};
use dbt_core::trust::{Companions, Expectation, Fetched, TrustStore};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use super::source::{
    Choice, Extra, Found, INSTALLER_LIMIT, TOOLS, binding_of, installer_path, is_due, missing,
    names, words_of,
};
use crate::args::Release;
use crate::env::Environment;
use crate::exchange::{Exchange, Spot};
use crate::known;
use crate::place::Place;
use crate::publish::plan::{Artifact, Plan, Reserved, subject_of, version_of};
use crate::stop::Stop;

/// The file that names the newest version.
const LATEST_FILE: &str = "latest";

/// Fetches a release of another repository, as far as it is wanted.
pub(super) fn fetch(
    from: &str,
    typed: &Release,
    choice: &Choice<'_>,
    environment: &Environment,
    printer: &Printer,
) -> Result<Found, Stop> {
    let place = Place::of_a_stranger(from, typed.delivery.place.ca_file.clone())?;
    let exchange = Exchange::open(&place, environment)?;
    let certificates = certificates(typed.upstream_key.as_deref())?;
    let clock = Clock::System;
    let store = known::truststore(certificates.clone(), clock)?;
    let version = match &typed.version {
        Some(text) => version_of(text)?,
        None => newest(&place, &exchange)?,
    };
    let upstream =
        Upstream { place: &place, exchange: &exchange, store, certificates, version, clock };
    let mut plans = Vec::new();
    for name in names() {
        plans.push(upstream.plan(name, choice)?);
        printer.verbose(format!("`{name}` of `{from}` is as it was signed"));
    }
    is_whole(&plans, &upstream.version, choice, from)?;
    plans.retain(|plan| !plan.artifacts.is_empty());
    let extras = upstream.installers(choice)?;
    if plans.is_empty() && extras.is_empty() {
        let message =
            format!("`{from}` has nothing of a release {} that is wanted", upstream.version);
        return Err(Report::new(ExitCode::NOT_FOUND, message).into());
    }
    Ok(Found { version: upstream.version, plans, extras })
}

/// Checks that what is there of one program for a platform is there of all that are wanted.
fn is_whole(
    plans: &[Plan],
    version: &Version,
    choice: &Choice<'_>,
    from: &str,
) -> Result<(), Stop> {
    let all = plans.iter().flat_map(|plan| &plan.artifacts);
    let platforms: BTreeSet<Platform> = all.map(|artifact| artifact.id.platform).collect();
    for plan in plans {
        let name = plan.subject.name();
        for platform in platforms.iter().copied().filter(|platform| is_due(name, *platform)) {
            let is_there = plan.artifacts.iter().any(|it| it.id.platform == platform);
            if !is_there && choice.wants(&words_of(name, version, platform)) {
                return Err(missing(name, platform, from));
            }
        }
    }
    Ok(())
}

/// Reads who must have signed it. Without that anybody could have.
fn certificates(path: Option<&Path>) -> Result<Vec<Certificate>, Stop> {
    let path = path.ok_or_else(|| Stop::usage("`--upstream-key FILE` is missing"))?;
    let bytes = dbt_client::fsx::read_limited(path, TRUSTSTORE_LIMIT)?;
    let keyring = Keyring::parse(&bytes).map_err(|error| {
        Report::because(ExitCode::USAGE, format!("`{}` holds no key", path.display()), error)
    })?;
    Ok(keyring.certificates)
}

/// Returns the version that `latest` names. Whoever writes there can name an older one; its files
/// are verified all the same, and it is shown before anything is published.
fn newest(place: &Place, exchange: &Exchange) -> Result<Version, Stop> {
    let path: RepoPath = LATEST_FILE.parse().map_err(Report::internal)?;
    let spot = Spot::of(place, &Location { tree: Tree::Repository, path })?;
    let text = exchange.get(&spot, 256)?;
    let text = text.ok_or_else(|| {
        Stop::usage("`--version` is missing").hint(format!("`{}` does not exist", spot.url()))
    })?;
    version_of(String::from_utf8_lossy(&text).trim())
}

struct Upstream<'a> {
    place: &'a Place,
    exchange: &'a Exchange,
    store: TrustStore,
    certificates: Vec<Certificate>,
    version: Version,
    clock: Clock,
}

impl Upstream<'_> {
    fn plan(&self, name: &str, choice: &Choice<'_>) -> Result<Plan, Stop> {
        let (subject, version) = (subject_of(name, Reserved::Accepted)?, self.version.clone());
        let mut artifacts = Vec::new();
        for platform in Platform::ALL {
            let words = words_of(name, &version, platform);
            if choice.wants(&words) {
                let id =
                    ArtifactId { subject: subject.clone(), version: version.clone(), platform };
                artifacts.extend(self.artifact(id)?);
            }
        }
        let text = TOOLS.iter().find(|(tool, _text)| *tool == name);
        let description = text.map(|(_tool, text)| (*text).to_owned());
        let description = description.filter(|_text| subject != Subject::Program);
        Ok(Plan { subject, version, artifacts, description, built_as: None })
    }

    /// Fetches an artifact and verifies it as a client would.
    fn artifact(&self, id: ArtifactId) -> Result<Option<Artifact>, Stop> {
        let at = Location::artifact(&id);
        let Some(content) = self.download(&at)? else { return Ok(None) };
        let small = |ending: &str, limit| {
            let spot = Spot::of(self.place, &at.with_ending(ending))?;
            let file = self.exchange.get(&spot, limit)?;
            let refused = || Stop::refused(format!("refusing {id}: `{}` is missing", spot.url()));
            file.ok_or_else(refused)
        };
        let companions = Companions {
            checksum: small(CHECKSUM_ENDING, CHECKSUM_FILE_LIMIT)?,
            signature: small(SIGNATURE_ENDING, SIGNATURE_LIMIT)?,
        };
        let refused = |error| {
            let message = format!("refusing to sign `{id}` again");
            Stop::from(Report::because(ExitCode::VERIFICATION_REFUSED, message, error))
        };
        let copy = content.try_clone().map_err(temporary)?;
        let fetched = Fetched::from_network(id.clone(), copy, companions);
        let verified = self.store.verify(fetched, &Expectation::default(), self.clock.now());
        let verified = verified.map_err(refused)?;
        let described = Content { length: verified.length(), sha256: verified.digest() };
        Ok(Some(Artifact { id: id.clone(), file: content, content: described }))
    }

    fn installers(&self, choice: &Choice<'_>) -> Result<Vec<Extra>, Stop> {
        // Scripts are made anew: they say where the installers are, and that is here.
        let mut extras = Vec::new();
        for path in Platform::ALL.map(installer_path) {
            if !choice.wants(&format!("installer {}/{path}", brand::REPOSITORY_PATH)) {
                continue;
            }
            let path: RepoPath = path.parse().map_err(Report::internal)?;
            let at = Location { tree: Tree::Repository, path: path.clone() };
            let spot = Spot::of(self.place, &at)?;
            let Some(bytes) = self.exchange.get(&spot, INSTALLER_LIMIT)? else { continue };
            let signature = Spot::of(self.place, &at.with_ending(SIGNATURE_ENDING))?;
            let signature = self.exchange.get(&signature, SIGNATURE_LIMIT)?;
            if !signature.is_some_and(|signature| self.is_signed(&bytes, &signature, &path)) {
                return Err(Stop::refused(format!(
                    "refusing to sign `{}` again: `--upstream-key` has not signed it",
                    spot.url()
                ))
                .hint("`--exclude installer` leaves it out"));
            }
            extras.push(Extra { path, bytes });
        }
        Ok(extras)
    }

    fn is_signed(&self, bytes: &[u8], signature: &[u8], path: &RepoPath) -> bool {
        let Ok(block) = SignatureBlock::parse(signature) else { return false };
        let Ok(digests) = block.hash(&mut &*bytes, INSTALLER_LIMIT) else { return false };
        let certificates: Vec<&Certificate> = self.certificates.iter().collect();
        let binding = binding_of(path);
        let good = block.judge(&digests, &certificates, self.clock.now()).good;
        good.iter().any(|good| good.notations.is_empty() || good.notations.contains(&binding))
    }

    fn download(&self, at: &Location) -> Result<Option<File>, Stop> {
        let spot = Spot::of(self.place, at)?;
        let mut content = tempfile::tempfile().map_err(temporary)?;
        Ok(self.exchange.download(&spot, &mut content)?.map(|_digest| content))
    }
}

fn temporary(error: std::io::Error) -> Stop {
    Report::because(ExitCode::INTERNAL, "failed to make a temporary file", error).into()
}
