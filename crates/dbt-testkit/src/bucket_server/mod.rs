//! A store of one bucket on loopback, as far as S3 goes here: a directory whose files are its
//! objects. It checks every signature, pages its listings, and refuses in S3's words.

mod listing;
mod parts;
mod signature;

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use dbt_core::digest::Digest;

use crate::http::{Answer, Request};
use crate::planted;

/// The name of its bucket.
pub const BUCKET: &str = "acme-tools";

/// The key that it accepts, and its secret.
pub const KEY: (&str, &str) = ("AKACMEREADER", "aws-secret-of-acme");

/// Where it is, unless it is told otherwise.
pub const REGION: &str = "eu-west-1";

/// The store.
#[derive(Debug)]
pub struct BucketServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    stopped: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    region: String,
    /// The keys that it knows, with their secrets and what must come with them.
    keys: Vec<Known>,
    is_public: bool,
    /// The actions that are denied, such as `ListBucket`.
    denied: BTreeSet<String>,
    /// How many names a page of a listing has.
    page: usize,
    has_conditions: bool,
    parts: parts::Uploads,
    /// What the next requests are answered with.
    next: Vec<Answer>,
    /// After how many bytes the next answer ends.
    cut: Option<usize>,
    log: Vec<Asked>,
}

/// A key.
#[derive(Debug, Clone)]
struct Known {
    id: String,
    secret: String,
    token: Option<String>,
    is_expired: bool,
}

/// A request as it was received and judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was asked.
    pub request: Request,
    /// The status of the answer.
    pub status: u16,
    /// Who signed it.
    pub key: Option<String>,
}

impl Asked {
    /// Returns the method, and the path with its query.
    pub fn line(&self) -> String {
        format!("{} {}", self.request.method, self.request.path)
    }
}

/// An answer that is none of success, in S3's form.
pub fn refusal(status: u16, code: &str) -> Answer {
    refusal_with(status, code, "")
}

fn refusal_with(status: u16, code: &str, more: &str) -> Answer {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>In words &amp; more.</Message>{more}<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    );
    Answer::of(status, "application/xml", body.into_bytes())
        .with("x-amz-request-id", "4442587FB7D0A2F9")
}

impl BucketServer {
    /// Starts to serve the files below a directory.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let (id, secret) = KEY;
        let key =
            Known { id: id.to_owned(), secret: secret.to_owned(), token: None, is_expired: false };
        let state = State {
            region: REGION.to_owned(),
            keys: vec![key],
            is_public: false,
            denied: BTreeSet::new(),
            page: 1000,
            has_conditions: true,
            parts: parts::Uploads::default(),
            next: Vec::new(),
            cut: None,
            log: Vec::new(),
        };
        let (stopped, state) = (AtomicBool::new(false), Mutex::new(state));
        let shared = Arc::new(Shared { root: root.to_owned(), stopped, state });
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.stopped.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else { continue };
                // A client that goes away in the middle is no failure of the store.
                thread::spawn(move || drop(shared.converse(stream)));
            }
        });
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the URL of a place in the bucket, which begins with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        let (place, more) = self.url_parts();
        format!("{place}{path}{more}")
    }

    /// Returns what stands before and behind the path in such a URL.
    pub fn url_parts(&self) -> (String, String) {
        (format!("s3://{BUCKET}"), format!("?region={REGION}&endpoint={}", self.endpoint()))
    }

    /// Is in another region from now on.
    pub fn be_in(&self, region: &str) {
        region.clone_into(&mut self.state().region);
    }

    /// Answers everybody from now on, signed or not.
    pub fn be_public(&self) {
        self.state().is_public = true;
    }

    /// Knows another key from now on, with what must come with it.
    pub fn know(&self, id: &str, secret: &str, token: Option<&str>) {
        let token = token.map(str::to_owned);
        let (id, secret) = (id.to_owned(), secret.to_owned());
        self.state().keys.push(Known { id, secret, token, is_expired: false });
    }

    /// Knows a key no more, or says that it has expired.
    pub fn expire(&self, id: &str) {
        for key in self.state().keys.iter_mut().filter(|key| key.id == id) {
            key.is_expired = true;
        }
    }

    /// Denies an action, such as `ListBucket`, from now on.
    pub fn deny(&self, action: &str) {
        self.state().denied.insert(action.to_owned());
    }

    /// Lists so many names in a page from now on.
    pub fn list_in_pages_of(&self, count: usize) {
        self.state().page = count;
    }

    /// Knows no conditions of writes from now on, as some stores do.
    pub fn know_no_conditions(&self) {
        self.state().has_conditions = false;
    }

    /// Takes no objects in parts from now on, as some stores do.
    pub fn know_no_parts(&self) {
        self.state().parts.are_unknown = true;
    }

    /// Does not take the next part of an object.
    pub fn fail_next_part(&self) {
        self.state().parts.fails_next = true;
    }

    /// Begins to answer well when the next upload in parts is to be finished, and ends with a refusal.
    pub fn fail_next_completion(&self, code: &str) {
        self.state().parts.bad_end = Some(code.to_owned());
    }

    /// Says how many uploads in parts were begun, and neither finished nor given up.
    pub fn unfinished_uploads(&self) -> usize {
        self.state().parts.begun.len()
    }

    /// Answers the next requests with these, in order.
    pub fn answer_next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.state().next.extend(answers);
    }

    /// Ends the connection after so many bytes of the next object.
    pub fn cut_next_after(&self, bytes: usize) {
        self.state().cut = Some(bytes);
    }

    /// Returns the requests since the last call.
    pub fn take_requests(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state().log)
    }

    /// Returns the methods and paths of the requests since the last call, sorted.
    pub fn take_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.take_requests().iter().map(Asked::line).collect();
        lines.sort();
        lines
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for BucketServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().expect("nothing panics while it accepts");
        }
    }
}

/// What an object was written with, beside it: hidden from listings.
const META: &str = ".meta-of-";

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        while let Some(request) = Request::read(&mut reader)? {
            let length = request.header("content-length").and_then(|it| it.parse::<u64>().ok());
            if request.header("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let mut body = Vec::new();
            reader.by_ref().take(length.unwrap_or_default()).read_to_end(&mut body)?;
            let (answer, key) = self.judge(&request, &body);
            let cut = {
                let mut state = self.state();
                state.log.push(Asked { request: request.clone(), status: answer.status, key });
                if answer.body.len() > 16 { state.cut.take() } else { None }
            };
            answer.write_head(&mut stream, Some(answer.body.len()))?;
            if request.method != "HEAD" {
                let end = cut.unwrap_or(answer.body.len()).min(answer.body.len());
                stream.write_all(&answer.body[..end])?;
            }
            if cut.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Answers, and says who asked.
    fn judge(&self, request: &Request, body: &[u8]) -> (Answer, Option<String>) {
        planted_are_listed(request);
        let mut state = self.state();
        if !state.next.is_empty() {
            return (state.next.remove(0), None);
        }
        let key = match signature::check(request, body, &state) {
            Ok(key) => key,
            Err(refusal) => return (refusal, None),
        };
        if key.is_none() && !state.is_public {
            return (refusal(403, "AccessDenied"), None);
        }
        (self.answer(request, body, &mut state), key)
    }

    fn answer(&self, request: &Request, body: &[u8], state: &mut State) -> Answer {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        let Some(path) = path.strip_prefix('/') else { return refusal(400, "InvalidURI") };
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        if bucket != BUCKET {
            return refusal(404, "NoSuchBucket");
        }
        let key = listing::unescaped(key);
        let method = request.method.as_str();
        let action = match method {
            "GET" | "HEAD" if key.is_empty() => "ListBucket",
            "GET" | "HEAD" => "GetObject",
            "PUT" | "POST" => "PutObject",
            _ => "DeleteObject",
        };
        if state.denied.contains(action) {
            return refusal(403, "AccessDenied");
        }
        let file = self.root.join(&key);
        if let Some(answer) = parts::answer(request, &file, body, state) {
            return answer;
        }
        match method {
            "GET" if key.is_empty() => listing::answer(&self.root, query, state.page),
            "GET" | "HEAD" => object(request, &file),
            "PUT" => put(request, &file, body, state),
            "DELETE" => {
                drop(fs::remove_file(&file));
                drop(fs::remove_file(meta(&file)));
                Answer { status: 204, headers: Vec::new(), body: Vec::new() }
            }
            _ => refusal(405, "MethodNotAllowed"),
        }
    }
}

/// What nobody looks for may not be shown to it as a token.
fn planted_are_listed(request: &Request) {
    if let Some(token) = request.header("x-amz-security-token") {
        planted::is_listed(token);
    }
}

fn meta(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!("{META}{name}"))
}

fn put(request: &Request, file: &Path, body: &[u8], state: &State) -> Answer {
    if request.header("if-none-match").is_some() {
        if !state.has_conditions {
            return refusal(501, "NotImplemented");
        }
        if file.is_file() {
            return refusal(412, "PreconditionFailed");
        }
    }
    fs::create_dir_all(file.parent().expect("an object has a place")).expect("a directory");
    fs::write(file, body).expect("an object");
    let said = ["content-type", "cache-control"];
    let said = said.iter().filter_map(|name| Some(format!("{name}: {}\n", request.header(name)?)));
    fs::write(meta(file), said.collect::<String>()).expect("what is said of an object");
    Answer::of(200, "application/xml", Vec::new()).with("ETag", &etag(body))
}

fn etag(bytes: &[u8]) -> String {
    // As long as the MD5 that S3 calls objects by.
    format!("\"{}\"", &Digest::of(bytes).to_string()[..32])
}

fn object(request: &Request, file: &Path) -> Answer {
    let Ok(bytes) = fs::read(file) else { return refusal(404, "NoSuchKey") };
    let etag = etag(&bytes);
    let said = |status| {
        let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
        answer = answer.with("ETag", &etag).with("Accept-Ranges", "bytes");
        let meta = fs::read_to_string(meta(file)).unwrap_or_default();
        for (name, value) in meta.lines().filter_map(|line| line.split_once(": ")) {
            answer = answer.with(name, value);
        }
        answer
    };
    if request.header("if-none-match") == Some(&etag) {
        return said(304);
    }
    if request.header("if-match").is_some_and(|wanted| wanted != etag) {
        return refusal(412, "PreconditionFailed");
    }
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes="));
    let from = range.and_then(|range| range.strip_suffix('-')).and_then(|from| from.parse().ok());
    match from {
        None => {
            let mut answer = said(200);
            answer.body = bytes;
            answer
        }
        Some(from) if from >= bytes.len() => refusal(416, "InvalidRange"),
        Some(from) => {
            let (last, all) = (bytes.len() - 1, bytes.len());
            let mut answer = said(206).with("Content-Range", &format!("bytes {from}-{last}/{all}"));
            answer.body = bytes[from..].to_vec();
            answer
        }
    }
}
