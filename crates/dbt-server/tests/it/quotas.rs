//! How much of everything one client, one writer or one directory may have.

use std::io::{Read as _, Write as _};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE};

fn with(limits: &str) -> Server {
    Server::with(&format!(
        r#"{WRITABLE}, "limits": {{{limits}}}, "listen": {{"metrics": "127.0.0.1:0"}}"#
    ))
}

#[test]
fn one_client_does_not_take_all_connections() {
    let server = with(r#""maxConnectionsPerClient": 3"#);
    let mut kept: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut kept {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
        assert_eq!(Reply::read(stream, false).status, 200);
    }
    let mut more = server.connect();
    assert_eq!(more.read(&mut [0; 1]).unwrap_or(0), 0, "closed without a word");
    let turned_away = "reposerver_turned_away_total{reason=\"connections\"}";
    assert_eq!(server.metric(turned_away).as_deref(), Some("1"));
    kept.pop();
    server.eventually("room", |server| server.get("/healthz").status == 200);
}

#[test]
fn a_client_that_asks_without_end_is_told_to_wait() {
    let server = with(r#""requestsPerMinute": 10"#);
    for _ in 0..10 {
        assert_eq!(server.get("/dbt/").status, 404);
    }
    let reply = server.get("/dbt/");
    reply.is_refused(429, "too-many-requests");
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=7).contains(&seconds), "{seconds}");
    // Whoever keeps it running is not told so.
    assert_eq!(server.get("/-/readyz").status, 200);
    server.command_beside(&["reload"]);
}

#[test]
fn a_directory_with_too_many_entries_is_not_listed_and_everything_else_is() {
    let server = with(r#""maxListing": 20"#);
    for number in 0..21 {
        server.put_on_disk(&format!("dbt-tools/x/{number}.0.0/linux/amd64/x"), b"x");
    }
    for path in ["/dbt-tools/x/", "/-/api/tools/x/versions", "/-/api/v1/tools/x"] {
        server.get(path).is_refused(503, "listing-too-long");
    }
    assert_eq!(server.get("/dbt-tools/").status, 200);
    assert_eq!(server.get("/dbt-tools/x/7.0.0/linux/amd64/x").text(), "x");
    assert_eq!(server.delete("/dbt-tools/x/0.0.0/").status, 204);
    assert_eq!(server.get("/dbt-tools/x/").status, 200);
}

#[test]
fn below_a_path_with_a_quota_lies_no_more_than_that() {
    let server = with(r#""quotas": [{"path": "/dbt-tools/x", "bytes": 1000}]"#);
    let x = |version: u32| format!("/dbt-tools/x/{version}.0.0/linux/amd64/x");
    assert_eq!(server.put(&x(1), &[7; 600]).status, 201);
    let reply = server.put(&x(2), &[7; 401]);
    reply.is_refused(507, "over-quota");
    assert!(reply.json()["detail"].as_str().unwrap().contains("1000 bytes"), "{reply:?}");
    // Of unknown length, it is stopped where the quota ends.
    let chunked = |version: u32, bytes: usize| {
        let head = format!(
            "PUT {} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n",
            x(version)
        );
        server.raw(&[head.as_bytes(), &vec![7; bytes], b"\r\n0\r\n\r\n"].concat())
    };
    chunked(2, 401).is_refused(507, "over-quota");
    assert!(server.unfinished().is_empty());
    // What is not published yet counts as well.
    assert_eq!(chunked(2, 300).status, 201);
    server.put(&x(3), &[7; 101]).is_refused(507, "over-quota");
    assert_eq!(server.put("/dbt-tools/xx/1.0.0/linux/amd64/xx", &[7; 5000]).status, 201);
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    assert_eq!(server.put(&x(3), &[7; 700]).status, 201);
    let aborted = "reposerver_uploads_aborted_total{reason=\"too-large\"}";
    assert_eq!(server.metric(aborted).as_deref(), Some("1"));
}

#[test]
fn uploads_at_the_same_time_do_not_share_the_last_room() {
    let server = with(r#""quotas": [{"path": "/dbt-tools", "bytes": 1000}]"#);
    let mut first = server.connect();
    let head = format!(
        "PUT /dbt-tools/x/1.0.0/linux/amd64/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 800\r\n\r\n"
    );
    first.write_all(&[head.as_bytes(), &[7; 100]].concat()).unwrap();
    server.eventually("begun", |server| server.unfinished().len() == 1);
    server.put("/dbt-tools/y/1.0.0/linux/amd64/y", &[7; 201]).is_refused(507, "over-quota");
    assert_eq!(server.put("/dbt-tools/y/1.0.0/linux/amd64/y", &[7; 200]).status, 201);
    drop(first);
    server.eventually("given back", |server| {
        server.put("/dbt-tools/z/1.0.0/linux/amd64/z", &[7; 800]).status == 201
    });
}

#[test]
fn heads_and_slow_bodies_are_bounded_as_configured() {
    let server =
        with(r#""maxHeaderBytes": 8192, "maxHeaders": 10, "bodySeconds": 1, "minBodyBytes": 100"#);
    let lines = "X-A: b\r\n".repeat(11);
    let long = format!("X-A: {}\r\n", "b".repeat(10_000));
    for lines in [lines, long] {
        let reply = server.raw(format!("GET / HTTP/1.1\r\nHost: t\r\n{lines}\r\n").as_bytes());
        assert!(matches!(reply.status, 431 | 0), "{}", reply.status);
    }
    let mut slow = server.connect();
    let head =
        format!("PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 5000\r\n\r\nx");
    slow.write_all(head.as_bytes()).unwrap();
    Reply::read(&mut slow, false).is_refused(408, "too-slow");
    assert!(server.tree().is_empty());
    let aborted = "reposerver_uploads_aborted_total{reason=\"too-slow\"}";
    server.eventually("counted", |server| server.metric(aborted).as_deref() == Some("1"));
}

#[test]
fn a_limit_that_makes_no_sense_stops_the_start() {
    for (limits, words) in [
        (r#""quotas": [{"bytes": 1}]"#, "`limits.quotas[0]` needs a `path`"),
        (r#""quotas": [{"path": "/dbt"}]"#, "`limits.quotas[0]` needs `bytes`"),
        (r#""quotas": [{"path": "/a/../b", "bytes": 1}]"#, "has a bad `path`"),
        (r#""maxListing": -1"#, "wrong value at `limits.maxListing`"),
    ] {
        let said = crate::world::Place::new().refusal(&format!(r#""limits": {{{limits}}}"#));
        assert!(said.contains(words), "{limits}: {said}");
    }
}
