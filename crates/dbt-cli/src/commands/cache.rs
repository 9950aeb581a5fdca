//! `dbt cache`: the tools kept on this machine.

use std::collections::{BTreeMap, BTreeSet};

use dbt_client::prune;
use dbt_client::session::Session;
use dbt_client::state::InstalledVersion;
use dbt_core::digest::Digest;
use dbt_core::release::Subject;
use dbt_core::timestamp::{self, Timestamp};
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;
use dbt_ui::table::Table;
use serde_json::json;

use crate::cli::Cache;
use crate::commands::failure;
use crate::commands::world::{World, every_server};
use crate::process::Process;

/// Lists, prunes or clears.
pub(crate) fn cache(process: &Process, asked: Cache) -> Result<(), Report> {
    let world = &World::open(process)?;
    match asked {
        Cache::List { json } => list(world, json),
        Cache::Prune { dry_run } => prune(world, dry_run),
        Cache::Clear { yes } => clear(process, world, yes),
    }
}

fn list(world: &World<'_>, as_json: bool) -> Result<(), Report> {
    let session = world.session();
    let known = installed(&session)?;
    let entries = session.store.entries();
    if as_json {
        let rows: Vec<_> = entries
            .iter()
            .map(|entry| {
                let version = known.get(&entry.digest).map(|(_tool, it)| it.version.to_string());
                json!({
                    "tool": entry.file_name, "version": version, "bytes": entry.length,
                    "sha256": entry.digest, "path": entry.path, "read_only": entry.read_only,
                })
            })
            .collect();
        return world.printer.json(json!(rows));
    }
    let mut table = Table::new(["TOOL", "VERSION", "SIZE", "LAST RUN", "SHA256"]);
    for entry in &entries {
        let record = known.get(&entry.digest);
        let version = record.map_or("another server's", |(_tool, it)| it.version.spelling());
        let used = record.map_or_else(String::new, |(_tool, it)| {
            let Timestamp(used) = it.used;
            timestamp::format_date(used)
        });
        let digest: String = entry.digest.to_string().chars().take(16).collect();
        table.row([&entry.file_name, version, &size(entry.length), &used, &digest]);
    }
    world.printer.data(table)
}

fn prune(world: &World<'_>, dry_run: bool) -> Result<(), Report> {
    let session = world.session();
    let mut table = Table::new(["TOOL", "VERSION", "SIZE"]);
    for subject in session.state.tools() {
        let look = if dry_run { prune::prunable } else { prune::prune };
        for pruned in look(&session, &subject).map_err(failure::pruning)? {
            table.row([pruned.subject.name(), pruned.version.spelling(), &size(pruned.length)]);
        }
    }
    if !dry_run {
        prune::sweep(&session);
    }
    if table.is_empty() { Ok(()) } else { world.printer.data(table) }
}

/// Empties the store. `catalog purge` without a tool's name means the same.
pub(crate) fn clear(process: &Process, world: &World<'_>, yes: bool) -> Result<(), Report> {
    let session = world.session();
    let question =
        "remove every tool on this machine that is not running, pinned or held on a version?";
    if !yes && prompt::ask(question) != Answer::Yes {
        world.printer.note("nothing was removed");
        return Ok(());
    }
    let mut kept = BTreeSet::new();
    for server in every_server(process)? {
        kept.extend(prune::kept(&server.settings?).map_err(failure::pruning)?);
    }
    let cleared = session.store.clear(&kept, session.now()).map_err(failure::storing)?;
    world.printer.verbose(format!("{cleared:?}"));
    Ok(())
}

/// Lists what this server's records name, by digest.
fn installed(
    session: &Session<'_>,
) -> Result<BTreeMap<Digest, (Subject, InstalledVersion)>, Report> {
    let mut known = BTreeMap::new();
    for subject in session.state.tools() {
        let record = session.record(&subject).map_err(failure::remembering)?;
        for entry in record.installed {
            known.insert(entry.sha256, (subject.clone(), entry));
        }
    }
    Ok(known)
}

/// Writes a size for people: `13.1 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut tenths = bytes.saturating_mul(10) / 1024;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS.get(unit).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_written_for_people() {
        for (bytes, words) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (13_736_346, "13.1 MiB"),
            (5 << 30, "5.0 GiB"),
        ] {
            assert_eq!(size(bytes), words);
        }
    }
}
