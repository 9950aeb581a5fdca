//! What a directory says about itself on a host that serves files alone: under which URLs it is
//! reached (`.well-known/dbt.json`), for `server add` of the client.
//!
//! Only whoever publishes knows the URL, so it is written when it is typed (`--public-url`), and stays
//! as it is until another one is. What an administrator has added by hand stays, too: how one signs
//! in. `reposerver` needs none, it answers by its own settings.

use std::path::{Path, PathBuf};

use dbt_client::fsx::{self, FsxError};
use dbt_client::url::RepositoryUrl;
use dbt_core::announcement;
use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::layout::Tree;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde_json::{Map, Value};

use crate::place::Place;
use crate::publish::upload::{Outcome, Uploaded};
use crate::stop::Stop;

/// Everybody may read it, as everything in a repository.
const MODE: u32 = 0o644;

/// The most that is read of the one that is there: what clients read.
const LIMIT: u64 = 64 * 1024;

/// What is to be written once all else is.
pub(crate) struct Announcement(Option<(PathBuf, String)>);

impl Announcement {
    /// Decides from what was typed, before anything is written.
    pub(crate) fn of(public_url: Option<&str>, place: &Place) -> Result<Self, Stop> {
        let Some(typed) = public_url else { return Ok(Self(None)) };
        let url: RepositoryUrl = typed.parse()?;
        if url.origin().is_none() || (url.is_plain_http() && !url.is_loopback()) {
            let message = format!("`{url}` is not where clients find a directory");
            return Err(Stop::usage(message)
                .hint("`--public-url` is the `https://` URL of what `--to DIR` names"));
        }
        let file = root(place)?.join(announcement::PATH.trim_start_matches('/'));
        let mut document = known(&file)?;
        document.extend(announcement::places(&url.to_string()));
        Ok(Self(Some((file, announcement::text(&document)))))
    }

    /// Writes it, unless it is there.
    pub(crate) fn write(&self, dry_run: bool) -> Result<Option<Uploaded>, Stop> {
        let Some((file, text)) = &self.0 else { return Ok(None) };
        let known = fsx::read_limited(file, LIMIT).ok();
        let outcome = if known.as_deref() == Some(text.as_bytes()) {
            Outcome::Present
        } else {
            Outcome::Uploaded
        };
        if outcome == Outcome::Uploaded && !dry_run {
            if let Some(directory) = file.parent() {
                std::fs::create_dir_all(directory)
                    .map_err(|error| FsxError::new("create a directory for", file, error))?;
            }
            fsx::write_atomic(file, text.as_bytes(), MODE)?;
        }
        let url = RepositoryUrl::of_directory(file)?.to_string();
        Ok(Some(Uploaded { url, sha256: Digest::of(text.as_bytes()), outcome }))
    }
}

/// Returns the directory that holds both repositories under their usual names.
fn root(place: &Place) -> Result<PathBuf, Stop> {
    let above = |tree, name: &str| {
        let directory = place.tree(tree).ok()?.directory()?;
        let is_usual = directory.file_name().is_some_and(|last| last == name);
        Some(directory.parent().filter(|_above| is_usual)?.to_owned())
    };
    let repository = above(Tree::Repository, brand::REPOSITORY_PATH);
    let tools = above(Tree::Tools, brand::TOOLS_PATH);
    match (repository, tools) {
        (Some(root), Some(other)) if root == other => Ok(root),
        _ => Err(Stop::usage("`--public-url` is for a directory with both repositories")
            .hint("`--to DIR` names it; a `reposerver` says by its own `publicUrls` where it is")),
    }
}

/// Reads what is there. What is not ours to understand is not written over.
fn known(file: &Path) -> Result<Map<String, Value>, Stop> {
    if !file.exists() {
        return Ok(Map::new());
    }
    let bytes = fsx::read_limited(file, LIMIT)?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("`{}` is there, and is no JSON object", file.display());
        Report::because(ExitCode::CONFIGURATION, message, error).into()
    })
}
