//! What is in a package of an installer, whatever the package's format.

use dbt_core::platform::Arch;
use dbt_core::version::Version;

/// One program, and what is said of it.
pub(super) struct Contents<'a> {
    /// What the package is called, and its program.
    pub(super) name: &'a str,
    pub(super) version: &'a Version,
    pub(super) arch: Arch,
    /// Whose it is, if that is said. Text for people.
    pub(super) organisation: Option<&'a str>,
    pub(super) repository: String,
    pub(super) program: &'a [u8],
}

impl Contents<'_> {
    /// Returns the version as both formats order it: `~` comes before everything, as a pre-release
    /// comes before its release.
    pub(super) fn version(&self) -> String {
        self.version.to_string().trim_start_matches('v').replace('-', "~")
    }

    /// Returns whose it is.
    pub(super) fn organisation(&self) -> String {
        one_line(self.organisation.unwrap_or("an organisation"))
    }

    /// Returns one line about it.
    pub(super) fn summary(&self) -> String {
        format!("Installs the tools of {}", self.organisation())
    }

    /// Returns another line.
    pub(super) fn description(&self) -> String {
        format!("Each user runs {} once.", self.name)
    }

    /// Returns where it installs from.
    pub(super) fn homepage(&self) -> String {
        one_line(&self.repository)
    }
}

/// Keeps a text from writing fields of its own.
fn one_line(text: &str) -> String {
    let keep =
        |letter: char| if letter.is_control() || "<>".contains(letter) { ' ' } else { letter };
    text.chars().map(keep).collect()
}
