//! What clients are told before they are configured (`/.well-known/dbt.json`).

use serde_json::json;

use crate::oidc::Issuer;
use crate::world::{Server, WRITABLE};

const PATH: &str = "/.well-known/dbt.json";
const URLS: &str = r#""publicUrls": ["https://dbt.example.com"]"#;

#[test]
fn who_has_no_credential_learns_where_to_get_one_and_nothing_else() {
    let issuer = Issuer::new();
    let server = Server::with(&format!(
        r#"{WRITABLE}, {URLS}, "authGets": true, "authTypeGet": "oidc",
        "authOptsGet": {{"oidc": {}}}, "announce": {{"oidcClientId": "dbt"}}"#,
        issuer.options()
    ));
    server.put_on_disk("dbt/truststore", b"keys");
    let reply = server.get(PATH);
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.json(),
        json!({
            "repository": "https://dbt.example.com/dbt",
            "toolsRepository": "https://dbt.example.com/dbt-tools",
            "truststore": "https://dbt.example.com/dbt/truststore",
            "authType": "oidc", "issuerUrl": issuer.url(),
            "oidcAudience": "https://dbt.example.com", "oidcClientId": "dbt",
        })
    );
    for (name, value) in [
        ("content-type", "application/json"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
    // A credential that proves nothing is not looked at, and nothing beside is open.
    let wrong = "Authorization: Bearer wrong";
    assert_eq!(server.send("GET", PATH, &[wrong], b"").status, 200);
    for path in ["/dbt/truststore", "/.well-known/", "/.well-known/other", "/"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }

    let tag = reply.header("etag").unwrap();
    let again = server.send("GET", PATH, &[&format!("If-None-Match: {tag}")], b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let head = server.send("HEAD", PATH, &[], b"");
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), reply.header("content-length"));
    let allow = server.send("OPTIONS", PATH, &[], b"");
    assert_eq!(allow.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[test]
fn the_settings_speak_and_no_file_does() {
    let members = format!(r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}"#);
    let server = Server::with(&members);
    server.put_on_disk(".well-known/dbt.json", b"{}");
    assert_eq!(server.get(PATH).status, 404, "without a URL there is nothing to say");
    let token = "Authorization: Bearer open-sesame";
    for method in ["PUT", "DELETE"] {
        assert_eq!(server.send(method, PATH, &[token], b"{}").status, 405, "{method}");
    }
    let file = server.root().join(".well-known/dbt.json");
    assert_eq!(std::fs::read(file).unwrap(), b"{}");

    server.reload(&format!("{members}, {URLS}"));
    assert_eq!(server.get(PATH).json()["repository"], "https://dbt.example.com/dbt");
    assert!(!server.get("/").text().contains("well-known"), "no listing names it");
    assert_eq!(server.get_beside(PATH).status, 404);
    let counted = server.get_beside("/-/metrics").text();
    assert!(counted.contains("route=\"announcement\""), "{counted}");
    let shown = server.command_beside(&["check-config"]);
    let line = "announce = https://dbt.example.com, and nothing of signing in  (`publicUrls`)";
    assert!(shown.contains(line), "{shown}");
}

#[test]
fn where_reads_need_a_credential_its_absence_is_no_news_to_strangers() {
    let server = Server::with(
        r#""authGets": true, "authTypeGet": "static-token",
        "authOptsGet": {"staticToken": "open-sesame"}"#,
    );
    assert_eq!(server.get(PATH).status, 401);
    let token = "Authorization: Bearer open-sesame";
    assert_eq!(server.send("GET", PATH, &[token], b"").status, 404);
}
