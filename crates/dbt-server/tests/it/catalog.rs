//! The catalog in one document: what is in it, for whom, and how soon.

use serde_json::json;

use crate::world::{Reply, Server, WRITABLE, sha256};

const CATALOG: &str = "/-/api/v1/catalog";

/// Puts what a client takes: an artifact with its companions.
fn put_on_disk(server: &Server, tool: &str, version: &str, platform: &str) {
    let at = format!("dbt-tools/{tool}/{version}/{platform}/{tool}");
    server.put_on_disk(&at, b"binary");
    server.put_on_disk(&format!("{at}.sha256"), sha256(b"binary").as_bytes());
    server.put_on_disk(&format!("{at}.asc"), b"-");
}

fn names(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let tools = reply.json()["tools"].as_array().unwrap().clone();
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn each_tool_has_its_versions_and_the_newest_complete_release_of_each_platform() {
    let server = Server::start();
    for (version, platform) in
        [("1.9.0", "darwin/arm64"), ("1.10.0", "linux/amd64"), ("2.0.0-rc.1", "linux/arm64")]
    {
        put_on_disk(&server, "deploy", version, platform);
    }
    // Without a checksum no client takes it.
    server.put_on_disk("dbt-tools/deploy/1.11.0/linux/amd64/deploy", b"half");
    server.put_on_disk("dbt-tools/deploy/1.11.0/description.txt", b"  Ships it.\n");
    server.put_on_disk("dbt-tools/deploy/withdrawn.json", b"{}");
    server.put_on_disk("dbt-tools/notes.txt", b"no tool");
    server.put_on_disk("dbt-tools/not a tool/1.0.0/x", b"x");

    let reply = server.get(CATALOG);
    let catalog = reply.json();
    let [tool] = catalog["tools"].as_array().unwrap().as_slice() else { panic!("{catalog}") };
    assert_eq!(tool["name"], "deploy");
    assert_eq!(tool["description"], "Ships it.");
    assert_eq!(tool["versions"], json!(["2.0.0-rc.1", "1.11.0", "1.10.0", "1.9.0"]));
    assert_eq!(tool["withdrawn"], json!([]), "what cannot be read withdraws nothing");
    let platforms = tool["platforms"].as_object().unwrap();
    assert_eq!(platforms.len(), 2, "{tool}");
    assert_eq!(platforms["darwin/arm64"]["version"], "1.9.0");
    assert_eq!(platforms["linux/amd64"]["version"], "1.10.0");
    assert_eq!(platforms["linux/amd64"]["size"], 6);
    assert!(platforms["linux/amd64"]["modifiedAt"].is_string());
    assert_eq!(catalog["next"], json!(null));
}

#[test]
fn what_is_withdrawn_is_the_newest_of_nothing() {
    let server = Server::start();
    for version in ["1.9.0", "1.10.0"] {
        put_on_disk(&server, "deploy", version, "linux/amd64");
        let at = format!("dbt-tools/deploy/{version}/description.txt");
        server.put_on_disk(&at, format!("What {version} does.").as_bytes());
    }
    let list = json!({"schema": "dbt.withdrawn/1", "tool": "deploy", "serial": 1, "issued": "2026-01-01T00:00:00Z",
        "versions": [{"version": "1.10.0", "sha256": [], "reason": "bad"}]});
    server.put_on_disk("dbt-tools/deploy/withdrawn.json", list.to_string().as_bytes());
    let tool = server.get(CATALOG).json()["tools"][0].clone();
    assert_eq!(tool["versions"], json!(["1.10.0", "1.9.0"]));
    assert_eq!(tool["withdrawn"], json!(["1.10.0"]));
    assert_eq!(tool["platforms"]["linux/amd64"]["version"], "1.9.0");
    assert_eq!(tool["description"], "What 1.9.0 does.");
}

#[test]
fn it_is_asked_for_conditionally_and_a_publication_is_in_it_at_once() {
    let server = Server::with(WRITABLE);
    put_on_disk(&server, "deploy", "1.0.0", "linux/amd64");
    let first = server.get(CATALOG);
    let line = format!("If-None-Match: {}", first.header("etag").unwrap());
    assert_eq!(server.send("GET", CATALOG, &[&line], b"").status, 304);
    assert_eq!(first.header("cache-control"), Some("no-cache"));

    assert_eq!(server.put("/dbt-tools/deploy/1.0.0/description.txt", b"Ships it.").status, 201);
    let second = server.send("GET", CATALOG, &[&line], b"");
    assert_eq!(second.status, 200);
    assert_eq!(second.json()["tools"][0]["description"], "Ships it.");
    assert_eq!(server.delete("/dbt-tools/deploy/").status, 204);
    assert!(names(&server.get(CATALOG)).is_empty());
}

#[test]
fn what_is_being_uploaded_is_in_nobodys_catalog() {
    let server = Server::with(WRITABLE);
    let at = "/dbt-tools/deploy/1.0.0/linux/amd64/deploy";
    assert_eq!(server.put(at, b"binary").status, 201);
    assert!(names(&server.get(CATALOG)).is_empty());
    assert!(names(&server.get_as_writer(CATALOG)).is_empty());
}

#[test]
fn a_tool_is_shown_to_those_alone_who_may_list_it() {
    let token =
        |name: &str| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(name.as_bytes()));
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": [{}, {}, {}], "policies": [
            {{"name": "open", "subjects": ["anonymous"], "paths": ["/dbt-tools", "/dbt-tools/open/**"],
              "actions": ["read", "list"]}},
            {{"name": "all", "subjects": ["insider"], "paths": ["/**"], "actions": ["read", "list"]}},
            {{"name": "names", "subjects": ["reader"], "paths": ["/dbt-tools", "/dbt-tools/secret"],
              "actions": ["read", "list"]}}]"#,
        token("insider"),
        token("reader"),
        token("nobody"),
    ));
    for tool in ["open", "secret"] {
        put_on_disk(&server, tool, "1.0.0", "linux/amd64");
        let about = format!("dbt-tools/{tool}/1.0.0/description.txt");
        server.put_on_disk(&about, b"What it does.");
    }
    let ask = |who: &str| {
        let line = format!("Authorization: Bearer {who}");
        server.send("GET", CATALOG, &[&line], b"")
    };
    // Each asks after somebody else, and is not shown what that one was.
    assert_eq!(names(&ask("insider")), ["open", "secret"]);
    assert_eq!(names(&server.get(CATALOG)), ["open"]);
    assert_eq!(names(&ask("nobody")), ["open"]);
    assert_eq!(ask("insider").header("cache-control"), Some("private, no-cache"));
    assert_eq!(names(&ask("insider")), ["open", "secret"]);

    let tool = ask("reader").json()["tools"]
        .as_array()
        .unwrap()
        .iter()
        .find(|tool| tool["name"] == "secret")
        .unwrap()
        .clone();
    assert_eq!(tool["versions"], json!(["1.0.0"]), "the directory that may be listed");
    assert_eq!(tool["platforms"], json!({}), "what is below it");
    assert_eq!(tool["description"], json!(null), "what may not be read");
}

#[test]
fn strangers_are_refused_where_the_tools_are_for_some_only() {
    let server = Server::with(
        r#""authGets": true, "authTypeGet": "static-token", "authOptsGet": {"staticToken": "hunter2"}"#,
    );
    put_on_disk(&server, "deploy", "1.0.0", "linux/amd64");
    let reply = server.get(CATALOG);
    assert_eq!(reply.status, 401);
    assert!(!reply.text().contains("deploy"), "{reply:?}");
    let line = "Authorization: Bearer hunter2";
    assert_eq!(names(&server.send("GET", CATALOG, &[line], b"")), ["deploy"]);
}

#[test]
fn many_tools_come_in_parts_and_each_once() {
    let server = Server::start();
    for number in 0..1005 {
        server.put_on_disk(&format!("dbt-tools/t{number:04}/1.0.0/description.txt"), b"x");
    }
    let first = server.get(CATALOG);
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let second = server.get(&format!("{CATALOG}/after/{next}"));
    assert_eq!(second.json()["next"], json!(null));
    let mut all = names(&first);
    assert_eq!(all.len(), 1000);
    all.extend(names(&second));
    let expected: Vec<String> = (0..1005).map(|number| format!("t{number:04}")).collect();
    assert_eq!(all, expected);
    let middle = names(&server.get(&format!("{CATALOG}/after/t0500")));
    assert_eq!((middle.first().unwrap().as_str(), middle.len()), ("t0501", 499));
    let end = server.get(&format!("{CATALOG}/after/zzz"));
    assert!(names(&end).is_empty() && end.json()["next"].is_null());
}
