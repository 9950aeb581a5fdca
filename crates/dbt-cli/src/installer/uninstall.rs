//! `uninstall`: exactly what the receipt lists goes, and what a person or another program has made
//! out of it since stays.

use std::fs;
use std::path::Path;

use dbt_client::config::Document;
use dbt_client::fsx::{self, FsxError};
use dbt_client::self_update::{previous_path, version_of};
use dbt_core::brand;
use dbt_core::name::ServerName;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::profile;
use super::receipt::{self, Profile, Program, Receipt};
use super::user_path;
use crate::commands::{failure, server};
use crate::process::Process;

/// Takes back what installers have done here.
pub(super) fn uninstall(process: &Process, yes: bool) -> Result<(), Report> {
    let receipt = Receipt::open(process)?;
    if receipt.is_empty() {
        let message = "no installer has noted that it has installed anything here";
        return Err(Report::new(ExitCode::NOT_FOUND, message));
    }
    process.printer.talk(listed(&receipt));
    if !yes && !is_wanted()? {
        process.printer.note("nothing was changed");
        return Ok(());
    }
    for profile in &receipt.profiles {
        take_back(process, profile)?;
    }
    for directory in &receipt.search_path {
        if user_path::take_back(directory)? {
            let directory = directory.display();
            process.printer.note(format!("`{directory}` is not in your `Path` any more"));
        }
    }
    forget_servers(process, &receipt)?;
    for program in &receipt.programs {
        remove_program(process, program)?;
    }
    remove(&receipt::path(process)?)?;
    receipt.remove_directories();
    let home = process.found.places.home.as_deref().filter(|home| home.exists());
    if let Some(home) = home {
        process.printer.note(format!("tools and what was remembered stay in `{}`", home.display()));
    }
    process.printer.note(format!("{} is uninstalled", brand::PROGRAM));
    Ok(())
}

/// Lists what goes.
fn listed(receipt: &Receipt) -> String {
    let mut lines = Vec::new();
    for program in &receipt.programs {
        lines.push(format!("program:      {}", program.path.display()));
    }
    for server in &receipt.servers {
        lines.push(format!("server:       {server}"));
    }
    for profile in &receipt.profiles {
        lines.push(format!("profile:      {}", profile.path.display()));
    }
    for directory in &receipt.search_path {
        lines.push(format!("search path:  {}", directory.display()));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn is_wanted() -> Result<bool, Report> {
    match prompt::ask("remove these?") {
        Answer::Yes => Ok(true),
        Answer::No => Ok(false),
        Answer::NobodyThere => {
            let message = "nobody is there to say whether these are removed";
            Err(Report::new(ExitCode::USAGE, message).hint("add `--yes`"))
        }
    }
}

/// Takes our lines out of a profile.
fn take_back(process: &Process, profile: &Profile) -> Result<(), Report> {
    let changed = profile::take_back(profile).map_err(changing)?;
    if changed {
        let path = profile.path.display();
        process.printer.note(format!("`{path}` does not name our directory any more"));
    }
    Ok(())
}

/// Removes the servers that were added, and a file that was made for them and holds nothing else.
fn forget_servers(process: &Process, receipt: &Receipt) -> Result<(), Report> {
    let mut document = server::open(process)?;
    let mut is_changed = false;
    for name in &receipt.servers {
        let Ok(name) = name.parse::<ServerName>() else { continue };
        is_changed |= document.remove(&name).is_ok();
    }
    if !is_changed {
        return Ok(());
    }
    if let Some(name) = &receipt.default_server {
        document.forget_default(name).map_err(failure::configuring)?;
    }
    let path = document.path().to_owned();
    if is_ours_alone(&document, receipt, &path) {
        remove(&path)
    } else {
        document.save().map_err(failure::configuring)
    }
}

fn is_ours_alone(document: &Document, receipt: &Receipt, path: &Path) -> bool {
    document.is_empty() && receipt.configs.iter().any(|config| config == path)
}

/// Removes a program, and the version before it that it has kept; not one that somebody else has
/// put into its place.
fn remove_program(process: &Process, program: &Program) -> Result<(), Report> {
    let path = &program.path;
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    if version_of(path).is_none() {
        let path = path.display();
        process.printer.warning(format!("`{path}` is another program today, and stays"));
        return Ok(());
    }
    remove(&previous_path(path))?;
    remove(path)
}

fn remove(path: &Path) -> Result<(), Report> {
    fsx::remove(path).map(drop).map_err(changing)
}

fn changing(error: FsxError) -> Report {
    Report::new(ExitCode::CONFIGURATION, error)
}
