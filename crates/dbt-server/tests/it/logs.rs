//! The log: a line for each request, in two forms, and nothing in it that is secret.

use std::io::{Read as _, Write as _};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE};

fn lines_of(server: &Server, path: &str) -> Vec<serde_json::Value> {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str(line).ok());
    lines
        .filter(|line: &serde_json::Value| line["target"] == "access" && line["path"] == path)
        .collect()
}

fn line_of(server: &Server, path: &str) -> serde_json::Value {
    server.eventually("logged", |server| !lines_of(server, path).is_empty());
    lines_of(server, path).pop().unwrap()
}

#[test]
fn each_request_has_a_line_that_says_what_was_asked_and_what_came_of_it() {
    let server = Server::start();
    let reply = server.put("/dbt/latest", b"1.0.0");
    let line = line_of(&server, "/dbt/latest");
    assert_eq!(line["request"].as_str(), reply.header("x-request-id"));
    assert_eq!((&line["method"], &line["route"]), (&"PUT".into(), &"upload".into()));
    assert_eq!((&line["status"], &line["peer"]), (&201.into(), &"127.0.0.1".into()));
    assert_eq!(line["subject"], "static-token:static-token");
    assert_eq!(line["bytes"].as_u64(), Some(reply.body.len() as u64));
    assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["at"].is_string());
    server.get("/dbt/");
    let line = line_of(&server, "/dbt/");
    assert_eq!((&line["route"], &line["status"]), (&"listing".into(), &200.into()));
    assert!(line["subject"].is_null());
}

#[test]
fn an_answer_that_was_not_taken_is_told_from_one_that_was() {
    let server = Server::start();
    let size = 64 * 1024 * 1024;
    server.put_on_disk("dbt/large", &vec![0; size]);
    let mut stream = server.connect();
    stream.write_all(b"GET /dbt/large HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    drop(stream);
    let line = line_of(&server, "/dbt/large");
    assert_eq!(line["whole"], false, "{line}");
    assert!(line["bytes"].as_u64().unwrap() < size as u64);
    server.put_on_disk("dbt/small", b"x");
    server.get("/dbt/small");
    assert_eq!(line_of(&server, "/dbt/small")["whole"], true);
}

#[test]
fn nothing_secret_is_logged_in_either_form() {
    for format in ["json", "text"] {
        let server = Server::with(&format!(r#"{WRITABLE}, "log": {{"format": "{format}"}}"#));
        let lines = [
            "Authorization: Bearer planted-bearer",
            "Cookie: session=planted-cookie",
            "X-Api-Key: planted-header",
            "Referer: https://example.com/?token=planted-referer",
        ];
        server.send("PUT", "/dbt/x?token=planted-query", &lines, b"planted-body");
        server.get("/dbt/?access_token=planted-query");
        let basic = "Authorization: Basic cGxhbnRlZC11c2VyOnBsYW50ZWQtcGFzc3dvcmQ=";
        server.send("PUT", "/dbt/x", &[basic], b"x");
        server.put("/dbt/latest", b"1.0.0");
        server.eventually("logged", |server| server.log().contains("/dbt/latest"));
        server.eventually("all", |server| server.log().matches("PUT").count() >= 3);
        let log = server.log();
        for secret in ["planted", "cGxhbnRl", "open-sesame", "Bearer", "Basic "] {
            assert!(!log.contains(secret), "{format}: {secret} in {log}");
        }
        let is_json = log.lines().all(|line| line.starts_with('{'));
        assert_eq!(is_json, format == "json", "{log}");
    }
}

#[test]
fn a_path_cannot_forge_a_line_of_the_log() {
    let server = Server::with(&format!(r#"{WRITABLE}, "log": {{"format": "text"}}"#));
    let mut stream = server.connect();
    let forged = "GET /dbt/%0A2026-01-01T00:00:00Z%20ERROR%1b[31m HTTP/1.1\r\nHost: t\r\n\r\n";
    stream.write_all(forged.as_bytes()).unwrap();
    let status = Reply::read(&mut stream, false).status;
    assert!(matches!(status, 400 | 404), "{status}");
    server.eventually("logged", |server| server.log().contains("%0A2026"));
    assert!(!server.log().contains('\u{1b}'));
    assert!(!server.log().lines().any(|line| line.starts_with("2026-01-01")));
    assert_eq!(server.send("GET", "/dbt/", &[AUTHORIZED], b"").status, 404);
}
