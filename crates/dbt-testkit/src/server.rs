//! A small file server on loopback: it answers as the reference's does, remembers every request,
//! and misbehaves where it is told to. Used as a proxy it leads to itself, whatever the host.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;

use crate::http::{Answer, Request};
use crate::listing;
use crate::planted;
use crate::ssh_agent::SignedToken;
use crate::token_endpoint::TokenEndpoint;

/// How long anything here is waited for: much longer than a slow machine needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long each piece of [`Fault::Trickle`] takes.
const TRICKLE: Duration = Duration::from_millis(50);

/// How a path misbehaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This status, with a line of text.
    Status(u16),
    /// Exactly this answer.
    Answer(Answer),
    /// A sign-in page of the network, with status 200.
    Portal,
    /// No answer, ever.
    Stall,
    /// The head and so many bytes of the answer, and then nothing.
    StallAfter(usize),
    /// The head, and then a few KiB/s without end: no stall, and no answer.
    Trickle,
    /// The head and so many bytes of the answer; then the connection ends.
    CutAfter(usize),
    /// The connection is reset without an answer.
    Reset,
    /// The announced length is off by so many bytes; then the connection ends.
    Length(isize),
    /// Bytes without end.
    Endless,
    /// A redirect.
    RedirectTo(String),
    /// Redirects from here to `/hop/1`, `/hop/2` and so on, so many. Wants `/hop/*` as well.
    Hops(u32),
    /// The head, and then one byte a second.
    Drip,
    /// The head and so many bytes of the answer; then the connection is reset.
    ResetAfter(usize),
    /// Exactly these bytes in place of head and body; then the connection ends.
    Raw(Vec<u8>),
    /// The first bytes in place of the head, and the second ones over and over.
    Flood(Vec<u8>, Vec<u8>),
}

/// One request as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What was asked.
    pub request: Request,
    /// What came with it, as text; nothing of what is long.
    pub body: String,
    /// On which connection, counted from zero.
    pub connection: usize,
    /// The status of the answer; 0 for none.
    pub status: u16,
}

impl Received {
    /// Returns the method and the path.
    pub fn line(&self) -> String {
        format!("{} {}", self.request.method, self.request.path)
    }
}

/// The server.
#[derive(Debug)]
pub struct FileServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    stopped: AtomicBool,
    connections: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<(String, Fault)>,
    log: Vec<Received>,
    /// How many requests were taken out of the log.
    taken: usize,
    etags: bool,
    /// `DELETE` does what the reference does.
    deletes: bool,
    pages_only: bool,
    authorization: Option<String>,
    /// The line of the SSH key that tokens must be signed with.
    ssh_key: Option<String>,
    /// Who must have given the tokens.
    provider: Option<TokenEndpoint>,
    in_flight: usize,
    high_water: usize,
    stalled: Vec<String>,
    /// Each number: no answer to a request before it until so many have arrived.
    rounds: Vec<usize>,
}

impl FileServer {
    /// Starts to serve a directory.
    pub fn start(root: &Path) -> Self {
        Self::start_on(0, root).expect("loopback can be used")
    }

    /// Starts to serve a directory on a port of loopback; 0 is any that is free.
    pub fn start_on(port: u16, root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let accepting = thread::spawn(move || accept(listener, &accepting));
        Ok(Self { address, shared, accepting: Mutex::new(Some(accepting)) })
    }

    /// Goes away: connections are refused from now on.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(accepting) = accepting {
            // Wakes the thread that accepts.
            drop(TcpStream::connect(self.address));
            accepting.join().expect("nothing panics while it accepts");
        }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a path misbehave. One that ends in `*` means everything that begins so. The latest
    /// fault counts.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.state().faults.push((path.to_owned(), fault));
    }

    /// Ends all misbehaviour.
    pub fn repair(&self) {
        self.state().faults.clear();
    }

    /// Deletes what it is asked to, from now on.
    pub fn delete_what_is_asked(&self) {
        self.state().deletes = true;
    }

    /// Sends entity tags from now on, and answers 304 to who has the same. The reference does
    /// not.
    pub fn send_etags(&self) {
        self.state().etags = true;
    }

    /// Lists nothing itself from now on: a directory is its `index.html`, or it is not there. So do
    /// hosts of static pages, and content delivery networks.
    pub fn show_pages_only(&self) {
        self.state().pages_only = true;
    }

    /// Wants a user and a password from now on.
    #[track_caller]
    pub fn require_basic(&self, user: &str, password: &str) {
        planted::is_listed(password);
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        self.state().authorization = Some(value);
    }

    /// Wants a token from now on.
    #[track_caller]
    pub fn require_token(&self, token: &str) {
        planted::is_listed(token);
        self.state().authorization = Some(format!("Bearer {token}"));
    }

    /// Wants tokens from now on that the SSH key of this line has signed.
    pub fn require_ssh_key(&self, line: &str) {
        self.state().ssh_key = Some(line.to_owned());
    }

    /// Wants tokens from now on that this provider has given and vouches for.
    pub fn require_token_of(&self, provider: &TokenEndpoint) {
        self.state().provider = Some(provider.clone());
    }

    /// Answers nobody before `count` further requests have arrived: who sends them one after the
    /// other never gets an answer.
    pub fn answer_only_together(&self, count: usize) {
        self.answer_only_in_rounds(&[count]);
    }

    /// Answers in rounds of so many further requests: nobody of a round before all of it have
    /// arrived. Who waits for an answer before sending more than that never gets one.
    pub fn answer_only_in_rounds(&self, counts: &[usize]) {
        let mut state = self.state();
        let mut all = state.log.len();
        state.rounds.clear();
        for count in counts {
            all += count;
            state.rounds.push(all);
        }
    }

    /// Returns the requests since the last call.
    pub fn take_requests(&self) -> Vec<Received> {
        let mut state = self.state();
        state.high_water = 0;
        state.rounds.clear();
        state.taken += state.log.len();
        let requests = std::mem::take(&mut state.log);
        drop(state);
        for received in &requests {
            planted::are_listed_in_headers(received.request.pairs());
        }
        requests
    }

    /// Returns the methods and paths of the requests since the last call, sorted.
    pub fn take_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.take_requests().iter().map(Received::line).collect();
        lines.sort();
        lines
    }

    /// Returns how many requests were under way at once, at most.
    pub fn most_at_once(&self) -> usize {
        self.state().high_water
    }

    /// Waits until a client hangs in [`Fault::Stall`] or [`Fault::StallAfter`] at a path.
    pub fn wait_until_stalled(&self, path: &str) {
        self.wait_until(|state| state.stalled.iter().any(|stalled| stalled == path));
    }

    /// Waits until a path is asked for, since the log was last taken.
    pub fn wait_until_asked(&self, path: &str) {
        self.wait_until(|state| state.log.iter().any(|received| received.request.path == path));
    }

    /// Waits until so many requests have arrived since the log was last taken.
    pub fn wait_until_so_many(&self, count: usize) {
        self.wait_until(|state| state.log.len() >= count);
    }

    /// Waits a while for requests, and returns those since the last call.
    pub fn next_requests(&self, patience: Duration) -> Vec<Received> {
        let state = self.state();
        let waited =
            self.shared.changed.wait_timeout_while(state, patience, |state| state.log.is_empty());
        drop(waited);
        self.take_requests()
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        let began = Instant::now();
        let mut state = self.state();
        while !is_so(&state) {
            let left = PATIENCE.checked_sub(began.elapsed()).expect("it did not happen in time");
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Drop for FileServer {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a request; returns its place in the log and how it is to be answered.
    fn arrive(&self, request: &Request, body: &str, connection: usize) -> (usize, Option<Fault>) {
        // With it, whoever has the identity of a job gets the token of its exchange again.
        if let Some(key) = request.header("idempotency-key") {
            planted::was_made(key);
        }
        let mut state = self.state();
        let (asked, body) = (request.clone(), body.to_owned());
        state.log.push(Received { request: asked, body, connection, status: 0 });
        state.in_flight += 1;
        state.high_water = state.high_water.max(state.in_flight);
        let place = state.taken + state.log.len() - 1;
        let fault = state.faults.iter().rev().find(|(path, _)| matches(path, &request.path));
        let fault = fault.map(|(_, fault)| fault.clone());
        self.changed.notify_all();
        let began = Instant::now();
        let own = place - state.taken;
        while state.rounds.iter().find(|all| own < **all).is_some_and(|all| state.log.len() < *all)
        {
            let Some(left) = PATIENCE.checked_sub(began.elapsed()) else { break };
            state =
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        (place, fault)
    }

    fn decide(&self, place: usize, status: u16) {
        let mut state = self.state();
        let place = place.checked_sub(state.taken);
        if let Some(received) = place.and_then(|place| state.log.get_mut(place)) {
            received.status = status;
        }
    }

    /// Holds a client until it goes away.
    fn stall(&self, path: &str, stream: &TcpStream) {
        self.state().stalled.push(path.to_owned());
        self.changed.notify_all();
        let mut rest = [0; 1024];
        let mut stream = stream;
        while matches!(stream.read(&mut rest), Ok(count) if count > 0) {}
    }

    fn answer(&self, request: &Request) -> Answer {
        let (etags, authorization, ssh_key) = {
            let state = self.state();
            let bearer = request.header("authorization").and_then(|it| it.strip_prefix("Bearer "));
            let is_known = |it: &TokenEndpoint| bearer.is_some_and(|token| it.vouches_for(token));
            if state.provider.as_ref().is_some_and(|provider| !is_known(provider)) {
                return Answer::text(401, "").with("WWW-Authenticate", "Bearer realm=\"dbt\"");
            }
            (state.etags, state.authorization.clone(), state.ssh_key.clone())
        };
        if authorization.is_some() && request.header("authorization") != authorization.as_deref() {
            return Answer::text(401, "").with("WWW-Authenticate", "Basic realm=\"dbt\"");
        }
        let token = request.header("token").and_then(SignedToken::parse);
        if ssh_key.is_some_and(|key| !token.is_some_and(|token| token.is_signed_by(&key))) {
            return Answer::text(401, "").with("WWW-Authenticate", "DBT-SSH-JWT realm=\"dbt\"");
        }
        if request.method == "DELETE" && self.state().deletes {
            return delete(&self.root, &request.path);
        }
        if !matches!(request.method.as_str(), "GET" | "HEAD") {
            return Answer::text(405, "");
        }
        let pages_only = self.state().pages_only;
        if pages_only && let Some(page) = page_of(&self.root, request) {
            return page;
        }
        files(&self.root, request, etags)
    }
}

/// Deletes a file, or a directory with all that is in it, as the reference does.
fn delete(root: &Path, path: &str) -> Answer {
    let below = path.trim_matches('/');
    assert!(!below.is_empty() && !below.contains(".."), "deleting {path:?}");
    let there = root.join(below);
    let removed =
        if there.is_dir() { std::fs::remove_dir_all(&there) } else { std::fs::remove_file(&there) };
    Answer::text(if removed.is_ok() { 204 } else { 404 }, "")
}

fn matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => path == pattern,
    }
}

fn accept(listener: TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.stopped.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        // A client that breaks off is what many tests are about.
        thread::spawn(move || drop(converse(stream, connection, &shared)));
    }
}

fn converse(mut stream: TcpStream, connection: usize, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let mut request = match Request::read(&mut reader) {
            Ok(Some(request)) => request,
            Ok(None) => return Ok(()),
            // Other servers say so too where TLS is spoken to them.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")?;
                return stream.shutdown(Shutdown::Both);
            }
            Err(error) => return Err(error),
        };
        if request.method == "CONNECT" {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            continue;
        }
        if let Some((_scheme, rest)) = request.path.split_once("://") {
            request.path = rest.find('/').map_or("/", |at| &rest[at..]).to_owned();
        }
        let body = body_of(&request, &mut reader)?;
        let (place, fault) = shared.arrive(&request, &body, connection);
        let answer = match &fault {
            Some(Fault::Status(status)) => Answer::text(*status, "something is wrong\n"),
            Some(Fault::Answer(answer)) => answer.clone(),
            Some(Fault::Portal) => portal(),
            Some(Fault::RedirectTo(there)) => Answer::text(302, "").with("Location", there),
            Some(Fault::Hops(count)) => hop(&request.path, *count),
            _ => shared.answer(&request),
        };
        shared.decide(place, answer.status);
        let is_kept = send(&mut stream, &request, &answer, fault.as_ref(), shared);
        shared.state().in_flight -= 1;
        if !is_kept? {
            return stream.shutdown(Shutdown::Both);
        }
    }
}

/// The longest body that is read.
const BODY_LIMIT: u64 = 64 * 1024;

/// Reads what came with a request, so that the next one on its connection can be read.
fn body_of(request: &Request, reader: &mut impl io::Read) -> io::Result<String> {
    let length = request.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
    let mut body = Vec::new();
    if length <= BODY_LIMIT {
        reader.take(length).read_to_end(&mut body)?;
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// Sends an answer as the fault wants it; says whether the connection goes on.
fn send(
    stream: &mut TcpStream,
    request: &Request,
    answer: &Answer,
    fault: Option<&Fault>,
    shared: &Shared,
) -> io::Result<bool> {
    let length = answer.body.len();
    let body = if request.method == "HEAD" { &[] } else { answer.body.as_slice() };
    match fault {
        Some(Fault::Stall) => {
            shared.stall(&request.path, stream);
            Ok(false)
        }
        Some(Fault::StallAfter(count)) => {
            answer.write_head(stream, Some(length))?;
            stream.write_all(&body[..*count])?;
            shared.stall(&request.path, stream);
            Ok(false)
        }
        Some(Fault::Trickle) => {
            answer.write_head(stream, None)?;
            loop {
                stream.write_all(&[b' '; 256])?;
                // This is the fault itself, and waits for nothing.
                thread::sleep(TRICKLE);
            }
        }
        Some(Fault::CutAfter(count)) => {
            answer.write_head(stream, Some(length))?;
            stream.write_all(&body[..*count])?;
            Ok(false)
        }
        Some(Fault::Length(off)) => {
            answer.write_head(stream, Some(length.saturating_add_signed(*off)))?;
            stream.write_all(body)?;
            Ok(false)
        }
        Some(Fault::Reset) => reset(stream),
        Some(Fault::ResetAfter(count)) => {
            answer.write_head(stream, Some(length))?;
            stream.write_all(&body[..*count])?;
            reset(stream)
        }
        Some(Fault::Endless) => {
            answer.write_head(stream, None)?;
            flood(stream, &[b'A'; 8 * 1024])
        }
        Some(Fault::Flood(first, again)) => {
            stream.write_all(first)?;
            flood(stream, again)
        }
        Some(Fault::Raw(bytes)) => {
            stream.write_all(bytes)?;
            Ok(false)
        }
        Some(Fault::Drip) => {
            answer.write_head(stream, Some(length))?;
            drip(stream, body)
        }
        _ => {
            answer.write_head(stream, Some(length))?;
            stream.write_all(body)?;
            Ok(true)
        }
    }
}

fn reset(stream: &TcpStream) -> io::Result<bool> {
    // Closing with a linger time of nothing sends a reset.
    rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    Ok(false)
}

/// Sends the same over and over, until the client goes away.
fn flood(stream: &mut TcpStream, again: &[u8]) -> io::Result<bool> {
    loop {
        stream.write_all(again)?;
    }
}

/// Sends a byte a second, until all is sent or the client goes away.
fn drip(stream: &mut TcpStream, body: &[u8]) -> io::Result<bool> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    for byte in body {
        stream.write_all(std::slice::from_ref(byte))?;
        match stream.read(&mut [0]) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock) => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    Ok(false)
}

/// Sends on from one hop to the next; there is nothing at the last.
fn hop(path: &str, count: u32) -> Answer {
    let at = path.strip_prefix("/hop/").and_then(|at| at.parse().ok()).unwrap_or(0);
    if at >= count {
        return Answer::text(404, "404 page not found\n");
    }
    Answer::text(302, "").with("Location", &format!("/hop/{}", at + 1))
}

fn portal() -> Answer {
    let page = "<!DOCTYPE html>\n<html><body>Welcome to the hotel. Please sign in.</body></html>\n";
    Answer::of(200, "text/html; charset=utf-8", page.into())
}

/// Answers for a directory with its page.
fn page_of(root: &Path, request: &Request) -> Option<Answer> {
    let path = request.path.strip_suffix('/')?;
    let page = std::fs::read(root.join(decoded(path)?.trim_matches('/')).join("index.html"));
    Some(match page {
        Ok(page) => Answer::of(200, "text/html; charset=utf-8", page),
        Err(_missing) => Answer::text(404, "404 page not found\n"),
    })
}

/// Answers from the directory, as Go's file server does.
fn files(root: &Path, request: &Request, etags: bool) -> Answer {
    let not_found = || Answer::text(404, "404 page not found\n");
    let path = request.path.split('?').next().unwrap_or_default();
    let Some(decoded) = decoded(path) else { return not_found() };
    let file = root.join(decoded.trim_matches('/'));
    let content_type = "text/plain; charset=utf-8";
    if file.is_dir() {
        if !path.ends_with('/') {
            let name = path.rsplit('/').next().unwrap_or_default();
            return Answer::text(301, "").with("Location", &format!("{name}/"));
        }
        let page = listing::page(&file).unwrap_or_default();
        return dated(&file, request, Answer::of(200, "text/html; charset=utf-8", page.into()));
    }
    let Ok(bytes) = std::fs::read(&file) else { return not_found() };
    let etag = etags.then(|| format!("\"{}\"", Digest::of(&bytes)));
    if let Some(etag) = &etag
        && request.header("if-none-match") == Some(etag)
    {
        return Answer { status: 304, headers: Vec::new(), body: Vec::new() }.with("ETag", etag);
    }
    let mut answer = ranged(request, etag.as_deref(), Answer::of(200, content_type, bytes));
    if let Some(etag) = etag {
        answer = answer.with("ETag", &etag);
    }
    dated(&file, request, answer)
}

/// Adds the time of the last change, and says 304 to who has seen it.
fn dated(file: &Path, request: &Request, answer: Answer) -> Answer {
    let Ok(modified) = file.metadata().and_then(|metadata| metadata.modified()) else {
        return answer;
    };
    let modified = httpdate::fmt_http_date(modified);
    if request.header("if-modified-since") == Some(&modified) {
        return Answer { status: 304, headers: Vec::new(), body: Vec::new() };
    }
    answer.with("Last-Modified", &modified)
}

/// Cuts the answer to `Range: bytes=N-`, unless what the client has is something else.
fn ranged(request: &Request, etag: Option<&str>, answer: Answer) -> Answer {
    let is_same = request.header("if-range").is_none_or(|condition| Some(condition) == etag);
    let from = request
        .header("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match from {
        Some(from) if is_same && from < answer.body.len() => {
            let total = answer.body.len();
            let range = format!("bytes {from}-{}/{total}", total - 1);
            let body = answer.body[from..].to_vec();
            Answer { status: 206, body, ..answer }.with("Content-Range", &range)
        }
        _ => answer.with("Accept-Ranges", "bytes"),
    }
}

/// Undoes the percent encoding; nothing when the path could leave the directory.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let decoded = String::from_utf8(bytes).ok()?;
    (!decoded.split('/').any(|segment| segment == "..")).then_some(decoded)
}
