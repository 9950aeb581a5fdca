//! What is published as gomason's `metadata.json` says it: a project that was published by gomason
//! needs no other file, and no other layout.
//!
//! Of the file, what says what goes where is read: `name`, `version`, `description`, `repository`,
//! `tool-repository` and `publishing.targets`. Nothing in it is ever run, and everything is signed,
//! whatever it says about that.

use std::path::{Path, PathBuf};

use dbt_client::fsx;
use dbt_core::brand;
use dbt_core::platform::Platform;
use dbt_ui::exit_code::ExitCode;
use serde_json::Value;

use super::inputs::checked;
use crate::args::{What, Where};
use crate::stop::{Explained, Stop};

/// The most bytes of a `metadata.json`.
const LIMIT: u64 = 1024 * 1024;

/// The file that describes a tool, beside its platforms.
const DESCRIPTION_FILE: &str = "description.txt";

/// What is published, as typed or as a file says.
#[derive(Debug)]
pub struct Named {
    /// The tool.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// As on the command line: `OS/ARCH=FILE`, or a directory.
    pub artifacts: Vec<String>,
    /// One line about the tool.
    pub description: Option<String>,
}

impl Named {
    /// Reads what was typed, and the file it names.
    pub(super) fn of(typed: &What) -> Result<Self, Stop> {
        let What { tool, version, artifacts, metadata, .. } = typed;
        if let Some(path) = metadata {
            let words = tool.iter().chain(version).chain(artifacts);
            return Metadata::read(path)?.named_in(words.map(PathBuf::from).collect());
        }
        Ok(Self {
            tool: tool.clone().unwrap_or_default(),
            version: version.clone().unwrap_or_default(),
            artifacts: artifacts.clone(),
            description: None,
        })
    }
}

/// Returns where things go: as typed, or where the file says when nothing is.
pub(crate) fn place_of(typed: &What, place: &Where) -> Result<Where, Stop> {
    let Where { server, to, repository, tools_repository, ca_file: _ } = place;
    let is_typed = [server, to, repository, tools_repository].iter().any(|it| it.is_some());
    let Some(path) = typed.metadata.as_ref().filter(|_path| !is_typed) else {
        return Ok(place.clone());
    };
    let Repositories { repository, tools } = Metadata::read(path)?.repositories()?;
    Ok(Where { repository, tools_repository: tools, ..place.clone() })
}

/// A `metadata.json`.
#[derive(Debug)]
pub struct Metadata {
    path: PathBuf,
    document: Value,
}

/// Where a `metadata.json` has things go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repositories {
    /// Where the program and the truststore are.
    pub repository: Option<String>,
    /// Where the tools are.
    pub tools: Option<String>,
}

impl Metadata {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Stop> {
        let bytes = fsx::read_limited(path, LIMIT)?;
        let document = serde_json::from_slice(&bytes)
            .map_err(|source| MetadataError::NotJson { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), document })
    }

    /// Returns where things go.
    pub fn repositories(&self) -> Result<Repositories, Stop> {
        let repository = self.text("repository")?.trim_end_matches('/').to_owned();
        let tools = self.optional("tool-repository").map(|it| it.trim_end_matches('/').to_owned());
        if self.text("name")? == brand::PROGRAM {
            return Ok(Repositories { repository: Some(repository), tools });
        }
        // In a tool's project `repository` is the one of tools; the truststore is beside it.
        let tools = tools.unwrap_or(repository);
        let above = tools.strip_suffix(brand::TOOLS_PATH).filter(|it| it.ends_with('/'));
        let repository = above.map(|above| format!("{above}{}", brand::REPOSITORY_PATH));
        Ok(Repositories { repository, tools: Some(tools) })
    }

    /// Finds the files of the targets in these directories, or beside the file.
    pub fn named_in(&self, mut directories: Vec<PathBuf>) -> Result<Named, Stop> {
        if directories.is_empty() {
            let here = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            directories.push(here.unwrap_or(Path::new(".")).to_owned());
        }
        let (tool, version) = (self.text("name")?, self.text("version")?);
        let targets = self.document["publishing"]["targets"].as_array();
        let targets = targets.filter(|targets| !targets.is_empty());
        let targets = targets.ok_or_else(|| self.missing("publishing.targets"))?;
        let mut artifacts = Vec::new();
        let mut description = self.optional("description").map(str::to_owned);
        for target in targets {
            let text = |name: &str| target[name].as_str().filter(|text| !text.is_empty());
            let source = text("src").ok_or_else(|| self.missing("publishing.targets[].src"))?;
            let destination =
                text("dst").ok_or_else(|| self.missing("publishing.targets[].dst"))?;
            match self.goal(tool, version, &self.expanded(destination)?) {
                Some(Goal::Artifact { platform }) => {
                    let path = self.find(source, &directories)?;
                    artifacts.push(format!("{platform}={}", path.display()));
                }
                Some(Goal::Description) => {
                    // gomason makes it of a template when it builds; without it, the file's own text.
                    if let Ok(path) = self.find(source, &directories) {
                        let bytes = fsx::read_limited(&path, LIMIT)?;
                        description = Some(String::from_utf8_lossy(&bytes).into_owned());
                    }
                }
                None => {
                    let (path, tool) = (self.path.clone(), tool.to_owned());
                    let destination = destination.to_owned();
                    return Err(MetadataError::Elsewhere { path, destination, tool }.into());
                }
            }
        }
        if tool == brand::PROGRAM {
            description = None;
        }
        Ok(Named { tool: tool.to_owned(), version: version.to_owned(), artifacts, description })
    }

    /// Returns what a destination is, if it is one of this version.
    fn goal(&self, tool: &str, version: &str, destination: &str) -> Option<Goal> {
        let bases = ["tool-repository", "repository"].map(|key| self.optional(key));
        let mut below = bases.into_iter().flatten().filter_map(|base| {
            destination.strip_prefix(base.trim_end_matches('/'))?.strip_prefix('/')
        });
        let segments: Vec<&str> = below.next()?.split('/').collect();
        let inside = match segments.split_first()? {
            (first, rest) if *first == tool && tool != brand::PROGRAM => rest,
            _ if tool == brand::PROGRAM => &segments,
            _ => return None,
        };
        let windows = format!("{tool}.exe");
        match inside {
            [of, os, arch, file] if *of == version && (*file == tool || *file == windows) => {
                // Nothing but a platform may stand before the `=` of `OS/ARCH=FILE`.
                let platform = format!("{os}/{arch}").parse().ok()?;
                Some(Goal::Artifact { platform })
            }
            [of, file] if *of == version && *file == DESCRIPTION_FILE => Some(Goal::Description),
            _ => None,
        }
    }

    /// Replaces `{{.Name}}` and so on, as the templates of gomason's destinations do.
    fn expanded(&self, template: &str) -> Result<String, Stop> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("{{") {
            let unknown = || MetadataError::Template {
                path: self.path.clone(),
                template: template.to_owned(),
            };
            let (field, after) = after.split_once("}}").ok_or_else(unknown)?;
            let key = match field.trim() {
                ".Repository" => "repository",
                ".ToolRepository" => "tool-repository",
                ".Version" => "version",
                ".Name" => "name",
                ".Package" => "package",
                ".Description" => "description",
                _ => return Err(unknown().into()),
            };
            text.push_str(before);
            text.push_str(self.text(key)?.trim_end_matches('/'));
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    fn find(&self, source: &str, directories: &[PathBuf]) -> Result<PathBuf, Stop> {
        let is_name = !source.contains(['/', '\\']) && ![".", ".."].contains(&source);
        for directory in directories.iter().filter(|_directory| is_name) {
            let path = directory.join(source);
            if path.is_file() {
                return checked(directory, path);
            }
        }
        let looked = directories.iter().map(|it| format!("`{}`", it.display()));
        let looked = looked.collect::<Vec<_>>().join(", ");
        let (path, source) = (self.path.clone(), source.to_owned());
        Err(MetadataError::NotBuilt { path, source_file: source, looked }.into())
    }

    fn text(&self, key: &'static str) -> Result<&str, Stop> {
        Ok(self.optional(key).ok_or_else(|| self.missing(key))?)
    }

    fn optional(&self, key: &str) -> Option<&str> {
        self.document[key].as_str().filter(|text| !text.is_empty())
    }

    fn missing(&self, key: &'static str) -> MetadataError {
        MetadataError::Missing { path: self.path.clone(), key }
    }
}

/// What the destination of a target is.
enum Goal {
    Artifact { platform: Platform },
    Description,
}

/// Why a `metadata.json` does not say what to publish.
#[derive(Debug, thiserror::Error)]
enum MetadataError {
    #[error("`{}` cannot be read as JSON", path.display())]
    NotJson { path: PathBuf, source: serde_json::Error },
    #[error("`{}` has no `{key}`", path.display())]
    Missing { path: PathBuf, key: &'static str },
    #[error("`{}` has a target `{destination}`, which is no file of this version of `{tool}`", path.display())]
    Elsewhere { path: PathBuf, destination: String, tool: String },
    #[error("`{}` has a target `{template}`, which is not understood", path.display())]
    Template { path: PathBuf, template: String },
    #[error("`{source_file}`, a target of `{}`, is not in {looked}", path.display())]
    NotBuilt { path: PathBuf, source_file: String, looked: String },
}

impl Explained for MetadataError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::NotJson { .. } | Self::Missing { .. } => {
                "`name`, `version`, `repository` and `publishing.targets` with `src` and `dst` are \
                 needed; or type TOOL, VERSION and what runs where"
            }
            Self::Elsewhere { .. } => {
                "a target is `{{.Repository}}/{{.Name}}/{{.Version}}/OS/ARCH/{{.Name}}`, or \
                 `description.txt` beside the systems, which are `linux`, `darwin` and `windows` \
                 with `amd64` and `arm64`; `publisher release DIR` publishes the files of a \
                 release of the client itself"
            }
            Self::Template { .. } => {
                "known are `{{.Repository}}`, `{{.ToolRepository}}`, `{{.Version}}`, `{{.Name}}`, \
                 `{{.Package}}` and `{{.Description}}`"
            }
            Self::NotBuilt { .. } => {
                "build it first, under this name, and name the directory behind `--metadata FILE`; \
                 a `src` is a file's name without directories"
            }
        };
        vec![hint.to_owned()]
    }
}
