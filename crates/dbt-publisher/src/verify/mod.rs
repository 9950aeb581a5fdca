//! `publisher verify`: checks a whole repository as a client would, and says everything that is
//! wrong with it.
//!
//! What clients check is checked by their own code, on what the server sends: signatures,
//! checksums, lists of withdrawn versions, descriptions, the truststore's manifest. What is only
//! looked at here is what no client would notice: names, leftovers, pages, what expires.

mod artifact;
mod findings;
mod kind;
mod marks;
pub(crate) mod reader;
mod tools;
mod trust;
mod version;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use clap::Args;
use dbt_core::clock::Clock;
use dbt_core::release::Subject;
use dbt_core::trust::TrustStore;
use dbt_ui::bar::Bar;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;
use serde_json::json;

use self::findings::{Counts, Findings};
use self::reader::Reader;
pub(crate) use self::trust::end_of;
use crate::args::{SignIn, Where};
use crate::env::Environment;
use crate::exchange::Exchange;
use crate::place::Place;
use crate::publish::plan::{Reserved, subject_of};
use crate::stop::Stop;

/// `verify`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct Verify {
    /// The root of a server or a directory, as with `--to`
    #[arg(value_name = "URL|DIR", conflicts_with_all = ["server", "to", "repository", "tools_repository"])]
    root: Option<String>,
    /// Look at this tool alone; the program's own name for the program itself. May be repeated
    #[arg(long = "tool", value_name = "TOOL")]
    tools: Vec<String>,
    /// Read no artifacts: signatures and checksums are then not verified
    #[arg(long)]
    quick: bool,
    /// Say also what changes for who comes from the reference
    #[arg(long)]
    migration: bool,
    /// End with an error where there are only warnings
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
    #[command(flatten)]
    reading: SignIn,
}

/// Checks a repository.
pub(crate) fn run(typed: Verify, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let scope = Scope::of(&typed)?;
    let place = Where { to: typed.root.clone().or(typed.place.to.clone()), ..typed.place.clone() };
    let place = Place::resolve(&place, &typed.reading, environment, printer)?;
    let exchange = Exchange::wide(&place, environment)?;
    let (findings, tally) = (Findings::default(), Tally::default());
    let reader = Reader::of(&place, &exchange)?;
    let now = Clock::System.now();

    let trust = trust::check(&place, &exchange, &findings, now)?;
    let check = Check {
        reader: &reader,
        trust: trust.as_ref(),
        findings: &findings,
        tally: &tally,
        bar: exchange.bar(),
        scope: &scope,
        now,
    };
    exchange.bar().begin("verifying", None);
    let looked_at = check.subjects().and_then(|()| check.pages(&place));
    exchange.bar().end();
    looked_at?;

    show(&typed, &findings, &tally, printer)?;
    end(&typed, findings.counts())
}

/// How much is looked at.
#[derive(Debug)]
struct Scope {
    /// Only these, if there are some.
    only: BTreeSet<Subject>,
    depth: Depth,
    migration: bool,
}

/// Whether artifacts are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// They are, so that everything can be verified.
    Full,
    /// They are not: what the companions say of themselves is looked at.
    Quick,
}

impl Scope {
    fn of(typed: &Verify) -> Result<Self, Stop> {
        let only: Result<_, Stop> =
            typed.tools.iter().map(|tool| subject_of(tool, Reserved::Accepted)).collect();
        let depth = if typed.quick { Depth::Quick } else { Depth::Full };
        Ok(Self { only: only?, depth, migration: typed.migration })
    }
}

/// What was looked at.
#[derive(Debug, Default)]
struct Tally {
    tools: AtomicU64,
    versions: AtomicU64,
    /// Withdrawn: nobody runs them, whatever is wrong with them.
    withdrawn: AtomicU64,
    artifacts: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add_artifact(&self, length: u64) {
        self.artifacts.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
    }

    fn json(&self) -> serde_json::Value {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Self { tools, versions, withdrawn, artifacts, bytes } = self;
        json!({
            "tools": of(tools), "versions": of(versions), "withdrawn": of(withdrawn),
            "artifacts": of(artifacts), "bytes": of(bytes),
        })
    }

    fn words(&self) -> String {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "tools: {}, versions: {}, of which withdrawn: {}, artifacts verified: {} ({} bytes)",
            of(&self.tools),
            of(&self.versions),
            of(&self.withdrawn),
            of(&self.artifacts),
            of(&self.bytes)
        )
    }
}

/// What every part of the check works with.
struct Check<'a> {
    reader: &'a Reader,
    /// The verifier; nothing where no truststore could be used.
    trust: Option<&'a TrustStore>,
    findings: &'a Findings,
    tally: &'a Tally,
    bar: &'a Bar,
    scope: &'a Scope,
    now: SystemTime,
}

/// The name of the document's schema.
const SCHEMA: &str = "dbt.verify/1";

fn show(typed: &Verify, findings: &Findings, tally: &Tally, printer: &Printer) -> Result<(), Stop> {
    let counts = findings.counts();
    if typed.json {
        let document = json!({
            "schema": SCHEMA,
            "complete": counts.is_complete(),
            "artifactsRead": !typed.quick,
            "errors": counts.errors,
            "warnings": counts.warnings,
            "lookedAt": tally.json(),
            "findings": findings.json(),
        });
        return Ok(printer.json(document)?);
    }
    if typed.quick {
        printer.note("no artifact was read: signatures and checksums are not verified");
    }
    printer.verbose(tally.words());
    Ok(printer.data(findings.text())?)
}

/// What a client refuses outweighs what could not be read, and that outweighs warnings.
fn end(typed: &Verify, counts: Counts) -> Result<(), Stop> {
    let Counts { errors, warnings, unanswered, forbidden } = counts;
    let message = format!("the repository is not in order: errors: {errors}, warnings: {warnings}");
    let code = if errors > unanswered + forbidden {
        ExitCode::VERIFICATION_REFUSED
    } else if forbidden > 0 {
        ExitCode::REFUSED
    } else if unanswered > 0 {
        ExitCode::UNREACHABLE
    } else if typed.strict && warnings > 0 {
        ExitCode::VERIFICATION_REFUSED
    } else {
        return Ok(());
    };
    let report = Report::new(code, message);
    let partly = (!counts.is_complete()).then(|| {
        "not everything could be read, so more may be wrong; what is listed is".to_owned()
    });
    Err(report.hints(partly).into())
}
