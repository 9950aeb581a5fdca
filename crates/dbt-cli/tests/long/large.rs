//! Tools that are so large that what was read of them is remembered: every step that is different for
//! them fails once, or is the last.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dbt_testkit::world::World;

use crate::faults::{OLD, Scenario, pinned};

/// One byte more than is read on every run.
const LARGE: usize = 64 * 1024 * 1024 + 1;

/// How long it takes at most until what was read of a file is remembered.
const SETTLED: Duration = Duration::from_secs(20);

/// A world in which a large tool is published.
fn published() -> World {
    let world = pinned();
    let mut content = b"#!/bin/sh\necho deploy 1.4.0\nexit 0\n".to_vec();
    content.resize(LARGE, b'#');
    world.repository().publish("deploy", "1.4.0").content(content).now();
    world
}

/// The same, where the tool has been run until it is remembered; nothing where the file system of
/// temporary files is not one that is believed.
fn remembered() -> Option<World> {
    let world = published();
    let began = Instant::now();
    loop {
        world.dbt(["deploy"]).prints(OLD).says_nothing();
        if records(&world) > 0 {
            return Some(world);
        }
        if !is_believed(&world) {
            return None;
        }
        assert!(began.elapsed() < SETTLED, "it is not remembered");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn is_believed(world: &World) -> bool {
    const EXT: u64 = 0xEF53;
    const TMPFS: u64 = 0x0102_1994;
    let system = rustix::fs::statfs(world.directory()).unwrap();
    [EXT, TMPFS].contains(&(system.f_type.cast_unsigned() & 0xFFFF_FFFF))
}

fn place(world: &World) -> PathBuf {
    world.dbt_home().join("tools/remembered")
}

fn records(world: &World) -> usize {
    let entries = fs::read_dir(place(world)).into_iter().flatten().map(Result::unwrap);
    entries.filter(|entry| entry.path().extension().is_some_and(|it| it == "json")).count()
}

fn scenario(world: World) -> Scenario {
    let kept = world.dbt_home().join("tools/sha256");
    let mut scenario = Scenario::run_of_tool(world, &[OLD]);
    scenario.keeps = Some(kept);
    scenario
}

#[test]
fn remembering_a_large_tool_survives_every_fault() {
    let Some(world) = remembered() else { return };
    fs::remove_dir_all(place(&world)).unwrap();
    scenario(world).try_everything(7);
}

#[test]
fn believing_what_is_remembered_of_a_large_tool_survives_every_fault() {
    let Some(world) = remembered() else { return };
    scenario(world).try_everything(2);
}

#[test]
fn a_first_run_of_a_large_tool_survives_what_a_disk_can_do() {
    let mut scenario = Scenario::run_of_tool(published(), &[OLD]);
    scenario.only = Some(&["fallocate", "fdatasync", "linkat", "fchmod", "ftruncate"]);
    scenario.try_everything(1000);
}
