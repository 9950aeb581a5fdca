//! A directory service (LDAP) with a few people, which may answer whatever it likes.
//!
//! It reads and writes what goes over the wire by itself, not with the code of the server that
//! asks it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const OCTETS: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;

/// Who signs in to search, and everybody who is known, each with their password.
const KNOWN: [(&str, &str); 10] = [
    ("cn=search,dc=x", "search"),
    ("cn=search,dc=x", "canary-of-the-directory"),
    ("uid=alice,ou=people,dc=x", "wonderland"),
    ("uid=bob,ou=people,dc=x", "builder"),
    ("uid=reader,ou=people,dc=x", "reader"),
    ("uid=publisher,ou=people,dc=x", "publisher"),
    ("uid=root,ou=people,dc=x", "root"),
    ("uid=suspended,ou=people,dc=x", "suspended"),
    ("uid=joiner,ou=people,dc=x", "joiner"),
    ("uid=thousand,ou=people,dc=x", "thousand"),
];

/// How a directory answers.
#[derive(Clone, Copy, Debug)]
pub enum Mood {
    /// As it should.
    Honest,
    /// It closes every connection.
    Gone,
    /// It never answers.
    Silent,
    /// It says these bytes, whatever was asked.
    Garbage(&'static [u8]),
    /// Every sign-in has this result.
    BindResult(u8),
    /// Every search has this result.
    SearchResult(u8),
    /// It sends everything, however little was asked for.
    Boundless,
    /// It names so many entries at most, however many were asked for.
    Sparing(usize),
}

#[derive(Debug)]
struct State {
    mood: Mood,
    connections: usize,
    binds: Vec<String>,
    questions: usize,
    refer_to: Option<u16>,
}

/// A directory: people below `ou=people,dc=x`, groups below `ou=groups,dc=x`. It lets everybody
/// sign in without a password, as RFC 4513 allows.
#[derive(Debug)]
pub struct DirectoryService {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl DirectoryService {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State {
            mood: Mood::Honest,
            connections: 0,
            binds: Vec::new(),
            questions: 0,
            refer_to: None,
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                state.lock().unwrap().connections += 1;
                std::thread::spawn(move || converse(stream, &state));
            }
        });
        Self { port, state }
    }

    /// Returns its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Has it answer differently from now on.
    pub fn be(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    /// Has it refer to another port of this machine, too.
    pub fn refer_to(&self, port: u16) {
        self.state.lock().unwrap().refer_to = Some(port);
    }

    /// Returns how often somebody connected.
    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Returns how often something was asked that it had to answer.
    pub fn take_questions(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().questions)
    }

    /// Returns the names that signed in, or tried to.
    pub fn take_binds(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().binds)
    }
}

fn converse(mut stream: TcpStream, state: &Mutex<State>) {
    while let Some(message) = read(&mut stream) {
        let mood = state.lock().unwrap().mood;
        match mood {
            Mood::Gone => return,
            Mood::Silent => continue,
            Mood::Garbage(bytes) => {
                let _closed = stream.write_all(bytes);
                return;
            }
            Mood::Honest
            | Mood::BindResult(_)
            | Mood::SearchResult(_)
            | Mood::Boundless
            | Mood::Sparing(_) => {}
        }
        let parts = elements(&message);
        let [(INTEGER, id), (operation, content), ..] = parts.as_slice() else { return };
        let answers = match operation {
            0x60 => vec![bind(content, mood, state)],
            0x63 => search(content, mood, state),
            0x77 => vec![result(0x78, 2, "no TLS here")],
            _ => return,
        };
        state.lock().unwrap().questions += 1;
        for answer in answers {
            let message = sequence(SEQUENCE, &[element(INTEGER, id), answer]);
            if stream.write_all(&message).is_err() {
                return;
            }
        }
    }
}

/// Writes an element.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("nothing here is longer").to_be_bytes();
    [&[tag, 0x82], &length[..], content].concat()
}

fn sequence(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

fn text(tag: u8, text: &str) -> Vec<u8> {
    element(tag, text.as_bytes())
}

/// Reads elements one after another: their tags and contents.
fn elements(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = bytes {
        let count = usize::from(first.saturating_sub(0x80));
        let (length, rest) = rest.split_at(count);
        let length = if *first < 0x80 { usize::from(*first) } else { number(length) };
        let (content, rest) = rest.split_at(length);
        found.push((*tag, content));
        bytes = rest;
    }
    found
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it is text")
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    if head[0] != SEQUENCE {
        return None;
    }
    let mut length = usize::from(head[1]);
    if length >= 0x80 {
        let mut bytes = vec![0; length & 0x7f];
        stream.read_exact(&mut bytes).ok()?;
        length = number(&bytes);
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).ok()?;
    Some(content)
}

fn result(tag: u8, code: u8, message: &str) -> Vec<u8> {
    sequence(tag, &[element(ENUMERATED, &[code]), text(OCTETS, ""), text(OCTETS, message)])
}

fn bind(operation: &[u8], mood: Mood, state: &Mutex<State>) -> Vec<u8> {
    let parts = elements(operation);
    let (dn, password) = (as_text(parts[1].1), as_text(parts[2].1));
    state.lock().unwrap().binds.push(dn.to_owned());
    if let Mood::BindResult(code) = mood {
        return result(0x61, code, "");
    }
    match password {
        "" => result(0x61, 0, ""),
        _ if dn.starts_with("uid=locked,") => result(0x61, 53, "locked"),
        _ if KNOWN.contains(&(dn, password)) => result(0x61, 0, ""),
        _ => result(0x61, 49, ""),
    }
}

fn entry(dn: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|value| text(OCTETS, value)).collect();
    let attribute = sequence(SEQUENCE, &[text(OCTETS, "CN"), sequence(SET, &values)]);
    sequence(0x64, &[text(OCTETS, dn), sequence(SEQUENCE, &[attribute])])
}

fn groups(count: usize) -> Vec<Vec<u8>> {
    let group = |number| {
        let name = format!("g{number}");
        entry(&format!("cn={name},ou=groups,dc=x"), &[&name])
    };
    (0..count).map(group).collect()
}

fn search(operation: &[u8], mood: Mood, state: &Mutex<State>) -> Vec<Vec<u8>> {
    if let Mood::SearchResult(code) = mood {
        return vec![result(0x65, code, "elsewhere")];
    }
    let parts = elements(operation);
    let base = as_text(parts[0].1);
    let most = number(parts[3].1);
    assert_eq!((number(parts[1].1), number(parts[2].1)), (2, 0), "no alias is followed");
    // Compares, as a directory does: nothing in a value has a meaning.
    let wanted = as_text(elements(parts[6].1)[1].1);
    let person = |name: &str| entry(&format!("uid={name},ou=people,dc=x"), &[]);
    let mut answers = match (base, wanted) {
        (
            "ou=people,dc=x",
            "alice" | "bob" | "locked" | "reader" | "publisher" | "root" | "suspended" | "joiner"
            | "thousand",
        ) => {
            vec![person(wanted)]
        }
        ("ou=people,dc=x", "twin") => vec![person("twin-a"), person("twin-b")],
        ("ou=people,dc=x", "crowd") => vec![person("a"), person("b"), person("c")],
        ("ou=people,dc=x", "nameless") => vec![entry("", &[])],
        ("ou=groups,dc=x", "uid=alice,ou=people,dc=x") => {
            vec![
                entry("cn=admins,ou=groups,dc=x", &["admins"]),
                entry("cn=staff,ou=groups,dc=x", &["staff"]),
            ]
        }
        ("ou=groups,dc=x", "uid=joiner,ou=people,dc=x") => groups(1001),
        ("ou=groups,dc=x", "uid=thousand,ou=people,dc=x") => groups(1000),
        _ => Vec::new(),
    };
    let most = match mood {
        Mood::Boundless => usize::MAX,
        Mood::Sparing(few) => few.min(most),
        Mood::Honest
        | Mood::Gone
        | Mood::Silent
        | Mood::Garbage(_)
        | Mood::BindResult(_)
        | Mood::SearchResult(_) => most,
    };
    let code = if answers.len() > most { 4 } else { 0 };
    answers.truncate(most);
    if let Some(port) = state.lock().unwrap().refer_to {
        let place = format!("ldap://127.0.0.1:{port}/ou=people,dc=x??sub");
        answers.push(sequence(0x73, &[text(OCTETS, &place)]));
    }
    answers.push(result(0x65, code, ""));
    answers
}
