//! Deleting published versions.

use super::world::{SCRIPT, World};

/// `deploy` in three releases, and another tool.
fn published() -> World {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    for version in ["1.0.0", "1.2.0", "1.10.0"] {
        let publish = format!("publish deploy {version} linux/amd64=deploy --description x");
        world.run(&format!("{publish} --to REPO --signer file:alice")).says_nothing();
    }
    let other = "publish other 0.1.0 linux/amd64=deploy --description x";
    world.run(&format!("{other} --to REPO --signer file:alice")).says_nothing();
    world
}

fn versions(world: &World, tool: &str) -> Vec<String> {
    let start = format!("dbt-tools/{tool}/");
    let published = world.published();
    let mut versions: Vec<String> = published
        .iter()
        .filter_map(|path| path.strip_prefix(&start)?.split('/').next())
        .map(str::to_owned)
        .collect();
    versions.dedup();
    versions
}

#[test]
fn named_versions_are_deleted_and_nothing_else() {
    let world = published();
    let run = world.run("delete deploy 1.2.0 v1.0.0 --yes --to REPO").succeeds();
    assert_eq!(run.data, "deleted deploy 1.0.0\ndeleted deploy 1.2.0\n");
    assert_eq!(versions(&world, "deploy"), ["1.10.0"]);
    assert_eq!(versions(&world, "other"), ["0.1.0"]);
}

#[test]
fn a_version_that_is_not_there_keeps_all_of_them() {
    let world = published();
    let before = world.published();
    let delete = "delete deploy 1.0.0 9.9.9 --yes --to REPO";
    world.run(delete).fails(84, "version `9.9.9` of `deploy` is not published");
    assert_eq!(world.published(), before);
}

#[test]
fn a_dry_run_asks_nothing_and_deletes_nothing() {
    let world = published();
    let before = world.published();
    let run = world.run("delete deploy --keep 1 --dry-run --to REPO").succeeds();
    assert_eq!(run.data, "would delete deploy 1.0.0\nwould delete deploy 1.2.0\n");
    let json = world.run("delete deploy --keep 1 --dry-run --json --to REPO").succeeds().json();
    assert_eq!(json["chosen"], serde_json::json!(["1.0.0", "1.2.0"]));
    assert_eq!((&json["deleted"], &json["dryRun"]), (&serde_json::json!([]), &true.into()));
    assert_eq!(world.published(), before);
}

#[test]
fn without_a_terminal_nothing_is_deleted_unless_a_flag_says_yes() {
    let world = published();
    let before = world.published();
    let words = "there is no terminal to ask on";
    world.run("delete deploy --all --to REPO").fails(80, words);
    assert_eq!(world.published(), before);
    world.run("delete deploy --all --yes --to REPO").succeeds();
    assert!(versions(&world, "deploy").is_empty());
    assert!(!world.path("repo/dbt-tools/deploy").exists());
}

#[test]
fn what_is_to_go_has_to_be_said_and_said_once() {
    let world = published();
    let before = world.published();
    for (words, told) in [
        ("", "it is not said which versions are to go"),
        ("--all 1.0.0", "do not go together"),
        ("1.0.0 --keep-latest", "do not go together"),
        ("--keep 0", "would keep nothing"),
        ("--older-than 0d", "is not a length of time greater than zero"),
        ("--older-than=-1d", "is not a length of time greater than zero"),
    ] {
        world.run(&format!("delete deploy {words} --yes --to REPO")).fails(80, told);
    }
    world.run("delete dbt --all --yes --to REPO").fails(80, "nobody could get it any more");
    assert_eq!(world.published(), before);
}

#[test]
fn what_was_signed_lately_is_not_old() {
    let world = published();
    let before = world.published();
    let run = world.run("delete deploy --older-than 1h --yes --to REPO").succeeds();
    assert_eq!(run.talk, "dbt: nothing is to be deleted\n");
    assert_eq!(world.published(), before);
}

#[test]
fn withdrawn_versions_stay_withdrawn_when_they_are_deleted() {
    let world = published();
    world.run("withdraw deploy 1.0.0 --reason bad --to REPO --signer file:alice --yes").succeeds();
    world.run("delete deploy --all --yes --to REPO").succeeds();
    assert_eq!(versions(&world, "deploy"), ["withdrawn.json", "withdrawn.json.asc"]);
}
