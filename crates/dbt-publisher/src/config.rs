//! The little of the client's configuration file that publishing needs: where a server is, and
//! how one signs in there.

use std::fmt;
use std::path::PathBuf;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::fsx;
use dbt_client::url::{Origin, RepositoryUrl};
use dbt_core::brand;
use dbt_core::secret::Secret;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::env::{Environment, Variable};
use crate::stop::{Explained, Stop};

/// The most a configuration file may have.
const CONFIG_LIMIT: u64 = 1024 * 1024;

/// The name of the only server of the legacy format.
const LEGACY: &str = "default";

/// A server of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct ConfiguredServer {
    pub(crate) repository: Option<RepositoryUrl>,
    pub(crate) tools: Option<RepositoryUrl>,
    pub(crate) truststore: Option<RepositoryUrl>,
    pub(crate) ca_file: Option<PathBuf>,
    sign_in: Keys,
}

impl ConfiguredServer {
    /// Returns what is sent to this server's origins.
    pub(crate) fn credentials(self, origins: Vec<Origin>) -> Credentials {
        let Keys {
            token,
            token_file,
            token_func,
            username,
            password,
            username_func,
            password_func,
        } = self.sign_in;
        let value =
            |key: &str, fixed: Option<Secret<String>>, command: Option<String>| match command {
                Some(command) => Some(SecretValue::command(&format!("{key}func"), command)),
                None => fixed.map(|fixed| SecretValue::fixed(key, fixed)),
            };
        let file = token_file.map(|path| SecretValue::file("tokenFile", PathBuf::from(path)));
        if let Some(token) = value("token", token, token_func).or(file) {
            return Credentials::bearer(origins, token);
        }
        let username = value("username", username, username_func);
        match username.zip(value("password", password, password_func)) {
            Some((username, password)) => Credentials::basic(origins, username, password),
            None => Credentials::none(),
        }
    }
}

/// Reads the configuration and returns the server that is named, or the default one.
pub(crate) fn server(
    named: Option<&str>,
    environment: &Environment,
) -> Result<ConfiguredServer, Stop> {
    let (path, bytes) = read(environment)?;
    let shown = path.display().to_string();
    let file: File = serde_json::from_slice(bytes.expose())
        .map_err(|source| ConfigError::Json { path: shown.clone(), source })?;
    let variable = environment.text(Variable::Server)?;
    let named = named.map(str::to_owned).or(variable);
    let (name, entry) = file.choose(named, &shown)?;
    let expand = |text: String| expanded(text, environment, &shown);
    let url = |text: Option<String>| -> Result<Option<RepositoryUrl>, Stop> {
        let text = text.filter(|text| !text.is_empty()).map(expand).transpose()?;
        let url = text.map(|text| text.parse::<RepositoryUrl>()).transpose();
        Ok(url.map_err(|error| {
            Report::because(ExitCode::CONFIGURATION, format!("server `{name}` in `{shown}`"), error)
        })?)
    };
    Ok(ConfiguredServer {
        repository: url(entry.repository)?,
        tools: url(entry.tools_repository)?,
        truststore: url(entry.truststore)?,
        ca_file: entry.ca_file.map(expand).transpose()?.map(PathBuf::from),
        sign_in: entry.sign_in.expanded(&expand)?,
    })
}

/// Reads the first configuration file there is.
fn read(environment: &Environment) -> Result<(PathBuf, Secret<Vec<u8>>), Stop> {
    let named = environment.path(Variable::Config);
    let users = environment.our_home().map(|home| home.join("conf").join(brand::CONFIG_FILE));
    let systems = PathBuf::from(brand::SYSTEM_CONFIG_DIRECTORY).join(brand::CONFIG_FILE);
    let candidates = match named {
        Some(named) => vec![named],
        None => users.into_iter().chain([systems]).collect(),
    };
    for path in &candidates {
        match fsx::read_limited(path, CONFIG_LIMIT) {
            Ok(bytes) => return Ok((path.clone(), Secret::new(bytes))),
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(Report::new(ExitCode::CONFIGURATION, error).into()),
        }
    }
    let shown = candidates.iter().map(|path| format!("`{}`", path.display()));
    Err(ConfigError::Missing { looked: shown.collect::<Vec<_>>().join(", ") }.into())
}

/// Resolves `${NAME}`.
fn expanded(text: String, environment: &Environment, path: &str) -> Result<String, Stop> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        let value = environment.text_of(name)?;
        let missing = || ConfigError::Variable { name: name.to_owned(), path: path.to_owned() };
        out.push_str(&value.ok_or_else(missing)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[derive(serde::Deserialize)]
struct File {
    servers: Option<InOrder>,
    #[serde(rename = "defaultServer")]
    default_server: Option<String>,
    #[serde(rename = "dbt")]
    program: Option<LegacyTree>,
    tools: Option<LegacyTree>,
    #[serde(flatten)]
    sign_in: Keys,
}

/// The servers, in the order in which they are written: the first one can be the default.
struct InOrder(Vec<(String, Entry)>);

#[derive(serde::Deserialize)]
struct LegacyTree {
    repository: Option<String>,
    truststore: Option<String>,
}

#[derive(Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    repository: Option<String>,
    tools_repository: Option<String>,
    truststore: Option<String>,
    ca_file: Option<String>,
    #[serde(flatten)]
    sign_in: Keys,
}

/// How one signs in.
#[derive(Debug, Clone, Default, serde::Deserialize)]
struct Keys {
    token: Option<Secret<String>>,
    #[serde(rename = "tokenFile")]
    token_file: Option<String>,
    #[serde(rename = "tokenFunc")]
    token_func: Option<String>,
    username: Option<Secret<String>>,
    password: Option<Secret<String>>,
    #[serde(rename = "usernamefunc")]
    username_func: Option<String>,
    #[serde(rename = "passwordfunc")]
    password_func: Option<String>,
}

impl Keys {
    fn is_empty(&self) -> bool {
        let Self {
            token,
            token_file,
            token_func,
            username,
            password,
            username_func,
            password_func,
        } = self;
        token.is_none()
            && username.is_none()
            && password.is_none()
            && [token_file, token_func, username_func, password_func]
                .iter()
                .all(|key| key.is_none())
    }

    fn expanded(self, expand: &impl Fn(String) -> Result<String, Stop>) -> Result<Self, Stop> {
        let secret = |value: Option<Secret<String>>| -> Result<Option<Secret<String>>, Stop> {
            value.map(|value| expand(value.expose().clone()).map(Secret::new)).transpose()
        };
        Ok(Self {
            token: secret(self.token)?,
            username: secret(self.username)?,
            password: secret(self.password)?,
            token_file: self.token_file.map(expand).transpose()?,
            ..self
        })
    }
}

impl File {
    fn choose(self, named: Option<String>, path: &str) -> Result<(String, Entry), ConfigError> {
        let Self { servers, default_server, program, tools, sign_in } = self;
        let mut servers = servers.map(|servers| servers.0).unwrap_or_default();
        if servers.is_empty()
            && let Some(program) = program
        {
            let legacy = Entry {
                repository: program.repository,
                truststore: program.truststore,
                tools_repository: tools.and_then(|tools| tools.repository),
                ca_file: None,
                sign_in: Keys::default(),
            };
            servers.push((LEGACY.to_owned(), legacy));
        }
        let first = servers.first().map(|(name, _entry)| name.clone());
        let home = default_server.or(first).unwrap_or_default();
        let wanted = named.unwrap_or_else(|| home.clone());
        let known = servers.iter().map(|(name, _entry)| format!("`{name}`")).collect::<Vec<_>>();
        let only = servers.len() == 1;
        let (name, mut entry) =
            servers.into_iter().find(|(name, _entry)| *name == wanted).ok_or_else(|| {
                ConfigError::NoServer { name: wanted.clone(), names: known, path: path.to_owned() }
            })?;
        // What stands at the top belongs to the default server, and to nobody else's.
        if entry.sign_in.is_empty() && (only || name == home) {
            entry.sign_in = sign_in;
        }
        Ok((name, entry))
    }
}

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of servers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut servers: Vec<(String, Entry)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if servers.iter().any(|(known, _entry)| *known == name) {
                        map.next_value::<IgnoredAny>()?;
                    } else {
                        servers.push((name, map.next_value()?));
                    }
                }
                Ok(InOrder(servers))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Why the configuration does not say where to publish.
#[derive(Debug, thiserror::Error)]
enum ConfigError {
    #[error("there is no configuration file: looked for {looked}")]
    Missing { looked: String },
    #[error("failed to read `{path}`")]
    Json { path: String, source: serde_json::Error },
    #[error("`{path}` has no server `{name}`")]
    NoServer { name: String, names: Vec<String>, path: String },
    #[error("`{path}` names the environment variable `{name}`, which is not set")]
    Variable { name: String, path: String },
}

impl Explained for ConfigError {
    fn code(&self) -> ExitCode {
        ExitCode::CONFIGURATION
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Missing { .. } => {
                vec!["`--to URL` or `--to DIR` says where to publish".to_owned()]
            }
            Self::NoServer { names, .. } if !names.is_empty() => {
                vec![format!("its servers are {}", names.join(", "))]
            }
            Self::NoServer { .. } | Self::Json { .. } | Self::Variable { .. } => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(json: &str, named: Option<&str>) -> Result<(String, Entry), ConfigError> {
        let file: File = serde_json::from_str(json).unwrap();
        file.choose(named.map(str::to_owned), "dbt.json")
    }

    const TWO: &str = r#"{"servers": {"z": {"repository": "https://z/dbt"}, "a": {"repository": "https://a/dbt"}},
        "username": "u", "password": "p"}"#;

    #[test]
    fn the_first_server_as_written_is_the_default_and_owns_what_stands_at_the_top() {
        let (name, entry) = choose(TWO, None).unwrap();
        assert_eq!((name.as_str(), entry.sign_in.is_empty()), ("z", false));
        let (name, entry) = choose(TWO, Some("a")).unwrap();
        assert_eq!((name.as_str(), entry.sign_in.is_empty()), ("a", true));
        let error = choose(TWO, Some("b")).err().unwrap();
        assert_eq!(error.hints(), ["its servers are `z`, `a`"]);
    }

    #[test]
    fn the_legacy_format_has_one_server() {
        let json = r#"{"dbt": {"repository": "https://h/dbt", "truststore": "https://h/dbt/truststore"},
            "tools": {"repository": "https://h/dbt-tools"}, "username": "u"}"#;
        let (name, entry) = choose(json, None).unwrap();
        assert_eq!(name, "default");
        assert_eq!(entry.tools_repository.as_deref(), Some("https://h/dbt-tools"));
        assert!(!entry.sign_in.is_empty());
    }
}
