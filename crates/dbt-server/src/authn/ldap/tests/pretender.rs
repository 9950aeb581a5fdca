//! A directory with a few people, which may answer whatever it likes.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::super::ber::{self, Element};

/// How a directory answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Mood {
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
}

struct State {
    mood: Mood,
    connections: usize,
    binds: Vec<String>,
    refer_to: Option<u16>,
}

/// A directory. It lets everybody sign in without a password, as RFC 4513 allows.
pub(super) struct Pretender {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Pretender {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { mood: Mood::Honest, connections: 0, binds: Vec::new(), refer_to: None };
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

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn be(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
    }

    pub(super) fn refer_to(&self, port: u16) {
        self.state.lock().unwrap().refer_to = Some(port);
    }

    pub(super) fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Returns the names that signed in, or tried to.
    pub(super) fn take_binds(&self) -> Vec<String> {
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
            Mood::Honest | Mood::BindResult(_) | Mood::SearchResult(_) => {}
        }
        let (id, rest) = Element::first(&message).unwrap();
        let (operation, _controls) = Element::first(rest).unwrap();
        let answers = match operation.tag {
            0x60 => vec![bind(operation, mood, state)],
            0x63 => search(operation, mood, state),
            0x77 => vec![result(0x78, 2, "no TLS here")],
            _ => return,
        };
        for answer in answers {
            let id = ber::number(ber::INTEGER, id.number().unwrap());
            if stream.write_all(&ber::parts(ber::SEQUENCE, &[id, answer])).is_err() {
                return;
            }
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).ok()?;
    if head[0] != ber::SEQUENCE {
        return None;
    }
    let mut length = usize::from(head[1]);
    if length >= 0x80 {
        let mut bytes = vec![0; length & 0x7f];
        stream.read_exact(&mut bytes).ok()?;
        length = ber::big_endian(&bytes);
    }
    let mut content = vec![0; length];
    stream.read_exact(&mut content).ok()?;
    Some(content)
}

fn result(tag: u8, code: u8, message: &str) -> Vec<u8> {
    ber::parts(
        tag,
        &[
            ber::element(ber::ENUMERATED, &[code]),
            ber::text(ber::OCTETS, ""),
            ber::text(ber::OCTETS, message),
        ],
    )
}

fn bind(operation: Element<'_>, mood: Mood, state: &Mutex<State>) -> Vec<u8> {
    let parts = operation.inside().unwrap();
    let (dn, password) = (parts[1].text().unwrap(), parts[2].text().unwrap());
    state.lock().unwrap().binds.push(dn.to_owned());
    if let Mood::BindResult(code) = mood {
        return result(0x61, code, "");
    }
    let known = [
        ("cn=search,dc=x", "search"),
        ("uid=alice,ou=people,dc=x", "wonderland"),
        ("uid=bob,ou=people,dc=x", "builder"),
    ];
    match password {
        "" => result(0x61, 0, ""),
        _ if dn.starts_with("uid=locked,") => result(0x61, 53, "locked"),
        _ if known.contains(&(dn, password)) => result(0x61, 0, ""),
        _ => result(0x61, 49, ""),
    }
}

fn search(operation: Element<'_>, mood: Mood, state: &Mutex<State>) -> Vec<Vec<u8>> {
    if let Mood::SearchResult(code) = mood {
        return vec![result(0x65, code, "elsewhere")];
    }
    let parts = operation.inside().unwrap();
    let base = parts[0].text().unwrap();
    let most = parts[3].number().unwrap() as usize;
    assert_eq!((parts[1].number(), parts[2].number()), (Some(2), Some(0)), "no alias is followed");
    // Compares, as a directory does: nothing in a value has a meaning.
    let wanted = parts[6].inside().unwrap()[1].text().unwrap();
    let entry = |dn: &str, values: &[&str]| {
        let values: Vec<_> = values.iter().map(|value| ber::text(ber::OCTETS, value)).collect();
        let attribute = ber::parts(
            ber::SEQUENCE,
            &[ber::text(ber::OCTETS, "CN"), ber::parts(ber::SET, &values)],
        );
        ber::parts(0x64, &[ber::text(ber::OCTETS, dn), ber::parts(ber::SEQUENCE, &[attribute])])
    };
    let person = |name: &str| entry(&format!("uid={name},ou=people,dc=x"), &[]);
    let mut answers = match (base, wanted) {
        ("ou=people,dc=x", "alice" | "bob" | "locked") => vec![person(wanted)],
        ("ou=people,dc=x", "twin") => vec![person("twin-a"), person("twin-b")],
        ("ou=people,dc=x", "crowd") => vec![person("a"), person("b"), person("c")],
        ("ou=people,dc=x", "nameless") => vec![entry("", &[])],
        ("ou=groups,dc=x", "uid=alice,ou=people,dc=x") => {
            vec![
                entry("cn=admins,ou=groups,dc=x", &["admins"]),
                entry("cn=staff,ou=groups,dc=x", &["staff"]),
            ]
        }
        _ => Vec::new(),
    };
    let code = if answers.len() > most { 4 } else { 0 };
    answers.truncate(most);
    if let Some(port) = state.lock().unwrap().refer_to {
        let place = format!("ldap://127.0.0.1:{port}/ou=people,dc=x??sub");
        answers.push(ber::parts(0x73, &[ber::text(ber::OCTETS, &place)]));
    }
    answers.push(result(0x65, code, ""));
    answers
}
