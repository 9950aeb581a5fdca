//! Connections of HTTP/2 between two requests: what keeps them open, and how they end.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::http2::{END_HEADERS, GET_ROOT, GOAWAY, HEADERS, PING, connect, frame, get, next_frame};
use crate::world::Server;

/// A flag of `PING` and `SETTINGS`.
const ACK: u8 = 1;

/// Longer than anything here takes, whatever else the machine does.
const BOUND: Duration = Duration::from_secs(30);

fn with_times(header: u32, idle: u32) -> Server {
    let limits = format!(r#""headerSeconds": {header}, "idleSeconds": {idle}"#);
    Server::with(&format!(r#""listen": {{"metrics": "127.0.0.1:0"}}, "limits": {{{limits}}}"#))
}

fn is_cut_for(server: &Server, reason: &str) -> Option<String> {
    server.metric(&format!("reposerver_connections_cut_total{{reason=\"{reason}\"}}"))
}

/// Reads frames until the connection ends; returns their kinds. Pings are answered or not.
fn rest(stream: &mut TcpStream, answers: bool) -> Vec<u8> {
    stream.set_read_timeout(Some(BOUND)).unwrap();
    let mut kinds = Vec::new();
    let began = Instant::now();
    while let Ok((kind, flags, payload)) = next_frame(stream) {
        if answers && kind == PING && flags & ACK == 0 {
            let _ended = stream.write_all(&frame(PING, ACK, 0, &payload));
        }
        kinds.push(kind);
    }
    assert!(began.elapsed() < BOUND, "the connection never ended: {kinds:?}");
    kinds
}

#[test]
fn control_frames_between_requests_are_no_slow_head() {
    let server = with_times(1, 600);
    let mut stream = connect(&server, &[]);
    let began = Instant::now();
    let mut answered = 0;
    // Three times as long as a head may take, before the first request and after it.
    for second in [3, 6] {
        while began.elapsed() < Duration::from_secs(second) {
            stream.write_all(&frame(PING, 0, 0, b"anybody?")).unwrap();
            loop {
                let (kind, flags, payload) = next_frame(&mut stream).unwrap();
                assert_ne!(kind, GOAWAY);
                if kind == PING && flags & ACK != 0 {
                    assert_eq!(payload, b"anybody?");
                    break;
                }
            }
            answered += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        stream.write_all(&get(u32::try_from(second).unwrap() * 2 + 1, b"/healthz")).unwrap();
        while next_frame(&mut stream).unwrap().0 != HEADERS {}
    }
    assert!(answered > 2);
    assert_eq!(is_cut_for(&server, "slow-head"), None);
}

#[test]
fn an_idle_connection_is_told_before_it_ends() {
    let server = with_times(10, 1);
    let mut stream = connect(&server, &[]);
    stream.write_all(&get(1, b"/healthz")).unwrap();
    let kinds = rest(&mut stream, true);
    assert!(kinds.contains(&HEADERS) && kinds.contains(&GOAWAY), "{kinds:?}");
    assert_eq!(is_cut_for(&server, "idle").as_deref(), Some("1"));
    // Also one that never asked for anything.
    let kinds = rest(&mut connect(&server, &[]), true);
    assert!(kinds.contains(&GOAWAY), "{kinds:?}");
}

#[test]
fn who_does_not_go_when_told_to_is_cut_with_half_a_request_or_without() {
    let server = with_times(1, 1);
    let (half, nothing): (&[u8], &[u8]) = (GET_ROOT, b"");
    for half in [half, nothing] {
        let mut stream = connect(&server, &[]);
        if !half.is_empty() {
            // Without END_HEADERS more of it must follow.
            stream.write_all(&frame(HEADERS, 0, 1, half)).unwrap();
            let mut cut = frame(HEADERS, END_HEADERS, 3, half);
            cut.truncate(10);
            stream.write_all(&cut).unwrap();
        }
        let kinds = rest(&mut stream, false);
        assert!(!kinds.contains(&HEADERS), "{kinds:?}");
    }
    assert_eq!(server.get("/healthz").text(), "ok");
}

#[tokio::test]
async fn a_client_as_programs_have_it_sees_an_orderly_end() {
    let server = with_times(10, 1);
    let stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..3 {
        let request = hyper::Request::get("http://t/healthz").body(Empty::<Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
    }
    let ended = tokio::time::timeout(BOUND, connection).await.unwrap().unwrap();
    assert!(ended.is_ok(), "{ended:?}");
    assert!(sender.is_closed());
}
