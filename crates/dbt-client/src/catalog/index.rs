//! The whole catalog in one document, from servers of ours that have it.
//!
//! Any other server answers once a day that it has none, and is then not asked again.

use std::collections::BTreeMap;
use std::time::Duration;

use dbt_core::brand;
use dbt_core::name::ToolName;
use dbt_core::platform::Platform;
use dbt_core::repo_path::RepoPath;
use dbt_core::timestamp::Timestamp;
use dbt_core::version::Version;

use super::CatalogEntry;
use crate::session::Session;
use crate::source::{Answer, Ask, Class, Failure, FetchError, Patience, Source};

/// The most bytes of one part of it.
const LIMIT: u64 = 8 * 1024 * 1024;

/// The most parts: of a thousand tools each.
const PARTS: usize = 100;

/// The most bytes of all parts together: a server that goes on must not fill the memory.
const IN_ALL: usize = 64 * 1024 * 1024;

/// The most tools, versions and platforms of all parts together: each costs more memory than it has
/// letters.
const NAMES_IN_ALL: usize = 1_000_000;

/// For how long it is believed that a server has none.
const BELIEVED: Duration = Duration::from_hours(24);

/// One part, as the server says it.
#[derive(serde::Deserialize)]
struct Part {
    tools: Vec<Tool>,
    /// After which tool the next part begins, if there is one.
    #[serde(default)]
    next: Option<String>,
}

#[derive(serde::Deserialize)]
struct Tool {
    name: String,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    versions: Vec<String>,
    /// Those of them that run nowhere any more. Older servers do not say it.
    #[serde(default)]
    withdrawn: Vec<String>,
    #[serde(default)]
    platforms: BTreeMap<String, Newest>,
}

/// What of a tool is for one platform.
#[derive(serde::Deserialize)]
struct Newest {
    version: String,
}

impl Tool {
    /// Counts what of it takes memory of its own.
    fn names(&self) -> usize {
        1 + self.versions.len() + self.withdrawn.len() + self.platforms.len()
    }

    /// Takes what can be a tool's; nothing if the name cannot.
    fn entry(self) -> Option<CatalogEntry> {
        let mut entry = CatalogEntry::new(&self.name.parse().ok()?);
        entry.versions = self.versions.iter().filter_map(|text| text.parse().ok()).collect();
        entry.versions.sort_by(|a, b| b.cmp(a));
        entry.versions.dedup();
        entry.withdrawn = self.withdrawn.iter().filter_map(|text| text.parse().ok()).collect();
        let newest = self.platforms.iter().filter_map(|(platform, newest)| {
            Some((platform.parse::<Platform>().ok()?, newest.version.parse::<Version>().ok()?))
        });
        entry.platforms = newest.collect();
        entry.description = self.description.as_deref().map(str::as_bytes).and_then(super::trimmed);
        Some(entry)
    }
}

/// Asks the server for its catalog. Nothing, if it has no such document.
pub(super) fn ask(session: &Session<'_>) -> Result<Option<Vec<CatalogEntry>>, FetchError> {
    let Some(root) = root_of(session).filter(|_root| !is_known_to_have_none(session)) else {
        return Ok(None);
    };
    match read(root.as_ref(), || session.patience(false)) {
        Ok(Some(entries)) => Ok(Some(entries)),
        Ok(None) => {
            remember(session);
            Ok(None)
        }
        Err(error) => match (error.failure(), error.class()) {
            (Failure::Html { .. } | Failure::Status { .. }, _)
            | (_, Class::NotFound | Class::Refused) => {
                remember(session);
                Ok(None)
            }
            // What is before the server may let nobody to this path, or fail at it, and let
            // everybody to the tools.
            (Failure::Server { .. }, _) | (_, Class::SignIn | Class::Forbidden) => Ok(None),
            (_, Class::Outage) => Err(error),
        },
    }
}

/// Returns the place above the tools, if they lie where servers of ours have them.
fn root_of(session: &Session<'_>) -> Option<Box<dyn Source>> {
    let tools = &session.settings.server.tools;
    let (root, path) = tools.split_last().filter(|_parts| tools.origin().is_some())?;
    let is_ours = path.file_name() == Some(brand::TOOLS_PATH);
    is_ours.then(|| session.source_at(&root))
}

/// Reads all parts of a server's document. Nothing, if it has none, or none that can be used.
///
/// `patience` says how long to wait for a part.
pub fn read(
    root: &dyn Source,
    patience: impl Fn() -> Patience,
) -> Result<Option<Vec<CatalogEntry>>, FetchError> {
    let mut entries = BTreeMap::new();
    let mut names = 0_usize;
    let mut after: Option<ToolName> = None;
    let mut read = 0_usize;
    for _part in 0..PARTS {
        let ask = Ask::document(LIMIT, &patience());
        let Answer::Document { bytes, etag: _ } = root.get(&path(after.as_ref()), &ask)? else {
            return Ok(None);
        };
        read += bytes.len();
        if read > IN_ALL {
            return Ok(None);
        }
        let Ok(part) = serde_json::from_slice::<Part>(&bytes) else { return Ok(None) };
        names += part.tools.iter().map(Tool::names).sum::<usize>();
        if names > NAMES_IN_ALL {
            return Ok(None);
        }
        for entry in part.tools.into_iter().filter_map(Tool::entry) {
            // A tool that is there twice is shown once.
            entries.entry(entry.tool.clone()).or_insert(entry);
        }
        let Some(next) = part.next else { return Ok(Some(entries.into_values().collect())) };
        // One that does not go on would never end.
        match next.parse::<ToolName>() {
            Ok(next) if after.as_ref().is_none_or(|before| *before < next) => after = Some(next),
            Ok(_) | Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Returns where servers say it, below their root.
fn path(after: Option<&ToolName>) -> RepoPath {
    let segments = ["-", "api", "v1", "catalog"];
    let after = after.map(|tool| ["after", tool.as_str()]);
    let segments = segments.into_iter().chain(after.into_iter().flatten());
    // The segments are legal; were one not, the root would be asked and say nothing useful.
    segments.fold(RepoPath::root(), |path, segment| path.join(segment).unwrap_or(path))
}

fn is_known_to_have_none(session: &Session<'_>) -> bool {
    let none = session.state.server().ok().and_then(|record| record.no_catalog);
    // A time to come is a clock that was wrong.
    none.is_some_and(|Timestamp(at)| {
        session.now().duration_since(at).is_ok_and(|age| age < BELIEVED)
    })
}

fn remember(session: &Session<'_>) {
    // It saves a request and nothing else.
    let _kept = session.state.change_server(|record| {
        record.no_catalog = Some(Timestamp(session.now()));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_the_one_of_the_api() {
        assert_eq!(path(None).as_str(), "-/api/v1/catalog");
        let tool = "deploy".parse().unwrap();
        assert_eq!(path(Some(&tool)).as_str(), "-/api/v1/catalog/after/deploy");
    }

    /// Reads the parts that a server says one after the other.
    fn read_parts(parts: &[(&str, String)]) -> Option<Vec<CatalogEntry>> {
        let source = crate::source::Memory::new();
        for (after, part) in parts {
            source.put(&path(after.parse().ok().as_ref()), part.as_bytes());
        }
        read(&source, || Patience::without_cached_copy(1.0)).unwrap()
    }

    #[test]
    fn a_tool_that_is_said_twice_is_shown_once() {
        let tool = r#"{"name": "x", "versions": ["1.0.0", "1.0.0"]}"#;
        let first = format!(r#"{{"tools": [{tool}, {tool}], "next": "x"}}"#);
        let second = format!(r#"{{"tools": [{{"name": "a"}}, {tool}]}}"#);
        let entries = read_parts(&[("", first), ("x", second)]).unwrap();
        let shown: Vec<_> =
            entries.iter().map(|it| (it.tool.as_str(), it.versions.len())).collect();
        assert_eq!(shown, [("a", 0), ("x", 1)]);
    }

    #[test]
    fn a_document_of_more_names_than_memory_should_hold_is_not_used() {
        let part = |versions: usize, next: &str| {
            let versions = vec![r#""""#; versions].join(",");
            format!(r#"{{"tools": [{{"name": "x", "versions": [{versions}]}}], "next": {next}}}"#)
        };
        let half = NAMES_IN_ALL / 2 - 1;
        assert!(read_parts(&[("", part(half, "\"x\"")), ("x", part(half, "null"))]).is_some());
        let more = read_parts(&[("", part(half + 1, "\"x\"")), ("x", part(half, "null"))]);
        assert!(more.is_none());
    }

    #[test]
    fn what_cannot_be_a_tools_is_left_out() {
        let entry = |text: &str| serde_json::from_str::<Tool>(text).unwrap().entry();
        assert!(entry(r#"{"name": "../x"}"#).is_none());
        let odd = r#"{"name": "x", "versions": ["1.0.0", "../2.0.0", "1.10.0"], "description": " ",
            "platforms": {"linux/amd64": {"version": "1.0.0", "size": -1}, "plan9/x": {"version": "1"},
            "darwin/arm64": {"version": "../1"}}, "more": true}"#;
        let entry = entry(odd).unwrap();
        let versions: Vec<&str> = entry.versions.iter().map(Version::spelling).collect();
        assert_eq!((versions, entry.description), (vec!["1.10.0", "1.0.0"], None));
        assert_eq!(entry.platforms.len(), 1);
    }
}
