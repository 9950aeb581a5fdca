//! Secrets of every kind, shown rightly and wrongly in every way, and then looked for in
//! everything that the server writes: its log, its answers, the tree with what is on its way and
//! what was deleted, its state, and what the commands beside it say.
//!
//! Who looks is the world, when the server ends (`world.rs`), as for every other test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_testkit::directory_service::{DirectoryService, Mood};
use dbt_testkit::planted;
use serde_json::json;

use crate::oidc::Issuer;
use crate::tokens::{Key, claims, key_file, now};
use crate::world::{Place, Server, looked_through, sha256};

/// Secrets that are configured and not shown in requests: each in its way.
const PLANTED: [&str; 8] = [
    "canary-static-token",
    "canary-token-of-a-variable",
    "canary-token-of-a-file",
    "canary-token-of-a-digest",
    "canary-htpasswd-password",
    "canary-of-the-directory",
    "canary-of-the-proxy",
    "canary-read-token",
];

const MEMBERS: &str = r#""authGets": true, "authTypeGet": "static-token",
    "authTypePut": "static-token, basic-htpasswd, ssh-agent-file, oidc, basic-ldap",
    "authOptsGet": {"staticToken": "canary-read-token"},
    "publicUrls": ["https://dbt.example.com"], "immutable": true,
    "htpasswdFile": "htpasswd", "pubkeysFile": "keys.json""#;

struct World {
    server: Server,
    directory: DirectoryService,
    issuer: Issuer,
    key: Key,
}

impl World {
    fn new() -> Self {
        let (directory, issuer) = (DirectoryService::start(), Issuer::new());
        let key = Key::ed25519(7);
        let place = Place::new()
            .variable("TOKEN", "canary-token-of-a-variable")
            .variable("HTTPS_PROXY", "http://alice:canary-of-the-proxy@127.0.0.1:9");
        let sha1 = &ring::digest::SHA1_FOR_LEGACY_USE_ONLY;
        let hash = ring::digest::digest(sha1, b"canary-htpasswd-password");
        let line = format!("carol:{{SHA}}{}\nplain:canary-plain-text\n", STANDARD.encode(hash));
        place.put_beside("htpasswd", line.as_bytes());
        place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
        place.put_beside("token", b"canary-token-of-a-file\n");
        place.put_beside("password", b"canary-of-the-directory\n");
        let tokens = json!([
            {"name": "one", "env": "TOKEN"}, {"name": "two", "file": "token"},
            {"name": "three", "sha256": sha256(b"canary-token-of-a-digest")},
        ]);
        let ldap = json!({
            "url": format!("ldap://127.0.0.1:{}", directory.port()), "userBase": "ou=people,dc=x",
            "bindDn": "cn=search,dc=x", "bindPasswordFile": "password",
        });
        let members = format!(
            r#"{MEMBERS}, "tokens": {tokens}, "ldap": {ldap},
            "authOptsPut": {{"staticToken": "canary-static-token", "oidc": {}}}"#,
            issuer.options()
        );
        let server = Server::on(place, &members);
        server.keep_secret(&STANDARD.encode(hash));
        Self { server, directory, issuer, key }
    }

    /// Every way to show something, right and wrong.
    fn shown(&self) -> Vec<String> {
        let basic = |user: &str, password: &str| {
            format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{password}")))
        };
        let mut late = claims("alice");
        late["exp"] = json!(now() - 100);
        let mut foreign = claims("alice");
        foreign["aud"] = json!(["evil.example.com"]);
        let mut lines = vec![
            basic("carol", "canary-htpasswd-password"),
            basic("carol", "canary-wrong-password"),
            basic("canary-somebody", "canary-wrong-password"),
            basic("plain", "canary-plain-text"),
            basic("alice", "wonderland"),
            basic("", "canary-without-a-name"),
            basic("carol", planted::EVERY_CHARACTER),
            basic("any", &self.issuer.token("alice", &json!({}))),
            format!("Authorization: Bearer {}", self.issuer.token("alice", &json!({}))),
            format!("Authorization: Bearer {}", self.issuer.token("alice", &json!({"exp": 1}))),
            format!("Authorization: Bearer {}", self.issuer.token("a\nb", &json!({}))),
            "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.canary-signature".to_owned(),
            "Authorization: Bearer canary-wrong-token".to_owned(),
            "Authorization: Bearer canary-sent-twice\r\nAuthorization: Bearer canary-sent-twice"
                .to_owned(),
            "Authorization: Digest canary-of-another-kind".to_owned(),
            "Authorization: canary-without-a-kind".to_owned(),
            "Proxy-Authorization: Basic Y2FuYXJ5LWZvci1hLXByb3h5".to_owned(),
            "Cookie: session=canary-of-a-cookie".to_owned(),
            "Token: canary-that-is-no-token".to_owned(),
            self.key.header_of("alice"),
            self.key.header_of("mallory"),
            Key::ed25519(8).header_of("alice"),
            format!("Token: {}", self.key.signed(&late)),
            format!("Token: {}", self.key.signed(&foreign)),
        ];
        for token in PLANTED {
            lines.push(format!("Authorization: Bearer {token}"));
            lines.push(basic("ci", token));
        }
        lines
    }
}

/// A server for each kind of request: were it one for all, it would slow us down for guessing.
#[test]
fn nothing_secret_is_left_anywhere_whatever_is_asked() {
    let mut statuses = std::collections::BTreeSet::new();
    for (method, path) in [
        ("PUT", "/dbt/new"),
        ("GET", "/dbt/latest"),
        ("DELETE", "/dbt/latest"),
        ("PUT", "/dbt-tools/x/1.0.0/linux/amd64/x"),
        ("GET", "/-/api/v1/trash"),
        ("GET", "/.well-known/dbt.json"),
        ("PUT", "/dbt/truststore"),
        ("PUT", "/dbt/../x"),
        ("POST", "/-/api/v1/releases"),
        ("PATCH", "/dbt/latest"),
    ] {
        let world = World::new();
        let server = &world.server;
        server.put_on_disk("dbt/latest", b"1.0.0");
        for line in world.shown() {
            let body: &[u8] = if matches!(method, "PUT" | "POST") { b"body" } else { b"" };
            let status = server.send(method, path, &[&line], body).status;
            assert_ne!(status, 429, "{line}");
            statuses.insert(status);
        }
        if path == "/dbt/new" {
            let subjects = ["static-token:one", "static-token:two", "static-token:three"];
            let others = ["htpasswd:carol", "ssh:alice", "oidc:http", "ldap:uid=alice"];
            server.eventually("every way was right once", |server| {
                subjects.iter().chain(&others).all(|subject| server.log().contains(subject))
            });
        }
        server.command_beside(&["trash", "list"]);
    }
    // Everything that can come of it has come.
    for status in [200, 201, 204, 400, 401, 403, 404, 405] {
        assert!(statuses.contains(&status), "{status}: {statuses:?}");
    }
}

#[test]
fn nothing_secret_is_left_anywhere_when_things_break() {
    let world = World::new();
    let server = &world.server;
    let [right, wrong] = [0, 2].map(|index| world.shown().swap_remove(index));
    world.directory.be(Mood::BindResult(51));
    server.send("PUT", "/dbt/x", &[&wrong], b"x");
    for (file, text) in [
        ("htpasswd", "canary-broken-line\ncarol:canary-plain-text\n\u{0}:x\n"),
        ("keys.json", r#"{"getUsers": "canary-broken-keys"}"#),
        ("password", "canary-broken\0password"),
    ] {
        std::fs::write(server.outside().join(file), text).unwrap();
        server.send("PUT", "/dbt/x", &[&right], b"x");
        server.send("PUT", "/dbt/x", &[&world.key.header_of("alice")], b"x");
    }
    server.eventually("the last is logged", |server| {
        server.log().contains("what was read before stays in force")
    });
    // What is logged of a request is nothing of its query.
    server.send("GET", "/dbt/latest?token=canary-in-a-query", &[], b"");

    restore_what_commands_read(server.outside());
    // `Server` looks through what they say.
    let checked = server.command_beside(&["check-config"]);
    for shown in
        ["proxy = 127.0.0.1:9  (", "authOptsPut.staticToken = (not shown)", "line 1 is left out"]
    {
        assert!(checked.contains(shown), "{checked}");
    }
    for words in [
        &["explain", "static-token:one", "PUT", "/dbt/latest"][..],
        &["explain", "htpasswd:carol", "GET", "/"],
        &["user", "list", "--json"],
        &["user", "suspend", "htpasswd:carol", "--reason", "left"],
        &["user", "show", "htpasswd:carol"],
    ] {
        assert!(!server.command_beside(words).is_empty(), "{words:?}");
    }
}

/// The files of users are as they were, so that the commands have something to say.
fn restore_what_commands_read(place: &Path) {
    for (file, text) in [
        ("htpasswd", "plain:canary-plain-text\n"),
        ("keys.json", "{}"),
        ("password", "canary-of-the-directory"),
    ] {
        std::fs::write(place.join(file), text).unwrap();
    }
}

#[test]
fn a_refusal_to_start_repeats_no_secret() {
    let place = Place::new()
        .variable("TOKEN", "canary-\u{7}token")
        .variable("HTTPS_PROXY", "socks5://alice:canary-of-the-proxy@127.0.0.1:9");
    place.put_beside("token", b"canary-\x00token");
    place.put_beside("password", b"canary-\x00password");
    let ldap = r#""authTypePut": "basic-ldap", "ldap": {"url": "ldap://127.0.0.1:1",
        "userBase": "dc=x", "bindDn": "cn=known-to-all""#;
    let oidc = r#""authTypePut": "oidc", "authOptsPut": {"oidc": {"issuerUrl": "https://a.test",
        "audiences": ["x"]}}"#;
    for (members, words) in [
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "env": "TOKEN"}]"#
                .to_owned(),
            "holds control characters",
        ),
        (
            r#""authTypePut": "static-token", "tokens": [{"name": "a", "file": "token"}]"#
                .to_owned(),
            "holds control characters",
        ),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "canary-\ntoken"}"#
                .to_owned(),
            "token",
        ),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticToken": ["canary-token"]}"#
                .to_owned(),
            "wrong value at `authOptsPut.staticToken`",
        ),
        (format!(r#"{ldap}, "bindPasswordFile": "password"}}"#), "holds a NUL"),
        (oidc.to_owned(), "`HTTPS_PROXY` must begin with `http://`"),
        (
            r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "canary-token","#
                .to_owned(),
            "is not valid JSON",
        ),
    ] {
        let said = place.refusal(&members);
        assert!(said.contains(words), "{members}\n{said}");
    }
}

#[test]
fn a_server_that_keeps_or_says_a_secret_fails_its_test() {
    let refusal = |attempt: Box<dyn FnOnce()>| {
        let panic = catch_unwind(AssertUnwindSafe(attempt)).unwrap_err();
        panic.downcast_ref::<String>().unwrap().clone()
    };
    let server = Server::start();
    server.put_on_disk("dbt/latest", b"open-sesame");
    let found = server.root().join("dbt/latest");
    let said = refusal(Box::new(|| drop(server.stop())));
    assert!(said.ends_with(&format!("{}: the token that writes", found.display())), "{said}");
    let server = Server::start();
    server.put_on_disk(".reposerver/tmp/open-sesame", b"");
    let said = refusal(Box::new(|| drop(server)));
    assert!(said.starts_with("a secret is in the name of "), "{said}");
    // The catalog holds names of tools.
    let server = Server::start();
    server.put_on_disk("dbt-tools/open-sesame/1.0.0/linux/amd64/open-sesame", b"x");
    let said = refusal(Box::new(move || drop(server.get("/-/api/tools"))));
    assert_eq!(said, "a secret is in an answer of the API: the token that writes");
    let mut command = std::process::Command::new("echo");
    let said = refusal(Box::new(move || drop(looked_through(command.arg("open-sesame")))));
    assert_eq!(said, "a secret is in what a command prints: the token that writes");
    // The log holds paths.
    let server = Server::start();
    server.get("/dbt/open-sesame");
    server.eventually("logged", |server| server.log().contains("/dbt/open-sesame"));
    let said = refusal(Box::new(|| drop(server)));
    assert_eq!(said, "a secret is in the log: the token that writes");
}
