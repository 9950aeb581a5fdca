//! Signing in at the pages by an identity provider, step by step as a browser does it; and whatever
//! is not such a browser's own sign-in opens nothing.

use dbt_testkit::http::{self, Answer};
use dbt_testkit::token_endpoint::{AUTHORIZE, TOKEN, TokenEndpoint, of_json};
use serde_json::{Value, json};

use crate::world::{Place, Reply, Server};

/// As whom the provider knows the pages.
const CLIENT: &str = "catalog";

/// For whom the tokens are that programs show to the server.
const AUDIENCE: &str = "https://dbt.example.com";

/// Where browsers find the server.
const PUBLIC: &str = "http://127.0.0.1:9999";

fn settings(provider: &TokenEndpoint, sign_in: &Value) -> String {
    let settings = json!({
        "authGets": true, "authTypeGet": "oidc", "publicUrls": [PUBLIC],
        "authOptsGet": {"oidc": {"issuerUrl": provider.url(), "audiences": [AUDIENCE]}},
        "authTypePut": "oidc",
        "authOptsPut": {"oidc": {"issuerUrl": provider.url(), "audiences": [AUDIENCE]}},
        "web": {"signIn": sign_in},
    });
    let text = settings.to_string();
    text.trim_start_matches('{').strip_suffix('}').unwrap().to_owned()
}

fn with_tools(place: &Place) {
    for ending in ["", ".sha256", ".asc"] {
        let file = format!("dbt-tools/deploy/1.0.0/linux/amd64/deploy{ending}");
        place.put_on_disk(&file, b"binary");
    }
}

fn begun() -> (TokenEndpoint, Server) {
    let provider = TokenEndpoint::start();
    let place = Place::new();
    with_tools(&place);
    let server = Server::on(place, &settings(&provider, &json!({"clientId": CLIENT})));
    (provider, server)
}

/// What a browser has between two steps.
#[derive(Clone)]
struct Step {
    /// The address that it is sent to.
    location: String,
    /// `NAME=VALUE`.
    cookie: String,
}

/// Reads where an answer sends a browser, and the one cookie that it sets.
fn step(reply: &Reply) -> Step {
    assert_eq!(reply.status, 303, "{reply:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let set = reply.all("set-cookie");
    let kept: Vec<&str> = set.iter().filter(|line| !line.contains("Max-Age=0;")).copied().collect();
    let [line] = kept.as_slice() else { panic!("{set:?}") };
    for attribute in ["Path=/-/ui/", "HttpOnly", "SameSite=Lax"] {
        assert!(line.contains(attribute), "{line}");
    }
    let cookie = line.split(';').next().unwrap().to_owned();
    Step { location: reply.header("location").unwrap().to_owned(), cookie }
}

/// Begins to sign in.
fn begin(server: &Server, query: &str) -> Step {
    step(&server.get(&format!("/-/ui/sign-in{query}")))
}

/// Has the provider confirm, and returns the path and query to which it sends the browser back.
fn confirm(begun: &Step) -> String {
    let answer = http::ask("GET", &begun.location, &[("Connection", "close")], None).unwrap();
    let back = answer.header("location").unwrap().to_owned();
    back.strip_prefix(PUBLIC).unwrap_or_else(|| panic!("{back}")).to_owned()
}

fn come_back(server: &Server, back: &str, cookie: &str) -> Reply {
    let line = format!("Cookie: {cookie}");
    let lines: Vec<&str> = if cookie.is_empty() { Vec::new() } else { vec![&line] };
    server.send("GET", back, &lines, b"")
}

/// Signs in, and returns the cookie of the session.
fn signed_in(server: &Server, query: &str) -> Step {
    let begun = begin(server, query);
    let session = step(&come_back(server, &confirm(&begun), &begun.cookie));
    server.keep_secret(session.cookie.split('=').nth(1).unwrap());
    session
}

fn with_cookie(server: &Server, method: &str, path: &str, cookie: &str, body: &[u8]) -> Reply {
    server.send(method, path, &[&format!("Cookie: {cookie}")], body)
}

/// Checks that nobody was let in, and that a person is told so.
fn is_refused(reply: &Reply, status: u16) {
    assert_eq!(reply.status, status, "{reply:?}");
    let sessions = reply.all("set-cookie");
    assert!(!sessions.iter().any(|line| line.contains("session")), "{sessions:?}");
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(reply.text().contains("/-/ui/sign-in"), "{}", reply.text());
}

#[test]
fn a_browser_signs_in_sees_the_catalog_and_signs_out() {
    let (provider, server) = begun();
    let page = server.get("/-/ui/tools/deploy");
    is_refused(&page, 401);
    assert!(!page.all("www-authenticate").is_empty());
    let link = format!("href=\"{PUBLIC}/-/ui/sign-in?tool=deploy\"");
    assert!(page.text().contains(&link), "{}", page.text());

    let begun = begin(&server, "?tool=deploy");
    let (place, query) = begun.location.split_once('?').unwrap();
    assert_eq!(place, format!("{}{AUTHORIZE}", provider.url()));
    for part in ["response_type=code", "client_id=catalog", "code_challenge_method=S256", "nonce="]
    {
        assert!(query.contains(part), "{part}: {query}");
    }
    assert!(query.contains("redirect_uri=http%3A%2F%2F127.0.0.1%3A9999%2F-%2Fui%2Fcallback"));
    let back = confirm(&begun);
    let session = step(&come_back(&server, &back, &begun.cookie));
    server.keep_secret(session.cookie.split('=').nth(1).unwrap());
    assert_eq!(session.location, "/-/ui/tools/deploy");

    let page = with_cookie(&server, "GET", "/-/ui/tools/deploy", &session.cookie, b"");
    assert_eq!(page.status, 200, "{page:?}");
    assert_eq!(page.header("cache-control"), Some("private, no-cache"));
    assert!(page.text().contains("Signed in as <strong>alice@example.com</strong>"));
    assert!(!page.text().contains("href=\"/dbt-tools/"), "a session opens no files");
    assert!(with_cookie(&server, "GET", "/-/ui/", &session.cookie, b"").text().contains("deploy"));

    let out = with_cookie(&server, "POST", "/-/ui/sign-out", &session.cookie, b"");
    assert_eq!((out.status, out.header("location")), (303, Some("/-/ui/signed-out")));
    assert!(out.header("set-cookie").unwrap().contains("catalog-session=; Max-Age=0"), "{out:?}");
    assert!(server.get("/-/ui/signed-out").text().contains("You are signed out"));
    is_refused(&with_cookie(&server, "GET", "/-/ui/", &session.cookie, b""), 401);
    let log = server.log();
    assert!(!log.contains("a-code-") && !log.contains("state="), "{log}");
}

#[test]
fn a_session_counts_for_pages_and_for_nothing_else() {
    let (_provider, server) = begun();
    let session = signed_in(&server, "").cookie;
    assert_eq!(with_cookie(&server, "GET", "/-/ui/", &session, b"").status, 200);
    for path in [
        "/",
        "/dbt-tools/",
        "/dbt-tools/deploy/1.0.0/linux/amd64/deploy",
        "/-/api/tools",
        "/-/api/v1/tools",
        "/-/api/v1/whoami",
        "/-/api/v1/tokens",
        "/-/metrics",
    ] {
        assert_eq!(with_cookie(&server, "GET", path, &session, b"").status, 401, "{path}");
    }
    let before = server.tree();
    let file = "/dbt-tools/deploy/1.1.0/linux/amd64/deploy";
    assert_eq!(with_cookie(&server, "PUT", file, &session, b"evil").status, 401);
    assert_eq!(with_cookie(&server, "DELETE", "/dbt-tools/deploy/", &session, b"").status, 401);
    let body = br#"{"name": "x"}"#;
    assert_eq!(with_cookie(&server, "POST", "/-/api/v1/tokens", &session, body).status, 401);
    assert_eq!(server.tree(), before);
}

#[test]
fn what_another_browser_began_is_nobodys_sign_in() {
    let (provider, server) = begun();
    let (mine, other) = (begin(&server, ""), begin(&server, ""));
    assert_ne!(mine.cookie, other.cookie);
    let back = confirm(&mine);
    provider.take_asked();
    let tampered = format!("{}deploy", mine.cookie);
    let other_state = {
        let state = |location: &str| {
            let (_before, rest) = location.split_once("state=").unwrap();
            rest.split('&').next().unwrap().to_owned()
        };
        back.replace(&state(&mine.location), &state(&other.location))
    };
    let other_issuer =
        format!("{}&iss=https%3A%2F%2Fevil.example", back.split("&iss=").next().unwrap());
    for (path, cookie) in [
        (back.as_str(), ""),
        (&back, other.cookie.as_str()),
        (&back, &tampered),
        (&back, "catalog-sign-in=x"),
        (&back, &format!("{}; {}", mine.cookie, other.cookie)),
        (&other_state, &mine.cookie),
        (&other_issuer, &mine.cookie),
        (back.split("&state=").next().unwrap(), &mine.cookie),
        ("/-/ui/callback", &mine.cookie),
    ] {
        is_refused(&come_back(&server, path, cookie), 400);
    }
    let denied = back.replace("code=", "error=access_denied&x=");
    is_refused(&come_back(&server, &denied, &mine.cookie), 403);
    assert!(provider.take_asked().is_empty(), "nobody was asked for a token");
    // The browser that began it gets in, once.
    step(&come_back(&server, &back, &mine.cookie));
    is_refused(&come_back(&server, &back, &mine.cookie), 403);
}

#[test]
fn a_cookie_that_nobody_was_given_is_no_session() {
    let (_provider, server) = begun();
    let session = signed_in(&server, "").cookie;
    let (name, value) = session.split_once('=').unwrap();
    let other = format!("{name}={}", value.chars().rev().collect::<String>());
    for cookie in [
        other.as_str(),
        "catalog-session=",
        "catalog-session=x",
        &format!("__Host-{session}"),
        &format!("{session}; {other}"),
        &format!("catalog-sign-in={value}"),
    ] {
        is_refused(&with_cookie(&server, "GET", "/-/ui/", cookie, b""), 401);
    }
}

#[test]
fn a_token_that_was_not_given_for_this_sign_in_begins_no_session() {
    let (provider, server) = begun();
    let nonce = |begun: &Step| {
        let (_before, rest) = begun.location.split_once("&nonce=").unwrap();
        rest.split('&').next().unwrap().to_owned()
    };
    let good = |nonce: &str| json!({"sub": "mallory", "aud": CLIENT, "nonce": nonce});
    let changes: [(&str, Value, u16); 7] = [
        ("nonce", json!("of-another-sign-in"), 502),
        ("nonce", Value::Null, 502),
        ("aud", json!(AUDIENCE), 403),
        ("aud", json!("https://elsewhere.example"), 403),
        ("azp", json!("other"), 502),
        ("exp", json!(1_000_000_000), 403),
        ("iss", json!("https://evil.example"), 403),
    ];
    for (claim, value, status) in changes {
        let begun = begin(&server, "");
        let back = confirm(&begun);
        let mut claims = good(&nonce(&begun));
        claims[claim] = value;
        let answer = json!({"id_token": provider.sign(claims), "token_type": "Bearer"});
        provider.next(TOKEN, of_json(200, &answer));
        let reply = come_back(&server, &back, &begun.cookie);
        assert_eq!(reply.status, status, "{claim}");
        is_refused(&reply, status);
    }
    for answer in [
        of_json(200, &json!({"access_token": "an-access-token"})),
        of_json(200, &json!({"id_token": "x"})),
        of_json(200, &json!({"id_token": 7})),
        of_json(200, &json!([])),
        Answer::text(200, "<html>"),
    ] {
        let begun = begin(&server, "");
        let back = confirm(&begun);
        provider.next(TOKEN, answer);
        let reply = come_back(&server, &back, &begun.cookie);
        assert!(matches!(reply.status, 403 | 502), "{reply:?}");
        is_refused(&reply, reply.status);
    }
    // With the right one, it begins.
    let begun = begin(&server, "");
    let back = confirm(&begun);
    let answer = json!({"id_token": provider.sign(good(&nonce(&begun)))});
    provider.next(TOKEN, of_json(200, &answer));
    step(&come_back(&server, &back, &begun.cookie));
}

#[test]
fn a_sign_in_leads_to_a_page_of_a_tool_and_nowhere_else() {
    let (_provider, server) = begun();
    assert_eq!(signed_in(&server, "?tool=deploy").location, "/-/ui/tools/deploy");
    for query in [
        "",
        "?tool=",
        "?tool=%2F%2Fevil.example",
        "?tool=https%3A%2F%2Fevil.example",
        "?tool=..%2F..",
        "?tool=a&tool=b",
        "?to=https://evil.example",
        "?redirect_uri=https://evil.example",
    ] {
        assert_eq!(signed_in(&server, query).location, "/-/ui/", "{query}");
    }
}

#[test]
fn a_page_of_another_site_signs_nobody_out() {
    let (_provider, server) = begun();
    let session = signed_in(&server, "").cookie;
    for line in ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site"] {
        let cookie = format!("Cookie: {session}");
        let reply = server.send("POST", "/-/ui/sign-out", &[&cookie, line], b"");
        assert_eq!(reply.status, 403, "{line}");
    }
    assert_eq!(with_cookie(&server, "GET", "/-/ui/", &session, b"").status, 200);
}

#[test]
fn a_session_lasts_as_long_as_its_token_and_its_owner_may_read() {
    let (provider, server) = begun();
    provider.give_for(120);
    let begun = begin(&server, "");
    let reply = come_back(&server, &confirm(&begun), &begun.cookie);
    let set = reply.all("set-cookie").into_iter().find(|line| line.contains("session")).unwrap();
    let age = set.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
    assert!(age.parse::<u64>().unwrap() <= 120, "{set}");
    let session = step(&reply).cookie;
    assert_eq!(with_cookie(&server, "GET", "/-/ui/", &session, b"").status, 200);
    // Settings that are taken meanwhile count for sessions that were begun before.
    let stricter = settings(&provider, &json!({"clientId": CLIENT})).replacen(
        "\"audiences\"",
        "\"allowedGroups\":[\"admins\"],\"audiences\"",
        2,
    );
    server.reload(&stricter);
    is_refused(&with_cookie(&server, "GET", "/-/ui/", &session, b""), 401);
    let begun = begin(&server, "");
    is_refused(&come_back(&server, &confirm(&begun), &begun.cookie), 403);
}

#[test]
fn who_is_suspended_sees_no_page_from_the_next_one_on_and_does_not_get_in() {
    let (provider, server) = begun();
    let session = signed_in(&server, "").cookie;
    assert_eq!(with_cookie(&server, "GET", "/-/ui/", &session, b"").status, 200);
    let subject = format!("oidc:{}#alice", provider.url());
    server.command_beside(&["user", "suspend", &subject]);
    server.eventually("the suspension counts", |server| {
        with_cookie(server, "GET", "/-/ui/", &session, b"").status == 403
    });
    for path in ["/-/ui/", "/-/ui/tools/deploy", "/-/ui/unknown"] {
        let page = with_cookie(&server, "GET", path, &session, b"");
        assert!([401, 403].contains(&page.status) && !page.text().contains("binary"), "{page:?}");
    }
    let begun = begin(&server, "");
    is_refused(&come_back(&server, &confirm(&begun), &begun.cookie), 403);
    // It is the session of before that shows pages again.
    server.command_beside(&["user", "reactivate", &subject]);
    server.eventually("the end of it counts", |server| {
        with_cookie(server, "GET", "/-/ui/", &session, b"").status == 200
    });
}

#[test]
fn who_signs_in_again_has_one_session() {
    let (_provider, server) = begun();
    let first = signed_in(&server, "").cookie;
    let begun = begin(&server, "");
    let cookies = format!("{}; {first}", begun.cookie);
    let second = step(&come_back(&server, &confirm(&begun), &cookies)).cookie;
    server.keep_secret(second.split('=').nth(1).unwrap());
    assert_ne!(first, second);
    is_refused(&with_cookie(&server, "GET", "/-/ui/", &first, b""), 401);
    assert_eq!(with_cookie(&server, "GET", "/-/ui/", &second, b"").status, 200);
}

#[test]
fn who_comes_by_the_public_address_signs_out_whatever_a_proxy_calls_the_server() {
    let (_provider, server) = begun();
    let session = signed_in(&server, "").cookie;
    let cookie = format!("Cookie: {session}");
    let origin = format!("Origin: {PUBLIC}");
    let lines = [cookie.as_str(), &origin, "Sec-Fetch-Site: same-origin"];
    assert_eq!(server.send("POST", "/-/ui/sign-out", &lines, b"").status, 303);
    is_refused(&with_cookie(&server, "GET", "/-/ui/", &session, b""), 401);
}

#[test]
fn a_client_with_a_secret_proves_itself_to_the_provider() {
    let provider = TokenEndpoint::start();
    provider.demand_secret("a-secret-of-the-cluster");
    let place = Place::new();
    with_tools(&place);
    place.put_beside("client-secret", b"a-secret-of-the-cluster\n");
    let sign_in = json!({"clientId": CLIENT, "clientSecretFile": place.beside("client-secret")});
    let server = Server::on(place, &settings(&provider, &sign_in));
    signed_in(&server, "");
    let asked = provider.take_asked();
    let asked = asked.iter().find(|asked| asked.path() == TOKEN).unwrap();
    assert!(asked.request.header("authorization").unwrap().starts_with("Basic "));
    assert_eq!(asked.field("client_secret"), None);
    assert_eq!(asked.field("code_verifier").unwrap().len(), 43);

    // Another server, to which the provider says that it reads no header.
    provider.offer("token_endpoint_auth_methods_supported", json!(["client_secret_post"]));
    let place = Place::new();
    place.put_beside("client-secret", b"a-secret-of-the-cluster\n");
    let sign_in = json!({"clientId": CLIENT, "clientSecretFile": place.beside("client-secret")});
    let server = Server::on(place, &settings(&provider, &sign_in));
    signed_in(&server, "");
    let asked = provider.take_asked();
    let asked = asked.iter().find(|asked| asked.path() == TOKEN).unwrap();
    assert_eq!(asked.request.header("authorization"), None);
    assert_eq!(asked.field("client_id").as_deref(), Some(CLIENT));
    assert_eq!(asked.field("client_secret").as_deref(), Some("a-secret-of-the-cluster"));
}

#[test]
fn what_a_session_keeps_is_nothing_that_a_program_could_show() {
    let (provider, server) = begun();
    let path = "/dbt-tools/deploy/1.0.0/linux/amd64/deploy";
    let shown = |claims: Value| {
        let token = provider.sign(claims);
        server.keep_secret(&token);
        let line = format!("Authorization: Bearer {token}");
        let read = server.send("GET", path, &[&line], b"").status;
        (read, server.send("PUT", "/dbt-tools/deploy/1.1.0/description.txt", &[&line], b"x").status)
    };
    assert_eq!(shown(json!({"sub": "alice", "aud": CLIENT})), (401, 401));
    assert_eq!(shown(json!({"sub": "alice", "aud": AUDIENCE})), (200, 201));
}

#[test]
fn a_provider_that_is_away_or_another_is_not_gone_to() {
    let provider = TokenEndpoint::start();
    provider.offer("issuer", json!("https://evil.example"));
    let place = Place::new();
    with_tools(&place);
    let server = Server::on(place, &settings(&provider, &json!({"clientId": CLIENT})));
    let reply = server.get("/-/ui/sign-in");
    is_refused(&reply, 503);
    let words = "is about the issuer `https://evil.example`";
    server.eventually("the reason is in the log", |server| server.log().contains(words));
    // It is not asked again at once.
    provider.take_asked();
    assert_eq!(server.get("/-/ui/sign-in").status, 503);
    assert!(provider.take_asked().is_empty());
}

#[test]
fn settings_that_cannot_sign_anybody_in_stop_the_start() {
    let provider = TokenEndpoint::start();
    let refused = |sign_in: Value| Place::new().refusal(&settings(&provider, &sign_in));
    for (sign_in, words) in [
        (json!({}), "`web.signIn.clientId` is needed"),
        (json!({"clientId": CLIENT, "issuerUrl": "https://x.example"}), "none of the readers'"),
        (json!({"clientId": CLIENT, "clientSecretEnv": "NOT_SET"}), "a variable that is not set"),
        (json!({"clientId": CLIENT, "scopes": ["a b"]}), "is no scope"),
        (json!({"clientId": CLIENT, "clientID2": "x"}), "unknown key"),
    ] {
        let said = refused(sign_in.clone());
        assert!(said.contains(words), "{sign_in}: {said}");
    }
    let good = settings(&provider, &json!({"clientId": CLIENT}));
    for (from, to, words) in [
        (format!("[\"{PUBLIC}\"]"), "[]".to_owned(), "needs `publicUrls`"),
        (PUBLIC.to_owned(), "http://dbt.example.com".to_owned(), "browsers cannot come back"),
        (
            "\"web\":{".to_owned(),
            "\"web\":{\"catalog\":false,".to_owned(),
            "`web.catalog` takes away",
        ),
        ("\"authGets\":true".to_owned(), "\"authGets\":false".to_owned(), "needs a provider"),
    ] {
        assert!(good.contains(&from), "{from}: {good}");
        let said = Place::new().refusal(&good.replace(&from, &to));
        assert!(said.contains(words), "{from}: {said}");
    }
}
