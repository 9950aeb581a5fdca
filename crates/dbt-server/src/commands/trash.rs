//! `reposerver trash`: what was deleted, on the machine where the tree is.

use std::io::Write;

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use serde_json::json;

use super::Outcome;
use crate::args::{Flags, Trash};
use crate::audit;
use crate::audit::kept::append_on_host;
use crate::config::Config;
use crate::env::Environment;
use crate::storage::local::OnHost;

/// Lists or restores. A server may run meanwhile.
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
            let known = host.discarded()?.into_iter().find(|it| it.id == id).map(|it| it.path);
            let path = recorded(&host, "restore", known, || host.restore(&id), "restored")?;
            writeln!(out, "restored `/{path}`")?;
        }
        Trash::Forget { path } => {
            let inside: RepoPath = path.trim_matches('/').parse()?;
            let path = Some(inside.to_string());
            let forget = || host.forget_deleted(&inside);
            let count = recorded(&host, "trash.forget", path, forget, "forgotten")?;
            writeln!(out, "forgot {count} deleted files at or below `/{inside}`")?;
        }
    }
    Ok(())
}

/// Does something that changes what the server knows or serves: recorded before and after, or not
/// done.
fn recorded<T, E: std::error::Error + 'static>(
    host: &OnHost,
    action: &'static str,
    path: Option<String>,
    work: impl FnOnce() -> Result<T, E>,
    effect: &'static str,
) -> Result<T, Box<dyn std::error::Error>> {
    let state = host.records().map_err(|unusable| {
        let hint = unusable.hint();
        format!("{unusable}; {hint}")
    })?;
    let append =
        |outcome| append_on_host(&state, Clock::System.now(), action, path.clone(), outcome);
    append(audit::Outcome::Attempted)?;
    let done = work();
    append(match &done {
        Ok(_done) => audit::Outcome::done(effect),
        Err(error) => audit::Outcome::Failed { status: None, reason: error.to_string() },
    })?;
    Ok(done?)
}
