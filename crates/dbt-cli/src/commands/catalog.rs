//! `dbt catalog`: what tools the server has.

use dbt_client::catalog::{self, CatalogEntry};
use dbt_core::brand;
use dbt_core::name::ToolName;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use crate::cli::{Catalog, Purge};
use crate::commands::world::World;
use crate::commands::{cache, failure};
use crate::process::Process;

/// Lists, searches, shows or purges.
pub(crate) fn catalog(process: &Process, asked: &Catalog) -> Result<(), Report> {
    let world = &World::open(process)?;
    match asked {
        Catalog::List { versions, json } => {
            let entries = entries(world)?;
            if *json { print_json(world, &entries) } else { print(world, &entries, *versions) }
        }
        Catalog::Search { text, json } => {
            let wanted = text.to_lowercase();
            let mut entries = entries(world)?;
            entries.retain(|entry| mentions(entry, &wanted));
            if *json { print_json(world, &entries) } else { print(world, &entries, false) }
        }
        Catalog::Show { tool, json } => show(world, tool, *json),
        Catalog::Purge(purge) => purge_cache(process, world, purge),
    }
}

fn entries(world: &World<'_>) -> Result<Vec<CatalogEntry>, Report> {
    refuse_offline(world)?;
    let session = world.session();
    let patience = session.patience(false);
    let entries = catalog::list(session.repository(), &patience).map_err(failure::fetching)?;
    for entry in &entries {
        if let Some(problem) = &entry.problem {
            world.printer.warning(format!("`{}` could not be looked at: {problem}", entry.tool));
        }
    }
    Ok(entries)
}

fn refuse_offline(world: &World<'_>) -> Result<(), Report> {
    if !world.settings.offline {
        return Ok(());
    }
    let message = "the catalog is on the server, and `-o` makes no request".to_owned();
    Err(Report::new(ExitCode::USAGE, message)
        .hint(format!("`{} cache list` shows what is kept on this machine", brand::PROGRAM)))
}

fn mentions(entry: &CatalogEntry, wanted: &str) -> bool {
    let in_description =
        entry.description.as_ref().is_some_and(|text| text.to_lowercase().contains(wanted));
    in_description || entry.tool.as_str().to_lowercase().contains(wanted)
}

fn print(world: &World<'_>, entries: &[CatalogEntry], versions: bool) -> Result<(), Report> {
    let mut table = Table::new(["TOOL", "VERSION", "DESCRIPTION"]);
    for entry in entries {
        let newest = entry.newest.as_ref().map_or("-", Version::spelling);
        let description = entry.description.as_deref().and_then(|text| text.lines().next());
        table.row([entry.tool.as_str(), newest, description.unwrap_or_default()]);
        if versions {
            let others =
                entry.versions.iter().filter(|version| Some(*version) != entry.newest.as_ref());
            for version in others {
                table.row(["", version.spelling(), ""]);
            }
        }
    }
    world.printer.data(table)
}

fn print_json(world: &World<'_>, entries: &[CatalogEntry]) -> Result<(), Report> {
    let rows: Vec<_> = entries.iter().map(document).collect();
    world.printer.json(json!(rows))
}

fn document(entry: &CatalogEntry) -> serde_json::Value {
    json!({
        "tool": entry.tool, "version": entry.newest, "versions": entry.versions,
        "description": entry.description,
        "problem": entry.problem.as_ref().map(ToString::to_string),
    })
}

fn show(world: &World<'_>, tool: &ToolName, as_json: bool) -> Result<(), Report> {
    refuse_offline(world)?;
    let session = world.session();
    let mut entry = catalog::look_at(session.repository(), tool, &session.patience(false));
    if let (true, Some(problem)) = (entry.versions.is_empty(), entry.problem.take()) {
        return Err(failure::fetching(problem));
    }
    if as_json {
        return world.printer.json(document(&entry));
    }
    let versions: Vec<&str> = entry.versions.iter().map(Version::spelling).collect();
    let description = entry.description.map(|text| text + "\n").unwrap_or_default();
    world.printer.data(format!("{tool}\n{description}versions: {}\n", versions.join(", ")))
}

/// Without a tool's name the local cache is meant, as the reference's README says. Deleting from
/// the repository is the publisher's work.
fn purge_cache(process: &Process, world: &World<'_>, purge: &Purge) -> Result<(), Report> {
    let Some(tool) = &purge.published else {
        return cache::clear(process, world, purge.yes);
    };
    let message = format!("this version does not delete `{tool}` from the repository");
    Err(Report::new(ExitCode::USAGE, message).hint(format!(
        "`publisher withdraw {tool} VERSION --reason TEXT` stops a version from running"
    )))
}
