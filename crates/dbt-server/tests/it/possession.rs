//! Uploads by checksum alone: bytes that the caller may read need not be sent.

use serde_json::json;

use crate::world::{Reply, Server, WRITABLE, sha256};

const BYTES: &[u8] = b"#!/bin/sh\necho the same for every platform\n";

fn deploy(server: &Server, path: &str, digest: &str, lines: &[&str]) -> Reply {
    let checksum = format!("X-Checksum-Sha256: {digest}");
    server.put_with(path, &[&["X-Checksum-Deploy: true", &checksum], lines].concat(), b"")
}

#[test]
fn bytes_that_are_there_are_published_without_being_sent() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/first", BYTES).status, 201);
    let reply = deploy(&server, "/dbt/second", &sha256(BYTES).to_uppercase(), &[]);
    assert_eq!((reply.status, &reply.json()["sha256"]), (201, &json!(sha256(BYTES))));
    assert_eq!(reply.json()["size"], BYTES.len());
    assert_eq!(server.get("/dbt/second").body, BYTES);
    assert_eq!(deploy(&server, "/dbt/second", &sha256(BYTES), &[]).status, 200);

    // The rules of a write hold all the same.
    deploy(&server, "/dbt/second", &sha256(BYTES), &["If-None-Match: *"])
        .is_refused(412, "precondition-failed");
    deploy(&server, "/dbt/first/below", &sha256(BYTES), &[]).is_refused(409, "path-conflict");
    assert_eq!(server.unfinished(), [""; 0]);
    // The two are files of their own.
    assert_eq!(server.put("/dbt/first", b"other").status, 200);
    assert_eq!(server.get("/dbt/second").body, BYTES);
}

#[test]
fn what_is_not_there_any_more_must_be_sent() {
    let server = Server::start();
    deploy(&server, "/dbt/x", &sha256(BYTES), &[]).is_refused(404, "body-wanted");
    server.put("/dbt/first", BYTES);
    server.put_on_disk("dbt/first", b"changed behind the server's back");
    deploy(&server, "/dbt/x", &sha256(BYTES), &[]).is_refused(404, "body-wanted");
    server.put("/dbt/first", BYTES);
    server.delete("/dbt/first");
    deploy(&server, "/dbt/x", &sha256(BYTES), &[]).is_refused(404, "body-wanted");
    // Files of a version that is not whole are nobody's yet.
    server.put("/dbt-tools/x/1.0.0/linux/amd64/x", BYTES);
    deploy(&server, "/dbt/x", &sha256(BYTES), &[]).is_refused(404, "body-wanted");
    assert_eq!(server.get("/dbt/x").status, 404);
}

#[test]
fn what_came_by_hand_is_found_once_it_was_asked_for_or_hashed() {
    let server = Server::start();
    server.put_on_disk("dbt/first", BYTES);
    deploy(&server, "/dbt/x", &sha256(BYTES), &[]).is_refused(404, "body-wanted");
    assert_eq!(server.get("/dbt/first").body, BYTES);
    assert_eq!(deploy(&server, "/dbt/x", &sha256(BYTES), &[]).status, 201);
    server.put_on_disk("dbt/second", b"by hand too");
    deploy(&server, "/dbt/y", &sha256(b"by hand too"), &[]).is_refused(404, "body-wanted");
    server.command_beside(&["reindex"]);
    assert_eq!(deploy(&server, "/dbt/y", &sha256(b"by hand too"), &[]).status, 201);
    assert_eq!(server.get("/dbt/y").text(), "by hand too");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let server = Server::start();
    server.put("/dbt/first", BYTES);
    let wanted = "X-Checksum-Deploy: true";
    server.put_with("/dbt/x", &[wanted], b"").is_refused(400, "bad-header");
    let checksum = format!("X-Checksum-Sha256: {}", sha256(BYTES));
    server.put_with("/dbt/x", &[wanted, &checksum], b"a body").is_refused(400, "bad-header");
    let md5 = "X-Checksum-Md5: 5d41402abc4b2a76b9719d911017c592";
    server.put_with("/dbt/x", &[wanted, &checksum, md5], b"").is_refused(422, "digest-mismatch");
    assert_eq!(server.get("/dbt/x").status, 404);
    // Not asked for, a checksum is what a body is compared with.
    let line = [checksum.as_str(), "X-Checksum-Deploy: false"];
    server.put_with("/dbt/x", &line, b"").is_refused(422, "digest-mismatch");
}

#[test]
fn knowing_a_checksum_is_no_way_to_read() {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let rule = |name: &str| {
        json!({"name": name, "subjects": [name], "paths": [format!("/dbt-tools/{name}/**")],
               "actions": ["read", "list", "create", "replace"]})
    };
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {}, "policies": {}"#,
        json!(["foo", "bar"].map(token)),
        json!(["foo", "bar"].map(rule)),
    ));
    let ask = |who: &str, method: &str, path: &str, lines: &[&str], body: &[u8]| {
        let authorization = format!("Authorization: Bearer {who}");
        server.send(method, path, &[&[authorization.as_str()], lines].concat(), body)
    };
    assert_eq!(ask("foo", "PUT", "/dbt-tools/foo/secret", &[], BYTES).status, 201);
    let checksum = format!("X-Checksum-Sha256: {}", sha256(BYTES));
    let lines = ["X-Checksum-Deploy: true", checksum.as_str()];
    let known = ask("bar", "PUT", "/dbt-tools/bar/guess", &lines, b"");
    let other = format!("X-Checksum-Sha256: {}", sha256(b"nowhere"));
    let unknown = ask("bar", "PUT", "/dbt-tools/bar/guess", &[lines[0], &other], b"");
    known.is_refused(404, "body-wanted");
    assert_eq!(known.stable_headers(), unknown.stable_headers(), "the answers tell nothing apart");
    assert_eq!(known.json()["detail"], unknown.json()["detail"]);
    assert_eq!(ask("bar", "GET", "/dbt-tools/bar/guess", &[], b"").status, 404);
    assert_eq!(ask("foo", "PUT", "/dbt-tools/foo/again", &lines, b"").status, 201);
    let stranger = server.send("PUT", "/dbt-tools/bar/guess", &lines, b"");
    stranger.is_refused(401, "unauthorised");
}

#[test]
fn older_checksums_that_came_with_the_bytes_are_told_with_them() {
    let server = Server::start();
    let md5 = "5d41402abc4b2a76b9719d911017c592";
    let sha1 = "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d";
    let lines =
        [format!("X-Checksum-Md5: {}", md5.to_uppercase()), format!("X-Checksum-Sha1: {sha1}")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let artifact = "/dbt-tools/x/1.0.0/linux/amd64/x";
    assert_eq!(server.put_with(artifact, &lines, b"hello").status, 201);
    server.put(&format!("{artifact}.asc"), b"sig");
    server.put(&format!("{artifact}.sha256"), sha256(b"hello").as_bytes());
    assert_eq!(server.put("/dbt/plain", b"nobody said").status, 201);

    let told = |server: &Server, path: &str| {
        let reply = server.get(path);
        assert_eq!(reply.status, 200, "{path}");
        let header = |name: &str| reply.header(name).map(str::to_owned);
        [header("x-checksum-md5"), header("x-checksum-sha1")]
    };
    let both = [Some(md5.to_owned()), Some(sha1.to_owned())];
    assert_eq!(told(&server, artifact), both);
    assert_eq!(told(&server, "/dbt/plain"), [None, None]);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(told(&server, artifact), both, "also after a restart");
    server.command_beside(&["reindex"]);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(told(&server, artifact), both, "and after the index was made anew");
    // They are those of the bytes, wherever those are, and of no others.
    server.put_on_disk("dbt/copy", b"hello");
    assert_eq!(told(&server, "/dbt/copy"), both);
    server.put_on_disk("dbt/copy", b"other");
    assert_eq!(told(&server, "/dbt/copy"), [None, None]);
    // What did not match was never kept.
    let line = format!("X-Checksum-Md5: {md5}");
    server.put_with("/dbt/y", &[&line], b"world").is_refused(422, "digest-mismatch");
    assert_eq!(server.put("/dbt/y", b"world").status, 201);
    assert_eq!(told(&server, "/dbt/y"), [None, None]);
}
