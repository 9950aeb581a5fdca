//! What a server answers, through the real client: heads, redirects, lengths, encodings.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::settings::Network;
use dbt_client::source::{self, Answer, Ask, Connector, Patience, Source};
use dbt_client::url::RepositoryUrl;
use dbt_core::repo_path::RepoPath;
use dbt_core::secret::Secret;

use crate::input::{Input, parts};

/// What stands for the server's own address in an answer.
const PORT: &[u8] = b"PORT";

/// What a secure connection begins with.
const TLS: u8 = 0x16;

/// The most bytes that are asked for.
const LIMIT: u64 = 4096;

/// The most requests for one thing: four attempts, with three redirects each, and a second
/// connection where the first was closed.
const REQUESTS: usize = 40;

/// Asks a server that answers each request with the next part of the input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let question = input.byte();
    let mut answers = parts(input.0);
    answers.truncate(8);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a port");
    let address = listener.local_addr().unwrap();
    let port = address.port().to_string();
    let answers: Vec<Vec<u8>> =
        answers.iter().map(|answer| replaced(answer, PORT, port.as_bytes())).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(&listener, &answers, &over));
        asked(question, address, &answers);
        over.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(address);
        let heads = serving.join().expect("the server panics with words");
        let elsewhere = matches!(question % 4, 1 | 3);
        only_what_was_meant(&heads, address, elsewhere);
    });
}

/// No request goes to another origin; where the question allows it, a secure one. `localhost` is
/// another origin than its address.
fn only_what_was_meant(heads: &[String], address: SocketAddr, elsewhere: bool) {
    assert!(heads.len() <= REQUESTS, "{} requests", heads.len());
    for head in heads {
        if head.as_bytes() == [TLS] {
            assert!(elsewhere, "this does not leave its origin");
            continue;
        }
        let lower = head.to_ascii_lowercase();
        let host = lower.lines().find_map(|line| line.strip_prefix("host: "));
        assert_eq!(host, Some(address.to_string().as_str()), "{head}");
        assert_eq!(lower.matches("authorization:").count(), 1, "{head}");
    }
}

fn asked(question: u8, address: SocketAddr, answers: &[Vec<u8>]) {
    let url: RepositoryUrl = format!("http://{address}/dbt").parse().unwrap();
    let token = SecretValue::fixed("token", Secret::new("hunter2".to_owned()));
    let credentials = Credentials::bearer([url.origin().unwrap().clone()], token);
    let connector = Connector::new(&Network::default(), None, "dbt/0.0.0");
    let source = source::open(&url, &connector, &credentials);
    let path: RepoPath = "a/b".parse().unwrap();
    let patience = Patience {
        connect: Duration::from_millis(20),
        first_byte: Duration::from_secs(1),
        deadline: Some(Instant::now() + Duration::from_secs(1)),
        stall: Duration::from_secs(1),
        ..Patience::for_artifact(1.0)
    };
    match question % 4 {
        0 => document(&*source, &path, Ask::document(LIMIT, &patience), answers),
        1 => {
            let ask = Ask::document(LIMIT, &patience).from_anywhere();
            document(&*source, &path, ask.unless(Some("\"1\"".to_owned())), answers);
        }
        2 => {
            if let Ok(listing) = source.list(&path, &patience) {
                assert!(listing.names().all(|name| !name.contains('/') && name != ".."));
            }
        }
        _ => artifact(&*source, &path, &patience, answers),
    }
}

fn document(source: &dyn Source, path: &RepoPath, ask: Ask, answers: &[Vec<u8>]) {
    let conditional = ask.etag.is_some();
    match source.get(path, &ask) {
        Ok(Answer::Document { bytes, etag: _ }) => {
            assert!(bytes.len() as u64 <= LIMIT);
            let start = bytes.trim_ascii_start().to_ascii_lowercase();
            assert!(!start.starts_with(b"<html"), "a page is not a document");
            whole(&bytes, answers);
        }
        Ok(Answer::NotModified) => assert!(conditional, "nobody asked whether it is"),
        Err(error) => assert!(!format!("{error} {error:?}").contains("hunter2")),
    }
}

fn artifact(source: &dyn Source, path: &RepoPath, patience: &Patience, answers: &[Vec<u8>]) {
    let Ok(opened) = source.open(path, 3, Some("\"1\""), patience) else { return };
    assert!(opened.offset == 0 || opened.offset == 3, "{opened:?}");
    let (length, offset) = (opened.length, opened.offset);
    let mut bytes = Vec::new();
    if opened.reader.take(1 << 20).read_to_end(&mut bytes).is_ok() {
        // A range that says another length than its body has is found by who copies (`download`).
        let framed =
            |it: &Vec<u8>| said_length(&String::from_utf8_lossy(it).to_ascii_lowercase()).is_some();
        assert!(
            !answers.iter().all(framed)
                || length.is_none_or(|it| it == offset + bytes.len() as u64),
            "{length:?} {bytes:?}"
        );
        whole(&bytes, answers);
    }
}

/// A body without an encoding is what one answer holds, and as long as it says.
fn whole(bytes: &[u8], answers: &[Vec<u8>]) {
    let lower: Vec<String> =
        answers.iter().map(|it| String::from_utf8_lossy(it).to_ascii_lowercase()).collect();
    if lower.iter().any(|it| it.contains("encoding")) {
        return;
    }
    let holds = |answer: &Vec<u8>| {
        bytes.is_empty() || answer.windows(bytes.len()).any(|window| window == bytes)
    };
    assert!(answers.iter().any(holds), "{bytes:?} came from nowhere");
    if let [only] = lower.as_slice()
        && let Some(said) = said_length(only)
    {
        assert_eq!(bytes.len(), said, "a body that ends too early is no body");
    }
}

/// Returns the length that the head of an answer in lower case says, if it says one.
fn said_length(answer: &str) -> Option<usize> {
    let (head, _body) = answer.split_once("\r\n\r\n")?;
    // Where a line ends otherwise, so may the head.
    if head.replace("\r\n", "").contains(['\r', '\n']) {
        return None;
    }
    let mut lines = head.split("\r\n").filter_map(|line| line.strip_prefix("content-length:"));
    let said = lines.next()?.trim().parse().ok()?;
    lines.next().is_none().then_some(said)
}

/// Answers connection after connection, each with one answer, and returns the heads that came.
fn serve(listener: &TcpListener, answers: &[Vec<u8>], over: &AtomicBool) -> Vec<String> {
    let mut heads = Vec::new();
    loop {
        let (mut stream, _peer) = listener.accept().expect("loopback accepts");
        if over.load(Ordering::SeqCst) {
            return heads;
        }
        let _set = stream.set_read_timeout(Some(Duration::from_secs(1)));
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n")
            && head != [TLS]
            && matches!(stream.read(&mut byte), Ok(1))
        {
            head.extend(byte);
        }
        if head.is_empty() {
            continue;
        }
        if let Some(answer) = answers.get(heads.len().min(answers.len().saturating_sub(1))) {
            // The client may have heard enough.
            let _cut = stream.write_all(answer);
        }
        heads.push(String::from_utf8_lossy(&head).into_owned());
    }
}

fn replaced(text: &[u8], what: &[u8], by: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(what.len()).position(|window| window == what) {
        bytes.extend(&rest[..at]);
        bytes.extend(by);
        rest = &rest[at + what.len()..];
    }
    bytes.extend(rest);
    bytes
}
