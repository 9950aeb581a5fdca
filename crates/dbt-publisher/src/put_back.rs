//! `publisher dbt-rollback`: publishes an older version of the program again, under a number above
//! all others, because clients take only what is newer.
//!
//! Its signatures say which version it was built as. Without that a client would find an old
//! program under a new number out, and refuse it; whoever can write to the repository, and cannot
//! sign, cannot make it.

use clap::Args;
use dbt_client::source::Content;
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::digest::{CHECKSUM_FILE_LIMIT, Digest};
use dbt_core::layout::Location;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;
use serde_json::json;

use crate::args::Delivery;
use crate::env::Environment;
use crate::exchange::{Exchange, Spot};
use crate::known;
use crate::place::Place;
use crate::publish::plan::{Artifact, Plan, version_of};
use crate::publish::upload::{Uploaded, Uploader};
use crate::publish::{Untrusted, files_json, items, mark_latest, show_dry_run};
use crate::resign::Work;
use crate::signer;
use crate::stop::{Explained, Stop};

/// Which version is put back, and under which number.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct PutBack {
    /// The version that everybody goes back to; it is still published
    version: String,
    /// The number under which it is published; the one after the newest when nothing is given
    #[arg(long = "as", value_name = "VERSION")]
    number: Option<String>,
    /// Put back also what no key of the truststore stands behind: whoever can write to the server
    /// may have put it there
    #[arg(long = "sign-unverified")]
    unverified: bool,
    /// Sign and check everything, and upload nothing
    #[arg(short, long)]
    dry_run: bool,
    /// Publish without asking
    #[arg(short, long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    delivery: Delivery,
}

/// Puts an older version of the program back.
pub(crate) fn run(
    typed: PutBack,
    environment: &Environment,
    printer: &Printer,
) -> Result<(), Stop> {
    let place = Place::of(&typed.delivery, environment, printer)?;
    let exchange = Exchange::open(&place, environment)?;
    let clock = Clock::System;
    let published = published(&place, &exchange)?;
    let old = typed.version.parse::<Version>()?;
    let old = known::as_published(&Subject::Program, old, &place, &exchange)?;
    let newest = newest_besides(&old, &published)?;
    let number = number(typed.number.as_deref(), newest)?;

    let work = Work {
        staged: None,
        place: &place,
        exchange: &exchange,
        certificates: known::certificates(&place, &exchange)?,
        unverified: typed.unverified,
        clock,
        printer,
    };
    let artifacts = work.artifacts(&Subject::Program, &old)?.into_iter();
    let artifacts: Vec<Artifact> = artifacts.map(|found| found.numbered(&number)).collect();
    if artifacts.is_empty() {
        let message = format!("`{}` {old} is not published", brand::PROGRAM);
        return Err(Report::new(ExitCode::NOT_FOUND, message).into());
    }
    if typed.number.is_none() && is_there(&artifacts, newest, &place, &exchange)? {
        printer.note(format!("{newest} is {old} already"));
        return Ok(());
    }
    printer.talk(told(&old, &number, &artifacts));
    say_who_stays(&artifacts, newest, &place, &exchange, printer)?;
    if !typed.yes && !typed.dry_run && !is_confirmed(&old, &number, printer)? {
        return Ok(());
    }

    let signer = signer::of(&typed.delivery.signing, environment, clock)?;
    Untrusted::Refused.judge(signer.as_ref(), &place, &exchange, printer)?;
    let plan = Plan {
        subject: Subject::Program,
        version: number.clone(),
        artifacts,
        description: None,
        built_as: Some(old.clone()),
    };
    let mut items = items(plan, Some(signer.as_ref()), clock, false)?;
    let uploader = Uploader {
        exchange: &exchange,
        place: &place,
        signer: Some(signer.certificate()),
        clock,
        replace: false,
        dry_run: typed.dry_run,
        printer,
    };
    let failed = |stop: Stop| {
        stop.while_doing(format!("failed to publish {old} again as {number}"))
            .hint(format!("`--as {number}` goes on where it stopped"))
    };
    let mut files = uploader.upload(&mut items, &Subject::Program, &number).map_err(failed)?;
    files.extend(mark_latest(&place, &exchange, &number, typed.dry_run).map_err(failed)?);
    show(&typed, &old, &number, &files, printer)
}

/// Lists the releases of the program, the newest last. Pre-releases are nobody's newest.
fn published(place: &Place, exchange: &Exchange) -> Result<Vec<Version>, Stop> {
    let listing = exchange.list(&Spot::of(place, &Location::versions_of(&Subject::Program))?)?;
    let mut versions = listing.map(|listing| listing.versions()).unwrap_or_default();
    versions.retain(|version| !version.is_pre_release());
    versions.sort();
    Ok(versions)
}

/// Returns the newest release, which must not be the one to go back to.
fn newest_besides<'a>(old: &Version, published: &'a [Version]) -> Result<&'a Version, Stop> {
    match published.last() {
        Some(newest) if newest.cmp_number(old).is_gt() => Ok(newest),
        Some(newest) => {
            Err(PutBackError::Newest { old: old.clone(), newest: newest.clone() }.into())
        }
        None => {
            let message = format!("`{}` is not published", brand::PROGRAM);
            Err(Report::new(ExitCode::NOT_FOUND, message).into())
        }
    }
}

/// Returns the number under which it is published.
fn number(typed: Option<&str>, newest: &Version) -> Result<Version, Stop> {
    let Some(text) = typed else {
        return newest
            .next_patch()
            .ok_or_else(|| Stop::usage(format!("there is no number after {newest}")));
    };
    let number = version_of(text)?;
    if number.is_pre_release() {
        return Err(PutBackError::PreRelease { number }.into());
    }
    // The same again is what a try that was interrupted goes on with.
    if number.cmp_number(newest).is_lt() {
        return Err(PutBackError::TooLow { number, newest: newest.clone() }.into());
    }
    Ok(number)
}

/// Says whether the newest release is these programs already.
fn is_there(
    artifacts: &[Artifact],
    newest: &Version,
    place: &Place,
    exchange: &Exchange,
) -> Result<bool, Stop> {
    for artifact in artifacts {
        let platform = artifact.id.platform;
        let published = checksum_of(newest, platform, place, exchange)?;
        if published != Some(artifact.content.sha256) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the published checksum of the program; nothing where there is none that can be read.
fn checksum_of(
    version: &Version,
    platform: Platform,
    place: &Place,
    exchange: &Exchange,
) -> Result<Option<Digest>, Stop> {
    let id = ArtifactId { subject: Subject::Program, version: version.clone(), platform };
    let bytes = exchange.get(&Spot::of(place, &Location::checksum(&id))?, CHECKSUM_FILE_LIMIT)?;
    Ok(bytes.and_then(|bytes| Digest::from_checksum_file(&bytes).ok()))
}

/// Warns of platforms that only the newest release has: nobody there goes back.
fn say_who_stays(
    artifacts: &[Artifact],
    newest: &Version,
    place: &Place,
    exchange: &Exchange,
    printer: &Printer,
) -> Result<(), Stop> {
    for platform in Platform::ALL {
        let goes_back = artifacts.iter().any(|artifact| artifact.id.platform == platform);
        if !goes_back && checksum_of(newest, platform, place, exchange)?.is_some() {
            printer.warning(format!(
                "machines with {platform} stay as they are: it has no build for them"
            ));
        }
    }
    Ok(())
}

fn told(old: &Version, number: &Version, artifacts: &[Artifact]) -> String {
    let line = |artifact: &Artifact| {
        let Content { length, sha256 } = &artifact.content;
        format!("{}  {length} bytes  {sha256}\n", artifact.id.platform)
    };
    let lines: String = artifacts.iter().map(line).collect();
    format!("`{}` {old} is published again as {number}:\n{lines}", brand::PROGRAM)
}

/// Asks the person. Without one nothing is published, and that is an error.
fn is_confirmed(old: &Version, number: &Version, printer: &Printer) -> Result<bool, Stop> {
    match prompt::ask(&format!("Put every machine back to {old}, as {number}?")) {
        Answer::Yes => Ok(true),
        Answer::No => {
            printer.note("nothing was published");
            Ok(false)
        }
        Answer::NobodyThere => {
            Err(Stop::usage("nothing was published: there is no terminal to ask on")
                .hint("`--yes` answers, and `--dry-run` shows what would be written"))
        }
    }
}

fn show(
    typed: &PutBack,
    old: &Version,
    number: &Version,
    files: &[Uploaded],
    printer: &Printer,
) -> Result<(), Stop> {
    if typed.json {
        let document = json!({
            "name": brand::PROGRAM,
            "version": number,
            "builtAs": old,
            "dryRun": typed.dry_run,
            "files": files_json(files),
        });
        return Ok(printer.json(document)?);
    }
    if typed.dry_run { show_dry_run(files, printer) } else { Ok(()) }
}

/// Why nothing is put back.
#[derive(Debug, thiserror::Error)]
enum PutBackError {
    #[error("{old} is not older than {newest}, the newest that is published")]
    Newest { old: Version, newest: Version },
    #[error("{number} is below {newest}: clients take only what is newer")]
    TooLow { number: Version, newest: Version },
    #[error("{number} is a pre-release: clients do not take it by themselves")]
    PreRelease { number: Version },
}

impl Explained for PutBackError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        vec![match self {
            Self::Newest { .. } => "name the version that everybody should go back to".to_owned(),
            Self::TooLow { .. } | Self::PreRelease { .. } => {
                "without `--as` it gets the number after the newest".to_owned()
            }
        }]
    }
}
