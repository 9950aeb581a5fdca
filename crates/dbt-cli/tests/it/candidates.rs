//! A newer dbt costs the tool that somebody waits for no more than a small fixed time, whatever it
//! does and however it comes.

use std::fs;
use std::time::{Duration, Instant};

use dbt_testkit::people::ALICE;
use dbt_testkit::repository::program;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

fn published() -> World {
    let world = World::new(&programs().now);
    world.repository().publish("deploy", "1.4.0").now();
    world.pin(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world
}

#[test]
fn what_a_candidate_leaves_running_is_not_waited_for() {
    for (script, words) in [
        ("sleep 86395 & exit 0", "it did not report who it is"),
        ("echo '{\"program\":\"data\"}'; sleep 86395 & exit 0", "it did not report who it is"),
        ("sleep 86395 & exit 3", "it ended with exit status: 3"),
        // It goes out of its way to live on, and holds what it was given.
        (
            "left=${0%/*}/../s/left; setsid sh -c 'echo $$ > \"$0\"; exec sleep 86395' \"$left\" &
             until [ -s \"$left\" ]; do :; done",
            "it did not report who it is",
        ),
    ] {
        let world = published();
        let candidate = format!("#!/bin/sh\n{script}\n").into_bytes();
        world.repository().publish_program("99.0.0", candidate).now();
        let begun = Instant::now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions(words);
        // Far from what it would be to wait for it.
        assert!(begun.elapsed() < Duration::from_secs(40), "{script}");
        if let Ok(left) = fs::read_to_string(world.directory().join("s/left")) {
            let left = rustix::process::Pid::from_raw(left.trim().parse().unwrap()).unwrap();
            rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
        } else {
            assert!(!sleeps(), "{script}");
        }
    }
}

/// Says whether what a candidate has started is still there.
fn sleeps() -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line == "sleep\u{0}86395\u{0}")
}

#[test]
fn a_candidate_that_comes_slowly_holds_up_one_run_for_a_limited_time() {
    let world = published();
    world.repository().publish_program("99.0.0", next()).now();
    let path = program("99.0.0");
    // Faster than what counts as a stall, and far too slow.
    world.server().fault(&path, Fault::Trickle);
    world.set("timeout", 0.2);
    let begun = Instant::now();
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("version 99.0.0 of dbt was offered and refused")
        .mentions("there was no complete answer in time")
        .mentions("`dbt self update` takes as long as it needs");
    assert!(begun.elapsed() < Duration::from_secs(30));
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let asked = world.server().take_lines();
    assert!(!asked.iter().any(|line| line.ends_with(&path)), "{asked:?}");

    world.server().repair();
    world.dbt(["self", "update"]).exits_with(0).mentions("99.0.0");
}
