//! The server's own tokens over HTTP: what one permits, who may make which, and that one that was
//! revoked proves nothing any more.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::world::{AS_ADMIN, AUTHORIZED, Place, Reply, Server, WRITABLE, sha256, with_roles};

const TOKENS: &str = "/-/api/v1/tokens";
const X: &str = "/dbt-tools/foo/1.0.0/linux/amd64/foo";
const Y: &str = "/dbt-tools/bar/1.0.0/linux/amd64/bar";

/// Makes a token, and returns the answer.
fn make(server: &Server, who: &str, wanted: &Value) -> Reply {
    server.send("POST", TOKENS, &[who], wanted.to_string().as_bytes())
}

/// Makes a token as an administrator; returns its id and its text.
fn made(server: &Server, wanted: &Value) -> (String, String) {
    let reply = make(server, AS_ADMIN, wanted);
    assert_eq!(reply.status, 201, "{wanted}: {reply:?}");
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    assert_eq!(reply.header("location"), Some(format!("{TOKENS}/{}", text("id")).as_str()));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    server.keep_secret(&text("token"));
    (text("id"), text("token"))
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn basic(user: &str, token: &str) -> String {
    format!("Authorization: Basic {}", STANDARD.encode(format!("{user}:{token}")))
}

fn put(server: &Server, header: &str, path: &str) -> Reply {
    server.send("PUT", path, &[header], b"bytes")
}

fn agent(name: &str, roles: &[&str], paths: &[&str]) -> Value {
    json!({"name": name, "subject": format!("agent:{name}"), "roles": roles, "paths": paths})
}

fn revoke(server: &Server, who: &str, id: &str) -> Reply {
    server.send("DELETE", &format!("{TOKENS}/{id}"), &[who], b"")
}

/// Returns the record from its lines.
fn records(server: &Server) -> Vec<Value> {
    let text = server.command_beside(&["audit", "export"]);
    text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["record"].take()).collect()
}

#[test]
fn a_token_permits_what_its_roles_and_paths_say_however_it_is_sent() {
    let server = Server::with_roles();
    let (id, token) = made(&server, &agent("foo", &["publisher"], &["/dbt-tools/foo/**"]));
    for (index, header) in
        [bearer(&token), basic("any", &token), basic("", &token), basic("foo", &token)]
            .iter()
            .enumerate()
    {
        let path = format!("/dbt-tools/foo/1.0.{index}/linux/amd64/foo");
        assert_eq!(put(&server, header, &path).status, 201, "{header}");
        put(&server, header, Y).is_refused(403, "forbidden");
        put(&server, header, "/dbt/latest").is_refused(403, "forbidden");
        let list = server.send("GET", "/-/metrics", &[header], b"");
        assert_eq!(list.status, 403);
        make(&server, header, &agent("other", &["publisher"], &[])).is_refused(403, "forbidden");
    }
    // What the settings' own tokens may is as it was.
    assert_eq!(server.put(Y, b"bytes").status, 201);

    let shown = server.send("GET", &format!("{TOKENS}/{id}"), &[AS_ADMIN], b"").json();
    assert_eq!(shown["subject"], "agent:foo");
    assert_eq!(shown["subjectType"], "agent");
    assert_eq!(shown["createdBy"], "static-token:admin");
    assert_eq!(shown["state"], "active");
    assert_eq!(shown["within"][0]["paths"], json!(["/dbt-tools/foo/**"]));
    assert!(token.starts_with(shown["prefix"].as_str().unwrap()));
    assert!(shown.get("token").is_none(), "it is shown once");
}

#[test]
fn a_token_that_is_none_is_told_from_one_that_is_mistyped_and_both_are_refused() {
    let server = Server::with_roles();
    let (_id, token) = made(&server, &agent("foo", &["publisher"], &[]));
    let last = token.chars().last().unwrap();
    let mistyped = format!("{}{}", &token[..35], if last == 'a' { 'b' } else { 'a' });
    let unknown = dbt_server::tokens::text::new().unwrap().expose().clone();
    let told = "the token is mistyped: its last character does not fit the others";
    for (text, words) in [
        (mistyped, told),
        (unknown, "the credential is not valid"),
        (token[..35].to_owned(), told),
        (token.replace("dbt_", "dbt-"), "the credential is not valid"),
    ] {
        for header in [bearer(&text), basic("any", &text)] {
            let reply = put(&server, &header, X);
            reply.is_refused(401, "unauthorised");
            assert_eq!(reply.json()["detail"], words);
            assert_eq!(reply.all("www-authenticate").len(), 1);
        }
    }
    assert_eq!(server.tree(), [""; 0]);
}

#[test]
fn a_revoked_token_proves_nothing_from_the_next_request_on_and_says_so_to_its_bearer() {
    let server = Server::with_roles();
    let (id, token) = made(&server, &agent("foo", &["publisher"], &[]));
    assert_eq!(put(&server, &bearer(&token), X).status, 201);
    assert_eq!(revoke(&server, AS_ADMIN, &id).status, 204);
    let refused = put(&server, &bearer(&token), X);
    refused.is_refused(401, "unauthorised");
    assert_eq!(refused.json()["detail"], "the token was revoked");
    // Once more changes nothing, and neither does a restart.
    assert_eq!(revoke(&server, AS_ADMIN, &id).status, 204);
    revoke(&server, AS_ADMIN, "01M81Z943VQVW0X8R1ESWY9315").is_refused(404, "not-found");
    let shown = server.send("GET", &format!("{TOKENS}/{id}"), &[AS_ADMIN], b"").json();
    assert_eq!(shown["state"], "revoked");
    let why = format!("the token {id} was revoked");
    server.eventually("recorded", |server| {
        let is_it =
            |record: &Value| record["reason"].as_str().is_some_and(|it| it.starts_with(&why));
        records(server).iter().any(is_it)
    });
}

/// Whoever asks after the answer to the revocation is refused, however many ask all the time.
#[test]
fn a_revocation_that_was_answered_is_known_to_every_request_that_begins_after_it() {
    let server = Server::with_roles();
    let (id, token) = made(&server, &agent("foo", &["publisher"], &[]));
    let header = bearer(&token);
    let (revoked, wrongly, rightly) =
        (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _asker in 0..4 {
            scope.spawn(|| {
                loop {
                    let was_revoked = revoked.load(Ordering::SeqCst);
                    let status = server.send("GET", TOKENS, &[&header], b"").status;
                    match (was_revoked, status) {
                        (true, 401 | 429) => return,
                        (false, 200 | 401 | 429) => {}
                        _ => {
                            wrongly.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                    rightly.fetch_add(usize::from(status == 200), Ordering::SeqCst);
                }
            });
        }
        server.eventually("asked", |_| rightly.load(Ordering::SeqCst) > 20);
        assert_eq!(revoke(&server, AS_ADMIN, &id).status, 204);
        revoked.store(true, Ordering::SeqCst);
    });
    assert_eq!(wrongly.load(Ordering::SeqCst), 0);
}

#[test]
fn many_requests_at_once_with_a_token_that_was_never_used_are_all_answered() {
    let server = Server::with_roles();
    let (_id, token) = made(&server, &agent("foo", &["publisher"], &[]));
    let header = bearer(&token);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = |number: usize| {
            let (server, header) = (&server, &header);
            scope.spawn(move || {
                put(server, header, &format!("/dbt-tools/foo/1.0.{number}/linux/amd64/foo")).status
            })
        };
        let asking: Vec<_> = (0..64).map(ask).collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect()
    });
    // Of one caller, 32 may be written at a time; none is told to sign in, or to come again for it.
    assert!(statuses.iter().all(|status| [201, 429].contains(status)), "{statuses:?}");
    let reads: Vec<u16> = std::thread::scope(|scope| {
        let ask = |_number: usize| {
            let (server, header) = (&server, &header);
            scope.spawn(move || server.send("GET", TOKENS, &[header], b"").status)
        };
        let asking: Vec<_> = (0..64).map(ask).collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(reads, [200; 64]);
}

/// Who has a token that may make others cannot keep one for later.
#[test]
fn what_a_program_made_with_its_token_is_revoked_with_it() {
    let server = Server::with_roles();
    let (first, token) = made(&server, &agent("foo", &["publisher"], &["/dbt-tools/foo/**"]));
    let second = make(&server, &bearer(&token), &json!({"name": "another"}));
    assert_eq!(second.status, 201, "{second:?}");
    let second = second.json();
    assert_eq!((&second["subject"], &second["madeWith"]), (&json!("agent:foo"), &json!(first)));
    let header = bearer(second["token"].as_str().unwrap());
    assert_eq!(put(&server, &header, X).status, 201);
    put(&server, &header, Y).is_refused(403, "forbidden");
    assert_eq!(revoke(&server, AS_ADMIN, &first).status, 204);
    put(&server, &header, X).is_refused(401, "unauthorised");
}

#[test]
fn everybody_sees_and_revokes_their_own_tokens_and_administrators_all() {
    let server = Server::with_roles();
    let own = make(&server, AUTHORIZED, &json!({"name": "mine"}));
    assert_eq!(own.status, 201, "{own:?}");
    let own = own.json();
    assert_eq!(own["subject"], "static-token:ci");
    server.keep_secret(own["token"].as_str().unwrap());
    let (others, _token) = made(&server, &agent("foo", &["publisher"], &[]));
    let ids = |who: &str| -> Vec<String> {
        let reply = server.send("GET", TOKENS, &[who], b"");
        assert_eq!(reply.status, 200, "{reply:?}");
        let listed = reply.json();
        let tokens = listed["tokens"].as_array().unwrap().iter();
        tokens.map(|token| token["id"].as_str().unwrap().to_owned()).collect()
    };
    let mine = own["id"].as_str().unwrap().to_owned();
    assert_eq!(ids(AUTHORIZED), [mine.as_str()]);
    assert_eq!(ids(AS_ADMIN), [mine.as_str(), others.as_str()]);
    // Of others' tokens nobody learns that they are there.
    for method in ["GET", "DELETE"] {
        let reply = server.send(method, &format!("{TOKENS}/{others}"), &[AUTHORIZED], b"");
        reply.is_refused(404, "not-found");
    }
    assert_eq!(revoke(&server, AUTHORIZED, &mine).status, 204);
    let listed = server.send("GET", TOKENS, &[AS_ADMIN], b"").json();
    let states: Vec<&str> = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["revoked", "active"]);
}

#[test]
fn nobody_makes_a_token_for_more_than_they_have_and_it_is_recorded_that_they_tried() {
    let server = Server::with_roles();
    for wanted in [
        agent("boss", &["admin"], &[]),
        json!({"name": "x", "subject": "static-token:admin"}),
        json!({"name": "x", "subject": "agent:foo", "roles": ["publisher"]}),
    ] {
        make(&server, AUTHORIZED, &wanted).is_refused(403, "forbidden");
    }
    for wanted in [
        json!({"name": ""}),
        json!({"name": "x", "role": ["publisher"]}),
        json!({"name": "x", "expiresIn": "30d"}),
        json!({"name": "x", "roles": ["boss"]}),
        json!("x"),
    ] {
        assert_eq!(make(&server, AUTHORIZED, &wanted).status, 400, "{wanted}");
    }
    let listed = server.send("GET", TOKENS, &[AS_ADMIN], b"").json();
    assert_eq!(listed, json!({"tokens": [], "next": null}));
    let records = records(&server);
    let refused: Vec<&Value> =
        records.iter().filter(|record| record["outcome"] == "refused").collect();
    assert_eq!(refused.len(), 3, "{records:?}");
    for record in refused {
        assert_eq!(record["subject"], "static-token:ci");
        assert_eq!(record["status"], 403);
        assert!(record["path"].as_str().unwrap().starts_with("/-/api/v1/tokens/"), "{record}");
    }
}

#[test]
fn what_is_done_with_a_token_is_recorded_with_its_id_and_its_text_is_nowhere() {
    let place = Place::new();
    place.put_on_disk("dbt/latest", b"1.0.0");
    let token = |name: &str, text: &[u8]| json!({"name": name, "sha256": sha256(text)});
    let server = Server::on(
        place,
        &format!(
            r#""authTypePut": "static-token", "tokens": [{}], "policies": [
                {{"name": "agents read", "subjects": ["agent:reader"], "paths": ["/dbt/**"],
                  "actions": ["read"]}}],
            "auth": {{"roles": {{"admin": ["static-token:admin"]}}}}"#,
            token("admin", b"only-for-admins")
        ),
    );
    let (reader, text) = made(&server, &agent("reader", &[], &[]));
    let (writer, secret) = made(&server, &agent("writer", &["publisher"], &["/dbt-tools/**"]));
    assert_eq!(server.send("GET", "/dbt/latest", &[&bearer(&text)], b"").text(), "1.0.0");
    assert_eq!(put(&server, &bearer(&secret), X).status, 201);
    put(&server, &bearer(&secret), "/dbt/latest").is_refused(403, "forbidden");
    assert_eq!(revoke(&server, AS_ADMIN, &writer).status, 204);
    // The guesses of strangers are counted, and reads are recorded together.
    server.eventually("the read is recorded", |server| {
        records(server).iter().any(|record| record["action"] == "read")
    });
    let records = records(&server);
    let found = |what: &str, member: &str, is: &str| {
        let fits = |record: &&Value| record["outcome"] == what && record[member] == is;
        let found = records.iter().find(fits);
        found.unwrap_or_else(|| panic!("{what} {member} {is}: {records:#?}"))
    };
    let read = found("read", "path", "/dbt/latest");
    assert_eq!((&read["token"], &read["method"]), (&json!(reader), &json!("api-token")));
    assert_eq!((&read["subject"], &read["subjectType"]), (&json!("agent:reader"), &json!("agent")));
    assert_eq!(found("created", "path", X)["token"], writer.as_str());
    assert_eq!(found("refused", "path", "/dbt/latest")["token"], writer.as_str());
    let made = found("created", "path", &format!("{TOKENS}/{writer}"));
    assert_eq!(made["subject"], "static-token:admin");
    let detail = made["detail"].as_str().unwrap();
    for words in
        ["`writer` for `agent:writer`", "roles `publisher`", "within `/dbt-tools/**`", "until 20"]
    {
        assert!(detail.contains(words), "{detail}");
    }
    found("revoked", "path", &format!("{TOKENS}/{writer}"));
    let metrics = server.send("GET", "/-/metrics", &[AS_ADMIN], b"").text();
    assert!(metrics.contains(r#"method="api-token",result="accepted""#), "{metrics}");
    let explained =
        server.command_beside(&["explain", &format!("token:{reader}"), "GET", "/dbt/latest"]);
    assert!(explained.contains("may `read` `/dbt/latest`"), "{explained}");
}

#[test]
fn when_a_token_was_last_used_is_kept_without_a_write_for_each_request() {
    let server = Server::with_roles();
    let (id, token) = made(&server, &agent("foo", &["publisher"], &[]));
    for _again in 0..20 {
        assert_eq!(server.send("GET", TOKENS, &[&bearer(&token)], b"").status, 200);
    }
    let shown = |server: &Server| {
        server.send("GET", &format!("{TOKENS}/{id}"), &[AS_ADMIN], b"").json()["lastUsed"].clone()
    };
    assert_eq!(shown(&server), Value::Null, "it is written once a minute, and at the end");
    let server = Server::on(server.stop(), &with_roles());
    assert!(shown(&server).as_str().unwrap().starts_with("20"));
    assert_eq!(server.send("GET", TOKENS, &[&bearer(&token)], b"").status, 200);
}

#[test]
fn each_subject_has_as_many_as_the_settings_say() {
    let server =
        Server::with(&with_roles().replace(
            r#""auth": {"#,
            r#""auth": {"apiTokens": {"maxPerSubject": 2, "maxDays": 7}, "#,
        ));
    let (first, _text) = made(&server, &agent("foo", &["publisher"], &[]));
    made(&server, &agent("foo", &["publisher"], &[]));
    let refused = make(&server, AS_ADMIN, &agent("foo", &["publisher"], &[]));
    refused.is_refused(409, "token-limit");
    assert!(refused.text().contains("2 tokens that count"), "{}", refused.text());
    made(&server, &agent("bar", &["publisher"], &[]));
    assert_eq!(revoke(&server, AS_ADMIN, &first).status, 204);
    made(&server, &agent("foo", &["publisher"], &[]));
    let longer = json!({"name": "x", "subject": "agent:baz", "expiresIn": 8 * 86_400});
    make(&server, AS_ADMIN, &longer).is_refused(400, "bad-token");
}

/// With the settings of the reference alone nothing is different, also for a token of the settings
/// that looks like one of the server's own.
#[test]
fn tokens_of_the_settings_count_as_before_whatever_they_look_like() {
    let lookalike = dbt_server::tokens::text::new().unwrap().expose().clone();
    for token in [lookalike.as_str(), "dbt_short"] {
        let server = Server::with(&WRITABLE.replace("open-sesame", token));
        assert_eq!(put(&server, &bearer(token), "/dbt/latest").status, 201);
        assert_eq!(put(&server, &basic("any", token), "/dbt/latest").status, 200);
        make(&server, &bearer(token), &agent("x", &["publisher"], &[]))
            .is_refused(403, "forbidden");
    }
}

#[test]
fn tokens_can_be_the_only_way_to_sign_in() {
    let server =
        Server::with(r#""authGets": true, "authTypeGet": "api-token", "authTypePut": "api-token""#);
    server.put_on_disk("dbt/latest", b"1.0.0");
    let refused = server.get("/dbt/latest");
    refused.is_refused(401, "unauthorised");
    assert_eq!(refused.all("www-authenticate"), [r#"Bearer realm="dbt""#]);
    let token = server.command_beside(&["token", "create", "agent:ci", "--role", "publisher"]);
    let header = bearer(token.trim());
    assert_eq!(server.send("GET", "/dbt/latest", &[&header], b"").text(), "1.0.0");
    assert_eq!(put(&server, &header, "/dbt/next").status, 201);
    let reader = server.command_beside(&["token", "create", "agent:reader"]);
    let header = bearer(reader.trim());
    assert_eq!(server.send("GET", "/dbt/latest", &[&header], b"").text(), "1.0.0");
    put(&server, &header, "/dbt/next").is_refused(403, "forbidden");
}

#[test]
fn a_user_who_could_not_sign_in_otherwise_any_more_has_no_token_that_counts() {
    let place = Place::new();
    place.put_beside("htpasswd", b"alice:{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=\n");
    let members = |way: &str| {
        format!(
            r#""authTypePut": "static-token{way}", "authOptsPut": {{"staticToken": "open-sesame"}},
            "htpasswdFile": "htpasswd""#
        )
    };
    let server = Server::on(place, &members(", basic-htpasswd"));
    let token = server.command_beside(&["token", "create", "htpasswd:alice"]);
    let header = bearer(token.trim());
    assert_eq!(put(&server, &header, "/dbt/latest").status, 201);
    server.reload(&members(""));
    put(&server, &header, "/dbt/latest").is_refused(401, "unauthorised");
    server.reload(&members(", basic-htpasswd"));
    assert_eq!(put(&server, &header, "/dbt/latest").status, 200);
    // Whoever is taken out of the file, too, and at once.
    std::fs::write(server.outside().join("htpasswd"), "").unwrap();
    put(&server, &header, "/dbt/latest").is_refused(401, "unauthorised");
    let words = ["token", "create", "htpasswd:alice"];
    let said = server.try_command_beside(&words);
    assert_eq!(said.status.code(), Some(1));
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("would prove nothing"), "{said}");
    let wanted = json!({"name": "x", "subject": "htpasswd:alice"});
    let reply = make(&server, AUTHORIZED, &wanted);
    assert_eq!(reply.status, 403, "{reply:?}");
}

/// What is uploaded is for the token that it was begun with: another of the same subject may be good
/// for less, or be in other hands.
#[test]
fn what_a_token_has_begun_is_not_for_another_of_its_subject_that_is_good_for_less() {
    let server = Server::with_roles();
    let (_id, wide) = made(&server, &agent("ci", &["publisher"], &[]));
    let (_id, narrow) = made(&server, &agent("ci", &["publisher"], &["/dbt-tools/bar/**"]));
    let (_id, again) = made(&server, &agent("ci", &["publisher"], &[]));
    let begun = server.send("POST", "/-/api/v1/uploads", &[&bearer(&wide)], b"");
    assert_eq!(begun.status, 201, "{begun:?}");
    let upload = format!("/-/api/v1/uploads/{}", begun.json()["id"].as_str().unwrap());
    let look = |token: &str| server.send("GET", &upload, &[&bearer(token)], b"").status;
    assert_eq!([&wide, &again, &narrow].map(|token| look(token)), [200, 200, 404]);
    let part = server.send("DELETE", &upload, &[&bearer(&narrow)], b"");
    assert_eq!((part.status, look(&wide)), (404, 200), "{part:?}");
}
