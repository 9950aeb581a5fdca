//! The configuration: what was written, typed and set, decided once.
//!
//! With a file, the file decides, and flags fill in the address, the port and the root that it
//! leaves out; variables are not read. Without one, flags go before variables. What cannot be
//! right stops the start.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dbt_core::secret::Secret;

use crate::args::Flags;
use crate::authn::static_token;
use crate::env::Environment;
use crate::limits::Limits;
use crate::storage::local::VerifyUploads;

mod error;
mod file;
mod publishing;
mod variables;

pub use self::error::ConfigError;
use self::file::{AuthOptions, Written};

/// Everything decided.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address to listen on.
    pub address: String,
    /// The port; 0 is any free one.
    pub port: u16,
    /// The directory to serve, without links in its path.
    pub root: PathBuf,
    /// The directory for what is known of the tree, if one is configured.
    pub state_dir: Option<PathBuf>,
    /// Who may read.
    pub reads: Door,
    /// Who may write.
    pub writes: Door,
    /// Whether artifacts stay as they were first published.
    pub immutable: bool,
    /// Whether what is published must be signed by somebody in the truststore.
    pub verify_uploads: VerifyUploads,
    /// How much of everything.
    pub limits: Limits,
    /// What an administrator should know, and need not change.
    pub notices: Vec<String>,
    settings: Vec<Setting>,
}

/// Who is let through, for reading or for writing.
#[derive(Clone, Debug)]
pub enum Door {
    /// Everybody.
    Open,
    /// Nobody.
    Closed,
    /// Whoever proves who they are by one of these.
    Guarded(Vec<Method>),
}

/// A method of authentication with what it needs.
#[derive(Clone, Debug)]
pub enum Method {
    /// A token.
    StaticToken(Secret<String>),
}

/// A setting as `check-config` shows it. Never a secret.
#[derive(Clone, Debug)]
struct Setting {
    name: &'static str,
    value: String,
    origin: String,
}

const DEFAULT_ADDRESS: &str = "0.0.0.0";
const DEFAULT_PORT: u16 = 9999;

/// Methods of the contract that this version knows by name only.
const NOT_YET: [&str; 6] =
    ["basic-htpasswd", "ssh-agent-file", "ssh-agent-func", "oidc", "basic-ldap", "ssh-agent-ldap"];

impl Config {
    /// Decides every setting.
    pub fn resolve(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        let (written, source) = match &flags.file {
            Some(path) => (file::read(path)?, Source::File(path)),
            None => (variables::read(environment)?, Source::Variables),
        };
        let mut decide = Decide { source, settings: Vec::new(), notices: Vec::new() };
        if matches!(source, Source::File(_)) {
            decide.name_unread_variables(environment);
        } else {
            decide.notices.extend(variables::unknown(environment));
        }

        let address = decide.either("address", flags.address.clone(), written.address.clone());
        let address = decide.or("address", address, DEFAULT_ADDRESS.to_owned());
        let port = decide.either("port", flags.port, written.port);
        let port = decide.or("port", port, DEFAULT_PORT);
        let root = decide.either(
            "serverRoot",
            path_text(flags.root.as_deref()),
            written.server_root.clone(),
        );
        let root = root.filter(|(root, _origin)| !root.is_empty()).ok_or(ConfigError::NoRoot)?;
        let root = decide.keep("serverRoot", root);
        let root = existing_root(Path::new(&root), source)?;

        let state_dir = decide.state_dir(&written, environment, &root)?;

        let reads = decide.reads(&written, environment)?;
        let writes = decide.writes(&written, environment)?;
        let immutable = decide.or("immutable", decide.sourced_if(written.immutable), false);
        let verify_uploads = decide.verify_uploads(&written);
        let limits = decide.limits(&written);
        let Decide { source: _, settings, notices } = decide;
        Ok(Self {
            address,
            port,
            root,
            state_dir,
            reads,
            writes,
            immutable,
            verify_uploads,
            limits,
            notices,
            settings,
        })
    }

    /// Returns every setting with its value and where it came from, for people.
    pub fn explained(&self) -> String {
        let mut text = String::new();
        for Setting { name, value, origin } in &self.settings {
            // Writing to a String cannot fail.
            let _always_ok = writeln!(text, "{name} = {value}  ({origin})");
        }
        for notice in &self.notices {
            let _always_ok = writeln!(text, "warning: {notice}");
        }
        text
    }
}

fn path_text(path: Option<&Path>) -> Option<String> {
    path.map(|path| path.to_string_lossy().into_owned())
}

fn existing_root(root: &Path, source: Source<'_>) -> Result<PathBuf, ConfigError> {
    let unusable = |source| ConfigError::Root { path: root.to_owned(), source };
    let canonical = root.canonicalize().map_err(unusable)?;
    if !canonical.is_dir() {
        return Err(unusable(std::io::ErrorKind::NotADirectory.into()));
    }
    if canonical.parent().is_none() {
        return Err(ConfigError::WholeSystem);
    }
    if let Source::File(file) = source
        && file.canonicalize().is_ok_and(|file| file.starts_with(&canonical))
    {
        return Err(ConfigError::FileInRoot { path: file.to_owned() });
    }
    Ok(canonical)
}

/// Where settings come from when no flag gives them.
#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    File(&'a Path),
    Variables,
}

/// A value and where it came from.
type Chosen<T> = (T, String);

/// Decides, and keeps how.
struct Decide<'a> {
    source: Source<'a>,
    settings: Vec<Setting>,
    notices: Vec<String>,
}

impl Decide<'_> {
    /// Applies the precedence of a setting that also has a flag.
    fn either<T>(&self, name: &str, flag: Option<T>, written: Option<T>) -> Option<Chosen<T>> {
        let flag = flag.map(|value| (value, format!("flag for {name}")));
        match self.source {
            Source::File(_) => self.sourced_if(written).or(flag),
            Source::Variables => flag.or_else(|| self.sourced_if(written)),
        }
    }

    fn sourced_if<T>(&self, written: Option<T>) -> Option<Chosen<T>> {
        let origin = match self.source {
            Source::File(path) => format!("`{}`", path.display()),
            Source::Variables => "environment".to_owned(),
        };
        written.map(|value| (value, origin))
    }

    fn or<T: ToString>(&mut self, name: &'static str, chosen: Option<Chosen<T>>, default: T) -> T {
        self.keep(name, chosen.unwrap_or_else(|| (default, "default".to_owned())))
    }

    fn keep<T: ToString>(&mut self, name: &'static str, (value, origin): Chosen<T>) -> T {
        self.settings.push(Setting { name, value: value.to_string(), origin });
        value
    }

    fn name_unread_variables(&mut self, environment: &Environment) {
        let names: Vec<&str> = variables::names_in(environment).collect();
        if !names.is_empty() {
            let names = names.join("`, `");
            self.notices.push(format!(
                "with a configuration file, these variables are not read: `{names}`"
            ));
        }
    }

    fn reads(&mut self, written: &Written, environment: &Environment) -> Result<Door, ConfigError> {
        let guarded = self.or("authGets", self.sourced_if(written.auth_gets), false);
        let types = written.auth_type_get.as_deref().unwrap_or_default();
        if !guarded {
            if !types.trim().is_empty() {
                self.notices.push(
                    "`authTypeGet` has no effect: `authGets` is false, so everybody may read"
                        .to_owned(),
                );
            }
            return Ok(Door::Open);
        }
        if types.trim().is_empty() {
            return Err(ConfigError::NoTypeForReads);
        }
        let types = self.keep("authTypeGet", self.sourced(types));
        methods("authTypeGet", "authOptsGet", &types, &written.auth_opts_get, environment)
    }

    fn writes(
        &mut self,
        written: &Written,
        environment: &Environment,
    ) -> Result<Door, ConfigError> {
        let types = written.auth_type_put.as_deref().unwrap_or_default();
        if types.trim().is_empty() {
            self.keep("authTypePut", ("(none: nobody may write)".to_owned(), "default".to_owned()));
            return Ok(Door::Closed);
        }
        let types = self.keep("authTypePut", self.sourced(types));
        methods("authTypePut", "authOptsPut", &types, &written.auth_opts_put, environment)
    }

    fn sourced(&self, text: &str) -> Chosen<String> {
        self.sourced_if(Some(text.to_owned())).unwrap_or_default()
    }

    fn limits(&mut self, written: &Written) -> Limits {
        let defaults = Limits::default();
        let seconds = |duration: Duration| duration.as_secs();
        let given = &written.limits;
        let upload_bytes = self.sourced_if(given.max_upload_bytes);
        let uploads = self.sourced_if(given.max_uploads);
        let connections = self.sourced_if(given.max_connections);
        let header = self.sourced_if(given.header_seconds);
        let grace = self.sourced_if(written.shutdown_grace);
        let header = self.or("limits.headerSeconds", header, seconds(defaults.header_time));
        let grace = self.or("shutdownGrace", grace, seconds(defaults.shutdown_grace));
        Limits {
            upload_bytes: self.or("limits.maxUploadBytes", upload_bytes, defaults.upload_bytes),
            uploads: self.or("limits.maxUploads", uploads, defaults.uploads).max(1),
            connections: self.or("limits.maxConnections", connections, defaults.connections).max(1),
            header_time: Duration::from_secs(header),
            keep_deleted: self.keep_deleted(written, defaults.keep_deleted),
            shutdown_grace: Duration::from_secs(grace),
            ..defaults
        }
    }
}

/// Reads a list of methods. Every name must be one that this version has.
fn methods(
    key: &'static str,
    options_key: &'static str,
    types: &str,
    options: &AuthOptions,
    environment: &Environment,
) -> Result<Door, ConfigError> {
    let mut methods = Vec::new();
    let names: Vec<&str> = types.split(',').map(str::trim).collect();
    if names.contains(&"") {
        return Err(ConfigError::EmptyType { key, value: types.to_owned() });
    }
    for name in names {
        if name == static_token::NAME {
            let token = static_token(options_key, options, environment)?;
            methods.push(Method::StaticToken(token));
        } else if NOT_YET.contains(&name) {
            return Err(ConfigError::TypeNotYet { key, name: name.to_owned() });
        } else {
            return Err(ConfigError::UnknownType { key, name: name.to_owned() });
        }
    }
    Ok(Door::Guarded(methods))
}

/// Finds the token: the named variable's, if that is set, else the one that is written.
///
/// White space around it is not part of it: a secret mounted as a file often ends in a newline.
fn static_token(
    key: &'static str,
    options: &AuthOptions,
    environment: &Environment,
) -> Result<Secret<String>, ConfigError> {
    let variable = options.static_token_env.as_deref().unwrap_or_default();
    let written = options.static_token.as_ref().map_or("", |token| token.expose().trim());
    let token = match environment.get(variable).map(|value| value.trim()) {
        Some(value) if !value.is_empty() => value,
        _ if !written.is_empty() => written,
        Some(_blank) => return Err(ConfigError::EmptyVariable { key, name: variable.to_owned() }),
        None if !variable.is_empty() => {
            return Err(ConfigError::MissingVariable { key, name: variable.to_owned() });
        }
        None => return Err(ConfigError::NoToken { key }),
    };
    if token.contains(|c: char| c.is_control()) {
        return Err(ConfigError::BadToken { key });
    }
    Ok(Secret::new(token.to_owned()))
}

#[cfg(test)]
mod tests;
