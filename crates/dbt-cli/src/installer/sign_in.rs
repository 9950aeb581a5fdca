//! Signing in while the program is installed: the client's ways, before the first run needs one.

use std::time::Duration;

use dbt_client::config::NewServer;
use dbt_core::brand;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt;
use dbt_ui::report::Report;

use super::args::Install;
use super::found::Found;
use crate::commands::login;
use crate::commands::provider::{Asked, Way};
use crate::commands::server;
use crate::commands::sign_in::{connector_of, selected};
use crate::env::Variable;
use crate::process::Process;

/// The key under which the configuration names a person.
const USERNAME: &str = "oidcUsername";

/// How long a provider, and a key in hardware, are waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// Decides what the configuration says of signing in: nothing that only the server has said and
/// nobody wants, and the name under which a provider knows the person (`is_named`: it stands there).
pub(super) fn decide(
    process: &Process,
    asked: &Install,
    found: &Found,
    server: &mut NewServer,
    is_named: bool,
) -> Result<(), Report> {
    let is_doubtful = found.is_announced && !server.sign_in.is_empty();
    if is_doubtful && !server::is_sign_in_wanted(process, server) {
        server.sign_in.clear();
    }
    if server.sign_in.is_empty() {
        return Ok(());
    }
    let of = |key: &str| server.sign_in.iter().any(|(name, _value)| name == key);
    let name = match &asked.user {
        Some(user) => Some(user.clone()),
        // A key of the SSH agent signs in the name of somebody.
        None if of("connectorId") && !of(USERNAME) && !is_named && !asked.no_sign_in => {
            Some(ask(process)?)
        }
        None => None,
    };
    if let Some(name) = name {
        server.sign_in.retain(|(key, _value)| key != USERNAME);
        server.sign_in.push((USERNAME.to_owned(), name));
    }
    Ok(())
}

/// Asks for the name; usually it is the one on this machine.
fn ask(process: &Process) -> Result<String, Report> {
    let usual = process.env.text(Variable::User).ok().flatten();
    let question = "your name at the identity provider";
    prompt::line(question, usual.as_deref()).ok_or_else(|| {
        let message = "nobody is there to say in whose name the identity provider is asked";
        Report::new(ExitCode::USAGE, message)
            .hint("`--user NAME` says it, and `--no-sign-in` leaves signing in for later")
    })
}

/// Signs in, where the server has a provider for that and nobody has done it yet.
pub(super) fn sign_in(process: &Process, asked: &Install) -> Result<(), Report> {
    if asked.no_sign_in {
        return Ok(());
    }
    let (server, way_in) = selected(process)?;
    let Some(provider) = &way_in.provider else {
        return match way(asked) {
            None => Ok(()),
            Some(_way) => Err(Report::new(
                ExitCode::CONFIGURATION,
                format!("no identity provider is configured for the server `{server}`"),
            )),
        };
    };
    let connector = connector_of(&process.settings()?);
    // What goes wrong here is said where a person signs in.
    let silently = || provider.silently(&connector, PATIENCE).ok().flatten();
    if way(asked).is_none() && silently().is_some() {
        process.printer.verbose(format!("signed in to the server `{server}` already"));
        return Ok(());
    }
    login::through_provider(process, &server, &way_in, provider, Asked::Command(way(asked)))
        .map_err(|report| {
            let later = format!("`--no-sign-in` leaves it to `{} login`", brand::PROGRAM);
            report.hint(later)
        })
}

/// Returns the way that somebody has asked for.
const fn way(asked: &Install) -> Option<Way> {
    match asked {
        Install { ssh: true, .. } => Some(Way::Keys),
        Install { device: true, .. } => Some(Way::Device),
        Install { browser: true, .. } => Some(Way::Browser),
        Install { .. } => None,
    }
}
