//! Where the installer learns whose server it is for: what was typed, what was put into it, the file
//! beside it, or its own name.

use std::path::Path;

use dbt_client::config::{OFFER_LIMIT, Offer};
use dbt_client::fsx;
use dbt_client::source::Answer;
use dbt_client::url::RepositoryUrl;
use dbt_core::brand;
use dbt_core::name::ServerName;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::report::Report;

use super::args::Install;
use super::baked;
use crate::commands::{failure, server};
use crate::process::Process;
use crate::usage::UsageError;

/// How the name of a settings file ends.
const SETTINGS_FILE: &str = ".json";

/// The settings, and where they were.
#[derive(Debug)]
pub(super) struct Found {
    /// The server that they are about.
    pub(super) offer: Offer,
    /// Where they were, for people.
    pub(super) from: String,
    /// The server itself has said it: nobody else has vouched for how one signs in there.
    pub(super) is_announced: bool,
}

/// Finds the settings. What was typed counts first; what is in the program itself before a file
/// that somebody else could have put into the same directory.
pub(super) fn find(process: &Process, asked: &Install) -> Result<Found, Report> {
    let mut found = look(process, asked)?;
    if let Some(name) = &asked.name {
        found.offer.server.name = name.clone();
    }
    Ok(found)
}

fn look(process: &Process, asked: &Install) -> Result<Found, Report> {
    if let Some(from) = &asked.from {
        return named(process, from, asked.name.as_ref());
    }
    if let Some(bytes) = baked::settings() {
        return settings(&bytes, "in this installer".to_owned());
    }
    let program = process.host.executable.as_deref();
    if let Some(file) = program.map(|program| program.with_file_name(brand::INSTALLER_FILE))
        && file.exists()
    {
        return of_file(&file);
    }
    let name = program.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    if let Some(host) = host_of(&name) {
        return of_server(process, &format!("https://{host}"), asked.name.as_ref());
    }
    let (installer, file) = (brand::INSTALLER, brand::INSTALLER_FILE);
    Err(UsageError::new("nothing says which server this is for")
        .in_program(installer)
        .hint(format!("`{installer} --from https://…` names the server of your organisation"))
        .hint(format!(
            "`{file}` beside this program says it, too, and so does a name like `{installer}-HOST`"
        ))
        .report())
}

/// Reads what `--from` names: a settings file, here or elsewhere, or the root of a server.
fn named(process: &Process, from: &str, name: Option<&ServerName>) -> Result<Found, Report> {
    if !from.ends_with(SETTINGS_FILE) {
        return of_server(process, from, name);
    }
    if !from.contains("://") {
        let here = process.host.directory.clone().unwrap_or_default();
        return of_file(&here.join(from));
    }
    let wrong = |error: UsageError| error.in_program(brand::INSTALLER).report();
    let url: RepositoryUrl = from
        .parse()
        .map_err(|error: dbt_client::url::InvalidUrl| wrong(UsageError::caused_by(error)))?;
    let (directory, file) =
        url.split_last().ok_or_else(|| wrong(UsageError::new(format!("`{url}` names no file"))))?;
    let answer = server::read(process, &directory, &file, OFFER_LIMIT)?;
    match answer.map_err(failure::fetching)? {
        Answer::Document { bytes, .. } => settings(&bytes, format!("`{url}`")),
        Answer::NotModified => settings(&[], format!("`{url}`")),
    }
}

fn of_file(file: &Path) -> Result<Found, Report> {
    let bytes = fsx::read_limited(file, OFFER_LIMIT)
        .map_err(|error| Report::new(ExitCode::CONFIGURATION, error))?;
    settings(&bytes, format!("`{}`", file.display()))
}

fn settings(bytes: &[u8], from: String) -> Result<Found, Report> {
    let offer = Offer::parse(bytes).map_err(|error| {
        let message = format!("the settings of this installer cannot be used: {from}");
        failure::configuring(error).while_doing(message)
    })?;
    Ok(Found { offer, from, is_announced: false })
}

fn of_server(process: &Process, url: &str, name: Option<&ServerName>) -> Result<Found, Report> {
    let (root, name) = server::root_and_name(process, name.map(ServerName::as_str), url)?;
    let server = server::announced(process, name, &root)?;
    Ok(Found { offer: Offer::of(server), from: format!("of `{root}` itself"), is_announced: true })
}

/// Returns the host that the installer's own name says, as in `NAME-dbt.example.com`. Browsers that
/// have such a file already add ` (1)`.
fn host_of(name: &str) -> Option<&str> {
    let name = name.strip_suffix(std::env::consts::EXE_SUFFIX).unwrap_or(name);
    let name = match name.rsplit_once(" (") {
        Some((before, number)) if is_number(number.strip_suffix(')')?) => before,
        Some(_) | None => name,
    };
    let host = name.strip_prefix(brand::INSTALLER)?.strip_prefix('-')?;
    let labels = || host.split('.');
    let is_label = |label: &str| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(legal)
    };
    // A word without a dot is a platform, as releases name their files.
    (labels().count() > 1 && labels().all(is_label)).then_some(host)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_a_host_and_nothing_else() {
        for (name, host) in [
            ("dbt-installer-dbt.example.com", Some("dbt.example.com")),
            ("dbt-installer-dbt.example.com (2)", Some("dbt.example.com")),
            ("dbt-installer", None),
            ("dbt-installer-", None),
            ("dbt-installer-linux-amd64", None),
            ("dbt-installer_4.0.0", None),
            ("dbt-installer-a..b", None),
            ("dbt-installer-a.b/c", None),
            ("dbt-installer-a.b@c.d", None),
            ("dbt-installer-a.b (x)", None),
            ("another-dbt.example.com", None),
        ] {
            assert_eq!(host_of(name), host, "{name}");
        }
    }
}
