//! `reposerver trash`: what was deleted, on the machine where the tree is.

use std::io::Write;

use dbt_core::repo_path::RepoPath;
use serde_json::json;

use super::Outcome;
use crate::args::{Flags, Trash};
use crate::config::Config;
use crate::env::Environment;
use crate::storage::local::OnHost;

/// Lists or restores. A server may run meanwhile; its record does not have what is done here.
pub(super) fn run(
    flags: &Flags,
    environment: &Environment,
    action: Trash,
    out: &mut dyn Write,
) -> Outcome {
    let config = Config::resolve(flags, environment)?;
    let host = OnHost::open(&config.root, config.rules())?;
    match action {
        Trash::List { json: true } => {
            writeln!(out, "{}", json!({ "deleted": host.discarded()? }))?;
        }
        Trash::List { json: false } => {
            for deletion in host.discarded()? {
                let slash =
                    if deletion.kind == crate::storage::EntryKind::Directory { "/" } else { "" };
                let (id, path) = (&deletion.id, deletion.path.escape_debug());
                let (when, by) = (&deletion.deleted, deletion.by.escape_debug());
                writeln!(out, "{id}  {when}  {by}  /{path}{slash}")?;
            }
        }
        Trash::Restore { id } => {
            let path = host.restore(&id)?;
            writeln!(out, "restored `/{path}`")?;
        }
        Trash::Forget { path } => {
            let inside: RepoPath = path.trim_matches('/').parse()?;
            let count = host.forget_deleted(&inside)?;
            writeln!(out, "forgot {count} deleted files at or below `/{inside}`")?;
        }
    }
    Ok(())
}
