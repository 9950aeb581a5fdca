//! Where each file of a release lives: the only place that builds repository paths.
//!
//! (Contract: wire formats, sections 5.5 and 7.1; trust design, 2.3.)

use crate::name::ToolName;
use crate::release::{ArtifactId, Subject};
use crate::repo_path::RepoPath;

/// Which of a server's two trees a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The repository of dbt itself, with the truststore.
    Repository,
    /// The repository of the tools.
    Tools,
}

/// A file or directory of a server: its tree, and the path inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// The tree.
    pub tree: Tree,
    /// The path inside the tree.
    pub path: RepoPath,
}

/// The name of a tool's file of withdrawn versions.
pub const WITHDRAWN_FILE: &str = "withdrawn.json";

/// The name of a version's description.
pub const DESCRIPTION_FILE: &str = "description.txt";

/// What is added to an artifact's name for its signature.
pub const SIGNATURE_ENDING: &str = ".asc";

/// What is added to an artifact's name for its checksum.
pub const CHECKSUM_ENDING: &str = ".sha256";

/// What is added to the truststore's URL for its manifest.
pub const MANIFEST_ENDING: &str = ".manifest.json";

/// The usual name of the truststore in the repository.
pub const TRUSTSTORE_FILE: &str = "truststore";

impl Location {
    /// Returns the directory whose entries are the published versions.
    pub fn versions_of(subject: &Subject) -> Self {
        match subject {
            Subject::Program => Self { tree: Tree::Repository, path: RepoPath::root() },
            Subject::Tool(name) => Self::in_tools(&[name.as_str()]),
        }
    }

    /// Returns the directory whose entries are the tools.
    pub fn tools() -> Self {
        Self { tree: Tree::Tools, path: RepoPath::root() }
    }

    /// Returns the artifact's own file.
    pub fn artifact(id: &ArtifactId) -> Self {
        Self::beside(id, "")
    }

    /// Lists where an artifact may be, best first. What is beside it is beside that.
    pub fn artifacts(id: &ArtifactId) -> impl Iterator<Item = Self> + use<> {
        let usual = Self::artifact(id);
        let other = id.other_file_name().and_then(|name| usual.path.parent()?.join(name).ok());
        let other = other.map(|path| Self { tree: usual.tree, path });
        std::iter::once(usual).chain(other)
    }

    /// Returns the artifact's detached signature.
    pub fn signature(id: &ArtifactId) -> Self {
        Self::beside(id, SIGNATURE_ENDING)
    }

    /// Returns the artifact's checksum file.
    pub fn checksum(id: &ArtifactId) -> Self {
        Self::beside(id, CHECKSUM_ENDING)
    }

    /// Returns the directory of one version.
    pub fn version(id: &ArtifactId) -> Self {
        let version = id.version.spelling();
        match &id.subject {
            Subject::Program => Self { tree: Tree::Repository, path: joined(&[version]) },
            Subject::Tool(name) => Self::in_tools(&[name.as_str(), version]),
        }
    }

    /// Returns the description of one version of a tool.
    pub fn description(tool: &ToolName, version: &crate::version::Version) -> Self {
        Self::in_tools(&[tool.as_str(), version.spelling(), DESCRIPTION_FILE])
    }

    /// Returns a tool's file of withdrawn versions.
    pub fn withdrawn(tool: &ToolName) -> Self {
        Self::in_tools(&[tool.as_str(), WITHDRAWN_FILE])
    }

    /// Returns the same place with something added to the last name.
    #[must_use]
    pub fn with_ending(&self, ending: &str) -> Self {
        let name = self.path.file_name().unwrap_or_default();
        let parent = self.path.parent().unwrap_or_else(RepoPath::root);
        let path = parent.join(&format!("{name}{ending}")).unwrap_or(parent);
        Self { tree: self.tree, path }
    }

    fn beside(id: &ArtifactId, ending: &str) -> Self {
        let version = id.version.spelling();
        let (os, arch) = (id.platform.os.as_str(), id.platform.arch.as_str());
        let file = format!("{}{ending}", id.file_name());
        match &id.subject {
            Subject::Program => {
                Self { tree: Tree::Repository, path: joined(&[version, os, arch, &file]) }
            }
            Subject::Tool(name) => Self::in_tools(&[name.as_str(), version, os, arch, &file]),
        }
    }

    fn in_tools(segments: &[&str]) -> Self {
        Self { tree: Tree::Tools, path: joined(segments) }
    }
}

/// Joins segments that come from parsed names and versions.
fn joined(segments: &[&str]) -> RepoPath {
    segments.iter().fold(RepoPath::root(), |path, segment| {
        // Names and versions are single legal segments by their types; the fallback keeps this
        // total and cannot leave the tree either.
        path.join(segment).unwrap_or(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(subject: Subject, platform: &str) -> ArtifactId {
        let version = "3.7.16".parse().unwrap();
        ArtifactId { subject, version, platform: platform.parse().unwrap() }
    }

    #[test]
    fn paths_are_those_of_the_contract() {
        let tool = id(Subject::Tool("catalog".parse().unwrap()), "linux/amd64");
        let program = id(Subject::Program, "darwin/arm64");
        let windows = id(Subject::Tool("catalog".parse().unwrap()), "windows/amd64");
        let text = |location: Location| location.path.to_string();

        assert_eq!(text(Location::artifact(&tool)), "catalog/3.7.16/linux/amd64/catalog");
        assert_eq!(text(Location::signature(&tool)), "catalog/3.7.16/linux/amd64/catalog.asc");
        assert_eq!(text(Location::checksum(&program)), "3.7.16/darwin/arm64/dbt.sha256");
        assert_eq!(text(Location::artifact(&windows)), "catalog/3.7.16/windows/amd64/catalog.exe");
        let all = |id: &ArtifactId| Location::artifacts(id).map(text).collect::<Vec<_>>();
        let beside = "catalog/3.7.16/windows/amd64/";
        assert_eq!(all(&windows), [format!("{beside}catalog.exe"), format!("{beside}catalog")]);
        assert_eq!(all(&tool), ["catalog/3.7.16/linux/amd64/catalog"]);
        for name in ["clean.cmd", "clean.PS1"] {
            let script = id(Subject::Tool(name.parse().unwrap()), "windows/amd64");
            assert_eq!(all(&script), [format!("{name}/3.7.16/windows/amd64/{name}")]);
        }
        let own = id(Subject::Program, "windows/arm64");
        assert_eq!(all(&own), ["3.7.16/windows/arm64/dbt.exe"]);
        assert_eq!(text(Location::versions_of(&tool.subject)), "catalog");
        assert_eq!(text(Location::versions_of(&program.subject)), "");
        let withdrawn = Location::withdrawn(&"catalog".parse().unwrap());
        assert_eq!(text(withdrawn.with_ending(".asc")), "catalog/withdrawn.json.asc");
    }
}
