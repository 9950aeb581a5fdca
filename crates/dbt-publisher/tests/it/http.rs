//! A small server in memory that takes what is put, and can be told to misbehave.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use dbt_testkit::ssh_agent::SignedToken;

use super::world::{SCRIPT, World};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next writes are answered by 503, so many times.
    Busy(u32),
    /// All writes are answered by this status from now on.
    Status(u16),
    /// The next write is kept, and the connection ends without an answer.
    LostAnswer,
    /// The next write is answered well, and half of it is kept.
    Half,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    requests: Vec<String>,
    faults: Vec<Fault>,
    secrets_seen: Vec<String>,
    /// The line of an SSH key whose tokens count too, each once.
    ssh_key: Option<String>,
    tokens_seen: Vec<SignedToken>,
    /// Whether what is not complete is shown to those alone who may write.
    hides_drafts: bool,
    exchanges: Vec<Exchanged>,
    gate: Option<Arc<Gate>>,
}

/// Lets nobody pass before so many are there; from then on everybody.
#[derive(Debug)]
struct Gate {
    crowd: Mutex<Crowd>,
    came: Condvar,
}

#[derive(Debug)]
struct Crowd {
    needed: usize,
    there: usize,
    /// Somebody has waited in vain.
    is_given_up: bool,
}

/// How long somebody waits for others.
const PATIENCE: Duration = Duration::from_secs(30);

impl Gate {
    fn opens_for(needed: usize) -> Self {
        let crowd = Mutex::new(Crowd { needed, there: 0, is_given_up: false });
        Self { crowd, came: Condvar::new() }
    }

    fn pass(&self) {
        self.crowd.lock().unwrap().there += 1;
        self.came.notify_all();
        self.wait(|crowd| crowd.there < crowd.needed);
    }

    fn wait(&self, too_early: impl Fn(&Crowd) -> bool) {
        let crowd = self.crowd.lock().unwrap();
        let too_early = |crowd: &mut Crowd| too_early(crowd);
        let (mut crowd, waited) = self.came.wait_timeout_while(crowd, PATIENCE, too_early).unwrap();
        crowd.is_given_up |= waited.timed_out();
    }
}

/// An identity of a job that was exchanged.
#[derive(Debug, Clone)]
pub(crate) struct Exchanged {
    /// What was asked.
    pub(crate) question: serde_json::Value,
    /// What makes it the same one when it is asked again.
    pub(crate) once: String,
}

/// Where identities of jobs are exchanged, for [`TOKEN`] or [`READ_TOKEN`].
const EXCHANGE: &str = "/-/api/v1/oidc/exchange";

impl State {
    /// Takes the token of a write; says whether it is for that alone, and good.
    fn admits(&mut self, method: &str, host: &str, path: &str, token: &str) -> bool {
        let Some(token) = SignedToken::parse(token) else { return false };
        let is_signed = self.ssh_key.as_ref().is_some_and(|key| token.is_signed_by(key));
        let is_known = self.tokens_seen.contains(&token);
        let is_for_this = token.claims["htm"] == method
            && token.claims["htu"] == format!("http://{host}{path}").as_str();
        self.tokens_seen.push(token);
        is_signed && is_for_this && !is_known
    }
}

/// A server that wants `Bearer hunter2` for writing.
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

pub(crate) const TOKEN: &str = "hunter2";

/// What an identity is exchanged for that is to read, where drafts are hidden from it.
pub(crate) const READ_TOKEN: &str = "read-token-of-the-job";

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        // It ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || while answer(&stream, &state).is_some() {});
            }
        });
        Self { address, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.address
    }

    /// Returns where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub(crate) fn misbehave(&self, fault: Fault) {
        self.state.lock().unwrap().faults.push(fault);
    }

    pub(crate) fn behave(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// Answers no write before so many are under way at once.
    pub(crate) fn wait_for_writes_at_once(&self, needed: usize) {
        self.state.lock().unwrap().gate = Some(Arc::new(Gate::opens_for(needed)));
    }

    /// Says whether they were, and nobody has waited in vain.
    pub(crate) fn were_at_once(&self) -> bool {
        let gate = self.gate();
        let crowd = gate.crowd.lock().unwrap();
        crowd.there >= crowd.needed && !crowd.is_given_up
    }

    /// Answers no write before [`Self::answer_writes`].
    pub(crate) fn hold_writes(&self) {
        self.wait_for_writes_at_once(usize::MAX);
    }

    /// Waits until a write is held.
    pub(crate) fn has_a_write_held(&self) {
        self.gate().wait(|crowd| crowd.there == 0);
    }

    /// Answers what is held, and all that comes.
    pub(crate) fn answer_writes(&self) {
        let gate = self.gate();
        gate.crowd.lock().unwrap().needed = 0;
        gate.came.notify_all();
    }

    fn gate(&self) -> Arc<Gate> {
        self.state.lock().unwrap().gate.clone().unwrap()
    }

    /// Shows the files of a version to who writes them alone, until each has its checksum.
    pub(crate) fn hide_drafts(&self) {
        self.state.lock().unwrap().hides_drafts = true;
    }

    pub(crate) fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.state.lock().unwrap().files.get(path).cloned()
    }

    /// Every file there is.
    pub(crate) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.state.lock().unwrap().files.clone()
    }

    /// The paths that were written, in order, tried ones included.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.state.lock().unwrap().requests.clone();
        requests
            .iter()
            .filter_map(|request| request.strip_prefix("PUT "))
            .map(str::to_owned)
            .collect()
    }

    /// Takes tokens that this SSH key has signed.
    pub(crate) fn know(&self, line: &str) {
        self.state.lock().unwrap().ssh_key = Some(line.to_owned());
    }

    /// Every token of a write that came.
    pub(crate) fn tokens(&self) -> Vec<SignedToken> {
        self.state.lock().unwrap().tokens_seen.clone()
    }

    /// Every identity that was exchanged.
    pub(crate) fn exchanges(&self) -> Vec<Exchanged> {
        self.state.lock().unwrap().exchanges.clone()
    }

    /// Every `Authorization` that came.
    pub(crate) fn credentials(&self) -> Vec<String> {
        let mut seen = self.state.lock().unwrap().secrets_seen.clone();
        seen.sort();
        seen.dedup();
        seen
    }
}

/// One request of a connection. Nothing when it is over.
fn answer(stream: &TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut is_last = false;
    answer_one(stream, state, &mut is_last)?;
    (!is_last).then_some(())
}

fn answer_one(stream: &TcpStream, state: &Mutex<State>, is_last: &mut bool) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let mut words = line.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    *is_last = headers.get("connection").is_some_and(|value| value == "close");
    let authorization = headers.get("authorization").cloned();
    let mut locked = state.lock().unwrap();
    locked.requests.push(format!("{method} {path}"));
    locked.secrets_seen.extend(authorization.clone());
    if (method.as_str(), path.as_str()) == ("POST", EXCHANGE) {
        let mut question = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut question).ok()?;
        let question: serde_json::Value = serde_json::from_slice(&question).unwrap();
        let reads = locked.hides_drafts && question["scope"] == "read";
        let token = if reads { READ_TOKEN } else { TOKEN };
        let once = headers.get("idempotency-key").cloned().unwrap_or_default();
        locked.exchanges.push(Exchanged { question, once });
        drop(locked);
        let body = format!(r#"{{"token":"{token}","expires_in":900}}"#);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        return send(stream, &[head.as_bytes(), body.as_bytes()].concat());
    }
    if method != "PUT" {
        let length = headers.get("content-length").map_or(Some(0), |text| text.parse().ok())?;
        reader.read_exact(&mut vec![0; length]).ok()?;
        let writes = authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let hidden = locked.hides_drafts && !writes && is_draft(&locked, &path);
        let (status, body) =
            if hidden { ("404 Not Found", Vec::new()) } else { read(&locked, &path) };
        drop(locked);
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
        return send(stream, &[head.as_bytes(), &body].concat());
    }
    let token = headers.get("token").map(String::as_str).unwrap_or_default();
    let host = headers.get("host").map(String::as_str).unwrap_or_default();
    let is_proven = locked.admits(&method, host, &path, token);
    if !is_proven && authorization.as_deref() != Some(&format!("Bearer {TOKEN}")) {
        drop(locked);
        let reads = authorization.as_deref() == Some(&format!("Bearer {READ_TOKEN}"));
        let status = if reads { "403 Not you" } else { "401 No" };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        send(stream, head.as_bytes());
        return None;
    }
    drop(locked);
    if headers.contains_key("expect") {
        send(stream, b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let length: usize = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let gate = state.lock().unwrap().gate.clone();
    gate.inspect(|gate| gate.pass());
    let mut locked = state.lock().unwrap();
    let create_only = headers.contains_key("if-none-match");
    write(&mut locked, stream, path, body, create_only)
}

fn write(
    state: &mut State,
    stream: &TcpStream,
    path: String,
    body: Vec<u8>,
    create_only: bool,
) -> Option<()> {
    let ok = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    match state.faults.pop() {
        Some(Fault::Busy(times)) => {
            if times > 1 {
                state.faults.push(Fault::Busy(times - 1));
            }
            return send(stream, b"HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n");
        }
        Some(Fault::Status(status)) => {
            state.faults.push(Fault::Status(status));
            let head = format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n");
            return send(stream, head.as_bytes());
        }
        Some(Fault::LostAnswer) => {
            state.files.insert(path, body);
            return None;
        }
        Some(Fault::Half) => {
            state.files.insert(path, body[..body.len() / 2].to_vec());
            return send(stream, ok);
        }
        None => {}
    }
    if create_only && state.files.contains_key(&path) {
        return send(stream, b"HTTP/1.1 412 There\r\nContent-Length: 0\r\n\r\n");
    }
    state.files.insert(path, body);
    send(stream, ok)
}

/// Says whether a file of a tool still lacks its checksum.
fn is_draft(state: &State, path: &str) -> bool {
    let signed = path.trim_end_matches(".asc").trim_end_matches(".sha256");
    path.starts_with("/dbt-tools/") && !state.files.contains_key(&format!("{signed}.sha256"))
}

fn read(state: &State, path: &str) -> (&'static str, Vec<u8>) {
    if let Some(bytes) = state.files.get(path) {
        return ("200 OK", bytes.clone());
    }
    let below: Vec<&str> = state
        .files
        .keys()
        .filter_map(|file| file.strip_prefix(path.trim_end_matches('/'))?.strip_prefix('/'))
        .collect();
    if !path.ends_with('/') || below.is_empty() {
        return ("404 Not Found", Vec::new());
    }
    let names = below.iter().map(|rest| match rest.split_once('/') {
        Some((directory, _)) => format!("<a href=\"{directory}/\">{directory}/</a>\n"),
        None => format!("<a href=\"{rest}\">{rest}</a>\n"),
    });
    let names: std::collections::BTreeSet<String> = names.collect();
    ("200 OK", format!("<pre>\n{}</pre>\n", names.into_iter().collect::<String>()).into_bytes())
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> Option<()> {
    stream.write_all(bytes).ok()
}

/// Returns a world in which `alice`, whose signatures count there, publishes to a server.
pub(crate) fn publishing_to(server: &Server) -> World {
    let world = World::new();
    world.key("alice");
    world.write_secret("token", &format!("{TOKEN}\n"));
    world.write("deploy", SCRIPT);
    let add = format!("truststore add alice --to {} --signer file:alice", server.url());
    world.run(&format!("{add} --token-file PLACE/token")).succeeds();
    world
}
