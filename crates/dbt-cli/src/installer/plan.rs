//! What an installation means for the configuration: nobody's server gets another address, another
//! anchor or another level because of a file that was downloaded.

use std::path::Path;

use dbt_client::config::{Document, NewServer, ServerEntry, Urls, anchor_of, is_anchor};
use dbt_core::name::ServerName;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use super::args::Install;
use crate::commands::failure;
use crate::process::Process;

/// What becomes of the configuration.
#[derive(Debug)]
pub(super) struct Plan {
    /// What the configuration calls the server.
    pub(super) name: ServerName,
    change: Change,
    /// The configuration says which server is the default.
    has_default: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The server is new; perhaps it is the first one.
    Add { first: bool },
    /// It is there, and what is said of signing in may change.
    SignIn,
    /// It is there without an anchor, or in the older format, and stays as it is.
    Keep,
    /// It is there, and somebody who knows its anchor wants it replaced.
    Replace,
}

impl Plan {
    /// Compares an offered server with the configuration, and refuses what would change whom this
    /// machine trusts.
    pub(super) fn make(
        process: &Process,
        document: &Document,
        server: &NewServer,
        asked: &Install,
    ) -> Result<Self, Report> {
        let config = document.config().map_err(failure::configuring)?;
        let has_default = config.default_server.is_some();
        let inputs = process.inputs()?;
        let is_there = |entry: &&ServerEntry| {
            inputs.urls(entry).is_ok_and(|urls| differences(&urls, server).is_empty())
        };
        let named = config.server(server.name.as_str());
        let same_place = || config.servers.iter().find(is_there);
        let found = named.or_else(|| if asked.name.is_none() { same_place() } else { None });
        let Some(entry) = found else {
            let first = config.servers.is_empty();
            let change = Change::Add { first };
            return Ok(Self { name: server.name.clone(), change, has_default });
        };

        let name = entry.name.clone();
        let urls = inputs.urls(entry).map_err(failure::configuring)?;
        let mut differences = differences(&urls, server);
        let is_open = entry.options.trust.is_empty();
        let trusts_same = server.trusts_as(entry);
        let is_told = asked.replace_trust.as_deref().is_some_and(|old| is_anchor(entry, old));
        if differences.is_empty() && trusts_same && !entry.legacy {
            return Ok(Self { name, change: Change::SignIn, has_default });
        }
        if is_told {
            return Ok(Self { name, change: Change::Replace, has_default });
        }
        if differences.is_empty() && (is_open || trusts_same) {
            return Ok(Self { name, change: Change::Keep, has_default });
        }
        if !trusts_same {
            differences.push(format!(
                "its anchor is `{}` and would be `{}`",
                anchor_of(entry),
                server.anchor()
            ));
        }
        Err(refused(entry, &differences))
    }

    /// Changes the configuration, which is not written yet.
    pub(super) fn change(&self, document: &mut Document, server: &NewServer) -> Result<(), Report> {
        let changed = match self.change {
            Change::Add { first } => document
                .add(server)
                .and_then(|()| if first { document.update_from(&self.name) } else { Ok(()) }),
            Change::SignIn => document.set_sign_in(&self.name, &server.sign_in),
            Change::Replace => document.replace(server),
            Change::Keep => Ok(()),
        };
        changed.map_err(failure::configuring)
    }

    /// Says whether this machine does not know the server yet.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.change, Change::Add { .. })
    }

    /// Says whether the configuration names a default server from now on, and did not before.
    pub(super) fn sets_default(&self) -> bool {
        self.is_new() && !self.has_default
    }

    /// Says whether the configuration stays as it is.
    pub(super) fn keeps(&self) -> bool {
        self.change == Change::Keep
    }

    /// Says whether the configuration says already in whose name one signs in to the server.
    pub(super) fn names_somebody(&self, document: &Document) -> Result<bool, Report> {
        let config = document.config().map_err(failure::configuring)?;
        let entry = config.server(self.name.as_str());
        Ok(entry.is_some_and(|entry| entry.sign_in.oidc_username.is_some()))
    }

    /// Says what became of the configuration at `path`.
    pub(super) fn words(&self, path: &Path) -> String {
        let (name, path) = (&self.name, path.display());
        match self.change {
            Change::Add { .. } => format!("the server `{name}` is in `{path}`"),
            Change::SignIn => format!("the server `{name}` was in `{path}` already"),
            Change::Replace => format!("the server `{name}` in `{path}` is replaced"),
            Change::Keep => format!(
                "the server `{name}` in `{path}` stays as it is, without an anchor; `--replace-trust none` gives it this one"
            ),
        }
    }
}

/// Says whether a configuration has a server as the older program wrote them: without an anchor.
pub(super) fn is_of_older(document: &Document) -> Result<bool, Report> {
    let config = document.config().map_err(failure::configuring)?;
    Ok(config.servers.iter().any(|entry| entry.options.trust.is_empty()))
}

/// Lists where the places of a configured server are others than those of the offered one.
fn differences(urls: &Urls, server: &NewServer) -> Vec<String> {
    [
        ("repository", &urls.repository, &server.repository),
        ("tools repository", &urls.tools, &server.tools),
        ("truststore", &urls.truststore, &server.truststore),
    ]
    .into_iter()
    .filter(|(_what, present, offered)| present != offered)
    .map(|(what, present, offered)| format!("its {what} is `{present}` and would be `{offered}`"))
    .collect()
}

fn refused(entry: &ServerEntry, differences: &[String]) -> Report {
    let (name, old) = (&entry.name, anchor_of(entry));
    let message = format!("refusing to change whom the server `{name}` of the configuration is");
    Report::because(ExitCode::CONFIGURATION, message, differences.join("; "))
        .hint(format!("`--replace-trust {old}` replaces it, once an administrator has said why"))
        .hint("`--name NAME` adds the offered server beside it".to_owned())
}
