//! Machines that are not a laptop: containers, read-only disks, full disks, damaged state.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use dbt_testkit::exits;
use dbt_testkit::invocation::{READ_ONLY, Run, mounts_work};
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use crate::{is_root, pinned, published, world};

#[test]
fn a_nameless_user_of_a_container_runs_a_tool_with_two_variables_and_no_file() {
    if !is_root() {
        return;
    }
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let stranger = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
    let run = world
        .invoke(["deploy", "x"])
        .through(&stranger)
        .env("HOME", "/")
        .env("DBT_SERVER", world.server().url())
        .env("DBT_TRUST", ALICE.fingerprint().to_string())
        .env("TMPDIR", "/nonexistent")
        .run();
    run.prints("deploy 1.4.0\n[x]\n").says_nothing();
}

#[test]
fn a_container_without_an_anchor_says_whom_it_trusts_on_every_run_and_runs() {
    if !is_root() {
        return;
    }
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    let stranger = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"];
    let run = world
        .invoke(["deploy"])
        .through(&stranger)
        .env("HOME", "/")
        .env("DBT_SERVER", world.server().url())
        .run();
    run.prints("deploy 1.4.0\n").mentions("first use");
}

#[test]
fn an_image_made_with_a_tool_fetched_runs_it_from_a_read_only_disk() {
    let world = published();
    let store = world.directory().join("store");
    world.invoke(["fetch", "deploy"]).env("DBT_CACHE_DIR", &store).run().exits_with(0);
    world.server().take_requests();
    let home = world.directory().join("other");
    fs::create_dir(&home).unwrap();
    let run = world
        .invoke(["deploy"])
        .env("DBT_STORE_PATH", &store)
        .env("HOME", &home)
        .env("DBT_CONFIG", world.config_file())
        .run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert!(!requests.iter().any(|line| line.ends_with("/deploy")), "{requests:?}");
}

#[test]
fn a_home_that_became_read_only_runs_what_it_has_and_what_it_can_fetch() {
    if !mounts_work() {
        return;
    }
    let world = published();
    let deploy = || world.invoke(["deploy"]).mounting(READ_ONLY, &world.home()).run();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    deploy().prints("deploy 1.4.0\n");
    world.repository().publish("deploy", "1.5.0").now();
    deploy().prints("deploy 1.5.0\n");
}

/// Runs a tool with its store on a new disk. Temporary files have a directory of the world, since
/// nobody knows how full, or how mounted, this machine's own is.
fn with_store_on(world: &World, options: &str, tool: &str) -> Run {
    let [store, temporary] = ["store", "temporary"].map(|name| world.directory().join(name));
    for directory in [&store, &temporary] {
        fs::create_dir_all(directory).unwrap();
    }
    let line = format!("mount -t tmpfs -o {options} none \"$0\"");
    let run = world.invoke([tool]).mounting(&line, &store).env("DBT_CACHE_DIR", &store);
    run.env("TMPDIR", &temporary).run()
}

#[test]
fn a_store_on_a_full_disk_says_so_and_runs_nothing_half_written() {
    if !mounts_work() {
        return;
    }
    let world = pinned();
    let mut big = b"#!/bin/sh\necho big\nexit 0\n".to_vec();
    big.resize(1 << 20, b'#');
    world.repository().publish("big", "1.0.0").content(big).now();
    let run = with_store_on(&world, "size=256k", "big");
    run.exits_with(exits::INTERNAL).mentions("there is no space left in `[WORLD]/store");
    run.mentions("for the download of 1048576 bytes").mentions("hint: `dbt cache prune` deletes");
    assert!(run.stdout().is_empty(), "{run:?}");
    with_store_on(&world, "size=4m", "big").prints("big\n");
}

#[test]
fn a_tool_in_a_store_that_forbids_executing_runs_from_memory() {
    if !mounts_work() {
        return;
    }
    let world = published();
    world.repository().publish("true", "1.0.0").content(fs::read("/bin/true").unwrap()).now();
    with_store_on(&world, "noexec", "deploy").prints("deploy 1.4.0\n").says_nothing();
    with_store_on(&world, "noexec", "true").prints("").says_nothing();
}

type Damage = (&'static str, fn(&Path));

/// Damage that leaves a file.
const SPOILT: [Damage; 4] = [
    ("emptied", |file| fs::write(file, "").unwrap()),
    ("cut in half", |file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    }),
    ("garbage", |file| fs::write(file, [0xff; 300]).unwrap()),
    ("another shape", |file| fs::write(file, "[1, 2, 3]").unwrap()),
];

/// Something else in the place of a file.
const EXCHANGED: [Damage; 3] = [
    ("a directory", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
    ("a link to nowhere", |file| {
        fs::remove_file(file).unwrap();
        symlink("/nonexistent", file).unwrap();
    }),
    ("a pipe", |file| {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    }),
];

#[test]
fn a_spoilt_record_of_a_tool_is_set_aside_and_the_tool_runs() {
    for (kind, damage) in SPOILT {
        let world = published();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        damage(&world.state_file("tools/deploy.json"));
        let run = world.dbt(["deploy"]);
        assert_eq!(run.stdout(), "deploy 1.4.0\n", "{kind}: {}", run.stderr());
        run.mentions("was damaged and has been set aside");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn something_else_in_the_place_of_a_record_is_named_and_nothing_hangs() {
    for (kind, damage) in EXCHANGED {
        let world = published();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        damage(&world.state_file("tools/deploy.json"));
        let run = world.dbt(["deploy"]);
        assert!(run.stdout().is_empty(), "{kind}: {}", run.stdout());
        run.exits_with(exits::CONFIGURATION).mentions("tools/deploy.json");
    }
}

#[test]
fn damaged_memory_of_a_server_is_never_taken_for_a_first_contact() {
    for file in ["state.json", "truststore"] {
        for (kind, damage) in SPOILT.into_iter().chain(EXCHANGED) {
            let world = world();
            world.repository().publish("deploy", "1.4.0").now();
            world.dbt(["deploy"]).prints("deploy 1.4.0\n");
            damage(&world.state_file(file));
            world.repository().trust(&[&MALLORY]);
            world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
            let run = world.dbt(["deploy"]);
            let said = run.stderr();
            assert!(!said.contains("first use"), "{file} {kind}: {said}");
            assert!(!run.stdout().contains("1.5.0"), "{file} {kind}: {said}");
            assert_eq!(world.executables().len(), 1, "{file} {kind}");
        }
    }
}

#[test]
fn state_of_a_newer_dbt_is_not_touched() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let file = world.state_file("state.json");
    let text = "{\"schema\":99,\"something\":\"new\"}";
    fs::write(&file, text).unwrap();
    world.dbt(["deploy"]).exits_with(exits::CONFIGURATION).mentions("written by a newer version");
    assert_eq!(fs::read_to_string(file).unwrap(), text);
}

#[test]
fn files_of_the_reference_in_the_cache_are_adopted_after_verification() {
    let world = published();
    let old = world.dbt_home().join("tools").join("acme");
    fs::create_dir_all(&old).unwrap();
    let path = dbt_testkit::repository::artifact("deploy", "1.4.0");
    for ending in ["", ".sha256", ".asc"] {
        let file = old.join(format!("deploy{ending}"));
        fs::write(&file, world.repository().read(&format!("{path}{ending}"))).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_lines();
    assert!(!requests.contains(&format!("GET {path}")), "{requests:?}");
}

#[test]
fn files_of_the_reference_that_were_changed_are_not_adopted() {
    let world = published();
    let old = world.dbt_home().join("tools").join("acme");
    fs::create_dir_all(&old).unwrap();
    fs::write(old.join("deploy"), "#!/bin/sh\necho owned\n").unwrap();
    fs::set_permissions(old.join("deploy"), Permissions::from_mode(0o755)).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.server().fault("*", Fault::Status(500));
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn what_is_remembered_is_readable_by_its_owner_alone() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    for file in world.state_files() {
        let mode = fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    for file in world.executables() {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o500);
    }
}

#[test]
fn offline_with_a_state_that_knows_the_tool_but_no_copy_says_what_to_do() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    fs::remove_dir_all(world.dbt_home().join("tools").join("sha256")).unwrap();
    world.dbt(["-o", "deploy"]).exits_with(exits::UNREACHABLE).mentions("dbt fetch deploy");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn doctor_names_a_directory_of_ours_that_others_can_write_to() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).exits_with(0);
    world.dbt(["doctor"]).exits_with(0);
    fs::set_permissions(world.dbt_home(), Permissions::from_mode(0o777)).unwrap();
    let run = world.dbt(["doctor"]);
    run.exits_with(exits::CONFIGURATION);
    assert!(run.stdout().contains("others can write to"), "{}", run.stdout());
}
