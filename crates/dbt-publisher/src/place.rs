//! Where things are published: the two repositories and the truststore, and who uploads.
//!
//! Everything about it is decided here, once: below, nobody asks whether a URL was typed or
//! configured, or where a token came from.

use std::path::Path;

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::config::NewServer;
use dbt_client::url::RepositoryUrl;
use dbt_core::brand;
use dbt_core::layout::{TRUSTSTORE_FILE, Tree};
use dbt_core::repo_path::RepoPath;
use dbt_core::secret::Secret;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printer::Printer;
use dbt_ui::report::Report;

use crate::args::{Delivery, SignIn, Where};
use crate::config::{self, ConfiguredServer};
use crate::env::{Environment, Variable};
use crate::stop::Stop;

/// Where things are published.
#[derive(Debug)]
pub(crate) struct Place {
    repository: Option<RepositoryUrl>,
    tools: Option<RepositoryUrl>,
    truststore: Option<RepositoryUrl>,
    /// What is sent to their origins, and to no other.
    pub(crate) credentials: Credentials,
    /// Further certificate authorities.
    pub(crate) ca_file: Option<std::path::PathBuf>,
}

impl Place {
    /// Decides from where what is signed goes.
    pub(crate) fn of(
        delivery: &Delivery,
        environment: &Environment,
        printer: &Printer,
    ) -> Result<Self, Stop> {
        Self::resolve(&delivery.place, &delivery.uploading, environment, printer)
    }

    /// Returns a place of others, from which something is read: nobody there is told who reads.
    pub(crate) fn of_a_stranger(
        root: &str,
        ca_file: Option<std::path::PathBuf>,
    ) -> Result<Self, Stop> {
        let root = typed_url(root)?;
        Ok(Self {
            repository: Some(below(&root, brand::REPOSITORY_PATH)?),
            tools: Some(below(&root, brand::TOOLS_PATH)?),
            truststore: None,
            credentials: Credentials::none(),
            ca_file,
        })
    }

    /// Returns the places of a server that somebody else has described; nobody there is told who reads.
    pub(crate) fn of_a_server(server: &NewServer, ca_file: Option<std::path::PathBuf>) -> Self {
        Self {
            repository: Some(server.repository.clone()),
            tools: Some(server.tools.clone()),
            truststore: Some(server.truststore.clone()),
            credentials: Credentials::none(),
            ca_file,
        }
    }

    /// Decides from what was typed, the environment and the configuration.
    pub(crate) fn resolve(
        place: &Where,
        sign_in: &SignIn,
        environment: &Environment,
        printer: &Printer,
    ) -> Result<Self, Stop> {
        let mut configured = None;
        let (repository, tools, truststore) = if let Some(root) = &place.to {
            let root = typed_url(root)?;
            (
                Some(below(&root, brand::REPOSITORY_PATH)?),
                Some(below(&root, brand::TOOLS_PATH)?),
                None,
            )
        } else if place.repository.is_some() || place.tools_repository.is_some() {
            let url = |text: &Option<String>| text.as_deref().map(typed_url).transpose();
            (url(&place.repository)?, url(&place.tools_repository)?, None)
        } else {
            let server = config::server(place.server.as_deref(), environment, printer)?;
            let (repository, tools) = (server.repository.clone(), server.tools.clone());
            let truststore = server.truststore.clone();
            configured = Some(server);
            (repository, tools, truststore)
        };
        let ca_file = configured.as_ref().and_then(|server| server.ca_file.clone());
        let mut place = Self {
            truststore: match (truststore, &repository) {
                (Some(truststore), _) => Some(truststore),
                (None, Some(repository)) => Some(below(repository, TRUSTSTORE_FILE)?),
                (None, None) => None,
            },
            repository,
            tools,
            credentials: Credentials::none(),
            ca_file: place.ca_file.clone().or(ca_file),
        };
        place.credentials = place.credentials(sign_in, configured, environment, printer)?;
        Ok(place)
    }

    /// Returns the repository of one of the two trees.
    pub(crate) fn tree(&self, tree: Tree) -> Result<&RepositoryUrl, Stop> {
        let (url, flag) = match tree {
            Tree::Repository => (&self.repository, "--repository"),
            Tree::Tools => (&self.tools, "--tools-repository"),
        };
        url.as_ref().ok_or_else(|| Stop::usage(format!("`{flag}` is missing")))
    }

    /// Returns the truststore file, if it is known where that is.
    pub(crate) const fn truststore(&self) -> Option<&RepositoryUrl> {
        self.truststore.as_ref()
    }

    fn credentials(
        &self,
        sign_in: &SignIn,
        configured: Option<ConfiguredServer>,
        environment: &Environment,
        printer: &Printer,
    ) -> Result<Credentials, Stop> {
        let urls = [&self.repository, &self.tools, &self.truststore];
        let origins = urls.into_iter().flatten().filter_map(|url| url.origin().cloned());
        let SignIn { token_file, token, username, password_file } = sign_in;
        if let Some(path) = token_file {
            let token = SecretValue::file("--token-file", path.clone());
            return Ok(Credentials::bearer(origins, token));
        }
        if let Some(token) = token {
            printer.warning("others can see `--token` in the list of processes");
            let variable = Variable::PublishToken.name();
            printer.hint(format!("use `--token-file FILE` or `{variable}`"));
            let token = SecretValue::fixed("--token", Secret::new(token.clone()));
            return Ok(Credentials::bearer(origins, token));
        }
        if let Some(name) = username {
            let name = SecretValue::fixed("--username", Secret::new(name.clone()));
            let password = match (password_file, environment.secret(Variable::PublishPassword)?) {
                (Some(path), _) => SecretValue::file("--password-file", path.clone()),
                (None, Some(password)) => {
                    SecretValue::fixed(&Variable::PublishPassword.name(), password)
                }
                (None, None) => return Err(no_password()),
            };
            return Ok(Credentials::basic(origins, name, password));
        }
        if let Some(token) = environment.secret(Variable::PublishToken)? {
            let token = SecretValue::fixed(&Variable::PublishToken.name(), token);
            return Ok(Credentials::bearer(origins, token));
        }
        let (credentials, why_none) = match configured {
            Some(server) => (server.credentials, server.why_none),
            None => config::of_a_job(origins.collect(), environment),
        };
        if let Some(why_none) = why_none {
            printer.note(why_none);
        }
        Ok(credentials)
    }
}

fn no_password() -> Stop {
    let variable = Variable::PublishPassword.name();
    Stop::usage("`--username` needs a password")
        .hint(format!("`--password-file FILE` or `{variable}` gives it"))
}

/// Reads a URL or a directory as typed. A directory that exists may be written in any way.
fn typed_url(text: &str) -> Result<RepositoryUrl, Stop> {
    let directory = Path::new(text);
    if !text.contains("://") && directory.is_dir() {
        let absolute = std::path::absolute(directory)
            .map_err(|error| Report::because(ExitCode::USAGE, format!("`{text}`"), error))?;
        return Ok(RepositoryUrl::of_directory(&absolute)?);
    }
    let here = std::path::absolute(".").map_err(|error| {
        Report::because(ExitCode::INTERNAL, "failed to find this directory", error)
    })?;
    RepositoryUrl::parse_relative_to(text, &here).map_err(|error| {
        let stop = Stop::from(error);
        if text.contains("://") {
            return stop;
        }
        stop.hint(format!("a directory that is not there yet is made first: `mkdir -p {text}`"))
    })
}

/// Returns what is directly below a place.
fn below(url: &RepositoryUrl, name: &str) -> Result<RepositoryUrl, Stop> {
    let name: RepoPath = name.parse().map_err(Report::internal)?;
    Ok(url.join(&name))
}
