//! Publishing over HTTP.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::token_endpoint::TokenEndpoint;
use serde_json::json;

use super::http::{Fault, READ_TOKEN, Server, TOKEN, publishing_to};
use super::world::{SCRIPT, World};

const AT: &str = "/dbt-tools/deploy/1.4.0";

fn line(server: &Server) -> String {
    format!(
        "publish deploy 1.4.0 linux/amd64=deploy darwin/arm64=deploy --description x --to {} \
         --signer file:alice --token-file PLACE/token",
        server.url()
    )
}

#[test]
fn checksums_are_written_last_so_that_nobody_sees_half_a_version() {
    let server = Server::start();
    let world = publishing_to(&server);
    world.run(&line(&server)).says_nothing();
    let writes = server.writes();
    let writes: Vec<&str> = writes.iter().filter_map(|path| path.strip_prefix(AT)).collect();
    let (first, last) = writes.split_at(6);
    let sorted = |mut paths: Vec<String>| {
        paths.sort_unstable();
        paths
    };
    let files = ["/darwin/arm64/deploy", "/description.txt", "/linux/amd64/deploy"];
    let signed = files.iter().flat_map(|file| [(*file).to_owned(), format!("{file}.asc")]);
    let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
    assert_eq!(sorted(own(first)), sorted(signed.collect()));
    assert_eq!(sorted(own(last)), files.map(|file| format!("{file}.sha256")));
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy")).unwrap(), SCRIPT);
    let before = server.writes().len();
    world.run(&line(&server)).says_nothing();
    assert_eq!(server.writes().len(), before, "the second run writes nothing");
}

#[test]
fn the_manifest_is_written_before_the_truststore_that_it_names() {
    let server = Server::start();
    let _world = publishing_to(&server);
    assert_eq!(
        server.writes(),
        [
            "/dbt/truststore.manifest.1.json.asc",
            "/dbt/truststore.manifest.1.json",
            "/dbt/truststore.manifest.json.asc",
            "/dbt/truststore.manifest.json",
            "/dbt/truststore",
        ]
    );
}

#[test]
fn a_server_that_is_busy_or_loses_its_answer_is_asked_again() {
    let server = Server::start();
    let world = publishing_to(&server);
    server.misbehave(Fault::LostAnswer);
    server.misbehave(Fault::Busy(1));
    world.run(&line(&server)).says_nothing();
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy")).unwrap(), SCRIPT);
}

#[test]
fn a_server_that_keeps_other_bytes_is_found_out_and_the_version_stays_incomplete() {
    let server = Server::start();
    let world = publishing_to(&server);
    server.misbehave(Fault::Half);
    world.run(&line(&server)).fails(86, "does not hold what was written there");
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy.sha256")), None);
}

#[test]
fn what_failed_in_the_middle_is_completed_by_the_same_command() {
    let server = Server::start();
    let world = publishing_to(&server);
    server.misbehave(Fault::Busy(99));
    let run = world.run(&line(&server)).fails(82, "the server failed (503)");
    assert!(run.talk.contains("hint: the same command again goes on"), "{}", run.talk);
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy.sha256")), None);
    server.behave();
    world.run(&line(&server)).says_nothing();
    assert!(server.file(&format!("{AT}/linux/amd64/deploy.sha256")).is_some());
}

#[test]
fn nothing_is_written_without_the_token_and_the_hint_says_how_to_give_it() {
    let server = Server::start();
    let world = publishing_to(&server);
    let before = server.writes().len();
    let without = line(&server).replace("--token-file PLACE/token", "");
    let run = world.run(&without).fails(83, "(401)");
    assert!(run.talk.contains("`--token-file FILE`"), "{}", run.talk);
    // Several are tried at once, and each ends with its first file.
    assert!(server.writes().len() <= before + 3, "{:?}", server.writes());
    for file in ["linux/amd64/deploy", "darwin/arm64/deploy", "description.txt"] {
        assert_eq!(server.file(&format!("{AT}/{file}")), None);
    }
}

#[test]
fn a_token_comes_from_a_file_the_environment_or_with_a_warning_from_the_command_line() {
    let server = Server::start();
    let mut world = publishing_to(&server);
    let without = line(&server).replace("--token-file PLACE/token", "");
    let run = world.run(&format!("{without} --token {TOKEN}")).succeeds();
    assert!(run.talk.starts_with("warning: others can see `--token`"), "{}", run.talk);
    world.set("DBT_PUBLISH_TOKEN", TOKEN);
    world.run(&without.replace("1.4.0", "1.5.0")).says_nothing();
    assert_eq!(server.credentials(), [format!("Bearer {TOKEN}")]);
}

#[test]
fn the_identity_of_a_job_is_exchanged_once_to_read_and_once_to_write() {
    let (server, system) = (Server::start(), TokenEndpoint::start());
    let mut world = publishing_to(&server);
    let line = line(&server).replace("--token-file PLACE/token", "");
    let url = server.url();
    let of = |audience: &str| system.sign(json!({"sub": "repo:acme/deploy", "aud": audience}));
    world.set("DBT_ID_TOKEN", of("https://other.example.com"));
    let before = server.writes().len();
    let run = world.run(&line);
    let words = "the identity in `DBT_ID_TOKEN` is for `https://other.example.com`, and not for `";
    assert!(run.talk.contains(words), "{}", run.talk);
    assert!(server.exchanges().is_empty(), "it is for another server");
    assert!(server.file(&format!("{AT}/linux/amd64/deploy")).is_none());

    let identity = of(url);
    world.set("DBT_ID_TOKEN", &identity);
    world.run(&line).says_nothing();
    assert!(server.writes().len() > before);
    let exchanges = server.exchanges();
    let [read, write] = exchanges.as_slice() else { panic!("{exchanges:?}") };
    assert_eq!(read.question, json!({"token": identity, "scope": "read"}));
    assert_eq!(write.question, json!({"token": identity}));
    assert!(read.once.len() == 32 && write.once.len() == 32 && read.once != write.once);
    assert_eq!(server.credentials(), [format!("Bearer {TOKEN}")]);
}

/// What is not complete is shown to the token alone that wrote it, and not to one that reads.
#[test]
fn a_job_reads_what_it_has_not_finished_with_the_token_that_writes() {
    let (server, system) = (Server::start(), TokenEndpoint::start());
    let mut world = publishing_to(&server);
    let line = line(&server).replace("--token-file PLACE/token", "");
    server.hide_drafts();
    let identity = system.sign(json!({"sub": "project_path:acme/deploy", "aud": server.url()}));
    world.set("DBT_ID_TOKEN", &identity);
    // One file is there when it fails, and nobody else sees it.
    server.misbehave(Fault::Busy(99));
    server.misbehave(Fault::LostAnswer);
    world.run(&line).fails(82, "the server failed (503)");
    let files = ["linux/amd64/deploy", "darwin/arm64/deploy", "description.txt"];
    let mut kept = files.map(|file| format!("{AT}/{file}")).to_vec();
    kept.retain(|file| server.file(file).is_some());
    let [kept] = kept.as_slice() else { panic!("{kept:?}") };
    assert_eq!(server.file(&format!("{kept}.asc")), None);
    server.behave();
    let before = server.writes().len();
    world.run(&line).says_nothing();
    assert!(server.file(&format!("{kept}.sha256")).is_some());
    assert!(!server.writes()[before..].contains(kept), "it was there");
    // Of a version that is complete nothing is asked that writes.
    let (before, writes) = (server.exchanges().len(), server.writes().len());
    world.run(&line).says_nothing();
    let exchanges = server.exchanges();
    let [read] = &exchanges[before..] else { panic!("{exchanges:?}") };
    assert_eq!(read.question, json!({"token": identity, "scope": "read"}));
    assert_eq!(server.writes().len(), writes);
    let told = [TOKEN, READ_TOKEN].map(|token| format!("Bearer {token}"));
    assert_eq!(server.credentials(), told);
}

/// A server that knows a key of an agent, and a publisher whose configuration names that key.
fn signed_in(server: &Server, agent: &Agent) -> (World, String) {
    let mut world = publishing_to(server);
    let key = agent.key("mine", &["-t", "ed25519"]);
    server.know(&key);
    let url = server.url();
    let config = serde_json::json!({ "servers": { "acme": {
        "repository": format!("{url}/dbt"), "toolsRepository": format!("{url}/dbt-tools"),
        "username": "alice", "pubkeypath": agent.public_file("mine"),
    } } });
    world.write("home/.dbt/conf/dbt.json", config.to_string().as_bytes());
    world.set("SSH_AUTH_SOCK", agent.socket());
    let line = line(server).replace("--token-file PLACE/token", "");
    (world, line.replace(&format!("--to {url}"), "-s acme"))
}

#[test]
fn each_write_has_a_token_of_its_own_from_the_key_that_the_configuration_names() {
    let (server, agent) = (Server::start(), Agent::start());
    let (world, line) = signed_in(&server, &agent);
    let before = server.writes().len();
    world.run(&line).says_nothing();
    let (writes, tokens) = (server.writes(), server.tokens());
    assert_eq!(tokens.len(), writes.len() - before);
    for (path, token) in writes[before..].iter().zip(&tokens) {
        assert_eq!(token.claims["sub"], "alice");
        assert_eq!(token.claims["aud"], serde_json::json!(["127.0.0.1"]));
        assert_eq!(token.claims["htm"], "PUT");
        assert_eq!(token.claims["htu"], format!("{}{path}", server.url()));
    }
    let mut ids: Vec<&str> = tokens.iter().map(|it| it.claims["jti"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), tokens.len(), "no id twice");
    assert_eq!(server.credentials(), [format!("Bearer {TOKEN}")], "from before");
}

#[test]
fn what_is_kept_for_a_server_writes_nothing_for_another_one_that_says_it_has_its_tools_there() {
    let (server, evil) = (Server::start(), Server::start());
    let world = publishing_to(&server);
    let (url, elsewhere) = (server.url(), evil.url());
    let config = json!({ "servers": {
        "acme": { "repository": format!("{url}/dbt"), "toolsRepository": format!("{url}/dbt-tools") },
        "evil": {
            "repository": format!("{elsewhere}/dbt"),
            "toolsRepository": format!("{url}/dbt-tools"),
            "truststore": format!("{url}/dbt/truststore"),
        },
    } });
    world.write("home/.dbt/conf/dbt.json", config.to_string().as_bytes());
    let kept = json!({ "schema": 1, "tokens": [{
        "issuer": "", "client": "", "audience": "", "origin": url, "token": TOKEN,
        "received": "2026-01-01T00:00:00Z",
    }] });
    let file = world.write_secret("home/.dbt/state/tokens.json", &kept.to_string());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let line = line(&server).replace("--token-file PLACE/token", "");
    let (writes, told) = (server.writes().len(), server.credentials().len());
    let run = world.run(&line.replace(&format!("--to {url}"), "-s evil"));
    assert_eq!(run.code, Some(83), "{run:?}");
    let words =
        format!("the sign-in that is kept for `{url}` is that of the server which is at home");
    assert!(run.talk.contains(&words), "{}", run.talk);
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy")), None);
    assert_eq!(server.credentials().len(), told);
    assert!(server.writes().len() <= writes + 3, "the first of each is refused");
    world.run(&line.replace(&format!("--to {url}"), "-s acme")).says_nothing();
    assert_eq!(server.file(&format!("{AT}/linux/amd64/deploy")).unwrap(), SCRIPT);
}

#[test]
fn a_key_that_the_agent_does_not_hold_writes_nothing_and_is_named() {
    let (server, agent) = (Server::start(), Agent::start());
    let (mut world, line) = signed_in(&server, &agent);
    let before = server.writes().len();
    let other = Agent::start();
    world.set("SSH_AUTH_SOCK", other.socket());
    let run = world.run(&line).fails(83, "the SSH agent holds no keys, or is locked");
    assert!(run.talk.contains("`servers.acme.pubkeypath` names SHA256:"), "{}", run.talk);
    assert!(run.talk.contains("hint: `ssh-add FILE` gives it the key"), "{}", run.talk);
    assert_eq!((server.writes().len(), server.tokens().len()), (before, 0));
}

#[test]
fn credentials_are_not_sent_over_plain_http_to_other_machines() {
    let server = Server::start();
    let world = publishing_to(&server);
    let elsewhere = line(&server).replace(server.url(), "http://192.0.2.1:9");
    world
        .run(&elsewhere)
        .fails(83, "refusing to send credentials to `http://192.0.2.1:9` without TLS");
}

#[test]
fn a_password_needs_a_user_and_the_other_way_round() {
    let server = Server::start();
    let mut world = publishing_to(&server);
    let without = line(&server).replace("--token-file PLACE/token", "");
    world.run(&format!("{without} --username alice")).fails(80, "`--username` needs a password");
    world.run(&format!("{without} --password-file PLACE/token")).fails(80, "`--username");
    world.set("DBT_PUBLISH_PASSWORD", "wonderland");
    world.run(&format!("{without} --username alice")).fails(83, "(401)");
    let sent = server.credentials();
    assert!(sent.contains(&"Basic YWxpY2U6d29uZGVybGFuZA==".to_owned()), "{sent:?}");
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let server = Server::start();
    let world = publishing_to(&server);
    let nowhere = line(&server).replace(server.url(), "http://127.0.0.1:1");
    world.run(&nowhere).fails(82, "cannot connect");
}

#[test]
fn a_publisher_that_keeps_a_secret_fails_its_test() {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    let server = Server::start();
    let world = publishing_to(&server);
    let path = world.write("home/.dbt/cached", TOKEN.as_bytes());
    let panic = catch_unwind(AssertUnwindSafe(|| drop(world))).unwrap_err();
    let said = panic.downcast_ref::<String>().unwrap();
    assert_eq!(*said, format!("a secret is in {}: a password", path.display()));
}

/// One after the other, a publication takes as many round trips as it has files.
#[test]
fn several_files_are_written_at_once() {
    let server = Server::start();
    let world = publishing_to(&server);
    server.wait_for_writes_at_once(4);
    let what = "linux/amd64=deploy linux/arm64=deploy darwin/arm64=deploy";
    let line = format!(
        "publish deploy 1.4.0 {what} --description x --to {} --signer file:alice --token-file PLACE/token",
        server.url()
    );
    world.run(&line).says_nothing();
    assert!(server.were_at_once());
}
