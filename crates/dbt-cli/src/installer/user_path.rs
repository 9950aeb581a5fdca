//! The search path of a person where the system keeps it itself (Windows): asked before it is changed,
//! and taken back.

use std::path::Path;

use dbt_core::brand;
use dbt_sys::search_path;
use dbt_ui::exit_code::ExitCode;
use dbt_ui::prompt::{self, Answer};
use dbt_ui::report::Report;

use super::args::Install;
use super::profile::OnPath;
use super::receipt::Receipt;
use super::target::Target;
use crate::process::Process;

/// What stands between two directories.
const BETWEEN: char = ';';

/// Puts the program's directory first on it, where a person wants that.
pub(super) fn offer(
    process: &Process,
    asked: &Install,
    target: &Target,
    receipt: &mut Receipt,
) -> Result<OnPath, Report> {
    let directory = target.directory();
    let shown = directory.display();
    if !is_wanted(asked, directory) {
        process
            .printer
            .note(format!("`{shown}` is not in your `Path`; `--modify-profile` adds it"));
        return Ok(OnPath::No);
    }
    let Some(written) = directory.to_str().filter(|it| !it.contains(BETWEEN)) else {
        let message = format!("`{shown}` cannot stand in a search path");
        return Err(Report::new(ExitCode::CONFIGURATION, message)
            .hint("`--directory DIR` names another place"));
    };
    let before = search_path::of_user().map_err(reading)?.unwrap_or_default();
    if let Some(after) = with(&before, written) {
        // Noted first: what is changed and not noted could not be taken back.
        receipt.has_search_path(directory);
        receipt.save(process)?;
        search_path::set_of_user(&after).map_err(writing)?;
        process.printer.note(format!("`{shown}` is in your `Path`"));
    }
    Ok(OnPath::InANewShell)
}

fn is_wanted(asked: &Install, directory: &Path) -> bool {
    if asked.modify_profile || asked.no_modify_profile {
        return asked.modify_profile;
    }
    let question = format!("add `{}` to your `Path`?", directory.display());
    prompt::ask(&question) == Answer::Yes
}

/// Takes a directory out of it. Says whether it was still there.
pub(super) fn take_back(directory: &Path) -> Result<bool, Report> {
    let before = search_path::of_user().map_err(reading)?.unwrap_or_default();
    let written = directory.to_string_lossy();
    let Some(after) = without(&before, &written) else { return Ok(false) };
    search_path::set_of_user(&after).map_err(writing)?;
    Ok(true)
}

/// Returns the search path with a directory in front, unless it has it.
fn with(before: &str, directory: &str) -> Option<String> {
    if before.split(BETWEEN).any(|it| is_same(it, directory)) {
        return None;
    }
    let between = if before.is_empty() { "" } else { ";" };
    Some(format!("{directory}{between}{before}"))
}

/// Returns the search path without a directory, if it has it. All else stays as it is written.
fn without(before: &str, directory: &str) -> Option<String> {
    let all: Vec<&str> = before.split(BETWEEN).collect();
    let kept: Vec<&str> = all.iter().copied().filter(|it| !is_same(it, directory)).collect();
    (kept.len() < all.len()).then(|| kept.join(";"))
}

/// Says whether two names are of one directory, as far as their letters tell.
fn is_same(one: &str, other: &str) -> bool {
    let bare = |it: &str| it.trim_end_matches(['\\', '/']).to_lowercase();
    bare(one) == bare(other)
}

fn reading(error: std::io::Error) -> Report {
    let message = format!("{} cannot read your search path", brand::INSTALLER);
    Report::because(ExitCode::CONFIGURATION, message, error)
}

fn writing(error: std::io::Error) -> Report {
    let message = format!("{} cannot change your search path", brand::INSTALLER);
    Report::because(ExitCode::CONFIGURATION, message, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_added_once_and_taken_back_to_the_letter() {
        let ours = r"C:\Users\a\.local\bin";
        for before in ["", r"C:\x;%USERPROFILE%\y", r";;C:\x;"] {
            let after = with(before, ours).unwrap();
            assert!(after.starts_with(ours), "{after}");
            assert_eq!(with(&after, ours), None, "added twice");
            assert_eq!(with(&after, r"c:\users\A\.local\bin\"), None, "another spelling");
            assert_eq!(without(&after, ours).as_deref(), Some(before));
        }
        assert_eq!(without(r"C:\x", ours), None);
    }
}
