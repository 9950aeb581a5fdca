//! What answers mean: statuses, pages where data is due, limits, retries.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dbt_client::auth::Credentials;
use dbt_client::settings::Network;
use dbt_client::source::{
    self, Answer, Ask, Cancel, Class, Connector, Failure, FetchError, Patience, Source,
};
use dbt_client::url::RepositoryUrl;
use dbt_core::repo_path::RepoPath;

use crate::server::{Step, TestServer, head, ok, reply};

pub(crate) fn connector() -> Arc<Connector> {
    Connector::new(&Network::default(), None, "dbt/4.0.0")
}

pub(crate) fn open(url: &RepositoryUrl) -> Box<dyn Source> {
    source::open(url, &connector(), &Credentials::none())
}

pub(crate) fn path(text: &str) -> RepoPath {
    text.parse().unwrap()
}

pub(crate) fn patience() -> Patience {
    Patience::without_cached_copy(1.0)
}

/// Asks for `/repo/file` with room for 1,000 bytes.
pub(crate) fn get(server: &TestServer) -> Result<Answer, FetchError> {
    open(&server.repository()).get(&path("file"), &Ask::document(1000, &patience()))
}

pub(crate) fn text(answer: Answer) -> String {
    match answer {
        Answer::Document { bytes, .. } => String::from_utf8(bytes).unwrap(),
        Answer::NotModified => "(not modified)".to_owned(),
    }
}

/// Answers everything with one answer, and compares what becomes of it.
#[track_caller]
fn check(answer: Vec<Step>, class: Class, words: &str) {
    let server = TestServer::start(move |_request| answer.clone());
    let error = get(&server).unwrap_err();
    assert_eq!(said(&error), words);
    assert_eq!(error.class(), class);
}

/// Returns an error and its causes, without the address.
pub(crate) fn said(error: &FetchError) -> String {
    let mut words = vec![error.to_string().replace(error.url(), "URL")];
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.join(": ")
}

#[test]
fn a_document_is_read_and_the_server_is_told_who_reads() {
    let server = TestServer::start(|_request| ok("words"));
    assert_eq!(text(get(&server).unwrap()), "words");
    let request = server.requests().remove(0);
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/repo/file"));
    assert_eq!(request.header("user-agent"), Some("dbt/4.0.0"));
    assert_eq!(request.header("authorization"), None);
}

#[test]
fn names_are_escaped_in_requests() {
    let server = TestServer::start(|_request| ok(""));
    let source = open(&server.repository());
    source.get(&path("a b/c?d#e%2e"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(server.paths(), ["/repo/a%20b/c%3Fd%23e%252e"]);
}

#[test]
fn a_document_that_is_the_same_is_not_sent_again() {
    let server = TestServer::start(|request| match request.header("if-none-match") {
        Some("W/\"1\"") => reply(304, &[("ETag", "W/\"1\"")], ""),
        _ => reply(200, &[("ETag", "W/\"1\"")], "words"),
    });
    let source = open(&server.repository());
    let ask = Ask::document(10, &patience());
    let Answer::Document { etag, .. } = source.get(&path("file"), &ask).unwrap() else {
        panic!("the first answer has no document");
    };
    let again = source.get(&path("file"), &ask.unless(etag)).unwrap();
    assert_eq!(again, Answer::NotModified);
}

#[test]
fn not_modified_is_no_answer_to_an_unconditional_request() {
    let words = "failed to read `URL`: the server gave an unexpected answer (304)";
    check(reply(304, &[], ""), Class::Outage, words);
}

#[test]
fn statuses_are_told_apart() {
    let cases = [
        (401, Class::SignIn, "the server wants to know who asks (401)"),
        (403, Class::Forbidden, "access is denied (403)"),
        (404, Class::NotFound, "there is no such file or directory (404)"),
        (410, Class::NotFound, "there is no such file or directory (404)"),
        (204, Class::Outage, "the server gave an unexpected answer (204)"),
        (206, Class::Outage, "the server gave an unexpected answer (206)"),
        (418, Class::Outage, "the server gave an unexpected answer (418)"),
    ];
    for (status, class, words) in cases {
        let answer = vec![Step::Send(head(status, &[("Content-Length", "0")]))];
        check(answer, class, &format!("failed to read `URL`: {words}"));
    }
}

#[test]
fn an_error_names_the_request_as_the_server_does() {
    let words = "failed to read `URL` (request r-17): access is denied (403)";
    check(reply(403, &[("X-Request-Id", "r-17")], "no"), Class::Forbidden, words);
    let words = "failed to read `URL`: access is denied (403)";
    check(reply(403, &[("X-Request-Id", "two words")], "no"), Class::Forbidden, words);
}

#[test]
fn the_page_of_a_captive_portal_is_not_taken_for_data() {
    let page = "\r\n<!DOCTYPE html><html><body>Welcome, guest";
    let words =
        "failed to read `URL`: `127.0.0.1` answered with a page (text/html) instead of data";
    check(reply(200, &[("Content-Type", "text/html")], page), Class::Outage, words);

    let server = TestServer::start(move |_request| ok(page));
    let source = open(&server.repository());
    let error = source.open(&path("tool"), 0, None, &patience()).unwrap_err();
    assert!(matches!(error.failure(), Failure::Html { .. }), "{error:?}");
    let error = source.list(&path("tool"), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
}

#[test]
fn a_head_of_an_answer_may_have_16_kib() {
    let answer = |length: usize| {
        let policy = "x".repeat(length);
        reply(200, &[("Content-Security-Policy", &*policy)], "read")
    };
    let server = TestServer::start(move |_request| answer(15 * 1024));
    assert_eq!(text(get(&server).unwrap()), "read");
    for length in [17 * 1024, 100 * 1024] {
        let server = TestServer::start(move |_request| answer(length));
        let error = get(&server).unwrap_err();
        assert!(said(&error).contains("the answer is malformed"), "{}", said(&error));
    }
}

#[test]
fn a_document_stops_at_its_limit() {
    let words = "failed to read `URL`: the answer has more than 1000 bytes";
    check(ok([b'x'; 1001]), Class::Refused, words);
    check(reply(200, &[], vec![b'x'; 5_000_000]), Class::Refused, words);

    // Without a length, and without an end.
    let mut endless = vec![Step::Send(head(200, &[]))];
    endless.extend((0..200).map(|_| Step::Send(vec![b'x'; 4096])));
    endless.push(Step::Wait(Duration::from_mins(1)));
    check(endless, Class::Refused, words);
}

#[test]
fn a_compressed_document_stops_at_its_limit_too() {
    // A million zeros, compressed by gzip to a thousand bytes.
    let bomb = gzip_of_zeros();
    assert!(bomb.len() < 2000);
    let words = "failed to read `URL`: the answer has more than 1000 bytes";
    check(reply(200, &[("Content-Encoding", "gzip")], bomb), Class::Refused, words);
}

fn gzip_of_zeros() -> Vec<u8> {
    let zeros = "head -c 1000000 /dev/zero | gzip -c";
    Command::new("sh").args(["-c", zeros]).output().unwrap().stdout
}

#[test]
fn an_answer_that_ends_early_is_truncated_however_often_it_is_asked_for() {
    let mut short = head(200, &[("Content-Length", "10")]);
    short.extend_from_slice(b"12345");
    let words = "failed to read `URL`: the answer ended after 5 of 10 bytes";
    check(vec![Step::Send(short), Step::Close], Class::Outage, words);
}

#[test]
fn what_passes_is_tried_again() {
    let broken = vec![Step::Reset];
    let busy = reply(429, &[("Retry-After", "0")], "");
    let down = reply(503, &[], "<html>down");
    let server = TestServer::answering(vec![broken, busy, down, ok("words")]);
    assert_eq!(text(get(&server).unwrap()), "words");
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn what_a_server_sends_beyond_an_answer_is_not_taken_for_the_next_one() {
    let server = TestServer::start(|request| {
        let mut steps = ok(&request.path);
        if request.path.ends_with("/first") {
            // Late enough that the connection is kept.
            steps.extend([Step::Wait(Duration::from_millis(300)), Step::Send(b"more".to_vec())]);
        }
        steps
    });
    let repository = open(&server.repository());
    for name in ["first", "second", "third"] {
        let answer = repository.get(&path(name), &Ask::document(1000, &patience()));
        assert_eq!(text(answer.unwrap()), format!("/repo/{name}"));
    }
    let paths: Vec<String> = server.requests().into_iter().map(|request| request.path).collect();
    assert_eq!(paths, ["/repo/first", "/repo/second", "/repo/second", "/repo/third"]);
}

#[test]
fn what_does_not_pass_is_tried_four_times_and_what_is_decided_once() {
    let server = TestServer::start(|_request| reply(500, &[("Retry-After", "0")], ""));
    let error = get(&server).unwrap_err();
    assert_eq!(said(&error), "failed to read `URL`: the server failed (500)");
    assert_eq!(server.requests().len(), 4);

    let server = TestServer::start(|_request| reply(404, &[], ""));
    get(&server).unwrap_err();
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_wants_peace_is_left_alone() {
    let server = TestServer::start(|_request| reply(503, &[("Retry-After", "3600")], ""));
    let error = get(&server).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_hours(1)));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_missing_repository_is_an_outage_and_a_missing_tool_is_not() {
    let server = TestServer::start(|_request| reply(404, &[], "404 page not found\n"));
    let source = open(&server.repository());
    let error = source.list(&RepoPath::root(), &patience()).unwrap_err();
    assert_eq!(said(&error), "failed to list `URL`: there is no repository here (404)");
    assert_eq!(error.class(), Class::Outage);
    let error = source.list(&path("tool"), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
    assert_eq!(server.paths(), ["/repo/", "/repo/tool/"]);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = TestServer::start(|_request| reply(404, &[], "none"));
    let source = open(&server.repository());
    for _ in 0..3 {
        source.get(&path("file"), &Ask::document(10, &patience())).unwrap_err();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn no_more_than_four_requests_are_under_way_to_one_server() {
    let server = TestServer::start(|_request| {
        let mut slow = vec![Step::Wait(Duration::from_millis(50))];
        slow.extend(ok("words"));
        slow
    });
    let source = open(&server.repository());
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| source.get(&path("file"), &Ask::document(10, &patience())).unwrap());
        }
    });
    assert_eq!(server.requests().len(), 12);
    assert!(server.most_at_once() <= 4, "{} at once", server.most_at_once());
}

#[test]
fn cancelled_work_asks_nobody() {
    let server = TestServer::start(|_request| ok("words"));
    let cancel = Cancel::default();
    let ask = Ask::document(10, &patience().cancelled_by(cancel.clone()));
    cancel.cancel();
    let error = open(&server.repository()).get(&path("file"), &ask).unwrap_err();
    assert!(matches!(error.failure(), Failure::Cancelled));
    assert!(server.requests().is_empty());
}

#[test]
fn nobody_listening_is_an_outage_in_words() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://127.0.0.1:{port}/repo").parse().unwrap();
    let error = open(&url).list(&RepoPath::root(), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
    assert!(matches!(error.failure(), Failure::Connect { .. }), "{error:?}");
    assert!(said(&error).starts_with("failed to list `URL`: cannot connect: "), "{}", said(&error));
}

#[test]
fn a_name_that_does_not_exist_is_an_outage_in_words() {
    let url = "http://no-such-host.invalid/repo".parse().unwrap();
    let error = open(&url).list(&RepoPath::root(), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
    let words = "failed to list `URL`: the name `no-such-host.invalid` cannot be resolved: ";
    assert!(said(&error).starts_with(words), "{}", said(&error));
}

#[test]
fn what_is_not_http_is_an_outage_in_words() {
    let garbage = vec![Step::Send(b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n".to_vec()), Step::Close];
    let server = TestServer::start(move |_request| garbage.clone());
    let error = get(&server).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
    assert!(said(&error).contains("the answer is malformed"), "{}", said(&error));
}

/// A program that is ended when the test is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn pythons_file_server_is_a_repository() {
    let directory = tempfile::tempdir().unwrap();
    let version = directory.path().join("my tool/1.0.0/linux/amd64");
    std::fs::create_dir_all(&version).unwrap();
    std::fs::create_dir_all(directory.path().join("my tool/v2.0.0-rc.1")).unwrap();
    std::fs::write(version.join("my tool"), "#!/bin/sh\n").unwrap();
    let started = Command::new("python3")
        .args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"])
        .arg(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = started else { return };
    let mut line = String::new();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let _running = Running(child);
    let port = line.split(' ').find_map(|word| word.parse::<u16>().ok()).unwrap();

    let source = open(&format!("http://127.0.0.1:{port}").parse().unwrap());
    let listing = source.list(&path("my tool"), &patience()).unwrap();
    assert_eq!(listing.directories().collect::<Vec<_>>(), ["1.0.0", "v2.0.0-rc.1"]);
    assert_eq!(listing.versions().len(), 2);
    let tool = path("my tool/1.0.0/linux/amd64/my tool");
    let answer = source.get(&tool, &Ask::document(100, &patience())).unwrap();
    assert_eq!(text(answer), "#!/bin/sh\n");
    let error = source.list(&path("none"), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::NotFound);
}
