//! Uploads in parts: what came before a connection broke need not be sent again.

use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE, sha256};

fn api(server: &Server, method: &str, path: &str, lines: &[&str], body: &[u8]) -> Reply {
    let lines = [&[AUTHORIZED], lines].concat();
    server.send(method, &format!("/-/api/v1/uploads{path}"), &lines, body)
}

/// Begins an upload and returns the path of it below `uploads`.
pub(crate) fn begin(server: &Server) -> String {
    let reply = api(server, "POST", "", &[], b"");
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(reply.header("upload-offset"), Some("0"));
    let path = format!("/{}", reply.json()["id"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(format!("/-/api/v1/uploads{path}").as_str()));
    path
}

pub(crate) fn append(server: &Server, upload: &str, offset: usize, part: &[u8]) -> Reply {
    api(server, "PATCH", upload, &[&format!("Upload-Offset: {offset}")], part)
}

fn offset(server: &Server, upload: &str) -> usize {
    let reply = api(server, "HEAD", upload, &[], b"");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.header("upload-offset").unwrap().parse().unwrap()
}

pub(crate) fn commit(
    server: &Server,
    upload: &str,
    lines: &[&str],
    path: &str,
    sha256: &str,
) -> Reply {
    let wanted = json!({ "path": path, "sha256": sha256 }).to_string();
    api(server, "POST", &format!("{upload}/commit"), lines, wanted.as_bytes())
}

fn kept(server: &Server) -> usize {
    std::fs::read_dir(server.root().join(".reposerver/uploads")).unwrap().count()
}

#[test]
fn parts_become_a_file_when_they_are_committed() {
    let server = Server::start();
    let upload = begin(&server);
    let first = append(&server, &upload, 0, b"first, ");
    assert_eq!((first.status, first.header("upload-offset")), (204, Some("7")));
    let again = append(&server, &upload, 0, b"first, ");
    again.is_refused(409, "offset-mismatch");
    assert_eq!((again.header("upload-offset"), &again.json()["offset"]), (Some("7"), &json!(7)));
    append(&server, &upload, 8, b"hole").is_refused(409, "offset-mismatch");
    api(&server, "PATCH", &upload, &[], b"x").is_refused(400, "bad-header");
    assert_eq!(append(&server, &upload, 7, b"second").status, 204);
    assert_eq!(offset(&server, &upload), 13);
    assert_eq!((server.tree(), server.get("/dbt/whole").status), (Vec::new(), 404));

    let reply = commit(&server, &upload, &[], "/dbt/whole", &sha256(b"first, second"));
    assert_eq!((reply.status, reply.header("location")), (201, Some("/dbt/whole")), "{reply:?}");
    assert_eq!(reply.json()["sha256"], sha256(b"first, second"));
    assert_eq!(server.get("/dbt/whole").text(), "first, second");
    api(&server, "GET", &upload, &[], b"").is_refused(404, "not-found");
    assert_eq!((kept(&server), server.unfinished()), (0, Vec::new()));
    for outcome in ["upload begun", "created"] {
        let recorded = format!(r#""outcome":"{outcome}""#);
        server.eventually(outcome, |server| server.log().contains(&recorded));
    }
}

#[test]
fn what_came_before_a_connection_broke_stays_and_a_restart_too() {
    let server = Server::start();
    let upload = begin(&server);
    let bytes: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let mut stream = server.connect();
    let head = format!(
        "PATCH /-/api/v1/uploads{upload} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nUpload-Offset: 0\r\n\
         Content-Length: {}\r\n\r\n",
        bytes.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..200_000]).unwrap();
    server.eventually("arrived", |server| offset(server, &upload) == 200_000);
    drop(stream);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(append(&server, &upload, 200_000, &bytes[200_000..]).status, 204);
    let x = "/dbt-tools/x/1.0.0/linux/amd64/x";
    let reply = commit(&server, &upload, &[], x, &sha256(&bytes));
    assert_eq!((reply.status, &reply.json()["published"]), (201, &json!(false)));
    assert_eq!(server.get_as_writer(x).body, bytes);
}

#[test]
fn a_commit_takes_all_that_a_write_takes_and_one_that_fails_leaves_the_upload() {
    let server = Server::start();
    server.put_on_disk("dbt/taken", b"x");
    let upload = begin(&server);
    assert_eq!(append(&server, &upload, 0, b"bytes").status, 204);
    let (right, wrong) = (sha256(b"bytes"), sha256(b"other"));
    for (path, sha256, lines, status, code) in [
        ("/dbt/x", wrong.as_str(), &[][..], 422, "digest-mismatch"),
        ("/dbt/x", "", &[], 400, "bad-body"),
        ("/dbt/x", "abc", &[], 400, "bad-header"),
        ("/dbt/../x", &right, &[], 400, "bad-path"),
        ("dbt/x", &right, &[], 400, "bad-path"),
        ("/dbt/.x", &right, &[], 400, "bad-path"),
        ("/elsewhere", &right, &[], 400, "bad-path"),
        ("/dbt/taken/x", &right, &[], 409, "path-conflict"),
        ("/dbt/taken", &right, &["If-None-Match: *"], 412, "precondition-failed"),
        ("/dbt/x", &right, &["Origin: https://evil.example"], 403, "forbidden"),
    ] {
        commit(&server, &upload, lines, path, sha256).is_refused(status, code);
        assert_eq!(
            (server.tree(), offset(&server, &upload)),
            (vec!["dbt".to_owned(), "dbt/taken".to_owned()], 5)
        );
    }
    for body in
        [json!({"path": "/dbt/x"}), json!([]), json!({"path": "/dbt/x", "sha256": right, "x": 1})]
    {
        let path = format!("{upload}/commit");
        api(&server, "POST", &path, &[], body.to_string().as_bytes()).is_refused(400, "bad-body");
    }
    assert_eq!(commit(&server, &upload, &[], "/dbt/taken", &right).status, 200);
    assert_eq!(server.get("/dbt/taken").text(), "bytes");
}

#[test]
fn a_part_is_what_was_declared_or_it_is_none() {
    let server = Server::with(&format!(r#"{WRITABLE}, "limits": {{"maxUploadBytes": 10}}"#));
    let upload = begin(&server);
    let digest = format!("X-Checksum-Sha256: {}", sha256(b"sent"));
    let lines = ["Upload-Offset: 0", digest.as_str()];
    api(&server, "PATCH", &upload, &lines, b"came").is_refused(422, "digest-mismatch");
    assert_eq!(offset(&server, &upload), 0);
    assert_eq!(api(&server, "PATCH", &upload, &lines, b"sent").status, 204);
    for lines in [
        ["Upload-Offset: 4", "Content-Encoding: gzip"],
        ["Upload-Offset: 4", "Content-Range: bytes 4-5/6"],
    ] {
        let status = api(&server, "PATCH", &upload, &lines, b"x").status;
        assert!(matches!(status, 400 | 415), "{lines:?}: {status}");
    }
    // The limit is of the whole, not of a part.
    append(&server, &upload, 4, b"1234567").is_refused(413, "too-large");
    assert!(offset(&server, &upload) <= 10);
}

#[test]
fn an_upload_is_its_owners_alone() {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let policies = json!([
        {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
        {"name": "one", "subjects": ["one"], "paths": ["/dbt-tools/one/**"], "actions": ["create"]},
        {"name": "two", "subjects": ["two"], "paths": ["/dbt-tools/two/**"], "actions": ["create"]},
    ]);
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {}, "policies": {policies},
        "limits": {{"maxUploadsPerCaller": 2}}"#,
        json!(["one", "two", "reader"].map(token)),
    ));
    let ask = |who: &str, method: &str, path: &str, lines: &[&str], body: &[u8]| {
        let line = format!("Authorization: Bearer {who}");
        let mut all: Vec<&str> = if who.is_empty() { Vec::new() } else { vec![&line] };
        all.extend(lines);
        server.send(method, &format!("/-/api/v1/uploads{path}"), &all, body)
    };
    let id = |reply: &Reply| format!("/{}", reply.json()["id"].as_str().unwrap());
    let upload = id(&ask("one", "POST", "", &[], b""));
    let at_start = ["Upload-Offset: 0"];
    assert_eq!(ask("one", "PATCH", &upload, &at_start, b"secret").status, 204);
    let wanted = json!({"path": "/dbt-tools/two/x", "sha256": sha256(b"secret")}).to_string();
    let commit = format!("{upload}/commit");
    for (method, path, body) in [
        ("GET", &upload, b"".as_slice()),
        ("PATCH", &upload, b"x"),
        ("DELETE", &upload, b""),
        ("POST", &commit, wanted.as_bytes()),
    ] {
        let status = |who: &str| ask(who, method, path, &at_start, body).status;
        assert_eq!(
            ["two", "reader", "wrong", ""].map(status),
            [404, 403, 401, 401],
            "{method} {path}"
        );
    }
    // Neither does it lead to where its owner may not write.
    ask("one", "POST", &commit, &[], wanted.as_bytes()).is_refused(403, "forbidden");
    for path in ["/..", "/%2e%2e", "/lock", "/0000000000000000000000000Z"] {
        let status = ask("one", "GET", path, &[], b"").status;
        assert!(matches!(status, 301 | 404), "{path}: {status}");
    }
    assert_eq!(server.get("/.reposerver/uploads/").status, 404);

    assert_eq!(ask("one", "POST", "", &[], b"").status, 201);
    let third = ask("one", "POST", "", &[], b"");
    third.is_refused(429, "too-many-uploads");
    assert!(third.header("retry-after").is_some());
    assert_eq!(ask("two", "POST", "", &[], b"").status, 201, "others have their own");
    assert_eq!(ask("one", "DELETE", &upload, &[], b"").status, 204);
    ask("one", "DELETE", &upload, &[], b"").is_refused(404, "not-found");
    assert_eq!(ask("one", "POST", "", &[], b"").status, 201);
    assert_eq!(server.tree(), [""; 0]);
}

#[test]
fn an_upload_that_nobody_goes_on_with_is_gone_after_a_day() {
    let server = Server::start();
    let (old, new) = (begin(&server), begin(&server));
    for upload in [&old, &new] {
        assert_eq!(append(&server, upload, 0, b"part").status, 204);
    }
    let expires = api(&server, "GET", &new, &[], b"").json()["expires"].clone();
    assert!(matches!(expires, Value::String(_)), "{expires}");
    let place = server.kill();
    let bytes = place.root().join(format!(".reposerver/uploads{old}/bytes"));
    let file = std::fs::File::options().write(true).open(bytes).unwrap();
    let day = Duration::from_secs(24 * 60 * 60 + 1);
    file.set_modified(dbt_core::clock::Clock::System.now() - day).unwrap();
    let server = Server::on(place, WRITABLE);
    server.eventually("expired", |server| kept(server) == 1);
    api(&server, "GET", &old, &[], b"").is_refused(404, "not-found");
    assert_eq!(offset(&server, &new), 4);
}

#[test]
fn a_commit_whose_answer_was_lost_can_be_repeated() {
    let server = Server::start();
    let (right, other) = (sha256(b"bytes"), sha256(b"other"));
    let create_only = ["If-None-Match: *"];
    let x = "/dbt-tools/x/1.0.0/linux/amd64/x";
    for (path, lines) in [("/dbt/whole", &create_only[..]), (x, &[])] {
        let upload = begin(&server);
        assert_eq!(append(&server, &upload, 0, b"bytes").status, 204);
        let first = commit(&server, &upload, lines, path, &right);
        assert_eq!((first.status, first.header("location")), (201, Some(path)), "{first:?}");
        assert_eq!((kept(&server), server.unfinished()), (0, Vec::new()));

        for sha256 in [right.as_str(), &right.to_uppercase()] {
            let again = commit(&server, &upload, lines, path, sha256);
            assert_eq!((again.status, again.header("location")), (200, Some(path)), "{again:?}");
            assert_eq!((again.json(), again.header("etag")), (first.json(), first.header("etag")));
        }
        // Nothing else comes of it: no other place, no other bytes, no more parts.
        commit(&server, &upload, &[], "/dbt/elsewhere", &right).is_refused(404, "not-found");
        commit(&server, &upload, &[], path, &other).is_refused(404, "not-found");
        append(&server, &upload, 5, b"more").is_refused(404, "not-found");
        assert_eq!(api(&server, "HEAD", &upload, &[], b"").status, 404);
        assert_eq!(server.get("/dbt/elsewhere").status, 404);
    }
}

#[test]
fn a_repeated_commit_tells_what_is_so_now_also_after_a_restart() {
    let server = Server::start();
    let right = sha256(b"bytes");
    let upload = begin(&server);
    assert_eq!(append(&server, &upload, 0, b"bytes").status, 204);
    assert_eq!(commit(&server, &upload, &[], "/dbt/whole", &right).status, 201);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(commit(&server, &upload, &[], "/dbt/whole", &right).status, 200);
    // What somebody else put there, or took away, is not what was committed.
    assert_eq!(server.put("/dbt/whole", b"newer").status, 200);
    commit(&server, &upload, &[], "/dbt/whole", &right).is_refused(404, "not-found");
    assert_eq!(server.get("/dbt/whole").text(), "newer");
    assert_eq!(server.delete("/dbt/whole").status, 204);
    commit(&server, &upload, &[], "/dbt/whole", &right).is_refused(404, "not-found");
    assert_eq!(server.get("/dbt/whole").status, 404);
    assert_eq!(server.put("/dbt/whole", b"bytes").status, 201);
    assert_eq!(commit(&server, &upload, &[], "/dbt/whole", &right).status, 200);

    // A day later nobody asks any more.
    let place = server.kill();
    let about = place.root().join(format!(".reposerver/committed{upload}"));
    let mut text: Value = serde_json::from_slice(&std::fs::read(&about).unwrap()).unwrap();
    text["expires"] = (text["expires"].as_u64().unwrap() - 24 * 60 * 60 - 1).into();
    std::fs::write(&about, text.to_string()).unwrap();
    let server = Server::on(place, WRITABLE);
    server.eventually("forgotten", |_server| !about.exists());
    commit(&server, &upload, &[], "/dbt/whole", &right).is_refused(404, "not-found");
}

#[test]
fn nobody_else_repeats_a_commit() {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let rule = json!([{"name": "all", "subjects": ["one", "two"], "paths": ["/dbt-tools/**"],
                       "actions": ["create"]}]);
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {}, "policies": {rule}"#,
        json!(["one", "two"].map(token)),
    ));
    let ask = |who: &str, path: &str, body: &[u8]| {
        let lines = [&format!("Authorization: Bearer {who}"), "Upload-Offset: 0"];
        let method = if path.ends_with("/commit") || path.is_empty() { "POST" } else { "PATCH" };
        server.send(method, &format!("/-/api/v1/uploads{path}"), &lines, body)
    };
    let upload = format!("/{}", ask("one", "", b"").json()["id"].as_str().unwrap());
    assert_eq!(ask("one", &upload, b"bytes").status, 204);
    let wanted = json!({"path": "/dbt-tools/x/file", "sha256": sha256(b"bytes")}).to_string();
    let commit = format!("{upload}/commit");
    assert_eq!(ask("one", &commit, wanted.as_bytes()).status, 201);
    ask("two", &commit, wanted.as_bytes()).is_refused(404, "not-found");
    assert_eq!(ask("one", &commit, wanted.as_bytes()).status, 200);
}

/// Begins an upload of which is said what it will be.
fn begin_named(server: &Server, path: &str, sha256: &str) -> Reply {
    let wanted = json!({ "path": path, "sha256": sha256 }).to_string();
    api(server, "POST", "", &[], wanted.as_bytes())
}

#[test]
fn an_upload_of_which_was_said_what_it_will_be_is_gone_on_with_by_whoever_begins_it_again() {
    let server = Server::with(&format!(r#"{WRITABLE}, "limits": {{"maxUploadsPerCaller": 3}}"#));
    let (right, other) = (sha256(b"bytes"), sha256(b"other"));
    let id = |reply: &Reply| {
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.json()["id"].as_str().unwrap().to_owned()
    };
    let first = id(&begin_named(&server, "/dbt/x", &right));
    assert_eq!(append(&server, &format!("/{first}"), 0, b"by").status, 204);
    let server = Server::on(
        server.kill(),
        &format!(r#"{WRITABLE}, "limits": {{"maxUploadsPerCaller": 3}}"#),
    );
    // Any number of times, as it is always the same one.
    for sha256 in [&right, &right.to_uppercase(), &right, &right] {
        let again = begin_named(&server, "/dbt/x", sha256);
        assert_eq!((id(&again), again.header("upload-offset")), (first.clone(), Some("2")));
    }
    assert_ne!(id(&begin_named(&server, "/dbt/x", &other)), first);
    assert_ne!(id(&begin_named(&server, "/dbt/y", &right)), first);
    begin_named(&server, "/dbt/z", &right).is_refused(429, "too-many-uploads");
    assert_eq!(append(&server, &format!("/{first}"), 2, b"tes").status, 204);
    assert_eq!(commit(&server, &format!("/{first}"), &[], "/dbt/x", &right).status, 201);
    assert_eq!(server.get("/dbt/x").text(), "bytes");
    let new = begin_named(&server, "/dbt/x", &right);
    assert_eq!(new.header("upload-offset"), Some("0"), "that one is over");
    for (path, sha256, status, code) in [
        ("/dbt/x", "abc", 400, "bad-body"),
        ("/dbt/../x", right.as_str(), 400, "bad-path"),
        ("/elsewhere", &right, 400, "bad-path"),
    ] {
        begin_named(&server, path, sha256).is_refused(status, code);
    }
}

#[test]
fn who_may_not_write_somewhere_is_told_so_before_the_bytes_come() {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let policies = json!([
        {"name": "one", "subjects": ["one"], "paths": ["/dbt-tools/one/**"], "actions": ["create"]},
        {"name": "two", "subjects": ["two"], "paths": ["/dbt-tools/one/**"], "actions": ["create"]},
    ]);
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {}, "policies": {policies}"#,
        json!(["one", "two"].map(token)),
    ));
    let begin = |who: &str, tool: &str| {
        let path = format!("/dbt-tools/{tool}/1.0.0/linux/amd64/{tool}");
        let wanted = json!({"path": path, "sha256": sha256(b"bytes")}).to_string();
        let line = format!("Authorization: Bearer {who}");
        server.send("POST", "/-/api/v1/uploads", &[&line], wanted.as_bytes())
    };
    let ids = ["one", "two"].map(|who| begin(who, "one").json()["id"].clone());
    assert_ne!(ids[0], ids[1], "another's is another's");
    begin("one", "two").is_refused(403, "forbidden");
    assert_eq!(kept(&server), 2);
}
