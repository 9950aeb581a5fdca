//! `whoami` and `--auth-check`: what a server is told, and as whom it knows this client.

use std::sync::Arc;
use std::time::Duration;

use dbt_client::auth::{Credentials, ProviderTokens};
use dbt_client::config::{Kind, WayIn};
use dbt_client::oidc::{Tokens, UnverifiedClaims};
use dbt_client::repository::Repository;
use dbt_client::settings::Settings;
use dbt_client::source::{Connector, Failure, FetchError, Patience};
use dbt_client::whoami::{self, Identity};
use dbt_core::{brand, timestamp};
use dbt_ui::exit_code::ExitCode;
use dbt_ui::printable;
use dbt_ui::report::Report;
use serde_json::json;

use super::failure;
use super::login::NOT_ACCEPTED;
use crate::cli::Whoami;
use crate::process::Process;

/// Shows as whom the selected server knows this client: what is sent, and what the server makes of
/// it, if it says that.
pub(crate) fn whoami(process: &Process, asked: &Whoami) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    supported(&server, &way_in)?;
    let kind = way_in.found();
    let (identity, failed) = match identity(process, &server, &kind, &way_in) {
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

/// Does as `whoami`; and where nothing is sent, looks whether the server lets runs in that way.
pub(crate) fn auth_check(process: &Process, asked: &Whoami) -> Result<(), Report> {
    whoami(process, asked)?;
    let (server, way_in) = selected(process)?;
    let settings = process.settings()?;
    if way_in.found().is_sent() || settings.offline {
        return Ok(());
    }
    // Runs ask for it first. What else keeps it away is not about who asks.
    let repository = Repository::open(&settings.server, &connector_of(&settings));
    let patience = Patience::without_cached_copy(settings.server.time_scale);
    match repository.truststore(None, &patience) {
        Err(error) if matches!(error.failure(), Failure::Unauthorized) => {
            let hint = way_in.hint.or_else(|| settings.server.credentials.unused());
            let usual = || format!("`{} login` signs you in", brand::PROGRAM);
            let message =
                format!("the server `{server}` wants you to sign in, and is sent nothing");
            let report = failure::fetching(error).while_doing(message);
            Err(report.hint(hint.unwrap_or_else(usual)))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// How long a provider, and a key in hardware, are waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks the server, where there is something to tell it. What it does not say of a provider's token,
/// the token does.
fn identity(
    process: &Process,
    server: &str,
    kind: &Kind,
    way_in: &WayIn,
) -> Result<Option<Identity>, Report> {
    if !kind.is_sent() {
        return Ok(None);
    }
    let settings = process.settings()?;
    let own = match (kind, &way_in.provider) {
        (Kind::Oidc { .. }, Some(provider)) => {
            Some(of_token(&token_of(&settings, (server, way_in), provider)?))
        }
        _ => None,
    };
    let answer = identity_of(&settings, &way_in.credentials);
    if let Ok(None) = answer {
        process.printer.verbose(format!("the server `{server}` does not say as whom it knows us"));
    }
    let known = answer.map_err(|error| {
        let is_refused = matches!(error.failure(), Failure::Unauthorized);
        let report = failure::fetching(error);
        if is_refused {
            report
                .while_doing(format!("the server `{server}` does not accept {}", kind.words()))
                .hint(way_on(kind))
        } else {
            report
        }
    })?;
    Ok(match (known, own) {
        (Some(known), Some(own)) => Some(Identity {
            name: known.name.or(own.name),
            email: known.email.or(own.email),
            expires: known.expires.or(own.expires),
            ..known
        }),
        (known, own) => known.or(own),
    })
}

/// Returns what can be done where a server does not accept what it is sent. Why it does not is its
/// administrator's to know.
fn way_on(kind: &Kind) -> String {
    let program = brand::PROGRAM;
    match kind {
        Kind::Oidc { .. } => format!("`{program} login` signs you in anew"),
        Kind::Login => {
            format!("it has ended or was revoked: `{program} login --token` takes another one")
        }
        Kind::Nothing
        | Kind::Basic { .. }
        | Kind::Token { .. }
        | Kind::SshKey { .. }
        | Kind::Netrc { .. }
        | Kind::Job { .. }
        | Kind::NamelessProvider { .. }
        | Kind::SharedProvider(_)
        | Kind::NamelessSshKey { .. } => NOT_ACCEPTED.to_owned(),
    }
}

/// Returns the provider's token, renewed if need be; fails where somebody has to sign in.
fn token_of(
    settings: &Settings,
    (server, way_in): (&str, &WayIn),
    provider: &ProviderTokens,
) -> Result<Tokens, Report> {
    let limit = PATIENCE.mul_f64(settings.server.time_scale);
    let tokens = if settings.offline {
        provider.kept(limit)
    } else {
        provider.silently(&connector_of(settings), limit).map_err(|error| {
            let (code, hint) = (failure::code_of_class(error.class()), error.hint());
            let message = format!("failed to sign in to the server `{server}`");
            Report::because(code, message, error).hints(hint)
        })?
    };
    tokens.ok_or_else(|| {
        let message = format!("nobody is signed in to the server `{server}`");
        let usual = || format!("`{} login` signs you in", brand::PROGRAM);
        let hint = way_in.hint.clone().or_else(|| way_in.credentials.unused());
        Report::new(ExitCode::REFUSED, message).hint(hint.unwrap_or_else(usual))
    })
}

/// Returns what a provider's token says of itself, which nobody has verified here.
fn of_token(tokens: &Tokens) -> Identity {
    let claims = UnverifiedClaims::of(&tokens.token);
    let text = |name| claims.as_ref().and_then(|claims| claims.text(name)).map(str::to_owned);
    let groups = claims.as_ref().map(|claims| claims.texts("groups")).unwrap_or_default();
    Identity {
        subject: text("sub").unwrap_or_else(|| "what the token does not say".to_owned()),
        name: text("name").or_else(|| text("preferred_username")),
        email: text("email"),
        groups: groups.into_iter().map(str::to_owned).collect(),
        roles: Vec::new(),
        method: Some("oidc".to_owned()),
        expires: tokens.expires.map(timestamp::format),
    }
}

/// Returns the way to the server of these settings, and to its identity provider.
pub(super) fn connector_of(settings: &Settings) -> Arc<Connector> {
    let ca_file = settings.server.ca_file.as_deref();
    let agent = format!("{}/{}", brand::PROGRAM, settings.program.version);
    Connector::new(&settings.network, ca_file, &agent)
}

/// Asks the server of these settings whose these credentials are. Nothing, if it does not say that
/// or may not be asked.
pub(super) fn identity_of(
    settings: &Settings,
    credentials: &Credentials,
) -> Result<Option<Identity>, FetchError> {
    let root = settings.server.repository.parent().filter(|_root| !settings.offline);
    let Some(root) = root else { return Ok(None) };
    let patience = Patience::without_cached_copy(settings.server.time_scale);
    whoami::ask(&root, &connector_of(settings), credentials, &patience)
}

/// Returns in whose name something is sent, and where what is sent comes from.
fn user_and_place(kind: &Kind) -> (Option<String>, Option<String>) {
    match kind {
        Kind::Basic { username } => (username.clone(), None),
        Kind::Token { from } | Kind::Job { from } => (None, Some(from.clone())),
        Kind::Oidc { issuer } => (None, Some(issuer.clone())),
        Kind::SshKey { key, username, with_password: _ } => (username.clone(), Some(key.clone())),
        Kind::Netrc { path, username } => {
            (Some(username.clone()), Some(path.display().to_string()))
        }
        Kind::Nothing
        | Kind::NamelessProvider { .. }
        | Kind::SharedProvider(_)
        | Kind::NamelessSshKey { .. }
        | Kind::Login => (None, None),
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
        | Kind::NamelessProvider { .. }
        | Kind::SharedProvider(_)
        | Kind::Job { .. }
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
