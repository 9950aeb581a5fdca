//! `publisher sign`: signs what was staged, and publishes it; or signs a published version again,
//! with signatures that name it.
//!
//! What is on a server is not signed blindly: its checksum must match, and a key of the truststore
//! must have signed these very bytes before. Otherwise whoever can write to the server could have
//! us sign what he likes. What was staged nobody has signed yet: it is shown, with what changes by
//! it, and a person decides.

use std::fs::File;
use std::io::{Read as _, Seek};

use dbt_client::source::{Content, Replace};
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
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;
use pgp::composed::DetachedSignature;
use serde_json::{Value, json};

use crate::args::Sign;
use crate::binary::Kind;
use crate::env::Environment;
use crate::exchange::{Exchange, Spot, content_of};
use crate::key::certificate::{armored_block, split_signatures};
use crate::known;
use crate::place::Place;
use crate::publish::plan::{Artifact, Reserved, subject_of, version_of};
use crate::publish::{Untrusted, mark_latest};
use crate::signer::{self, Signer};
use crate::staged::{Before, Draft, Now, changes, changes_json, is_refusal};
use crate::stop::Stop;

/// Signs a version that is staged or published.
pub(crate) fn run(typed: Sign, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let subject = subject_of(&typed.tool, Reserved::Accepted)?;
    let (version, bare) = (typed.version.parse::<Version>()?, version_of(&typed.version)?);
    let place = Place::of(&typed.delivery, environment, printer)?;
    let exchange = Exchange::open(&place, environment)?;
    let clock = Clock::System;
    let tree = place.tree(Location::versions_of(&subject).tree)?;
    let releases = exchange.releases(tree);
    let staged = match &releases {
        Some(releases) => Draft::take_up(releases, &subject, &bare),
        None => Ok(None),
    };
    // Who may publish nothing new may look at what is published, and perhaps sign it.
    let (staged, refusal) = match staged {
        Err(error) if is_refusal(&error) => (None, Some(error)),
        staged => (staged?, None),
    };
    if staged.is_some() {
        exchange.begin_writing();
    }
    let work = Work {
        staged: staged.as_ref(),
        place: &place,
        exchange: &exchange,
        certificates: known::certificates(&place, &exchange)?,
        unverified: typed.unverified,
        clock,
        printer,
    };
    let version = match &staged {
        Some(_draft) => bare,
        None => known::as_published(&subject, version, &place, &exchange)?,
    };
    let mut found = work.find(&subject, &version)?;
    if found.is_empty() {
        if let Some(refusal) = refusal {
            return Err(refusal.into());
        }
        let message = format!("`{}` {version} is not published", subject.name());
        return Err(Report::new(ExitCode::NOT_FOUND, message).into());
    }

    let changes = staged.as_ref().map(|draft| work.changes(draft, &subject, &version, &mut found));
    let changes = changes.transpose()?;
    let is_question = changes.is_some() && !typed.dry_run && !typed.yes;
    if is_question && !is_confirmed(&subject, &version, printer)? {
        return Ok(());
    }

    let signer = signer::of(&typed.delivery.signing, environment, clock)?;
    if staged.is_some() {
        // It would be the only signature.
        Untrusted::Refused.judge(signer.as_ref(), &place, &exchange, printer)?;
    }
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
    if let Some(draft) = &staged
        && !typed.dry_run
    {
        draft.commit().map_err(|stop| {
            stop.while_doing(format!("failed to publish `{}` {version}", subject.name()))
        })?;
        if subject == Subject::Program && !version.is_pre_release() {
            mark_latest(&place, &exchange, &version, false)?;
        }
    }
    show(&typed, &done, changes, signer.certificate().fingerprint(), printer)
}

/// Asks the person. Without one nothing is published, and that is an error: a script must not take
/// it for done.
fn is_confirmed(subject: &Subject, version: &Version, printer: &Printer) -> Result<bool, Stop> {
    match prompt::ask(&format!("Sign and publish `{}` {version}?", subject.name())) {
        Answer::Yes => Ok(true),
        Answer::No => {
            printer.note("nothing was signed; it stays staged");
            Ok(false)
        }
        Answer::NobodyThere => {
            Err(Stop::usage("nothing was signed: there is no terminal to ask on")
                .hint("`--yes` answers, and `--dry-run` shows what would be signed"))
        }
    }
}

/// Returns the line about the description, if there is one.
fn description(found: &mut [Thing]) -> Result<String, Stop> {
    let Some(thing) = found.iter_mut().find(|thing| thing.platform.is_none()) else {
        return Ok(String::new());
    };
    let mut text = Vec::new();
    let read = thing.content.rewind().and_then(|()| {
        std::io::Read::take(&mut thing.content, DESCRIPTION_SHOWN).read_to_end(&mut text)
    });
    read.map_err(|error| {
        Report::because(ExitCode::INTERNAL, "failed to read a temporary file", error)
    })?;
    Ok(format!("description  {}\n", String::from_utf8_lossy(&text)))
}

/// How many bytes of a description are shown.
const DESCRIPTION_SHOWN: u64 = 1024;

/// Describes the artifacts, and warns of those that do not run where they should.
fn now(found: &mut [Thing], printer: &Printer) -> Result<Vec<Now>, Stop> {
    let failed =
        |error| Report::because(ExitCode::INTERNAL, "failed to read a temporary file", error);
    let mut now = Vec::new();
    for thing in found {
        let Some(platform) = thing.platform else { continue };
        thing.content.rewind().map_err(failed)?;
        let kind = Kind::of(&mut thing.content).map_err(failed)?;
        if !kind.runs_as(thing.at.path.file_name().unwrap_or_default(), platform) {
            printer
                .warning(format!("`{}` does not run on {platform}: it is {kind}", thing.at.path));
        }
        let length = thing.content.metadata().map_err(failed)?.len();
        now.push(Now { platform, length, sha256: thing.sha256 });
    }
    Ok(now)
}

/// Where something to be signed is, and who has to stand behind it already.
pub(crate) struct Work<'a> {
    /// What is signed, if it was staged.
    pub(crate) staged: Option<&'a Draft<'a>>,
    pub(crate) place: &'a Place,
    pub(crate) exchange: &'a Exchange,
    pub(crate) certificates: Vec<Certificate>,
    /// It may be signed though nobody who is known has signed it.
    pub(crate) unverified: bool,
    pub(crate) clock: Clock,
    pub(crate) printer: &'a Printer,
}

/// Something published that is to be signed again.
struct Thing {
    /// For an artifact, where it runs.
    platform: Option<Platform>,
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
    /// Shows what was staged and what changes by it, and returns that for scripts.
    fn changes(
        &self,
        draft: &Draft<'_>,
        subject: &Subject,
        version: &Version,
        found: &mut [Thing],
    ) -> Result<Value, Stop> {
        let before = Before::find(subject, version, self.place, self.exchange)?;
        let now = now(found, self.printer)?;
        let (name, by) = (subject.name(), draft.by());
        let (changed, described) = (changes(before.as_ref(), &now), description(found)?);
        self.printer.talk(format!("`{name}` {version}, {by}\n{changed}{described}"));
        Ok(changes_json(before.as_ref(), &now))
    }

    /// Fetches the artifacts of a version, as far as they may be signed.
    pub(crate) fn artifacts(
        &self,
        subject: &Subject,
        version: &Version,
    ) -> Result<Vec<Artifact>, Stop> {
        let mut artifacts = Vec::new();
        for thing in self.find(subject, version)? {
            let Thing { platform: Some(platform), content: file, sha256, .. } = thing else {
                continue;
            };
            let length = file.metadata().map_err(|error| {
                Report::because(ExitCode::INTERNAL, "failed to read a temporary file", error)
            })?;
            let content = Content { length: length.len(), sha256 };
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            artifacts.push(Artifact { id, file, content });
        }
        Ok(artifacts)
    }

    /// Fetches the artifacts of a version and its description.
    fn find(&self, subject: &Subject, version: &Version) -> Result<Vec<Thing>, Stop> {
        let mut found = Vec::new();
        let platforms = match self.staged {
            Some(draft) => draft.platforms()?,
            None => Platform::ALL.to_vec(),
        };
        for platform in platforms {
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            found.extend(self.fetch(Location::artifact(&id), id.binding(), Some(platform))?);
        }
        if let Subject::Tool(name) = subject {
            let binding = format!("description/{name}/{version}");
            found.extend(self.fetch(Location::description(name, version), binding, None)?);
        }
        Ok(found)
    }

    fn fetch(
        &self,
        at: Location,
        binding: String,
        platform: Option<Platform>,
    ) -> Result<Option<Thing>, Stop> {
        let checked = platform.is_some();
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
        if kept.is_empty() && !self.unverified && self.staged.is_none() {
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
            .hint("whoever can write to the server may have put it there: compare it with what you built, and publish that")
            .hint("`--sign-unverified` signs it as it is, once you have compared it"));
        }
        Ok(Some(Thing { platform, at, binding, content, sha256, kept }))
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
    changes: Option<Value>,
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
        let mut document = json!({ "signer": by, "files": files, "dryRun": typed.dry_run });
        if let Some(changes) = changes {
            document["staged"] = changes;
        }
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
