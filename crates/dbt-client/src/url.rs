//! Where repositories are: URLs and directories as people write them, in one normal form.
//!
//! A [`RepositoryUrl`] never holds a secret: user names, passwords and queries are refused when it
//! is read, so it may be printed anywhere.

pub mod bucket;
mod invalid;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use dbt_core::repo_path::RepoPath;

use bucket::Bucket;

pub use invalid::{InvalidUrl, Reason};

/// A repository, a directory of one, or a file in it.
///
/// Scheme and host are in lower case, default ports and trailing slashes are gone, escapes are
/// written in one way, and no segment is `.` or `..`. Equal places that are spelt differently in
/// these respects are equal here.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryUrl(Place);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Place {
    /// The path is escaped; it is empty, or begins with a slash and does not end with one.
    Http { origin: Origin, path: String },
    /// The path as above.
    S3 { bucket: Box<Bucket>, path: String },
    /// An absolute path.
    Directory(PathBuf),
}

/// The longest text that is looked at, in bytes; longer URLs are not accepted by servers either.
const URL_LIMIT: usize = 8192;

impl RepositoryUrl {
    /// Reads what [`str::parse`] reads, and directories relative to `directory`, which begin with
    /// `./` or `../`.
    pub fn parse_relative_to(text: &str, directory: &Path) -> Result<Self, InvalidUrl> {
        let text = text.trim_ascii();
        if is_dotted(text) && !text.contains('\0') {
            return Ok(Self(Place::Directory(lexically_normal(&directory.join(text)))));
        }
        text.parse()
    }

    /// Returns the place of an absolute directory or file.
    pub fn of_directory(path: &Path) -> Result<Self, InvalidUrl> {
        if !path.is_absolute() {
            return Err(InvalidUrl::new(&path.to_string_lossy(), Reason::RelativePath));
        }
        Ok(Self(Place::Directory(lexically_normal(path))))
    }

    /// Returns scheme, host and port of a web server, or nothing for a bucket or a directory.
    pub fn origin(&self) -> Option<&Origin> {
        match &self.0 {
            Place::Http { origin, .. } => Some(origin),
            Place::S3 { .. } | Place::Directory(_) => None,
        }
    }

    /// Returns the bucket that this is in, and the key of it there without a slash at either end.
    pub fn bucket(&self) -> Option<(&Bucket, String)> {
        let Place::S3 { bucket, path } = &self.0 else { return None };
        let key = unescaped(path.strip_prefix('/').unwrap_or(path)).unwrap_or_default();
        Some((bucket, String::from_utf8_lossy(&key).into_owned()))
    }

    /// Returns what a server at this place is called if nobody says otherwise: its host, bucket or
    /// directory. Nothing for a directory without a name.
    pub fn usual_name(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Place::Http { origin, .. } => Some(origin.host().into()),
            Place::S3 { bucket, .. } => Some(bucket.name().into()),
            Place::Directory(path) => Some(path.file_name()?.to_string_lossy()),
        }
    }

    /// Returns the escaped path of an `http` or `https` URL: empty, or with a leading slash and
    /// without a trailing one.
    pub fn http_path(&self) -> Option<&str> {
        match &self.0 {
            Place::Http { path, .. } => Some(path),
            Place::S3 { .. } | Place::Directory(_) => None,
        }
    }

    /// Returns the path of a directory, or nothing for a server or a bucket.
    pub fn directory(&self) -> Option<&Path> {
        match &self.0 {
            Place::Http { .. } | Place::S3 { .. } => None,
            Place::Directory(path) => Some(path),
        }
    }

    /// Says whether a server on this very machine is meant.
    pub fn is_loopback(&self) -> bool {
        self.asked().is_some_and(Origin::is_loopback)
    }

    /// Says whether what is read from there can be changed on the way.
    pub fn is_plain_http(&self) -> bool {
        self.asked().is_some_and(|origin| origin.scheme == Scheme::Http)
    }

    /// Returns whoever is asked, as far as the URL says it.
    fn asked(&self) -> Option<&Origin> {
        match &self.0 {
            Place::Http { origin, .. } => Some(origin),
            Place::S3 { bucket, .. } => bucket.endpoint(),
            Place::Directory(_) => None,
        }
    }

    /// Returns the place of a path below this one.
    #[must_use]
    pub fn join(&self, path: &RepoPath) -> Self {
        if path.is_root() {
            return self.clone();
        }
        Self(match &self.0 {
            Place::Http { origin, path: base } => Place::Http {
                origin: origin.clone(),
                path: format!("{base}/{}", escaped(path.as_str().as_bytes())),
            },
            Place::S3 { bucket, path: base } => Place::S3 {
                bucket: bucket.clone(),
                path: format!("{base}/{}", escaped(path.as_str().as_bytes())),
            },
            Place::Directory(base) => {
                let segments = path.segments();
                Place::Directory(segments.fold(base.clone(), |below, name| below.join(name)))
            }
        })
    }

    /// Returns the place of the file whose name has `ending` added to this one's name.
    #[must_use]
    pub fn with_ending(&self, ending: &str) -> Self {
        Self(match &self.0 {
            Place::Http { origin, path } => Place::Http {
                origin: origin.clone(),
                path: format!("{path}{}", escaped(ending.as_bytes())),
            },
            Place::S3 { bucket, path } => Place::S3 {
                bucket: bucket.clone(),
                path: format!("{path}{}", escaped(ending.as_bytes())),
            },
            Place::Directory(path) => {
                let mut named = path.clone().into_os_string();
                named.push(ending);
                Place::Directory(PathBuf::from(named))
            }
        })
    }

    /// Returns the directory above, or nothing at the top.
    pub fn parent(&self) -> Option<Self> {
        Some(Self(match &self.0 {
            Place::Http { origin, path } => {
                let (above, _name) = path.rsplit_once('/')?;
                Place::Http { origin: origin.clone(), path: above.to_owned() }
            }
            Place::S3 { bucket, path } => {
                let (above, _name) = path.rsplit_once('/')?;
                Place::S3 { bucket: bucket.clone(), path: above.to_owned() }
            }
            Place::Directory(path) => Place::Directory(path.parent()?.to_owned()),
        }))
    }

    /// Returns the directory above and the name in it, so that one file can be read as any other
    /// file of a repository. Nothing at the top, and when the name could not be in a repository.
    pub fn split_last(&self) -> Option<(Self, RepoPath)> {
        let name = match &self.0 {
            Place::Http { path, .. } | Place::S3 { path, .. } => {
                let (_above, name) = path.rsplit_once('/')?;
                String::from_utf8(unescaped(name)?).ok()?
            }
            Place::Directory(path) => path.file_name()?.to_str()?.to_owned(),
        };
        Some((self.parent()?, RepoPath::root().join(&name).ok()?))
    }

    /// Says whether this place is `other` or lies below it, by whole segments.
    pub fn is_within(&self, other: &Self) -> bool {
        let is_below = |path: &str, other: &str| {
            let rest = path.strip_prefix(other);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match (&self.0, &other.0) {
            (
                Place::Http { origin, path },
                Place::Http { origin: other_origin, path: other_path },
            ) => origin == other_origin && is_below(path, other_path),
            (Place::S3 { bucket, path }, Place::S3 { bucket: other_bucket, path: other_path }) => {
                bucket == other_bucket && is_below(path, other_path)
            }
            (Place::Directory(path), Place::Directory(other_path)) => path.starts_with(other_path),
            (Place::Http { .. } | Place::S3 { .. } | Place::Directory(_), _) => false,
        }
    }
}

impl FromStr for RepositoryUrl {
    type Err = InvalidUrl;

    /// Reads `https://host[:port]/path`, `http://…`, `s3://bucket/prefix`, `file:///path` or an
    /// absolute path.
    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let text = text.trim_ascii();
        let refuse = |reason| Err(InvalidUrl::new(text, reason));
        if text.is_empty() {
            return refuse(Reason::Empty);
        }
        if text.len() > URL_LIMIT {
            return refuse(Reason::TooLong);
        }
        // No path of a system holds one, however it is written.
        if text.contains('\0') {
            return refuse(Reason::BadCharacter);
        }
        if is_dotted(text) {
            return refuse(Reason::RelativePath);
        }
        if Path::new(text).is_absolute() {
            return Ok(Self(Place::Directory(lexically_normal(Path::new(text)))));
        }
        let place = match text.split_once(':') {
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" => http_place(Scheme::Https, rest),
                "http" => http_place(Scheme::Http, rest),
                "file" => file_place(rest),
                "s3" => Bucket::read(rest).and_then(in_bucket),
                _ if rest.starts_with("//") => Err(Reason::UnknownScheme),
                _ => Err(Reason::NoScheme),
            },
            None => Err(Reason::NoScheme),
        };
        place.map(Self).or_else(refuse)
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Http { origin, path } => write!(f, "{origin}{path}"),
            Place::S3 { bucket, path } => bucket.write(path, f),
            Place::Directory(path) => {
                let text = escaped(&path_bytes(path));
                let slash = if text.starts_with('/') { "" } else { "/" };
                write!(f, "file://{slash}{text}")
            }
        }
    }
}

impl serde::Serialize for RepositoryUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for RepositoryUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// With TLS.
    Https,
    /// Without protection.
    Http,
}

impl Scheme {
    /// Returns the scheme as it is written before `://`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http => 80,
        }
    }
}

/// Scheme, host and port: what credentials are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    scheme: Scheme,
    /// In lower case; IPv6 addresses without brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads what stands between `scheme://` and the path.
    pub(crate) fn parse(scheme: Scheme, authority: &str) -> Result<Self, Reason> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(Reason::BadHost)?;
                let address: Ipv6Addr = address.parse().map_err(|_error| Reason::BadHost)?;
                let port = match rest.strip_prefix(':') {
                    Some(port) => Some(port),
                    None if rest.is_empty() => None,
                    None => return Err(Reason::BadHost),
                };
                (address.to_string(), port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host_name(host)?, Some(port)),
                None => (host_name(authority)?, None),
            },
        };
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => port_number(digits)?,
        };
        Ok(Self { scheme, host, port })
    }

    /// Returns the scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host in lower case, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port, the scheme's own if none was written.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Says whether a server on this very machine is meant: `localhost` or a loopback address.
    pub fn is_loopback(&self) -> bool {
        // Not `*.localhost`: not every resolver keeps those names on the machine.
        self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Returns what stands in a `Host` header: the host, and the port unless it is the usual one.
    pub fn authority(&self) -> String {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

fn is_dotted(text: &str) -> bool {
    text.split(['/', '\\']).next().is_some_and(|first| first == "." || first == "..")
}

/// Reads what stands after `http:` or `https:`.
fn http_place(scheme: Scheme, rest: &str) -> Result<Place, Reason> {
    let rest = rest.strip_prefix("//").ok_or(Reason::NoHost)?;
    if rest.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(Reason::BadCharacter);
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.contains('@') {
        return Err(Reason::UserInfo);
    }
    if path.contains('?') {
        return Err(Reason::Query);
    }
    if path.contains('#') {
        return Err(Reason::Fragment);
    }
    let origin = Origin::parse(scheme, authority)?;
    if let Some(found) = Bucket::of_host(&origin.host, path) {
        return found.and_then(in_bucket);
    }
    Ok(Place::Http { origin, path: normal_path(path)? })
}

fn port_number(digits: &str) -> Result<u16, Reason> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Reason::BadPort);
    }
    match digits.parse() {
        Ok(0) => Err(Reason::PortZero),
        Ok(port) => Ok(port),
        Err(_too_large) => Err(Reason::BadPort),
    }
}

fn host_name(host: &str) -> Result<String, Reason> {
    if host.is_empty() {
        return Err(Reason::NoHost);
    }
    if !host.is_ascii() {
        return Err(Reason::ForeignHost);
    }
    let host = host.to_ascii_lowercase();
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(legal);
    let labels = host.strip_suffix('.').unwrap_or(&host);
    if host.len() > 253 || !labels.split('.').all(label) {
        return Err(Reason::BadHost);
    }
    // `127.1`, `0x7f.1` and `2130706433` are addresses to some resolvers and names to others:
    // what ends in a number must be an address that everybody reads alike.
    let last = labels.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|first: char| first.is_ascii_digit());
    if numeric && last.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'x') {
        let address: Ipv4Addr = host.parse().map_err(|_error| Reason::BadHost)?;
        return Ok(address.to_string());
    }
    Ok(host)
}

/// Returns the place of a path in a bucket.
fn in_bucket((bucket, path): (Bucket, &str)) -> Result<Place, Reason> {
    if path.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(Reason::BadCharacter);
    }
    Ok(Place::S3 { bucket: Box::new(bucket), path: normal_path(path)? })
}

/// Brings an escaped path into its one form, without a trailing slash.
fn normal_path(path: &str) -> Result<String, Reason> {
    let bytes = unescaped(path).ok_or(Reason::BadEscape)?;
    if path.to_ascii_lowercase().contains("%2f") || bytes.contains(&b'\\') {
        // An escaped slash is a slash to some servers and a character of a name to others.
        return Err(Reason::BadCharacter);
    }
    if bytes.iter().any(u8::is_ascii_control) {
        return Err(Reason::BadCharacter);
    }
    let dotted = |segment: &[u8]| segment == b"." || segment == b"..";
    if bytes.split(|byte| *byte == b'/').any(dotted) {
        return Err(Reason::Dots);
    }
    Ok(escaped(&bytes).trim_end_matches('/').to_owned())
}

/// Reads what stands after `file:`.
fn file_place(rest: &str) -> Result<Place, Reason> {
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(Reason::FileHost);
            }
            path
        }
        None => rest,
    };
    if path.contains('?') {
        return Err(Reason::Query);
    }
    if path.contains('#') {
        return Err(Reason::Fragment);
    }
    let bytes = unescaped(path).ok_or(Reason::BadEscape)?;
    if bytes.contains(&0) {
        return Err(Reason::BadCharacter);
    }
    let path = path_from(bytes).ok_or(Reason::BadEscape)?;
    if !path.is_absolute() {
        return Err(Reason::RelativeFile);
    }
    Ok(Place::Directory(lexically_normal(&path)))
}

/// Resolves `.` and `..` by the text alone and drops trailing slashes.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                normal.push(component);
            }
        }
    }
    normal
}

#[cfg(unix)]
fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(not(unix))]
fn path_bytes(path: &Path) -> Vec<u8> {
    path.to_string_lossy().replace('\\', "/").into_bytes()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere a path is not any bytes")]
fn path_from(bytes: Vec<u8>) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

#[cfg(not(unix))]
fn path_from(bytes: Vec<u8>) -> Option<PathBuf> {
    let text = String::from_utf8(bytes).ok()?;
    // `file:///C:/dir` names `C:/dir`.
    let drive = text.as_bytes().get(2) == Some(&b':');
    Some(PathBuf::from(if drive { text.get(1..)? } else { text.as_str() }))
}

/// Escapes what means something in a URL, by the one rule of [`RepoPath::url_encoded`].
pub(crate) fn escaped(bytes: &[u8]) -> String {
    escaped_but(bytes, b"-._~/!$&'()*+,;=:@")
}

/// Escapes everything but letters, digits and what is `kept`.
pub(crate) fn escaped_but(bytes: &[u8], kept: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || kept.contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push('%');
            for half in [byte >> 4, byte & 15] {
                let digit = char::from_digit(u32::from(half), 16).unwrap_or_default();
                text.push(digit.to_ascii_uppercase());
            }
        }
    }
    text
}

/// Resolves percent escapes, or returns nothing when one is malformed.
pub(crate) fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).ok()?);
    }
    Some(bytes)
}

/// Returns the text with user information, query and fragment masked, and made harmless.
pub(crate) fn without_secrets(text: &str) -> String {
    let start = text.find("//").map_or(0, |slashes| slashes + 2);
    let (scheme, rest) = text.split_at(start);
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, query) = rest.split_at(end);
    // A password may hold a slash that its owner did not escape, so the last `@` counts, wherever
    // it is; and one may stand before what was taken for the query.
    let (user, rest) = match (query.rsplit_once('@'), rest.rsplit_once('@')) {
        (Some((_secret, after)), _) => ("***@", after.split(['?', '#']).next().unwrap_or_default()),
        (None, Some((_secret, after))) => ("***@", after),
        (None, None) => ("", rest),
    };
    let cut = if query.is_empty() { "" } else { "?***" };
    let shown: String = format!("{scheme}{user}{rest}{cut}").chars().take(200).collect();
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests;
