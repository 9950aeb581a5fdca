//! The configuration file: formats, mistakes, and what must not be believed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::exits;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use serde_json::json;

use crate::{published, world};

/// Expects that the configuration stops everything, in words.
#[track_caller]
fn stopped(world: &World, words: &str) {
    world.dbt(["deploy"]).exits_with(exits::CONFIGURATION).mentions(words);
    assert_eq!(world.server().take_lines(), [""; 0]);
    world.nothing_happened();
}

#[test]
fn the_legacy_format_with_one_server_runs_tools_and_the_catalog() {
    let world = published();
    let url = world.server().url();
    world.write_config(&json!({
        "dbt": { "repository": format!("{url}/dbt"), "truststore": format!("{url}/dbt/truststore") },
        "tools": { "repository": format!("{url}/dbt-tools") },
    }));
    world.repository().publish("show", "1.0.0").script("echo $DBT_SERVER").now();
    world.dbt(["deploy"]).exits_with(0);
    world.dbt(["show"]).prints("show 1.0.0\ndefault\n");
    // What a tool is told about its server can be used by the dbt that it starts.
    let run = world.invoke(["deploy"]).env("DBT_SERVER", "default").run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let run = world.invoke(["catalog", "list"]).env("DBT_SERVER", "default").run();
    assert!(run.exits_with(0).stdout().contains("deploy"), "{run:?}");
}

#[test]
fn no_configuration_at_all_is_said() {
    let world = published();
    fs::remove_file(world.config_file()).unwrap();
    stopped(&world, "no server is configured");
}

#[test]
fn a_url_is_enough_of_a_configuration() {
    let world = published();
    fs::remove_file(world.config_file()).unwrap();
    let run = world.invoke(["deploy"]).env("DBT_SERVER", world.server().url()).run();
    run.prints("deploy 1.4.0\n").mentions("first use of [SERVER]/dbt");
}

#[test]
fn a_server_that_does_not_exist_is_an_error_that_lists_the_names() {
    let world = published();
    world.configure(|config| config["servers"]["prod"] = world.server_entry());
    for run in [
        world.dbt(["-s", "nowhere", "deploy"]),
        world.invoke(["deploy"]).env("DBT_SERVER", "nowhere").run(),
    ] {
        run.exits_with(exits::CONFIGURATION)
            .mentions("`nowhere`")
            .mentions("`acme`")
            .mentions("`prod`");
    }
    world.nothing_happened();
}

#[test]
fn a_misspelt_default_server_is_an_error_and_no_other_server_is_used() {
    let world = published();
    world.configure(|config| config["defaultServer"] = "amce".into());
    stopped(&world, "`amce`");
}

#[test]
fn without_a_default_the_first_server_in_the_order_written_counts() {
    let (first, second) = (published(), published());
    let entry = |world: &World| world.server_entry().to_string();
    let text =
        format!("{{\"servers\": {{\"zulu\": {}, \"alpha\": {}}}}}", entry(&first), entry(&second));
    fs::write(first.config_file(), text).unwrap();
    first.dbt(["deploy"]).exits_with(0);
    assert!(!first.server().take_lines().is_empty());
    assert_eq!(second.server().take_lines(), [""; 0]);
}

#[test]
fn a_configuration_that_others_can_write_is_not_used() {
    let world = published();
    fs::set_permissions(world.config_file(), Permissions::from_mode(0o666)).unwrap();
    stopped(&world, "other users can write to `[WORLD]/h/.dbt/conf/dbt.json` (mode 0666)");
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    for (key, value, words) in [
        ("strict", json!("yes"), "servers.acme.strict"),
        ("repository", json!(7), "servers.acme.repository"),
        ("trust", json!([]), "servers.acme.trust"),
        ("updates", json!("sometimes"), "servers.acme.updates"),
        ("selfUpdate", json!("maybe"), "servers.acme.selfUpdate"),
        ("pins", json!({ "deploy": "newest" }), "servers.acme.pins"),
        ("timeout", json!("soon"), "servers.acme.timeout"),
    ] {
        let world = published();
        world.set(key, value);
        stopped(&world, words);
    }
}

#[test]
fn a_file_that_is_no_json_says_where() {
    let world = published();
    fs::write(world.config_file(), "{\n  \"servers\": {\n").unwrap();
    stopped(&world, "not JSON");
}

#[test]
fn a_server_written_twice_is_an_error() {
    let world = published();
    let entry = world.server_entry();
    fs::write(world.config_file(), format!("{{\"servers\":{{\"a\":{entry},\"a\":{entry}}}}}"))
        .unwrap();
    stopped(&world, "twice");
}

#[test]
fn a_configuration_of_a_hundred_megabytes_is_not_read() {
    let world = published();
    let file = fs::OpenOptions::new().write(true).open(world.config_file()).unwrap();
    file.set_len(100 << 20).unwrap();
    stopped(&world, "larger than");
}

#[test]
fn unknown_keys_stop_nothing() {
    let world = published();
    world.set("colour", "mauve");
    world.configure(|config| config["theme"] = json!({ "a": [1, 2] }));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let said = world.dbt(["doctor"]);
    assert!(said.stdout().contains("colour") || said.stderr().contains("colour"), "{said:?}");
}

#[test]
fn a_configuration_that_is_a_link_is_read() {
    let world = published();
    let elsewhere = world.directory().join("dbt.json");
    fs::copy(world.config_file(), &elsewhere).unwrap();
    fs::remove_file(world.config_file()).unwrap();
    std::os::unix::fs::symlink(&elsewhere, world.config_file()).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn addresses_that_are_none_are_named() {
    for url in [
        "https://user:hunter2hunter2@127.0.0.1/dbt",
        "https://good@evil.example.com/dbt",
        "http://127.0.0.1:0/dbt",
        "http://127.0.0.1:99999/dbt",
        "ftp://127.0.0.1/dbt",
        "http:///dbt",
        "http://127.0.0.1/dbt?token=x",
        "http://ex\u{430}mple.com/dbt",
    ] {
        let world = published();
        world.set("repository", url);
        stopped(&world, "servers.acme.repository");
    }
}

#[test]
fn first_use_of_another_machine_over_plain_http_without_an_anchor_stops() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.set("repository", "http://dbt.invalid/dbt");
    world.set("truststore", "http://dbt.invalid/dbt/truststore");
    world.set("toolsRepository", "http://dbt.invalid/dbt-tools");
    let deploy = || world.invoke(["deploy"]).env("HTTP_PROXY", world.server().url()).run();
    let run = deploy();
    run.exits_with(exits::CONFIGURATION)
        .mentions("over plain http without knowing its signing keys");
    world.nothing_happened();
    world.pin(&[&ALICE]);
    deploy().prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn dbt_makes_every_directory_it_needs() {
    let world = published();
    let (config, home) = (world.directory().join("dbt.json"), world.dbt_home());
    fs::copy(world.config_file(), &config).unwrap();
    fs::remove_dir_all(&home).unwrap();
    let run = world.invoke(["deploy"]).env("DBT_CONFIG", &config).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    for directory in ["state", "tools"] {
        let mode = fs::metadata(home.join(directory)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{directory}");
    }
}

#[test]
fn everything_of_ours_can_be_moved() {
    let world = published();
    let elsewhere = world.directory().join("elsewhere");
    let store = world.directory().join("store");
    let run = world
        .invoke(["deploy"])
        .env("DBT_HOME", &elsewhere)
        .env("DBT_CACHE_DIR", &store)
        .env("DBT_CONFIG", world.config_file())
        .run();
    run.prints("deploy 1.4.0\n");
    assert!(elsewhere.join("state").is_dir() && store.join("sha256").is_dir());
    assert_eq!(world.executables().len(), 0);
}
