//! Tokens that an ssh-agent signed, for the whole server and for its check alone.

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_core::clock::Clock;
use dbt_server::authn::ssh::{Audiences, SshTokens};
use dbt_server::authn::ssh_keys::{KeyFile, KeySource};
use dbt_server::authn::{AnyOf, Presented, Scope};
use hyper::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

use crate::tokens::{AUDIENCE, Key, claims, key_file, now};
use crate::world::{Place, Reply, Server};

const MEMBERS: &str = r#""authGets": true, "authTypeGet": "ssh-agent-file", "authTypePut": "ssh-agent-file",
    "pubkeysFile": "keys.json", "publicUrls": ["https://dbt.example.com/dbt"]"#;

fn server(users: &[(&str, String)]) -> Server {
    let place = Place::new();
    place.put_beside("keys.json", key_file(users).as_bytes());
    Server::on(place, MEMBERS)
}

fn put(server: &Server, header: &str) -> Reply {
    server.send("PUT", "/dbt/new", &[header], b"body")
}

fn get(server: &Server, header: &str) -> Reply {
    server.send("GET", "/dbt/latest", &[header], b"")
}

/// Says what becomes of each token of the vectors at a time of their own.
async fn verdicts(at: impl Fn(&str) -> Clock) -> Vec<(String, bool, String)> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/ssh-jwt.json")).unwrap();
    let line = |key: &str| vectors["keys"][key].as_str().unwrap().to_owned();
    let users = [("alice", line("ed25519")), ("bob", line("rsa")), ("carol", line("ecdsa-p256"))];
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    std::fs::write(&path, key_file(&users)).unwrap();
    let mut verdicts = Vec::new();
    for case in vectors["token_header"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let url = format!("https://{}", case["server_audience"].as_str().unwrap());
        let keys =
            KeySource::File { file: Arc::new(KeyFile::open(&path).unwrap()), list: Scope::Writes };
        let method = SshTokens::new(keys, Audiences::of_urls(&[url]).unwrap());
        let mut methods = AnyOf::new(at(name)).started_at(SystemTime::UNIX_EPOCH);
        methods.add(&[Scope::Writes], Box::new(method));
        let mut headers = HeaderMap::new();
        headers.insert("token", case["token"].as_str().unwrap().parse().unwrap());
        let presented = Presented {
            headers: &headers,
            method: &Method::PUT,
            uri: &Uri::from_static("/dbt/latest"),
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            scope: Scope::Writes,
            client: None,
        };
        let (accepted, said) = match methods.identify(&presented).await {
            Ok(caller) => (true, caller.subject().unwrap().to_string()),
            Err(error) => (false, error.to_string()),
        };
        verdicts.push((name.to_owned(), accepted, said));
    }
    verdicts
}

#[tokio::test]
async fn the_tokens_of_other_implementations_are_judged_as_there_or_more_strictly() {
    let at = |name: &str| {
        let seconds = if name == "nbf in the future" { 4_102_444_400 } else { 4_102_444_650 };
        Clock::Fixed(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    };
    let expected = [
        ("ed25519 ok (far-future exp, nbf 0)", "ssh:alice"),
        ("rsa ok", "ssh:bob"),
        ("ed25519 realistic, expired 2023", "the token has expired"),
        ("wrong audience", "the token is for another server (its `aud`)"),
        ("two audiences, one matches", "ssh:alice"),
        ("aud as plain string", "the token's audience (`aud`) must be a list of texts"),
        ("iss != sub", "the token's `iss` is not its `sub`"),
        ("lifetime 301 s", "the token is valid for too long a time"),
        ("nbf in the future", "the token is not valid yet; are the clocks right?"),
        ("no exp claim", "the token does not say when it expires"),
        ("no jti claim", "the token has no id (`jti`) by which to know it again"),
        ("alg none-ish: EdDSA header, RSA signature", "the credential is not valid"),
        ("key of another user", "the credential is not valid"),
        (
            "ed25519 signature double-base64 (Dex style) in Token header",
            "the credential is not valid",
        ),
    ];
    let found = verdicts(at).await;
    assert_eq!(found.len(), expected.len());
    for ((name, accepted, said), (expected_name, words)) in found.iter().zip(expected) {
        assert_eq!((name.as_str(), said.as_str()), (expected_name, words));
        assert_eq!(*accepted, words.starts_with("ssh:"), "{name}");
    }
    for (name, accepted, said) in verdicts(|_name| Clock::System).await {
        assert!(!accepted, "today, {name}: {said}");
    }
}

#[test]
fn every_kind_of_key_publishes_and_reads() {
    for (kind, key) in [("ed25519", Key::ed25519(7)), ("p256", Key::p256()), ("p384", Key::p384())]
    {
        let server = server(&[("alice", key.line())]);
        server.put_on_disk("dbt/latest", b"1.0.0");
        assert_eq!(put(&server, &key.header_of("alice")).status, 201, "{kind}");
        assert_eq!(get(&server, &key.header_of("alice")).text(), "1.0.0", "{kind}");
        server.eventually("recorded", |server| server.log().contains("\"ssh:alice\""));
    }
}

#[test]
fn a_token_writes_once_and_a_token_of_reads_writes_never() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line())]);
    server.put_on_disk("dbt/latest", b"1.0.0");
    let reading = key.header_of("alice");
    assert_eq!(get(&server, &reading).status, 200);
    assert_eq!(get(&server, &reading).status, 200, "reads may repeat");
    put(&server, &reading).is_refused(401, "unauthorised");
    let writing = key.header_of("alice");
    assert_eq!(put(&server, &writing).status, 201);
    let again = put(&server, &writing);
    assert!(again.is_refused(401, "unauthorised").text().contains("used before"));
    assert_eq!(get(&server, &writing).status, 401);
}

#[test]
fn a_token_for_reads_that_nobody_has_shown_before_writes_nothing() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line())]);
    let mut claims = claims("alice");
    claims["htm"] = json!("GET");
    let header = format!("Token: {}", key.signed(&claims));
    put(&server, &header).is_refused(401, "unauthorised");
    server.send("DELETE", "/dbt/new", &[&header], b"").is_refused(401, "unauthorised");
    let reply = server.send("POST", "/-/api/v1/tokens", &[&header], b"{}");
    reply.is_refused(401, "unauthorised");
    assert!(server.tree().is_empty());
}

#[test]
fn of_many_who_show_the_same_token_at_once_one_writes() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line())]);
    for round in 0..5 {
        let writing = key.header_of("alice");
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let send = |number| {
                let (server, writing) = (&server, &writing);
                let path = format!("/dbt/round-{round}-{number}");
                scope.spawn(move || server.send("PUT", &path, &[writing], b"body").status)
            };
            let all: Vec<_> = (0..8).map(send).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 7, "{statuses:?}");
    }
    let written = server.tree().into_iter().filter(|path| path.starts_with("dbt/round"));
    assert_eq!(written.count(), 5);
}

#[test]
fn a_token_that_was_used_is_known_after_a_restart_and_one_that_was_not_counts() {
    let key = Key::ed25519(7);
    let first = server(&[("alice", key.line())]);
    first.put_on_disk("dbt/latest", b"1.0.0");
    let writing = key.header_of("alice");
    assert_eq!(put(&first, &writing).status, 201);
    let reading = key.header_of("alice");
    assert_eq!(get(&first, &reading).status, 200);
    let unused = key.header_of("alice");
    // Times in tokens are whole seconds; the next start is in a later one.
    let signed_at = now();
    first.eventually("the next second", |_server| now() > signed_at + 1);
    let second = Server::on(first.kill(), MEMBERS);
    for used in [&writing, &reading] {
        assert!(put(&second, used).is_refused(401, "unauthorised").text().contains("used before"));
    }
    assert_eq!(get(&second, &reading).status, 200, "reads may repeat");
    assert_eq!(put(&second, &unused).status, 200, "it was signed before and not used");
    assert_eq!(put(&second, &unused).status, 401);
}

#[test]
fn claims_that_are_not_exactly_right_prove_nothing() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line()), ("bob", Key::ed25519(8).line())]);
    let header = r#"{"alg":"EdDSA","typ":"JWT"}"#;
    let changed = |name: &str, value: Option<Value>| {
        let mut claims = claims("alice");
        match value {
            Some(value) => claims[name] = value,
            None => {
                claims.as_object_mut().unwrap().remove(name);
            }
        }
        claims.to_string()
    };
    let raw = |name: &str, text: &str| changed(name, Some(json!("@"))).replace("\"@\"", text);
    let long = "a".repeat(65);
    let cases = [
        changed("exp", None),
        changed("exp", Some(json!("4102444800"))),
        changed("exp", Some(json!(null))),
        changed("exp", Some(json!(-1))),
        changed("exp", Some(json!(now() - 61))),
        changed("exp", Some(json!(now() + 4000))),
        raw("exp", "1e308"),
        raw("exp", "1e999"),
        changed("iat", None),
        changed("iat", Some(json!(now() + 120))),
        changed("iat", Some(json!("now"))),
        changed("nbf", Some(json!(now() + 120))),
        changed("nbf", Some(json!("soon"))),
        changed("aud", None),
        changed("aud", Some(json!(AUDIENCE))),
        changed("aud", Some(json!([]))),
        changed("aud", Some(json!(["evil.example.com"]))),
        changed("aud", Some(json!([AUDIENCE, 7]))),
        changed("aud", Some(json!(["DBT.example.com"]))),
        changed("aud", Some(json!(["test"]))),
        changed("aud", Some(json!(["127.0.0.1"]))),
        changed("iss", None),
        changed("iss", Some(json!("bob"))),
        changed("iss", Some(json!("Alice"))),
        changed("sub", None),
        changed("sub", Some(json!(7))),
        changed("sub", Some(json!(["alice"]))),
        changed("sub", Some(json!(""))),
        changed("sub", Some(json!("alice\n"))),
        changed("jti", None),
        changed("jti", Some(json!(""))),
        changed("jti", Some(json!(7))),
        changed("jti", Some(json!("x".repeat(129)))),
        changed("htm", Some(json!("GET"))),
        changed("htm", Some(json!(7))),
        changed("htu", Some(json!("https://dbt.example.com/dbt/other"))),
        changed("htu", Some(json!("https://evil.example.com/dbt/new"))),
        changed("htu", Some(json!(null))),
        claims("bob").to_string(),
        claims("carol").to_string(),
        claims(&long).to_string(),
        changed("x", Some(json!(1))).replacen('{', r#"{"sub":"bob","#, 1),
        "{}".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        String::new(),
    ];
    for claims in &cases {
        let header = format!("Token: {}", key.token(header, claims));
        let reply = put(&server, &header);
        reply.is_refused(401, "unauthorised");
        assert!(server.tree().is_empty(), "{claims}");
    }
    let bound = json!({"htm": "PUT", "htu": "https://dbt.example.com/dbt/new"});
    let mut claims = claims("alice");
    claims.as_object_mut().unwrap().extend(bound.as_object().unwrap().clone());
    assert_eq!(put(&server, &format!("Token: {}", key.signed(&claims))).status, 201);
}

#[test]
fn headers_that_ask_for_something_else_prove_nothing() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line()), ("carol", Key::p256().line())]);
    let claims = claims("alice").to_string();
    for header in [
        r#"{"alg":"none","typ":"JWT"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"ES256","typ":"JWT"}"#,
        r#"{"alg":"RS256","typ":"JWT"}"#,
        r#"{"alg":"RS1","typ":"JWT"}"#,
        r#"{"alg":"SSH","typ":"JWT"}"#,
        r#"{"alg":"eddsa","typ":"JWT"}"#,
        r#"{"alg":["EdDSA"],"typ":"JWT"}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"EdDSA","typ":"JWE"}"#,
        r#"{"alg":"EdDSA","typ":7}"#,
        r#"{"alg":"EdDSA","crit":["exp"]}"#,
        r#"{"alg":"EdDSA","zip":"DEF"}"#,
        r#"{"alg":"EdDSA","enc":"A256GCM"}"#,
        r#"{"alg":"EdDSA","alg":"none"}"#,
        r#"{"alg":"EdDSA","kid":7}"#,
        "{}",
        "",
    ] {
        put(&server, &format!("Token: {}", key.token(header, &claims)))
            .is_refused(401, "unauthorised");
        assert!(server.tree().is_empty(), "{header}");
    }
    // A key that the token brings along, or says where to find, is not looked at.
    let stranger = Key::ed25519(9);
    for header in [
        r#"{"alg":"EdDSA","jku":"http://127.0.0.1:1/keys"}"#,
        r#"{"alg":"EdDSA","x5u":"http://127.0.0.1:1/keys"}"#,
        r#"{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"AAAA"}}"#,
        r#"{"alg":"EdDSA","kid":"../../../etc/passwd"}"#,
    ] {
        put(&server, &format!("Token: {}", stranger.token(header, &claims)))
            .is_refused(401, "unauthorised");
    }
    let good = key.signed(&crate::tokens::claims("alice"));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let dots = ".".repeat(16_000);
    for token in [
        signed.to_owned(),
        format!("{signed}."),
        format!("{good}."),
        format!("{good}.{signature}.{signature}"),
        format!("{good}="),
        format!("Bearer {good}"),
        dots,
        "..".to_owned(),
    ] {
        put(&server, &format!("Token: {token}")).is_refused(401, "unauthorised");
    }
    put(&server, &format!("Token: {good}\r\nToken: {good}")).is_refused(401, "unauthorised");
    assert!(server.tree().is_empty());
    assert_eq!(put(&server, &format!("Token: {good}")).status, 201);
}

#[test]
fn without_public_urls_only_clients_on_this_machine_sign_in_and_the_host_header_is_no_audience() {
    let key = Key::ed25519(7);
    let place = Place::new();
    place.put_beside("keys.json", key_file(&[("alice", key.line())]).as_bytes());
    let members = r#""authTypePut": "ssh-agent-file", "pubkeysFile": "keys.json""#;
    let server = Server::on(place, members);
    server.eventually("warned", |server| server.log().contains("`publicUrls`"));
    let with_audience = |audience: &str| {
        let mut claims = claims("alice");
        claims["aud"] = json!([audience]);
        put(&server, &format!("Token: {}", key.signed(&claims))).status
    };
    // The helper sends `Host: test`.
    assert_eq!(with_audience("test"), 401);
    assert_eq!(with_audience(AUDIENCE), 401);
    assert_eq!(with_audience("127.0.0.1"), 201);
    assert_eq!(with_audience("localhost"), 200);
}

/// What its client has signed for a hostile server, and that passes on: as it is, and with all that
/// proxies say of where a request was meant to go.
#[test]
fn a_token_that_another_server_was_shown_opens_nothing_here() {
    let key = Key::ed25519(7);
    let server = server(&[("alice", key.line())]);
    server.put_on_disk("dbt/latest", b"1.0.0");
    for audience in ["evil.example.com", "https://evil.example.com", "example.com", "evil", "*"] {
        let mut claims = claims("alice");
        claims["aud"] = json!([audience]);
        let token = format!("Token: {}", key.signed(&claims));
        for said in [
            "X-Forwarded-Host: evil.example.com",
            "Forwarded: host=evil.example.com;proto=https",
            "X-Original-Host: evil.example.com",
            "Via: 1.1 evil.example.com",
        ] {
            for (method, path, body) in
                [("GET", "/dbt/latest", &b""[..]), ("PUT", "/dbt/new", b"body")]
            {
                let reply = server.send(method, path, &[&token, said], body);
                let reply = reply.is_refused(401, "unauthorised");
                assert_eq!(reply.json()["detail"], "the token is for another server (its `aud`)");
            }
        }
    }
    assert!(!server.root().join("dbt/new").exists());
    assert_eq!(get(&server, &key.header_of("alice")).text(), "1.0.0");
}

#[test]
fn a_key_that_may_read_may_not_write() {
    let key = Key::ed25519(7);
    let place = Place::new();
    let entry = json!([{"username": "alice", "publickey": key.line()}]);
    place
        .put_beside("keys.json", json!({"getUsers": entry, "putUsers": []}).to_string().as_bytes());
    let server = Server::on(place, MEMBERS);
    server.put_on_disk("dbt/latest", b"1.0.0");
    assert_eq!(get(&server, &key.header_of("alice")).status, 200);
    put(&server, &key.header_of("alice")).is_refused(403, "forbidden");
}

#[test]
fn a_change_of_the_file_counts_at_once_and_a_broken_one_not_at_all() {
    let (old, new) = (Key::ed25519(7), Key::ed25519(8));
    let server = server(&[("alice", old.line())]);
    assert_eq!(put(&server, &old.header_of("alice")).status, 201);
    let file = server.outside().join("keys.json");
    std::fs::write(&file, "{").unwrap();
    assert_eq!(put(&server, &old.header_of("alice")).status, 200);
    std::fs::write(&file, key_file(&[("alice", new.line())])).unwrap();
    assert_eq!(put(&server, &new.header_of("alice")).status, 200);
    assert_eq!(put(&server, &old.header_of("alice")).status, 401);
}

/// A server that asks a script for keys. The script writes down what it was asked.
fn asking(script: &str) -> Server {
    let place = Place::new();
    place.put_beside("lookup", format!("#!/bin/sh\necho \"$@\" >>asked\n{script}\n").as_bytes());
    let path = place.beside("lookup");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let members = r#""authTypePut": "ssh-agent-func", "authOptsPut": {"idpFunc": "./lookup --user"},
        "publicUrls": ["https://dbt.example.com"]"#;
    Server::on(place, members)
}

fn asked(server: &Server) -> String {
    std::fs::read_to_string(server.outside().join("asked")).unwrap_or_default()
}

#[test]
fn a_command_finds_keys_and_is_asked_once_a_minute_for_each_name() {
    let key = Key::ed25519(7);
    let other = Key::p256().line();
    let server = asking(&format!("test \"$2\" = alice && echo '{other}' && echo '{}'", key.line()));
    assert_eq!(put(&server, &key.header_of("alice")).status, 201);
    assert_eq!(put(&server, &key.header_of("alice")).status, 200);
    for _attempt in 0..3 {
        put(&server, &key.header_of("mallory")).is_refused(401, "unauthorised");
    }
    assert_eq!(asked(&server), "--user alice\n--user mallory\n");
}

#[test]
fn a_name_never_becomes_a_command() {
    let key = Key::ed25519(7);
    let server = asking(&format!("echo '{}'", key.line()));
    let long = "a".repeat(4000);
    for name in [
        "x; id", "$(id)", "`id`", "alice\n", "alice\0", "--help", "-x", "a b", "a/b", "../x",
        "a'b", "a\"b", "|", "", ".", "_a", "\u{e9}", &long,
    ] {
        put(&server, &key.header_of(name)).is_refused(401, "unauthorised");
    }
    // What is wrong with a token is found before anybody is asked.
    let mut late = claims("alice");
    late["exp"] = json!(now() - 100);
    put(&server, &format!("Token: {}", key.signed(&late))).is_refused(401, "unauthorised");
    assert_eq!(asked(&server), "");
    assert_eq!(put(&server, &key.header_of("alice")).status, 201);
}

#[test]
fn a_command_that_fails_or_floods_proves_nothing() {
    let key = Key::ed25519(7);
    for script in [
        format!("echo '{}'; exit 1", key.line()),
        format!("echo '{}'; head -c 100000 /dev/zero | tr '\\0' x", key.line()),
        "echo nonsense".to_owned(),
        "kill -9 $$".to_owned(),
    ] {
        let server = asking(&script);
        put(&server, &key.header_of("alice")).is_refused(401, "unauthorised");
        assert!(server.tree().is_empty(), "{script}");
    }
}

#[test]
fn a_command_does_not_get_the_secrets_of_the_server() {
    let key = Key::ed25519(7);
    let place = Place::new()
        .variable("REPOSERVER_STATIC_TOKEN_GET", "canary-1")
        .variable("CI_TOKEN", "canary-2")
        .variable("PATH", "/usr/bin:/bin");
    let script = format!("#!/bin/sh\nenv >environment\necho '{}'\n", key.line());
    place.put_beside("lookup", script.as_bytes());
    let path = place.beside("lookup");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let members = r#""authTypePut": "ssh-agent-func, static-token",
        "authOptsPut": {"idpFunc": "./lookup"}, "tokens": [{"name": "ci", "env": "CI_TOKEN"}],
        "publicUrls": ["https://dbt.example.com"]"#;
    let server = Server::on(place, members);
    assert_eq!(put(&server, &key.header_of("alice")).status, 201);
    let environment = std::fs::read_to_string(server.outside().join("environment")).unwrap();
    assert!(environment.contains("PATH=") && !environment.contains("canary"), "{environment}");
}

#[test]
fn settings_of_keys_that_cannot_work_stop_the_start() {
    let cases = [
        (
            r#""authTypePut": "ssh-agent-file""#,
            "`authOptsPut.idpFile` is needed by `ssh-agent-file`, or `pubkeysFile`",
        ),
        (
            r#""authTypePut": "ssh-agent-file", "pubkeysFile": "missing""#,
            "`missing` cannot be used",
        ),
        (
            r#""authTypePut": "ssh-agent-func""#,
            "`authOptsPut.idpFunc` is needed by `ssh-agent-func`",
        ),
        (
            r#""authTypePut": "ssh-agent-func", "authOptsPut": {"idpFunc": "lookup | cat"}"#,
            "is run without a shell",
        ),
        (
            r#""authTypePut": "ssh-agent-func", "authOptsPut": {"idpFunc": "x"}, "publicUrls": ["dbt.example.com"]"#,
            "`publicUrls` `dbt.example.com` is no URL of a server",
        ),
        (
            r#""authTypePut": "ssh-agent-file,basic-htpasswd", "authOptsPut": {"idpFile": "x"}"#,
            "cannot be both users with passwords and users with keys",
        ),
        (
            r#""authTypePut": "ssh-agent-file", "pubkeysFile": "root/keys""#,
            "lies in the directory to serve",
        ),
    ];
    for (members, words) in cases {
        let place = Place::new();
        place.put_on_disk("keys", b"{}");
        let said = place.refusal(members);
        assert!(said.contains(words), "{members}\n{said}");
    }
}
