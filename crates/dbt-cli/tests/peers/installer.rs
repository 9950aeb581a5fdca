//! The installer and the profiles of the real zsh and fish: a new shell finds the program, and none
//! does after it was taken back.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use serde_json::json;

/// A machine without anything of ours, and a repository that has the program and a tool.
fn world() -> World {
    let program = Path::new(env!("CARGO_BIN_EXE_dbt"));
    let world = World::new(program);
    fs::remove_dir_all(world.dbt_home()).unwrap();
    world.repository().publish_program("4.0.0", fs::read(program).unwrap()).now();
    world.repository().publish("deploy", "1.4.0").now();
    let keys = [ALICE.fingerprint().to_string()];
    let trust = json!({"dbt": keys, "tools": keys});
    let settings = json!({"name": "acme", "url": world.server().url(), "trust": trust});
    fs::write(world.directory().join("acme.json"), serde_json::to_vec(&settings).unwrap()).unwrap();
    world
}

/// Runs a line in a new shell that a person has opened; returns what it printed.
fn in_a_new_shell(world: &World, shell: &str, line: &str) -> String {
    let output = Command::new(shell)
        .args(["-i", "-c", line])
        .env_clear()
        .env("HOME", world.home())
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "dumb")
        .current_dir(world.home())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{shell}: {error}; run scripts/install-peers"));
    String::from_utf8(output.stdout).unwrap()
}

fn installer(world: &World, shell: &str, words: &[&str]) {
    world
        .invoke(words.iter().copied())
        .program(env!("CARGO_BIN_EXE_dbt-installer"))
        .env("SHELL", format!("/usr/bin/{shell}"))
        .run()
        .exits_with(0);
}

#[track_caller]
fn is_found_and_taken_back(shell: &str) {
    let world = world();
    installer(&world, shell, &["--from", "acme.json", "--yes", "--modify-profile"]);
    let listed = in_a_new_shell(&world, shell, "dbt catalog list");
    assert!(listed.contains("deploy"), "{listed}");
    installer(&world, shell, &["uninstall", "--yes"]);
    let found = in_a_new_shell(&world, shell, "command -v dbt; true");
    assert!(!found.contains("dbt"), "{found}");
}

#[test]
fn a_new_zsh_finds_the_program() {
    is_found_and_taken_back("zsh");
}

#[test]
fn a_new_fish_finds_the_program() {
    is_found_and_taken_back("fish");
}
