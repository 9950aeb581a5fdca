//! Requests that are too large, too slow, or not quite HTTP.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE};

fn with_limits(limits: &str) -> Server {
    Server::with(&format!(r#"{WRITABLE}, "limits": {{{limits}}}"#))
}

#[test]
fn an_upload_over_the_limit_is_refused_declared_or_streamed_and_leaves_nothing() {
    let server = with_limits(r#""maxUploadBytes": 10"#);
    server.put("/dbt/x", b"12345678901").is_refused(413, "too-large");
    let chunked = format!(
        "PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n12345678901\r\n0\r\n\r\n"
    );
    server.raw(chunked.as_bytes()).is_refused(413, "too-large");
    assert!(server.tree().is_empty() && server.unfinished().is_empty());
    assert_eq!(server.put("/dbt/x", b"1234567890").status, 201);
}

#[test]
fn more_uploads_than_allowed_are_asked_to_come_back() {
    let server = with_limits(r#""maxUploads": 1"#);
    let mut first = server.connect();
    let head =
        format!("PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 2\r\n\r\n1");
    first.write_all(head.as_bytes()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    let reply = server.put("/dbt/y", b"1");
    reply.is_refused(503, "busy");
    assert_eq!(reply.header("retry-after"), Some("5"));
    first.write_all(b"2").unwrap();
    assert_eq!(Reply::read(&mut first, false).status, 201);
    assert_eq!(server.put("/dbt/y", b"1").status, 201);
}

#[test]
fn a_client_that_never_finishes_its_head_is_cut() {
    let server = with_limits(r#""headerSeconds": 1"#);
    for start in ["", "P", "PRI * HTTP/2.0", "GET / HTTP/1.1\r\nHost: t\r\nX: "] {
        let mut stream = server.connect();
        stream.write_all(start.as_bytes()).unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
        assert!(began.elapsed() < Duration::from_secs(6), "{start:?}");
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"), "{start:?}");
    }
    let mut kept = server.connect();
    for _ in 0..2 {
        kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        assert_eq!(Reply::read(&mut kept, false).text(), "ok");
        // Longer than a head may take: silence between requests is not a slow head.
        std::thread::sleep(Duration::from_millis(1200));
    }
}

#[test]
fn heads_that_trickle_in_numbers_keep_nobody_from_being_served() {
    let server = with_limits(r#""headerSeconds": 2"#);
    let mut slow: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let mut cut = 0;
    let began = Instant::now();
    while cut < slow.len() && began.elapsed() < Duration::from_secs(20) {
        cut = 0;
        for stream in &mut slow {
            // A byte each time, so that none is ever silent.
            cut += usize::from(stream.write_all(b"G").is_err());
        }
        let asked = Instant::now();
        assert_eq!(server.get("/healthz").text(), "ok");
        assert!(asked.elapsed() < Duration::from_secs(5), "others wait");
    }
    assert_eq!(cut, slow.len(), "some were never cut");
}

#[test]
fn requests_that_two_programs_could_read_differently_are_refused() {
    let server = Server::start();
    let refused = |request: &str| {
        let mut stream = server.connect();
        let _cut = stream.write_all(request.replace("AUTH", AUTHORIZED).as_bytes());
        let mut all = Vec::new();
        let _reset = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(!all.contains("201 Created") && !all.contains("smuggled"), "{request}\n{all}");
    };
    for framing in [
        "Content-Length: 3\r\nContent-Length: 4",
        "Content-Length: -1",
        "Content-Length: 3, 4",
        "Content-Length: 0x3",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: identity, gzip",
        "Transfer-Encoding : chunked",
        "X: y\r\n Content-Length: 3",
    ] {
        refused(&format!(
            "PUT /dbt/x HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAUTH\r\n{framing}\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
    }
    for chunk in [
        "zz\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabc",
        "3\r\nabcdef\r\n0\r\n\r\n",
    ] {
        refused(&format!(
            "PUT /dbt/x HTTP/1.1\r\nHost: t\r\nConnection: close\r\nAUTH\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
        ));
    }
    assert!(server.tree().iter().all(|path| path != "dbt/x"), "{:?}", server.tree());
    server.eventually("discarded", |server| server.unfinished().is_empty());
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let server = Server::start();
    let many = "X-Header: y\r\n".repeat(1000);
    let large = format!("X-Header: {}\r\n", "y".repeat(1024 * 1024));
    for lines in [many, large] {
        let reply = server.raw(format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n").as_bytes());
        assert!(matches!(reply.status, 431 | 0), "{}", reply.status);
    }
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn many_connections_that_ask_for_nothing_keep_nobody_from_being_served() {
    let mut descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    descriptors.current = descriptors.maximum;
    let _as_many_as_allowed =
        rustix::process::setrlimit(rustix::process::Resource::Nofile, descriptors);
    let descriptors = descriptors.maximum.unwrap_or(u64::MAX);
    // Other tests have connections too, and the server needs two descriptors for each.
    let count = usize::try_from(descriptors / 4).unwrap_or(usize::MAX).min(10_000);
    let server = with_limits(r#""maxConnectionsPerClient": 0"#);
    let before = server.peak_memory();
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut stream = server.connect();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        idle.push(stream);
    }
    for stream in &mut idle {
        assert_eq!(Reply::read(stream, false).text(), "ok");
    }
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    let each = server.peak_memory().saturating_sub(before) / count as u64;
    assert!(each < 64 * 1024, "{each} bytes for each of {count} idle connections");
}
