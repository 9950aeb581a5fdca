//! Patterns of paths, compared segment by segment.

use std::fmt;
use std::str::FromStr;

use dbt_core::repo_path::RepoPath;

/// A pattern of paths: `/dbt-tools/foo/**`.
///
/// `**` stands for any number of whole segments, also none; `*` inside a segment for any text in
/// it. So `/dbt-tools/foo/**` matches `/dbt-tools/foo` and all below, and never `/dbt-tools/foobar`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathGlob {
    text: String,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`.
    Any,
    /// One segment, perhaps with `*` in it.
    One(String),
}

/// The most `**` in a pattern: each multiplies the work of a comparison.
const ANY_LIMIT: usize = 4;

impl PathGlob {
    /// Says whether a path matches.
    pub fn matches(&self, path: &RepoPath) -> bool {
        let segments: Vec<&str> = path.segments().collect();
        matches(&self.segments, &segments, |text, segment| segment_matches(text, segment))
    }

    /// Says whether it matches whatever another matches. A `*` of the other stands for itself here: only
    /// a `*` of this one takes it, and that would take anything in its place.
    pub fn includes(&self, other: &Self) -> bool {
        let fits = |text: &str, segment: &Segment| matches!(segment, Segment::One(other) if segment_matches(text, other));
        matches(&self.segments, &other.segments, fits)
    }

    /// Says whether a path matches, and everything that is or could be below it.
    pub fn covers(&self, path: &RepoPath) -> bool {
        // The last `**` matches anything below, so also what is above.
        self.segments.last() == Some(&Segment::Any) && self.matches(path)
    }
}

/// Compares from left to right. Where that fails, the last `**` before takes one segment more: none
/// before it need be tried again, because it could only leave less for what follows. So no path
/// costs more than its length times that of the pattern.
fn matches<P>(pattern: &[Segment], path: &[P], fits: impl Fn(&str, &P) -> bool) -> bool {
    let (mut pattern, mut path) = (pattern, path);
    let mut retry = None;
    loop {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => return true,
            (Some((Segment::Any, rest)), _) => {
                retry = Some((rest, path));
                pattern = rest;
                continue;
            }
            (Some((Segment::One(text), rest)), Some((segment, tail))) if fits(text, segment) => {
                (pattern, path) = (rest, tail);
                continue;
            }
            _ => {}
        }
        let Some((rest, [_taken, tail @ ..])) = retry else { return false };
        retry = Some((rest, tail));
        (pattern, path) = (rest, tail);
    }
}

/// Compares one segment. The pieces between `*` must occur in order.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = segment.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PathGlob {
    type Err = InvalidGlob;

    fn from_str(text: &str) -> Result<Self, InvalidGlob> {
        let invalid = |reason| Err(InvalidGlob { text: text.to_owned(), reason });
        let Some(below) = text.strip_prefix('/') else {
            return invalid("it does not begin with `/`");
        };
        if below.is_empty() {
            return Ok(Self { text: text.to_owned(), segments: Vec::new() });
        }
        let mut segments = Vec::new();
        for segment in below.split('/') {
            if segment == "**" {
                segments.push(Segment::Any);
                continue;
            }
            if segment.contains("**") {
                return invalid("`**` stands for whole segments, between slashes");
            }
            // What can never be a segment would be a rule that never matches.
            if RepoPath::root().join(segment).is_err() {
                return invalid("a segment is empty, `.`, `..`, or has characters no path has");
            }
            segments.push(Segment::One(segment.to_owned()));
        }
        let wild = segments.iter().filter(|segment| **segment == Segment::Any).count();
        if wild > ANY_LIMIT {
            return invalid("it has more than four `**`");
        }
        Ok(Self { text: text.to_owned(), segments })
    }
}

/// Some text is no pattern of paths.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no pattern of paths: {reason}", text.escape_debug())]
pub struct InvalidGlob {
    text: String,
    reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> PathGlob {
        text.parse().unwrap()
    }

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_by_whole_segments() {
        let cases = [
            ("/**", "", true),
            ("/**", "dbt/truststore", true),
            ("/", "", true),
            ("/", "dbt", false),
            ("/dbt-tools/foo/**", "dbt-tools/foo", true),
            ("/dbt-tools/foo/**", "dbt-tools/foo/1.0.0/linux/amd64/foo", true),
            ("/dbt-tools/foo/**", "dbt-tools/fooEVIL", false),
            ("/dbt-tools/foo/**", "dbt-tools/fooEVIL/1.0.0", false),
            ("/dbt-tools/foo/**", "dbt-tools", false),
            ("/dbt-tools/foo", "dbt-tools/foo", true),
            ("/dbt-tools/foo", "dbt-tools/foo/1.0.0", false),
            ("/dbt-tools/pay-*/**", "dbt-tools/pay-in/1.0.0", true),
            ("/dbt-tools/pay-*/**", "dbt-tools/pay/1.0.0", false),
            ("/dbt-tools/*", "dbt-tools/x", true),
            ("/dbt-tools/*", "dbt-tools/x/y", false),
            ("/**/latest", "dbt/latest", true),
            ("/**/latest", "latest", true),
            ("/**/latest", "dbt/latest/x", false),
            ("/*/a*b*c", "x/aXbYc", true),
            ("/*/a*b*c", "x/abc", true),
            ("/*/a*b*c", "x/acb", false),
            ("/a*a", "a", false),
            ("/**/a/**/b", "a/x/b/a/b", true),
            ("/**/a/**/b", "x/a/b/y", false),
            ("/**/a/b/**", "a/a/b/c", true),
            ("/**/a/b/**", "a/b", true),
            ("/**/a/b/**", "a/x/b", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(glob(pattern).matches(&path(text)), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_covers_a_directory_only_with_everything_below() {
        assert!(glob("/dbt-tools/foo/**").covers(&path("dbt-tools/foo")));
        assert!(glob("/dbt-tools/foo/**").covers(&path("dbt-tools/foo/1.0.0")));
        assert!(glob("/**").covers(&path("dbt")));
        for narrow in ["/dbt-tools/*", "/dbt-tools/foo", "/**/foo", "/dbt-tools/foo/1.0.0/**"] {
            assert!(!glob(narrow).covers(&path("dbt-tools/foo")), "{narrow}");
        }
    }

    /// Each that is said to include another matches all that the other matches.
    #[test]
    fn a_pattern_includes_another_only_if_it_matches_all_that_it_does() {
        for (wide, narrow, expected) in [
            ("/**", "/dbt-tools/foo/**", true),
            ("/**", "/", true),
            ("/a/**", "/a/**", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/*/c/**", true),
            ("/a/*", "/a/b*", true),
            ("/a/b*", "/a/bc*d", true),
            ("/**/c", "/a/**/c", true),
            ("/a/**", "/**", false),
            ("/a/**", "/a*/**", false),
            ("/a/**", "/*/b", false),
            ("/a/*", "/a/**", false),
            ("/*", "/**", false),
            ("/a/*/c", "/a/**/c", false),
            ("/a/b*", "/a/*", false),
            ("/a/b*d", "/a/b*", false),
            ("/a", "/a/**", false),
            ("/", "/**", false),
        ] {
            let (wide, narrow) = (glob(wide), glob(narrow));
            assert_eq!(wide.includes(&narrow), expected, "{wide} {narrow}");
            let paths =
                ["", "a", "ab", "a/b", "a/bd", "a/bcd", "a/x/c", "a/c", "a/x/y/c", "x/b", "c"];
            for path in paths.map(path) {
                assert!(
                    !expected || !narrow.matches(&path) || wide.matches(&path),
                    "{wide} {path}"
                );
            }
        }
    }

    #[test]
    fn no_path_makes_a_comparison_long() {
        let path = path(&vec!["a"; 2000].join("/"));
        let glob = glob("/**/a/**/a/**/a/**/b");
        assert!(!glob.matches(&path) && !glob.covers(&path));
    }

    #[test]
    fn what_could_never_match_or_means_two_things_is_no_pattern() {
        for text in ["", "dbt/**", "//", "/dbt//x", "/../x", "/dbt/**x", "/a\\b", "/**/**/**/**/**"]
        {
            assert!(text.parse::<PathGlob>().is_err(), "{text}");
        }
    }
}
