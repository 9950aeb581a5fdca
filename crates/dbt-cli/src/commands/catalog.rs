//! `dbt catalog`: what tools the server has.

use std::collections::BTreeMap;

use dbt_client::catalog::{self, Breadth, CatalogEntry, Problem};
use dbt_core::brand;
use dbt_core::platform::Platform;
use dbt_core::version::Version;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use crate::cli::Catalog;
use crate::commands::world::World;
use crate::commands::{cache, failure};
use crate::process::Process;

mod purge;
mod show;

/// What a list of withdrawn versions that does not count means.
const REFUSED_LIST: &str = "clients run nothing of it until that is put right";

/// Lists, searches, shows or purges.
pub(crate) fn catalog(process: &Process, asked: &Catalog) -> Result<(), Report> {
    let world = &World::open(process)?;
    let here = Breadth::ThisMachine(world.settings.platform);
    match asked {
        Catalog::List { versions, all_platforms, json } => {
            let breadth = if *all_platforms { Breadth::Everywhere } else { here };
            let entries = entries(world, breadth)?;
            match (json, all_platforms) {
                (true, _) => print_json(world, &entries),
                (false, true) => print_platforms(world, &entries, *versions),
                (false, false) => print(world, &entries, *versions),
            }
        }
        Catalog::Search { text, json } => {
            let wanted = text.to_lowercase();
            let mut entries = entries(world, here)?;
            entries.retain(|entry| mentions(entry, &wanted));
            if *json { print_json(world, &entries) } else { print(world, &entries, false) }
        }
        Catalog::Show { tool, json } => show::show(world, tool, *json),
        Catalog::Purge(purge) => match &purge.published {
            Some(tool) => purge::purge(world, tool, purge),
            // As the reference's README has it.
            None => cache::clear(process, world, purge.yes),
        },
    }
}

/// Asks for the catalog, and says what of it could not be had.
fn entries(world: &World<'_>, breadth: Breadth) -> Result<Vec<CatalogEntry>, Report> {
    refuse_offline(world)?;
    let session = world.wide_session();
    let mut entries = catalog::list(&session, breadth).map_err(failure::fetching)?;
    let mut not_asked = 0_usize;
    for entry in &entries {
        if let Some(error) = &entry.refused_list {
            let (tool, why) = (&entry.tool, REFUSED_LIST);
            let list = "list of withdrawn versions";
            world.printer.warning(format!("the {list} of `{tool}` is refused: {error}; {why}"));
        }
        match &entry.problem {
            Some(Problem::Fetch(error)) => {
                world.printer.warning(format!("`{}` could not be looked at: {error}", entry.tool));
            }
            Some(Problem::NotAsked) => not_asked += 1,
            None => {}
        }
    }
    if not_asked > 0 {
        let why = "were not asked for, because requests for many others failed";
        world.printer.warning(format!("{not_asked} more tools {why}"));
    }
    // Where nothing at all is known of any tool, the list would say that they have no versions.
    if entries.iter().all(|entry| entry.versions.is_empty() && entry.problem.is_some()) {
        let first = entries.iter_mut().find_map(|entry| match entry.problem.take() {
            Some(Problem::Fetch(error)) => Some(error),
            Some(Problem::NotAsked) | None => None,
        });
        first.map_or(Ok(()), |error| Err(failure::fetching(error)))?;
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
    let here = world.settings.platform;
    let mut table = Table::new(["TOOL", "VERSION", "DESCRIPTION"]);
    for entry in entries {
        let newest = entry.newest_for(here);
        let shown = newest.map_or("-", Version::spelling);
        table.row([entry.tool.as_str(), shown, first_line(entry)]);
        let others = entry.versions.iter().filter(|version| versions && Some(*version) != newest);
        for version in others {
            table.row(["", version.spelling(), ""]);
        }
    }
    world.printer.table(&table)
}

fn print_platforms(
    world: &World<'_>,
    entries: &[CatalogEntry],
    versions: bool,
) -> Result<(), Report> {
    let mut table = Table::new(["TOOL", "VERSION", "PLATFORMS", "DESCRIPTION"]);
    for entry in entries {
        let mut rows: BTreeMap<&Version, Vec<String>> = BTreeMap::new();
        for (platform, version) in &entry.platforms {
            rows.entry(version).or_default().push(platform.to_string());
        }
        for version in entry.versions.iter().filter(|_version| versions) {
            rows.entry(version).or_default();
        }
        let mut tool = entry.tool.as_str();
        if rows.is_empty() {
            table.row([tool, "-", "", first_line(entry)]);
        }
        for (version, platforms) in rows.into_iter().rev() {
            let text = if tool.is_empty() { "" } else { first_line(entry) };
            table.row([tool, version.spelling(), &platforms.join(" "), text]);
            tool = "";
        }
    }
    world.printer.table(&table)
}

fn first_line(entry: &CatalogEntry) -> &str {
    entry.description.as_deref().and_then(|text| text.lines().next()).unwrap_or_default()
}

fn print_json(world: &World<'_>, entries: &[CatalogEntry]) -> Result<(), Report> {
    let here = world.settings.platform;
    let rows: Vec<_> = entries.iter().map(|entry| document(entry, here)).collect();
    world.printer.json(json!(rows))
}

/// The shape is documented in `docs/catalog.md`: members are added, and never change.
fn document(entry: &CatalogEntry, here: Platform) -> serde_json::Value {
    json!({
        "tool": entry.tool,
        "version": entry.newest_for(here),
        "newest": entry.newest(),
        "versions": entry.versions,
        "withdrawn": entry.withdrawn,
        "platforms": by_platform(&entry.platforms),
        "description": entry.description,
        "problem": entry.problem.as_ref().map(ToString::to_string),
    })
}

fn by_platform(newest: &BTreeMap<Platform, Version>) -> BTreeMap<String, &Version> {
    newest.iter().map(|(platform, version)| (platform.to_string(), version)).collect()
}
