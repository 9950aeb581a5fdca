//! The JSON lists of tools and versions. (Contract: wire formats, section 4.7.)

use dbt_core::version::Version;
use serde::Serialize;

use crate::storage::{Entry, EntryKind};
use crate::time;

/// What is answered where there is no directory of tools at all.
pub const NO_TOOLS: &str = "[]";

#[derive(Serialize)]
struct Tool<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublishedVersion {
    version: Version,
    modified_at: Option<String>,
}

/// Returns the list of tools: the directories, in order of their names.
pub fn tools(entries: &[Entry]) -> Result<String, serde_json::Error> {
    list(directories(entries).map(|entry| Tool { name: &entry.name }))
}

/// Returns the list of versions, the smallest number first.
///
/// Only plain releases (`1.2.3`) are listed: that is what deployed clients understand.
pub fn versions(entries: &[Entry]) -> Result<String, serde_json::Error> {
    let mut versions: Vec<(Version, &Entry)> = directories(entries)
        .filter(|entry| entry.name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
        .filter_map(|entry| Some((entry.name.parse().ok()?, entry)))
        .collect();
    versions.sort_by(|(a, _), (b, _)| a.cmp(b));
    list(versions.into_iter().map(|(version, entry)| PublishedVersion {
        version,
        modified_at: entry.modified.map(time::rfc_3339),
    }))
}

fn directories(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().filter(|entry| entry.kind == EntryKind::Directory)
}

fn list(values: impl Iterator<Item = impl Serialize>) -> Result<String, serde_json::Error> {
    let values: Vec<_> = values.collect();
    Ok(serde_json::to_string(&values)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn only_plain_versions_are_listed_and_by_number() {
        let modified = Some(UNIX_EPOCH + Duration::from_secs(1));
        let names = ["10.0.0", "2.0.0", "0001.2.3", "1.0.0-rc.1", "v1.0.0", "1.0", "notes"];
        let mut entries: Vec<Entry> = names
            .iter()
            .map(|name| Entry {
                name: (*name).to_owned(),
                kind: EntryKind::Directory,
                size: None,
                modified,
            })
            .collect();
        entries.push(Entry {
            name: "3.0.0".to_owned(),
            kind: EntryKind::File,
            size: Some(1),
            modified,
        });
        assert_eq!(
            versions(&entries).unwrap(),
            "[{\"version\":\"2.0.0\",\"modifiedAt\":\"1970-01-01T00:00:01Z\"},\
             {\"version\":\"10.0.0\",\"modifiedAt\":\"1970-01-01T00:00:01Z\"}]\n"
        );
    }
}
