//! `publisher stage`: uploads a version that nobody sees before somebody has signed it, from where
//! there is no signing key.

use dbt_client::source::Begin;
use dbt_core::clock::Clock;
use dbt_core::release::Subject;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use serde_json::json;

use crate::args::Stage;
use crate::env::Environment;
use crate::exchange::Exchange;
use crate::place::Place;
use crate::publish::plan::Plan;
use crate::publish::upload::{Uploaded, Uploader};
use crate::publish::{files_json, items, metadata, needs_description, show_dry_run};
use crate::staged::{self, Draft};
use crate::stop::Stop;

/// Stages a version.
pub(crate) fn run(typed: Stage, environment: &Environment, printer: &Printer) -> Result<(), Stop> {
    let plan = Plan::read(&typed.what, printer)?;
    let place = metadata::place_of(&typed.what, &typed.place)?;
    let place = Place::resolve(&place, &typed.uploading, environment, printer)?;
    let exchange = Exchange::open(&place, environment)?;
    let (subject, version) = (plan.subject.clone(), plan.version.clone());
    let releases = staged::releases(&subject, &place, &exchange)?;
    needs_description(&plan, &place, &exchange)?;

    let clock = Clock::System;
    let mut items = items(plan, None, clock, false)?;
    let uploader = Uploader {
        exchange: &exchange,
        place: &place,
        signer: None,
        clock,
        replace: false,
        dry_run: typed.dry_run,
        printer,
    };
    let doing = || format!("failed to stage `{}` {version}", subject.name());
    let failed = |stop: Stop| stop.while_doing(doing());
    if typed.dry_run {
        let files = uploader.upload(&mut items, &subject, &version).map_err(failed)?;
        return show(&typed, &subject, &version, &files, None, printer);
    }
    let mut draft = Draft::go_on(&releases, &subject, &version).map_err(failed)?;
    if typed.replace {
        draft.abandon().map_err(failed)?;
        draft = Draft::go_on(&releases, &subject, &version).map_err(failed)?;
    }
    let was_empty = draft.release.platforms.is_empty();
    let files = uploader.upload(&mut items, &subject, &version).map_err(failed);
    let files = files.inspect_err(|stop| {
        // What was refused is refused again; nothing is left that nobody goes on with.
        if was_empty && stop.0.code() == ExitCode::VERIFICATION_REFUSED {
            drop(draft.abandon());
        }
    })?;
    let staged = releases.begin(&subject, &version, Begin::Staged).map_err(Stop::from);
    let staged = staged.map_err(failed)?;
    if staged.platforms.is_empty() {
        draft.abandon().map_err(failed)?;
        printer.note(format!("`{}` {version} is published as it is", subject.name()));
        return show(&typed, &subject, &version, &files, None, printer);
    }
    show(&typed, &subject, &version, &files, Some(&staged.expires), printer)
}

fn show(
    typed: &Stage,
    subject: &Subject,
    version: &Version,
    files: &[Uploaded],
    waits_until: Option<&str>,
    printer: &Printer,
) -> Result<(), Stop> {
    if typed.json {
        let document = json!({
            "name": subject.name(),
            "version": version,
            "self": *subject == Subject::Program,
            "dryRun": typed.dry_run,
            "staged": waits_until.is_some(),
            "expires": waits_until,
            "files": files_json(files),
        });
        return Ok(printer.json(document)?);
    }
    if let Some(until) = waits_until {
        let (name, day) = (subject.name(), until.get(..10).unwrap_or(until));
        printer.note(format!("`{name}` {version} is kept until {day}, and nobody sees it yet"));
        printer.hint(format!("`publisher sign {name} {version}`, where the key is, publishes it"));
    }
    if typed.dry_run { show_dry_run(files, printer) } else { Ok(()) }
}
