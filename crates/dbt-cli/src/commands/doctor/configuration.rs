//! What can be wrong with what was configured: the file, the variables, and what they say of
//! updating the program itself.

use std::error::Error;

use dbt_client::anchor::in_one_line;
use dbt_client::config::{ConfigError, LoadedFile, ServerEntry};
use dbt_client::ownership::Distrust;
use dbt_client::self_update::Identity;
use dbt_client::session::Session;
use dbt_client::settings::{SelfUpdate, Settings, Updates};
use dbt_client::token_cache::TokenStore;
use dbt_core::brand;
use dbt_ui::report::Report;

use super::findings::Findings;
use super::kind::Kind;
use super::machine;
use crate::env::Variable;
use crate::process::Process;
use crate::settings::SettingsError;

/// Looks at the configuration file. Says whether the rest can be looked at.
pub(super) fn file(process: &Process, findings: &mut Findings) -> bool {
    let file = match process.file() {
        Ok(Some(file)) => file,
        Ok(None) => {
            if !process.env.is_set(Variable::Server) {
                findings.wrong(Kind::CONFIG_NONE, "there is no configuration file", add_server());
                return false;
            }
            let found = format!("no file; the server is `{}`'s", Variable::Server.name());
            findings.good("configuration", found);
            return true;
        }
        Err(report) => {
            unreadable(&report, findings);
            return false;
        }
    };
    let path = file.path.display();
    findings.good("configuration", format!("`{path}`"));
    if !file.notices.is_empty() {
        let found = format!("`{path}` holds secrets, and other users can read it");
        findings.wrong(Kind::CONFIG_READABLE, found, format!("`chmod 600 '{path}'`"));
    }
    for key in &file.config.unknown {
        let found = format!("nothing reads the key `{}` of `{path}`", key.path);
        let fix = match key.nearest {
            Some(nearest) => format!("write `{nearest}`, or remove it"),
            None => "remove it".to_owned(),
        };
        findings.wrong(Kind::CONFIG_UNKNOWN_KEY, found, fix);
    }
    true
}

/// Looks where tokens are kept, and whether they can be.
pub(super) fn tokens(process: &Process, findings: &mut Findings) {
    // What is wrong with the setting, or with the home, is said there.
    let (Ok(tokens), Some(home)) = (process.tokens(), &process.found.places.home) else { return };
    let file = home.join("state").join("tokens.json");
    let file = file.display();
    match (tokens.store_of_tokens(), tokens.check_keychain()) {
        (TokenStore::Keychain, Err(error)) => {
            findings.wrong(Kind::KEYCHAIN_UNUSABLE, in_one_line(&error), error.hint());
        }
        (TokenStore::Keychain, Ok(())) => {
            let found =
                format!("in the keychain of the system, and those that end soon in `{file}`");
            findings.good("tokens", found);
        }
        (TokenStore::File, _) => {
            findings.good("tokens", format!("in `{file}`, which nobody else can read"));
        }
    }
}

fn add_server() -> String {
    format!("`{} server add URL`", brand::PROGRAM)
}

fn unreadable(report: &Report, findings: &mut Findings) {
    let found = in_one_line(report.error());
    match report.error().downcast_ref::<ConfigError>() {
        Some(ConfigError::Distrusted { distrust, .. }) => {
            let kind = match distrust {
                Distrust::Owner { .. } => Kind::CONFIG_FOREIGN,
                Distrust::Mode { .. } => Kind::CONFIG_EXPOSED,
            };
            findings.wrong(kind, found, distrust.hint());
        }
        Some(ConfigError::Missing { path }) => {
            let fix = format!("write `{}`, or unset `{}`", path.display(), Variable::Config.name());
            findings.wrong(Kind::CONFIG_WRONG, found, fix);
        }
        Some(_) | None => {
            let fix = hint_of(report).unwrap_or_else(|| "correct the file".to_owned());
            findings.wrong(Kind::CONFIG_WRONG, found, fix);
        }
    }
}

/// Reports that there are no settings for the selected server.
pub(super) fn unsettled(report: &Report, findings: &mut Findings) {
    let found = in_one_line(report.error());
    let fix = hint_of(report);
    match report.error().downcast_ref::<SettingsError>() {
        Some(SettingsError::NoServer) => findings.wrong(Kind::CONFIG_NONE, found, add_server()),
        Some(SettingsError::Variable { name, .. }) => {
            findings.wrong(Kind::VARIABLE_WRONG, found, format!("correct or unset `{name}`"));
        }
        Some(SettingsError::Environment(_)) => {
            findings.wrong(Kind::VARIABLE_WRONG, found, "correct or unset it");
        }
        Some(_) | None => {
            let fix = fix.unwrap_or_else(|| "correct the configuration file".to_owned());
            findings.wrong(Kind::CONFIG_SERVER, found, fix);
        }
    }
}

fn hint_of(report: &Report) -> Option<String> {
    let error: &(dyn Error + 'static) = report.error();
    let settings = error.downcast_ref::<SettingsError>().and_then(SettingsError::hint);
    settings.or_else(|| error.downcast_ref::<ConfigError>().and_then(ConfigError::hint))
}

/// Looks whether this program can be kept current.
pub(super) fn self_update(
    process: &Process,
    file: &LoadedFile,
    settings: &Settings,
    findings: &mut Findings,
) {
    let Some(home) = settings.home_server.as_ref() else {
        let name =
            file.config.self_update_from.as_deref().or(file.config.default_server.as_deref());
        let found = match name {
            Some(name) => format!("there is no server `{name}` in the configuration"),
            None => "there is no server in the configuration".to_owned(),
        };
        let fix = match file.config.servers.first() {
            Some(server) => format!("`\"selfUpdateFrom\": \"{}\"`", server.name),
            None => add_server(),
        };
        return findings.wrong(Kind::SELF_UPDATE_NO_SERVER, found, fix);
    };
    let said = said_of_self_update(process, file.config.server(home.as_str()));
    match settings.server.self_update {
        SelfUpdate::Auto => findings.good("self-update", format!("from `{home}`")),
        SelfUpdate::Notify => findings.good("self-update", format!("only told, from `{home}`")),
        SelfUpdate::Off if said.as_deref() == Some("off") => {
            findings.good("self-update", "off, as configured");
        }
        SelfUpdate::Off if said.is_none() && process.host.in_container => {
            findings.good("self-update", "off, because this is a container");
        }
        SelfUpdate::Off => {
            let executable = process.host.executable.as_deref();
            let directory = executable.and_then(std::path::Path::parent);
            let found = match directory {
                Some(directory) => format!("`{}` cannot be written", directory.display()),
                None => "it is not known where this program is".to_owned(),
            };
            let fix = "install it in a directory of your own, or set `\"selfUpdate\": \"off\"`";
            findings.wrong(Kind::SELF_UPDATE_DIRECTORY, found, fix);
        }
    }
}

/// Returns what somebody has said about it.
fn said_of_self_update(process: &Process, entry: Option<&ServerEntry>) -> Option<String> {
    let written = entry.and_then(|entry| entry.options.self_update.as_ref());
    let set = process.env.text(Variable::SelfUpdate).ok().flatten();
    set.or_else(|| written.map(|text| text.as_written().expose().clone()))
}

/// Looks whether newer versions can be looked for in the background, which takes a shell.
pub(super) fn background(process: &Process, settings: &Settings, findings: &mut Findings) {
    let has_shell =
        || process.env.search_path().iter().any(|it| machine::is_program(&it.join("sh")));
    if settings.server.updates == Updates::After && !has_shell() {
        let found = "`updates` is `after`, and no directory of `PATH` has `sh`";
        findings.wrong(Kind::SHELL_MISSING, found, "install a shell, or `\"updates\": \"10m\"`");
    }
}

/// Looks whether newer versions of this program were refused.
pub(super) fn refused_updates(session: &Session<'_>, findings: &mut Findings) {
    let Some(identity) = Identity::remembered(session) else { return };
    let ours = &session.settings.program.version;
    for rejected in identity.rejected().iter().filter(|rejected| rejected.version > *ours) {
        let found = format!("version {} was refused: {}", rejected.version, rejected.reason);
        findings.wrong(Kind::SELF_UPDATE_REFUSED, found, "tell whoever publishes it");
    }
}
