//! Machines that have something already: configurations of both formats, servers of the same name,
//! and programs of the same name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::world::{SERVER, World};
use serde_json::{Value, json};

use super::{config, install, installed, put_beside, ready, run, settings};
use crate::programs::next;

/// A configuration as the reference writes it, with keys that neither of us knows.
pub(super) fn of_the_reference(world: &World) -> Value {
    let url = world.server().url();
    json!({
        "zebra": {"b": 1, "a": [1.5, null]},
        "servers": {
            "prod": {
                "repository": "https://dbt.example.org/dbt", "theirs": true, "authType": "",
                "truststore": "https://dbt.example.org/dbt/truststore",
                "toolsRepository": "https://dbt.example.org/dbt-tools",
            },
            "here": {
                "repository": format!("{url}/dbt"),
                "truststore": format!("{url}/dbt/truststore"),
                "toolsRepository": format!("{url}/dbt-tools"), "oidcUsername": "alice",
            },
        },
        "defaultServer": "prod", "usernamefunc": "echo alice",
    })
}

/// The older configuration of the reference, with keys that neither of us knows.
fn of_the_reference_before(url: &str) -> Value {
    json!({
        "dbt": {"repository": format!("{url}/dbt"), "truststore": format!("{url}/dbt/truststore"), "old": 1},
        "tools": {"repository": format!("{url}/dbt-tools"), "older": [2]},
        "username": "alice", "usernamefunc": "echo alice", "pubkeypath": "~/.ssh/id.pub", "oldest": null,
    })
}

fn readable_by_all(world: &World) {
    fs::set_permissions(world.config_file(), fs::Permissions::from_mode(0o644)).unwrap();
}

fn mode_of_config(world: &World) -> u32 {
    fs::metadata(world.config_file()).unwrap().permissions().mode() & 0o777
}

#[test]
fn both_formats_of_the_reference_lose_nothing() {
    for before in [of_the_reference(&ready()), of_the_reference_before("https://dbt.example.org")] {
        let world = ready();
        world.write_config(&before);
        let done = install(&world, &["--yes", "--name", "new"]);
        done.exits_with(0).mentions("dbt -s new catalog list`");
        let mut after = config(&world);
        let added = after["servers"].as_object_mut().unwrap().remove("new").unwrap();
        assert_eq!(added["repository"], json!(format!("{}/dbt", world.server().url())));
        // What is new in it: the server, and for the older format who is the default as before.
        let mut expected = before.clone();
        if before.get("servers").is_none() {
            // 3.x, after a way back, takes the default of several, and the older one of none else.
            expected["servers"] = json!({"default": {
                "repository": "https://dbt.example.org/dbt",
                "truststore": "https://dbt.example.org/dbt/truststore",
                "toolsRepository": "https://dbt.example.org/dbt-tools",
            }});
            expected["defaultServer"] = json!("default");
        }
        assert_eq!(after, expected);
        assert_eq!(mode_of_config(&world), 0o600);
        run(&world, &["-s", "new", "deploy"]).prints("deploy 1.4.0\n");

        install(&world, &["uninstall", "--yes"]).exits_with(0);
        assert_eq!(config(&world), before);
    }
}

#[test]
fn what_is_taken_back_leaves_a_configuration_as_it_was() {
    let world = ready();
    let mut several = of_the_reference(&world);
    several["servers"].as_object_mut().unwrap().remove("here");
    several.as_object_mut().unwrap().remove("defaultServer");
    for before in [several, json!({"theirs": 1})] {
        world.write_config(&before);
        install(&world, &["--yes"]).exits_with(0);
        assert!(config(&world)["defaultServer"].is_string());
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        assert_eq!(config(&world), before);
    }
    // Where a person has made a choice since, that stays.
    let before = json!({"servers": {"prod": world.server_entry()}});
    world.write_config(&before);
    install(&world, &["--yes", "--name", "new"]).exits_with(0);
    let mut chosen = config(&world);
    chosen["servers"]["further"] = world.server_entry();
    world.write_config(&chosen);
    install(&world, &["uninstall", "--yes"]).exits_with(0);
    chosen["servers"].as_object_mut().unwrap().remove("new");
    assert_eq!(config(&world), chosen);
}

#[test]
fn the_same_server_of_the_reference_stays_as_it_is_until_somebody_says_otherwise() {
    let world = ready();
    let before = of_the_reference(&world);
    world.write_config(&before);
    readable_by_all(&world);
    let run = install(&world, &["--yes"]);
    run.exits_with(0).mentions(
        "the server `here` in `[WORLD]/h/.dbt/conf/dbt.json` stays as it is, without an anchor",
    );
    run.mentions("`[WORLD]/h/.dbt/conf/dbt.json` is readable by you alone now");
    run.mentions("dbt -s here catalog list`");
    assert_eq!((config(&world), mode_of_config(&world)), (before.clone(), 0o600));

    install(&world, &["--yes", "--replace-trust", "none"]).exits_with(0).mentions("is replaced");
    let mut expected = before;
    let keys = json!([ALICE.fingerprint().to_string()]);
    expected["servers"]["here"]["trust"] = json!({"dbt": keys, "tools": keys});
    assert_eq!(config(&world), expected);
}

#[test]
fn what_a_configuration_links_to_is_left_as_readable_as_it_is() {
    let world = ready();
    world.write_config(&of_the_reference(&world));
    let shared = world.directory().join("shared.json");
    fs::copy(world.config_file(), &shared).unwrap();
    fs::remove_file(world.config_file()).unwrap();
    std::os::unix::fs::symlink(&shared, world.config_file()).unwrap();
    readable_by_all(&world);
    install(&world, &["--yes"]).exits_with(0).does_not_mention("readable by you alone");
    assert_eq!(mode_of_config(&world), 0o644);
}

#[test]
fn the_same_server_in_the_older_format_stays_as_it_is() {
    let world = ready();
    let mut before = of_the_reference_before(&world.server().url());
    before.as_object_mut().unwrap().remove("pubkeypath");
    world.write_config(&before);
    readable_by_all(&world);
    let run = install(&world, &["--yes"]);
    run.exits_with(0).mentions("the server `default` in").mentions("dbt catalog list`");
    assert_eq!((config(&world), mode_of_config(&world)), (before.clone(), 0o600));
    // The keys of the installer counted all the same.
    fs::remove_file(installed(&world)).unwrap();
    let program = fs::read(&crate::programs::programs().now).unwrap();
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().publish_program("4.0.0", program).signed_by(&MALLORY).now();
    install(&world, &["--yes"]).exits_with(exits::VERIFICATION_REFUSED);
    assert!(!installed(&world).exists());
}

#[test]
fn a_server_keeps_its_address_and_its_anchor_unless_the_old_one_is_named() {
    let world = ready();
    let mallory = MALLORY.fingerprint().to_string();
    let mut entry = world.server_entry();
    entry["trust"] = json!({"dbt": [mallory], "tools": [mallory]});
    entry["strict"] = json!(true);
    let before = json!({"servers": {SERVER: entry}});
    world.write_config(&before);
    for wrong in [None, Some("none"), Some("AB")] {
        let mut words = vec!["--yes"];
        words.extend(wrong.iter().flat_map(|old| ["--replace-trust", *old]));
        install(&world, &words)
            .exits_with(exits::CONFIGURATION)
            .mentions("refusing to change whom the server `acme` of the configuration is")
            .mentions("its anchor is `[FINGERPRINT]` and would be `[FINGERPRINT]`")
            .mentions("`--name NAME` adds the offered server beside it");
        assert_eq!(config(&world), before);
        assert!(!installed(&world).exists());
    }
    install(&world, &["--yes", "--replace-trust", &mallory.to_lowercase()]).exits_with(0);
    let mut expected = before;
    let keys = json!([ALICE.fingerprint().to_string()]);
    expected["servers"][SERVER]["trust"] = json!({"dbt": keys, "tools": keys});
    assert_eq!(config(&world), expected);
}

#[test]
fn a_server_of_the_same_name_elsewhere_is_not_moved() {
    let world = ready();
    let mut entry = world.server_entry();
    entry["repository"] = json!("https://dbt.example.org/dbt");
    let before = json!({"servers": {SERVER: entry}});
    world.write_config(&before);
    install(&world, &["--yes"])
        .exits_with(exits::CONFIGURATION)
        .mentions("its repository is `https://dbt.example.org/dbt` and would be `[SERVER]/dbt`");
    assert_eq!(config(&world), before);
    assert!(!installed(&world).exists());
    assert_eq!(world.server().take_lines(), [""; 0]);
}

fn write_program(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_program_of_the_same_name_that_is_not_ours_stays() {
    for theirs in [
        "#!/bin/sh\necho 'Core:'; echo '  - installed: 1.7.0'\n",
        "#!/bin/sh\necho 'dbt version 1.7.0'; exit 1\n",
        "no program at all",
    ] {
        let world = ready();
        write_program(&installed(&world), theirs);
        install(&world, &["--yes"])
            .exits_with(exits::CONFIGURATION)
            .mentions("refusing to replace `[WORLD]/h/.local/bin/dbt`")
            .mentions(
                "`--as NAME` gives this program another name, `--directory DIR` another place",
            );
        assert_eq!(fs::read_to_string(installed(&world)).unwrap(), theirs);
        assert!(!world.config_file().exists());
        assert_eq!(world.server().take_lines(), [""; 0]);

        install(&world, &["--yes", "--as", "tools"]).exits_with(0).mentions("tools catalog list`");
        let other = world.home().join(".local/bin/tools");
        world.invoke(["deploy"]).program(&other).run().prints("deploy 1.4.0\n");
        install(&world, &["uninstall", "--yes"]).exits_with(0);
        assert!(!other.exists() && installed(&world).exists());
    }
}

#[test]
fn an_older_program_of_ours_or_of_the_reference_is_replaced_and_a_newer_one_is_not() {
    let world = ready();
    write_program(&installed(&world), "#!/bin/sh\necho 'dbt version 3.7.5'\n");
    install(&world, &["--yes"]).exits_with(0);
    run(&world, &["--version"]).prints("dbt version 4.0.0\n");

    fs::write(installed(&world).with_extension("new"), next()).unwrap();
    let newer = installed(&world).with_extension("new");
    fs::set_permissions(&newer, fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(installed(&world)).unwrap();
    fs::hard_link(&newer, installed(&world)).unwrap();
    install(&world, &["--yes"])
        .exits_with(exits::CONFIGURATION)
        .mentions("is dbt 99.0.0, and 4.0.0 is published");
    run(&world, &["--version"]).prints("dbt version 99.0.0\n");
}

#[test]
fn uninstalling_leaves_a_program_that_somebody_has_put_there_since() {
    let world = ready();
    install(&world, &["--yes"]).exits_with(0);
    fs::remove_file(installed(&world)).unwrap();
    write_program(&installed(&world), "#!/bin/sh\necho theirs\n");
    install(&world, &["uninstall", "--yes"])
        .exits_with(0)
        .mentions("`[WORLD]/h/.local/bin/dbt` is another program today, and stays");
    assert!(installed(&world).exists());
}

#[test]
fn another_directory_is_used_when_one_is_named() {
    let world = ready();
    let mut settings = settings(&world);
    settings.as_object_mut().unwrap().remove("name");
    put_beside(&world, &settings);
    install(&world, &["--yes", "--directory", "x/y"]).exits_with(0);
    let program = world.directory().join("x/y/dbt");
    world.invoke(["deploy"]).program(&program).run().prints("deploy 1.4.0\n");
    assert!(config(&world)["servers"].get("127.0.0.1").is_some());
    install(&world, &["uninstall", "--yes"]).exits_with(0);
    assert!(!world.directory().join("x").exists());
}
