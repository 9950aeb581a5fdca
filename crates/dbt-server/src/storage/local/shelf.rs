//! Looks at many tools in one go.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use dbt_core::layout::{CHECKSUM_ENDING, DESCRIPTION_FILE, SIGNATURE_ENDING, WITHDRAWN_FILE};
use dbt_core::name::ToolName;
use dbt_core::platform::{Os, Platform};
use dbt_core::repo_path::RepoPath;
use dbt_core::select;
use dbt_core::trust::withdrawn::{WITHDRAWN_LIMIT, Withdrawn};
use dbt_core::version::{Version, Wanted};

use super::on_disk::on_disk;
use super::{Looked, Tree};
use crate::action::{Action as _, Read};
use crate::authz::Grant;
use crate::limits;
use crate::storage::{Detail, Entry, EntryKind, Shelf, Shelved, Standing, StorageError};

/// Looks at the tools below the directory of the grant, from the one after `after` on.
pub(super) async fn look(
    tree: &Arc<Tree>,
    grant: &Grant<Read>,
    after: Option<ToolName>,
) -> Result<Shelf, StorageError> {
    let (tree, tools) = (Arc::clone(tree), grant.action().path().clone());
    on_disk(move || tree.shelf(&tools, after.as_ref())).await
}

impl Tree {
    fn shelf(&self, directory: &RepoPath, after: Option<&ToolName>) -> Result<Shelf, StorageError> {
        let mut found = Shelf::default();
        let mut versions = 0;
        let mut names: Vec<ToolName> = self
            .directories(directory)?
            .iter()
            .filter_map(|entry| entry.name.parse().ok())
            .collect();
        names.sort();
        for name in names.into_iter().filter(|name| after.is_none_or(|after| name > after)) {
            if found.tools.len() >= limits::SHELF_TOOLS || versions >= limits::SHELF_VERSIONS {
                found.goes_on = true;
                break;
            }
            let tool = self.shelved(directory, name)?;
            versions += tool.versions.len();
            found.tools.push(tool);
        }
        Ok(found)
    }

    fn shelved(&self, tools: &RepoPath, name: ToolName) -> Result<Shelved, StorageError> {
        let at = below(tools, name.as_str());
        let found = self.entries(&at, Detail::Names)?;
        let directories = found.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let mut versions: Vec<Version> =
            directories.filter_map(|entry| entry.name.parse().ok()).collect();
        versions.sort_by(|a, b| b.cmp(a));
        let list = found.iter().find(|entry| entry.name == WITHDRAWN_FILE);
        let list = list.and_then(|_listed| self.withdrawn(&at, &name));
        let (running, withdrawn): (Vec<Version>, Vec<Version>) =
            versions.iter().cloned().partition(|version| {
                list.as_ref().is_none_or(|list| list.reason_against(version, None).is_none())
            });
        let mut platforms = BTreeMap::new();
        let releases = select::candidates(&running, &Wanted::Newest);
        for version in releases.iter().take(limits::SHELF_RELEASES) {
            if platforms.len() == Platform::ALL.len() {
                break;
            }
            self.stand(&at, &name, version, &mut platforms)?;
        }
        let described = releases.first().or(versions.first());
        let description = described.and_then(|version| {
            let text = self.beginning(&below(&below(&at, version.spelling()), DESCRIPTION_FILE))?;
            Some((version.spelling().to_owned(), text))
        });
        let spelt = |versions: &[Version]| {
            versions.iter().map(|version| version.spelling().to_owned()).collect()
        };
        let (versions, withdrawn) = (spelt(&versions), spelt(&withdrawn));
        Ok(Shelved { name, versions, withdrawn, platforms, description })
    }

    /// Reads a tool's list of withdrawn versions. Whether somebody has signed it is for clients to say.
    fn withdrawn(&self, tool: &RepoPath, name: &ToolName) -> Option<Withdrawn> {
        let bytes = self.first_bytes(&below(tool, WITHDRAWN_FILE), WITHDRAWN_LIMIT)?;
        Withdrawn::parse(&bytes, name).ok()
    }

    /// Notes what a version has for platforms that no newer one has.
    fn stand(
        &self,
        tool: &RepoPath,
        name: &ToolName,
        version: &Version,
        platforms: &mut BTreeMap<String, Standing>,
    ) -> Result<(), StorageError> {
        let at = below(tool, version.spelling());
        for os in self.directories(&at)? {
            let within = below(&at, &os.name);
            for arch in self.directories(&within)? {
                let Ok(platform) = format!("{}/{}", os.name, arch.name).parse::<Platform>() else {
                    continue;
                };
                let key = platform.to_string();
                if platforms.contains_key(&key) {
                    continue;
                }
                let files = self.entries(&below(&within, &arch.name), Detail::All)?;
                if let Some((size, modified)) = complete(&files, name, platform) {
                    let version = version.spelling().to_owned();
                    platforms.insert(key, Standing { version, size, modified });
                }
            }
        }
        Ok(())
    }

    fn directories(&self, at: &RepoPath) -> Result<Vec<Entry>, StorageError> {
        let mut entries = self.entries(at, Detail::Names)?;
        entries.retain(|entry| entry.kind == EntryKind::Directory);
        Ok(entries)
    }

    /// Lists what is there; nothing where nothing is, or it went away meanwhile.
    fn entries(&self, at: &RepoPath, detail: Detail) -> Result<Vec<Entry>, StorageError> {
        match self.look(at, detail) {
            Ok(Looked::Directory(directory)) => Ok(directory.entries),
            // Of one directory nobody may read, or that is too long, nothing is shown; the others
            // are there all the same.
            Ok(Looked::File(_))
            | Err(
                StorageError::NotFound | StorageError::NotReadable | StorageError::TooLong { .. },
            ) => Ok(Vec::new()),
            Err(other) => Err(other),
        }
    }

    /// Reads the beginning of a text.
    fn beginning(&self, at: &RepoPath) -> Option<String> {
        let bytes = self.first_bytes(at, limits::SHELF_DESCRIPTION)?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        Some(text).filter(|text| !text.is_empty())
    }

    fn first_bytes(&self, at: &RepoPath, limit: u64) -> Option<Vec<u8>> {
        let file = self.root.open(at).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }
}

/// Returns the size and the date of what a client would take: with its checksum and its signature.
fn complete(
    files: &[Entry],
    name: &ToolName,
    platform: Platform,
) -> Option<(u64, Option<std::time::SystemTime>)> {
    let find = |name: &str| files.iter().find(|entry| entry.name == name);
    let executable = format!("{name}.exe");
    let on_windows = (platform.os == Os::Windows).then_some(executable.as_str());
    let names = on_windows.into_iter().chain([name.as_str()]);
    let whole = |name: &&str| {
        let is_there = |ending: &str| find(&format!("{name}{ending}")).is_some();
        find(name).is_some() && is_there(CHECKSUM_ENDING) && is_there(SIGNATURE_ENDING)
    };
    let artifact = names.into_iter().find(whole).and_then(find)?;
    Some((artifact.size?, artifact.modified))
}

fn below(at: &RepoPath, name: &str) -> RepoPath {
    // The names come from directories that were listed, which have no others.
    at.join(name).unwrap_or_else(|_illegal| at.clone())
}
