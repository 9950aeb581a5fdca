//! Configurations and variables that an attacker, or an accident, has written.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::server::FileServer;
use dbt_testkit::world::World;
use serde_json::json;

use super::{TOKEN, careful, deploy};

/// Expects that the configuration stops everything, in words.
#[track_caller]
fn stopped(world: &World, words: &str) {
    let run = deploy(world, &[]);
    run.exits_with(exits::CONFIGURATION).mentions("error: ").mentions(words);
    assert_eq!(run.stdout(), "");
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
    world.no_secret_is_remembered();
}

type Damage = (&'static str, fn(&Path));

#[test]
fn something_else_in_the_place_of_the_configuration_is_named_and_nothing_hangs() {
    let damages: [Damage; 6] = [
        ("a directory", |file| fs::create_dir(file).unwrap()),
        ("a socket", |file| drop(UnixListener::bind(file).unwrap())),
        ("a pipe", |file| {
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }),
        ("a device", |file| symlink("/dev/zero", file).unwrap()),
        ("a circle", |file| symlink(file, file).unwrap()),
        ("a link to a file that others can write", |file| {
            let elsewhere = file.with_extension("elsewhere");
            fs::write(&elsewhere, "{}").unwrap();
            fs::set_permissions(&elsewhere, Permissions::from_mode(0o666)).unwrap();
            symlink(elsewhere, file).unwrap();
        }),
    ];
    for (kind, damage) in damages {
        let world = careful(false);
        fs::remove_file(world.config_file()).unwrap();
        damage(&world.config_file());
        let run = deploy(&world, &[]);
        assert_eq!(run.code(), Some(exits::CONFIGURATION), "{kind}: {}", run.stderr());
        run.mentions("dbt.json");
        world.nothing_happened();
    }
}

#[test]
fn texts_that_are_no_configuration_are_named() {
    for (text, words) in [
        (&b""[..], "not JSON"),
        (b"\0", "not JSON"),
        (b"null", "dbt.json"),
        (b"[]", "dbt.json"),
        (b"{}{}", "not JSON"),
        (b"{\"servers\": []}", "servers"),
        (b"{\"servers\": {\"a\": null}}", "servers.a"),
        (b"{\"servers\": {\"../x\": {\"repository\": \"http://127.0.0.1:1\"}}}", "../x"),
        (b"\xff\xfe{\0}\0", "not JSON"),
    ] {
        let world = careful(false);
        fs::write(world.config_file(), text).unwrap();
        stopped(&world, words);
    }
    let world = careful(false);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(world.config_file(), deep).unwrap();
    stopped(&world, "not JSON");
}

#[test]
fn addresses_that_mislead_are_refused_wherever_they_are_written() {
    for url in [
        "https://good@evil.example.com/dbt",
        "https://user:hunter2hunter2@127.0.0.1/dbt",
        "http://127.0.0.1:0/dbt",
        "http://127.1/dbt",
        "http://0x7f000001/dbt",
        "http://2130706433/dbt",
        "http://017700000001/dbt",
        "http://ex\u{430}mple.com/dbt",
        "http://127.0.0.1\\@evil.example.com/dbt",
        "http://[::1/dbt",
        "http://127.0.0.1/dbt#x",
        "http://127.0.0.1/a/../dbt",
        "file:///etc/passwd#",
        "javascript:alert(1)",
    ] {
        let world = careful(false);
        for key in ["repository", "toolsRepository", "truststore"] {
            let right = world.server_entry()[key].clone();
            world.set(key, url);
            stopped(&world, &format!("servers.acme.{key}"));
            world.set(key, right);
        }
        let run = world.invoke(["deploy"]).env("DBT_SERVER", url).run();
        run.exits_with(exits::CONFIGURATION).mentions("DBT_SERVER");
        let run = world.dbt(["server", "add", "other", url]);
        assert!(run.code().is_some_and(|code| code >= exits::USAGE), "{url}: {}", run.stderr());
        run.mentions("error: ");
        world.nothing_happened();
    }
}

#[test]
fn variables_of_a_hostile_environment_lead_nowhere_and_reach_no_tool() {
    let world = careful(false);
    let evil = FileServer::start(&world.directory().join("s"));
    let url = evil.url();
    world
        .repository()
        .publish("show", "1.0.0")
        .script("env | grep -a evil; env | grep -a DBT_")
        .now();
    let hostile = |words: &[&str]| {
        world
            .invoke(words)
            .env("DBT_REPO", format!("{url}/dbt?evil"))
            .env("DBT_TOOLS_REPO", format!("{url}/dbt-tools?evil"))
            .env("DBT_TRUSTSTORE", format!("{url}/dbt/truststore?evil"))
            .env("DBT_SERVER", "acme")
            .env("DBT_REEXEC", "evil:1")
            .run()
    };
    let seen = hostile(&["show"]).exits_with(0).stdout();
    assert!(!seen.contains("evil"), "{seen}");
    assert_eq!(seen.matches("DBT_").count(), 4, "{seen}");
    for words in [&["catalog", "list"][..], &["which", "show"], &["update"], &["trust", "show"]] {
        hostile(words).exits_with(0);
    }
    assert_eq!(evil.take_lines(), [""; 0]);
    assert!(world.server().take_requests().iter().any(|received| {
        received.request.header("authorization") == Some(&format!("Bearer {TOKEN}"))
    }));
}

#[test]
fn a_second_server_of_the_configuration_gets_no_secret_of_the_first() {
    let (world, evil) = (careful(true), careful(false));
    world.configure(|config| {
        config["servers"]["evil"] = json!({
            "repository": format!("{}/dbt", evil.server().url()),
            "truststore": format!("{}/dbt/truststore", evil.server().url()),
            "toolsRepository": format!("{}/dbt-tools", evil.server().url()),
            "selfUpdate": "off",
        });
    });
    for answer in [200, 401] {
        if answer == 401 {
            evil.server().require_basic("alice", "whatever");
        }
        for words in [&["-s", "evil", "deploy"][..], &["-s", "evil", "catalog", "list"]] {
            drop(world.dbt(words));
        }
        for received in evil.server().take_requests() {
            assert_eq!(received.request.header("authorization"), None, "{received:?}");
        }
    }
    world.no_secret_is_remembered();
}
