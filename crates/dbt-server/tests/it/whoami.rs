//! As whom the server knows whoever asks, however that was proved, and that strangers are nobody.

use serde_json::{Value, json};

use crate::tokens::{Key, key_file};
use crate::world::{Place, Reply, Server, sha256};

const WHOAMI: &str = "/-/api/v1/whoami";

/// A server where everybody may read, and where `root` may make tokens.
fn server() -> Server {
    let place = Place::new();
    place.put_beside("keys.json", key_file(&[("alice", Key::ed25519(7).line())]).as_bytes());
    let root = json!({ "name": "root", "sha256": sha256(b"root-token") });
    let members = format!(
        r#""authTypePut": "static-token,ssh-agent-file", "pubkeysFile": "keys.json",
        "publicUrls": ["https://dbt.example.com"], "tokens": [{root}],
        "auth": {{"roles": {{"admin": ["static-token:root"], "publisher": ["ssh:alice"]}}}},
        "policies": [{{"name": "open", "subjects": ["anonymous"], "paths": ["/**"],
         "actions": ["read", "list"]}}]"#
    );
    Server::on(place, &members)
}

fn ask(server: &Server, line: &str) -> Reply {
    server.send("GET", WHOAMI, &[line], b"")
}

#[test]
fn each_proof_names_its_subject_its_roles_and_itself() {
    let server = server();
    let root = ask(&server, "Authorization: Bearer root-token");
    assert_eq!(root.header("cache-control"), Some("no-store"));
    assert_eq!(
        root.json(),
        json!({ "subject": "static-token:root", "method": "static-token", "groups": [],
            "groupsLeftOut": false,
            "roles": ["admin"], "name": null, "email": null, "token": null, "expires": null })
    );
    // The same token reads on: it is the proof of a run.
    let token = Key::ed25519(7).header_of("alice");
    for _again in 0..2 {
        let alice = ask(&server, &token).json();
        assert_eq!((&alice["subject"], &alice["method"]), (&json!("ssh:alice"), &json!("ssh")));
        assert_eq!(alice["roles"], json!(["publisher"]));
    }

    let wanted =
        json!({ "name": "ci", "subject": "agent:ci", "roles": ["readonly"], "expiresIn": 604_800 });
    let made = server.send(
        "POST",
        "/-/api/v1/tokens",
        &["Authorization: Bearer root-token"],
        wanted.to_string().as_bytes(),
    );
    let made: Value = made.json();
    let line = format!("Authorization: Bearer {}", made["token"].as_str().unwrap());
    let agent = ask(&server, &line).json();
    assert_eq!(agent["subject"], "agent:ci");
    assert_eq!(agent["method"], "api-token");
    assert_eq!(agent["roles"], json!(["readonly"]));
    assert_eq!((&agent["token"], &agent["expires"]), (&made["id"], &made["expires"]));
}

#[test]
fn nobody_is_known_without_a_proof_though_everybody_may_read() {
    let server = server();
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(server.send("GET", "/dbt/latest", &[], b"").status, 200);
    let stranger = server.send("GET", WHOAMI, &[], b"");
    stranger.is_refused(401, "unauthorised");
    assert!(stranger.header("www-authenticate").is_some());
    // Elsewhere a stale credential reads what everybody may; here it is what is asked about.
    ask(&server, "Authorization: Bearer a-token-for-this-test-alone")
        .is_refused(401, "unauthorised");
    assert_eq!(server.send("POST", WHOAMI, &[], b"").status, 405);
}
