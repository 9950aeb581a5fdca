//! `publisher sign`: signs a published version again, with signatures that name it.
//!
//! What is on a server is not signed blindly: its checksum must match, and a key of the truststore
//! must have signed these very bytes before. Otherwise whoever can write to the server could have
//! us sign what he likes.

use std::fs::File;
use std::io::Seek;

use dbt_client::source::Replace;
use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{Location, SIGNATURE_ENDING};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::Certificate;
use dbt_core::trust::openpgp::{ContentDigests, Judgement, SIGNATURE_LIMIT, SignatureBlock};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use pgp::composed::DetachedSignature;
use serde_json::json;

use crate::args::Sign;
use crate::env::Environment;
use crate::exchange::{Exchange, Spot, content_of};
use crate::key::certificate::{armored_block, split_signatures};
use crate::known;
use crate::place::Place;
use crate::publish::plan::{Reserved, subject_of};
use crate::signer::{self, Signer};
use crate::stop::Stop;

/// Signs a published version again.
pub(crate) fn run(typed: Sign, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let subject = subject_of(&typed.tool, Reserved::Accepted)?;
    let version: Version = typed.version.parse()?;
    let place = Place::of(&typed.delivery, environment, printer)?;
    let exchange = Exchange::open(&place, environment)?;
    let clock = Clock::System;
    let work = Work {
        place: &place,
        exchange: &exchange,
        certificates: known::certificates(&place, &exchange)?,
        unverified: typed.unverified,
        clock,
        printer,
    };
    let version = known::as_published(&subject, version, &place, &exchange)?;
    let found = work.find(&subject, &version)?;
    if found.is_empty() {
        let message = format!("`{}` {version} is not published", subject.name());
        return Err(Report::new(ExitCode::NOT_FOUND, message).into());
    }

    let signer = signer::of(&typed.delivery.signing, environment, clock)?;
    let mut done = Vec::new();
    for mut thing in found {
        let signature = thing.sign_again(signer.as_ref(), clock)?;
        done.push((thing, signature));
    }
    for (thing, signature) in &done {
        if !typed.dry_run {
            let spot = Spot::of(&place, &thing.at.with_ending(SIGNATURE_ENDING))?;
            let mut body = std::io::Cursor::new(signature.clone());
            exchange.put(&spot, &mut body, &content_of(signature), Replace::Allowed)?;
        }
    }
    show(&typed, &done, signer.certificate().fingerprint(), printer)
}

struct Work<'a> {
    place: &'a Place,
    exchange: &'a Exchange,
    certificates: Vec<Certificate>,
    unverified: bool,
    clock: Clock,
    printer: &'a Printer,
}

/// Something published that is to be signed again.
struct Thing {
    at: Location,
    binding: String,
    content: File,
    sha256: Digest,
    /// What signed it before, one by one, and may go on doing so.
    kept: Vec<Kept>,
}

/// A good signature that is there.
struct Kept {
    signature: DetachedSignature,
    signer: Fingerprint,
    /// It says what it is for.
    bound: bool,
}

impl Work<'_> {
    /// Fetches the artifacts of a version and its description.
    fn find(&self, subject: &Subject, version: &Version) -> Result<Vec<Thing>, Stop> {
        let mut found = Vec::new();
        for platform in Platform::ALL {
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            found.extend(self.fetch(Location::artifact(&id), id.binding(), true)?);
        }
        if let Subject::Tool(name) = subject {
            let binding = format!("description/{name}/{version}");
            found.extend(self.fetch(Location::description(name, version), binding, false)?);
        }
        Ok(found)
    }

    fn fetch(&self, at: Location, binding: String, checked: bool) -> Result<Option<Thing>, Stop> {
        let spot = Spot::of(self.place, &at)?;
        let temporary =
            |error| Report::because(ExitCode::INTERNAL, "failed to make a temporary file", error);
        let mut content = tempfile::tempfile().map_err(temporary)?;
        let Some(sha256) = self.exchange.download(&spot, &mut content)? else {
            return Ok(None);
        };
        if checked {
            self.check_digest(&at, sha256)?;
        }
        let signature = Spot::of(self.place, &at.with_ending(SIGNATURE_ENDING))?;
        let signature = self.exchange.get(&signature, SIGNATURE_LIMIT)?;
        let kept = self.good(signature.as_deref(), &binding, &mut content)?;
        if kept.is_empty() && !self.unverified {
            if !checked {
                // Hand-made repositories sign artifacts and no descriptions. What a signature
                // says it is for means nothing to the reference, so an unverified text is as
                // dangerous to sign as an unverified program.
                self.printer.warning(format!("`{}` is unsigned and stays so", spot.url()));
                return Ok(None);
            }
            return Err(Stop::refused(format!(
                "refusing to sign `{}`: no key of the truststore has signed it",
                spot.url()
            ))
            .hint("compare it with what you built, and publish that; whoever can write to the server may have put it there"));
        }
        Ok(Some(Thing { at, binding, content, sha256, kept }))
    }

    fn check_digest(&self, at: &Location, actual: Digest) -> Result<(), Stop> {
        let spot = Spot::of(self.place, &at.with_ending(dbt_core::layout::CHECKSUM_ENDING))?;
        let refuse =
            |why: String| Stop::refused(format!("refusing to sign what `{}` {why}", spot.url()));
        let Some(bytes) = self.exchange.get(&spot, CHECKSUM_FILE_LIMIT)? else {
            return Err(refuse("should be the checksum of: it is missing".to_owned()));
        };
        match Digest::from_checksum_file(&bytes) {
            Ok(expected) if expected == actual => Ok(()),
            Ok(expected) => {
                Err(refuse(format!("does not match: expected {expected}, got {actual}")))
            }
            Err(error) => Err(refuse(format!("does not describe: {error}"))),
        }
    }

    /// Returns the good signatures of a file, one by one. Those that name something else are not.
    fn good(
        &self,
        file: Option<&[u8]>,
        binding: &str,
        content: &mut File,
    ) -> Result<Vec<Kept>, Stop> {
        let Some(file) = file.filter(|file| SignatureBlock::parse(file).is_ok()) else {
            return Ok(Vec::new());
        };
        let mut kept = Vec::new();
        for signature in split_signatures(file)? {
            let alone = armored_block(std::slice::from_ref(&signature))?;
            let Some(judgement) = self.judge(&alone, content)? else { continue };
            let Some(good) = judgement.good.into_iter().next() else { continue };
            let bound = good.notations.iter().any(|said| said == binding);
            if bound || good.notations.is_empty() {
                kept.push(Kept { signature, signer: good.signer, bound });
            }
        }
        Ok(kept)
    }

    fn judge(&self, signature: &[u8], content: &mut File) -> Result<Option<Judgement>, Stop> {
        let Ok(block) = SignatureBlock::parse(signature) else {
            return Ok(None);
        };
        let hashed: std::io::Result<ContentDigests> =
            content.rewind().and_then(|()| block.hash(content, u64::MAX));
        let digests = hashed.map_err(|error| {
            Report::because(ExitCode::INTERNAL, "failed to read a temporary file", error)
        })?;
        let certificates: Vec<&Certificate> = self.certificates.iter().collect();
        Ok(Some(block.judge(&digests, &certificates, self.clock.now())))
    }
}

impl Thing {
    /// Returns the new signature file: ours, in front of the good ones by others.
    fn sign_again(&mut self, signer: &dyn Signer, clock: Clock) -> Result<Vec<u8>, Stop> {
        let signature = signer::sign(signer, &mut self.content, &self.binding, clock.now())?;
        let ours = signer.certificate().fingerprint();
        let mut signatures = split_signatures(signature.armored())?;
        let others = self.kept.iter().filter(|kept| kept.signer != *ours);
        signatures.extend(others.map(|kept| kept.signature.clone()));
        Ok(armored_block(&signatures)?)
    }

    /// Says how it was signed before.
    fn before(&self) -> String {
        let signers: Vec<String> = self
            .kept
            .iter()
            .map(|kept| {
                let form = if kept.bound { "names it" } else { "without a name" };
                format!("{} ({form})", kept.signer)
            })
            .collect();
        if signers.is_empty() { "nobody".to_owned() } else { signers.join(", ") }
    }
}

fn show(
    typed: &Sign,
    signed: &[(Thing, Vec<u8>)],
    by: &Fingerprint,
    printer: &Printer,
) -> Result<(), Stop> {
    if typed.json {
        let files = signed.iter().map(|(thing, _signature)| {
            let before: Vec<_> = thing
                .kept
                .iter()
                .map(|kept| json!({ "signer": kept.signer, "bound": kept.bound }))
                .collect();
            json!({
                "path": thing.at.path.as_str(),
                "sha256": thing.sha256,
                "notation": thing.binding,
                "before": before,
            })
        });
        let files: Vec<_> = files.collect();
        let document = json!({ "signer": by, "files": files, "dryRun": typed.dry_run });
        return Ok(printer.json(document)?);
    }
    for (thing, _signature) in signed {
        let done = if typed.dry_run { "would be signed" } else { "signed" };
        printer.data(format!(
            "{}  {}  {done} as `{}`; before, by {}\n",
            thing.sha256,
            thing.at.path,
            thing.binding,
            thing.before()
        ))?;
    }
    Ok(())
}
