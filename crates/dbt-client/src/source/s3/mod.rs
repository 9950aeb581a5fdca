//! Buckets: a repository without a server (wire formats, 5.9).
//!
//! What is below a prefix is a directory; objects that only mark one count for nothing. Requests
//! are signed for the region that the URL says, or else the one that the store says.

mod listing;
mod parts;
mod problem;
mod write;

use std::io::Read;
use std::sync::Arc;

use dbt_core::digest::Digest;
use dbt_core::listing::Listing;
use dbt_core::repo_path::RepoPath;
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderValue, Method};

use self::problem::{Asked, Said};
use super::aws::{Keys, Scope, sign};
use super::body;
use super::connector::{Call, Connector, Reply};
use super::encoded;
use super::error::{Failure, FetchError};
use super::http::{ETAG_LIMIT, Failed, from_the_beginning, resumed, until_good};
use super::patience::Patience;
use super::target::Target;
use super::{Answer, Ask, Opened, Source};
use crate::url::bucket::{Bucket, Region, Style};
use crate::url::{Origin, RepositoryUrl, Scheme};

pub use problem::BucketProblem;
pub(super) use write::Writer;

/// What lies below a prefix of a bucket.
#[derive(Debug)]
pub(super) struct Store {
    url: RepositoryUrl,
    bucket: Bucket,
    /// Without a slash at either end; empty for the whole bucket.
    prefix: String,
    connector: Arc<Connector>,
}

/// One request.
struct Wanted<'a> {
    method: Method,
    /// The whole key; empty for the bucket itself.
    key: &'a str,
    /// Without its question mark; escaped.
    query: &'a str,
    headers: HeaderMap,
    /// What is sent, where it can be sent again.
    body: Option<&'a [u8]>,
    /// What whoever asks must be allowed.
    permission: &'static str,
    /// The statuses that are answers.
    answers: &'static [u16],
    /// Whether the repository as a whole is asked for.
    root: bool,
}

/// What an error page of a store has at most.
const WORDS: u64 = 64 * 1024;

impl Store {
    /// Returns the place of a URL in a bucket; nothing for any other URL.
    pub(super) fn at(url: &RepositoryUrl, connector: &Arc<Connector>) -> Option<Self> {
        let (bucket, prefix) = url.bucket()?;
        let (bucket, connector) = (bucket.clone(), Arc::clone(connector));
        Some(Self { url: url.clone(), bucket, prefix, connector })
    }

    fn key(&self, path: &RepoPath) -> String {
        match (self.prefix.as_str(), path.as_str()) {
            ("", path) => path.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, path) => format!("{prefix}/{path}"),
        }
    }

    fn told(&self, action: &'static str, path: &RepoPath) -> impl Fn(Failed) -> FetchError {
        let place = self.place_of(path);
        move |failed: Failed| failed.into_error_of(action, place.clone())
    }

    /// Asks, where the bucket is and with credentials that are good. What is asked can be asked
    /// again.
    fn send(&self, wanted: &Wanted<'_>, patience: &Patience) -> Result<Reply, Failed> {
        let (mut has_moved, mut was_renewed) = (false, false);
        let digest = wanted.body.map(Digest::of);
        loop {
            let keys = self.keys(patience)?;
            let mut bytes = wanted.body.unwrap_or_default();
            let length = bytes.len() as u64;
            let body = digest.as_ref();
            let body = body.map(|digest| (&mut bytes as &mut dyn Read, length, digest));
            let mut reply = self.send_once(wanted, body, keys.as_ref(), patience)?;
            if wanted.answers.contains(&reply.status) {
                return Ok(reply);
            }
            let said = said_by(&mut reply);
            if said.is_elsewhere() && !has_moved {
                self.go_where(&said)?;
                has_moved = true;
                continue;
            }
            if said.is_expired()
                && !was_renewed
                && let Some(keys) = &keys
                && self.renew(keys, patience)?
            {
                was_renewed = true;
                continue;
            }
            let asked = self.asked(wanted, keys.as_ref());
            return Err(Failed::after(&reply, said.failure(asked)));
        }
    }

    /// Asks once, perhaps with a body.
    fn send_once(
        &self,
        wanted: &Wanted<'_>,
        body: Option<(&mut dyn Read, u64, &Digest)>,
        keys: Option<&Keys>,
        patience: &Patience,
    ) -> Result<Reply, Failure> {
        let region = self.region();
        let target = self.target(wanted, &region)?;
        let mut headers = wanted.headers.clone();
        if let Some(keys) = keys {
            let nothing = Digest::of(b"");
            let digest = body.as_ref().map_or(&nothing, |(_body, _length, digest)| *digest);
            let now = self.connector.aws().now();
            let scope = Scope { service: "s3", region: &region, now };
            sign(keys, scope, &wanted.method, &target, &mut headers, digest)?;
        }
        let call = Call { method: wanted.method.clone(), target: &target, headers, patience };
        match body {
            Some((body, length, _digest)) => self.connector.send_body(&call, body, length),
            None => self.connector.send(&call),
        }
    }

    fn asked<'a>(&'a self, wanted: &Wanted<'_>, keys: Option<&'a Keys>) -> Asked<'a> {
        let key = keys.map(|keys| keys.id.as_str());
        let Wanted { permission, root, .. } = *wanted;
        Asked { bucket: self.bucket.name(), permission, key, root }
    }

    fn keys(&self, patience: &Patience) -> Result<Option<Keys>, Failure> {
        let keys = self.connector.aws().keys(self.bucket.profile(), &self.connector, patience);
        keys.map_err(unusable)
    }

    fn renew(&self, keys: &Keys, patience: &Patience) -> Result<bool, Failure> {
        let aws = self.connector.aws();
        aws.renew(self.bucket.profile(), keys, &self.connector, patience).map_err(unusable)
    }

    /// Returns the store that has the bucket, where it is not Amazon's.
    fn endpoint(&self) -> Result<Option<Origin>, Failure> {
        match self.bucket.endpoint() {
            Some(endpoint) => Ok(Some(endpoint.clone())),
            None => self.connector.aws().usual_endpoint(self.bucket.profile()).map_err(unusable),
        }
    }

    /// Returns the region that is asked: what the URL says, what the store has said, or what is said
    /// for everything.
    fn region(&self) -> Region {
        let aws = self.connector.aws();
        let learnt = || aws.region_of(self.bucket.endpoint(), self.bucket.name());
        let said = self.bucket.region().cloned().or_else(learnt);
        said.or_else(|| aws.usual_region(self.bucket.profile())).unwrap_or_else(Region::usual)
    }

    /// Remembers where the bucket is. A URL that says something else is wrong, and told so.
    fn go_where(&self, said: &Said) -> Result<(), Failure> {
        let Some(is) = &said.region else { return Ok(()) };
        if let Some(written) = self.bucket.region() {
            let (bucket, said) = (self.bucket.name().to_owned(), written.to_string());
            return Err(BucketProblem::Region { bucket, said, is: is.to_string() }.into());
        }
        let aws = self.connector.aws();
        aws.learn_region(self.bucket.endpoint(), self.bucket.name(), is.clone());
        Ok(())
    }

    fn target(&self, wanted: &Wanted<'_>, region: &Region) -> Result<Target, Failure> {
        let endpoint = self.endpoint()?;
        let (name, domain) = (self.bucket.name(), region.domain());
        let no_host = |_reason| Failure::Protocol("the bucket has no host".to_owned());
        let origin = |scheme, authority: String| Origin::parse(scheme, &authority).map_err(no_host);
        let style = self.bucket.style_at(endpoint.as_ref());
        let origin = match (endpoint, style) {
            (None, Style::Host) => origin(Scheme::Https, format!("{name}.s3.{region}.{domain}"))?,
            (None, Style::Path) => origin(Scheme::Https, format!("s3.{region}.{domain}"))?,
            (Some(endpoint), Style::Path) => endpoint,
            (Some(endpoint), Style::Host) => {
                origin(endpoint.scheme(), format!("{name}.{}", endpoint.authority()))?
            }
        };
        let mut path = match style {
            Style::Host => String::new(),
            Style::Path => format!("/{name}"),
        };
        path.push('/');
        path.push_str(&wanted.key.split('/').map(encoded).collect::<Vec<_>>().join("/"));
        let mark = if wanted.query.is_empty() { "" } else { "?" };
        Ok(Target::at(origin, path, format!("{mark}{}", wanted.query)))
    }

    fn reading<'a>(key: &'a str, headers: HeaderMap, answers: &'static [u16]) -> Wanted<'a> {
        Wanted {
            method: Method::GET,
            key,
            query: "",
            headers,
            body: None,
            permission: "s3:GetObject",
            answers,
            root: false,
        }
    }
}

fn unusable(error: super::AwsError) -> Failure {
    Failure::Credentials(error.into())
}

/// Reads what a store says that does not do what it is asked for.
fn said_by(reply: &mut Reply) -> Said {
    let words = reply.body.read_all(WORDS).unwrap_or_default();
    Said::read(reply.status, reply.header("x-amz-bucket-region"), &words)
}

impl Source for Store {
    fn get(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, FetchError> {
        let key = self.key(path);
        let mut headers = plain();
        if let Some(etag) = ask.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        let answers: &[u16] =
            if headers.contains_key(header::IF_NONE_MATCH) { &[200, 304] } else { &[200] };
        let wanted = Self::reading(&key, headers, answers);
        until_good(&ask.patience, self.told("read", path), || {
            let mut reply = self.send(&wanted, &ask.patience)?;
            if reply.status == 304 {
                return Ok(Answer::NotModified);
            }
            let etag = reply.header("etag").filter(|etag| etag.len() <= ETAG_LIMIT);
            let etag = etag.map(str::to_owned);
            let bytes = reply.body.read_all(ask.limit);
            let bytes = bytes.map_err(|failure| Failed::after(&reply, failure))?;
            if !ask.accepts_html && body::is_html(&bytes) {
                return Err(Failed::html(&reply, &self.target(&wanted, &self.region())?));
            }
            Ok(Answer::Document { bytes, etag })
        })
    }

    fn list(&self, directory: &RepoPath, patience: &Patience) -> Result<Listing, FetchError> {
        self.listing(directory, patience)
    }

    fn open(
        &self,
        path: &RepoPath,
        from: u64,
        if_range: Option<&str>,
        patience: &Patience,
    ) -> Result<Opened, FetchError> {
        let key = self.key(path);
        let whole = Self::reading(&key, plain(), &[200]);
        let rest = if_range.filter(|_etag| from > 0).and_then(|etag| rest(&key, from, etag));
        until_good(patience, self.told("download", path), || {
            if let Some(rest) = &rest {
                let reply = self.send(rest, patience)?;
                if reply.status == 206 {
                    return resumed(reply, from);
                }
                // It is not the same any more, or has no such byte: from the beginning.
            }
            let reply = self.send(&whole, patience)?;
            from_the_beginning(reply, &self.target(&whole, &self.region())?)
        })
    }

    fn place_of(&self, path: &RepoPath) -> String {
        self.url.join(path).to_string()
    }
}

/// Asks for the rest of an object, if it is still the same. S3 does not promise `If-Range`.
fn rest<'a>(key: &'a str, from: u64, etag: &str) -> Option<Wanted<'a>> {
    let mut headers = plain();
    headers.insert(header::IF_MATCH, HeaderValue::from_str(etag).ok()?);
    headers.insert(header::RANGE, HeaderValue::from_str(&format!("bytes={from}-")).ok()?);
    Some(Store::reading(key, headers, &[200, 206, 412, 416]))
}

/// What is compressed has no length to check, and no middle to go on from.
fn plain() -> HeaderMap {
    let identity = HeaderValue::from_static("identity");
    HeaderMap::from_iter([(header::ACCEPT_ENCODING, identity)])
}
