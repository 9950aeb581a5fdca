//! The one table of exit codes.

use std::fmt;
use std::fmt::Write as _;

use dbt_core::brand;

/// How a program of ours ends when no tool decides it.
///
/// The codes are published and never change their meaning; a tool's own code is passed through
/// and is none of these by convention only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExitCode {
    code: u8,
    name: &'static str,
    meaning: &'static str,
}

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self::row(0, "success", "what was asked for is done");
    /// The command line is wrong.
    pub const USAGE: Self = Self::row(80, "usage", "the command line is wrong");
    /// The configuration is wrong or missing.
    pub const CONFIGURATION: Self =
        Self::row(81, "configuration", "the configuration is wrong or missing");
    /// The server does not answer, and nothing usable is cached.
    pub const UNREACHABLE: Self = Self::row(
        82,
        "unreachable",
        "the server cannot be reached or is broken, and nothing usable is cached",
    );
    /// Not signed in, or not allowed.
    pub const REFUSED: Self =
        Self::row(83, "refused", "not signed in, or the server does not allow it");
    /// There is no such tool, version or platform.
    pub const NOT_FOUND: Self = Self::row(84, "not-found", "no such tool, version or platform");
    /// The signed metadata is older than it may be.
    pub const METADATA_TOO_OLD: Self = Self::row(
        85,
        "metadata-too-old",
        "the repository's signed metadata is older than it may be",
    );
    /// Some bytes are not what they claim to be; nothing was run.
    pub const VERIFICATION_REFUSED: Self = Self::row(
        86,
        "verification-refused",
        "a signature, checksum or version was refused; nothing was run",
    );
    /// A mistake of ours, or of this machine.
    pub const INTERNAL: Self =
        Self::row(87, "internal", "an error inside the program or of this machine");
    /// The tool is there and verified, and cannot be executed.
    pub const CANNOT_EXECUTE: Self =
        Self::row(126, "cannot-execute", "the tool is verified and cannot be executed here");

    /// Every code, in the order of their numbers.
    pub const TABLE: [Self; 10] = [
        Self::SUCCESS,
        Self::USAGE,
        Self::CONFIGURATION,
        Self::UNREACHABLE,
        Self::REFUSED,
        Self::NOT_FOUND,
        Self::METADATA_TOO_OLD,
        Self::VERIFICATION_REFUSED,
        Self::INTERNAL,
        Self::CANNOT_EXECUTE,
    ];

    const fn row(code: u8, name: &'static str, meaning: &'static str) -> Self {
        Self { code, name, meaning }
    }

    /// Returns the number that the parent process sees.
    pub const fn code(self) -> u8 {
        self.code
    }

    /// Returns the code's name, one word for scripts and logs.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Returns what the code means.
    pub const fn meaning(self) -> &'static str {
        self.meaning
    }
}

impl fmt::Debug for ExitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.code, self.name)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code)
    }
}

/// Returns the documentation of the table, as `docs/exit-codes.md` has it.
pub fn exit_codes_md() -> String {
    let (program, prefix) = (brand::PROGRAM, brand::ENV_PREFIX);
    let mut text = format!(
        "# Exit codes\n\n\
         `{program} TOOL` ends with the tool's own exit code. Where no tool was started, the code is one of\n\
         these; they are the same for every built-in command. To tell `{program}`'s codes from a tool's that\n\
         happens to use the same number, set `{prefix}STATUS_FILE` (see `environment.md`).\n\n\
         This file is generated from `crates/dbt-ui/src/exit_code.rs`: do not edit it.\n\n\
         | code | name | meaning |\n|---|---|---|\n"
    );
    for row in ExitCode::TABLE {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "| {} | `{}` | {} |", row.code, row.name, row.meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_has_its_own_number_and_name_in_rising_order() {
        let codes: Vec<u8> = ExitCode::TABLE.iter().map(|row| row.code()).collect();
        assert_eq!(codes, [0, 80, 81, 82, 83, 84, 85, 86, 87, 126]);
        let mut names: Vec<&str> = ExitCode::TABLE.iter().map(|row| row.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ExitCode::TABLE.len());
    }

    #[test]
    fn the_documentation_has_a_line_for_every_code() {
        let text = exit_codes_md();
        for row in ExitCode::TABLE {
            assert!(text.contains(&format!("| {} | `{}` |", row.code(), row.name())));
        }
    }
}
