//! How the server's own tokens end: with what they were made with, whoever is quicker, by the name of
//! whoever made them, or not at all where that cannot be kept.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_testkit::invocation::mounts_work;
use serde_json::{Value, json};

use crate::world::{AS_ADMIN, AUTHORIZED, Place, Reply, Server, sha256, with_roles};

const TOKENS: &str = "/-/api/v1/tokens";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn agent(name: &str, role: &str) -> Value {
    json!({"name": name, "subject": format!("agent:{name}"), "roles": [role]})
}

/// Makes a token by showing something; returns its id and its text.
fn made(server: &Server, who: &str, wanted: &Value) -> (String, String) {
    let reply = server.send("POST", TOKENS, &[who], wanted.to_string().as_bytes());
    assert_eq!(reply.status, 201, "{wanted}: {reply:?}");
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    server.keep_secret(&text("token"));
    (text("id"), text("token"))
}

fn delete(server: &Server, who: &str, rest: &str) -> Reply {
    server.send("DELETE", &format!("{TOKENS}{rest}"), &[who], b"")
}

/// Says whether a token counts: everybody who has one sees their own.
fn counts(server: &Server, token: &str) -> bool {
    match server.send("GET", TOKENS, &[&bearer(token)], b"").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

/// Returns what the record says that was done with tokens.
fn details(server: &Server) -> Vec<String> {
    let text = server.command_beside(&["audit", "export"]);
    let detail = |line: &str| {
        let record = serde_json::from_str::<Value>(line).unwrap()["record"].take();
        Some(record["detail"].as_str()?.to_owned())
    };
    text.lines().filter_map(detail).collect()
}

/// Sends the head of a request, and returns the connection when it is asked for the body.
fn begun(server: &Server, method: &str, path: &str, line: &str, length: usize) -> TcpStream {
    let mut stream = server.connect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{line}\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

/// The head of a request comes in time, and its body later.
#[test]
fn a_token_that_is_revoked_while_its_request_comes_makes_nothing_any_more() {
    let server = Server::with_roles();
    for role in ["admin", "publisher"] {
        let (id, token) = made(&server, AS_ADMIN, &agent("foo", role));
        let body = json!({"name": "later"}).to_string();
        let mut stream = begun(&server, "POST", TOKENS, &bearer(&token), body.len());
        assert_eq!(delete(&server, AS_ADMIN, &format!("/{id}")).status, 204);
        stream.write_all(body.as_bytes()).unwrap();
        let reply = Reply::read(&mut stream, false);
        reply.is_refused(401, "unauthorised");
        assert_eq!(reply.json()["detail"], "the token was revoked", "{role}");
    }
    let listed = server.send("GET", TOKENS, &[AS_ADMIN], b"").json();
    let tokens = listed["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2, "{listed}");
    assert!(tokens.iter().all(|token| token["state"] == "revoked"), "{listed}");
}

/// Whichever is first: what was made before ends with it, and after it nothing is made.
#[test]
fn whatever_is_made_with_a_token_while_it_is_revoked_counts_no_more_when_that_is_answered() {
    let server = Server::with_roles();
    let (id, token) = made(&server, AS_ADMIN, &agent("boss", "admin"));
    let made = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (server, token, made) = (&server, &token, &made);
            scope.spawn(move || {
                // Each makes the next with the one before, too, so that there are long lines of them.
                let mut last = token.clone();
                for number in 0.. {
                    let wanted = agent(&format!("x-{thread}-{number}"), "admin").to_string();
                    let who = if number % 3 == 0 { bearer(token) } else { bearer(&last) };
                    let reply = server.send("POST", TOKENS, &[&who], wanted.as_bytes());
                    if reply.status == 401 {
                        return;
                    }
                    assert_eq!(reply.status, 201, "{reply:?}");
                    last = reply.json()["token"].as_str().unwrap().to_owned();
                    made.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        server.eventually("some are made", |_| made.load(Ordering::SeqCst) > 20);
        assert_eq!(delete(&server, AS_ADMIN, &format!("/{id}")).status, 204);
        assert_eq!(server.command_beside(&["token", "list"]), "", "as soon as it is answered");
    });
    assert_eq!(server.command_beside(&["token", "list"]), "");
    // Nor after the power fails.
    let server = Server::on(server.kill(), &with_roles());
    assert_eq!(server.command_beside(&["token", "list"]), "");
    assert!(!counts(&server, &token));
}

/// Also without a token: whoever is taken out of a file of users, or has another password there, while
/// their request comes.
#[test]
fn whose_password_is_taken_away_while_their_request_comes_makes_no_token() {
    for left in ["", "alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n"] {
        let place = Place::new();
        place.put_beside("htpasswd", b"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n");
        let server = Server::on(
            place,
            r#""authTypePut": "basic-htpasswd", "htpasswdFile": "htpasswd",
            "auth": {"roles": {"admin": ["htpasswd:alice"]}}, "policies": []"#,
        );
        let body = agent("later", "admin").to_string();
        let line = format!("Authorization: Basic {}", STANDARD.encode("alice:password"));
        let mut stream = begun(&server, "POST", TOKENS, &line, body.len());
        std::fs::write(server.outside().join("htpasswd"), left).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let reply = Reply::read(&mut stream, false);
        reply.is_refused(401, "unauthorised");
        assert_eq!(server.command_beside(&["token", "list", "--all"]), "", "{left}");
    }
}

/// A request has the settings that it began with, and what they permit may be permitted no more.
#[test]
fn no_token_is_made_for_settings_of_before() {
    let server = Server::with_roles();
    let body = agent("later", "admin").to_string();
    let mut stream = begun(&server, "POST", TOKENS, AS_ADMIN, body.len());
    server.reload(&with_roles());
    stream.write_all(body.as_bytes()).unwrap();
    let reply = Reply::read(&mut stream, false);
    reply.is_refused(503, "busy");
    assert_eq!(reply.json()["detail"], "the settings were read again meanwhile; try again");
    assert_eq!(server.command_beside(&["token", "list", "--all"]), "");
    made(&server, AS_ADMIN, &agent("now", "admin"));
}

/// And with a token: whose it is, or what it comes from, could not sign in otherwise any more.
#[test]
fn whose_subject_is_taken_out_of_a_file_while_their_token_comes_makes_no_token_with_it() {
    let place = Place::new();
    place.put_beside("htpasswd", b"alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n");
    let server = Server::on(
        place,
        r#""authTypePut": "basic-htpasswd", "htpasswdFile": "htpasswd",
        "auth": {"roles": {"admin": ["htpasswd:alice"]}}, "policies": []"#,
    );
    let line = format!("Authorization: Basic {}", STANDARD.encode("alice:password"));
    let (_id, token) = made(&server, &line, &json!({"name": "own"}));
    let body = agent("later", "admin").to_string();
    let mut stream = begun(&server, "POST", TOKENS, &bearer(&token), body.len());
    std::fs::write(server.outside().join("htpasswd"), "").unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let reply = Reply::read(&mut stream, false);
    reply.is_refused(401, "unauthorised");
    assert_eq!(reply.json()["detail"], "the credential is not valid");
    assert_eq!(server.command_beside(&["token", "list", "--all"]).lines().count(), 1);
}

/// Whoever had a token could otherwise keep uploads under way, for hours, and let each end when it
/// suits them.
#[test]
fn an_upload_that_is_under_way_when_its_token_is_revoked_is_not_published() {
    let server = Server::with_roles();
    let paths = ["/dbt/latest", "/dbt-tools/x/1.0.0/linux/amd64/x", "/dbt/truststore"];
    for path in paths {
        let (id, token) = made(&server, AS_ADMIN, &agent("foo", "publisher"));
        let mut stream = begun(&server, "PUT", path, &bearer(&token), 5);
        stream.write_all(b"byt").unwrap();
        assert_eq!(delete(&server, AS_ADMIN, &format!("/{id}")).status, 204);
        stream.write_all(b"es").unwrap();
        let reply = Reply::read(&mut stream, false);
        reply.is_refused(401, "unauthorised");
        assert_eq!(reply.all("www-authenticate").len(), 1, "{reply:?}");
        assert_eq!(reply.json()["detail"], "the credential counts no more", "{path}");
    }
    assert_eq!(server.tree(), [""; 0]);
    assert_eq!(server.drafts(), [""; 0]);
    let text = server.command_beside(&["audit", "export"]);
    let why = |line: &&str| line.contains("the token that was shown counts no more");
    assert_eq!(text.lines().filter(why).count(), paths.len(), "{text}");
    // With one that counts it is published as ever, however slowly it comes.
    let (_id, token) = made(&server, AS_ADMIN, &agent("foo", "publisher"));
    let mut stream = begun(&server, "PUT", paths[0], &bearer(&token), 5);
    stream.write_all(b"byt").unwrap();
    stream.write_all(b"es").unwrap();
    assert_eq!(Reply::read(&mut stream, false).status, 201);
}

/// Whoever had an administrator's token cannot have kept one for later.
#[test]
fn what_an_administrator_s_token_made_is_revoked_with_it_whoever_it_is_for() {
    let server = Server::with_roles();
    let (first, admin) = made(&server, AS_ADMIN, &agent("boss", "admin"));
    let forever = json!({"name": "x", "subject": "agent:x", "roles": ["admin"], "noExpiry": true});
    let (_id, second) = made(&server, &bearer(&admin), &forever);
    let (_id, third) = made(&server, &bearer(&second), &agent("ci", "publisher"));
    let users = json!({"name": "y", "subject": "static-token:ci", "roles": ["publisher"]});
    let (_id, fourth) = made(&server, &bearer(&second), &users);
    let (_id, other) = made(&server, AS_ADMIN, &agent("ci", "publisher"));
    assert_eq!(delete(&server, AS_ADMIN, &format!("/{first}")).status, 204);
    let left = [&admin, &second, &third, &fourth, &other].map(|token| counts(&server, token));
    assert_eq!(left, [false, false, false, false, true]);
    let words = "; with it what was made with it: 3 (";
    assert!(details(&server).iter().any(|detail| detail.contains(words)));
}

#[test]
fn a_token_is_replaced_without_ending_what_was_made_with_it_by_others_than_those() {
    let server = Server::with_roles();
    let (first, admin) = made(&server, AS_ADMIN, &agent("boss", "admin"));
    let (second, successor) = made(&server, &bearer(&admin), &agent("boss", "admin"));
    let (_id, ci) = made(&server, &bearer(&admin), &agent("ci", "publisher"));
    let keep = format!("/{first}?keepMade=true");
    for who in [&admin, &successor] {
        delete(&server, &bearer(who), &keep).is_refused(403, "forbidden");
    }
    // Nor is it for those who may only revoke their own.
    let (own, _text) = made(&server, AUTHORIZED, &json!({"name": "own"}));
    let refused = delete(&server, AUTHORIZED, &format!("/{own}?keepMade=true"));
    refused.is_refused(403, "forbidden");
    for query in ["?keepMade=yes", "?keep=true", "?keepMade=true&keepMade=true"] {
        let refused = delete(&server, AS_ADMIN, &format!("/{first}{query}"));
        refused.is_refused(400, "bad-query");
    }
    assert!([&admin, &successor, &ci].into_iter().all(|token| counts(&server, token)));
    assert_eq!(delete(&server, AS_ADMIN, &keep).status, 204);
    assert_eq!([&admin, &successor, &ci].map(|it| counts(&server, it)), [false, true, true]);
    let words = "; what was made with it counts on";
    assert!(details(&server).iter().any(|detail| detail.ends_with(words)));
    // By a command, too.
    server.command_beside(&["token", "revoke", &second, "--keep-made"]);
    assert_eq!([&successor, &ci].map(|it| counts(&server, it)), [false, true]);
    // And who finds out later that the first had leaked revokes it again.
    let said = server.command_beside(&["token", "revoke", &first]);
    assert!(said.contains("what was made with it: 1 ("), "{said}");
    assert!(!counts(&server, &ci));
}

#[test]
fn all_that_somebody_made_and_all_of_a_subject_is_revoked_by_one_request_or_command() {
    let server = Server::with_roles();
    let make = || {
        let (_id, own) = made(&server, AUTHORIZED, &json!({"name": "own"}));
        let (_id, made_with) = made(&server, &bearer(&own), &json!({"name": "made with it"}));
        let (_id, others) = made(&server, AS_ADMIN, &agent("ci", "publisher"));
        [own, made_with, others]
    };
    let first = make();
    let refused = delete(&server, AUTHORIZED, "?createdBy=static-token:ci");
    refused.is_refused(403, "forbidden");
    server.send("DELETE", TOKENS, &[], b"").is_refused(401, "unauthorised");
    for query in ["", "?createdBy=a&subject=b", "?who=a", "?createdBy=", "?subject=a%0ab"] {
        delete(&server, AS_ADMIN, query).is_refused(400, "bad-query");
    }
    assert!(first.iter().all(|token| counts(&server, token)));
    let reply = delete(&server, AS_ADMIN, "?createdBy=static-token%3Aci");
    assert_eq!((reply.status, reply.json()["revoked"].clone()), (200, json!(2)), "{reply:?}");
    assert_eq!(first.each_ref().map(|it| counts(&server, it)), [false, false, true]);
    let reply = delete(&server, AS_ADMIN, "?subject=agent:ci");
    assert_eq!(reply.json(), json!({"revoked": 1}));
    assert!(!counts(&server, &first[2]));

    let second = make();
    let said = server.command_beside(&["token", "revoke", "--created-by", "static-token:ci"]);
    assert!(said.starts_with("revoked all that `static-token:ci` made: 2 ("), "{said}");
    assert_eq!(second.each_ref().map(|it| counts(&server, it)), [false, false, true]);
    let said = server.refused_beside(&["token", "revoke", "--created-by", "static-token:ci"]);
    assert!(said.contains("there is no token that counts"), "{said}");
    let said = server.refused_beside(&["token", "revoke", "--subject", "a\u{1b}b"]);
    assert!(said.contains("no control characters"), "{said}");
}

#[test]
fn with_a_token_of_the_settings_goes_what_it_made_and_comes_back_with_it() {
    let server = Server::with_roles();
    let (_id, own) = made(&server, AUTHORIZED, &json!({"name": "own"}));
    let (_id, agents) = made(&server, AS_ADMIN, &agent("x", "admin"));
    let (_id, made_with) = made(&server, &bearer(&agents), &agent("y", "publisher"));
    let all = || [&own, &agents, &made_with].map(|token| counts(&server, token));
    assert_eq!(all(), [true; 3]);
    let token = |name: &str| format!(r#"{{"name": "{name}", "sha256": "{}"}}"#, sha256(b"another"));
    let without = |name: &str| {
        format!(
            r#""authTypePut": "static-token", "tokens": [{}],
            "auth": {{"roles": {{"admin": ["static-token:{name}"]}}}}, "policies": []"#,
            token(name)
        )
    };
    server.reload(&without("admin"));
    assert_eq!(all(), [false, true, true]);
    server.reload(&without("ci"));
    assert_eq!(all(), [true, false, false]);
    server.reload(&with_roles());
    assert_eq!(all(), [true; 3]);
}

#[test]
fn tokens_are_listed_by_the_page() {
    let server = Server::with_roles();
    let ids: Vec<String> =
        (0..5).map(|_| made(&server, AS_ADMIN, &agent("ci", "publisher")).0).collect();
    let page = |query: &str| {
        let listed = server.send("GET", &format!("{TOKENS}{query}"), &[AS_ADMIN], b"").json();
        let tokens = listed["tokens"].as_array().unwrap().iter();
        let ids: Vec<String> =
            tokens.map(|token| token["id"].as_str().unwrap().to_owned()).collect();
        (ids, listed["next"].as_str().map(ToOwned::to_owned))
    };
    assert_eq!(page("?limit=2"), (ids[..2].to_vec(), Some(ids[1].clone())));
    assert_eq!(page(&format!("?limit=2&after={}", ids[3])), (ids[4..].to_vec(), None));
    assert_eq!(page("?limit=5"), (ids.clone(), None));
    assert_eq!(page(""), (ids, None));
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?page=2"] {
        let reply = server.send("GET", &format!("{TOKENS}{query}"), &[AS_ADMIN], b"");
        reply.is_refused(400, "bad-query");
    }
}

/// Whatever is answered is so: what was not kept counts for nothing, and what could not be revoked
/// is not said to be.
#[test]
fn on_a_full_disk_tokens_are_made_and_revoked_wholly_or_not_at_all() {
    if !mounts_work() {
        return;
    }
    let place = Place::new().on_a_disk_of("size=3m").variable("STATE_DIRECTORY", "");
    let members = with_roles()
        .replace(r#""auth": {"#, r#""auth": {"apiTokens": {"maxPerSubject": 100000}, "#);
    let server = Server::on(place, &members);
    let wanted = agent("ci", "publisher").to_string();
    let mut tokens = Vec::new();
    let refused = (0..3000).find_map(|_again| {
        let reply = server.send("POST", TOKENS, &[AS_ADMIN], wanted.as_bytes());
        if reply.status == 201 {
            let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
            tokens.push((text("id"), text("token")));
            return None;
        }
        Some(reply)
    });
    refused.expect("the disk is never full").is_refused(507, "out-of-space");
    let mut listed = Vec::new();
    let mut query = "?limit=1000".to_owned();
    loop {
        let page = server.send("GET", &format!("{TOKENS}{query}"), &[AS_ADMIN], b"").json();
        let ids = page["tokens"].as_array().unwrap().iter();
        listed.extend(ids.map(|token| token["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        query = format!("?limit=1000&after={next}");
    }
    let kept: Vec<String> = tokens.iter().map(|(id, _text)| id.clone()).collect();
    assert_eq!(listed, kept, "what was answered with 201, and nothing else");
    let mut not_revoked = 0;
    for (id, text) in tokens.iter().take(40) {
        let reply = delete(&server, AS_ADMIN, &format!("/{id}"));
        let is_revoked = reply.status == 204;
        if !is_revoked {
            reply.is_refused(507, "out-of-space");
            not_revoked += 1;
        }
        assert_eq!(counts(&server, text), !is_revoked, "{reply:?}");
    }
    assert!(not_revoked > 0, "there is no space to note it");
}
