//! Homes on file systems of other kinds than a laptop's: in memory, a container's layers, and such
//! as forbid executing.

use std::fs;
use std::path::{Path, PathBuf};

use dbt_testkit::invocation::{Invocation, mounts_work};
use dbt_testkit::people::ALICE;
use dbt_testkit::repository::artifact;
use dbt_testkit::world::World;

use crate::world;

/// `deploy`, told by two variables what a configuration file would say.
fn deploy(world: &World) -> Invocation<'_> {
    world
        .invoke(["deploy"])
        .env("DBT_SERVER", world.server().url())
        .env("DBT_TRUST", ALICE.fingerprint().to_string())
        .env("TMPDIR", "/nonexistent")
}

/// A world with `deploy` 1.4.0, and a directory to mount on.
fn published() -> (World, PathBuf) {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let disk = world.directory().join("disk");
    for directory in ["disk", "lower", "upper", "work"] {
        fs::create_dir(world.directory().join(directory)).unwrap();
    }
    (world, disk)
}

/// Says whether this machine's kernel lets us mount this.
fn can_mount(world: &World, mount: &str, disk: &Path) -> bool {
    world.invoke([""; 0]).program("/bin/true").mounting(mount, disk).run().code() == Some(0)
}

/// The layers of a container, of which the upper one is written to.
const LAYERS: &str = "mount -t overlay -o lowerdir=lower,upperdir=upper,workdir=work none \"$0\"";

const TMPFS: &str = "mount -t tmpfs none \"$0\"";
const NO_EXECUTION: &str = "mount -t tmpfs -o noexec none \"$0\"";

#[test]
fn a_home_on_any_file_system_keeps_its_tools() {
    if !mounts_work() {
        return;
    }
    let no_execution_in_layers = LAYERS.replace("-o ", "-o noexec,");
    let mounts = [
        TMPFS,
        "mount -t tmpfs -o nosuid,nodev,noatime none \"$0\"",
        "mount -t ramfs none \"$0\"",
        LAYERS,
        NO_EXECUTION,
        &no_execution_in_layers,
    ];
    let mut tried = Vec::new();
    for mount in mounts {
        let (world, disk) = published();
        if !can_mount(&world, mount, &disk) {
            continue;
        }
        tried.push(mount);
        // The third run finds nothing that the first two have left beside what they keep.
        let line = format!(
            "{mount} && \"$@\" && \"$@\" && test -d \"$0/.dbt/state\" && \
             test -z \"$(ls -A \"$0/.dbt/tools/staging\")\""
        );
        let run = deploy(&world).env("HOME", &disk).mounting(&line, &disk).run();
        run.prints(&"deploy 1.4.0\n".repeat(3)).says_nothing();
        let download = format!("GET {}", artifact("deploy", "1.4.0"));
        let lines = world.server().take_lines();
        assert_eq!(lines.iter().filter(|line| **line == download).count(), 1, "{mount}: {lines:?}");
    }
    assert!(tried.contains(&TMPFS) && tried.contains(&NO_EXECUTION), "{tried:?}");
}

#[test]
fn a_temporary_directory_that_forbids_executing_is_as_good_as_none() {
    if !mounts_work() {
        return;
    }
    let (world, disk) = published();
    for home in ["/", "/nonexistent"] {
        let run = deploy(&world).env("HOME", home).env("TMPDIR", &disk);
        run.mounting(NO_EXECUTION, &disk).run().prints("deploy 1.4.0\n").says_nothing();
    }
    // Neither has a home that forbids it beside such a temporary directory.
    let run = deploy(&world).env("HOME", &disk).env("TMPDIR", &disk);
    run.mounting(NO_EXECUTION, &disk).run().prints("deploy 1.4.0\n").says_nothing();
}
