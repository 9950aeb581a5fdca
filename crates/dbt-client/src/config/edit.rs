//! Changing the file: what nobody asked us to change stays, in its order.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_core::name::ServerName;

use super::json::Value;
use super::{ConfigError, ConfigFile, LEGACY_SERVER, Urls, load};
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
    ///
    /// The server of the older format is written as one of several then, too: 3.x does not look for it
    /// any more where there are others, and would go to the new one.
    pub fn add(&mut self, server: &NewServer) -> Result<(), ConfigError> {
        self.may_add(&server.name)?;
        let config = self.config()?;
        let first = config.servers.first();
        let default = first.map_or(server.name.as_str(), |first| first.name.as_str());
        if config.default_server.is_none() {
            self.set_default(default);
        }
        let was_alone = first.is_some_and(|first| first.legacy);
        let older = if was_alone { self.older_as_one_of_several() } else { None };
        let older = older.map(|entry| (LEGACY_SERVER.to_owned(), entry));
        let entry = (server.name.to_string(), server.to_json());
        if let Some(servers) = self.servers() {
            servers.extend(older.into_iter().chain([entry]));
        }
        Ok(())
    }

    /// Makes a server the default.
    pub fn use_server(&mut self, name: &ServerName) -> Result<(), ConfigError> {
        self.must_exist(name)?;
        self.set_default(name.as_str());
        Ok(())
    }

    /// Removes a server. Was it the default, there is none any more, and the first one counts. What
    /// [`Self::add`] has written of the older format's server goes with the last one beside it.
    pub fn remove(&mut self, name: &ServerName) -> Result<(), ConfigError> {
        self.must_exist(name)?;
        if name.as_str() == LEGACY_SERVER {
            unset(&mut self.root, "dbt", |_value| true);
            unset(&mut self.root, "tools", |value| value.members().is_some());
        }
        if let Some(servers) = self.servers() {
            servers.retain(|(other, _value)| other != name.as_str());
        }
        for key in ["defaultServer", "selfUpdateFrom"] {
            unset(&mut self.root, key, |value| is_text(value, name.as_str()));
        }
        self.leave_older_alone();
        unset(&mut self.root, "servers", |value| value.members().is_none_or(<[_]>::is_empty));
        Ok(())
    }

    /// Takes back that a server is the default, where it is the only one: it counts as such all the
    /// same. Says whether that changed anything.
    pub fn forget_default(&mut self, name: &str) -> Result<bool, ConfigError> {
        let config = self.config()?;
        let is_plain = config.servers.len() <= 1 && config.default_server.as_deref() == Some(name);
        if is_plain {
            unset(&mut self.root, "defaultServer", |_value| true);
        }
        Ok(is_plain)
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

    /// Returns the older format's server as it is written where there are several.
    fn older_as_one_of_several(&self) -> Option<Value> {
        let tools = member(&self.root, "tools").filter(|value| value.members().is_some());
        let dbt = member(&self.root, "dbt");
        if dbt.is_none() && tools.is_none() {
            return None;
        }
        let texts = [
            ("repository", dbt, "repository"),
            ("truststore", dbt, "truststore"),
            ("toolsRepository", tools, "repository"),
        ];
        let members = texts.into_iter().filter_map(|(key, object, older_key)| {
            Some((key.to_owned(), member(object?, older_key)?.clone()))
        });
        Some(Value::Object(members.collect()))
    }

    /// Takes the older format's server out of the several ones, where it is all that is left there and
    /// says nothing more than the older format does.
    fn leave_older_alone(&mut self) {
        let Some(older) = self.older_as_one_of_several() else { return };
        let is_older = |(name, value): &(String, Value)| name == LEGACY_SERVER && *value == older;
        let servers = member(&self.root, "servers").and_then(Value::members);
        if !servers.is_some_and(|servers| servers.iter().all(is_older)) {
            return;
        }
        unset(&mut self.root, "servers", |_value| true);
        unset(&mut self.root, "defaultServer", |value| is_text(value, LEGACY_SERVER));
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

fn member<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let found = object.members()?.iter().find(|(name, _value)| same_key(name, key));
    found.map(|(_name, value)| value)
}

fn is_text(value: &Value, expected: &str) -> bool {
    matches!(value, Value::String(text) if text == expected)
}

fn position(object: &Value, key: &str) -> Option<usize> {
    object.members()?.iter().position(|(name, _value)| same_key(name, key))
}

fn same_key(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
