//! Every method with every credential, and what each is told.

use crate::world::{Reply, Server};

const READ: &str = "Authorization: Bearer read-token";
const WRITE: &str = "Authorization: Bearer write-token";
const BOTH: &str = r#""authGets": true,
    "authTypeGet": "static-token", "authOptsGet": {"staticToken": "read-token"},
    "authTypePut": "static-token", "authOptsPut": {"staticToken": "write-token"}"#;
const WRITES_ONLY: &str =
    r#""authTypePut": "static-token", "authOptsPut": {"staticToken": "write-token"}"#;

/// Every way to ask for something, and whether it is a write.
const REQUESTS: [(&str, &str, bool); 11] = [
    ("GET", "/dbt/latest", false),
    ("HEAD", "/dbt/latest", false),
    ("GET", "/dbt/", false),
    ("GET", "/", false),
    ("GET", "/missing", false),
    ("GET", "/.reposerver/lock", false),
    ("GET", "/-/api/tools", false),
    ("GET", "/-/api/tools/x/versions", false),
    ("PUT", "/dbt/new", true),
    ("PUT", "/dbt/latest", true),
    ("DELETE", "/dbt/latest", true),
];

fn prepared(members: &str) -> Server {
    let server = Server::with(members);
    server.put_on_disk("dbt/latest", b"1.0.0");
    server.put_on_disk("dbt-tools/x/1.0.0/description.txt", b"x");
    server
}

fn ask(server: &Server, method: &str, path: &str, credential: Option<&str>) -> Reply {
    let lines: Vec<&str> = credential.into_iter().collect();
    let body: &[u8] = if method == "PUT" { b"body" } else { b"" };
    server.send(method, path, &lines, body)
}

/// Says which of the right credentials is missing: 401 without or with a bad one, 403 with one
/// that is valid for something else.
fn expected(is_write: bool, credential: Option<&str>) -> Option<u16> {
    match credential {
        Some(READ) => is_write.then_some(403),
        Some(WRITE) => (!is_write).then_some(403),
        _ => Some(401),
    }
}

#[test]
fn every_method_needs_its_own_credential_and_a_refusal_changes_nothing() {
    let server = prepared(BOTH);
    let before = server.tree();
    let credentials = [
        None,
        Some(READ),
        Some(WRITE),
        Some("Authorization: Bearer wrong"),
        Some("Authorization: Bearer "),
        Some("Authorization: Basic Og=="),
        Some("Authorization: Basic d3Jvbmc6d3Jvbmc="),
        Some("Authorization: Digest write-token"),
        Some("Token: write-token"),
    ];
    for (method, path, is_write) in REQUESTS {
        for credential in credentials {
            let Some(status) = expected(is_write, credential) else { continue };
            let reply = ask(&server, method, path, credential);
            assert_eq!(reply.status, status, "{method} {path} {credential:?}");
            assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
            assert!(!String::from_utf8_lossy(&reply.body).contains("1.0.0"));
        }
        assert_eq!(server.tree(), before, "{method} {path}");
    }
    for (method, path, is_write) in REQUESTS {
        let right = if is_write { WRITE } else { READ };
        let status = ask(&server, method, path, Some(right)).status;
        assert!(matches!(status, 200 | 201 | 204 | 404), "{method} {path}: {status}");
    }
    assert_eq!(ask(&server, "GET", "/healthz", None).text(), "ok");
}

#[test]
fn strangers_cannot_tell_what_exists() {
    let server = prepared(BOTH);
    let told = |path| {
        let reply = ask(&server, "GET", path, None);
        let mut problem = reply.json();
        problem["requestId"] = "".into();
        problem["instance"] = "".into();
        (reply.status, reply.stable_headers(), problem)
    };
    let missing = told("/missing");
    for path in [
        "/dbt/latest",
        "/dbt",
        "/dbt/",
        "/.reposerver/lock",
        "/-/api/unknown",
        "/-/api/tools/x/versions",
    ] {
        assert_eq!(told(path), missing, "{path}");
    }
}

#[test]
fn reads_stay_open_where_only_writes_are_guarded_even_with_a_stale_credential() {
    let server = prepared(WRITES_ONLY);
    for credential in [None, Some("Authorization: Bearer stale"), Some("Authorization: Basic Og==")]
    {
        let reply = ask(&server, "GET", "/dbt/latest", credential);
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-cache")));
        assert_eq!(ask(&server, "PUT", "/dbt/new", credential).status, 401);
    }
    assert_eq!(ask(&server, "PUT", "/dbt/new", Some(WRITE)).status, 201);
}

#[test]
fn guarded_answers_are_not_for_shared_caches() {
    let server = prepared(BOTH);
    let reply = ask(&server, "GET", "/dbt/latest", Some(READ));
    assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
}

#[test]
fn without_a_method_for_writes_there_are_none() {
    let server = prepared("");
    for method in ["PUT", "DELETE"] {
        for path in ["/dbt/latest", "/dbt/new", "/"] {
            let reply = ask(&server, method, path, Some(WRITE));
            reply.is_refused(405, "method-not-allowed");
            assert_eq!(reply.header("allow"), Some("GET, HEAD, OPTIONS"));
        }
    }
    assert!(
        !server.root().join(".reposerver").exists(),
        "nothing is written to a tree that is only read"
    );
}

#[test]
fn the_token_is_accepted_in_the_ways_publishers_send_it() {
    let server = prepared(WRITES_ONLY);
    for line in [
        "Authorization: Bearer write-token",
        "authorization: bearer write-token",
        "AUTHORIZATION: BEARER   write-token  ",
        // `ci:write-token` and `:write-token`.
        "Authorization: Basic Y2k6d3JpdGUtdG9rZW4=",
        "Authorization: basic OndyaXRlLXRva2Vu",
    ] {
        assert_eq!(ask(&server, "PUT", "/dbt/latest", Some(line)).status, 200, "{line}");
    }
}

#[test]
fn strange_credentials_are_refused_and_harm_nothing() {
    let server = prepared(WRITES_ONLY);
    let dots = format!("Authorization: Bearer {}", ".".repeat(40_000));
    let mut lines = vec![
        "Authorization: Bearer write-token\r\nAuthorization: Bearer write-token".to_owned(),
        "Authorization: Bearer write-token, Bearer write-token".to_owned(),
        "Authorization: Bearer\twrite-token".to_owned(),
        "Authorization: Bearer".to_owned(),
        "Authorization: bearer ".to_owned(),
        "Authorization:".to_owned(),
        "Authorization: Bearer write-token extra".to_owned(),
        "Authorization: write-token".to_owned(),
        "Authorization: Bearer \"write-token\"".to_owned(),
        "Authorization: Basic ?".to_owned(),
        "Proxy-Authorization: Bearer write-token".to_owned(),
        dots,
    ];
    lines.push(format!("Authorization: Bearer {}", "x".repeat(1024 * 1024)));
    lines.push(format!("Authorization: Bearer {}", ".".repeat(1_000_000)));
    for line in &lines {
        let status = ask(&server, "PUT", "/dbt/new", Some(line)).status;
        let start: String = line.chars().take(60).collect();
        // A head of a megabyte may be answered by closing the connection.
        assert!(
            matches!(status, 400 | 401 | 431) || (status == 0 && line.len() > 65_536),
            "{start}: {status}"
        );
    }
    assert!(!server.root().join("dbt/new").exists());
    assert_eq!(ask(&server, "PUT", "/dbt/new", Some(WRITE)).status, 201);
}

#[test]
fn a_refusal_names_the_method_that_helps_and_says_when_the_credential_was_bad() {
    let server = prepared(WRITES_ONLY);
    let challenge = |credential| {
        ask(&server, "PUT", "/dbt/new", credential).header("www-authenticate").unwrap().to_owned()
    };
    assert_eq!(challenge(None), "Bearer realm=\"dbt\"");
    assert_eq!(
        challenge(Some("Authorization: Bearer wrong")),
        "Bearer realm=\"dbt\", error=\"invalid_token\", error_description=\"the credential is not valid\""
    );
}

#[test]
fn no_credential_is_ever_logged() {
    let server = prepared(BOTH);
    for (method, path, _is_write) in REQUESTS {
        for line in [
            READ,
            WRITE,
            "Authorization: Bearer canary-bearer",
            // `canary:canary-password`.
            "Authorization: Basic Y2FuYXJ5OmNhbmFyeS1wYXNzd29yZA==",
            "Cookie: canary-cookie",
        ] {
            ask(&server, method, path, Some(line));
        }
    }
    ask(&server, "GET", "/dbt/latest?token=canary-query", None);
    server
        .eventually("logged", |server| server.log().matches("\"target\":\"access\"").count() >= 56);
    // What was shown is looked for when the server ends.
    assert!(!server.log().contains("Bearer"));
}
