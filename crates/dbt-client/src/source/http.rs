//! Servers: requests, redirects, retries, and what answers mean.
//!
//! (Trust design, B9 and 2.6.)

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use dbt_core::listing::{LISTING_LIMIT, Listing, ListingError};
use dbt_core::repo_path::RepoPath;
use ureq::http::header::{self, HeaderName};
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::body::{self, Body};
use super::connector::{Call, Connector, Reply, failure_of_io, secret_header};
use super::error::{Failure, FetchError, RedirectProblem};
use super::patience::Patience;
use super::target::{REDIRECT_LIMIT, Target};
use super::{Answer, Ask, Opened, Redirects, Source};
use crate::auth::{Asker, Credentials, Purpose};
use crate::url::RepositoryUrl;

/// How often a request is repeated.
const RETRIES: u32 = 3;

/// The longest that is waited between two of them when there is no deadline.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How often a pause looks whether it was cancelled.
const PAUSE_STEP: Duration = Duration::from_millis(50);

/// A repository on a server.
#[derive(Debug)]
pub(super) struct Server {
    url: RepositoryUrl,
    client: Client,
}

/// Makes requests in the name of one server's credentials.
#[derive(Debug, Clone)]
pub(super) struct Client {
    connector: Arc<Connector>,
    credentials: Credentials,
}

impl Server {
    pub(super) fn at(
        url: &RepositoryUrl,
        connector: &Arc<Connector>,
        credentials: &Credentials,
    ) -> Self {
        Self { url: url.clone(), client: Client::new(connector, credentials) }
    }

    fn read(
        &self,
        path: &RepoPath,
        directory: bool,
        action: &'static str,
    ) -> Result<Attempts<'_>, FetchError> {
        let target = target_of(&self.url, path, action)?;
        let target = if directory { target.into_directory() } else { target };
        Ok(Attempts { client: &self.client, target, action, root: path.is_root() })
    }
}

impl Source for Server {
    fn get(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, FetchError> {
        self.read(path, false, "read")?.document(ask)
    }

    fn list(&self, directory: &RepoPath, patience: &Patience) -> Result<Listing, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        self.read(directory, true, "list")?.until_good(patience, |attempts| {
            let (mut reply, target) = attempts.follow(&headers, Redirects::SameOrigin, patience)?;
            attempts.expect(&mut reply, 200)?;
            let bytes = reply.body.read_all(LISTING_LIMIT);
            let bytes = bytes.map_err(|failure| Failed::after(&reply, failure))?;
            let listing = Listing::parse(&bytes, &target.to_string());
            // Most likely the sign-in page of a network, which is told as one.
            if matches!(listing, Err(ListingError::NotAListing)) && body::is_html(&bytes) {
                return Err(Failed::html(&reply, &target));
            }
            listing.map_err(|error| Failed::after(&reply, error.into()))
        })
    }

    fn open(
        &self,
        path: &RepoPath,
        from: u64,
        if_range: Option<&str>,
        patience: &Patience,
    ) -> Result<Opened, FetchError> {
        let mut headers = HeaderMap::new();
        // A compressed artifact has no length to check, and no middle to go on from.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Without a strong name, two ends of different files could be joined.
        if let Some(etag) = if_range.and_then(|etag| HeaderValue::from_str(etag).ok())
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={from}-"))
            && from > 0
        {
            headers.insert(header::IF_RANGE, etag);
            headers.insert(header::RANGE, range);
        }
        let ranged = headers.contains_key(header::RANGE);
        self.read(path, false, "download")?.until_good(patience, |attempts| {
            let (mut reply, target) = attempts.follow(&headers, Redirects::OtherHttps, patience)?;
            if ranged && reply.status == 206 {
                return resumed(reply, from);
            }
            attempts.expect(&mut reply, 200)?;
            from_the_beginning(reply, &target)
        })
    }

    fn place_of(&self, path: &RepoPath) -> String {
        self.url.join(path).to_string()
    }
}

/// The longest name of an answer that is kept.
pub(super) const ETAG_LIMIT: usize = 1024;

/// The longest request id that is repeated.
const REQUEST_ID_LIMIT: usize = 128;

/// Takes an answer that continues an artifact, if it really does.
pub(super) fn resumed(reply: Reply, from: u64) -> Result<Opened, Failed> {
    let range = reply.header("content-range").and_then(content_range);
    let Some((first, total)) = range.filter(|(first, _total)| *first == from) else {
        return Err(Failed::after(&reply, Failure::Status { status: 206 }));
    };
    let (etag, is_draft) = (strong_etag(&reply), is_draft(&reply));
    Ok(Opened { length: total, offset: first, etag, is_draft, reader: Box::new(reply.body) })
}

/// Takes a whole artifact, unless it is a page for people.
pub(super) fn from_the_beginning(mut reply: Reply, target: &Target) -> Result<Opened, Failed> {
    let mut beginning = Vec::new();
    let sniffed = Read::take(&mut reply.body, body::SNIFFED as u64).read_to_end(&mut beginning);
    if let Err(error) = sniffed {
        return Err(Failed::after(&reply, failure_of_io(error)));
    }
    if body::is_html(&beginning) {
        return Err(Failed::html(&reply, target));
    }
    let (length, etag) = (reply.body.expected(), strong_etag(&reply));
    let is_draft = is_draft(&reply);
    let reader = io::Cursor::new(beginning).chain(reply.body);
    Ok(Opened { length, offset: 0, etag, is_draft, reader: Box::new(reader) })
}

/// Says whether a server of ours shows what it answers with to its writer alone.
fn is_draft(reply: &Reply) -> bool {
    reply.header("x-dbt-draft").is_some()
}

/// Reads `bytes 5-9/10`: the first byte, and the length of the whole, unless that is `*`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: Option<u64> = if total == "*" { None } else { Some(total.parse().ok()?) };
    let reaches_the_end = total.is_none_or(|total| last.checked_add(1) == Some(total));
    (first <= last && reaches_the_end).then_some((first, total))
}

/// Returns the name of exactly these bytes; weak names do not promise that.
fn strong_etag(reply: &Reply) -> Option<String> {
    let etag = reply.header("etag")?;
    let strong = etag.len() >= 2 && etag.starts_with('"') && etag.ends_with('"');
    (strong && etag.len() <= ETAG_LIMIT).then(|| etag.to_owned())
}

/// Returns the request for a path of a server's repository.
pub(super) fn target_of(
    url: &RepositoryUrl,
    path: &RepoPath,
    action: &'static str,
) -> Result<Target, FetchError> {
    let url = url.join(path);
    Target::of(&url).ok_or_else(|| {
        let words = "it is a directory, not a server".to_owned();
        FetchError::new(action, url.to_string(), Failure::Protocol(words))
    })
}

/// Asks a server what time it is. Whatever else it answers, it says that.
pub(super) fn time_at(
    url: &RepositoryUrl,
    connector: &Connector,
    patience: &Patience,
) -> Option<SystemTime> {
    let target = Target::of(url)?.into_directory();
    let call = Call { method: Method::HEAD, target: &target, headers: HeaderMap::new(), patience };
    let reply = connector.send(&call).ok()?;
    httpdate::parse_http_date(reply.header("date")?).ok()
}

impl Client {
    pub(super) fn new(connector: &Arc<Connector>, credentials: &Credentials) -> Self {
        Self { connector: Arc::clone(connector), credentials: credentials.clone() }
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Reads a small document at exactly this place.
    pub(super) fn document_at(&self, target: Target, ask: &Ask) -> Result<Answer, FetchError> {
        Attempts { client: self, target, action: "read", root: false }.document(ask)
    }

    /// Adds what tells the target's origin who asks: nothing, if it is not ours.
    pub(super) fn signed_in(
        &self,
        method: &Method,
        headers: &HeaderMap,
        target: &Target,
        patience: &Patience,
    ) -> Result<HeaderMap, Failure> {
        let mut headers = headers.clone();
        let (asker, url) = (self.asker(patience), target.to_string());
        let purpose = match *method {
            Method::GET | Method::HEAD => Purpose::Read,
            _ => Purpose::Write { method: method.as_str(), url: &url },
        };
        for credential in self.credentials.headers_within(target.origin(), purpose, asker)? {
            let name = HeaderName::from_bytes(credential.name.as_bytes())
                .map_err(|error| Failure::Protocol(error.to_string()))?;
            headers.append(name, secret_header(credential.value.expose())?);
        }
        Ok(headers)
    }

    fn asker(&self, patience: &Patience) -> Asker<'_> {
        Asker { connector: Some(&self.connector), limit: patience.for_credentials() }
    }

    /// Does so for a read, with a token that was read anew; nothing if there is no other one.
    fn signed_in_anew(
        &self,
        headers: &HeaderMap,
        target: &Target,
        patience: &Patience,
    ) -> Result<Option<HeaderMap>, Failure> {
        if !self.credentials.renew(target.origin(), self.asker(patience))? {
            return Ok(None);
        }
        self.signed_in(&Method::GET, headers, target, patience).map(Some)
    }
}

/// One thing that is read, in one or several attempts.
struct Attempts<'a> {
    client: &'a Client,
    target: Target,
    action: &'static str,
    /// Whether it is the repository itself.
    root: bool,
}

/// One attempt that failed.
pub(super) struct Failed {
    pub(super) failure: Failure,
    request_id: Option<String>,
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        Self { failure, request_id: None }
    }
}

impl Failed {
    pub(super) fn after(reply: &Reply, failure: Failure) -> Self {
        let id = reply.header("x-request-id").or_else(|| reply.header("x-amz-request-id"));
        let id = id.filter(|id| {
            !id.is_empty()
                && id.len() <= REQUEST_ID_LIMIT
                && id.bytes().all(|byte| byte.is_ascii_graphic())
        });
        Self { failure, request_id: id.map(str::to_owned) }
    }

    /// Says whether the server does not want this caller.
    pub(super) const fn is_about_the_caller(&self) -> bool {
        matches!(self.failure, Failure::Unauthorized | Failure::Forbidden)
    }

    pub(super) fn html(reply: &Reply, target: &Target) -> Self {
        let content_type = reply.header("content-type").unwrap_or("without a type");
        let content_type = content_type.chars().take(100).collect();
        let host = target.origin().host().to_owned();
        Self::after(reply, Failure::Html { host, content_type })
    }

    pub(super) fn into_error(self, action: &'static str, target: &Target) -> FetchError {
        self.told(action, target.to_string())
    }

    /// Returns the error of a request to the API of the server whose root this is.
    pub(super) fn into_error_at(self, action: &'static str, root: &RepositoryUrl) -> FetchError {
        self.told(action, root.to_string())
    }

    /// Returns the error of an action on a place.
    pub(super) fn into_error_of(self, action: &'static str, place: String) -> FetchError {
        self.told(action, place)
    }

    fn told(self, action: &'static str, url: String) -> FetchError {
        FetchError::new(action, url, self.failure).with_request_id(self.request_id)
    }
}

impl Attempts<'_> {
    /// Reads a small document into memory.
    fn document(&self, ask: &Ask) -> Result<Answer, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        if let Some(etag) = ask.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok()) {
            headers.insert(header::IF_NONE_MATCH, etag);
        }
        let conditional = headers.contains_key(header::IF_NONE_MATCH);
        self.until_good(&ask.patience, |attempts| {
            let (mut reply, target) = attempts.follow(&headers, ask.redirects, &ask.patience)?;
            if reply.status == 304 && conditional {
                return Ok(Answer::NotModified);
            }
            attempts.expect(&mut reply, 200)?;
            let etag = reply.header("etag").filter(|etag| etag.len() <= ETAG_LIMIT);
            let etag = etag.map(str::to_owned);
            let bytes = reply.body.read_all(ask.limit);
            let bytes = bytes.map_err(|failure| Failed::after(&reply, failure))?;
            if !ask.accepts_html && body::is_html(&bytes) {
                return Err(Failed::html(&reply, &target));
            }
            Ok(Answer::Document { bytes, etag })
        })
    }

    fn until_good<T>(
        &self,
        patience: &Patience,
        attempt: impl Fn(&Self) -> Result<T, Failed>,
    ) -> Result<T, FetchError> {
        let told = |failed: Failed| failed.into_error(self.action, &self.target);
        until_good(patience, told, || attempt(self))
    }

    /// Makes a request and follows redirects; returns the last answer and who gave it.
    fn follow(
        &self,
        headers: &HeaderMap,
        redirects: Redirects,
        patience: &Patience,
    ) -> Result<(Reply, Target), Failed> {
        let mut target = self.target.clone();
        let mut visited = Vec::new();
        loop {
            let was_renewed = self.client.credentials.was_renewed();
            let signed_in = self.client.signed_in(&Method::GET, headers, &target, patience)?;
            let mut reply = self.send(signed_in, &target, patience)?;
            if reply.status == 401
                && !was_renewed
                && let Some(signed_in) = self.client.signed_in_anew(headers, &target, patience)?
            {
                drain(&mut reply.body);
                reply = self.send(signed_in, &target, patience)?;
            }
            if !is_redirect(reply.status) {
                return Ok((reply, target));
            }
            drain(&mut reply.body);
            let next = reply
                .headers
                .get(header::LOCATION)
                .ok_or(RedirectProblem::Nowhere)
                .and_then(|location| {
                    std::str::from_utf8(location.as_bytes())
                        .map_err(|_error| RedirectProblem::Malformed)
                })
                .and_then(|location| target.redirected(location, redirects))
                .map_err(|problem| Failed::after(&reply, problem.into()))?;
            visited.push(std::mem::replace(&mut target, next));
            if visited.contains(&target) {
                return Err(Failed::after(&reply, RedirectProblem::Circle.into()));
            }
            if visited.len() > REDIRECT_LIMIT {
                let problem = RedirectProblem::TooMany { limit: REDIRECT_LIMIT };
                return Err(Failed::after(&reply, problem.into()));
            }
        }
    }

    fn send(
        &self,
        headers: HeaderMap,
        target: &Target,
        patience: &Patience,
    ) -> Result<Reply, Failure> {
        self.client.connector.send(&Call { method: Method::GET, target, headers, patience })
    }

    fn expect(&self, reply: &mut Reply, status: u16) -> Result<(), Failed> {
        if reply.status == status {
            return Ok(());
        }
        drain(&mut reply.body);
        let mut failure = failure_of_status(reply);
        if self.root && matches!(failure, Failure::NotFound) {
            failure = Failure::RootMissing;
        }
        Err(Failed::after(reply, failure))
    }
}

/// Tries until it goes well, fails for good, or too often.
pub(super) fn until_good<T>(
    patience: &Patience,
    told: impl Fn(Failed) -> FetchError,
    attempt: impl Fn() -> Result<T, Failed>,
) -> Result<T, FetchError> {
    let mut retries = 0;
    let mut before: Option<Failed> = None;
    loop {
        let failed = match attempt() {
            Ok(good) => return Ok(good),
            // That there was no time for another try is not what went wrong.
            Err(late) if matches!(late.failure, Failure::TimeOver) => {
                return Err(told(before.unwrap_or(late)));
            }
            Err(failed) => failed,
        };
        let pause = pause_after(&failed.failure, retries, patience);
        let Some(pause) = pause.filter(|_pause| retries < RETRIES) else {
            return Err(told(failed));
        };
        retries += 1;
        if !wait(pause, patience) {
            return Err(told(Failure::Cancelled.into()));
        }
        before = Some(failed);
    }
}

pub(super) const fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

pub(super) fn failure_of_status(reply: &Reply) -> Failure {
    let retry_after = || {
        let seconds = reply.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    };
    match reply.status {
        401 => Failure::Unauthorized,
        403 => Failure::Forbidden,
        404 | 410 => Failure::NotFound,
        429 => Failure::Busy { retry_after: retry_after() },
        507 => Failure::Full,
        status @ 500..=599 => Failure::Server { status, retry_after: retry_after() },
        status => Failure::Status { status },
    }
}

/// Returns how long to wait before the next attempt, or nothing when there should be none.
fn pause_after(failure: &Failure, retries: u32, patience: &Patience) -> Option<Duration> {
    if !failure.is_passing() {
        return None;
    }
    let wanted = failure.retry_after();
    // A tenth of what a connection may take, doubled each time: 0.1, 0.2, 0.4 s where a cached
    // copy waits, three times that elsewhere.
    let usual = (patience.connect / 10).saturating_mul(1 << retries).mul_f64(jitter());
    let pause = wanted.map_or(usual, |wanted| wanted.max(usual));
    match patience.deadline.into_iter().chain(patience.pauses).min() {
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            (pause < left).then_some(pause)
        }
        None => (pause <= LONGEST_PAUSE).then_some(pause),
    }
}

/// Returns a factor from 0.5 to 1.5, so that a fleet does not come back in step.
fn jitter() -> f64 {
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    0.5 + f64::from(random) / f64::from(u32::MAX)
}

/// Waits; returns false when it was cancelled.
fn wait(pause: Duration, patience: &Patience) -> bool {
    let end = Instant::now() + pause;
    loop {
        if patience.cancel.is_cancelled() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(PAUSE_STEP));
    }
}

/// Reads and drops the body of an answer that is not wanted, if it is short, so that its
/// connection can be used again.
pub(super) fn drain(body: &mut Body) {
    if body.expected().is_some_and(|length| length <= DRAINED) {
        let _dropped = io::copy(body, &mut io::sink());
    }
}

/// The longest body that is read for the sake of the connection.
const DRAINED: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_must_begin_where_it_was_asked_for_and_reach_the_end() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["bytes 5-8/10", "bytes 9-5/10", "5-9/10", "bytes */10", "bytes 5-9"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
