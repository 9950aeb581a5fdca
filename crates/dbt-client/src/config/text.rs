//! The texts of the file: kept as written, and read only for the server that is used.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dbt_core::secret::Secret;

use super::ConfigError;
use crate::url::RepositoryUrl;

/// What `${NAME}` is looked up in. The programs give their environment; nothing here reads it.
pub trait Variables {
    /// Returns a variable's value. One that is set to nothing has the empty value.
    fn variable(&self, name: &str) -> Option<&OsStr>;

    /// Says whether any variable's name begins with this.
    fn has_any(&self, beginning: &str) -> bool;
}

impl Variables for BTreeMap<String, OsString> {
    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.get(name).map(OsString::as_os_str)
    }

    fn has_any(&self, beginning: &str) -> bool {
        self.range(beginning.to_owned()..)
            .next()
            .is_some_and(|(name, _)| name.starts_with(beginning))
    }
}

/// Says whether a variable's name begins with this, as systems compare such names.
pub fn begins_with(name: &OsStr, beginning: &str) -> bool {
    let first = name.as_encoded_bytes().get(..beginning.len());
    first.is_some_and(|first| {
        if cfg!(windows) {
            first.eq_ignore_ascii_case(beginning.as_bytes())
        } else {
            first == beginning.as_bytes()
        }
    })
}

/// What texts of the file mean something with.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What `${NAME}` is looked up in.
    pub variables: &'a dyn Variables,
    /// The directory that relative paths begin in.
    pub directory: &'a Path,
    /// The home directory, for `~/`.
    pub home: Option<&'a Path>,
}

/// A text of the file. It may be a secret, so it is never shown.
#[derive(Debug, Clone)]
pub struct Text {
    path: String,
    written: Secret<String>,
}

impl Text {
    pub(super) fn new(path: String, written: &str) -> Self {
        Self { path, written: Secret::new(written.to_owned()) }
    }

    /// Returns the path of its key, as `servers.prod.token`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the text as it is written, for a shell that expands it itself.
    pub fn as_written(&self) -> &Secret<String> {
        &self.written
    }

    /// Returns the text with `${NAME}` replaced by the variables; `$${` stands for `${`.
    pub fn expand(&self, variables: &dyn Variables) -> Result<Secret<String>, ConfigError> {
        let mut expanded = String::with_capacity(self.written.expose().len());
        for part in parts(self.written.expose()) {
            match part {
                Part::Written(text) => expanded.push_str(text),
                Part::Variable(name) => expanded.push_str(&self.variable(name, variables)?),
            }
        }
        Ok(Secret::new(expanded))
    }

    /// Returns the names of the variables that the text is expanded with.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        parts(self.written.expose()).into_iter().filter_map(|part| match part {
            Part::Variable(name) => Some(name),
            Part::Written(_) => None,
        })
    }

    /// Returns the expanded text of a key that holds no secret, as what it means.
    pub fn read<T: FromStr>(&self, variables: &dyn Variables) -> Result<T, ConfigError>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let text = self.expand(variables)?;
        text.expose().parse().map_err(|error: T::Err| self.refuse(error))
    }

    /// Returns the expanded text as the URL of a repository or the path of a directory.
    pub fn url(&self, around: Surroundings<'_>) -> Result<RepositoryUrl, ConfigError> {
        let written = self.expand(around.variables)?;
        let url = RepositoryUrl::parse_relative_to(written.expose(), around.directory);
        url.map_err(|error| self.refuse(error))
    }

    /// Returns the expanded text as the path of a file: from the home directory after `~/`, else
    /// from the file's own directory.
    pub fn file(&self, around: Surroundings<'_>) -> Result<PathBuf, ConfigError> {
        let written = self.expand(around.variables)?;
        let written = Path::new(written.expose());
        match (written.strip_prefix("~"), around.home) {
            (Ok(rest), Some(home)) => Ok(home.join(rest)),
            _ => Ok(around.directory.join(written)),
        }
    }

    /// Says that this text means nothing.
    pub fn refuse(
        &self,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ConfigError {
        ConfigError::BadValue { key: self.path.clone(), reason: reason.into() }
    }

    fn variable(&self, name: &str, variables: &dyn Variables) -> Result<String, ConfigError> {
        let unset = || ConfigError::UnsetVariable { key: self.path.clone(), name: name.to_owned() };
        let value = variables.variable(name).ok_or_else(unset)?.to_str();
        value.map(str::to_owned).ok_or_else(|| self.refuse(NotText(name.to_owned())))
    }
}

/// A part of a text.
enum Part<'a> {
    /// It means itself.
    Written(&'a str),
    /// It is replaced by the value of the variable of this name.
    Variable(&'a str),
}

/// Takes a text apart.
fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = (rest.get(..start), rest.get(start + 2..));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        if let Some(before) = before.strip_suffix('$') {
            parts.extend([Part::Written(before), Part::Written("${")]);
            rest = after;
            continue;
        }
        parts.push(Part::Written(before));
        let named = after.split_once('}').filter(|(name, _rest)| is_variable(name));
        if let Some((name, after)) = named {
            parts.push(Part::Variable(name));
            rest = after;
        } else {
            // What only looks like a variable is text: it was so for the reference.
            parts.push(Part::Written("${"));
            rest = after;
        }
    }
    parts.push(Part::Written(rest));
    parts
}

/// A variable is not text.
#[derive(Debug, thiserror::Error)]
#[error("the environment variable `{0}` is not UTF-8 text")]
struct NotText(String);

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
