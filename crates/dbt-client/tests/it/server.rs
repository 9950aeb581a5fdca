//! Scripted servers on this machine: HTTP/1.1, with and without TLS, honest or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dbt_client::url::{Origin, RepositoryUrl};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    /// By names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// What is done with a connection after a request.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Send(Vec<u8>),
    Wait(Duration),
    /// Ends the connection in order.
    Close,
    /// Ends it with a reset.
    Reset,
}

/// An answer: its steps in order. After the last, the connection takes the next request.
pub(crate) type Reply = Vec<Step>;

/// Returns an answer with a length.
pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
    let length = body.as_ref().len().to_string();
    let headers: Vec<_> = headers.iter().copied().chain([("Content-Length", &*length)]).collect();
    let mut bytes = head(status, &headers);
    bytes.extend_from_slice(body.as_ref());
    vec![Step::Send(bytes)]
}

/// Returns the head of an answer alone.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut text = format!("HTTP/1.1 {status} Words\r\n");
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    (text + "\r\n").into_bytes()
}

pub(crate) fn ok(body: impl AsRef<[u8]>) -> Reply {
    reply(200, &[], body)
}

pub(crate) fn redirect(status: u16, location: &str) -> Reply {
    reply(status, &[("Location", location)], "")
}

type Handler = dyn Fn(&Request) -> Reply + Send + Sync;

/// A server that answers as it is told, and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct TestServer {
    address: SocketAddr,
    secure: bool,
    requests: Arc<Mutex<Vec<Request>>>,
    load: Arc<Load>,
}

/// How much was going on.
#[derive(Default)]
struct Load {
    connections: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl TestServer {
    pub(crate) fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::serve(None, Arc::new(handler))
    }

    pub(crate) fn start_tls(
        tls: rustls::ServerConfig,
        handler: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::serve(Some(Arc::new(tls)), Arc::new(handler))
    }

    /// Answers the first request with the first of these, and so on; then with the last.
    pub(crate) fn answering(replies: Vec<Reply>) -> Self {
        let left = Mutex::new(replies.into_iter());
        let last = Mutex::new(Reply::new());
        Self::start(move |_request| {
            let mut last = last.lock().unwrap();
            if let Some(next) = left.lock().unwrap().next() {
                *last = next;
            }
            last.clone()
        })
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>, handler: Arc<Handler>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            Self { address, secure: tls.is_some(), requests: Arc::default(), load: Arc::default() };
        let load = Arc::clone(&server.load);
        let requests = Arc::clone(&server.requests);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (tls, handler) = (tls.clone(), Arc::clone(&handler));
                let (requests, load) = (Arc::clone(&requests), Arc::clone(&load));
                load.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    // What the other side breaks off is not the server's concern.
                    let _broken = converse(stream?, tls, &handler, &requests, &load);
                    io::Result::Ok(())
                });
            }
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the URL of the server's root.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Returns the URL of `/repo`.
    pub(crate) fn repository(&self) -> RepositoryUrl {
        format!("{}/repo", self.url()).parse().unwrap()
    }

    pub(crate) fn origin(&self) -> Origin {
        self.repository().origin().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Returns how often somebody connected.
    pub(crate) fn connections(&self) -> usize {
        self.load.connections.load(Ordering::SeqCst)
    }

    /// Returns how many requests were being answered at once, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.load.most.load(Ordering::SeqCst)
    }

    /// Returns the paths asked for, in order.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.path).collect()
    }
}

/// Both directions of a connection.
trait Duplex: Read + Write {}
impl<T: Read + Write> Duplex for T {}

fn converse(
    stream: TcpStream,
    tls: Option<Arc<rustls::ServerConfig>>,
    handler: &Arc<Handler>,
    requests: &Mutex<Vec<Request>>,
    load: &Load,
) -> io::Result<()> {
    let raw = stream.try_clone()?;
    let duplex: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(config) => {
            let connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
            Box::new(rustls::StreamOwned::new(connection, stream))
        }
    };
    let mut connection = BufReader::new(duplex);
    while let Some(request) = read_request(&mut connection)? {
        requests.lock().unwrap().push(request.clone());
        let now = load.now.fetch_add(1, Ordering::SeqCst) + 1;
        load.most.fetch_max(now, Ordering::SeqCst);
        let answered = answer(&mut connection, &raw, handler(&request), load);
        if !answered? {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes the steps of an answer; says whether the connection goes on.
fn answer(
    connection: &mut BufReader<Box<dyn Duplex>>,
    raw: &TcpStream,
    steps: Reply,
    load: &Load,
) -> io::Result<bool> {
    let last = steps.len().saturating_sub(1);
    for (index, step) in steps.into_iter().enumerate() {
        if index == last {
            load.now.fetch_sub(1, Ordering::SeqCst);
        }
        match step {
            Step::Send(bytes) => {
                connection.get_mut().write_all(&bytes)?;
                connection.get_mut().flush()?;
            }
            Step::Wait(time) => thread::sleep(time),
            Step::Close => return Ok(false),
            Step::Reset => {
                let at_once = Some(Duration::ZERO);
                rustix::net::sockopt::set_socket_linger(raw, at_once)?;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn read_request(from: &mut BufReader<Box<dyn Duplex>>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    if headers.contains_key("expect") {
        from.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        from.get_mut().flush()?;
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(Some(Request { method, path, headers, body }))
}

/// A proxy that takes `CONNECT` to anywhere and connects to one place.
pub(crate) struct TestProxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl TestProxy {
    /// With `refusal`, answers with that status instead of connecting.
    pub(crate) fn to(upstream: SocketAddr, refusal: Option<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<Request>>> = Arc::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let log = Arc::clone(&log);
                thread::spawn(move || tunnel(stream, upstream, refusal, &log));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://alice:hunter2@{}", self.address)
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

fn tunnel(
    stream: TcpStream,
    upstream: SocketAddr,
    refusal: Option<u16>,
    log: &Mutex<Vec<Request>>,
) -> io::Result<()> {
    let duplex: Box<dyn Duplex> = Box::new(stream.try_clone()?);
    let request = read_request(&mut BufReader::new(duplex))?.unwrap();
    log.lock().unwrap().push(request);
    if let Some(status) = refusal {
        return (&stream).write_all(&head(status, &[("Content-Length", "0")]));
    }
    let there = TcpStream::connect(upstream)?;
    (&stream).write_all(&head(200, &[]))?;
    let (mut back, mut forth) = (there.try_clone()?, stream.try_clone()?);
    thread::spawn(move || {
        let _ended = io::copy(&mut back, &mut forth);
        forth.shutdown(std::net::Shutdown::Write)
    });
    let _ended = io::copy(&mut &stream, &mut &there);
    there.shutdown(std::net::Shutdown::Write)
}
