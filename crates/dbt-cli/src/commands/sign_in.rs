//! `whoami` and `--auth-check`: what a server is told, and as whom it knows this client.

use dbt_client::auth::Credentials;
use dbt_client::config::{Kind, WayIn};
use dbt_client::settings::Settings;
use dbt_client::source::{Connector, Failure, FetchError, Patience};
use dbt_client::whoami::{self, Identity};
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable;
use dbt_ui::report::Report;
use serde_json::json;

use super::failure;
use crate::cli::Whoami;
use crate::process::Process;

/// Shows as whom the selected server knows this client: what is sent, and what the server makes of
/// it, if it says that.
pub(crate) fn whoami(process: &Process, asked: &Whoami) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    supported(&server, &way_in)?;
    let kind = way_in.found();
    let (identity, failed) = match identity(process, &server, &kind) {
        Ok(identity) => (identity, Ok(())),
        Err(report) => (None, Err(report)),
    };
    let origins: Vec<String> = way_in.origins.iter().map(ToString::to_string).collect();
    if asked.json {
        let (user, from) = user_and_place(&kind);
        process.printer.json(json!({
            "server": server, "kind": kind.name(), "user": user, "from": from,
            "sentTo": origins, "identity": identity,
        }))?;
    } else {
        let lines = [facts(&server, &kind, &origins), identity.map(said).unwrap_or_default()];
        process.printer.data(format!("{}\n", lines.concat().join("\n")))?;
    }
    failed
}

/// Says how this client signs in, and fails if the server does not accept it.
pub(crate) fn auth_check(process: &Process) -> Result<(), Report> {
    whoami(process, &Whoami { json: false })
}

/// Asks the server, where there is something to tell it.
fn identity(process: &Process, server: &str, kind: &Kind) -> Result<Option<Identity>, Report> {
    if !kind.is_sent() {
        return Ok(None);
    }
    let settings = process.settings()?;
    let answer = identity_of(&settings, &settings.server.credentials);
    if let Ok(None) = answer {
        process.printer.verbose(format!("the server `{server}` does not say as whom it knows us"));
    }
    answer.map_err(|error| {
        let is_refused = matches!(error.failure(), Failure::Unauthorized);
        let report = failure::fetching(error);
        if is_refused {
            report.while_doing(format!("the server `{server}` does not accept {}", kind.words()))
        } else {
            report
        }
    })
}

/// Asks the server of these settings whose these credentials are. Nothing, if it does not say that
/// or may not be asked.
pub(super) fn identity_of(
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<Identity>, FetchError> {
    let root = settings.server.repository.parent().filter(|_root| !settings.offline);
    let Some(root) = root else { return Ok(None) };
    let ca_file = settings.server.ca_file.as_deref();
    let agent = format!("{}/{}", brand::PROGRAM, settings.program.version);
    let connector = Connector::new(&settings.network, ca_file, &agent);
    let patience = Patience::without_cached_copy(settings.server.time_scale);
    whoami::ask(&root, &connector, credentials, &patience)
}

/// Returns in whose name something is sent, and where what is sent comes from.
fn user_and_place(kind: &Kind) -> (Option<String>, Option<String>) {
    match kind {
        Kind::Basic { username } => (username.clone(), None),
        Kind::Token { from } => (None, Some(from.clone())),
        Kind::SshKey { key, username, with_password: _ } => (username.clone(), Some(key.clone())),
        Kind::Netrc { path, username } => {
            (Some(username.clone()), Some(path.display().to_string()))
        }
        Kind::Nothing | Kind::Oidc { .. } | Kind::NamelessSshKey { .. } | Kind::Login => {
            (None, None)
        }
    }
}

/// Says what is sent, and where.
fn facts(server: &str, kind: &Kind, origins: &[String]) -> Vec<String> {
    let mut lines = vec![format!("server: {server}"), format!("signs in with: {}", kind.words())];
    match kind {
        Kind::Basic { username } | Kind::SshKey { username, .. } => {
            let shown = username.as_deref().unwrap_or("printed by a command");
            lines.push(format!("user: {shown}"));
        }
        Kind::Netrc { username, .. } => lines.push(format!("user: {username}")),
        Kind::Nothing
        | Kind::Token { .. }
        | Kind::Oidc { .. }
        | Kind::NamelessSshKey { .. }
        | Kind::Login => {}
    }
    if kind.is_sent() {
        lines.push(format!("sent to: {}", origins.join(", ")));
    }
    lines
}

/// Says as whom a server knows us. It may say anything.
fn said(identity: Identity) -> Vec<String> {
    let Identity { subject, name, email, groups, roles, method, expires } = identity;
    let list = |list: Vec<String>| (!list.is_empty()).then(|| list.join(", "));
    let known = [
        ("known as", Some(subject)),
        ("name", name),
        ("e-mail", email),
        ("groups", list(groups)),
        ("roles", list(roles)),
        ("proved by", method),
        ("until", expires),
    ];
    let line =
        |(word, text): (&str, Option<String>)| Some(format!("{word}: {}", printable::line(&text?)));
    known.into_iter().filter_map(line).collect()
}

/// Returns the selected server's name and its way in.
pub(super) fn selected(process: &Process) -> Result<(String, WayIn), Report> {
    let inputs = process.inputs()?;
    let way_in = inputs.chosen_way_in()?;
    Ok((inputs.chosen_name()?.to_string(), way_in))
}

/// Refuses what is configured and cannot be used, unless something else is sent.
pub(super) fn supported(server: &str, way_in: &WayIn) -> Result<(), Report> {
    match way_in.found().unusable() {
        None => Ok(()),
        Some(hint) => {
            let message = format!("cannot sign in to the server `{server}` as configured");
            Err(Report::new(ExitCode::CONFIGURATION, message).hint(hint))
        }
    }
}
