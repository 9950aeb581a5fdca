//! An endpoint on this machine, which answers what it is told to and remembers what it was asked.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One question.
#[derive(Debug, Clone)]
pub struct Question {
    /// Its first line and its headers.
    pub head: String,
    /// What was posted.
    pub body: String,
}

/// A running endpoint. It ends with the process; copies are the same one.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<(u16, Vec<u8>)>,
    questions: Vec<Question>,
}

/// What is answered when nothing else is left: it ends whatever is asked over and over.
const LAST: &[u8] = br#"{"error":"expired_token"}"#;

impl Endpoint {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
        let endpoint = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&endpoint.state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Whoever breaks off is not answered.
                let _broken = converse(&stream, &state);
            }
        });
        endpoint
    }

    /// Returns its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Has it answer so, one after the other, and forget what was asked before.
    pub fn say(&self, answers: impl IntoIterator<Item = (u16, Vec<u8>)>) {
        let answers = answers.into_iter().collect();
        *lock(&self.state) = State { answers, questions: Vec::new() };
    }

    /// Returns what it was asked since.
    pub fn asked(&self) -> Vec<Question> {
        lock(&self.state).questions.clone()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(mut stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("it says a length"))];
    reader.read_exact(&mut body)?;
    let body = String::from_utf8(body).expect("text is posted");
    let (status, answer) = {
        let mut state = lock(state);
        state.questions.push(Question { head, body });
        state.answers.pop_front().unwrap_or_else(|| (400, LAST.to_vec()))
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        answer.len()
    );
    stream.write_all(&[head.as_bytes(), &answer].concat())
}
