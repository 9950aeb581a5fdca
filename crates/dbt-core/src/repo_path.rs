//! Paths inside a repository: relative, normal, unable to leave their root.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// A path inside a repository or a server's tree.
///
/// Segments are not empty, are neither `.` nor `..`, have at most 255 bytes, and hold no control
/// character, slash or backslash. It never begins with a slash. The empty path is the root. It
/// can be joined to a directory or, escaped, to a URL, and stays inside.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoPath(String);

/// The longest segment, in bytes: what common file systems hold.
const SEGMENT_LIMIT: usize = 255;

/// The longest path, in bytes.
const PATH_LIMIT: usize = 4096;

impl RepoPath {
    /// Returns the root.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Returns the path as text, without a leading or trailing slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Says whether this is the root itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the segments, from the root down.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Returns the last segment, or nothing for the root.
    pub fn file_name(&self) -> Option<&str> {
        self.segments().last()
    }

    /// Returns the path above, or nothing for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let parent = self.0.rsplit_once('/').map_or("", |(parent, _last)| parent);
        Some(Self(parent.to_owned()))
    }

    /// Returns the path with one more segment.
    pub fn join(&self, segment: &str) -> Result<Self, InvalidRepoPath> {
        check_segment(segment)?;
        Self::bounded(if self.is_root() {
            segment.to_owned()
        } else {
            format!("{}/{segment}", self.0)
        })
    }

    /// Says whether this path is `ancestor` or lies below it, by whole segments.
    pub fn is_within(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self
                .0
                .strip_prefix(&ancestor.0)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the path with every byte that means something in a URL percent-encoded.
    pub fn url_encoded(&self) -> String {
        let mut encoded = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
                encoded.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _infallible = write!(encoded, "%{byte:02X}");
            }
        }
        encoded
    }

    fn bounded(text: String) -> Result<Self, InvalidRepoPath> {
        if text.len() > PATH_LIMIT {
            return Err(InvalidRepoPath::new(&text, "it is longer than 4096 bytes"));
        }
        Ok(Self(text))
    }
}

fn check_segment(segment: &str) -> Result<(), InvalidRepoPath> {
    let refuse = |reason| Err(InvalidRepoPath::new(segment, reason));
    if segment.is_empty() {
        return refuse("a segment is empty");
    }
    if segment == "." || segment == ".." {
        return refuse("`.` and `..` are not allowed");
    }
    if segment.len() > SEGMENT_LIMIT {
        return refuse("a segment is longer than 255 bytes");
    }
    if segment.chars().any(|c| c.is_control() || c == '/' || c == '\\') {
        return refuse("control characters, slashes and backslashes are not allowed in a segment");
    }
    Ok(())
}

impl FromStr for RepoPath {
    type Err = InvalidRepoPath;

    /// Reads a decoded path without leading and trailing slash. The empty text is the root.
    fn from_str(text: &str) -> Result<Self, InvalidRepoPath> {
        if text.is_empty() {
            return Ok(Self::root());
        }
        text.split('/').try_for_each(check_segment)?;
        Self::bounded(text.to_owned())
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Some text is not a path inside a repository.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path inside a repository: {reason}", path.escape_debug())]
pub struct InvalidRepoPath {
    path: String,
    reason: &'static str,
}

impl InvalidRepoPath {
    fn new(path: &str, reason: &'static str) -> Self {
        Self { path: path.chars().take(SEGMENT_LIMIT).collect(), reason }
    }

    /// Returns the reason alone, for answers that must not repeat the path.
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_cannot_leave_its_root() {
        for text in ["..", "a/../b", "./a", "a//b", "/a", "a/", "a/./b", "a\\b", "a\0b", "a\nb"] {
            assert!(text.parse::<RepoPath>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_neighbour_with_the_same_beginning_is_not_within() {
        let path = |text: &str| text.parse::<RepoPath>().unwrap();
        assert!(path("dbt-tools/foo/1.0.0").is_within(&path("dbt-tools/foo")));
        assert!(path("dbt-tools/foo").is_within(&path("dbt-tools/foo")));
        assert!(!path("dbt-tools/fooEVIL").is_within(&path("dbt-tools/foo")));
        assert!(path("anything").is_within(&RepoPath::root()));
    }

    #[test]
    fn characters_with_a_meaning_in_urls_are_encoded() {
        let path: RepoPath = "a b/c?d#e%f\u{e9}".parse().unwrap();
        assert_eq!(path.url_encoded(), "a%20b/c%3Fd%23e%25f%C3%A9");
    }

    proptest! {
        #[test]
        fn a_path_is_its_segments(segments in proptest::collection::vec("[^/\\\\\\pC]{1,8}", 0..6)) {
            let legal = segments.iter().all(|segment| segment != "." && segment != "..");
            let joined = segments.iter().try_fold(RepoPath::root(), |path, name| path.join(name));
            prop_assert_eq!(joined.is_ok(), legal);
            prop_assert_eq!(segments.join("/").parse::<RepoPath>().ok(), joined.clone().ok());
            if let Ok(path) = joined {
                prop_assert_eq!(path.segments().collect::<Vec<_>>(), segments.clone());
                prop_assert_eq!(path.file_name(), segments.last().map(String::as_str));
                let mut above = Some(path.clone());
                while let Some(ancestor) = above {
                    prop_assert!(path.is_within(&ancestor));
                    prop_assert!(ancestor == path || !ancestor.is_within(&path));
                    above = ancestor.parent();
                }
            }
        }

        #[test]
        fn what_is_encoded_is_decoded_to_the_same(text in "[^\\pC\\\\]{1,40}") {
            if let Ok(path) = text.parse::<RepoPath>() {
                let encoded = path.url_encoded();
                let legal = |c: char| c.is_ascii_graphic() && !"?#\\\"<>^`{|}".contains(c);
                prop_assert!(encoded.chars().all(legal), "{}", encoded);
                let mut pieces = encoded.split('%');
                let mut decoded = pieces.next().unwrap().as_bytes().to_vec();
                for piece in pieces {
                    decoded.push(u8::from_str_radix(&piece[..2], 16).unwrap());
                    decoded.extend(piece[2..].bytes());
                }
                prop_assert_eq!(String::from_utf8(decoded).unwrap(), text);
            }
        }

        #[test]
        fn whatever_parses_stays_inside_when_joined(text in "[a-z./\\\\%]{0,30}") {
            if let Ok(path) = text.parse::<RepoPath>() {
                let joined = std::path::Path::new("/root").join(path.as_str());
                prop_assert!(joined.components().all(|c| !matches!(c, std::path::Component::ParentDir)));
                prop_assert!(joined.starts_with("/root"));
            }
        }
    }
}
