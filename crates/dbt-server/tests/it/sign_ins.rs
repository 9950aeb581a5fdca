//! What is counted and recorded of those who sign in: why they were refused, how it stands with
//! the keys of their provider, and which job they are.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_testkit::tls::Authority;
use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::tokens::{Key, claims, key_file, now};
use crate::world::{Place, Server, WRITABLE, sha256};

const METRICS: &str = r#""listen": {"metrics": "127.0.0.1:0"}"#;

fn put(server: &Server, header: &str) -> u16 {
    server.send("PUT", "/dbt/new", &[header], b"body").status
}

#[test]
fn refusals_are_counted_by_a_few_kinds_of_reasons() {
    let issuer = Issuer::new();
    let key = Key::ed25519(7);
    let place = Place::new();
    place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
    let server = Server::on(
        place,
        &format!(
            r#""authTypePut": "oidc, ssh-agent-file, static-token", "pubkeysFile": "keys.json",
            "tokens": [{{"name": "ci", "sha256": "{}"}}], "authOptsPut": {{"oidc": {}}},
            "publicUrls": ["https://dbt.example.com"], {METRICS}"#,
            sha256(b"open-sesame"),
            issuer.options()
        ),
    );
    let ssh = |changes: Value| {
        let mut claims = claims("alice");
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        format!("Token: {}", key.signed(&claims))
    };
    let oidc =
        |changes: Value| format!("Authorization: Bearer {}", issuer.token("alice", &changes));
    let basic = |text: &str| format!("Authorization: Basic {}", STANDARD.encode(text));
    let past = json!({"iat": now() - 400, "nbf": now() - 400, "exp": now() - 100});
    let future = json!({"iat": now() + 200, "nbf": now() + 200, "exp": now() + 400});
    let used = ssh(json!({}));
    assert_eq!(put(&server, &used), 201);
    for (method, reason, header) in [
        ("token", "used", used),
        ("token", "expired", ssh(past.clone())),
        ("token", "not-yet-valid", ssh(future.clone())),
        ("token", "elsewhere", ssh(json!({"aud": ["other.example.com"]}))),
        ("token", "malformed", ssh(json!({"jti": 7}))),
        ("token", "wrong", format!("Token: {}", Key::ed25519(8).signed(&claims("alice")))),
        ("bearer", "expired", oidc(past)),
        ("bearer", "not-yet-valid", oidc(future)),
        ("bearer", "elsewhere", oidc(json!({"aud": "other"}))),
        ("bearer", "malformed", oidc(json!({"exp": "soon"}))),
        ("bearer", "wrong", "Authorization: Bearer guessed".to_owned()),
        ("basic", "wrong", basic("alice:guessed")),
        ("basic", "malformed", basic("no colon")),
        ("other", "malformed", "Authorization: Digest x".to_owned()),
    ] {
        assert_eq!(put(&server, &header), 401, "{method} {reason}");
        let name = format!(
            r#"reposerver_auth_attempts_total{{method="{method}",result="refused",reason="{reason}"}}"#
        );
        assert_eq!(server.metric(&name).as_deref(), Some("1"), "{method} {reason}");
    }
    let accepted = r#"reposerver_auth_attempts_total{method="ssh",result="accepted"}"#;
    assert_eq!(server.metric(accepted).as_deref(), Some("1"));
}

#[test]
fn how_old_the_keys_of_a_provider_are_and_how_often_it_failed_is_told() {
    let (up, down) = (Issuer::new(), Issuer::new());
    down.be_away(true);
    let server = Server::with(&format!(
        r#""authTypePut": "oidc", "auth": {{"issuers": [{}, {}]}}, {METRICS}"#,
        up.options(),
        down.options()
    ));
    let name = |metric: &str, issuer: &Issuer, more: &str| {
        format!(r#"reposerver_jwks_{metric}{{issuer="{}"{more}}}"#, issuer.url())
    };
    let refreshed = |issuer: &Issuer, result: &str| {
        server.metric(&name("refresh_total", issuer, &format!(r#",result="{result}""#)))
    };
    let value = |number: &str| Some(number.to_owned());
    // Nobody was asked yet.
    assert_eq!(server.metric(&name("age_seconds", &up, "")), None);
    assert_eq!(refreshed(&up, "answered"), value("0"));
    let header =
        |issuer: &Issuer| format!("Authorization: Bearer {}", issuer.token("alice", &json!({})));
    assert_eq!(put(&server, &header(&up)), 201);
    assert_eq!(put(&server, &header(&down)), 401);
    let age: u64 = server.metric(&name("age_seconds", &up, "")).unwrap().parse().unwrap();
    assert!(age < 60, "{age}");
    assert_eq!(server.metric(&name("age_seconds", &down, "")), None);
    assert_eq!((refreshed(&up, "answered"), refreshed(&up, "failed")), (value("1"), value("0")));
    assert_eq!(
        (refreshed(&down, "answered"), refreshed(&down, "failed")),
        (value("0"), value("1"))
    );
    let away = r#"reposerver_auth_attempts_total{method="bearer",result="refused",reason="away"}"#;
    assert_eq!(server.metric(away).as_deref(), Some("1"));
}

#[test]
fn when_the_certificate_ends_is_told_and_follows_the_file() {
    let authority = Authority::new("ours");
    let place = Place::new();
    let files = |year| authority.server_files_until("localhost", year, 1, 2);
    let (certificate, key) = files(2040);
    place.put_beside("cert.pem", certificate.as_bytes());
    place.put_beside("key.pem", key.as_bytes());
    let server = Server::on(
        place,
        &format!(
            r#"{WRITABLE}, "listen": {{"tls": {{"certFile": "cert.pem", "keyFile": "key.pem"}},
            "metrics": "127.0.0.1:0"}}"#
        ),
    );
    let end = "reposerver_tls_certificate_expiry_timestamp_seconds";
    assert_eq!(server.metric(end).as_deref(), Some("2209075200"));
    let (certificate, key) = files(2041);
    std::fs::write(server.outside().join("key.pem"), key).unwrap();
    std::fs::write(server.outside().join("cert.pem"), certificate).unwrap();
    server.eventually("followed", |server| server.metric(end).as_deref() == Some("2240697600"));
    let plain = Server::with(&format!("{WRITABLE}, {METRICS}"));
    assert_eq!(plain.metric(end), None);
}

/// Returns the records of a server.
fn records(server: &Server) -> Vec<Value> {
    let lines = server.command_beside(&["audit", "export"]);
    let record = |line: &str| serde_json::from_str::<Value>(line).unwrap()["record"].clone();
    lines.lines().map(record).collect()
}

#[test]
fn the_record_names_the_job_of_a_ci_system() {
    let issuer = Issuer::new();
    let server = Server::with(&format!(
        r#""authTypePut": "oidc", "authOptsPut": {{"oidc": {}}}"#,
        issuer.options()
    ));
    let github = json!({"repository": "acme/deploy", "run_id": "77", "ref": "refs/tags/v1",
        "sha": "0123abc", "actor": "alice"});
    let gitlab = json!({"project_path": "acme/deploy", "pipeline_id": 78, "ref": "main"});
    for (path, claims, job, kind) in [
        (
            "/dbt/github",
            github,
            json!({"repository": "acme/deploy", "run": "77", "ref": "refs/tags/v1",
                "sha": "0123abc"}),
            "agent",
        ),
        (
            "/dbt/gitlab",
            gitlab,
            json!({"repository": "acme/deploy", "run": "78", "ref": "main"}),
            "agent",
        ),
        ("/dbt/person", json!({"sha": "0123abc"}), Value::Null, "user"),
    ] {
        let line = format!("Authorization: Bearer {}", issuer.token("it", &claims));
        assert_eq!(server.send("PUT", path, &[&line], b"body").status, 201);
        let records = records(&server);
        let of_path: Vec<_> = records.iter().filter(|record| record["path"] == path).collect();
        assert!(of_path.len() >= 2, "attempted and done: {records:?}");
        for record in of_path {
            assert_eq!((&record["job"], &record["subjectType"]), (&job, &json!(kind)), "{record}");
        }
    }
    assert!(server.command_beside(&["audit", "verify"]).contains(": as they were written"));
}
