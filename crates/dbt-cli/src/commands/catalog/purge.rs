//! `dbt catalog purge TOOL`: deletes versions from the server, for everybody.

use dbt_client::deletion::{self, Asked, Plan};
use dbt_client::settings::Server;
use dbt_client::source::{Class, FetchError, Patience};
use dbt_core::layout::Location;
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::refuse_offline;
use crate::cli::Purge;
use crate::commands::failure;
use crate::commands::login::how_to_sign_in;
use crate::commands::world::World;

/// Shows what is to go, asks, and deletes it.
pub(super) fn purge(world: &World<'_>, tool: &ToolName, typed: &Purge) -> Result<(), Report> {
    let choice = asked(typed).choice().map_err(failure::deleting)?;
    refuse_offline(world)?;
    let session = world.wide_session();
    let Server { tools, time_scale, .. } = &session.settings.server;
    let source = session.repository().tree(Location::tools().tree);
    let subject = Subject::Tool(tool.clone());
    let patience = || session.patience(false);
    let plan = deletion::plan(source, &subject, &choice, session.now(), &patience)
        .map_err(failure::deleting)?;
    for version in &plan.of_unknown_age {
        world
            .printer
            .warning(format!("`{tool}` {version} stays: no signature says when it was published"));
    }
    if plan.doomed.is_empty() {
        world.printer.note("nothing is to be deleted");
        return Ok(());
    }
    if typed.dry_run {
        return world.printer.data(lines(&plan, "would delete"));
    }
    if !typed.yes && !is_confirmed(world, &plan, &tools.to_string())? {
        return Ok(());
    }
    let destination = session.tools_to_write();
    let patience = || Patience::for_upload(*time_scale);
    let mut said = Ok(());
    let failed = deletion::carry_out(&plan, (source, destination.as_ref()), &patience, |version| {
        let line = world.printer.data(format!("deleted {tool} {version}\n"));
        said = std::mem::replace(&mut said, Ok(())).and(line);
    });
    let (count, all) = (failed.len(), plan.doomed.len());
    for not_deleted in &failed {
        world.printer.warning(format!(
            "`{tool}` {} is still there: {}",
            not_deleted.version, not_deleted.error
        ));
    }
    match failed.into_iter().next() {
        Some(first) => Err(not_deleted(world, first.error)
            .while_doing(format!("failed to delete {count} of {all} versions of `{tool}`"))),
        None => said,
    }
}

/// Reports why, and how one is known to the server where it does not know who asks.
fn not_deleted(world: &World<'_>, error: FetchError) -> Report {
    let unknown = error.class() == Class::SignIn;
    let report = failure::fetching(error);
    if !unknown {
        return report;
    }
    let server = &world.settings.server;
    let way_in = server.hint_to_sign_in().unwrap_or_else(|| how_to_sign_in(server.name.as_str()));
    report.hint("`publisher delete --token-file FILE` deletes with a token of its own").hint(way_in)
}

fn asked(typed: &Purge) -> Asked {
    Asked {
        versions: Vec::new(),
        all: typed.all,
        older_than: typed.older_than.map(|age| age.0),
        keep: typed.keep,
        keep_latest: typed.keep_latest,
    }
}

fn lines(plan: &Plan, doing: &str) -> String {
    let line = |doomed: &deletion::Doomed| format!("{doing} {} {}\n", plan.subject, doomed.words());
    plan.doomed.iter().map(line).collect()
}

/// Asks the person. Without one, nothing is deleted, and that is an error: a script must not take
/// it for done.
fn is_confirmed(world: &World<'_>, plan: &Plan, place: &str) -> Result<bool, Report> {
    world.printer.talk(lines(plan, "to delete:"));
    match prompt::ask(&plan.question(place)) {
        Answer::Yes => Ok(true),
        Answer::No => {
            world.printer.note("nothing was deleted");
            Ok(false)
        }
        Answer::NobodyThere => {
            let message = "nothing was deleted: there is no terminal to ask on".to_owned();
            Err(Report::new(ExitCode::USAGE, message)
                .hint("`--yes` answers, and `--dry-run` shows what would go"))
        }
    }
}
