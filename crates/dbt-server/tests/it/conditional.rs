//! Conditional reads and writes: what cannot be read, or is not certain, never passes for "the same
//! file".

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::clock::Clock;

use crate::world::{Reply, Server, WRITABLE, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

fn modified(path: &Path) -> u64 {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    modified.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn hour() -> Duration {
    Duration::from_hours(1)
}

#[test]
fn a_condition_that_cannot_be_read_is_refused_and_never_ignored() {
    let server = Server::start();
    server.put_on_disk("dbt/latest", b"0123456789");
    let range = ["Range: bytes=5-", "If-Range: \"old\""];
    let get = |path: &str, lines: &[&str]| server.send("GET", path, lines, b"");
    assert_eq!(get("/dbt/latest", &range).status, 200, "another file: all of it");
    for bad in ["If-None-Match: abc", "If-Match: abc", "If-None-Match: \"a\", b", "If-Match: \"a"] {
        for path in ["/dbt/latest", "/dbt/", "/-/api/tools"] {
            let reply = get(path, &[&[bad], &range[..]].concat());
            reply.is_refused(400, "bad-header");
            assert!(reply.text().contains(&bad[..8].to_ascii_lowercase()), "{}", reply.text());
        }
        assert_eq!(server.send("HEAD", "/dbt/latest", &[bad], b"").status, 400, "{bad}");
        server.delete_with("/dbt/latest", &[bad]).is_refused(400, "bad-header");
    }
}

#[test]
fn a_date_counts_when_it_can_be_of_no_other_bytes() {
    let server = Server::start();
    server.put_on_disk("dbt/latest", b"1.0.0");
    let file = server.root().join("dbt/latest");
    let now = Clock::System.now();
    let since = |date: SystemTime| {
        let line = format!("If-Modified-Since: {}", httpdate::fmt_http_date(date));
        server.send("GET", "/dbt/latest", &[&line], b"").status
    };
    // Within this second it may be replaced once more.
    set_modified(&file, now + hour());
    assert_eq!(server.get("/dbt/latest").header("last-modified"), None);
    assert_eq!(since(now + hour()), 200);
    assert_eq!(since(now + 2 * hour()), 200);

    let old = now - hour();
    set_modified(&file, old);
    let reply = server.get("/dbt/latest");
    assert_eq!(reply.header("last-modified"), Some(httpdate::fmt_http_date(old).as_str()));
    assert_eq!(since(old), 304);
    // It can be older than what the client has: restored, or copied with its date.
    assert_eq!(since(now), 200);
    assert_eq!(since(old - hour()), 200);
    let unchanged = format!("If-Unmodified-Since: {}", httpdate::fmt_http_date(old - hour()));
    server.send("GET", "/dbt/latest", &[&unchanged], b"").is_refused(412, "precondition-failed");
}

#[test]
fn parts_are_sent_for_a_strong_tag_and_never_for_a_date() {
    let server = Server::start();
    server.put_on_disk("dbt/digits", b"0123456789");
    set_modified(&server.root().join("dbt/digits"), Clock::System.now() - hour());
    let first = server.get("/dbt/digits");
    let (tag, date) =
        (first.header("etag").unwrap(), first.header("last-modified").unwrap().to_owned());
    let part = |condition: &str| -> Reply {
        let line = format!("If-Range: {condition}");
        server.send("GET", "/dbt/digits", &["Range: bytes=5-", &line], b"")
    };
    assert_eq!((part(tag).status, part(tag).text().as_str()), (206, "56789"));
    for other in [date.as_str(), &format!("W/{tag}"), "\"other\"", "nonsense"] {
        assert_eq!((part(other).status, part(other).text().as_str()), (200, "0123456789"));
    }
}

#[test]
fn what_replaces_a_file_has_a_later_date() {
    let server = Server::start();
    let ahead = Clock::System.now() + hour();
    let file = server.root().join("dbt/latest");
    server.put_on_disk("dbt/latest", b"old");
    set_modified(&file, ahead);
    let before = modified(&file);
    assert_eq!(server.put("/dbt/latest", b"new").status, 200);
    assert_eq!(modified(&file), before + 1);
    assert_eq!(server.put("/dbt/latest", b"newer").status, 200);
    assert_eq!(modified(&file), before + 2);
    let tag = server.get("/dbt/latest").header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", sha256(b"newer")));

    // Also where it is seen long after it was sent.
    let file = server.root().join(&X[1..]);
    for (ending, bytes) in
        [("", "old".to_owned()), (".asc", "sig".to_owned()), (".sha256", sha256(b"old"))]
    {
        server.put_on_disk(&format!("{}{ending}", &X[1..]), bytes.as_bytes());
    }
    set_modified(&file, ahead);
    server.put(X, b"first try");
    server.put(X, b"new");
    server.put(&format!("{X}.asc"), b"new sig");
    let last = server.put(&format!("{X}.sha256"), sha256(b"new").as_bytes());
    assert_eq!(last.json()["published"], true);
    assert_eq!(server.get(X).text(), "new");
    assert!(modified(&file) > before, "{} {before}", modified(&file));
}

#[test]
fn a_digest_is_told_only_to_those_who_may_read_it() {
    let blind = "Authorization: Bearer blind";
    let token =
        |name: &str| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(name.as_bytes()));
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "immutable": true, "tokens": [{}, {}],
        "policies": [
            {{"name": "dropping", "subjects": ["blind"], "paths": ["/**"],
             "actions": ["create", "replace", "delete"]}},
            {{"name": "team", "subjects": ["team"], "paths": ["/**"],
             "actions": ["read", "create", "replace", "delete"]}}
        ]"#,
        token("blind"),
        token("team")
    ));
    server.put_on_disk("dbt/latest", b"1.0.0");
    server.put_on_disk(&X[1..], b"binary");
    let team = "Authorization: Bearer team";
    for (who, knows) in [(team, true), (blind, false)] {
        let digests = [sha256(b"1.0.0"), sha256(b"binary")];
        let stale = "If-Match: \"other\"";
        for (reply, code, status) in [
            (
                server.send("PUT", "/dbt/latest", &[who, "If-None-Match: *"], b"x"),
                "precondition-failed",
                412,
            ),
            (server.send("PUT", "/dbt/latest", &[who, stale], b"x"), "precondition-failed", 412),
            (server.send("DELETE", "/dbt/latest", &[who, stale], b""), "precondition-failed", 412),
            (server.send("PUT", X, &[who], b"x"), "immutable-conflict", 409),
        ] {
            reply.is_refused(status, code);
            let told = digests.iter().any(|digest| reply.text().contains(digest));
            assert_eq!(told, knows, "{who}: {}", reply.text());
        }
    }
    assert_eq!(server.send("DELETE", X, &[team], b"").status, 204);
    let gone = server.send("PUT", X, &[blind], b"x");
    gone.is_refused(409, "immutable-conflict");
    assert!(!gone.text().contains(&sha256(b"binary")), "{}", gone.text());
}

#[test]
fn a_slash_at_the_end_names_a_directory_and_never_a_file() {
    let server = Server::with(WRITABLE);
    server.put("/dbt/latest", b"1");
    server.put(X, b"binary");
    for path in ["/dbt/latest/", &format!("{X}/"), "/dbt/truststore/"] {
        assert_eq!(server.delete(path).status, if path.contains("trust") { 403 } else { 404 });
    }
    assert_eq!(server.get("/dbt/latest").text(), "1");
    assert_eq!(server.get_as_writer(X).text(), "binary");
    let said = |server: &Server| server.log().matches("which is deprecated").count();
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    server.put_on_disk("dbt/old/file", b"x");
    assert_eq!(said(&server), 0, "{}", server.log());
    assert_eq!(server.delete("/dbt/old").status, 204);
    server.eventually("said", |server| said(server) == 1);
    let log = server.log();
    let line = log.lines().find(|line| line.contains("deprecated")).unwrap();
    assert!(line.contains("/dbt/old") && line.contains("WARN"), "{line}");
}
