//! Changing the file: what nobody asked us to change stays, in its order.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_core::name::ServerName;

use super::json::Value;
use super::{ConfigError, ConfigFile, Urls, load};
use crate::fsx;
use crate::url::RepositoryUrl;

/// A configuration file that is being changed.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    pub(super) root: Value,
}

/// A server to be added.
#[derive(Debug, Clone)]
pub struct NewServer {
    /// What to call it.
    pub name: ServerName,
    /// The repository of the program itself.
    pub repository: RepositoryUrl,
    /// The repository of the tools.
    pub tools: RepositoryUrl,
    /// The truststore file.
    pub truststore: RepositoryUrl,
    /// Who may sign, by scope (`dbt`, `tools`): fingerprints; and `root`, the hash of the root.
    pub trust: Vec<(String, Vec<String>)>,
    /// Further keys, as a server announces them for signing in.
    pub sign_in: Vec<(String, String)>,
}

impl Document {
    /// Opens the file at `path`, or begins a new one.
    pub fn open(path: &Path) -> Result<Self, ConfigError> {
        let root = match load::read_file(path)? {
            Some((text, _metadata)) => {
                let within =
                    |source| ConfigError::In { path: path.to_owned(), source: Box::new(source) };
                let root = load::parse(&text).map_err(within)?;
                ConfigFile::of(&root).map_err(within)?;
                root
            }
            None => Value::Object(Vec::new()),
        };
        Ok(Self { path: path.to_owned(), root })
    }

    /// Says whether a server of this name can be added, before anybody is asked anything.
    pub fn may_add(&self, name: &ServerName) -> Result<(), ConfigError> {
        match self.config()?.server(name.as_str()) {
            Some(_) => Err(ConfigError::ServerExists { name: name.clone() }),
            None => Ok(()),
        }
    }

    /// Adds a server. The first one becomes the default; a second one does not take the place of
    /// the first, nor its credentials.
    pub fn add(&mut self, server: &NewServer) -> Result<(), ConfigError> {
        self.may_add(&server.name)?;
        let config = self.config()?;
        let default = match config.servers.first() {
            Some(first) => first.name.as_str(),
            None => server.name.as_str(),
        };
        if config.default_server.is_none() {
            self.set_default(default);
        }
        let entry = (server.name.to_string(), server.to_json());
        if let Some(servers) = self.servers() {
            servers.push(entry);
        }
        Ok(())
    }

    /// Makes a server the default.
    pub fn use_server(&mut self, name: &ServerName) -> Result<(), ConfigError> {
        self.must_exist(name)?;
        self.set_default(name.as_str());
        Ok(())
    }

    /// Removes a server. Was it the default, there is none any more, and the first one counts.
    pub fn remove(&mut self, name: &ServerName) -> Result<(), ConfigError> {
        self.must_exist(name)?;
        let config = self.config()?;
        if config.server(name.as_str()).is_some_and(|server| server.legacy) {
            unset(&mut self.root, "dbt", |_value| true);
            unset(&mut self.root, "tools", |value| value.members().is_some());
        } else if let Some(servers) = self.servers() {
            servers.retain(|(other, _value)| other != name.as_str());
        }
        for key in ["defaultServer", "selfUpdateFrom"] {
            let names_it =
                |value: &Value| matches!(value, Value::String(text) if text == name.as_str());
            unset(&mut self.root, key, names_it);
        }
        Ok(())
    }

    /// Writes the file: whole or not at all, readable by its owner alone.
    ///
    /// A link stays a link; the file it names is replaced.
    pub fn save(&self) -> Result<(), ConfigError> {
        let target = fs::canonicalize(&self.path).unwrap_or_else(|_new_file| self.path.clone());
        let mut text = serde_json::to_vec_pretty(&self.root)
            .map_err(|source| ConfigError::Syntax { source })?;
        text.push(b'\n');
        if let Some(directory) = target.parent() {
            fsx::create_dir_all(directory, 0o700).map_err(ConfigError::Write)?;
        }
        fsx::write_atomic(&target, &text, 0o600).map_err(ConfigError::Write)
    }

    /// Lets nobody but its owner read the file, as [`Self::save`] does, without writing it. Returns
    /// whether that changed anything.
    pub fn hide_from_others(&self) -> Result<bool, ConfigError> {
        fsx::hide_from_others(&self.path).map_err(ConfigError::Write)
    }

    /// Returns where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the document says as it stands.
    pub fn config(&self) -> Result<ConfigFile, ConfigError> {
        ConfigFile::of(&self.root)
    }

    pub(super) fn must_exist(&self, name: &ServerName) -> Result<(), ConfigError> {
        let config = self.config()?;
        if config.server(name.as_str()).is_none() {
            let names = config.names();
            return Err(ConfigError::NoSuchServer { name: name.clone(), names });
        }
        Ok(())
    }

    fn set_default(&mut self, name: &str) {
        set(&mut self.root, "defaultServer", Value::String(name.to_owned()));
    }

    /// Returns the members of `servers`, made if they are missing.
    pub(super) fn servers(&mut self) -> Option<&mut Vec<(String, Value)>> {
        if position(&self.root, "servers").is_none() {
            set(&mut self.root, "servers", Value::Null);
        }
        let index = position(&self.root, "servers")?;
        let Value::Object(members) = &mut self.root else {
            return None;
        };
        let (_key, servers) = members.get_mut(index)?;
        if servers.members().is_none() {
            *servers = Value::Object(Vec::new());
        }
        if let Value::Object(members) = servers { Some(members) } else { None }
    }
}

impl NewServer {
    /// Makes a server of which nothing is known but where it is.
    pub fn at(name: ServerName, urls: Urls) -> Self {
        let Urls { repository, tools, truststore } = urls;
        Self { name, repository, tools, truststore, trust: Vec::new(), sign_in: Vec::new() }
    }

    /// Lets these keys sign the program itself and all tools.
    pub fn trust_for_everything(&mut self, fingerprints: impl IntoIterator<Item = String>) {
        let all: Vec<String> = fingerprints.into_iter().collect();
        self.trust = ["dbt", "tools"].map(|scope| (scope.to_owned(), all.clone())).into();
    }

    pub(super) fn to_json(&self) -> Value {
        let text = |value: &dyn ToString| Value::String(value.to_string());
        let mut members = vec![
            ("repository".to_owned(), text(&self.repository)),
            ("truststore".to_owned(), text(&self.truststore)),
            ("toolsRepository".to_owned(), text(&self.tools)),
        ];
        members.extend(self.sign_in.iter().map(|(key, value)| (key.clone(), text(value))));
        if !self.trust.is_empty() {
            let scope = |(scope, values): &(String, Vec<String>)| {
                let value = match values.as_slice() {
                    [root] if scope == "root" => text(root),
                    values => Value::Array(values.iter().map(|value| text(value)).collect()),
                };
                (scope.clone(), value)
            };
            let trust = self.trust.iter().map(scope).collect();
            members.push(("trust".to_owned(), Value::Object(trust)));
        }
        Value::Object(members)
    }
}

/// Sets a key where it stands, or at the end.
pub(super) fn set(object: &mut Value, key: &str, value: Value) {
    let at = position(object, key);
    if let Value::Object(members) = object {
        match at.and_then(|index| members.get_mut(index)) {
            Some((_key, old)) => *old = value,
            None => members.push((key.to_owned(), value)),
        }
    }
}

pub(super) fn unset(object: &mut Value, key: &str, when: impl Fn(&Value) -> bool) {
    if let Value::Object(members) = object {
        members.retain(|(name, value)| !(same_key(name, key) && when(value)));
    }
}

fn position(object: &Value, key: &str) -> Option<usize> {
    object.members()?.iter().position(|(name, _value)| same_key(name, key))
}

fn same_key(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
