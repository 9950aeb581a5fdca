//! What publishing takes from the client's configuration file: where a server is, and how one
//! signs in there. The file itself is read, and its credentials are given to their servers, by
//! the same code as the client's.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbt_client::anchor::in_one_line;
use dbt_client::auth::agent::Agent;
use dbt_client::auth::{Credentials, Netrc};
use dbt_client::config::{
    self, Asked, ConfigFile, LoadedFile, Means, ServerEntry, Surroundings, Text, WayIn,
};
use dbt_client::settings::Places;
use dbt_client::token_cache::{CacheProblem, TokenCache};
use dbt_client::url::{Origin, RepositoryUrl};
use dbt_core::brand;
use dbt_core::clock::Clock;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;

use crate::env::{Environment, Variable};
use crate::stop::{Explained, Stop};

/// A server of the configuration.
#[derive(Debug)]
pub(crate) struct ConfiguredServer {
    pub(crate) repository: Option<RepositoryUrl>,
    pub(crate) tools: Option<RepositoryUrl>,
    pub(crate) truststore: Option<RepositoryUrl>,
    pub(crate) ca_file: Option<PathBuf>,
    /// What is sent to its origins, and to no other.
    pub(crate) credentials: Credentials,
    /// Why there are none though the file has some, or names some that cannot be used.
    pub(crate) why_none: Option<String>,
}

/// Reads the configuration and returns the server that is named, or the default one.
pub(crate) fn server(
    named: Option<&str>,
    environment: &Environment,
    printer: &Printer,
) -> Result<ConfiguredServer, Stop> {
    let LoadedFile { path, config, notices } = load(environment)?;
    printer.verbose(format!("configuration `{}`", path.display()));
    for notice in &notices {
        printer.verbose(notice);
    }
    let variable = environment.text(Variable::Server)?;
    let entry = choose(&config, named.or(variable.as_deref()), &path)?;
    let path = std::path::absolute(&path).unwrap_or(path);
    let home = environment.path(Variable::UserHome);
    let around = Surroundings {
        variables: environment,
        directory: path.parent().unwrap_or(Path::new("/")),
        home: home.as_deref(),
    };
    let agent = Agent::at(environment.path(Variable::SshAgent));
    let netrc = home.as_ref().map(|home| home.join(Netrc::NAME));
    let store = config.token_store(environment)?;
    let tokens = |home| Arc::new(tokens_of(home, printer.second()).keeping_in(store));
    let tokens = environment.our_home().map(tokens);
    Ok(decide(&config, entry, around, &Means { agent, clock: Clock::System, netrc, tokens })?)
}

/// Returns what a server that no configuration knows gives for the identity of the CI job in which
/// this runs, if it does; and why it does not, if there is one.
pub(crate) fn of_a_job(
    origins: BTreeSet<Origin>,
    environment: &Environment,
) -> (Credentials, Option<String>) {
    let home = origins.first().cloned();
    let means = Means { agent: Agent::at(None), clock: Clock::System, netrc: None, tokens: None };
    let (home, variables) = (home.as_ref(), environment);
    let asked = Asked { home, recipients: &[], variables, time_scale: 1.0 };
    let way_in = WayIn::unconfigured(origins, asked, &means);
    let way_in = way_in.after_given_identity(asked, &means);
    let why_none = why_none(&way_in);
    (way_in.credentials, why_none)
}

/// Says why nothing is sent though there is something, or something is named that cannot be used.
fn why_none(way_in: &WayIn) -> Option<String> {
    let why = way_in.hint.clone().or_else(|| way_in.credentials.unused());
    why.filter(|_why| !way_in.found().is_sent())
}

/// Returns what the user has signed in with by the client, which says what is wrong with it. Of the
/// keychain it is said here, too: it may be another session's, or none, where one publishes.
fn tokens_of(home: PathBuf, printer: Printer) -> TokenCache {
    let places = Places {
        home: Some(home),
        read_only_home: None,
        store: None,
        read_only_stores: Vec::new(),
        temporary: PathBuf::new(),
        links: None,
    };
    TokenCache::open(&places, move |problem| {
        if let CacheProblem::Keychain(problem) = problem {
            printer.warning(in_one_line(problem));
            printer.hint(problem.hint());
        }
    })
}

/// Reads the first configuration file there is.
fn load(environment: &Environment) -> Result<LoadedFile, Stop> {
    let users = environment.our_home().map(|home| home.join("conf").join(brand::CONFIG_FILE));
    let systems = brand::SYSTEM_CONFIG_DIRECTORY
        .map(|directory| PathBuf::from(directory).join(brand::CONFIG_FILE));
    let usual: Vec<PathBuf> = users.into_iter().chain(systems).collect();
    let loaded = config::load(environment.path(Variable::Config).as_deref(), &usual)?;
    Ok(loaded.ok_or_else(|| {
        let shown: Vec<String> = usual.iter().map(|path| format!("`{}`", path.display())).collect();
        ChoiceError::NoFile { looked: shown.join(", ") }
    })?)
}

fn choose<'a>(
    config: &'a ConfigFile,
    named: Option<&str>,
    path: &Path,
) -> Result<&'a ServerEntry, ChoiceError> {
    let path = || path.display().to_string();
    match named.or(config.default_server.as_deref()) {
        Some(name) => config.server(name).ok_or_else(|| ChoiceError::NoServer {
            name: name.to_owned(),
            names: config.names(),
            path: path(),
        }),
        None => config.servers.first().ok_or_else(|| ChoiceError::Empty { path: path() }),
    }
}

/// Decides everything about a server. Which of its repositories it must have depends on what is
/// published, so none is asked for here.
fn decide(
    config: &ConfigFile,
    entry: &ServerEntry,
    around: Surroundings<'_>,
    means: &Means,
) -> Result<ConfiguredServer, config::ConfigError> {
    let url = |text: &Option<Text>| text.as_ref().map(|text| text.url(around)).transpose();
    let (repository, tools) = (url(&entry.repository)?, url(&entry.tools_repository)?);
    let truststore = url(&entry.truststore)?;
    let urls = [&repository, &tools, &truststore];
    let origins: BTreeSet<Origin> =
        urls.into_iter().flatten().filter_map(|url| url.origin().cloned()).collect();
    let way_in = config.way_in(entry, origins, around, means)?;
    let why_none = why_none(&way_in);
    Ok(ConfiguredServer {
        repository,
        tools,
        truststore,
        ca_file: entry.options.ca_file.as_ref().map(|text| text.file(around)).transpose()?,
        why_none,
        credentials: way_in.credentials,
    })
}

/// Why the configuration does not say where to publish.
#[derive(Debug, thiserror::Error)]
enum ChoiceError {
    #[error("there is no configuration file: looked for {looked}")]
    NoFile { looked: String },
    #[error("`{path}` has no server `{name}`")]
    NoServer { name: String, names: String, path: String },
    #[error("`{path}` has no server")]
    Empty { path: String },
}

impl Explained for ChoiceError {
    fn code(&self) -> ExitCode {
        ExitCode::CONFIGURATION
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoServer { names, .. } if !names.is_empty() => {
                vec![format!("its servers are {names}")]
            }
            Self::NoFile { .. } | Self::NoServer { .. } | Self::Empty { .. } => {
                vec!["`--to URL` or `--to DIR` says where to publish".to_owned()]
            }
        }
    }
}

impl Explained for config::ConfigError {
    fn code(&self) -> ExitCode {
        ExitCode::CONFIGURATION
    }

    fn hints(&self) -> Vec<String> {
        self.hint().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ffi::OsString;

    use super::*;

    /// Returns the chosen server's name, and what was decided about it.
    fn decided(json: &str, named: Option<&str>) -> (String, ConfiguredServer) {
        let config = ConfigFile::parse(json.as_bytes()).unwrap();
        let entry = choose(&config, named, Path::new("dbt.json")).unwrap();
        let variables: BTreeMap<String, OsString> = [("TOKEN".to_owned(), "t".into())].into();
        let directory = Path::new("/etc/dbt");
        let around = Surroundings { variables: &variables, directory, home: None };
        let means =
            Means { agent: Agent::at(None), clock: Clock::System, netrc: None, tokens: None };
        (entry.name.to_string(), decide(&config, entry, around, &means).unwrap())
    }

    const TWO: &str = r#"{"servers": {"z": {"repository": "https://z/dbt"}, "a": {"repository": "https://a/dbt"}},
        "username": "u", "password": "p"}"#;

    #[test]
    fn the_first_server_as_written_is_the_default_one() {
        assert_eq!(decided(TWO, None).0, "z");
        assert_eq!(decided(TWO, Some("a")).0, "a");
        let config = ConfigFile::parse(TWO.as_bytes()).unwrap();
        let error = choose(&config, Some("b"), Path::new("dbt.json")).unwrap_err();
        assert_eq!(error.hints(), ["its servers are `z`, `a`"]);
        let error = choose(&ConfigFile::default(), None, Path::new("dbt.json")).unwrap_err();
        assert_eq!(error.to_string(), "`dbt.json` has no server");
    }

    #[test]
    fn what_stands_at_the_top_goes_to_its_owner_and_to_nobody_else() {
        let named = TWO.replace(r#""username""#, r#""defaultServer": "z", "username""#);
        let (_name, owner) = decided(&named, None);
        assert!(!owner.credentials.is_none() && owner.why_none.is_none());
        let (_name, other) = decided(&named, Some("a"));
        assert!(other.credentials.is_none());
        assert!(other.why_none.unwrap().contains("belong to the server `z`"));
        // Of several servers nobody is the owner until `defaultServer` says who is.
        let (_name, first) = decided(TWO, None);
        assert!(first.credentials.is_none());
        assert!(first.why_none.unwrap().contains("no `defaultServer`"));
    }

    #[test]
    fn the_legacy_format_has_one_server_with_the_credentials_of_the_file() {
        let json = r#"{"dbt": {"repository": "https://h/dbt", "truststore": "https://h/dbt/truststore"},
            "tools": {"repository": "https://h/dbt-tools"}, "Token": "${TOKEN}"}"#;
        let (name, server) = decided(json, None);
        assert_eq!(name, "default");
        assert_eq!(server.tools.unwrap().to_string(), "https://h/dbt-tools");
        assert!(!server.credentials.is_none());
    }
}
