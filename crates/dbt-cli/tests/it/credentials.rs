//! Credentials: sent to their own server, to no other, and never shown.

use std::fs;

use dbt_testkit::exits;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::{Fault, FileServer};
use dbt_testkit::world::World;
use serde_json::json;

use crate::pinned;

const PASSWORD: &str = "correct-horse-battery";

/// A server that wants a password, and a client that has it.
fn signed_in() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_basic("alice", PASSWORD);
    world.set("username", "alice");
    world.set("password", PASSWORD);
    world.keep_secret(PASSWORD);
    world
}

fn sent_credentials(server: &FileServer) -> usize {
    let with = |requests: Vec<dbt_testkit::server::Received>| {
        requests
            .iter()
            .filter(|received| received.request.header("authorization").is_some())
            .count()
    };
    with(server.take_requests())
}

#[test]
fn a_password_opens_the_server_and_is_never_shown_or_remembered() {
    let world = signed_in();
    world.dbt(["-V", "deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.no_secret_is_remembered();
}

#[test]
fn a_wrong_password_is_refused_without_being_shown() {
    let world = signed_in();
    world.set("password", "wrong-horse-battery");
    world.keep_secret("wrong-horse-battery");
    world.dbt(["-V", "deploy"]).exits_with(exits::REFUSED);
    for words in
        [&["doctor", "--report"][..], &["whoami"], &["--auth-check"], &["doctor", "--json"]]
    {
        drop(world.dbt(words));
    }
    world.nothing_happened();
    world.no_secret_is_remembered();
}

#[test]
fn a_password_of_one_server_never_goes_to_another() {
    let (world, other) = (pinned(), pinned());
    other.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| {
        config["servers"]["other"] = other.server_entry();
        config["username"] = "alice".into();
        config["password"] = PASSWORD.into();
    });
    world.keep_secret(PASSWORD);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["-s", "other", "deploy"]).exits_with(0);
    assert_eq!(sent_credentials(other.server()), 0);
    world.dbt(["deploy"]).exits_with(0);
    assert_ne!(sent_credentials(world.server()), 0);
}

#[test]
fn another_server_that_wants_a_password_gets_none_and_the_error_says_where_to_write_it() {
    let (world, other) = (pinned(), pinned());
    other.server().require_basic("alice", PASSWORD);
    world.configure(|config| {
        config["servers"]["other"] = other.server_entry();
        config["username"] = "alice".into();
        config["password"] = PASSWORD.into();
    });
    world.keep_secret(PASSWORD);
    let run = world.dbt(["-s", "other", "deploy"]);
    run.exits_with(exits::REFUSED).mentions("servers.other");
    assert_eq!(sent_credentials(other.server()), 0);
}

#[test]
fn a_password_does_not_follow_a_redirect() {
    let (world, other) = (signed_in(), pinned());
    let there = format!("{}/x", other.server().url());
    world.server().fault(&artifact("deploy", "1.4.0"), Fault::RedirectTo(there));
    let run = world.dbt(["deploy"]);
    assert!(run.stdout().is_empty(), "{run:?}");
    assert_eq!(sent_credentials(other.server()), 0);
    world.nothing_happened();
}

#[test]
fn preset_variables_do_not_send_the_catalogs_password_elsewhere() {
    let (world, evil) = (signed_in(), pinned());
    let url = evil.server().url();
    let run = world
        .invoke(["catalog", "list"])
        .env("DBT_REPO", format!("{url}/dbt"))
        .env("DBT_TOOLS_REPO", format!("{url}/dbt-tools"))
        .env("DBT_TRUSTSTORE", format!("{url}/dbt/truststore"))
        .run();
    assert!(run.exits_with(0).stdout().contains("deploy"), "{run:?}");
    assert_eq!(evil.server().take_lines(), [""; 0]);
}

#[test]
fn a_command_that_prints_the_password_is_asked_once_in_a_run() {
    let world = signed_in();
    let asked = world.directory().join("asked");
    world.configure(|config| {
        let server = &mut config["servers"]["acme"];
        server.as_object_mut().unwrap().remove("password");
        server["passwordfunc"] = format!("echo x >> {}; echo {PASSWORD}", asked.display()).into();
    });
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(fs::read_to_string(asked).unwrap(), "x\n");
}

#[test]
fn a_command_that_fails_or_floods_is_named() {
    for command in ["exit 1", "head -c 1000000000 /dev/zero", "printf '\\377'"] {
        let world = signed_in();
        world.configure(|config| {
            let server = &mut config["servers"]["acme"];
            server.as_object_mut().unwrap().remove("password");
            server["passwordfunc"] = json!(command);
        });
        world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("passwordfunc");
        world.nothing_happened();
    }
}

#[test]
fn a_token_in_the_environment_is_sent_as_such() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.keep_secret("dbt_0123456789abcdef");
    let run = world.invoke(["deploy"]).env("DBT_REPO_TOKEN", "dbt_0123456789abcdef").run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_requests();
    let sent = requests.iter().filter_map(|received| received.request.header("authorization"));
    assert!(sent.into_iter().all(|value| value == "Bearer dbt_0123456789abcdef"));
    world.no_secret_is_remembered();
}
