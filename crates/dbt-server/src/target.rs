//! The path in a request's first line, decoded once.
//!
//! Everything that could mean two things to two programs on the way is refused here: encoded
//! slashes, backslashes, control characters, text that is not UTF-8. What remains is either
//! clean or has exactly one clean form.

use dbt_core::repo_path::RepoPath;
use hyper::Uri;

/// A request's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The path, cleaned: without empty segments, `.` and `..`.
    pub path: RepoPath,
    /// Whether it ended in a slash, and so asks for a directory.
    pub directory: bool,
    /// In what way it was not clean as sent.
    pub unclean: Option<Unclean>,
}

/// What was cleaned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unclean {
    /// Only repeated slashes, which mean one.
    Slashes,
    /// Segments `.` or `..`.
    Dots,
}

impl Target {
    /// Reads the path of a request.
    pub fn of(uri: &Uri) -> Result<Self, BadTarget> {
        let rest = uri.path().strip_prefix('/').ok_or(BadTarget("it does not begin with `/`"))?;
        let mut kept: Vec<String> = Vec::new();
        let mut unclean = None;
        let mut pieces = rest.split('/').peekable();
        let mut directory = true;
        while let Some(piece) = pieces.next() {
            let is_last = pieces.peek().is_none();
            let segment = decode(piece)?;
            match segment.as_str() {
                "" if is_last => {}
                "" => unclean = unclean.max(Some(Unclean::Slashes)),
                "." | ".." => {
                    unclean = Some(Unclean::Dots);
                    directory = kept.is_empty() || !is_last;
                    if segment == ".." {
                        kept.pop();
                    }
                    continue;
                }
                _ => {
                    kept.push(segment);
                    directory = !is_last;
                    continue;
                }
            }
            directory = true;
        }
        let path: RepoPath = kept
            .join("/")
            .parse()
            .map_err(|error: dbt_core::repo_path::InvalidRepoPath| BadTarget(error.reason()))?;
        let directory = directory || path.is_root();
        Ok(Self { path, directory, unclean })
    }

    /// Returns the clean form, as it stands in a URL.
    pub fn clean_location(&self) -> String {
        let slash = if self.directory && !self.path.is_root() { "/" } else { "" };
        format!("/{}{slash}", self.path.url_encoded())
    }
}

/// Decodes one segment. A decoded slash or NUL never becomes part of a name.
fn decode(piece: &str) -> Result<String, BadTarget> {
    let mut bytes = Vec::with_capacity(piece.len());
    let mut rest = piece.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push(u8::try_from(high * 16 + low).unwrap_or(0)),
            _ => return Err(BadTarget("a `%` is not followed by two hexadecimal digits")),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_error| BadTarget("it is not UTF-8"))?;
    if text.contains(['/', '\\']) {
        return Err(BadTarget("encoded slashes and backslashes are not allowed"));
    }
    if text.chars().any(char::is_control) {
        return Err(BadTarget("control characters are not allowed"));
    }
    Ok(text)
}

/// A request's path cannot be used, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path cannot be used: {0}")]
pub struct BadTarget(pub &'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target(text: &str) -> Result<Target, BadTarget> {
        Target::of(&text.parse().unwrap())
    }

    fn cleaned(text: &str) -> (String, Option<Unclean>) {
        let target = target(text).unwrap();
        (target.clean_location(), target.unclean)
    }

    #[test]
    fn clean_paths_stay_as_they_are() {
        for text in ["/", "/a", "/a/", "/a/b.txt", "/a%20b/", "/%252e%252e", "/a..b", "/..;/x"] {
            let target = target(text).unwrap();
            assert_eq!((target.clean_location().as_str(), target.unclean), (text, None));
        }
    }

    #[test]
    fn an_unclean_path_has_one_clean_form_below_the_root() {
        let cases = [
            ("//", "/", Unclean::Slashes),
            ("//evil.example/x", "/evil.example/x", Unclean::Slashes),
            ("/a//b/", "/a/b/", Unclean::Slashes),
            ("/a/./b", "/a/b", Unclean::Dots),
            ("/a/b/..", "/a", Unclean::Dots),
            ("/a/b/../", "/a/", Unclean::Dots),
            ("/a/.", "/a", Unclean::Dots),
            ("/../../etc/passwd", "/etc/passwd", Unclean::Dots),
            ("/%2e%2E/etc", "/etc", Unclean::Dots),
            ("/..", "/", Unclean::Dots),
        ];
        for (sent, clean, unclean) in cases {
            assert_eq!(cleaned(sent), (clean.to_owned(), Some(unclean)), "{sent}");
        }
    }

    #[test]
    fn text_with_two_meanings_is_refused() {
        let long = format!("/{}", "a/".repeat(2100));
        for text in [
            "/a%2fb",
            "/..%2f..%2fetc",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%zz",
            "/a%2",
            "/%c0%ae",
            "/%ff",
            "/a%7f",
            long.as_str(),
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_sent_the_clean_form_is_clean_and_final(text in "/[a-c./%2eE~:;]{0,40}") {
            if let Ok(uri) = text.parse::<Uri>()
                && let Ok(first) = Target::of(&uri)
            {
                let again = Target::of(&first.clean_location().parse().unwrap()).unwrap();
                prop_assert_eq!(again.unclean, None);
                prop_assert_eq!(&again.path, &first.path);
                prop_assert!(!first.clean_location().starts_with("//"));
            }
        }
    }
}
