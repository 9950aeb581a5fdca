//! `dbt fetch` and `dbt update`: make tools ready without running them.

use dbt_client::prepare::{self, Eagerness, Outcome, Prepared, Request};
use dbt_client::prune;
use dbt_client::session::Session;
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::cli::{Fetch, Update};
use crate::commands::world::World;
use crate::commands::{failure, offer, run};
use crate::process::Process;

/// Downloads and verifies tools. The first that fails ends it.
pub(crate) fn fetch(process: &Process, fetch: &Fetch) -> Result<(), Report> {
    let world = World::open(process)?;
    let session = world.session();
    for tool in &fetch.tools {
        let (tool, wanted) = (tool.name.clone(), tool.wanted.clone());
        let request = Request { tool, wanted, eagerness: Eagerness::Now };
        let prepared = ready(process, &session, &request)?;
        if let Some(reason) = prepared.unconfirmed.filter(|_| !session.settings.offline) {
            process
                .printer
                .warning(format!("{} is here, and may not be current: {reason}", prepared.id));
        }
    }
    Ok(())
}

/// Looks for newer versions of the named tools, or of all that this machine has. Every tool is
/// looked at, unless somebody must sign in; the first failure is what is reported.
pub(crate) fn update(process: &Process, update: &Update) -> Result<(), Report> {
    let world = World::open(process)?;
    let session = world.session();
    let tools = if update.tools.is_empty() { installed(&session)? } else { update.tools.clone() };
    let mut failed = None;
    for tool in tools {
        let request = Request { tool, wanted: None, eagerness: Eagerness::Now };
        let outcome = ready(process, &session, &request);
        if let Err(report) = outcome.and_then(|prepared| updated(&session, &prepared)) {
            match &failed {
                // Nobody is signed in for the others either.
                _ if offer::is_wanted(&report) => return Err(report),
                None => failed = Some(report),
                Some(_first) => process.printer.report(&report),
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn ready(process: &Process, session: &Session<'_>, request: &Request) -> Result<Prepared, Report> {
    match prepare::prepare(session, request).map_err(failure::preparing)? {
        Outcome::Ready(prepared) => {
            process.printer.verbose(format!("{} is ready", prepared.id));
            if prepared.fresh {
                // Cleaning up is no reason to fail.
                let _pruned = prune::prune(session, &prepared.id.subject);
            }
            Ok(*prepared)
        }
        Outcome::Replaced(replaced) => Err(run::restart(process, &replaced)),
    }
}

/// An update that could not ask has not updated anything; unless that was wanted.
fn updated(session: &Session<'_>, prepared: &Prepared) -> Result<(), Report> {
    let Some(reason) = prepared.unconfirmed.as_ref().filter(|_| !session.settings.offline) else {
        return Ok(());
    };
    let message =
        format!("failed to look for newer versions of `{}`: {reason}", prepared.id.subject);
    Err(Report::new(ExitCode::UNREACHABLE, message))
}

/// Lists the tools of which a version is installed.
pub(crate) fn installed(session: &Session<'_>) -> Result<Vec<ToolName>, Report> {
    let mut tools = Vec::new();
    for subject in session.state.tools() {
        let record = session.record(&subject).map_err(failure::remembering)?;
        if let (Subject::Tool(tool), false) = (subject, record.installed.is_empty()) {
            tools.push(tool);
        }
    }
    Ok(tools)
}
