//! What there is: tools, their versions, and for which platforms.

use dbt_core::brand;
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::json;
use crate::action::{Action as _, Read};
use crate::app::App;
use crate::authz::Grant;
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, admit};
use crate::storage::{Detail, Directory, Entry, EntryKind, Found, StorageError};
use crate::time;

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, listing(&[])?).await?;
    let entries = match directory(app, &grant, Detail::Names).await {
        Ok(directory) => directory.entries,
        Err(StorageError::NotFound) => Vec::new(),
        Err(other) => return Err(other.into()),
    };
    let is_tool = |entry: &&Entry| {
        entry.kind == EntryKind::Directory && entry.name.parse::<ToolName>().is_ok()
    };
    let tools: Vec<Value> =
        entries.iter().filter(is_tool).map(|entry| json!({ "name": entry.name })).collect();
    json(StatusCode::OK, &json!({ "tools": tools }))
}

pub(super) async fn show(
    app: &App,
    asked: &Asked,
    name: &ToolName,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, listing(&[name.as_str()])?).await?;
    let mut versions: Vec<(Version, &Entry)> = Vec::new();
    let found = directory(app, &grant, Detail::Versions).await?;
    for entry in found.entries.iter().filter(|entry| entry.kind == EntryKind::Directory) {
        if let Ok(version) = entry.name.parse() {
            versions.push((version, entry));
        }
    }
    versions.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut shown = Vec::new();
    for (_version, entry) in versions {
        let platforms = platforms(app, &grant, &entry.name).await?;
        shown.push(json!({
            "version": entry.name,
            "modifiedAt": entry.modified.map(time::rfc_3339),
            "platforms": platforms,
        }));
    }
    json(StatusCode::OK, &json!({ "name": name.as_str(), "versions": shown }))
}

/// Returns the platforms of a version, as `os/arch`. What the caller may not see is left out.
async fn platforms(app: &App, tool: &Grant<Read>, version: &str) -> Result<Vec<String>, ApiError> {
    let mut platforms = Vec::new();
    let Some(version) = inside(app, tool, &[version]) else { return Ok(platforms) };
    for os in directories(app, &version).await? {
        let Some(os_directory) = inside(app, &version, &[&os]) else { continue };
        for arch in directories(app, &os_directory).await? {
            platforms.push(format!("{os}/{arch}"));
        }
    }
    Ok(platforms)
}

async fn directories(app: &App, grant: &Grant<Read>) -> Result<Vec<String>, ApiError> {
    match directory(app, grant, Detail::Names).await {
        Ok(directory) => {
            let directories =
                directory.entries.into_iter().filter(|entry| entry.kind == EntryKind::Directory);
            Ok(directories.map(|entry| entry.name).collect())
        }
        // It went away meanwhile.
        Err(StorageError::NotFound) => Ok(Vec::new()),
        Err(other) => Err(other.into()),
    }
}

/// Returns the grant for something below what the caller was granted, if they may list that too.
fn inside(app: &App, above: &Grant<Read>, names: &[&str]) -> Option<Grant<Read>> {
    let path =
        names.iter().try_fold(above.action().path().clone(), |path, name| path.join(name).ok())?;
    app.policy.authorise(above.caller().clone(), Read::of(path)?.listing(true)).ok()
}

async fn directory(
    app: &App,
    grant: &Grant<Read>,
    detail: Detail,
) -> Result<Directory, StorageError> {
    match app.storage.look(grant, detail).await? {
        Found::Directory(directory) => Ok(directory),
        Found::File(_file) => Err(StorageError::NotFound),
    }
}

/// Returns the action of listing something below the tools.
pub(crate) fn listing(names: &[&str]) -> Result<Read, ApiError> {
    let mut path = RepoPath::root().join(brand::TOOLS_PATH);
    for name in names {
        path = path.and_then(|path| path.join(name));
    }
    let action = path.ok().and_then(Read::of).ok_or(ApiError::NotFound)?;
    Ok(action.listing(true))
}
