//! The URL of one request, which may come out of a redirect.

use std::fmt;

use super::Redirects;
use super::error::RedirectProblem;
use crate::url::{Origin, Reason, RepositoryUrl, Scheme};

/// How many redirects are followed.
pub(super) const REDIRECT_LIMIT: usize = 3;

/// Where one request goes. Its text for people has no query: those of presigned URLs are secrets.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Target {
    origin: Origin,
    /// Escaped; begins with a slash.
    path: String,
    /// With its question mark, or empty.
    query: String,
}

impl Target {
    /// Returns the request for a URL of a repository, or nothing for a directory of this machine.
    pub(super) fn of(url: &RepositoryUrl) -> Option<Self> {
        let path = match url.http_path()? {
            "" => "/".to_owned(),
            path => path.to_owned(),
        };
        Some(Self { origin: url.origin()?.clone(), path, query: String::new() })
    }

    /// Returns the request for an escaped path, with a query that is empty or begins with `?`.
    pub(super) fn at(origin: Origin, path: String, query: String) -> Self {
        Self { origin, path, query }
    }

    /// Reads a whole URL that may have a query, as endpoints of identity providers do.
    pub(super) fn of_endpoint(text: &str) -> Result<Self, RedirectProblem> {
        if text.contains('\\') || text.chars().any(char::is_control) {
            return Err(RedirectProblem::Malformed);
        }
        let (scheme, rest) = split_scheme(text).ok_or(RedirectProblem::Malformed)?;
        Self::absolute(known_scheme(scheme)?, after_slashes(rest)?)
    }

    /// Returns the request for a directory: servers redirect without the slash.
    pub(super) fn into_directory(mut self) -> Self {
        if !self.path.ends_with('/') {
            self.path.push('/');
        }
        self
    }

    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the escaped path.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Returns everything, for the request itself and nothing else.
    pub(super) fn uri(&self) -> String {
        format!("{}{}{}", self.origin, self.path, self.query)
    }

    /// Returns where a `Location` leads from here, if `redirects` allows to go there.
    pub(super) fn redirected(
        &self,
        location: &str,
        redirects: Redirects,
    ) -> Result<Self, RedirectProblem> {
        let there = self.resolve(location)?;
        match redirects {
            _ if there.origin == self.origin => Ok(there),
            Redirects::SameOrigin if self.weakened_by(&there) => {
                Err(RedirectProblem::PlainHttp(there.origin))
            }
            Redirects::SameOrigin => Err(RedirectProblem::OtherOrigin(there.origin)),
            Redirects::OtherHttps if there.origin.scheme() == Scheme::Https => Ok(there),
            Redirects::OtherHttps => Err(RedirectProblem::PlainHttp(there.origin)),
        }
    }

    fn weakened_by(&self, there: &Self) -> bool {
        self.origin.scheme() == Scheme::Https && there.origin.scheme() == Scheme::Http
    }

    /// Resolves a reference as RFC 3986, 5.2 has it.
    fn resolve(&self, location: &str) -> Result<Self, RedirectProblem> {
        let location = location.trim_ascii().split('#').next().unwrap_or_default();
        if location.contains('\\') || location.chars().any(char::is_control) {
            return Err(RedirectProblem::Malformed);
        }
        if let Some((scheme, rest)) = split_scheme(location) {
            return Self::absolute(known_scheme(scheme)?, after_slashes(rest)?);
        }
        if let Some(rest) = location.strip_prefix("//") {
            return Self::absolute(self.origin.scheme(), rest);
        }
        let (path, query) = split_query(location);
        let path = if path.is_empty() {
            self.path.clone()
        } else if path.starts_with('/') {
            without_dots(path)
        } else {
            let (above, _name) = self.path.rsplit_once('/').unwrap_or_default();
            without_dots(&format!("{above}/{path}"))
        };
        Ok(Self { origin: self.origin.clone(), path: sendable(&path), query: sendable(query) })
    }

    fn absolute(scheme: Scheme, rest: &str) -> Result<Self, RedirectProblem> {
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(RedirectProblem::UserInfo);
        }
        let origin = Origin::parse(scheme, authority)
            .map_err(|_reason: Reason| RedirectProblem::Malformed)?;
        let (path, query) = split_query(rest);
        let path = if path.is_empty() { "/".to_owned() } else { without_dots(path) };
        Ok(Self { origin, path: sendable(&path), query: sendable(query) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let is_scheme =
        scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(legal);
    is_scheme.then_some((scheme, rest))
}

fn known_scheme(scheme: &str) -> Result<Scheme, RedirectProblem> {
    match scheme.to_ascii_lowercase().as_str() {
        "https" => Ok(Scheme::Https),
        "http" => Ok(Scheme::Http),
        other => Err(RedirectProblem::Scheme(other.chars().take(20).collect())),
    }
}

fn after_slashes(rest: &str) -> Result<&str, RedirectProblem> {
    rest.strip_prefix("//").ok_or(RedirectProblem::Malformed)
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// Resolves `.` and `..` (RFC 3986, 5.2.4). What would leave the top stays there.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_in_directory = false;
    for segment in path.split('/').skip(1) {
        ends_in_directory = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    if ends_in_directory {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Escapes what must not stand in a request line, and nothing that is escaped already.
fn sendable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&crate::url::escaped(&[byte]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target::of(&url.parse().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(location: &str, redirects: Redirects, expected: Result<&str, RedirectProblem>) {
        let from = target("https://h/dbt/1.0.0/file");
        let found = from.redirected(location, redirects).map(|there| there.uri());
        assert_eq!(found, expected.map(str::to_owned), "{location}");
    }

    fn origin(url: &str) -> Origin {
        target(url).origin
    }

    #[test]
    fn locations_are_resolved_as_browsers_do() {
        for (location, expected) in [
            ("other", "https://h/dbt/1.0.0/other"),
            ("../other", "https://h/dbt/other"),
            ("./", "https://h/dbt/1.0.0/"),
            ("..", "https://h/dbt/"),
            ("../../../../etc/passwd", "https://h/etc/passwd"),
            ("/x/./y/../z?a=b#c", "https://h/x/z?a=b"),
            ("?a=b", "https://h/dbt/1.0.0/file?a=b"),
            ("//h:443/x", "https://h/x"),
            ("HTTPS://H/x y\u{e9}", "https://h/x%20y%C3%A9"),
            ("https://h?a", "https://h/?a"),
        ] {
            check(location, Redirects::SameOrigin, Ok(expected));
        }
    }

    #[test]
    fn redirects_to_other_servers_are_for_what_is_signed() {
        let there = "https://cdn/x?X-Amz-Signature=s";
        check(there, Redirects::OtherHttps, Ok(there));
        let problem = RedirectProblem::OtherOrigin(origin("https://cdn"));
        check(there, Redirects::SameOrigin, Err(problem));
        let problem = RedirectProblem::OtherOrigin(origin("https://h:444"));
        check("https://h:444/x", Redirects::SameOrigin, Err(problem));
    }

    #[test]
    fn redirects_never_lead_out_of_tls_or_to_files() {
        for redirects in [Redirects::SameOrigin, Redirects::OtherHttps] {
            let problem = RedirectProblem::PlainHttp(origin("http://h"));
            check("http://h/x", redirects, Err(problem));
            check("file:///etc/passwd", redirects, Err(RedirectProblem::Scheme("file".to_owned())));
            check("https://a@h/x", redirects, Err(RedirectProblem::UserInfo));
            check("https://h\\@evil/x", redirects, Err(RedirectProblem::Malformed));
            check("https:/h/x", redirects, Err(RedirectProblem::Malformed));
            check("https://h:0/x", redirects, Err(RedirectProblem::Malformed));
            check("http://h/\r\nx: y", redirects, Err(RedirectProblem::Malformed));
        }
    }

    #[test]
    fn presigned_queries_are_not_shown() {
        let there = target("https://h/x").redirected("/y?sig=hunter2", Redirects::SameOrigin);
        let there = there.unwrap();
        assert!(!format!("{there} {there:?}").contains("hunter2"));
        assert!(there.uri().contains("hunter2"));
    }
}
