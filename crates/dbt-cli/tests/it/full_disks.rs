//! Disks that are full while something new is there: a copy that was verified runs, and nothing
//! that was learnt is lost for the run that learnt it.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_testkit::exits;
use dbt_testkit::invocation::{Run, mounts_work};
use dbt_testkit::people::{ALICE, BOB};
use dbt_testkit::repository;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::{pinned, published};

/// In the place of a directory: a disk of this size with the files that were in it.
fn on_a_disk(world: &World, place: &Path, size: &str, fill: &str, words: &[&str]) -> Run {
    let line = format!(
        "mkdir -p \"$0.was\" && cp -a \"$0/.\" \"$0.was\" && mount -t tmpfs -o size={size} none \
         \"$0\" && cp -a \"$0.was/.\" \"$0\" && {fill}"
    );
    world.invoke(words).mounting(&line, place).run()
}

const NOTHING: &str = "true";
const FILL: &str = "{ cat /dev/zero > \"$0/filled\" 2>&-; true; }";

fn store(world: &World) -> PathBuf {
    world.dbt_home().join("tools")
}

fn state(world: &World) -> PathBuf {
    world.dbt_home().join("state")
}

/// Publishes a version that is larger than a small disk.
fn publish_large(world: &World) {
    let mut large = b"#!/bin/sh\necho deploy 1.5.0\nexit 0\n".to_vec();
    large.resize(1 << 20, b'#');
    world.repository().publish("deploy", "1.5.0").content(large).now();
}

#[test]
fn an_update_for_which_there_is_no_space_runs_the_copy_and_says_so() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    publish_large(&world);
    let run = on_a_disk(&world, &store(&world), "256k", NOTHING, &["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("nothing newer can be installed (there is no space left");
    run.mentions("for the download of 1048576 bytes").mentions("); running `deploy` 1.4.0 from");

    for words in [&["update", "deploy"][..], &["fetch", "deploy"], &["deploy@1.5.0"]] {
        let run = on_a_disk(&world, &store(&world), "256k", NOTHING, words);
        run.exits_with(exits::INTERNAL).mentions("there is no space left in");
        assert!(run.stdout().is_empty(), "{run:?}");
    }
    assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.4.0"]);
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
}

#[test]
fn a_disk_without_room_is_found_out_before_anything_is_downloaded() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    publish_large(&world);
    // Who waited for what follows the head would wait in vain, and call it an outage.
    let artifact = format!("/{}", repository::artifact("deploy", "1.5.0"));
    world.server().fault(&artifact, Fault::StallAfter(0));
    let run = on_a_disk(&world, &store(&world), "256k", NOTHING, &["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("nothing newer can be installed (there is no space left");
    run.mentions("for the download of 1048576 bytes").mentions("); running `deploy` 1.4.0 from");
    world.server().repair();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    assert_eq!(world.tools_started(), ["deploy 1.4.0", "deploy 1.4.0"]);
}

#[test]
fn where_nothing_can_be_remembered_the_newest_version_runs_and_that_is_said() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    let run = on_a_disk(&world, &state(&world), "64k", FILL, &["deploy"]);
    run.prints("deploy 1.5.0\n").mentions("what this run has learnt is not remembered");
    run.mentions("No space left on device");

    // What a person asks to be remembered is an error.
    for words in [&["update", "deploy"][..], &["rollback", "deploy"]] {
        world.repository().publish("deploy", "1.6.0").now();
        let run = on_a_disk(&world, &state(&world), "64k", FILL, words);
        assert!(run.code() != Some(0), "{words:?}: {run:?}");
    }
    world.dbt(["deploy"]).prints("deploy 1.6.0\n").says_nothing();
}

#[test]
fn a_key_that_was_taken_away_counts_no_more_though_that_cannot_be_remembered() {
    if !mounts_work() {
        return;
    }
    let world = pinned();
    world.pin(&[&ALICE, &BOB]);
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().publish("deploy", "1.4.0").signed_by(&BOB).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&ALICE]);
    let before = fs::read(world.state_file("truststore")).unwrap();
    let run = on_a_disk(&world, &state(&world), "64k", FILL, &["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("not in the truststore");
    assert!(run.stdout().is_empty(), "{run:?}");
    assert_eq!(world.tools_started(), ["deploy 1.4.0"]);
    assert!(fs::read(world.state_file("truststore")).unwrap() == before);
}
