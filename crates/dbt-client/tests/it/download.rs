//! Downloads: whole, bounded, and on after a broken connection.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::sync::Mutex;
use std::time::Duration;

use dbt_client::download::{DownloadError, fetch};
use dbt_client::progress::{Progress, Silent};
use dbt_client::source::{Failure, FetchError, Memory, Patience, Source};
use dbt_core::trust::ARTIFACT_LIMIT;

use crate::server::{Reply, Request, Step, TestServer, head, ok, reply};
use crate::source_http::{open, path, said};

/// What is downloaded: every position has its own bytes.
fn artifact() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn download(source: &dyn Source, limit: u64) -> (Result<u64, DownloadError>, Vec<u8>) {
    let mut file = tempfile::tempfile().unwrap();
    let patience = Patience::for_artifact(1.0);
    let done = fetch(source, &path("tool"), limit, &mut file, &Silent, &patience);
    (done, contents(&mut file))
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Returns what a repository failed with.
fn error(done: Result<u64, DownloadError>) -> FetchError {
    let DownloadError::Fetch(error) = done.unwrap_err() else { panic!("it is not the repository") };
    let words = said(&error);
    assert!(words.starts_with("failed to download `URL`"), "{words}");
    error
}

/// Answers with the artifact from where it is asked, but ends after `count` bytes.
fn partly(request: &Request, etag: Option<&str>, count: usize, ending: Step) -> Reply {
    let artifact = artifact();
    let from = request.header("range").and_then(|range| {
        let same = request.header("if-range") == etag;
        let from = range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok()?;
        same.then_some(from)
    });
    let status = if from.is_some() { 206 } else { 200 };
    let from = from.unwrap_or(0);
    let rest = &artifact[from..];
    let length = rest.len().to_string();
    let range = format!("bytes {from}-{}/{}", artifact.len() - 1, artifact.len());
    let mut headers = vec![("Content-Length", &*length)];
    headers.extend(etag.map(|etag| ("ETag", etag)));
    headers.extend((status == 206).then_some(("Content-Range", &*range)));
    let mut bytes = head(status, &headers);
    bytes.extend_from_slice(&rest[..count.min(rest.len())]);
    vec![Step::Send(bytes), ending]
}

#[test]
fn an_artifact_arrives_whole() {
    let server = TestServer::start(|_request| ok(artifact()));
    let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
    assert_eq!(done.unwrap(), 800_000);
    assert!(bytes == artifact());
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
    assert_eq!(server.requests()[0].header("range"), None);
}

#[test]
fn a_broken_download_goes_on_where_it_was() {
    for ending in [Step::Close, Step::Reset] {
        let server = TestServer::start(move |request| {
            // Time for what was sent before a reset to be read.
            let mut steps = partly(request, Some("\"v1\""), 300_000, Step::Wait(SHORT));
            steps.push(ending.clone());
            steps
        });
        let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
        assert_eq!(done.unwrap(), 800_000);
        assert!(bytes == artifact());
        let requests = server.requests();
        assert!(requests.len() >= 3, "{}", requests.len());
        assert_eq!(requests[1].header("if-range"), Some("\"v1\""));
        assert!(requests[1].header("range").is_some());
    }
}

const SHORT: Duration = Duration::from_millis(30);

#[test]
fn without_a_strong_name_a_broken_download_starts_anew() {
    for etag in [None, Some("W/\"v1\"")] {
        let broken = Mutex::new(2);
        let server = TestServer::start(move |request| {
            let mut left = broken.lock().unwrap();
            let count = if *left > 0 { 300_000 } else { usize::MAX };
            *left -= 1;
            partly(request, etag, count, Step::Close)
        });
        let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
        assert_eq!(done.unwrap(), 800_000);
        assert!(bytes == artifact());
        let requests = server.requests();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.header("range").is_none()));
    }
}

#[test]
fn an_artifact_that_changed_meanwhile_is_downloaded_from_its_beginning() {
    let first = Mutex::new(true);
    let server = TestServer::start(move |request| {
        let was_first = std::mem::replace(&mut *first.lock().unwrap(), false);
        if was_first {
            partly(request, Some("\"v1\""), 300_000, Step::Close)
        } else {
            reply(200, &[("ETag", "\"v2\"")], "something else")
        }
    });
    let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
    assert_eq!(done.unwrap(), 14);
    assert_eq!(bytes, b"something else");
}

#[test]
fn the_rest_of_something_else_is_never_joined() {
    let first = Mutex::new(true);
    let server = TestServer::start(move |request| {
        let was_first = std::mem::replace(&mut *first.lock().unwrap(), false);
        match request.header("range") {
            None if was_first => partly(request, Some("\"v1\""), 300_000, Step::Close),
            None => ok("whole"),
            // Lies: answers the range, though it is of another file.
            Some(_) => partly(
                &Request { headers: lie(request), ..request.clone() },
                Some("\"v2\""),
                usize::MAX,
                Step::Close,
            ),
        }
    });
    let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
    assert_eq!(done.unwrap(), 5);
    assert_eq!(bytes, b"whole");
}

fn lie(request: &Request) -> std::collections::BTreeMap<String, String> {
    let mut headers = request.headers.clone();
    headers.insert("if-range".to_owned(), "\"v2\"".to_owned());
    headers
}

#[test]
fn a_download_that_breaks_every_time_fails_after_the_third_resumption() {
    let server = TestServer::start(|request| partly(request, Some("\"v1\""), 1000, Step::Close));
    let (done, _bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
    let error = error(done);
    let words = "failed to download `URL`: the answer ended after 4000 of 800000 bytes";
    assert_eq!(said(&error), words);
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn an_answer_that_is_longer_than_it_says_ends_where_it_says() {
    let server = TestServer::start(|_request| {
        let mut bytes = head(200, &[("Content-Length", "5")]);
        bytes.extend_from_slice(b"hello, and more");
        vec![Step::Send(bytes), Step::Close]
    });
    let (done, bytes) = download(&*open(&server.repository()), ARTIFACT_LIMIT);
    assert_eq!(done.unwrap(), 5);
    assert_eq!(bytes, b"hello");
}

#[test]
fn an_endless_artifact_stops_at_its_limit() {
    let server = TestServer::start(|_request| {
        let mut steps = vec![Step::Send(head(200, &[]))];
        steps.extend((0..1000).map(|_| Step::Send(vec![b'x'; 4096])));
        steps
    });
    let (done, bytes) = download(&*open(&server.repository()), 100_000);
    assert!(matches!(error(done).failure(), Failure::TooLarge { limit: 100_000 }));
    assert!(bytes.len() <= 100_000);

    // One that says so is not even begun.
    let server = TestServer::start(|_request| ok(vec![b'x'; 100_001]));
    let (done, bytes) = download(&*open(&server.repository()), 100_000);
    assert!(matches!(error(done).failure(), Failure::TooLarge { limit: 100_000 }));
    assert!(bytes.is_empty());
}

#[test]
fn a_stalled_download_is_given_up() {
    let server = TestServer::start(|request| {
        partly(request, Some("\"v1\""), 1000, Step::Wait(Duration::from_mins(1)))
    });
    let mut file = tempfile::tempfile().unwrap();
    let patience = Patience {
        stall: Duration::from_millis(200),
        // Also how long one read may take. A busy machine needs a while for the first byte.
        first_byte: Duration::from_secs(3),
        ..Patience::for_artifact(1.0)
    };
    let source = open(&server.repository());
    let done = fetch(&*source, &path("tool"), ARTIFACT_LIMIT, &mut file, &Silent, &patience);
    let words = error(done).failure().to_string();
    assert!(words.contains("less than 1 KiB/s came"), "{words}");
    assert_eq!(server.requests().len(), 1);
}

/// Remembers what it is told.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Progress for Log {
    fn begin(&self, what: &str, total: Option<u64>) {
        self.0.lock().unwrap().push(format!("begin {what} {total:?}"));
    }
    fn advance(&self, bytes: u64) {
        self.0.lock().unwrap().push(format!("{bytes}"));
    }
    fn end(&self) {
        self.0.lock().unwrap().push("end".to_owned());
    }
}

#[test]
fn progress_is_told_and_always_ended() {
    let memory = Memory::new();
    memory.put(&path("tool"), "hello");
    let mut file = tempfile::tempfile().unwrap();
    let patience = Patience::for_artifact(1.0);
    let log = Log::default();
    fetch(&memory, &path("tool"), 10, &mut file, &log, &patience).unwrap();
    assert_eq!(*log.0.lock().unwrap(), ["begin tool Some(5)", "5", "end"]);

    let log = Log::default();
    fetch(&memory, &path("tool"), 4, &mut file, &log, &patience).unwrap_err();
    assert_eq!(*log.0.lock().unwrap(), ["begin tool Some(5)", "end"]);
    let log = Log::default();
    fetch(&memory, &path("none"), 4, &mut file, &log, &patience).unwrap_err();
    assert!(log.0.lock().unwrap().is_empty());
    assert_eq!(memory.take_requests(), ["open tool", "open tool", "open none"]);
}

#[test]
fn what_was_in_the_file_is_gone() {
    let memory = Memory::new();
    memory.put(&path("tool"), "hello");
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"something longer").unwrap();
    let patience = Patience::for_artifact(1.0);
    fetch(&memory, &path("tool"), 10, &mut file, &Silent, &patience).unwrap();
    assert_eq!(contents(&mut file), b"hello");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_in_words() {
    let memory = Memory::new();
    memory.put(&path("tool"), "hello");
    let mut full = File::options().write(true).open("/dev/full").unwrap();
    let patience = Patience::for_artifact(1.0);
    let done = fetch(&memory, &path("tool"), 10, &mut full, &Silent, &patience);
    match done {
        Err(error @ DownloadError::NoSpace { .. }) => {
            assert_eq!(error.to_string(), "there is no space left for the download");
            assert!(error.hint().unwrap().contains("cache prune"));
        }
        // Truncating a device is refused before it can be full.
        Err(DownloadError::Write { .. }) => {}
        other => panic!("{other:?}"),
    }
}
