//! Where the parts of a server are.

use std::collections::BTreeSet;

use dbt_core::brand;
use dbt_core::layout::TRUSTSTORE_FILE;
use dbt_core::repo_path::RepoPath;

use super::{ConfigError, ConfigFile, ServerEntry, Surroundings};
use crate::url::{Origin, RepositoryUrl};

/// The three places of a server.
#[derive(Debug, Clone)]
pub struct Urls {
    /// The repository of the program itself.
    pub repository: RepositoryUrl,
    /// The repository of the tools.
    pub tools: RepositoryUrl,
    /// The truststore file.
    pub truststore: RepositoryUrl,
}

impl Urls {
    /// Returns the places below the root of a server.
    pub fn below(root: &RepositoryUrl) -> Self {
        let repository = below(root, brand::REPOSITORY_PATH);
        let truststore = Self::truststore_in(&repository);
        Self { repository, tools: below(root, brand::TOOLS_PATH), truststore }
    }

    /// Returns where a repository has its truststore, if nobody says otherwise.
    pub(super) fn truststore_in(repository: &RepositoryUrl) -> RepositoryUrl {
        below(repository, TRUSTSTORE_FILE)
    }

    /// Returns the places of a configured server. The truststore is in the repository where
    /// nothing else is said.
    pub fn of(entry: &ServerEntry, around: Surroundings<'_>) -> Result<Self, ConfigError> {
        let missing = |key| ConfigError::MissingKey { server: entry.name.clone(), key };
        let repository = entry.repository.as_ref().ok_or_else(|| missing("repository"))?;
        let tools = entry.tools_repository.as_ref();
        let tools = tools.ok_or_else(|| {
            missing(if entry.legacy { "tools.repository" } else { "toolsRepository" })
        })?;
        let repository = repository.url(around)?;
        Ok(Self {
            tools: tools.url(around)?,
            truststore: match &entry.truststore {
                Some(text) => text.url(around)?,
                None => Self::truststore_in(&repository),
            },
            repository,
        })
    }

    /// Returns the origins of the three places.
    pub fn origins(&self) -> BTreeSet<Origin> {
        let urls = [&self.repository, &self.tools, &self.truststore];
        urls.into_iter().filter_map(|url| url.origin().cloned()).collect()
    }
}

impl ConfigFile {
    /// Returns another server whose own place, its repository, is at an origin where the server of
    /// this name has something, too, but not its own.
    pub fn owner_of(
        &self,
        origin: &Origin,
        name: &str,
        around: Surroundings<'_>,
    ) -> Option<&ServerEntry> {
        let is_at_home = |entry: &ServerEntry| {
            let url = entry.repository.as_ref().and_then(|text| text.url(around).ok());
            url.as_ref().and_then(RepositoryUrl::origin) == Some(origin)
        };
        if self.server(name).is_none_or(is_at_home) {
            return None;
        }
        self.servers.iter().find(|other| is_at_home(other))
    }
}

/// Returns a place below another; the names are ours and are always legal.
fn below(url: &RepositoryUrl, name: &str) -> RepositoryUrl {
    RepoPath::root().join(name).map_or_else(|_error| url.clone(), |path| url.join(&path))
}
