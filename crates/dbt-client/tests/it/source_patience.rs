//! How long servers are waited for.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use dbt_client::source::{Ask, Class, Failure, FetchError, Patience};

use crate::server::{Reply, Step, TestServer, head, ok, reply};
use crate::source_http::{open, path};

const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_mins(1);

/// Asks with these limits, and makes sure that they were kept.
fn get(server: &TestServer, patience: &Patience) -> FetchError {
    let began = Instant::now();
    let ask = Ask::document(1_000_000, patience);
    let error = open(&server.repository()).get(&path("file"), &ask).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(error.class(), Class::Outage);
    error
}

/// Begins an answer, then sends a byte now and then.
fn trickle(pause: Duration) -> Reply {
    let mut steps = vec![Step::Send(head(200, &[("Content-Length", "1000000")]))];
    for _ in 0..500 {
        steps.extend([Step::Send(vec![b'x']), Step::Wait(pause)]);
    }
    steps
}

#[test]
fn a_server_that_does_not_answer_is_given_up() {
    let server = TestServer::start(|_request| vec![Step::Wait(LONG)]);
    let patience = Patience { first_byte: SHORT, ..Patience::for_artifact(1.0) };
    assert!(matches!(get(&server, &patience).failure(), Failure::TimeOver));
}

#[test]
fn a_server_that_stalls_after_its_head_is_given_up() {
    let server = TestServer::start(|_request| {
        vec![Step::Send(head(200, &[("Content-Length", "10")])), Step::Wait(LONG)]
    });
    let patience = Patience { stall: SHORT, first_byte: SHORT, ..Patience::for_artifact(1.0) };
    let error = get(&server, &patience);
    assert!(matches!(error.failure(), Failure::Stall { .. }), "{error:?}");
}

#[test]
fn a_byte_now_and_then_is_a_stall_too() {
    let server = TestServer::start(|_request| trickle(Duration::from_millis(20)));
    let patience = Patience { stall: SHORT, ..Patience::for_artifact(1.0) };
    let error = get(&server, &patience);
    assert_eq!(error.failure().to_string(), "less than 1 KiB/s came for 200 ms");

    // The same while an artifact is read.
    let source = open(&server.repository());
    let mut opened = source.open(&path("file"), 0, None, &patience);
    if let Ok(opened) = &mut opened {
        opened.reader.read_to_end(&mut Vec::new()).unwrap_err();
    }
}

#[test]
fn a_check_ends_at_its_deadline_whatever_trickles_in() {
    let server = TestServer::start(|_request| trickle(Duration::from_millis(5)));
    let patience = Patience { deadline: Some(Instant::now() + SHORT), ..patience_for_ever() };
    assert!(matches!(get(&server, &patience).failure(), Failure::TimeOver));
    // After it, nothing is asked at all.
    let asked = server.requests().len();
    assert!(matches!(get(&server, &patience).failure(), Failure::TimeOver));
    assert_eq!(server.requests().len(), asked);
}

#[test]
fn retries_end_at_the_deadline() {
    let server = TestServer::start(|_request| reply(503, &[("Retry-After", "1")], ""));
    let patience = Patience { deadline: Some(Instant::now() + SHORT), ..patience_for_ever() };
    assert!(matches!(get(&server, &patience).failure(), Failure::Server { status: 503, .. }));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/repo", listener.local_addr().unwrap()).parse().unwrap();
    let patience = Patience { connect: SHORT, ..Patience::for_artifact(1.0) };
    let began = Instant::now();
    let error = open(&url).list(&path("tool"), &patience).unwrap_err();
    assert_eq!(error.failure().to_string(), "there was no connection within 200 ms");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_slow_artifact_that_moves_is_not_given_up() {
    let server = TestServer::start(|_request| {
        let mut steps = vec![Step::Send(head(200, &[("Content-Length", "5120")]))];
        for _ in 0..10 {
            steps.extend([Step::Send(vec![b'x'; 512]), Step::Wait(Duration::from_millis(30))]);
        }
        steps
    });
    let patience =
        Patience { stall: SHORT, first_byte: SHORT, connect: SHORT, ..Patience::for_artifact(1.0) };
    let opened = open(&server.repository()).open(&path("tool"), 0, None, &patience);
    let mut bytes = Vec::new();
    opened.unwrap().reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), 5120);
}

#[test]
fn a_slow_reader_is_not_the_servers_stall() {
    let server = TestServer::start(|_request| ok(vec![b'x'; 300_000]));
    let patience = Patience { stall: SHORT, ..Patience::for_artifact(1.0) };
    let mut opened = open(&server.repository()).open(&path("tool"), 0, None, &patience).unwrap();
    let mut first = [0; 100];
    opened.reader.read_exact(&mut first).unwrap();
    std::thread::sleep(SHORT * 2);
    let mut rest = Vec::new();
    opened.reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 299_900);
}

#[test]
fn the_limits_are_those_of_the_product_and_scale() {
    let seconds = |patience: &Patience| (patience.connect.as_secs(), patience.first_byte.as_secs());
    assert_eq!(seconds(&Patience::with_cached_copy(1.0)), (1, 2));
    assert_eq!(seconds(&Patience::without_cached_copy(1.0)), (3, 5));
    assert_eq!(seconds(&Patience::without_cached_copy(2.0)), (6, 10));
    assert_eq!(seconds(&Patience::for_artifact(f64::NAN)), (3, 5));
    assert_eq!(Patience::for_artifact(2.0).stall, Duration::from_secs(30));
    assert_eq!(Patience::for_artifact(1.0).deadline, None);
    let left = Patience::without_cached_copy(1.0).deadline.unwrap() - Instant::now();
    assert!(left <= Duration::from_secs(15) && left > Duration::from_secs(14));
    // Nonsense does no harm.
    for scale in [0.0, -1.0, 1e300, f64::INFINITY] {
        Patience::with_cached_copy(scale);
    }
}

/// Limits that do not end a test by themselves.
fn patience_for_ever() -> Patience {
    Patience { connect: LONG, first_byte: LONG, stall: LONG, ..Patience::for_artifact(1.0) }
}
