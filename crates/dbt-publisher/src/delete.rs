//! `publisher delete`: deletes published versions, after showing which.
//!
//! It takes nothing from machines that have a copy: `publisher withdraw` does.

use clap::Args;
use dbt_client::config::duration::Interval;
use dbt_client::deletion::{self, Asked, DeletionError, Doomed, NotDeleted, Plan};
use dbt_client::source::Patience;
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_core::layout::Location;
use dbt_core::listing::page;
use dbt_core::release::Subject;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;
use serde_json::json;

use crate::args::{SignIn, Where};
use crate::env::Environment;
use crate::exchange::{Exchange, Spot};
use crate::index;
use crate::place::Place;
use crate::publish::plan::{Reserved, subject_of, version_of};
use crate::stop::{Explained, Stop};

/// `delete`
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "one flag of the command line each")]
pub(crate) struct Delete {
    /// The tool; the program's own name for the program itself
    pub(crate) tool: String,
    /// The versions
    #[arg(value_name = "VERSION")]
    pub(crate) versions: Vec<String>,
    /// Delete every version
    #[arg(long)]
    pub(crate) all: bool,
    /// Delete versions that were signed longer ago than this (`30d`, `2w`, `12h`); the newest stays
    #[arg(long, value_name = "AGE")]
    pub(crate) older_than: Option<String>,
    /// Keep this many of the newest releases, and what is newer than those
    #[arg(long, value_name = "COUNT")]
    pub(crate) keep: Option<u32>,
    /// Keep the newest release, and what is newer than that
    #[arg(long, conflicts_with = "keep")]
    pub(crate) keep_latest: bool,
    /// Show what would be deleted, and delete nothing; asks nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Where,
    #[command(flatten)]
    pub(crate) uploading: SignIn,
}

/// Deletes versions.
pub(crate) fn run(typed: Delete, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let subject = subject_of(&typed.tool, Reserved::Accepted)?;
    let choice = asked(&typed)?.choice()?;
    let place = Place::resolve(&typed.place, &typed.uploading, environment, printer)?;
    let exchange = Exchange::open(&place, environment)?;
    let base = place.tree(Location::versions_of(&subject).tree)?;
    let source = exchange.reading(base);
    let patience = || Patience::without_cached_copy(1.0);
    let now = Clock::System.now();
    let plan = deletion::plan(source.as_ref(), &subject, &choice, now, &patience)?;
    for version in &plan.of_unknown_age {
        let why = "no signature says when it was published";
        printer.warning(format!("`{subject}` {version} stays: {why}"));
    }
    let mut outcome = Outcome { plan, deleted: Vec::new(), failed: Vec::new() };
    if !typed.dry_run && !outcome.plan.doomed.is_empty() {
        if !typed.yes && !is_confirmed(&outcome.plan, &base.to_string(), printer)? {
            return Ok(());
        }
        let destination = exchange.writing(base);
        let patience = || Patience::for_upload(1.0);
        let deleted = &mut outcome.deleted;
        let both = (source.as_ref(), destination.as_ref());
        outcome.failed = deletion::carry_out(&outcome.plan, both, &patience, |version| {
            deleted.push(version.clone());
        });
        follow(base, &subject, &exchange)?;
    }
    outcome.show(&typed, printer)?;
    outcome.end()
}

/// In a directory or a bucket, brings the pages up to date that name what was deleted.
fn follow(base: &RepositoryUrl, subject: &Subject, exchange: &Exchange) -> Result<(), Stop> {
    let versions = Location::versions_of(subject).path;
    let Some(root) = base.directory() else {
        let path = versions.join(page::FILE).map_err(Report::internal)?;
        return index::bucket::follow(&[Spot { base: base.clone(), path }], exchange);
    };
    let place = versions.segments().fold(root.to_owned(), |below, name| below.join(name));
    // With its last version a tool goes, too.
    let inside = versions.join(page::FILE).ok().filter(|_path| place.is_dir());
    let path = inside.unwrap_or(versions);
    index::follow(&Spot { base: base.clone(), path })
}

fn asked(typed: &Delete) -> Result<Asked, Stop> {
    let versions: Result<Vec<Version>, Stop> =
        typed.versions.iter().map(|version| version_of(version)).collect();
    let older_than = typed.older_than.as_deref().map(str::parse::<Interval>).transpose();
    let older_than =
        older_than.map_err(|error| Stop::usage(format!("bad `--older-than`: {error}")))?;
    Ok(Asked {
        versions: versions?,
        all: typed.all,
        older_than: older_than.map(|age| age.0),
        keep: typed.keep,
        keep_latest: typed.keep_latest,
    })
}

/// Asks the person. Without one, nothing is deleted, and that is an error: a script must not take
/// it for done.
fn is_confirmed(plan: &Plan, place: &str, printer: &Printer) -> Result<bool, Stop> {
    printer.talk(lines(plan, "to delete:"));
    match prompt::ask(&plan.question(place)) {
        Answer::Yes => Ok(true),
        Answer::No => {
            printer.note("nothing was deleted");
            Ok(false)
        }
        Answer::NobodyThere => {
            Err(Stop::usage("nothing was deleted: there is no terminal to ask on")
                .hint("`--yes` answers, and `--dry-run` shows what would go"))
        }
    }
}

fn lines(plan: &Plan, doing: &str) -> String {
    let line = |doomed: &Doomed| format!("{doing} {} {}\n", plan.subject, doomed.words());
    plan.doomed.iter().map(line).collect()
}

/// What was to be done, and what was.
struct Outcome {
    plan: Plan,
    deleted: Vec<Version>,
    failed: Vec<NotDeleted>,
}

impl Outcome {
    fn show(&self, typed: &Delete, printer: &Printer) -> Result<(), Stop> {
        let Self { plan, deleted, failed } = self;
        let subject = &plan.subject;
        for NotDeleted { version, error } in failed {
            printer.warning(format!("`{subject}` {version} is still there: {error}"));
        }
        if typed.json {
            let doomed: Vec<&Version> = plan.doomed.iter().map(|it| &it.version).collect();
            let failed: Vec<_> = failed
                .iter()
                .map(|it| json!({ "version": it.version, "problem": it.error.to_string() }))
                .collect();
            let document = json!({
                "subject": subject.to_string(), "chosen": doomed, "deleted": deleted,
                "failed": failed, "ofUnknownAge": plan.of_unknown_age, "dryRun": typed.dry_run,
            });
            return Ok(printer.json(document)?);
        }
        if plan.doomed.is_empty() {
            printer.note("nothing is to be deleted");
        }
        if typed.dry_run {
            return Ok(printer.data(lines(plan, "would delete"))?);
        }
        let line = |version: &Version| format!("deleted {subject} {version}\n");
        Ok(printer.data(deleted.iter().map(line).collect::<String>())?)
    }

    /// What is still there makes the whole a failure: nobody reads warnings in a job.
    fn end(self) -> Result<(), Stop> {
        let (count, all) = (self.failed.len(), self.plan.doomed.len());
        let subject = self.plan.subject;
        let message = format!("failed to delete {count} of {all} versions of `{subject}`");
        match self.failed.into_iter().next() {
            Some(first) => Err(Stop::from(first.error).while_doing(message)),
            None => Ok(()),
        }
    }
}

impl Explained for DeletionError {
    fn code(&self) -> ExitCode {
        match self {
            Self::Fetch(error) => error.code(),
            Self::NotPublished { .. } => ExitCode::NOT_FOUND,
            Self::Unclear | Self::Contradictory | Self::KeepNothing | Self::Program { .. } => {
                ExitCode::USAGE
            }
            _ => ExitCode::INTERNAL,
        }
    }

    fn hints(&self) -> Vec<String> {
        if let Self::Fetch(error) = self {
            return error.hints();
        }
        self.hint().into_iter().collect()
    }
}
