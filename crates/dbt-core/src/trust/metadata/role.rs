//! The names of delegated roles, and of the files that hold metadata.

use std::fmt::{self, Write as _};

/// The roles that a root names. No delegation may use one of these names: files of both kinds lie
/// side by side.
const TOP_LEVEL: &[&str] = &["root", "timestamp", "snapshot", "targets"];

/// The longest name, escaped: with what stands around it, it is still the name of a file.
pub(super) const LONGEST_NAME: usize = 200;

/// The name of a delegated role. It may hold any character: only [`RoleName::escaped`] is safe in
/// URLs and as the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoleName(String);

impl RoleName {
    /// Takes a name from a delegation.
    pub fn new(name: &str) -> Result<Self, InvalidRoleName> {
        let invalid = |reason| InvalidRoleName { name: name.chars().take(80).collect(), reason };
        if name.is_empty() {
            return Err(invalid("it is empty"));
        }
        if TOP_LEVEL.contains(&name) {
            return Err(invalid("it is the name of a role of the root"));
        }
        let role = Self(name.to_owned());
        if role.escaped().len() > LONGEST_NAME {
            return Err(invalid("it is too long"));
        }
        Ok(role)
    }

    /// Returns it as it stands in metadata.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns it with everything escaped that is not a letter, a digit or one of `-._~`: one
    /// segment of a URL, and with an ending the name of one file.
    pub fn escaped(&self) -> String {
        escaped(&self.0)
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some text cannot be the name of a delegated role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot be the name of a delegated role: {reason}")]
pub struct InvalidRoleName {
    name: String,
    reason: &'static str,
}

/// Escapes everything but the unreserved characters of RFC 3986.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _written = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusual_names_become_one_segment() {
        for (name, escaped) in [
            ("tool.catalog", "tool.catalog"),
            ("?", "%3F"),
            ("#", "%23"),
            ("/role", "%2Frole"),
            ("../role", "..%2Frole"),
            ("a\\b\n", "a%5Cb%0A"),
            ("ä%", "%C3%A4%25"),
            ("2.root", "2.root"),
        ] {
            assert_eq!(RoleName::new(name).unwrap().escaped(), escaped);
        }
    }

    #[test]
    fn names_that_would_meet_others_are_refused() {
        for name in ["", "root", "timestamp", "snapshot", "targets"] {
            RoleName::new(name).unwrap_err();
        }
        RoleName::new(&"x".repeat(LONGEST_NAME)).unwrap();
        RoleName::new(&"x".repeat(LONGEST_NAME + 1)).unwrap_err();
        RoleName::new(&"/".repeat(LONGEST_NAME / 3 + 1)).unwrap_err();
    }
}
