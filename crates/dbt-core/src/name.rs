//! Names of tools and of configured servers.

use std::fmt;
use std::str::FromStr;

/// The name of a tool, safe to join to a path or a URL as it is.
///
/// 1 to 128 of `A-Za-z0-9._+-`; the first is a letter or a digit, the last is not a dot; it is
/// no device name of Windows and does not end like a companion file. Compared exactly.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ToolName(String);

/// The longest name of a tool, in bytes.
const TOOL_NAME_LIMIT: usize = 128;

/// Endings of files that lie beside an artifact; a tool so named could be mistaken for one.
pub const COMPANION_ENDINGS: [&str; 4] = [".asc", ".sha256", ".md5", ".sha1"];

impl ToolName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ToolName {
    type Err = InvalidToolName;

    fn from_str(text: &str) -> Result<Self, InvalidToolName> {
        // What is far too long is not repeated at length.
        let name = || text.chars().take(TOOL_NAME_LIMIT).collect();
        let refuse = |reason| Err(InvalidToolName { name: name(), reason });
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);

        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > TOOL_NAME_LIMIT {
            return refuse("it is longer than 128 characters");
        }
        if !text.bytes().all(legal) {
            return refuse("only letters, digits and `.`, `_`, `+`, `-` are allowed");
        }
        if !text.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            return refuse("it must begin with a letter or a digit");
        }
        if text.ends_with('.') {
            return refuse("it must not end with a dot");
        }
        let lower = text.to_ascii_lowercase();
        if COMPANION_ENDINGS.iter().any(|ending| lower.ends_with(ending)) {
            return refuse("it ends like a checksum or signature file");
        }
        if is_windows_device(&lower) {
            return refuse("it is the name of a Windows device");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Says whether Windows would open a device instead of a file of this lower-case name.
fn is_windows_device(lower: &str) -> bool {
    let stem = lower.split('.').next().unwrap_or(lower);
    if ["con", "prn", "aux", "nul"].contains(&stem) {
        return true;
    }
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    numbered.is_some_and(|rest| rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

impl fmt::Display for ToolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for ToolName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Some text cannot be the name of a tool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a tool: {reason}", name.escape_debug())]
pub struct InvalidToolName {
    name: String,
    reason: &'static str,
}

/// Words that built-in commands have or may get one day. `publisher` refuses them as names of
/// tools; typed where there is no such tool, they are answered with the command that was meant.
pub const RESERVED_WORDS: [&str; 22] = [
    "add",
    "bundle",
    "channel",
    "config",
    "env",
    "exec",
    "export",
    "import",
    "info",
    "init",
    "install",
    "list",
    "lock",
    "mirror",
    "outdated",
    "pin",
    "publish",
    "search",
    "status",
    "sync",
    "uninstall",
    "upgrade",
];

/// Words that are built-in commands today.
pub const BUILT_IN_WORDS: [&str; 18] = [
    "run",
    "fetch",
    "update",
    "rollback",
    "which",
    "link",
    "unlink",
    "catalog",
    "cache",
    "server",
    "login",
    "logout",
    "whoami",
    "trust",
    "self",
    "doctor",
    "completions",
    "help",
];

/// The name of a server in the configuration.
///
/// Anything a person may have written as a JSON key, but no control characters, at most 256
/// bytes. It is shown and compared as written; [`ServerName::slug`] is its form in paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerName(String);

impl ServerName {
    /// Returns the name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns a form that is safe as part of a file name: other characters become `_`, and it
    /// is cut at 64 bytes. Two names may share one; callers add a digest.
    pub fn slug(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        self.0.chars().map(safe).take(64).collect()
    }
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(text: &str) -> Result<Self, InvalidServerName> {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err(InvalidServerName(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some text cannot be the name of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the name of a server: 1 to 256 printable characters are allowed", .0.escape_debug())]
pub struct InvalidServerName(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::repo_path::RepoPath;

    /// Mostly what is nearly a name.
    const NEARLY: &str = "(\\PC{0,4}|[A-Za-z0-9._+-]{0,140}|(con|aux|com[0-9]|nul)[.a-z]{0,3}|[a-z]{1,5}[.](asc|SHA256|md5|sha1))";

    proptest! {
        #[test]
        fn a_name_of_a_tool_stays_in_its_directory_and_is_only_itself(text in NEARLY) {
            let Ok(name) = text.parse::<ToolName>() else { return Ok(()) };
            prop_assert_eq!(name.as_str(), text.as_str());
            prop_assert_eq!(&name.to_string().parse::<ToolName>().unwrap(), &name);
            // One component of a path, of a URL without escapes, and of a command line.
            let path = std::path::Path::new(name.as_str());
            let components: Vec<_> = path.components().collect();
            prop_assert_eq!(components, [std::path::Component::Normal(name.as_str().as_ref())]);
            let joined = RepoPath::root().join(name.as_str()).unwrap();
            prop_assert_eq!(joined.to_string(), name.as_str());
            prop_assert!(!name.as_str().starts_with('-') && name.as_str().is_ascii());
            // And no companion of another.
            for ending in COMPANION_ENDINGS {
                prop_assert!(!name.as_str().to_ascii_lowercase().ends_with(ending));
            }
        }

        #[test]
        fn what_is_refused_as_a_name_is_refused_in_one_short_line(text in "(?s).{0,300}") {
            if let Err(error) = text.parse::<ToolName>() {
                let words = error.to_string();
                prop_assert!(!words.contains(char::is_control), "{}", words);
                prop_assert!(words.len() < 2000, "{}", words);
            }
        }

        #[test]
        fn the_slug_of_a_server_stays_in_its_directory(text in "(?s).{0,300}") {
            let Ok(name) = text.parse::<ServerName>() else { return Ok(()) };
            prop_assert_eq!(name.as_str(), text.as_str());
            let slug = name.slug();
            prop_assert!(!slug.is_empty() && slug.len() <= 64, "{}", slug);
            prop_assert!(slug.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
        }
    }

    #[test]
    fn ordinary_names_of_tools_are_accepted() {
        for name in ["a", "7z", "my-tool", "g++", "python3.11", "A_b", &"x".repeat(128)] {
            assert_eq!(name.parse::<ToolName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_could_leave_their_directory_or_deceive_are_refused() {
        let long = "x".repeat(10_000);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "-h",
            "a/b",
            "a\\b",
            "a%2fb",
            "CON",
            "com1",
            "Aux.txt",
            "x.asc",
            "x.SHA256",
            "a\0",
            "a\n",
            "a\u{200B}",
            "\u{1F600}",
            "a.",
            "a ",
            " a",
            "_a",
            long.as_str(),
        ] {
            assert!(name.parse::<ToolName>().is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_refusal_of_a_name_shows_hostile_text_escaped() {
        let error = "a\u{1b}[2J".parse::<ToolName>().unwrap_err().to_string();
        assert!(error.contains("\\u{1b}") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn a_server_may_have_any_printable_name_and_a_safe_slug() {
        let name: ServerName = "prod/eu \u{e9}".parse().unwrap();
        assert_eq!((name.as_str(), name.slug().as_str()), ("prod/eu \u{e9}", "prod_eu__"));
        assert!("".parse::<ServerName>().is_err());
        assert!("a\nb".parse::<ServerName>().is_err());
    }
}
