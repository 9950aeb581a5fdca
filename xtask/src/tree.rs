//! The workspace's files in memory, so that checks are functions that tests can feed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of the workspace, by path from its root, with `/` between the parts.
pub(crate) struct Tree {
    /// Where it is; the empty path for a made-up one.
    pub(crate) root: PathBuf,
    /// The text of the files that checks read: Rust, Markdown, manifests.
    pub(crate) texts: BTreeMap<String, String>,
    /// Every file and directory.
    pub(crate) paths: BTreeSet<String>,
}

/// Directories at the root that are not the project's own text.
const SKIPPED: &[&str] = &[".git", "target", "fuzz/target", "fuzz/artifacts", "fuzz/coverage"];

impl Tree {
    /// Reads the workspace at `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut tree =
            Self { root: root.to_path_buf(), texts: BTreeMap::new(), paths: BTreeSet::new() };
        tree.enter(root, "")?;
        Ok(tree)
    }

    fn enter(&mut self, directory: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if SKIPPED.contains(&path.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.enter(&entry.path(), &format!("{path}/"))?;
            } else if is_read(&path) {
                self.texts.insert(path.clone(), fs::read_to_string(entry.path())?);
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// Returns the Rust files, with their paths.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_ending(".rs")
    }

    /// Returns the Markdown files, with their paths.
    pub(crate) fn markdown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_ending(".md")
    }

    fn with_ending(&self, ending: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .filter(move |(path, _text)| path.ends_with(ending))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }
}

fn is_read(path: &str) -> bool {
    let ending = Path::new(path).extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("rs" | "md" | "toml"))
}

#[cfg(test)]
impl Tree {
    /// Makes a tree of these files for a test.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree =
            Self { root: PathBuf::new(), texts: BTreeMap::new(), paths: BTreeSet::new() };
        for (path, text) in files {
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
            let above = path.match_indices('/').map(|(end, _slash)| path[..end].to_owned());
            tree.paths.extend(above);
            tree.paths.insert((*path).to_owned());
        }
        tree
    }
}
