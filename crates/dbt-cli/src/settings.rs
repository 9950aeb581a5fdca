//! Flags, environment, configuration file and facts about the machine, decided: a flag beats a
//! variable, a variable beats the file.
//!
//! Nothing is read here; a setting that is wrong in a server that is not used harms nobody.

mod sign_in;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbt_client::config::duration::Interval;
use dbt_client::config::{
    ConfigError, ConfigFile, LoadedFile, ServerEntry, Surroundings, Text, Urls, WayIn,
};
use dbt_client::settings::{
    KEPT_CREDENTIALS, Network, Places, Program, SelfUpdate, Server, Settings, Updates,
};
use dbt_client::token_cache::TokenCache;
use dbt_client::url::RepositoryUrl;
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_core::name::{InvalidToolName, ServerName};
use dbt_core::platform::Platform;
use dbt_core::trust::fingerprint::{Fingerprint, InvalidFingerprint};
use dbt_core::trust::rules::TrustRules;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use crate::args::Flags;
use crate::env::{Environment, EnvironmentError, Variable};
use crate::host::Host;

/// Everything that decides.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What was typed.
    pub flags: &'a Flags,
    /// The environment.
    pub env: &'a Environment,
    /// The configuration file, if there is one.
    pub file: Option<&'a LoadedFile>,
    /// The machine.
    pub host: &'a Host,
    /// Where our files are.
    pub places: &'a Places,
    /// What this machine runs.
    pub platform: Platform,
    /// Where the time comes from.
    pub clock: Clock,
    /// The program that runs.
    pub program: &'a Program,
    /// The tokens that somebody has signed in with.
    pub tokens: &'a Arc<TokenCache>,
}

/// Decides every setting of a run.
pub fn resolve(inputs: Inputs<'_>) -> Result<Settings, SettingsError> {
    Ok(Settings {
        server: match inputs.choose()? {
            Chosen::Entry(entry) => inputs.server(entry)?,
            Chosen::Url(url) => inputs.server_at(&url)?,
        },
        home_server: inputs.config().and_then(home_server),
        places: inputs.places.clone(),
        offline: inputs.flags.offline || inputs.env.flag(Variable::Offline)?,
        platform: inputs.platform,
        clock: inputs.clock,
        network: network(inputs.env, inputs.places, inputs.host)?,
        sealed: inputs.flags.sealed,
        program: inputs.program.clone(),
    })
}

/// The server of a run.
#[derive(Debug)]
enum Chosen<'a> {
    Entry(&'a ServerEntry),
    Url(RepositoryUrl),
}

/// Returns the server that the program updates itself from. One that does not exist is none:
/// tools run all the same.
fn home_server(config: &ConfigFile) -> Option<ServerName> {
    let named = config.self_update_from.as_deref().or(config.default_server.as_deref());
    let server = match named {
        Some(name) => config.server(name),
        None => config.servers.first(),
    };
    server.map(|server| server.name.clone())
}

impl<'a> Inputs<'a> {
    fn config(&self) -> Option<&'a ConfigFile> {
        self.file.map(|file| &file.config)
    }

    /// Returns the name of the server that a run would use, for lists.
    pub fn chosen_name(&self) -> Result<ServerName, SettingsError> {
        match self.choose()? {
            Chosen::Entry(entry) => Ok(entry.name.clone()),
            Chosen::Url(url) => name_of_url(&url),
        }
    }

    /// Returns how the server that a run would use is told who asks.
    pub fn chosen_way_in(&self) -> Result<WayIn, SettingsError> {
        match self.choose()? {
            Chosen::Entry(entry) => self.way_in(entry),
            Chosen::Url(url) => self.way_in_at(&Urls::below(&url)),
        }
    }

    /// `-s`, then the environment, then `defaultServer`, then the first server written.
    fn choose(&self) -> Result<Chosen<'a>, SettingsError> {
        if let Some(name) = &self.flags.server {
            return self.named(name, "`-s`").map(Chosen::Entry);
        }
        let variable = Variable::Server.name();
        if let Some(text) = self.env.text(Variable::Server)? {
            return match self.named(&text, &format!("`{variable}`")) {
                Ok(entry) => Ok(Chosen::Entry(entry)),
                Err(_) if is_url(&text) => self.at_url(&text),
                Err(unknown) => Err(unknown),
            };
        }
        let config = self.config().ok_or(SettingsError::NoServer)?;
        if let Some(name) = &config.default_server {
            return self.named(name, "`defaultServer`").map(Chosen::Entry);
        }
        config.servers.first().map(Chosen::Entry).ok_or(SettingsError::NoServer)
    }

    fn named(&self, name: &str, by: &str) -> Result<&'a ServerEntry, SettingsError> {
        let server = self.config().and_then(|config| config.server(name));
        server.ok_or_else(|| SettingsError::UnknownServer {
            name: name.to_owned(),
            by: by.to_owned(),
            names: self.config().map(ConfigFile::names).unwrap_or_default(),
        })
    }

    /// A URL means the configured server that is there, with its trust and its credentials, or a
    /// server that needs no configuration.
    fn at_url(&self, text: &str) -> Result<Chosen<'a>, SettingsError> {
        let variable = Variable::Server.name();
        let url = RepositoryUrl::parse_relative_to(text, &self.directory())
            .map_err(|error| SettingsError::Variable { name: variable, reason: error.into() })?;
        let meant = Urls::below(&url);
        let configured = self.config().into_iter().flat_map(|config| &config.servers);
        let mut same = configured.filter(|entry| {
            let urls = self.urls(entry).ok();
            urls.is_some_and(|urls| {
                urls.repository == meant.repository && urls.tools == meant.tools
            })
        });
        Ok(same.next().map_or(Chosen::Url(url.clone()), Chosen::Entry))
    }

    /// Decides everything about a configured server.
    pub fn server(&self, entry: &ServerEntry) -> Result<Server, SettingsError> {
        let options = &entry.options;
        let Urls { repository, tools, truststore } = self.urls(entry)?;
        let way_in = self.way_in(entry)?;
        let directory = self.config_directory();
        let ca_file = options.ca_file.as_ref().map(|text| text.file(self.around(&directory)));
        Ok(Server {
            name: entry.name.clone(),
            credentials: way_in.credentials,
            sign_in_hint: way_in.hint,
            secret_variables: self.secret_variables(entry)?,
            rules: self.rules(&options.trust)?,
            strict: options.strict.unwrap_or(false),
            ca_file: ca_file.transpose()?,
            updates: match &options.updates {
                Some(text) => updates(text, self.env)?,
                None => Updates::Always,
            },
            self_update: self.self_update(options.self_update.as_ref())?,
            time_scale: options.timeout.unwrap_or(1.0),
            pins: self.pins(&options.pins)?,
            repository,
            tools,
            truststore,
        })
    }

    /// Decides everything about a server that only its URL names.
    fn server_at(&self, url: &RepositoryUrl) -> Result<Server, SettingsError> {
        let urls = Urls::below(url);
        let way_in = self.way_in_at(&urls)?;
        Ok(Server {
            name: name_of_url(url)?,
            credentials: way_in.credentials,
            sign_in_hint: way_in.hint,
            secret_variables: BTreeSet::new(),
            rules: self.rules(&[])?,
            strict: false,
            ca_file: None,
            updates: Updates::Always,
            self_update: self.self_update(None)?,
            time_scale: 1.0,
            pins: BTreeMap::new(),
            repository: urls.repository,
            tools: urls.tools,
            truststore: urls.truststore,
        })
    }

    /// Returns where a configured server is.
    pub fn urls(&self, entry: &ServerEntry) -> Result<Urls, ConfigError> {
        let directory = self.config_directory();
        Urls::of(entry, self.around(&directory))
    }

    fn around<'b>(&'b self, directory: &'b Path) -> Surroundings<'b> {
        Surroundings { variables: self.env, directory, home: self.host.home.as_deref() }
    }

    fn config_directory(&self) -> PathBuf {
        let directory = self.file.and_then(|file| file.path.parent());
        directory.map_or_else(|| self.directory(), Path::to_owned)
    }

    fn directory(&self) -> PathBuf {
        self.host.directory.clone().unwrap_or_else(|| PathBuf::from("/"))
    }

    fn rules(&self, trust: &[(String, Vec<Text>)]) -> Result<TrustRules, SettingsError> {
        let mut rules = TrustRules::default();
        for (scope, texts) in trust {
            if scope == "root" {
                for text in texts {
                    rules.set_root(self.root(text)?);
                }
                continue;
            }
            let fingerprints = texts.iter().map(|text| text.read::<Fingerprint>(self.env));
            let fingerprints = fingerprints.collect::<Result<Vec<_>, _>>()?;
            rules.allow(scope, fingerprints).map_err(|error| ConfigError::BadValue {
                key: "trust".to_owned(),
                reason: Box::new(error),
            })?;
        }
        if let Some(text) = self.env.text(Variable::Trust)? {
            let name = Variable::Trust.name();
            let refuse =
                |error: InvalidFingerprint| SettingsError::Variable { name, reason: error.into() };
            rules.allow_everywhere(&fingerprints(&text).map_err(refuse)?.into_iter().collect());
        }
        Ok(rules)
    }

    fn root(&self, text: &Text) -> Result<dbt_core::digest::Digest, ConfigError> {
        let written = text.expand(self.env)?;
        let digest = written.expose().strip_prefix("sha256:").unwrap_or(written.expose());
        digest.parse().map_err(|error: dbt_core::digest::InvalidDigest| text.refuse(error))
    }

    /// A variable beats the file; nothing said means yes, where it can and nobody else is in
    /// charge of what is installed.
    fn self_update(&self, written: Option<&Text>) -> Result<SelfUpdate, SettingsError> {
        let said = match self.env.text(Variable::SelfUpdate)? {
            Some(text) => Some(self_update(&text).ok_or_else(|| SettingsError::Variable {
                name: Variable::SelfUpdate.name(),
                reason: not_a_choice(&text),
            })?),
            None => written.map(|text| self_update_of(text, self.env)).transpose()?,
        };
        let by_itself = if self.host.in_container { SelfUpdate::Off } else { SelfUpdate::Auto };
        match said.unwrap_or(by_itself) {
            SelfUpdate::Auto if !self.host.can_replace_itself => Ok(SelfUpdate::Off),
            decided @ (SelfUpdate::Auto | SelfUpdate::Notify | SelfUpdate::Off) => Ok(decided),
        }
    }

    fn pins(
        &self,
        pins: &[(String, Text)],
    ) -> Result<BTreeMap<dbt_core::name::ToolName, dbt_core::version::Wanted>, SettingsError> {
        let mut decided = BTreeMap::new();
        for (name, version) in pins {
            let name = name.parse().map_err(|error: InvalidToolName| version.refuse(error))?;
            decided.insert(name, version.read(self.env)?);
        }
        Ok(decided)
    }
}

fn is_url(text: &str) -> bool {
    text.contains("://") || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

fn name_of_url(url: &RepositoryUrl) -> Result<ServerName, SettingsError> {
    let name = url.to_string().parse();
    name.map_err(|error: dbt_core::name::InvalidServerName| SettingsError::Variable {
        name: Variable::Server.name(),
        reason: error.into(),
    })
}

/// Reads fingerprints separated by commas, line ends or spaces; each may have spaces inside.
fn fingerprints(text: &str) -> Result<Vec<Fingerprint>, InvalidFingerprint> {
    let mut read = Vec::new();
    for part in text.split([',', ';', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
        if let Ok(fingerprint) = part.parse() {
            read.push(fingerprint);
            continue;
        }
        for word in part.split_whitespace() {
            read.push(word.parse()?);
        }
    }
    Ok(read)
}

fn updates(text: &Text, env: &Environment) -> Result<Updates, ConfigError> {
    match text.expand(env)?.expose().as_str() {
        "always" => Ok(Updates::Always),
        "after" => Ok(Updates::After),
        "manual" => Ok(Updates::Manual),
        other => match other.parse::<Interval>() {
            Ok(Interval(interval)) => Ok(Updates::Every(interval)),
            Err(_) => Err(text.refuse(format!(
                "expected `always`, `after`, `manual` or an interval such as `10m`, and it is `{}`",
                other.escape_debug()
            ))),
        },
    }
}

fn self_update(text: &str) -> Option<SelfUpdate> {
    match text {
        "auto" => Some(SelfUpdate::Auto),
        "notify" => Some(SelfUpdate::Notify),
        "off" => Some(SelfUpdate::Off),
        _ => None,
    }
}

fn self_update_of(text: &Text, env: &Environment) -> Result<SelfUpdate, ConfigError> {
    let written = text.expand(env)?;
    self_update(written.expose()).ok_or_else(|| text.refuse(not_a_choice(written.expose())))
}

fn not_a_choice(text: &str) -> Box<dyn std::error::Error + Send + Sync> {
    format!("expected `auto`, `notify` or `off`, and it is `{}`", text.escape_debug()).into()
}

/// Reads how connections leave this machine.
pub fn network(env: &Environment, places: &Places, host: &Host) -> Result<Network, SettingsError> {
    let mut network = Network::of(env).map_err(EnvironmentError::from)?;
    let kept = |name| places.home.as_ref().map(|home| home.join("state").join(name));
    network.remembered_roots = kept("authorities.pem");
    network.aws.home.clone_from(&host.home);
    network.aws.kept = kept(KEPT_CREDENTIALS);
    Ok(network)
}

/// Why there are no settings. Nothing was done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// Nothing says where tools come from.
    #[error("no server is configured")]
    NoServer,
    /// A server that the configuration does not have.
    #[error("there is no server `{}` in the configuration, named by {by}", name.escape_debug())]
    UnknownServer {
        /// Its name.
        name: String,
        /// Who named it.
        by: String,
        /// The names there are.
        names: String,
    },
    /// A variable that means nothing.
    #[error("the environment variable `{name}` is wrong")]
    Variable {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The environment cannot be read.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl SettingsError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let program = brand::PROGRAM;
        match self {
            Self::NoServer => Some(format!("`{program} server add URL` adds one")),
            Self::UnknownServer { names, .. } if names.is_empty() => {
                Some(format!("`{program} server add NAME URL` adds one"))
            }
            Self::UnknownServer { names, .. } => Some(format!("it has {names}")),
            Self::Config(error) => error.hint(),
            Self::Variable { .. } | Self::Environment(_) => None,
        }
    }
}

impl From<SettingsError> for Report {
    fn from(error: SettingsError) -> Self {
        let hint = error.hint();
        Self::new(ExitCode::CONFIGURATION, error).hints(hint)
    }
}

#[cfg(test)]
mod tests;
