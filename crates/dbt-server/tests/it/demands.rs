//! What a configuration can demand of writers: a precondition, a length, and no more than their
//! share of the uploads.

use std::io::Write as _;

use serde_json::json;

use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE, looked_through, sha256};

/// `ci` may change the marker only if it says what it saw, and its tool as it likes; `root` may do
/// everything.
fn members() -> String {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let (tokens, everything) = (json!(["ci", "root"].map(token)), ["create", "replace", "delete"]);
    let policies = json!([
        {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
        {"name": "marker", "subjects": ["ci"], "paths": ["/dbt/latest/**"], "actions": everything,
         "requirePrecondition": true},
        {"name": "new files", "subjects": ["ci"], "paths": ["/dbt/notes/**"], "actions": ["create"]},
        {"name": "new bytes", "subjects": ["ci"], "paths": ["/dbt/notes/**"], "actions": ["replace"],
         "requirePrecondition": true},
    ]);
    format!(
        r#""authTypePut": "static-token", "tokens": {tokens},
        "auth": {{"roles": {{"admin": ["root"]}}}}, "policies": {policies}"#
    )
}

fn ask(server: &Server, who: &str, method: &str, path: &str, lines: &[&str], body: &[u8]) -> Reply {
    let authorization = format!("Authorization: Bearer {who}");
    server.send(method, path, &[&[authorization.as_str()], lines].concat(), body)
}

#[test]
fn where_a_rule_demands_a_precondition_a_write_without_one_is_refused_before_its_body() {
    let server = Server::with(&members());
    let put = |lines: &[&str], body: &[u8]| ask(&server, "ci", "PUT", "/dbt/latest", lines, body);
    let refused = put(&[], b"1.0.0");
    refused.is_refused(428, "precondition-required");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`If-Match`") && detail.contains("`If-None-Match: *`"), "{detail}");
    // What is no condition is none.
    put(&["If-Unmodified-Since: yesterday"], b"1").is_refused(428, "precondition-required");
    assert_eq!(server.tree(), [""; 0]);

    let mut waiting = server.connect();
    let head = "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer ci\r\n\
                Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n";
    waiting.write_all(head.as_bytes()).unwrap();
    Reply::read(&mut waiting, false).is_refused(428, "precondition-required");

    assert_eq!(put(&["If-None-Match: *"], b"1.0.0").status, 201);
    put(&["If-None-Match: *"], b"1.0.1").is_refused(412, "precondition-failed");
    put(&[], b"1.0.0").is_refused(428, "precondition-required");
    let current = format!("If-Match: \"{}\"", sha256(b"1.0.0"));
    assert_eq!(put(&[&current], b"1.0.1").status, 200);
    assert_eq!(server.get("/dbt/latest").text(), "1.0.1");

    let delete = |lines: &[&str]| ask(&server, "ci", "DELETE", "/dbt/latest", lines, b"");
    delete(&[]).is_refused(428, "precondition-required");
    delete(&[&current]).is_refused(412, "precondition-failed");
    assert_eq!(server.get("/dbt/latest").status, 200);
    let current = format!("If-Match: \"{}\"", sha256(b"1.0.1"));
    assert_eq!(delete(&[&current]).status, 204);
    server.eventually("recorded", |server| server.log().contains("demands a precondition"));
}

#[test]
fn a_rule_that_demands_one_takes_nothing_from_those_whom_another_rule_permits() {
    let server = Server::with(&members());
    assert_eq!(ask(&server, "root", "PUT", "/dbt/latest", &[], b"1.0.0").status, 201);
    assert_eq!(ask(&server, "root", "DELETE", "/dbt/latest", &[], b"").status, 204);
    // Nobody else is told what a rule would demand of others.
    let stranger = server.send("PUT", "/dbt/latest", &[], b"1");
    stranger.is_refused(401, "unauthorised");
    ask(&server, "ci", "PUT", "/dbt/other", &[], b"1").is_refused(403, "forbidden");
}

#[test]
fn creating_may_be_free_where_replacing_takes_a_precondition() {
    let server = Server::with(&members());
    let put = |lines: &[&str], body: &[u8]| ask(&server, "ci", "PUT", "/dbt/notes/x", lines, body);
    assert_eq!(put(&[], b"one").status, 201);
    assert_eq!(put(&[], b"one").status, 200, "the same bytes again replace nothing");
    put(&[], b"two").is_refused(428, "precondition-required");
    assert_eq!(server.get("/dbt/notes/x").text(), "one");
    let current = format!("If-Match: \"{}\"", sha256(b"one"));
    assert_eq!(put(&[&current], b"two").status, 200);
}

#[test]
fn a_demand_is_explained_and_one_that_means_nothing_stops_the_start() {
    let said = |arguments: &[&str]| {
        let place = arguments.iter().fold(Place::new(), |place, word| place.argument(word));
        let output = looked_through(&mut place.command(&members()));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        said(&["explain", "ci", "DELETE", "/dbt/latest"]),
        "allowed: `ci` may `delete` `/dbt/latest` by the rule \u{201c}marker\u{201d}, \
         with `If-Match` or `If-None-Match`\n"
    );
    let checked = said(&["check-config"]);
    assert!(checked.contains("policies[1].requirePrecondition = true  ("), "{checked}");
    let refusal = Place::new().refusal(
        r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "x"}, "policies": [{"name": "p",
        "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read"], "requirePrecondition": true}]"#,
    );
    assert!(refusal.contains("`policies.p.requirePrecondition` is about"), "{refusal}");
}

#[test]
fn an_upload_must_say_its_length_where_that_is_configured() {
    let server = Server::with(&format!(r#"{WRITABLE}, "limits": {{"requireLength": true}}"#));
    let chunked = format!(
        "PUT /dbt/x HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nTransfer-Encoding: chunked\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    let mut stream = server.connect();
    stream.write_all(chunked.as_bytes()).unwrap();
    let reply = Reply::read(&mut stream, false);
    reply.is_refused(411, "length-required");
    assert!(reply.text().contains("limits.requireLength"), "{}", reply.text());
    assert!(server.tree().is_empty() && server.unfinished().is_empty());
    assert_eq!(server.put("/dbt/x", b"1").status, 201);
    assert_eq!(server.put("/dbt/empty", b"").status, 201);
}

#[test]
fn nobody_takes_all_uploads_there_are() {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let tokens = json!(["greedy", "other"].map(token));
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {tokens},
        "limits": {{"maxUploads": 3, "maxUploadsPerCaller": 2}}"#
    ));
    let begin = |who: &str, path: &str| {
        let mut stream = server.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {who}\r\nContent-Length: 2\r\n\r\n1"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut running = [begin("greedy", "/dbt/a"), begin("greedy", "/dbt/b")];
    server.eventually("begun", |server| server.unfinished().len() == 2);
    let reply = ask(&server, "greedy", "PUT", "/dbt/c", &[], b"1");
    reply.is_refused(429, "too-many-uploads");
    assert_eq!(reply.header("retry-after"), Some("5"));
    assert_eq!(ask(&server, "other", "PUT", "/dbt/c", &[], b"1").status, 201);

    let third = begin("other", "/dbt/d");
    server.eventually("begun", |server| server.unfinished().len() == 3);
    ask(&server, "other", "PUT", "/dbt/e", &[], b"1").is_refused(503, "busy");
    drop(third);
    for stream in &mut running {
        stream.write_all(b"2").unwrap();
        assert_eq!(Reply::read(stream, false).status, 201);
    }
    assert_eq!(ask(&server, "greedy", "PUT", "/dbt/c", &[], b"2").status, 200, "a slot is free");
    assert_eq!(server.get("/dbt/e").status, 404);
}
