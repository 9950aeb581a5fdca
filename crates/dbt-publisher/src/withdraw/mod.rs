//! `publisher withdraw`: adds versions to a tool's signed list of those that never run again, after
//! showing what else that changes.

mod review;

use std::io::Cursor;

use dbt_client::anchor::in_one_line;
use dbt_client::source::Replace;
use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::{Location, SIGNATURE_ENDING};
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp;
use dbt_core::trust::Document;
use dbt_core::trust::openpgp::SIGNATURE_LIMIT;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn, WithdrawnVersion};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;
use pgp::composed::DetachedSignature;
use serde_json::json;

use self::review::Review;
use crate::args::Withdraw;
use crate::env::Environment;
use crate::exchange::{Exchange, Spot, content_of};
use crate::key::certificate::{armored_block, split_signatures};
use crate::known;
use crate::place::Place;
use crate::publish::Untrusted;
use crate::publish::plan::{Reserved, subject_of, version_of};
use crate::signer::{self, Signer};
use crate::stop::Stop;

/// Withdraws versions.
pub(crate) fn run(
    typed: Withdraw,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    let Subject::Tool(tool) = subject_of(&typed.tool, Reserved::Accepted)? else {
        return Err(Stop::usage(format!("`{}` itself cannot be withdrawn", typed.tool))
            .hint("publish a newer version, and delete this one"));
    };
    let versions: Result<Vec<Version>, Stop> =
        typed.versions.iter().map(|version| version_of(version)).collect();
    let reason = reason_of(&typed.reason)?;
    let place = Place::of(&typed.delivery, environment, printer)?;
    // The review asks for the checksums of many versions.
    let exchange = Exchange::wide(&place, environment)?;
    let clock = Clock::System;
    let at = Location::withdrawn(&tool);
    let work = Work { place: &place, exchange: &exchange, tool: &tool, at: &at, clock };

    let Published { mut list, standing } = work.published()?;
    let before = list.clone();
    for version in versions? {
        if list.reason_against(&version, None).is_some() {
            printer.note(format!("`{tool}` {version} is withdrawn already"));
            continue;
        }
        let sha256 = work.digests(&version)?;
        if sha256.is_empty() {
            printer.warning(format!(
                "`{tool}` {version} is not published; it is withdrawn by its number"
            ));
        }
        list.versions.push(WithdrawnVersion { version, sha256, reason: reason.clone() });
    }
    let mut review = None;
    let changed = list.versions.len() > before.versions.len();
    if changed {
        review = work.review(&before, &list, printer);
        if !work.is_confirmed(review.as_ref(), &typed, printer)? {
            return Ok(());
        }
        list.serial += 1;
        list.issued = timestamp::format(clock.now());
        let signer = signer::of(&typed.delivery.signing, environment, clock)?;
        // Clients that cannot verify the list run nothing of the tool.
        Untrusted::Refused.judge(signer.as_ref(), &place, &exchange, printer)?;
        work.sign_and_write(&list, signer.as_ref(), standing, typed.dry_run)?;
    }
    if let Some(review) = review.as_ref().filter(|_review| typed.dry_run && !typed.json) {
        printer.data(review.lines(&tool))?;
    }
    if typed.json {
        let review = review.as_ref().map(Review::json);
        printer.json(json!({
            "withdrawn": list, "changed": changed, "dryRun": typed.dry_run, "review": review,
        }))?;
    }
    Ok(())
}

/// The longest reason, in bytes.
const REASON_LIMIT: usize = 1024;

fn reason_of(text: &str) -> Result<String, Stop> {
    let text = text.trim();
    if text.is_empty() || text.len() > REASON_LIMIT || text.chars().any(char::is_control) {
        return Err(Stop::usage(format!("a reason is one line of 1 to {REASON_LIMIT} bytes")));
    }
    Ok(text.to_owned())
}

/// The list that is there.
struct Published {
    list: Withdrawn,
    /// Of its signatures one that counts: until the next list is written, whoever reads needs it.
    standing: Option<DetachedSignature>,
}

struct Work<'a> {
    place: &'a Place,
    exchange: &'a Exchange,
    tool: &'a ToolName,
    at: &'a Location,
    clock: Clock,
}

impl Work<'_> {
    /// Reads the list that is published, or begins one. A list that no key of the truststore
    /// stands behind is not continued: signing it would make it count.
    fn published(&self) -> Result<Published, Stop> {
        let spot = Spot::of(self.place, self.at)?;
        let Some(bytes) = self.exchange.get(&spot, WITHDRAWN_LIMIT)? else {
            return Ok(Published { list: Withdrawn::new(self.tool), standing: None });
        };
        let refused = |error: Box<dyn std::error::Error + Send + Sync>| {
            let message = format!("refusing to continue `{}`", spot.url());
            Stop(
                Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
                    .hint("the repository may be damaged, or somebody has changed it"),
            )
        };
        let signature = Spot::of(self.place, &self.at.with_ending(SIGNATURE_ENDING))?;
        let signature = self.exchange.get(&signature, SIGNATURE_LIMIT)?.unwrap_or_default();
        let certificates = known::certificates(self.place, self.exchange)?;
        let (trust, now) = (known::truststore(certificates, self.clock)?, self.clock.now());
        let document = Document::Withdrawn(self.tool.clone());
        let verify = |signature: &[u8]| trust.verify_document(&document, &bytes, signature, now);
        verify(&signature).map_err(|error| refused(error.into()))?;
        let mut standing = None;
        for one in split_signatures(&signature)? {
            if standing.is_none() && verify(&armored_block(std::slice::from_ref(&one))?).is_ok() {
                standing = Some(one);
            }
        }
        let list = Withdrawn::parse(&bytes, self.tool).map_err(|error| refused(error.into()))?;
        Ok(Published { list, standing })
    }

    /// Returns the digests of a version's artifacts, so that the same bytes do not come back
    /// under another number.
    fn digests(&self, version: &Version) -> Result<Vec<Digest>, Stop> {
        let mut digests = Vec::new();
        let subject = Subject::Tool(self.tool.clone());
        let version = known::as_published(&subject, version.clone(), self.place, self.exchange)?;
        for platform in Platform::ALL {
            let id = ArtifactId { subject: subject.clone(), version: version.clone(), platform };
            let spot = Spot::of(self.place, &Location::checksum(&id))?;
            let Some(bytes) = self.exchange.get(&spot, CHECKSUM_FILE_LIMIT)? else {
                continue;
            };
            let digest = Digest::from_checksum_file(&bytes).map_err(|error| {
                let message = format!("refusing `{}`", spot.url());
                Report::because(ExitCode::VERIFICATION_REFUSED, message, error)
            })?;
            if !digests.contains(&digest) {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    /// Looks at what the withdrawal changes. A bad version goes even where that cannot be found out.
    fn review(&self, before: &Withdrawn, after: &Withdrawn, printer: &Printer) -> Option<Review> {
        let review = Review::of(self.tool, (before, after), self.place, self.exchange);
        review
            .inspect_err(|stop| {
                let error = in_one_line(stop.report().error());
                printer.warning(format!("what else changes could not be found out: {error}"));
            })
            .ok()
    }

    /// Shows what changes, and asks the person. Where nobody is there it goes on: whoever names a version in
    /// a script means it, and until it is withdrawn it runs.
    fn is_confirmed(
        &self,
        review: Option<&Review>,
        typed: &Withdraw,
        printer: &Printer,
    ) -> Result<bool, Stop> {
        let tool = self.tool;
        let lines = review.map(|review| review.lines(tool)).unwrap_or_default();
        if typed.yes || typed.dry_run {
            let unnamed = review.filter(|_shown| !typed.dry_run);
            printer.talk(unnamed.map(|review| review.unnamed(tool)).unwrap_or_default());
            return Ok(true);
        }
        printer.talk(lines);
        let tools = self.place.tree(self.at.tree)?;
        match prompt::ask(&format!("withdraw it from `{tools}` for everybody?")) {
            Answer::Yes | Answer::NobodyThere => Ok(true),
            Answer::No => {
                printer.note("nothing was withdrawn");
                Ok(false)
            }
        }
    }

    /// Signs the list, and writes it.
    fn sign_and_write(
        &self,
        list: &Withdrawn,
        signer: &dyn Signer,
        standing: Option<DetachedSignature>,
        dry_run: bool,
    ) -> Result<(), Stop> {
        let tool = self.tool;
        let mut bytes = serde_json::to_vec_pretty(list).map_err(Report::internal)?;
        bytes.push(b'\n');
        let (binding, now) = (format!("withdrawn/{tool}"), self.clock.now());
        let signature = signer::sign(signer, &mut Cursor::new(bytes.as_slice()), &binding, now)?;
        let mut signatures = split_signatures(signature.armored())?;
        signatures.extend(standing);
        if dry_run {
            return Ok(());
        }
        self.write(&bytes, &armored_block(&signatures)?).map_err(|stop| {
            stop.while_doing(format!("failed to withdraw versions of `{tool}`"))
                .hint("the same command again completes it")
        })
    }

    /// Writes the signature first: clients look for it when the listing shows the list. It is that of the
    /// list before as well, which they read until the new one is there.
    fn write(&self, bytes: &[u8], signature: &[u8]) -> Result<(), Stop> {
        for (at, bytes) in
            [(self.at.with_ending(SIGNATURE_ENDING), signature), (self.at.clone(), bytes)]
        {
            let spot = Spot::of(self.place, &at)?;
            let mut body = Cursor::new(bytes.to_vec());
            self.exchange.put(&spot, &mut body, &content_of(bytes), Replace::Allowed)?;
        }
        Ok(())
    }
}
