//! What was deleted can be put back, and where what is published must stay, nothing else can take
//! its place.

use serde_json::Value;

use crate::tokens::{Key, key_file};
use crate::world::{AUTHORIZED, Place, Reply, Server, WRITABLE, sha256};

const VERSION: &str = "/dbt-tools/x/1.0.0";
const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

fn api(server: &Server, method: &str, path: &str) -> Reply {
    server.send(method, &format!("/-/api/v1/{path}"), &[AUTHORIZED], b"")
}

fn deleted(server: &Server) -> Vec<Value> {
    let reply = api(server, "GET", "trash");
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["deleted"].as_array().unwrap().clone()
}

fn restore(server: &Server, deletion: &Value) -> Reply {
    api(server, "POST", &format!("trash/{}/restore", deletion["id"].as_str().unwrap()))
}

fn with_a_version(members: &str) -> Server {
    let server = Server::with(&format!("{WRITABLE}{members}"));
    server.put_on_disk(&X[1..], b"binary");
    server.put_on_disk(&format!("{}.sha256", &X[1..]), sha256(b"binary").as_bytes());
    server.put_on_disk(&format!("{}.asc", &X[1..]), b"sig");
    server
}

#[test]
fn what_was_deleted_is_listed_and_comes_back_as_it_was() {
    let server = with_a_version("");
    server.put("/dbt/latest", b"1.0.0");
    let before = server.tree();
    assert_eq!(server.delete("/dbt/latest").status, 204);
    assert_eq!(server.delete(VERSION).status, 204);
    assert_eq!(server.get(X).status, 404);

    let listed = deleted(&server);
    let what = |it: &Value| [it["path"].clone(), it["kind"].clone(), it["by"].clone()];
    assert_eq!(what(&listed[0]), ["dbt/latest", "file", "static-token:static-token"]);
    assert_eq!(what(&listed[1]), ["dbt-tools/x/1.0.0", "directory", "static-token:static-token"]);
    for deletion in &listed {
        let reply = restore(&server, deletion);
        assert_eq!((reply.status, &reply.json()["restored"]), (200, &deletion["path"]));
        restore(&server, deletion).is_refused(404, "not-found");
    }
    assert_eq!(server.tree(), before);
    assert_eq!(server.get(X).text(), "binary");
    assert_eq!(deleted(&server), [Value::Null; 0]);
    assert!(server.log().contains(r#""outcome":"restored""#), "{}", server.log());
}

#[test]
fn the_trash_is_nothing_for_strangers() {
    let server = with_a_version("");
    server.delete(VERSION);
    let id = deleted(&server)[0]["id"].as_str().unwrap().to_owned();
    for (method, path) in [("GET", "trash".to_owned()), ("POST", format!("trash/{id}/restore"))] {
        let path = format!("/-/api/v1/{path}");
        server.send(method, &path, &[], b"").is_refused(401, "unauthorised");
        let wrong = "Authorization: Bearer wrong";
        server.send(method, &path, &[wrong], b"").is_refused(401, "unauthorised");
    }
    assert_eq!(server.get(X).status, 404);
    assert_eq!(server.get("/.reposerver/trash/").status, 404);
    let foreign = [AUTHORIZED, "Origin: https://evil.example"];
    server
        .send("POST", &format!("/-/api/v1/trash/{id}/restore"), &foreign, b"")
        .is_refused(403, "forbidden");
    for id in ["..", "%2e%2e%2ftmp", "nothing"] {
        let reply = api(&server, "POST", &format!("trash/{id}/restore"));
        assert!((400..=405).contains(&reply.status), "{id}: {reply:?}");
    }
    assert_eq!(deleted(&server).len(), 1);
}

#[test]
fn one_token_that_counts_once_is_enough_to_restore() {
    // By the contract's settings alone.
    let key = Key::ed25519(1);
    let place = Place::new();
    place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
    let server = Server::on(
        place,
        r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"]"#,
    );
    server.put_on_disk("dbt/latest", b"1.0.0");
    let signed =
        |method: &str, path: &str| server.send(method, path, &[&key.header_of("alice")], b"");
    assert_eq!(signed("DELETE", "/dbt/latest").status, 204);
    let listed = signed("GET", "/-/api/v1/trash").json();
    let id = listed["deleted"][0]["id"].as_str().unwrap();
    let reply = signed("POST", &format!("/-/api/v1/trash/{id}/restore"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
}

#[test]
fn nothing_is_restored_over_what_is_there_now() {
    let server = with_a_version("");
    server.put("/dbt/latest", b"old");
    server.delete("/dbt/latest");
    server.put("/dbt/latest", b"new");
    restore(&server, &deleted(&server)[0]).is_refused(409, "path-conflict");
    assert_eq!(server.get("/dbt/latest").text(), "new");
    assert_eq!(deleted(&server).len(), 1, "it can still be restored later");
}

#[test]
fn the_truststore_and_signed_lists_are_never_restored() {
    let server = Server::with(&format!(
        r#"{WRITABLE}, "auth": {{"roles": {{"admin": ["static-token:static-token"]}}}},
        "policies": [{{"name": "reading", "subjects": ["anonymous"], "paths": ["/**"],
        "actions": ["read", "list"]}}]"#
    ));
    for path in ["dbt/tuf/root.json", "dbt/truststore.manifest.json", "dbt-tools/x/withdrawn.json"]
    {
        server.put_on_disk(path, b"old");
        assert_eq!(server.delete(&format!("/{path}")).status, 204);
    }
    for deletion in deleted(&server) {
        restore(&server, &deletion).is_refused(403, "forbidden");
    }
    assert!(server.tree().iter().all(|path| !path.ends_with("json")), "{:?}", server.tree());
}

#[test]
fn what_does_not_verify_any_more_is_not_restored() {
    let server = with_a_version("");
    server.delete(VERSION);
    let truststore = dbt_testkit::people::ALICE.certificate();
    server.put_on_disk("dbt/truststore", truststore.as_bytes());
    restore(&server, &deleted(&server)[0]).is_refused(422, "not-publishable");
    assert_eq!(server.get(X).status, 404);
}

#[test]
fn the_trash_is_emptied_when_its_time_is_over() {
    let server = with_a_version(r#", "limits": {"trashDays": 0}"#);
    server.delete(VERSION);
    assert_eq!(deleted(&server), [Value::Null; 0]);
    assert!(server.unfinished().is_empty());

    let server = with_a_version("");
    server.delete(VERSION);
    let id = deleted(&server)[0]["id"].as_str().unwrap().to_owned();
    let place = server.kill();
    let about = place.root().join(format!(".reposerver/trash/{id}/about.json"));
    let mut text: Value = serde_json::from_slice(&std::fs::read(&about).unwrap()).unwrap();
    text["seconds"] = (text["seconds"].as_u64().unwrap() - 30 * 24 * 60 * 60 - 1).into();
    std::fs::write(&about, text.to_string()).unwrap();
    let server = Server::on(place, WRITABLE);
    server.eventually("emptied", |server| deleted(server).is_empty());
    assert!(!about.exists());
}

#[test]
fn after_a_deletion_only_the_same_bytes_return_where_what_is_published_stays() {
    let server = with_a_version(r#", "immutable": true"#);
    assert_eq!(server.delete(VERSION).status, 204);
    for path in [X, &format!("{X}.sha256")] {
        let reply = server.put(path, b"other");
        reply.is_refused(409, "immutable-conflict");
    }
    let known = server.put(X, b"other").json()["existing"].clone();
    assert_eq!(known, sha256(b"binary"));
    let server = Server::on(server.kill(), &format!(r#"{WRITABLE}, "immutable": true"#));
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    assert_eq!(server.tree(), ["dbt-tools", "dbt-tools/x"]);

    assert_eq!(server.put(X, b"binary").status, 201);
    assert_eq!(server.put(&format!("{X}.asc"), b"another signature").status, 201);
    let last = server.put(&format!("{X}.sha256"), sha256(b"binary").as_bytes());
    assert_eq!((last.status, &last.json()["published"]), (201, &Value::Bool(true)));
}

#[test]
fn without_that_setting_a_deleted_version_can_be_published_anew() {
    let server = with_a_version("");
    server.delete(VERSION);
    assert_eq!(server.put(X, b"other").status, 201);
}

#[test]
fn on_the_servers_machine_what_was_deleted_is_listed_restored_and_forgotten() {
    let server = with_a_version(r#", "immutable": true"#);
    server.delete(VERSION);
    let listed = server.command_beside(&["trash", "list"]);
    assert!(listed.ends_with("  static-token:static-token  /dbt-tools/x/1.0.0/\n"), "{listed}");
    let json: Value =
        serde_json::from_str(&server.command_beside(&["trash", "list", "--json"])).unwrap();
    let id = json["deleted"][0]["id"].as_str().unwrap();
    assert!(listed.starts_with(id), "{listed}");
    let restored = server.command_beside(&["trash", "restore", id]);
    assert_eq!(restored, "restored `/dbt-tools/x/1.0.0`\n");
    assert_eq!(server.get(X).text(), "binary");

    server.delete(VERSION);
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    let forgot = server.command_beside(&["trash", "forget", VERSION]);
    assert_eq!(forgot, "forgot 2 deleted files at or below `/dbt-tools/x/1.0.0`\n");
    assert_eq!(server.put(X, b"other").status, 201);
}

#[test]
fn nothing_is_restored_into_a_version_that_is_being_uploaded() {
    for members in ["", r#", "immutable": true"#] {
        for deleted in [VERSION, X] {
            let server = with_a_version(members);
            assert_eq!(server.delete(deleted).status, 204);
            assert_eq!(server.put(&format!("{VERSION}/darwin/arm64/x"), b"binary").status, 201);
            let deletion = deleted_of(&server, deleted);
            restore(&server, &deletion).is_refused(409, "upload-in-progress");
            let here =
                server.refused_beside(&["trash", "restore", deletion["id"].as_str().unwrap()]);
            assert!(here.contains("is being uploaded"), "{here}");
            assert_eq!(server.get(X).status, 404);
            assert_eq!(server.delete(&format!("{VERSION}/darwin/arm64/x")).status, 204);
            assert_eq!(restore(&server, &deletion).status, 200);
            assert_eq!(server.get(X).text(), "binary");
        }
    }
}

fn deleted_of(server: &Server, path: &str) -> Value {
    deleted(server).into_iter().find(|it| it["path"] == path[1..]).unwrap()
}

#[test]
fn other_bytes_than_those_last_deleted_are_not_restored_where_what_is_published_stays() {
    let server = with_a_version("");
    server.delete(VERSION);
    let first = deleted_of(&server, VERSION);
    let server = Server::on(server.kill(), &format!(r#"{WRITABLE}, "immutable": true"#));
    server.put_on_disk(&X[1..], b"second");
    assert_eq!(server.delete(VERSION).status, 204);
    restore(&server, &first).is_refused(409, "immutable-conflict");
    assert_eq!(server.get(X).status, 404);
    let second = deleted(&server).pop().unwrap();
    assert_eq!(restore(&server, &second).status, 200);
    assert_eq!(server.get(X).text(), "second");
}

#[test]
fn what_came_back_while_a_version_was_uploaded_stays() {
    let server = Server::with(&format!(r#"{WRITABLE}, "immutable": true"#));
    assert_eq!(server.put(X, b"other").status, 201);
    assert_eq!(server.put(&format!("{X}.asc"), b"sig").status, 201);
    server.put_on_disk(&X[1..], b"binary");
    let last = server.put(&format!("{X}.sha256"), sha256(b"other").as_bytes());
    last.is_refused(409, "immutable-conflict");
    assert_eq!(server.get(X).text(), "binary");
    // The same for a release of several.
    let body = serde_json::json!({ "tool": "x", "version": "1.0.0" }).to_string();
    let id = server.send("POST", "/-/api/v1/releases", &[AUTHORIZED], body.as_bytes()).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let commit = api(&server, "POST", &format!("releases/{id}/commit"));
    assert!((400..500).contains(&commit.status), "{commit:?}");
    assert_eq!(server.get(X).text(), "binary");
}

const WITHDRAWN: &str = "dbt-tools/x/withdrawn.json";

/// Deletes the tool as it is with this list of withdrawn versions, or without any.
fn delete_with_list(server: &Server, list: Option<&[u8]>) -> Value {
    server.put_on_disk(&X[1..], b"binary");
    if let Some(list) = list {
        server.put_on_disk(WITHDRAWN, list);
        server.put_on_disk(&format!("{WITHDRAWN}.asc"), b"sig");
    }
    assert_eq!(server.delete("/dbt-tools/x").status, 204);
    deleted(server).pop().unwrap()
}

#[test]
fn a_tool_comes_back_with_the_list_of_its_withdrawn_versions() {
    let server = with_a_version("");
    let deletion = delete_with_list(&server, Some(b"[1]"));
    assert_eq!(server.tree(), ["dbt-tools"]);
    assert_eq!(restore(&server, &deletion).status, 200);
    assert_eq!(server.get(&format!("/{WITHDRAWN}")).text(), "[1]");
    assert_eq!(server.get(X).text(), "binary");
    // On the server's machine too, and as often as it is deleted.
    let deletion = delete_with_list(&server, None);
    server.command_beside(&["trash", "restore", deletion["id"].as_str().unwrap()]);
    assert_eq!(server.get(&format!("/{WITHDRAWN}")).text(), "[1]");
}

#[test]
fn an_earlier_list_of_withdrawn_versions_does_not_come_back_with_a_tool() {
    let server = with_a_version("");
    let first = delete_with_list(&server, Some(b"[1]"));
    let second = delete_with_list(&server, Some(b"[1, 2]"));
    let refused = |deletion: &Value| {
        let reply = restore(&server, deletion);
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("withdrawals are published again"), "{detail}");
        let here = server.refused_beside(&["trash", "restore", deletion["id"].as_str().unwrap()]);
        assert!(here.contains("withdrawals are published again"), "{here}");
        assert_eq!(server.tree(), ["dbt-tools"]);
    };
    refused(&first);
    assert_eq!(deleted(&server).len(), 2, "it is kept");
    assert_eq!(restore(&server, &second).status, 200);
    assert_eq!(server.get(&format!("/{WITHDRAWN}")).text(), "[1, 2]");
    // Nor does it where the later one was deleted by itself.
    let second = delete_with_list(&server, None);
    assert_eq!(restore(&server, &second).status, 200);
    assert_eq!(server.delete(&format!("/{WITHDRAWN}")).status, 204);
    let without = delete_with_list(&server, None);
    refused(&first);
    restore(&server, &deleted_of(&server, &format!("/{WITHDRAWN}"))).is_refused(403, "forbidden");
    assert_eq!(restore(&server, &without).status, 200);
    assert_eq!(server.get(X).text(), "binary");
}
