//! A way to a server that counts the requests which pass it, and at one of them does something: ends
//! whoever asks or whoever answers, or cuts the connection.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

use crate::http::Request;

/// Nothing here is waited for longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How much is passed on at once.
const PIECE: usize = 64 * 1024;

/// When something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anything of the request is passed on.
    Before,
    /// When so many bytes of its body were passed on, of more.
    Within(u64),
    /// When it was answered. The answer is lost.
    After,
}

type Act = Box<dyn FnOnce() + Send>;

struct Event {
    /// What the requests that count begin with.
    line: String,
    /// How many of them have to come until then, that one included.
    left: usize,
    when: When,
    act: Act,
}

#[derive(Default)]
struct State {
    to: Option<SocketAddr>,
    event: Option<Event>,
    lines: Vec<String>,
    passed: u64,
}

/// A program that is ended at a request of its own. It is not known before it has been started.
#[derive(Debug, Clone, Default)]
pub struct Doomed(Arc<OnceLock<Pid>>);

impl Doomed {
    /// Says which it is.
    pub fn is(&self, child: &Child) {
        self.0.set(Pid::from_child(child)).expect("it is one");
    }

    /// Ends it, as soon as it is known.
    pub fn end(&self, by: Signal) {
        // Where it has ended already, there is nothing to be done.
        let _it_may_be_over = kill_process(*self.0.wait(), by);
    }
}

/// The way to a server. Each request gets a connection of its own.
#[derive(Clone)]
pub struct Relay {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Relay {
    /// Makes a way that leads nowhere yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback can be used");
        let address = listener.local_addr().expect("a listener has an address");
        let relay = Self { address, state: Arc::default() };
        let shared = relay.clone();
        // It ends with the test process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let relay = shared.clone();
                thread::spawn(move || drop(relay.pass(client)));
            }
        });
        relay
    }

    /// Leads to this server from now on.
    pub fn lead_to(&self, server: SocketAddr) {
        self.state().to = Some(server);
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Does this at the so-manieth request from now on that begins with `line`, as `PATCH /`, and then
    /// cuts its connection.
    pub fn at(&self, line: &str, number: usize, when: When, act: impl FnOnce() + Send + 'static) {
        let (line, act) = (line.to_owned(), Box::new(act));
        self.state().event = Some(Event { line, left: number, when, act });
    }

    /// Says whether what should be done was done. It will not be done any more.
    pub fn was_done(&self) -> bool {
        self.state().event.take().is_none()
    }

    /// Returns method and path of the requests since the last call, in the order in which they came.
    pub fn take_lines(&self) -> Vec<String> {
        std::mem::take(&mut self.state().lines)
    }

    /// Returns how many bytes of bodies were passed on to the server since the last call.
    pub fn take_passed(&self) -> u64 {
        std::mem::take(&mut self.state().passed)
    }

    fn pass(&self, client: TcpStream) -> io::Result<()> {
        client.set_read_timeout(Some(PATIENCE))?;
        let mut from_client = BufReader::new(client.try_clone()?);
        let Some(request) = Request::read(&mut from_client)? else { return Ok(()) };
        let event = self.arrive(&format!("{} {}", request.method, request.path));
        if let Some((When::Before, act)) = event {
            act();
            return client.shutdown(Shutdown::Both);
        }
        let to = self.state().to.ok_or_else(|| io::Error::other("it leads nowhere"))?;
        let mut server = TcpStream::connect(to)?;
        server.write_all(&head(&request))?;
        let is_lost = matches!(event, Some((When::After, _)));
        let (from_server, to_client) = (server.try_clone()?, client.try_clone()?);
        let answering = thread::spawn(move || answer(from_server, to_client, is_lost));
        let length = request.header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let until = match event {
            Some((When::Within(bytes), _)) => bytes.min(length),
            _ => length,
        };
        let copied = self.copy(&mut from_client, &mut server, until);
        match event {
            Some((When::Within(_), act)) => {
                act();
                server.shutdown(Shutdown::Both)?;
            }
            Some((_after, act)) => {
                drop(answering.join());
                act();
            }
            None => {
                // Who was ended does not get an answer; the server has what came until then.
                if copied.is_ok_and(|copied| copied < until) {
                    server.shutdown(Shutdown::Write)?;
                }
                drop(answering.join());
            }
        }
        client.shutdown(Shutdown::Both)
    }

    /// Passes on so much of a body, or what there is of it; returns how much that was.
    fn copy(&self, from: &mut impl BufRead, to: &mut TcpStream, length: u64) -> io::Result<u64> {
        let (mut copied, mut piece) = (0, vec![0; PIECE]);
        while copied < length {
            let wanted = usize::try_from(length - copied).unwrap_or(PIECE).min(PIECE);
            let count = from.read(&mut piece[..wanted])?;
            if count == 0 {
                break;
            }
            to.write_all(&piece[..count])?;
            copied += count as u64;
            self.state().passed += count as u64;
        }
        Ok(copied)
    }

    /// Notes a request; returns what is to be done at it.
    fn arrive(&self, line: &str) -> Option<(When, Act)> {
        let mut state = self.state();
        state.lines.push(line.to_owned());
        let event = state.event.as_mut().filter(|event| line.starts_with(&event.line))?;
        event.left = event.left.checked_sub(1)?;
        if event.left > 0 {
            return None;
        }
        state.event.take().map(|event| (event.when, event.act))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Returns the head of a request as it is passed on.
fn head(request: &Request) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.path);
    for (name, value) in request.pairs().filter(|(name, _value)| *name != "connection") {
        // Writing to a string cannot fail.
        let _infallible = write!(head, "{name}: {value}\r\n");
    }
    head.push_str("connection: close\r\n\r\n");
    head.into_bytes()
}

/// Passes on what a server says, unless that is to be lost; but always that it wants the body.
fn answer(server: TcpStream, mut client: TcpStream, is_lost: bool) -> io::Result<()> {
    server.set_read_timeout(Some(PATIENCE))?;
    let mut server = BufReader::new(server);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if server.read_until(b'\n', &mut head)? == 0 {
                return Ok(());
            }
        }
        let goes_on = head.starts_with(b"HTTP/1.1 100");
        if !goes_on {
            head.truncate(head.len() - 2);
            head.extend(b"Connection: close\r\n\r\n");
        }
        if goes_on || !is_lost {
            client.write_all(&head)?;
        }
        if !goes_on {
            break;
        }
    }
    if is_lost {
        io::copy(&mut server, &mut io::sink()).map(drop)
    } else {
        io::copy(&mut server, &mut client).map(drop)
    }
}
