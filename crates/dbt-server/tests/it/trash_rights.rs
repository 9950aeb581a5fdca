//! The trash: everybody sees and restores what they may publish, and learns of nothing else.

use serde_json::{Value, json};

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE, sha256};

/// Two teams with a tool each, one that may only delete, one that may write single platforms, and
/// an administrator.
fn teams() -> Server {
    let token = |name: &str| json!({"name": name, "sha256": sha256(name.as_bytes())});
    let policies = json!([
        {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
        {"name": "foo", "subjects": ["foo"], "paths": ["/dbt-tools/foo/**"],
         "actions": ["create", "delete"]},
        {"name": "bar", "subjects": ["bar"], "paths": ["/dbt-tools/bar/**"],
         "actions": ["create", "replace", "delete"]},
        {"name": "sweepers", "subjects": ["sweeper"], "paths": ["/**"], "actions": ["delete"]},
        {"name": "linux", "subjects": ["linux"], "paths": ["/dbt-tools/foo/*/linux/**"],
         "actions": ["create"]},
    ]);
    let server = Server::with(&format!(
        r#""authTypePut": "static-token", "tokens": {},
        "auth": {{"roles": {{"admin": ["root"]}}}}, "policies": {policies}"#,
        json!(["foo", "bar", "sweeper", "linux", "root", "reader"].map(token)),
    ));
    for path in ["dbt-tools/foo/1.0.0/linux/amd64/foo", "dbt-tools/bar/1.0.0/linux/amd64/bar"] {
        server.put_on_disk(path, b"binary");
    }
    server.put_on_disk("dbt-tools/foo/2.0.0/linux/amd64/foo", b"binary");
    server
}

fn ask(server: &Server, who: &str, method: &str, path: &str) -> Reply {
    server.send(method, path, &[&format!("Authorization: Bearer {who}")], b"")
}

fn seen(server: &Server, who: &str) -> Vec<String> {
    let reply = ask(server, who, "GET", "/-/api/v1/trash");
    assert_eq!(reply.status, 200, "{who}: {reply:?}");
    let listed = reply.json();
    let paths = listed["deleted"].as_array().unwrap().iter();
    paths.map(|it| it["path"].as_str().unwrap().to_owned()).collect()
}

fn id_of(server: &Server, path: &str) -> String {
    let listed = ask(server, "root", "GET", "/-/api/v1/trash").json();
    let found = listed["deleted"].as_array().unwrap().iter().find(|it| it["path"] == path);
    found.unwrap_or_else(|| panic!("{path}: {listed}"))["id"].as_str().unwrap().to_owned()
}

fn restore(server: &Server, who: &str, id: &str) -> Reply {
    ask(server, who, "POST", &format!("/-/api/v1/trash/{id}/restore"))
}

#[test]
fn everybody_sees_and_restores_what_they_may_publish_and_nothing_else() {
    let server = teams();
    let (foo, bar) = ("dbt-tools/foo/1.0.0", "dbt-tools/bar/1.0.0");
    let single = "dbt-tools/foo/2.0.0/linux/amd64/foo";
    assert_eq!(ask(&server, "foo", "DELETE", "/dbt-tools/foo/1.0.0/").status, 204);
    assert_eq!(ask(&server, "bar", "DELETE", "/dbt-tools/bar/1.0.0/").status, 204);
    assert_eq!(ask(&server, "sweeper", "DELETE", &format!("/{single}")).status, 204);
    assert_eq!(seen(&server, "root"), [foo, bar, single]);
    assert_eq!(seen(&server, "foo"), [foo, single]);
    assert_eq!(seen(&server, "bar"), [bar]);
    // A whole version takes the right to write all of it.
    assert_eq!(seen(&server, "linux"), [single]);
    for who in ["reader", "sweeper"] {
        ask(&server, who, "GET", "/-/api/v1/trash").is_refused(403, "forbidden");
    }

    let (foo, bar, single) = (id_of(&server, foo), id_of(&server, bar), id_of(&server, single));
    for (who, id) in [("foo", &bar), ("bar", &foo), ("linux", &foo), ("foo", &"0".repeat(26))] {
        restore(&server, who, id).is_refused(404, "not-found");
    }
    for who in ["reader", "sweeper"] {
        restore(&server, who, &foo).is_refused(403, "forbidden");
    }
    assert_eq!(server.get("/dbt-tools/foo/1.0.0/linux/amd64/foo").status, 404);
    for (who, id) in [("foo", &foo), ("bar", &bar), ("linux", &single)] {
        assert_eq!(restore(&server, who, id).status, 200, "{who}");
    }
    assert_eq!(server.get("/dbt-tools/foo/1.0.0/linux/amd64/foo").text(), "binary");
    assert_eq!(seen(&server, "root"), [""; 0]);
}

#[test]
fn where_what_is_published_stays_only_what_was_deleted_last_returns() {
    let members = format!(r#"{WRITABLE}, "immutable": true"#);
    let server = Server::with(&members);
    let api = |method: &str, path: &str| {
        server.send(method, &format!("/-/api/v1/{path}"), &[AUTHORIZED], b"")
    };
    let x = "/dbt-tools/x/1.0.0/linux/amd64/x";
    let publish = |bytes: &[u8]| {
        for (ending, bytes) in
            [("", bytes), (".asc", b"sig".as_slice()), (".sha256", sha256(bytes).as_bytes())]
        {
            let reply = server.put(&format!("{x}{ending}"), bytes);
            assert_eq!(reply.status, 201, "{ending}: {reply:?}");
        }
    };
    publish(b"first");
    assert_eq!(server.delete("/dbt-tools/x/1.0.0").status, 204);
    server.command_beside(&["trash", "forget", "/dbt-tools/x/1.0.0"]);
    publish(b"second");
    assert_eq!(server.delete("/dbt-tools/x/1.0.0").status, 204);

    let listed: Value = api("GET", "trash").json();
    let id = |index: usize| listed["deleted"][index]["id"].as_str().unwrap().to_owned();
    let first = api("POST", &format!("trash/{}/restore", id(0)));
    first.is_refused(409, "immutable-conflict");
    assert_eq!(first.json()["existing"], sha256(b"second"));
    assert_eq!(server.get(x).status, 404);
    assert_eq!(api("POST", &format!("trash/{}/restore", id(1))).status, 200);
    assert_eq!(server.get(x).text(), "second");
}
