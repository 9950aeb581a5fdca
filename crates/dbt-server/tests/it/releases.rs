//! Releases: all platforms of a version appear in one step, or none.

use serde_json::{Value, json};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE, sha256};

const PLATFORMS: [&str; 3] = ["darwin/arm64", "linux/amd64", "linux/arm64"];

fn post(server: &Server, path: &str, body: &Value) -> Reply {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.send("POST", &format!("/-/api/v1/{path}"), &[AUTHORIZED], body.as_bytes())
}

/// Begins a release of `x` and returns its id.
fn begin(server: &Server, version: &str) -> String {
    let reply = post(server, "releases", &json!({ "tool": "x", "version": version }));
    assert_eq!(reply.status, 201, "{reply:?}");
    let id = reply.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("/-/api/v1/releases/{id}").as_str()));
    id
}

fn look(server: &Server, id: &str) -> Reply {
    server.send("GET", &format!("/-/api/v1/releases/{id}"), &[AUTHORIZED], b"")
}

fn put(server: &Server, path: &str, bytes: &[u8]) {
    let reply = server.put(path, bytes);
    assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
    assert_eq!(reply.json()["published"], false, "{path}");
}

fn put_platform(server: &Server, version: &str, platform: &str) {
    let artifact = format!("/dbt-tools/x/{version}/{platform}/x");
    put(server, &artifact, platform.as_bytes());
    put(server, &format!("{artifact}.asc"), b"sig");
    put(server, &format!("{artifact}.sha256"), sha256(platform.as_bytes()).as_bytes());
}

#[test]
fn all_platforms_of_a_release_appear_when_it_is_committed() {
    let server = Server::start();
    let id = begin(&server, "1.0.0");
    put(&server, "/dbt-tools/x/1.0.0/description.txt", b"what it is for");
    for platform in PLATFORMS {
        put_platform(&server, "1.0.0", platform);
        assert_eq!(server.get("/dbt-tools/").status, 404);
    }
    let state = look(&server, &id).json();
    assert_eq!(state["state"], "open");
    let whole = |it: &Value| (it["platform"].clone(), it["whole"].clone());
    let shown: Vec<_> = state["platforms"].as_array().unwrap().iter().map(whole).collect();
    assert_eq!(shown, PLATFORMS.map(|platform| (json!(platform), json!(true))));

    let committed = post(&server, &format!("releases/{id}/commit"), &Value::Null);
    assert_eq!((committed.status, &committed.json()["state"]), (200, &json!("published")));
    for platform in PLATFORMS {
        assert_eq!(server.get(&format!("/dbt-tools/x/1.0.0/{platform}/x")).text(), platform);
    }
    assert_eq!(server.get("/dbt-tools/x/1.0.0/description.txt").status, 200);
    assert_eq!(server.drafts(), [""; 0]);
    assert!(server.log().contains(r#""outcome":"release published""#), "{}", server.log());
}

#[test]
fn a_release_that_is_not_whole_is_not_committed() {
    let server = Server::start();
    let id = begin(&server, "1.0.0");
    post(&server, &format!("releases/{id}/commit"), &Value::Null)
        .is_refused(409, "release-incomplete");
    put_platform(&server, "1.0.0", "linux/amd64");
    put(&server, "/dbt-tools/x/1.0.0/darwin/arm64/x", b"binary");
    let reply = post(&server, &format!("releases/{id}/commit"), &Value::Null);
    reply.is_refused(409, "release-incomplete");
    let missing = json!(["darwin/arm64/x.sha256", "darwin/arm64/x.asc"]);
    assert_eq!(reply.json()["waitingFor"], missing);
    assert_eq!(server.tree(), [""; 0]);

    let abandon = format!("/-/api/v1/releases/{id}");
    assert_eq!(server.send("DELETE", &abandon, &[AUTHORIZED], b"").status, 204);
    assert_eq!(server.drafts(), [""; 0]);
    look(&server, &id).is_refused(404, "not-found");
}

#[test]
fn a_release_adds_to_a_version_that_is_there_and_survives_a_restart() {
    let server = Server::start();
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"before");
    let id = begin(&server, "1.0.0");
    assert_eq!(begin(&server, "1.0.0"), id, "asked again, it is the same release");
    put_platform(&server, "1.0.0", "darwin/arm64");
    let server = Server::on(server.kill(), WRITABLE);
    put_platform(&server, "1.0.0", "linux/arm64");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/linux/arm64/x").status, 404);
    let committed = post(&server, &format!("releases/{id}/commit"), &Value::Null);
    assert_eq!(committed.status, 200, "{committed:?}");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/linux/amd64/x").text(), "before");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/linux/arm64/x").text(), "linux/arm64");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/darwin/arm64/x").text(), "darwin/arm64");
}

#[test]
fn what_is_no_release_is_refused_in_words() {
    let server = Server::start();
    for (body, words) in [
        (json!({ "tool": "x" }), "version"),
        (json!({ "tool": "x", "version": "../1.0.0" }), "`version` is not a version"),
        (json!({ "tool": "../x", "version": "1.0.0" }), "`tool` is not the name of a tool"),
        (json!({ "tool": "x", "version": "1.0.0", "platform": 1 }), "platform"),
        (json!([]), "cannot be read"),
    ] {
        let reply = post(&server, "releases", &body);
        reply.is_refused(400, "bad-body");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{detail}");
    }
    let long = json!({ "tool": "x".repeat(20_000), "version": "1.0.0" });
    post(&server, "releases", &long).is_refused(400, "bad-body");
    assert_eq!(server.drafts(), [""; 0]);
}

#[test]
fn releases_are_for_writers() {
    let server = Server::start();
    let id = begin(&server, "1.0.0");
    let body = json!({ "tool": "y", "version": "1.0.0" }).to_string();
    for (method, path, body) in [
        ("POST", "releases".to_owned(), body.as_str()),
        ("GET", format!("releases/{id}"), ""),
        ("DELETE", format!("releases/{id}"), ""),
        ("POST", format!("releases/{id}/commit"), ""),
    ] {
        let path = format!("/-/api/v1/{path}");
        server.send(method, &path, &[], body.as_bytes()).is_refused(401, "unauthorised");
    }
    look(&server, "unknown").is_refused(404, "not-found");
    assert_eq!(look(&server, &id).status, 200);
    let closed = Server::with("");
    assert_eq!(closed.send("POST", "/-/api/v1/releases", &[], b"{}").status, 405);
}

#[test]
fn dbt_itself_can_be_released() {
    let server = Server::start();
    for body in [json!({ "version": "4.0.0" }), json!({ "tool": "dbt", "version": "4.0.0" })] {
        let reply = post(&server, "releases", &body);
        assert_eq!((reply.status, &reply.json()["path"]), (201, &json!("/dbt/4.0.0/")));
    }
}

#[test]
fn a_release_whose_answer_was_lost_is_answered_as_published() {
    let server = Server::start();
    let id = begin(&server, "1.0.0");
    put_platform(&server, "1.0.0", "linux/amd64");
    let commit = |server: &Server| post(server, &format!("releases/{id}/commit"), &Value::Null);
    let first = commit(&server);
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(first.json()["state"], "published");
    for again in [commit(&server), look(&server, &id)] {
        assert_eq!((again.status, again.json()), (200, first.json()));
    }
    let server = Server::on(server.kill(), WRITABLE);
    let again = commit(&server);
    assert_eq!((again.status, again.json()), (200, first.json()), "after a restart too");

    // It is over: nothing of it can be given up, and the next one of the version is another.
    let path = format!("/-/api/v1/releases/{id}");
    server.send("DELETE", &path, &[AUTHORIZED], b"").is_refused(404, "not-found");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/linux/amd64/x").text(), "linux/amd64");
    let next = begin(&server, "1.0.0");
    assert_ne!(next, id);
    put_platform(&server, "1.0.0", "darwin/arm64");
    assert_eq!(commit(&server).json()["state"], "published", "of the one that is asked for");
    assert_eq!(server.get("/dbt-tools/x/1.0.0/darwin/arm64/x").status, 404);
    assert_eq!(look(&server, &next).json()["state"], "open");
}

#[test]
fn what_is_known_of_a_published_release_goes_after_a_day() {
    let server = Server::start();
    let id = begin(&server, "1.0.0");
    put_platform(&server, "1.0.0", "linux/amd64");
    assert_eq!(post(&server, &format!("releases/{id}/commit"), &Value::Null).status, 200);
    let place = server.kill();
    let known = place.root().join(format!(".reposerver/released/{id}"));
    let mut about: Value = serde_json::from_slice(&std::fs::read(&known).unwrap()).unwrap();
    about["expires"] = json!(about["expires"].as_u64().unwrap() - 24 * 60 * 60);
    std::fs::write(&known, about.to_string()).unwrap();
    let server = Server::on(place, WRITABLE);
    server.eventually("forgotten", |server| look(server, &id).status == 404);
    assert!(!known.exists());
}

#[test]
fn strangers_are_not_told_which_releases_there_are() {
    let server = Server::start();
    let open = begin(&server, "1.0.0");
    let published = begin(&server, "2.0.0");
    put_platform(&server, "2.0.0", "linux/amd64");
    let done = post(&server, &format!("releases/{published}/commit"), &Value::Null);
    assert_eq!(done.status, 200, "{done:?}");
    for id in [open.as_str(), &published, "unknown", "..", "%2e%2e", ".x", "a%2fb"] {
        for (method, end) in [("GET", ""), ("DELETE", ""), ("POST", "/commit")] {
            let path = format!("/-/api/v1/releases/{id}{end}");
            let asked = |lines: &[&str]| server.send(method, &path, lines, b"");
            if id.contains(['.', '%']) {
                assert!((300..500).contains(&asked(&[AUTHORIZED]).status), "{method} {path}");
                continue;
            }
            asked(&[]).is_refused(401, "unauthorised");
            asked(&["Authorization: Bearer wrong"]).is_refused(401, "unauthorised");
        }
    }
    let unknown = |method: &str, end: &str| {
        let path = format!("/-/api/v1/releases/unknown{end}");
        server.send(method, &path, &[AUTHORIZED], b"").is_refused(404, "not-found");
    };
    unknown("GET", "");
    unknown("DELETE", "");
    unknown("POST", "/commit");
    assert_eq!(look(&server, &open).json()["state"], "open");
}
