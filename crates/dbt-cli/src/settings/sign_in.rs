//! How the server of a run is told who asks: a variable beats the configuration.

use std::collections::BTreeSet;
use std::sync::Arc;

use dbt_client::auth::agent::Agent;
use dbt_client::auth::{Netrc, SecretValue};
use dbt_client::config::{Asked, ConfigFile, Means, ServerEntry, SharedClient, Urls, WayIn};
use dbt_client::token_cache::Recipient;
use dbt_client::url::Origin;
use dbt_core::name::ServerName;

use super::{Chosen, Inputs, SettingsError};
use crate::env::{Environment, EnvironmentError, Variable};

impl Inputs<'_> {
    /// Decides how the server of an entry is told who asks.
    pub fn way_in(&self, entry: &ServerEntry) -> Result<WayIn, SettingsError> {
        let origins = self.urls(entry)?.origins();
        if let Some(token) = token_of_environment(self.env, &origins)? {
            return Ok(token);
        }
        let Some(config) = self.config() else {
            return self.way_in_at(&self.urls(entry)?);
        };
        let directory = self.config_directory();
        let around = self.around(&directory);
        Ok(config.way_in(entry, origins, around, &self.means())?)
    }

    /// Returns the variables in which the secrets of a configured server stand, also where a variable
    /// of ours is sent in their place.
    pub(super) fn secret_variables(
        &self,
        entry: &ServerEntry,
    ) -> Result<BTreeSet<String>, SettingsError> {
        let Some(config) = self.config() else { return Ok(BTreeSet::new()) };
        let origins = self.urls(entry)?.origins();
        let directory = self.config_directory();
        Ok(config.keys_of(entry, &origins, self.around(&directory)).secret_variables())
    }

    /// Returns who is sent what is kept for the server that a run would use.
    pub fn chosen_recipients(&self) -> Result<Vec<Recipient>, SettingsError> {
        Ok(match self.choose()? {
            Chosen::Entry(entry) => {
                let urls = self.urls(entry)?;
                Recipient::all(&entry.name, urls.repository.origin(), &urls.origins())
            }
            Chosen::Url(url) => {
                let origins = Urls::below(&url).origins();
                origins.into_iter().map(Recipient::at_home).collect()
            }
        })
    }

    /// Returns another server than the one of this name that is at home at an origin.
    pub fn owner_of(&self, origin: &Origin, name: &str) -> Option<&ServerName> {
        let directory = self.config_directory();
        let owner = self.config()?.owner_of(origin, name, self.around(&directory))?;
        Some(&owner.name)
    }

    /// Returns another server of a configuration at which it would count what the one of this entry
    /// is sent, if there is one.
    pub fn shared_client(&self, config: &ConfigFile, entry: &ServerEntry) -> Option<SharedClient> {
        let directory = self.config_directory();
        let around = self.around(&directory);
        let origins = Urls::of(entry, around).map(|urls| urls.origins()).unwrap_or_default();
        config.shared_client(entry, &origins, around)
    }

    /// Decides how a server that no configuration knows is told who asks.
    pub(super) fn way_in_at(&self, urls: &Urls) -> Result<WayIn, SettingsError> {
        let origins = urls.origins();
        if let Some(token) = token_of_environment(self.env, &origins)? {
            return Ok(token);
        }
        let home = urls.repository.origin();
        let asked = Asked { home, recipients: &[], variables: self.env, time_scale: 1.0 };
        let way_in = WayIn::unconfigured(origins, asked, &self.means());
        Ok(way_in.after_given_identity(asked, &self.means()))
    }

    fn means(&self) -> Means {
        Means {
            agent: Agent::at(self.env.path(Variable::SshAgent)),
            clock: self.clock,
            netrc: self.host.home.as_ref().map(|home| home.join(Netrc::NAME)),
            tokens: Some(Arc::clone(self.tokens)),
        }
    }
}

fn token_of_environment(
    env: &Environment,
    origins: &BTreeSet<Origin>,
) -> Result<Option<WayIn>, EnvironmentError> {
    let written = Variable::RepoToken.name();
    let file = Variable::RepoTokenFile.name();
    let (from, token) = if let Some(token) = env.secret(Variable::RepoToken)? {
        let value = SecretValue::fixed(&written, token);
        (written, value)
    } else if let Some(path) = env.path(Variable::RepoTokenFile) {
        let value = SecretValue::file(&file, path);
        (file, value)
    } else {
        return Ok(None);
    };
    Ok(Some(WayIn::token(&from, token, origins.clone())))
}
