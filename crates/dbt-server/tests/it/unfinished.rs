//! Versions that somebody is uploading: whose they are, and how others get past them.

use serde_json::{Value, json};

use crate::world::{Reply, Server, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// `one` and `two` may create and replace, and `root` may do everything.
fn shared() -> Server {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let policies = json!([
        {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
        {"name": "publishing", "subjects": ["one", "two"], "paths": ["/dbt-tools/**"],
         "actions": ["create", "replace"]},
        {"name": "elsewhere", "subjects": ["two"], "paths": ["/dbt-tools/y/**"], "actions": ["delete"]},
    ]);
    Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {},
        "auth": {{"roles": {{"admin": ["root"]}}}}, "policies": {policies}"#,
        json!(["one", "two", "root", "reader"].map(token)),
    ))
}

fn ask(server: &Server, who: &str, method: &str, path: &str, body: &[u8]) -> Reply {
    let line = format!("Authorization: Bearer {who}");
    let lines: Vec<&str> = if who.is_empty() { Vec::new() } else { vec![&line] };
    server.send(method, path, &lines, body)
}

fn release(server: &Server, who: &str, take_over: bool) -> Reply {
    let wanted = json!({"tool": "x", "version": "1.0.0", "takeOver": take_over}).to_string();
    ask(server, who, "POST", "/-/api/v1/releases", wanted.as_bytes())
}

#[test]
fn others_are_told_to_wait_and_only_those_who_may_end_it_are_told_who_and_how() {
    let server = shared();
    assert_eq!(ask(&server, "one", "PUT", X, b"binary").status, 201);
    for who in ["two", "root"] {
        for reply in [ask(&server, who, "PUT", X, b"mine"), release(&server, who, false)] {
            reply.is_refused(409, "upload-in-progress");
            let problem = reply.json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(problem["expires"].is_string(), "{problem}");
            if who == "root" {
                assert_eq!(problem["owner"], "static-token:one");
                let words = [
                    "`static-token:one` is uploading `/dbt-tools/x/1.0.0/`",
                    "`\"takeOver\": true`",
                ];
                assert!(words.iter().all(|words| detail.contains(words)), "{detail}");
            } else {
                assert_eq!(problem["owner"], Value::Null);
                assert!(!reply.text().contains("static-token:one"), "{detail}");
                assert!(detail.contains("may delete and replace here"), "{detail}");
            }
        }
    }
    // The record knows, whoever asked.
    let recorded = "`static-token:one` is uploading this version";
    server.eventually("recorded", |server| server.log().contains(recorded));
}

#[test]
fn who_may_delete_and_replace_takes_an_upload_over_and_commits_it_or_gives_it_up() {
    let server = shared();
    assert_eq!(ask(&server, "one", "PUT", X, b"binary").status, 201);
    assert_eq!(ask(&server, "one", "PUT", &format!("{X}.asc"), b"sig").status, 201);
    let taken = release(&server, "root", true);
    assert_eq!(taken.status, 201, "{taken:?}");
    let state = taken.json();
    assert_eq!(state["platforms"][0]["waitingFor"], json!(["linux/amd64/x.sha256"]));
    let id = state["id"].as_str().unwrap();
    let recorded = r#""outcome":"release taken over""#;
    server.eventually("recorded", |server| server.log().contains(recorded));

    // Who had it has it no more, and learns no name.
    let late = ask(&server, "one", "PUT", &format!("{X}.sha256"), sha256(b"binary").as_bytes());
    late.is_refused(409, "upload-in-progress");
    assert!(!late.text().contains("root"), "{}", late.text());
    assert_eq!(ask(&server, "one", "GET", X, b"").status, 404);
    assert_eq!(ask(&server, "root", "GET", X, b"").text(), "binary");

    let sum = sha256(b"binary");
    let last = ask(&server, "root", "PUT", &format!("{X}.sha256"), sum.as_bytes());
    assert_eq!((last.status, &last.json()["published"]), (201, &json!(false)));
    let commit = ask(&server, "root", "POST", &format!("/-/api/v1/releases/{id}/commit"), b"");
    assert_eq!(commit.status, 200, "{commit:?}");
    assert_eq!(server.get(X).text(), "binary");

    // The next one is given up, with what is published left as it is.
    let other = "/dbt-tools/x/1.0.0/darwin/arm64/x";
    assert_eq!(ask(&server, "two", "PUT", other, b"half").status, 201);
    let id = release(&server, "root", true).json()["id"].as_str().unwrap().to_owned();
    let given_up = ask(&server, "root", "DELETE", &format!("/-/api/v1/releases/{id}"), b"");
    assert_eq!((given_up.status, server.drafts()), (204, Vec::new()));
    assert_eq!(server.get(X).text(), "binary");
    assert_eq!(ask(&server, "one", "PUT", other, b"anew").status, 201, "it is free again");
}

#[test]
fn an_upload_is_taken_over_by_nobody_else_and_not_by_accident() {
    let server = shared();
    assert_eq!(ask(&server, "one", "PUT", X, b"binary").status, 201);
    release(&server, "two", true).is_refused(403, "forbidden");
    release(&server, "reader", true).is_refused(403, "forbidden");
    release(&server, "wrong", true).is_refused(401, "unauthorised");
    release(&server, "", true).is_refused(401, "unauthorised");
    release(&server, "root", false).is_refused(409, "upload-in-progress");
    assert_eq!(ask(&server, "one", "GET", X, b"").text(), "binary");
    // A release of somebody's goes the same way, and its old id leads nowhere.
    let id = release(&server, "one", false).json()["id"].as_str().unwrap().to_owned();
    let new = release(&server, "root", true).json()["id"].as_str().unwrap().to_owned();
    assert_ne!(id, new);
    let old = ask(&server, "one", "POST", &format!("/-/api/v1/releases/{id}/commit"), b"");
    old.is_refused(404, "not-found");
    // Without anything to take, it is a release like any other.
    let wanted = json!({"tool": "x", "version": "2.0.0", "takeOver": true}).to_string();
    let begun = ask(&server, "root", "POST", "/-/api/v1/releases", wanted.as_bytes());
    assert_eq!((begun.status, &begun.json()["state"]), (201, &json!("open")));
}

fn wanted(server: &Server, who: &str, how: &str) -> Reply {
    let wanted = json!({"tool": "x", "version": "1.0.0", how: true}).to_string();
    ask(server, who, "POST", "/-/api/v1/releases", wanted.as_bytes())
}

#[test]
fn what_was_staged_is_signed_and_committed_by_whoever_may_publish() {
    let server = shared();
    let begun = release(&server, "one", false).json();
    let id = begun["id"].as_str().unwrap();
    ask(&server, "one", "PUT", X, b"binary");
    let sum = sha256(b"binary");
    ask(&server, "one", "PUT", &format!("{X}.sha256"), sum.as_bytes());
    // Until it is staged it is its uploader's.
    wanted(&server, "two", "takeUp").is_refused(404, "not-found");
    let staged = wanted(&server, "one", "staged");
    assert_eq!(staged.status, 201, "{staged:?}");
    assert_eq!(staged.json()["id"], json!(id), "it is the same release");
    assert_eq!(staged.json()["staged"], json!({"by": "static-token:one"}));
    let day = begun["expires"].as_str().unwrap();
    assert!(staged.json()["expires"].as_str().unwrap() > day, "it is kept for longer");
    for path in ["/dbt-tools/", X] {
        assert_eq!(server.get(path).status, 404, "nobody sees it: {path}");
    }

    for (who, status) in [("reader", 403), ("", 401), ("wrong", 401)] {
        assert_eq!(wanted(&server, who, "takeUp").status, status, "{who}");
    }
    assert_eq!(ask(&server, "one", "GET", X, b"").text(), "binary", "nothing has happened");

    let taken = wanted(&server, "two", "takeUp");
    assert_eq!(taken.status, 201, "{taken:?}");
    let state = taken.json();
    assert_eq!(state["staged"]["by"], "static-token:one");
    assert_eq!(state["platforms"][0]["waitingFor"], json!(["linux/amd64/x.asc"]));
    let new = state["id"].as_str().unwrap();
    assert_ne!(new, id);
    assert_eq!(ask(&server, "two", "GET", X, b"").text(), "binary");
    // Nobody changes it behind the back of whoever looks at it.
    ask(&server, "one", "PUT", X, b"other").is_refused(409, "upload-in-progress");
    let path = format!("/-/api/v1/releases/{new}/commit");
    ask(&server, "two", "POST", &path, b"").is_refused(409, "release-incomplete");
    assert_eq!(ask(&server, "two", "PUT", &format!("{X}.asc"), b"sig").status, 201);
    // From now on it is not what was staged, and whoever has it goes on with it.
    wanted(&server, "one", "takeUp").is_refused(404, "not-found");
    let again = wanted(&server, "two", "takeUp").json();
    assert_eq!((&again["id"], &again["staged"]), (&state["id"], &Value::Null));
    assert_eq!(ask(&server, "two", "POST", &path, b"").status, 200);
    assert_eq!(server.get(X).text(), "binary");
    for effect in ["release staged", "staged release taken up"] {
        let recorded = format!(r#""outcome":"{effect}""#);
        server.eventually("recorded", |server| server.log().contains(&recorded));
    }
    wanted(&server, "two", "takeUp").is_refused(404, "not-found");
}

#[test]
fn what_is_wanted_of_a_release_is_one_thing() {
    let server = shared();
    let both = json!({"tool": "x", "version": "1.0.0", "staged": true, "takeUp": true});
    let reply = ask(&server, "one", "POST", "/-/api/v1/releases", both.to_string().as_bytes());
    reply.is_refused(400, "bad-body");
    assert!(reply.text().contains("exclude each other"), "{}", reply.text());
    assert_eq!(server.drafts(), [""; 0]);
}

#[test]
fn what_would_never_be_published_can_be_given_up() {
    let server = shared();
    let id = release(&server, "one", false).json()["id"].as_str().unwrap().to_owned();
    ask(&server, "one", "PUT", X, b"binary");
    ask(&server, "one", "PUT", &format!("{X}.asc"), b"nonsense");
    ask(&server, "one", "PUT", &format!("{X}.sha256"), sha256(b"binary").as_bytes());
    // From now on nothing without a signature of Alice's counts.
    let truststore = dbt_testkit::people::ALICE.certificate();
    server.put_on_disk("dbt/truststore", truststore.as_bytes());
    let path = format!("/-/api/v1/releases/{id}");
    let commit = ask(&server, "one", "POST", &format!("{path}/commit"), b"");
    commit.is_refused(422, "not-publishable");
    assert_eq!(ask(&server, "one", "DELETE", &path, b"").status, 204);
    assert_eq!(server.drafts(), [""; 0]);
}

#[test]
fn the_sender_of_a_release_is_known_before_its_body_is_read() {
    let server = shared();
    let begin = |who: &str, length: &str| {
        let mut stream = server.connect();
        let line =
            if who.is_empty() { String::new() } else { format!("Authorization: Bearer {who}\r\n") };
        let head = format!(
            "POST /-/api/v1/releases HTTP/1.1\r\nHost: t\r\n{line}Expect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut start = String::new();
        let _cut =
            std::io::Read::read_to_string(&mut std::io::Read::take(&mut stream, 12), &mut start);
        start
    };
    for (who, status) in [("", "401"), ("wrong", "401"), ("reader", "403"), ("one", "100")] {
        assert_eq!(begin(who, "1000"), format!("HTTP/1.1 {status}"), "{who}");
    }
    // Of what the body names, it is asked once that is known.
    let wanted = json!({"version": "4.0.0"}).to_string();
    let dbt = ask(&server, "one", "POST", "/-/api/v1/releases", wanted.as_bytes());
    dbt.is_refused(403, "forbidden");
    assert_eq!(server.drafts(), [""; 0]);
}
