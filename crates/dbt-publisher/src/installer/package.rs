//! What is in a package of an installer, whatever the package's format.

use std::fmt;
use std::str::FromStr;

use dbt_core::platform::Arch;
use dbt_core::version::Version;

/// One program, and what is said of it.
pub(super) struct Contents<'a> {
    /// What the package is called, and its program.
    pub(super) name: &'a str,
    pub(super) version: &'a PackageVersion,
    pub(super) arch: Arch,
    /// Whose it is, if that is said. Text for people.
    pub(super) organisation: Option<&'a str>,
    pub(super) repository: String,
    pub(super) program: &'a [u8],
}

/// The version of a package, as both formats write and order it.
///
/// It is that of a release, or only numbers with dots between them, also a single one: the builds of
/// the reference have the day (`20261123`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PackageVersion(String);

/// The most letters of numbers that are a version.
const NUMBERS_LIMIT: usize = 64;

impl FromStr for PackageVersion {
    type Err = InvalidPackageVersion;

    fn from_str(text: &str) -> Result<Self, InvalidPackageVersion> {
        if let Ok(version) = text.parse::<Version>() {
            // `~` comes before everything, as a pre-release comes before its release.
            let version = version.to_string().trim_start_matches('v').replace('-', "~");
            return Ok(Self(version));
        }
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
        if text.len() <= NUMBERS_LIMIT && text.split('.').all(is_number) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidPackageVersion(text.to_owned()))
    }
}

impl fmt::Display for PackageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some text is no version of a package.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no version of a package: expected numbers with dots between them, as `1.2.3` or `20261123`, or a pre-release, as `1.2.3-rc.1`",
    .0.escape_debug()
)]
pub(crate) struct InvalidPackageVersion(String);

impl Contents<'_> {
    /// Returns the version.
    pub(super) fn version(&self) -> String {
        self.version.to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let version = text.parse::<PackageVersion>();
        version.map(|version| version.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_version_is_a_releases_or_numbers_as_the_day() {
        for (text, written) in [
            ("4.1.0", "4.1.0"),
            ("v4.1.0-rc.1", "4.1.0~rc.1"),
            ("20261123", "20261123"),
            ("2026.01.05", "2026.01.05"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(written));
        }
        for text in ["", ".", "1.", "2026-11-23", "1.2.3~x", "1 2", "x", "1/2", &"1".repeat(65)] {
            let words = read(text).unwrap_err();
            assert!(words.contains("` is no version of a package: expected numbers"), "{words}");
        }
    }
}
