//! `login`, `logout`, `whoami` and `--auth-check`: as whom a server knows this client.
//!
//! This version sends what the configuration or the environment says. It keeps no sign-in of its
//! own, and says so instead of pretending.

use dbt_client::config::{Kind, WayIn};
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;
use serde_json::json;

use crate::cli::{Login, Whoami};
use crate::process::Process;

/// Signs in, where that means anything.
pub(crate) fn login(process: &Process, asked: &Login) -> Result<(), Report> {
    let ways = [
        (asked.ssh, "--ssh"),
        (asked.device, "--device"),
        (asked.browser, "--browser"),
        (asked.token, "--token"),
    ];
    let (server, way_in) = selected(process)?;
    if let Some((_asked, flag)) = ways.into_iter().find(|(asked, _flag)| *asked) {
        let message = format!("this version of {} does not sign in with `{flag}`", brand::PROGRAM);
        return Err(Report::new(ExitCode::CONFIGURATION, message).hint(how_to_configure(&server)));
    }
    supported(&server, &way_in)?;
    if way_in.kind == Kind::Nothing {
        let message = format!("nothing is configured to sign in to the server `{server}` with");
        return Err(Report::new(ExitCode::CONFIGURATION, message)
            .hints(way_in.hint)
            .hint(how_to_configure(&server)));
    }
    process.printer.note(format!(
        "nothing to do: {} {} sent to the server `{server}` with every request",
        way_in.kind.words(),
        if matches!(way_in.kind, Kind::Basic { .. }) { "are" } else { "is" },
    ));
    Ok(())
}

/// Forgets a sign-in: there is none to forget.
pub(crate) fn logout(process: &Process) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    let stays = way_in.kind.place();
    let kept = stays.map(|place| format!("; {place} in use until it is removed there"));
    let kept = kept.unwrap_or_default();
    process.printer.note(format!("no sign-in to the server `{server}` is kept here{kept}"));
    Ok(())
}

/// Shows as whom the selected server knows this client.
pub(crate) fn whoami(process: &Process, asked: &Whoami) -> Result<(), Report> {
    let (server, way_in) = selected(process)?;
    supported(&server, &way_in)?;
    if !asked.json {
        return process.printer.data(facts(&server, &way_in));
    }
    let (user, from) = match &way_in.kind {
        Kind::Basic { username } => (username.as_ref(), None),
        Kind::Token { from } => (None, Some(from)),
        Kind::SshKey { key, username, with_password: _ } => (username.as_ref(), Some(key)),
        Kind::Nothing | Kind::Oidc { .. } | Kind::NamelessSshKey { .. } => (None, None),
    };
    let origins: Vec<String> = way_in.origins.iter().map(ToString::to_string).collect();
    process.printer.json(json!({
        "server": server, "kind": way_in.kind.name(), "user": user, "from": from,
        "sentTo": origins,
    }))
}

/// Says how this client signs in, as the reference's flag does. Nothing is sent.
pub(crate) fn auth_check(process: &Process) -> Result<(), Report> {
    whoami(process, &Whoami { json: false })
}

fn facts(server: &str, way_in: &WayIn) -> String {
    let mut lines =
        vec![format!("server: {server}"), format!("signs in with: {}", way_in.kind.words())];
    if let Kind::Basic { username } | Kind::SshKey { username, .. } = &way_in.kind {
        let shown = username.as_deref().unwrap_or("printed by a command");
        lines.push(format!("user: {shown}"));
    }
    if way_in.kind != Kind::Nothing {
        let origins: Vec<String> = way_in.origins.iter().map(ToString::to_string).collect();
        lines.push(format!("sent to: {}", origins.join(", ")));
    }
    format!("{}\n", lines.join("\n"))
}

/// Returns the selected server's name and its way in.
fn selected(process: &Process) -> Result<(String, WayIn), Report> {
    let inputs = process.inputs()?;
    let way_in = inputs.chosen_way_in()?;
    Ok((inputs.chosen_name()?.to_string(), way_in))
}

fn supported(server: &str, way_in: &WayIn) -> Result<(), Report> {
    match way_in.kind.unusable() {
        None => Ok(()),
        Some(hint) => {
            let message = format!("cannot sign in to the server `{server}` as configured");
            Err(Report::new(ExitCode::CONFIGURATION, message).hint(hint))
        }
    }
}

fn how_to_configure(server: &str) -> String {
    format!(
        "`username` and `password`, `username` and `pubkeypath`, or `token`, in `servers.{server}` of the configuration are sent"
    )
}
