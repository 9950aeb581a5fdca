//! The server's own tokens by commands on its machine: beside a server and without one, and what
//! becomes of them when the state is lost, put back, only read or full.

use serde_json::{Value, json};

use crate::world::{AS_ADMIN, Place, Server, with_roles};

const TOKENS: &str = "/-/api/v1/tokens";

/// A server on which nobody but tokens of its own may do anything.
const OWN: &str = r#""authTypePut": "api-token", "policies": []"#;

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {}", token.trim())
}

fn put(server: &Server, token: &str) -> u16 {
    server.send("PUT", "/dbt/latest", &[&bearer(token)], b"1.0.0").status
}

fn make(server: &Server, token: &str, wanted: &Value) -> (u16, Value) {
    let reply = server.send("POST", TOKENS, &[&bearer(token)], wanted.to_string().as_bytes());
    (reply.status, reply.json())
}

fn listed(server: &Server) -> Vec<Value> {
    let text = server.command_beside(&["token", "list", "--all", "--json"]);
    serde_json::from_str::<Value>(&text).unwrap()["tokens"].as_array().unwrap().clone()
}

#[test]
fn a_token_is_made_listed_and_revoked_beside_a_running_server_and_known_to_it_at_once() {
    let server = Server::with(OWN);
    let words = ["token", "create", "agent:ci", "--role", "publisher", "--path", "/dbt/**"];
    let output = server.try_command_beside(&words);
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(token.starts_with("dbt_") && token.len() == 37, "the token alone: {token}");
    assert!(
        talk.contains("`agent:ci` for `agent:ci`, roles `publisher`, within `/dbt/**`, until 20")
    );
    assert!(talk.contains("it is not shown again") && !talk.contains(token.trim()), "{talk}");
    assert_eq!(put(&server, &token), 201);

    let listed = listed(&server);
    let id = listed[0]["id"].as_str().unwrap();
    let line = server.command_beside(&["token", "list"]);
    assert!(line.starts_with(&format!("{id}  {}…  agent:ci  active  ", &token[..10])), "{line}");
    let said = server.command_beside(&["token", "revoke", id]);
    assert!(said.starts_with(&format!("revoked {id}, `agent:ci` for `agent:ci`")), "{said}");
    assert_eq!(put(&server, &token), 401);
    assert_eq!(server.command_beside(&["token", "list"]), "");
    let said = server.command_beside(&["token", "revoke", id]);
    assert_eq!(said, format!("{id} counted no more: it is revoked\n"));
    assert!(server.refused_beside(&["token", "revoke", "nobody's"]).contains("there is no token"));
    let said = server.refused_beside(&["token", "revoke", token.trim()]);
    assert!(said.contains("give the id of the token") && !said.contains(token.trim()), "{said}");

    let record = server.command_beside(&["audit", "tail", "-n", "20"]);
    for words in ["token.create", "token.revoke", &format!("{TOKENS}/{id}"), "host:"] {
        assert!(record.contains(words), "{words}: {record}");
    }
}

#[test]
fn all_tokens_of_a_subject_are_revoked_by_one_command() {
    let server = Server::with(OWN);
    let create =
        |who: &str| server.command_beside(&["token", "create", who, "--role", "publisher"]);
    let tokens = [create("agent:ci"), create("agent:ci"), create("agent:other")];
    server.command_beside(&["token", "revoke", "--subject", "agent:ci"]);
    assert_eq!(tokens.map(|token| put(&server, &token)), [401, 401, 201]);
    let words = ["token", "revoke", "--subject", "agent:ci"];
    assert!(
        server.refused_beside(&words).contains("all of `agent:ci`: there is no token that counts")
    );
}

#[test]
fn commands_refuse_what_makes_no_sense_and_leave_nothing() {
    let server = Server::with(
        r#""authTypePut": "api-token", "auth": {"apiTokens": {"maxDays": 30, "maxPerSubject": 1}}"#,
    );
    for (words, said) in [
        (&["create", "ci"][..], "no method of authentication"),
        (&["create", "agent:ci", "--role", "boss"], "there is no role `boss`"),
        (&["create", "agent:ci", "--expires", "1w"], "no time like"),
        (&["create", "agent:ci", "--expires", "31d"], "30 days at most"),
        (&["create", "agent:ci", "--no-expiry"], "30 days at most"),
        (&["create", "agent:ci", "--path", "dbt"], "no pattern of paths"),
        (&["create", "agent:bootstrap"], "tokens of `admin bootstrap` alone"),
        (&["create", "agent:ci", "--group", "devs"], "no configured method tells groups"),
    ] {
        let words = [&["token"], words].concat();
        let answer = server.refused_beside(&words);
        assert!(answer.contains(said), "{words:?}: {answer}");
    }
    assert!(listed(&server).is_empty());
    let token = server.command_beside(&["token", "create", "agent:ci", "--expires", "30d"]);
    server.keep_secret(token.trim());
    assert!(
        server.refused_beside(&["token", "create", "agent:ci"]).contains("1 tokens that count")
    );
}

#[test]
fn with_a_bootstrap_token_an_administrator_makes_one_token_and_no_second() {
    let server = Server::with(OWN);
    let output = server.try_command_beside(&["admin", "bootstrap"]);
    let once = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(talk.contains("it makes one token, which ends it, and does nothing else"), "{talk}");
    assert_eq!(put(&server, &once), 403);
    // It neither sees nor revokes any.
    let other = server.command_beside(&["token", "create", "agent:other", "--role", "admin"]);
    let id = listed(&server)[1]["id"].as_str().unwrap().to_owned();
    let of_other = format!("{TOKENS}/{id}");
    for (method, path) in [
        ("GET", TOKENS),
        ("GET", &of_other),
        ("DELETE", &of_other),
        ("DELETE", &format!("{TOKENS}?subject=agent:other")),
        ("GET", "/-/metrics"),
        ("POST", "/-/api/v1/reload"),
    ] {
        let reply = server.send(method, path, &[&bearer(&once)], b"");
        assert_eq!(reply.status, 403, "{method} {path}: {reply:?}");
    }
    assert_eq!(put(&server, &other), 201);
    server.command_beside(&["token", "revoke", &id]);
    // A slip does not end it.
    let slip =
        make(&server, &once, &json!({"name": "me", "subject": "agent:me", "roles": ["boss"]}));
    assert_eq!(slip.0, 400);
    let wanted = json!({"name": "me", "subject": "agent:me", "roles": ["admin"]});
    let (status, made) = make(&server, &once, &wanted);
    assert_eq!(status, 201, "{made}");
    assert_eq!(made["createdBy"], "agent:bootstrap");
    let admin = made["token"].as_str().unwrap();
    server.keep_secret(admin);
    let (status, refused) = make(&server, &once, &wanted);
    assert_eq!(
        (status, &refused["detail"]),
        (401, &json!("the token was for one use, and was used"))
    );
    assert_eq!(put(&server, admin), 200);
    let now: Vec<Value> = listed(&server).iter().map(|it| it["state"].clone()).collect();
    assert_eq!(now, ["spent", "revoked", "active"]);

    // Of those that were not used there is one.
    let unused = server.command_beside(&["admin", "bootstrap"]);
    let output = server.try_command_beside(&["admin", "bootstrap", "--json"]);
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && talk.contains("the one before it"), "{talk}");
    assert_eq!(make(&server, &unused, &wanted).0, 401);
    assert_eq!(put(&server, admin), 200, "what an earlier one made stays");
    let record = server.command_beside(&["audit", "export"]);
    assert!(record.contains("admin.bootstrap") && record.contains("agent:bootstrap"), "{record}");
}

#[test]
fn of_many_who_use_a_bootstrap_token_at_once_one_gets_a_token() {
    let server = Server::with(OWN);
    let once = server.command_beside(&["admin", "bootstrap"]);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let (server, once) = (&server, &once);
        let asking: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let name = format!("agent:me-{number}");
                    let wanted = json!({"name": "me", "subject": name, "roles": ["admin"]});
                    make(server, once, &wanted).0
                })
            })
            .collect();
        asking.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 401].contains(status)), "{statuses:?}");
    let active = listed(&server).into_iter().filter(|token| token["state"] == "active");
    assert_eq!(active.count(), 1);
}

#[test]
fn tokens_are_made_without_a_server_and_count_when_it_starts() {
    let place = Server::with(OWN).stop();
    let output = place.run(OWN, &["admin", "bootstrap"]);
    assert!(output.status.success(), "{output:?}");
    let once = String::from_utf8(output.stdout).unwrap();
    let server = Server::on(place, OWN);
    let wanted = json!({"name": "me", "subject": "agent:me", "roles": ["publisher"]});
    let (status, made) = make(&server, &once, &wanted);
    assert_eq!(status, 201, "{made}");
    let token = made["token"].as_str().unwrap().to_owned();
    server.keep_secret(&token);
    let server = Server::on(server.kill(), OWN);
    assert_eq!(put(&server, &token), 201, "after a crash, too");

    let never = Place::new().run(OWN, &["admin", "bootstrap"]);
    assert_eq!(never.status.code(), Some(1));
    assert!(never.stdout.is_empty(), "{never:?}");
}

#[test]
fn a_server_that_only_reads_knows_tokens_and_makes_and_revokes_none() {
    let server = Server::with(OWN);
    let admin = server.command_beside(&["token", "create", "agent:me", "--role", "admin"]);
    let place = server.stop().argument("--read-only");
    let server = Server::on(place, OWN);
    let id = listed(&server)[0]["id"].as_str().unwrap().to_owned();
    let ask =
        |method: &str, path: &str, body: &[u8]| server.send(method, path, &[&bearer(&admin)], body);
    assert_eq!(ask("GET", TOKENS, b"").json()["tokens"][0]["id"], id);
    let wanted = br#"{"name": "x", "subject": "agent:x", "roles": ["publisher"]}"#;
    ask("POST", TOKENS, wanted).is_refused(503, "read-only");
    ask("DELETE", &format!("{TOKENS}/{id}"), b"").is_refused(503, "read-only");
    let server = Server::on(server.stop(), OWN);
    assert_eq!(listed(&server)[0]["lastUsed"], Value::Null, "it wrote nothing");
    assert_eq!(put(&server, &admin), 201);
}

#[test]
fn where_the_state_is_lost_no_token_counts_and_none_is_made() {
    let server = Server::with_roles();
    let token = server.command_beside(&["token", "create", "agent:ci", "--role", "publisher"]);
    assert_eq!(put(&server, &token), 201);
    let state = server.state().join("state.db");
    let place = server.kill();
    for ending in ["", "-wal", "-shm"] {
        let _absent = std::fs::remove_file(format!("{}{ending}", state.display()));
    }
    let server = Server::on(place, &with_roles());
    assert_eq!(put(&server, &token), 401);
    let reply = server.send("GET", TOKENS, &[AS_ADMIN], b"");
    reply.is_refused(503, "not-recorded");
    let reply = server.send("POST", TOKENS, &[AS_ADMIN], br#"{"name": "x"}"#);
    reply.is_refused(503, "not-recorded");
    assert!(server.refused_beside(&["token", "create", "agent:x"]).contains("is missing"));
    assert!(server.refused_beside(&["admin", "bootstrap"]).contains("reposerver restore"));
}

/// The server that runs may be an earlier version, to which a newer state is none of its own.
#[test]
fn to_look_at_tokens_changes_nothing_also_where_the_state_is_of_an_earlier_version() {
    let server = Server::with(OWN);
    let _token = server.command_beside(&["token", "create", "agent:ci", "--role", "publisher"]);
    let place = server.stop();
    let state = rusqlite::Connection::open(place.state().join("state.db")).unwrap();
    let version = || state.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    state
        .execute_batch("DROP TABLE exchanges; DROP TABLE api_tokens; DROP TABLE users; DROP TABLE token_owners;
             DROP TABLE added_users;
             PRAGMA user_version = 1")
        .unwrap();
    let said = |words: &[&str]| {
        let output = place.run(OWN, words);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(said(&["token", "list"]), (Some(0), String::new()));
    let nothing = "{\"tokens\":[]}\n".to_owned();
    assert_eq!(said(&["token", "list", "--all", "--json"]), (Some(0), nothing));
    assert_eq!(said(&["explain", "token:ID", "GET", "/dbt/x"]).0, Some(1));
    assert_eq!(version(), Ok(1));
    assert_eq!(said(&["token", "create", "agent:ci"]).0, Some(0));
    assert_eq!(version(), Ok(5));
}

/// What was revoked after a backup is not known to it.
#[test]
fn a_backup_that_is_put_back_revives_no_token_unless_that_is_said() {
    let server = Server::with(OWN);
    let create =
        |who: &str| server.command_beside(&["token", "create", who, "--role", "publisher"]);
    let (kept, revoked) = (create("agent:kept"), create("agent:revoked"));
    assert!(server.try_command_beside(&["backup", "backup"]).status.success());
    server.command_beside(&["token", "revoke", "--subject", "agent:revoked"]);
    assert_eq!((put(&server, &kept), put(&server, &revoked)), (201, 401));
    let place = server.stop();
    let output = place.run(OWN, &["restore", "backup"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("2 of the server's own tokens count no more"), "{said}");
    assert!(said.contains("restore again with `--keep-tokens`"), "{said}");
    let server = Server::on(place, OWN);
    let reply = server.send("PUT", "/dbt/latest", &[&bearer(&kept)], b"1.0.0");
    reply.is_refused(401, "unauthorised");
    assert!(reply.text().contains("put back from a backup"), "{}", reply.text());
    assert_eq!(put(&server, &revoked), 401);
    assert!(server.command_beside(&["audit", "export"]).contains("2 tokens count no more"));

    let place = server.stop();
    assert!(place.run(OWN, &["restore", "backup", "--keep-tokens"]).status.success());
    let server = Server::on(place, OWN);
    assert_eq!(put(&server, &kept), 200);
    assert!(server.command_beside(&["audit", "export"]).contains("its tokens count"));
}

/// The page about tokens: its commands as they stand there, and what it sends.
#[test]
fn the_commands_of_the_page_do_what_it_says() {
    const PAGE: &str = include_str!("../../../../docs/tokens.md");
    let server = Server::with(OWN);
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_reposerver")).parent().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.display());
    let blocks = PAGE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut printed = Vec::new();
    for command in blocks.flat_map(str::lines) {
        let file = server.outside().join("config.json");
        let line = command.replace("/etc/reposerver/reposerver.json", file.to_str().unwrap());
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .env_clear()
            .env("PATH", &path)
            .env("STATE_DIRECTORY", server.state())
            .output()
            .unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
        printed.push(String::from_utf8(output.stdout).unwrap());
    }
    let [token, list, revoked, once] = printed.as_slice() else { panic!("{printed:?}") };
    assert!(list.contains("agent:ci-foo") && revoked.contains("revoked "), "{list} {revoked}");
    assert_eq!(put(&server, token), 401);
    let body = PAGE.split(" -d '").nth(1).unwrap().split("'\n").next().unwrap();
    let (status, made) = make(&server, once, &serde_json::from_str(body).unwrap());
    assert_eq!(status, 201, "{made}");
    let admin = made["token"].as_str().unwrap();
    server.keep_secret(admin);
    assert_eq!(put(&server, admin), 201);
}
