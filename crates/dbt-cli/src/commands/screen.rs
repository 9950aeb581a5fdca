//! Opening a page in the browser of the person who sits here.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use dbt_client::oidc::browser::{LocalPage, NoLocalPage};
use dbt_core::secret::withheld_variables;

use crate::env::Variable;
use crate::process::Process;

/// Says whether a page that is opened here can be seen.
pub(super) fn is_there(process: &Process) -> bool {
    let env = &process.env;
    if env.is_set(Variable::Browser) {
        return true;
    }
    let screens = [Variable::Display, Variable::WaylandDisplay];
    let has_own = cfg!(any(windows, target_vendor = "apple"));
    !env.is_set(Variable::SshConnection)
        && (has_own || screens.into_iter().any(|screen| env.is_set(screen)))
}

/// Opens a page that is for this person alone, with the first of their browsers that starts, or with
/// the system's: by a file that leads there, and that is removed when what is returned goes. It gets
/// no variable with secrets: neither ours nor those of the server.
pub(super) fn open(
    process: &Process,
    page: &str,
    now: SystemTime,
    secrets: &BTreeSet<String>,
) -> Result<LocalPage, NotOpened> {
    let page = LocalPage::leading_to(page, &process.found.places, now)?;
    let named = process.env.text(Variable::Browser).ok().flatten().unwrap_or_default();
    let usual = if cfg!(windows) {
        "rundll32 url.dll,FileProtocolHandler"
    } else if cfg!(target_vendor = "apple") {
        "open"
    } else {
        "xdg-open"
    };
    let separator = if cfg!(windows) { ';' } else { ':' };
    let own = named.split(separator).filter(|line| !line.trim().is_empty());
    let url = page.url();
    let mut lines = own.chain([usual]);
    if lines.any(|line| starts(line, &url, secrets)) { Ok(page) } else { Err(NotOpened::Start) }
}

/// Starts a browser. Its name is not a line for a shell.
fn starts(line: &str, page: &str, secrets: &BTreeSet<String>) -> bool {
    let mut words: Vec<String> =
        line.split_whitespace().map(|word| word.replace("%s", page)).collect();
    if !line.contains("%s") {
        words.push(page.to_owned());
    }
    let Some((program, arguments)) = words.split_first() else { return false };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    for secret in withheld_variables().chain(secrets.iter().cloned()) {
        command.env_remove(secret);
    }
    command.spawn().is_ok()
}

/// Why no browser has opened a page. It can be opened by hand.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotOpened {
    /// No browser could be started.
    #[error("no browser could be started here")]
    Start,
    /// There is nothing to hand to one.
    #[error("no browser is started here")]
    Page(#[from] NoLocalPage),
}
