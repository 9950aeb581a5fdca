//! What tools a server has: names, newest versions, descriptions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use dbt_core::layout::Location;
use dbt_core::name::ToolName;
use dbt_core::release::Subject;
use dbt_core::select;
use dbt_core::version::Version;

use crate::beside;
use crate::repository::{Repository, bytes_of};
use crate::source::{Class, FetchError, Patience};

/// How many requests are under way at once.
const AT_ONCE: usize = 16;

/// The most bytes of a description that are read.
const DESCRIPTION_LIMIT: u64 = 16 * 1024;

/// One tool of the catalog.
#[derive(Debug)]
pub struct CatalogEntry {
    /// Its name.
    pub tool: ToolName,
    /// Its published versions, newest first; pre-releases included.
    pub versions: Vec<Version>,
    /// Its newest release.
    pub newest: Option<Version>,
    /// Its description, first of the newest release. Text from outside.
    pub description: Option<String>,
    /// What went wrong while it was looked at: one tool's fault does not hide the others.
    pub problem: Option<FetchError>,
}

/// Lists the tools of a server, by name. Files beside them, and directories that cannot be a
/// tool's, are left out.
pub fn list(repository: &Repository, patience: &Patience) -> Result<Vec<CatalogEntry>, FetchError> {
    let listing = repository.list(&Location::tools(), patience)?;
    let mut tools: Vec<ToolName> =
        listing.directories().filter_map(|name| name.parse().ok()).collect();
    tools.sort();
    let next = AtomicUsize::new(0);
    let entries = Mutex::new(Vec::with_capacity(tools.len()));
    thread::scope(|scope| {
        for _worker in 0..AT_ONCE.min(tools.len()) {
            // The scope waits for those that have a thread of their own.
            let _worker = beside::begin(scope, || {
                while let Some(tool) = tools.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let entry = look_at(repository, tool, patience);
                    entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(entry);
                }
            });
        }
    });
    let mut entries = entries.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    entries.sort_by(|a, b| a.tool.cmp(&b.tool));
    Ok(entries)
}

/// Looks at one tool.
pub fn look_at(repository: &Repository, tool: &ToolName, patience: &Patience) -> CatalogEntry {
    let mut entry = CatalogEntry {
        tool: tool.clone(),
        versions: Vec::new(),
        newest: None,
        description: None,
        problem: None,
    };
    let at = Location::versions_of(&Subject::Tool(tool.clone()));
    match repository.list(&at, patience) {
        Ok(listing) => entry.versions = listing.versions(),
        Err(error) => entry.problem = Some(error),
    }
    entry.versions.sort_by(|a, b| b.cmp(a));
    entry.newest = select::newest(&entry.versions);
    if let Some(version) = entry.newest.as_ref().or(entry.versions.first()) {
        let at = Location::description(tool, version);
        match bytes_of(repository.get(&at, DESCRIPTION_LIMIT, None, patience)) {
            Ok(bytes) => {
                entry.description = Some(String::from_utf8_lossy(&bytes).trim().to_owned());
            }
            Err(error) if error.class() == Class::NotFound => {}
            Err(error) => entry.problem = Some(error),
        }
    }
    entry
}
