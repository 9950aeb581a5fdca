//! The whole catalog, a thousand tools at a time: what `catalog list` shows.
//!
//! What lies in the tree is looked at for everybody, and kept for a moment; what of it somebody is
//! shown is decided for each request.

use std::collections::BTreeMap;
use std::sync::Arc;

use dbt_core::layout::{DESCRIPTION_FILE, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use hyper::Response;
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::tools::listing;
use crate::action::{Action as _, Read};
use crate::app::App;
use crate::authz::Grant;
use crate::content::Body;
use crate::error::ApiError;
use crate::limits;
use crate::pipeline::{Asked, admit_by_proof};
use crate::respond::{self, Caching};
use crate::storage::{Shelf, Shelved, Standing, StorageError};
use crate::time;

/// Parts of the catalog that were looked at a moment ago. One is looked at at a time.
#[derive(Default)]
pub struct Shelves(Mutex<Vec<Kept>>);

struct Kept {
    after: Option<ToolName>,
    /// How many changes had ended before it was looked at.
    changes: u64,
    since: Instant,
    shelf: Arc<Shelf>,
}

impl Kept {
    fn is_current(&self, changes: u64) -> bool {
        self.changes == changes && self.since.elapsed() < limits::SHELF_KEPT
    }

    /// Says whether the tools after one are in it: so that nobody makes us look again and again by
    /// beginning elsewhere.
    fn covers(&self, after: Option<&ToolName>) -> bool {
        let is_before_the_end = || match (after, self.shelf.tools.last()) {
            (Some(after), Some(last)) => *after < last.name,
            (None, _) | (_, None) => true,
        };
        self.after.as_ref() <= after && (!self.shelf.goes_on || is_before_the_end())
    }
}

#[derive(Serialize)]
struct Part<'a> {
    tools: Vec<Tool<'a>>,
    next: Option<&'a str>,
}

/// A tool, as somebody sees it.
#[derive(Serialize)]
pub(crate) struct Tool<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The beginning of its description.
    pub(crate) description: Option<&'a str>,
    /// Its versions, the newest first.
    pub(crate) versions: &'a [String],
    /// Those of them that are withdrawn.
    pub(crate) withdrawn: &'a [String],
    /// The newest release of each platform that is not withdrawn.
    pub(crate) platforms: BTreeMap<&'a str, Newest<'a>>,
}

/// What somebody sees of the newest release of a platform.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Newest<'a> {
    version: &'a str,
    size: u64,
    modified_at: Option<String>,
}

/// Answers with the tools after `after` that the caller may list.
pub(super) async fn list(
    app: &App,
    asked: &Asked,
    after: Option<ToolName>,
) -> Result<Response<Body>, ApiError> {
    // Where everybody may list the tools, some of them may still be for some people only.
    let grant = admit_by_proof(app, asked, listing(&[])?).await?;
    let seen = Seen { app, grant: &grant };
    let mut from = after.clone();
    let is_asked_for = |tool: &&Shelved| after.as_ref().is_none_or(|after| tool.name > *after);
    let shelf = loop {
        let shelf = look(app, &grant, from).await?;
        let mut tools = shelf.tools.iter().filter(is_asked_for);
        // Where the next part begins is told by a tool that the caller may see.
        if tools.any(|tool| seen.tool(tool).is_some()) || !shelf.goes_on {
            break shelf;
        }
        from = shelf.tools.last().map(|tool| tool.name.clone());
    };
    let tools = shelf.tools.iter().filter(is_asked_for);
    let tools: Vec<Tool<'_>> = tools.filter_map(|tool| seen.tool(tool)).collect();
    let next = tools.last().map(|tool| tool.name).filter(|_last| shelf.goes_on);
    let part = Part { tools, next };
    let mut text =
        serde_json::to_string(&part).map_err(|error| ApiError::Internal(error.to_string()))?;
    text.push('\n');
    let caching = Caching { shared: grant.caller().is_anonymous(), immutable: false };
    respond::page(&asked.parts.headers, "application/json", text, None, caching)
}

/// Looks at the tree, unless that was done a moment ago and nothing has changed since.
pub(crate) async fn look(
    app: &App,
    grant: &Grant<Read>,
    after: Option<ToolName>,
) -> Result<Arc<Shelf>, ApiError> {
    // Others who want the same wait for it, instead of doing it too.
    let mut kept = app.running.shelves.0.lock().await;
    let changes = app.audit.ended();
    kept.retain(|kept| kept.is_current(changes));
    if let Some(kept) = kept.iter().find(|kept| kept.covers(after.as_ref())) {
        return Ok(Arc::clone(&kept.shelf));
    }
    let since = Instant::now();
    let shelf = match app.storage.shelf(grant, after.clone()).await {
        Ok(shelf) => Arc::new(shelf),
        Err(StorageError::NotFound) => Arc::default(),
        Err(other) => return Err(other.into()),
    };
    if kept.len() >= limits::SHELVES_KEPT {
        kept.remove(0);
    }
    kept.push(Kept { after, changes, since, shelf: Arc::clone(&shelf) });
    Ok(shelf)
}

/// What of the tree the caller may see, path by path, as if each had been asked for.
pub(crate) struct Seen<'a> {
    pub(crate) app: &'a App,
    pub(crate) grant: &'a Grant<Read>,
}

impl Seen<'_> {
    /// Shows a tool whose directory the caller may list.
    pub(crate) fn tool<'b>(&self, tool: &'b Shelved) -> Option<Tool<'b>> {
        let at = self.grant.action().path().join(tool.name.as_str()).ok()?;
        if !self.lists(&at) {
            return None;
        }
        let platforms = tool.platforms.iter().filter(|(platform, standing)| {
            let within = std::iter::once(standing.version.as_str()).chain(platform.split('/'));
            // The version, the system, and what is in there.
            within.scan(at.clone(), next_below).all(|path| self.lists(&path))
        });
        let description = tool.description.as_ref().filter(|(version, _text)| {
            let file = at.join(version).and_then(|at| at.join(DESCRIPTION_FILE));
            file.ok().and_then(Read::of).is_some_and(|action| self.may(action))
        });
        let list = at.join(WITHDRAWN_FILE).ok().and_then(Read::of);
        let reads_list = !tool.withdrawn.is_empty() && list.is_some_and(|action| self.may(action));
        Some(Tool {
            name: tool.name.as_str(),
            withdrawn: if reads_list { &tool.withdrawn } else { &[] },
            description: description.map(|(_version, text)| text.as_str()),
            versions: &tool.versions,
            platforms: platforms.map(|(key, it)| (key.as_str(), newest(it))).collect(),
        })
    }

    fn lists(&self, directory: &RepoPath) -> bool {
        let action = Read::of(directory.clone()).map(|action| action.listing(true));
        action.is_some_and(|action| self.may(action))
    }

    fn may(&self, action: Read) -> bool {
        self.app.policy.authorise(self.grant.caller().clone(), action).is_ok()
    }
}

/// Goes one directory deeper.
fn next_below(at: &mut RepoPath, name: &str) -> Option<RepoPath> {
    *at = at.join(name).ok()?;
    Some(at.clone())
}

fn newest(standing: &Standing) -> Newest<'_> {
    let Standing { version, size, modified } = standing;
    Newest { version, size: *size, modified_at: modified.map(time::rfc_3339) }
}
