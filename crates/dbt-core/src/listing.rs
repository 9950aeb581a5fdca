//! Reads what servers list: HTML indexes of the common file servers, and JSON.
//!
//! A listing is only ever a set of names one level below its directory. Whatever else a page
//! holds (other hosts, parents, scripts, sort links) is passed over, and no name gets through that
//! could leave the directory.

pub mod page;

use std::collections::BTreeMap;
use std::fmt;

use crate::repo_path::RepoPath;
use crate::version::Version;

/// The largest listing that is read, in bytes. A directory of 50,000 entries has about 4 MiB with
/// nginx; more is no listing, but an attempt to fill the memory.
pub const LISTING_LIMIT: u64 = 8 * 1024 * 1024;

/// The most entries that are kept.
const ENTRY_LIMIT: usize = 100_000;

/// The names in one directory of a repository, sorted, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    entries: Vec<Entry>,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The decoded name: one valid segment of a [`RepoPath`], without a slash.
    pub name: String,
    /// Whether the server shows it as a directory.
    pub directory: bool,
}

impl Listing {
    /// Reads what a server answered for the directory at `directory_url`.
    ///
    /// The URL decides which absolute links are entries. HTML of the reference server, nginx,
    /// Apache, Python and Artifactory is read, and JSON of nginx, Caddy, Artifactory and the
    /// reference server's API.
    pub fn parse(body: &[u8], directory_url: &str) -> Result<Self, ListingError> {
        if body.len() as u64 > LISTING_LIMIT {
            return Err(ListingError::TooLarge);
        }
        let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body);
        match body.trim_ascii_start().first() {
            Some(b'[') => {
                let raw: Vec<json::RawEntry> = serde_json::from_slice(body)?;
                Self::collect(raw.iter().filter_map(json::RawEntry::named))
            }
            Some(b'{') => {
                let raw: json::RawObject = serde_json::from_slice(body)?;
                let raw = raw.children.or(raw.files).ok_or(ListingError::NotAListing)?;
                Self::collect(raw.iter().filter_map(json::RawEntry::named))
            }
            Some(b'<') => {
                let page = String::from_utf8_lossy(body);
                let directory = Directory::of(directory_url);
                let links = html::Links::in_page(&page);
                let listing = Self::collect(links.filter_map(|href| directory.entry_of(&href)))?;
                html::check_is_a_listing(&page, listing.entries.is_empty())?;
                Ok(listing)
            }
            Some(_) | None => Err(ListingError::NotAListing),
        }
    }

    /// Makes a listing of names with whether each is a directory. Names that could not be in a
    /// repository are passed over.
    pub fn of_names<'a>(
        names: impl IntoIterator<Item = (&'a str, bool)>,
    ) -> Result<Self, ListingError> {
        Self::collect(names.into_iter().map(|(name, directory)| (name.to_owned(), directory)))
    }

    /// Returns the entries in the order of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Returns the names of everything.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// Returns the names that the server shows as directories.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().filter(|entry| entry.directory).map(|entry| entry.name.as_str())
    }

    /// Returns the names that are versions, from the lowest to the highest.
    ///
    /// Some servers do not mark directories, so a version counts however it is shown.
    pub fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> =
            self.names().filter_map(|name| name.parse().ok()).collect();
        versions.sort();
        versions
    }

    /// Says whether there is an entry of exactly this name.
    pub fn contains(&self, name: &str) -> bool {
        self.entries.binary_search_by(|entry| entry.name.as_str().cmp(name)).is_ok()
    }

    fn collect(names: impl Iterator<Item = (String, bool)>) -> Result<Self, ListingError> {
        let mut entries = BTreeMap::new();
        for (name, directory) in names {
            if RepoPath::root().join(&name).is_err() {
                continue;
            }
            *entries.entry(name).or_insert(false) |= directory;
            if entries.len() > ENTRY_LIMIT {
                return Err(ListingError::TooMany);
            }
        }
        let entries = entries.into_iter().map(|(name, directory)| Entry { name, directory });
        Ok(Self { entries: entries.collect() })
    }
}

/// Why an answer is not a listing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// It is neither HTML nor JSON, or a page of another kind.
    #[error("the answer is not a listing of a directory")]
    NotAListing,

    /// It looks like JSON and is not, or says something else.
    #[error("the answer is not a JSON listing")]
    Json(#[from] serde_json::Error),

    /// It is larger than any honest listing.
    #[error("the listing has more than {LISTING_LIMIT} bytes")]
    TooLarge,

    /// It has more entries than any honest listing.
    #[error("the listing has more than {ENTRY_LIMIT} entries")]
    TooMany,
}

/// Where the listing was read: what links are compared with.
struct Directory {
    /// Scheme and host in lower case, without the usual port; nothing when the URL has none.
    host: Option<String>,
    /// The decoded path, without the slash at its end.
    path: Vec<u8>,
}

impl Directory {
    fn of(url: &str) -> Self {
        let url = url.split(['?', '#']).next().unwrap_or_default();
        let (host, path) = match split_absolute(url) {
            Some((scheme, authority, path)) => (normal_host(scheme, authority), path),
            None => (None, url),
        };
        let path = path.strip_suffix('/').unwrap_or(path);
        Self { host, path: unescaped(path).unwrap_or_default() }
    }

    /// Returns the entry that a link means, if it means one: a name directly below here.
    fn entry_of(&self, href: &str) -> Option<(String, bool)> {
        let href = href.trim_ascii();
        if href.contains(['?', '#', '\\']) || href.chars().any(char::is_control) {
            return None;
        }
        if let Some((scheme, authority, path)) = split_absolute(href) {
            let host = normal_host(scheme, authority);
            return if host.is_some() && host == self.host { self.below(path) } else { None };
        }
        if let Some(rest) = href.strip_prefix("//") {
            let scheme = self.host.as_deref()?.split("://").next()?;
            let (authority, path) = rest.split_at(rest.find('/')?);
            let same = normal_host(scheme, authority) == self.host;
            return if same { self.below(path) } else { None };
        }
        if href.starts_with('/') {
            return self.below(href);
        }
        if has_scheme(href) {
            return None;
        }
        single_name(href.strip_prefix("./").unwrap_or(href))
    }

    /// Returns the entry of an absolute path when it is directly below here.
    fn below(&self, path: &str) -> Option<(String, bool)> {
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let (parent, _name) = trimmed.rsplit_once('/')?;
        // Servers escape differently, so the decoded forms are compared.
        if unescaped(parent)? != self.path {
            return None;
        }
        single_name(path.get(parent.len() + 1..)?)
    }
}

/// Splits `scheme://authority/path` of the schemes that listings are read by.
fn split_absolute(url: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    Some((scheme, authority, path))
}

/// Returns scheme and host in one spelling, or nothing when there is something strange in it.
fn normal_host(scheme: &str, authority: &str) -> Option<String> {
    if authority.is_empty() || authority.contains('@') {
        return None;
    }
    let host = format!("{scheme}://{authority}").to_ascii_lowercase();
    let port = if host.starts_with("https:") { ":443" } else { ":80" };
    Some(host.strip_suffix(port).unwrap_or(&host).to_owned())
}

fn has_scheme(href: &str) -> bool {
    let Some((scheme, _rest)) = href.split_once(':') else { return false };
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(legal)
}

/// Reads an escaped name with or without a slash at its end. The caller checks what it decodes to.
fn single_name(text: &str) -> Option<(String, bool)> {
    let (name, directory) = match text.strip_suffix('/') {
        Some(name) => (name, true),
        None => (text, false),
    };
    if name.contains('/') {
        return None;
    }
    Some((String::from_utf8(unescaped(name)?).ok()?, directory))
}

/// Resolves percent escapes. A lone `%` stands for itself, as browsers have it.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let escape = match (byte, after) {
            (b'%', [high, low, ..]) => {
                char::from(*high).to_digit(16).zip(char::from(*low).to_digit(16))
            }
            _ => None,
        };
        if let Some((high, low)) = escape {
            bytes.push(u8::try_from(high * 16 + low).ok()?);
            rest = after.get(2..)?;
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    Some(bytes)
}

mod json {
    //! The JSON forms.

    use serde::Deserialize;

    /// One element of a JSON listing, whichever server wrote it.
    #[derive(Deserialize)]
    pub(super) struct RawEntry {
        /// nginx, Caddy, the reference server's list of tools.
        name: Option<String>,
        /// The reference server's list of versions.
        version: Option<String>,
        /// Artifactory, with a leading slash.
        uri: Option<String>,
        /// nginx: `directory` or `file`.
        r#type: Option<String>,
        /// Artifactory.
        folder: Option<bool>,
        /// Caddy.
        is_dir: Option<bool>,
    }

    /// Artifactory's folder: `children` of one level, or `files` of a file list.
    #[derive(Deserialize)]
    pub(super) struct RawObject {
        pub(super) children: Option<Vec<RawEntry>>,
        pub(super) files: Option<Vec<RawEntry>>,
    }

    impl RawEntry {
        /// Returns the name, and whether it is a directory. The reference server's API lists
        /// directories alone and does not say so.
        pub(super) fn named(&self) -> Option<(String, bool)> {
            let said = self.folder.or(self.is_dir);
            let said = said.or(self.r#type.as_deref().map(|kind| kind == "directory"));
            let name = match (&self.name, &self.version, &self.uri) {
                (Some(name), _, _) | (None, Some(name), _) => name.as_str(),
                (None, None, Some(uri)) => uri.strip_prefix('/').unwrap_or(uri),
                (None, None, None) => return None,
            };
            let bare = name.strip_suffix('/').unwrap_or(name);
            Some((bare.to_owned(), said.unwrap_or(true) || bare.len() < name.len()))
        }
    }
}

mod html {
    //! Finds the links of a page: a small reader that never fails, because pages are not written
    //! to any rule.

    use super::ListingError;

    /// The `href` of every `<a>` of a page, entities resolved.
    pub(super) struct Links<'a> {
        rest: &'a str,
    }

    /// Elements whose content is text, whatever it looks like.
    const RAW: [&str; 6] = ["script", "style", "title", "textarea", "template", "xmp"];

    impl<'a> Links<'a> {
        pub(super) const fn in_page(page: &'a str) -> Self {
            Self { rest: page }
        }

        /// Reads the tag that begins at `rest` (behind its `<`); returns a link's target.
        fn tag(&mut self) -> Option<String> {
            let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric());
            let (name, after) = self.rest.split_at(end.unwrap_or(self.rest.len()));
            let name = name.to_ascii_lowercase();
            self.rest = after;
            let href = self.attributes();
            if RAW.contains(&name.as_str()) {
                self.skip_content_of(&name);
                return None;
            }
            if name == "a" { href } else { None }
        }

        /// Reads attributes up to the end of the tag; returns the first `href`.
        fn attributes(&mut self) -> Option<String> {
            let mut href = None;
            loop {
                let separator = |c: char| c.is_ascii_whitespace() || c == '/';
                self.rest = self.rest.trim_start_matches(separator);
                if let Some(after) = self.rest.strip_prefix('>') {
                    self.rest = after;
                    return href;
                }
                if self.rest.is_empty() {
                    return None;
                }
                // A name has at least one character, even if that is `=`: so this ends.
                let first = self.rest.chars().next().map_or(1, char::len_utf8);
                let ends = |c: char| separator(c) || c == '>' || c == '=';
                let end = self.rest.get(first..).and_then(|rest| rest.find(ends));
                let end = end.map_or(self.rest.len(), |end| first + end);
                let (name, after) = self.rest.split_at(end);
                self.rest = after.trim_ascii_start();
                let value = self.value();
                if href.is_none() && name.eq_ignore_ascii_case("href") {
                    href = value.map(resolved);
                }
            }
        }

        /// Reads `=value`, if that is what follows.
        fn value(&mut self) -> Option<&'a str> {
            let after = self.rest.strip_prefix('=')?.trim_ascii_start();
            let quoted = after.strip_prefix('"').map(|inner| (inner, '"'));
            let quoted = quoted.or(after.strip_prefix('\'').map(|inner| (inner, '\'')));
            let (value, rest) = if let Some((inner, quote)) = quoted {
                inner.split_once(quote).unwrap_or((inner, ""))
            } else {
                let ends = |c: char| c.is_ascii_whitespace() || c == '>';
                after.split_at(after.find(ends).unwrap_or(after.len()))
            };
            self.rest = rest;
            Some(value)
        }

        fn skip_content_of(&mut self, name: &str) {
            while let Some((_text, after)) = self.rest.split_once("</") {
                self.rest = after;
                if after.get(..name.len()).is_some_and(|end| end.eq_ignore_ascii_case(name)) {
                    return;
                }
            }
            self.rest = "";
        }
    }

    impl Iterator for Links<'_> {
        type Item = String;

        fn next(&mut self) -> Option<String> {
            loop {
                let (_text, after) = self.rest.split_once('<')?;
                self.rest = after;
                if let Some(comment) = after.strip_prefix("!--") {
                    self.rest = comment.split_once("-->").map_or("", |(_comment, rest)| rest);
                } else if after.starts_with(|first: char| first.is_ascii_alphabetic()) {
                    let href = self.tag();
                    if href.is_some() {
                        return href;
                    }
                }
            }
        }
    }

    /// Resolves the entities that servers write into links.
    fn resolved(text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('&') {
            out.push_str(before);
            let (character, after) = leading_entity(after).unwrap_or(('&', after));
            out.push(character);
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Reads an entity that begins behind its `&`. Only the next few bytes are looked at: a page
    /// of ampersands must not be searched to its end for each of them.
    fn leading_entity(text: &str) -> Option<(char, &str)> {
        let end = text.bytes().take(10).position(|byte| byte == b';')?;
        Some((entity(text.get(..end)?)?, text.get(end + 1..)?))
    }

    fn entity(name: &str) -> Option<char> {
        match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "nbsp" => Some('\u{a0}'),
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)
            }
        }
    }

    /// Refuses pages that are no index: the sign-in page of a network answers for every URL, and
    /// must not be taken for a directory in which nothing is published.
    pub(super) fn check_is_a_listing(page: &str, empty: bool) -> Result<(), ListingError> {
        let page = page.to_ascii_lowercase();
        let has = |marks: &[&str]| marks.iter().any(|mark| page.contains(mark));
        // In a tag: a published file may have such a name.
        let mut inputs = page.split("<input").skip(1).filter_map(|rest| rest.split('>').next());
        let marks = ["type=\"password\"", "type='password'", "type=password"];
        if inputs.any(|tag| marks.iter().any(|mark| tag.contains(mark))) {
            return Err(ListingError::NotAListing);
        }
        if !empty {
            return Ok(());
        }
        let index = ["<pre", "index of", "directory listing", "href=\"../\""];
        let portal = ["<form", "<input", "<iframe", "http-equiv=\"refresh\"", "<script"];
        if has(&index) && !has(&portal) { Ok(()) } else { Err(ListingError::NotAListing) }
    }
}

impl fmt::Display for Entry {
    /// Shows the name as listings do: a directory with a slash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.write_str(if self.directory { "/" } else { "" })
    }
}

#[cfg(test)]
mod tests;
