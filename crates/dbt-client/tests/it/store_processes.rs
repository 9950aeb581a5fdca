//! Many processes and one store; processes that are killed; places where nothing can be written.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::store_world::{World, files_below, is_root, probe, refused, said};

/// A tool large enough that installing it takes a moment.
fn large_tool() -> Vec<u8> {
    let mut tool = b"#!/bin/sh\necho whole\nexit 0\n".to_vec();
    tool.extend((0..2_000_000_u32).map(|index| b'a' + u8::try_from(index % 26).unwrap()));
    tool
}

#[test]
fn many_first_runs_at_once_make_one_download() {
    let world = World::new();
    world.publish("tool", &large_tool());
    let runs: Vec<_> = (0..200)
        .map(|_run| world.probe("run", "tool").stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    for run in runs {
        assert_eq!(said(&run.wait_with_output().unwrap()), "whole\n");
    }
    assert_eq!(world.downloads(), 1);
    assert_eq!(world.check_nothing_unverified(), 1);
    assert!(files_below(&world.path("store/staging")).is_empty());
}

#[test]
fn without_locks_everything_is_as_right_as_with_them() {
    let world = World::new();
    world.publish("tool", &large_tool());
    fs::create_dir(world.path("store")).unwrap();
    fs::write(world.path("store/locks"), b"no directory").unwrap();
    let runs: Vec<_> = (0..20)
        .map(|_run| world.probe("run", "tool").stdout(Stdio::piped()).spawn().unwrap())
        .collect();
    for run in runs {
        assert_eq!(said(&run.wait_with_output().unwrap()), "whole\n");
    }
    assert_eq!(world.check_nothing_unverified(), 1);
    assert!(files_below(&world.path("store/staging")).is_empty());
}

#[test]
fn killed_at_any_moment_nothing_unverified_can_be_run() {
    let world = World::new();
    world.publish("tool", &large_tool());
    let begun = Instant::now();
    world.install("tool");
    let whole = begun.elapsed();

    for round in 0..80_u32 {
        fs::remove_dir_all(world.path("store")).unwrap();
        let mut install = world.probe("install", "tool").stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * round / 72);
        install.kill().unwrap();
        install.wait().unwrap();
        assert!(world.check_nothing_unverified() <= 1);
        fs::create_dir_all(world.path("store")).unwrap();
    }
    assert_eq!(said(&world.probe("run", "tool").output().unwrap()), "whole\n");
    assert_eq!(world.check_nothing_unverified(), 1);
}

#[test]
fn a_killed_process_holds_nobody_up() {
    let world = World::new();
    world.publish_word("tool", "well");
    let mut paused =
        world.probe("pause", "tool").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    paused.kill().unwrap();
    paused.wait().unwrap();
    assert_eq!(said(&world.probe("run", "tool").output().unwrap()), "well\n");
    assert!(begun.elapsed() < Duration::from_secs(20), "the reservation ended with its process");
}

/// Runs a line of shell as root in a mount namespace of its own. `$PROBE` is the program with its
/// first arguments, `$STORE` and `$TMP` are its places.
fn in_namespace(world: &World, line: &str) -> std::process::Output {
    let places = ["store", "tmp", "repository"].map(|name| world.path(name));
    let [store, temporary, repository] = places.each_ref().map(|path| path.to_str().unwrap());
    fs::create_dir_all(store).unwrap();
    Command::new("unshare")
        .args(["-m", "sh", "-c", line])
        .env("PROBE", format!("{} {store} {temporary} {repository}", probe().display()))
        .env("STORE", store)
        .env("TMP", temporary)
        .output()
        .unwrap()
}

#[test]
fn a_full_disk_is_named_and_nothing_remains() {
    let world = World::new();
    world.publish("tool", &large_tool());
    // A limit on the size of files stands in for a full disk where we may not mount one.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\""]).arg(probe());
    let (code, words) = refused(&limited.args(world.arguments("run", "tool")).output().unwrap());
    assert!(code == 87 && words.contains("failed to write to `"), "{words}");
    assert!(words.contains("/store/staging`"), "{words}");
    assert_eq!(world.check_nothing_unverified(), 0);

    if is_root() {
        let line = "mount -t tmpfs -o size=256k none $STORE && $PROBE run tool; code=$?
            find $STORE -type f -not -name '*.lock' >&2; exit $code";
        let (code, words) = refused(&in_namespace(&world, line));
        assert_eq!(code, 87, "{words}");
        let store = world.path("store");
        let expected = format!(
            "error: failed to write to `{}/staging`\n  caused by: No space left on device (os error 28)\n",
            store.display()
        );
        assert_eq!(words, expected);
    }
}

#[test]
fn without_proc_a_staging_file_has_a_name_and_the_tool_runs() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.publish("tool", &large_tool());
    let line = "mount -t tmpfs none /proc && $PROBE run tool && $PROBE run tool";
    assert_eq!(said(&in_namespace(&world, line)), "whole\nwhole\n");
    assert_eq!(world.check_nothing_unverified(), 1);
    assert!(files_below(&world.path("store/staging")).is_empty());
}

#[test]
fn a_tool_on_a_file_system_that_forbids_executing_runs_from_memory() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.publish_word("tool", "well");
    let mount = "mount -t tmpfs -o noexec none $STORE";
    for how in ["run", "run-sealed"] {
        let output = in_namespace(&world, &format!("{mount} && $PROBE {how} tool"));
        assert_eq!(said(&output), "well\n", "{how}");
    }
}

#[test]
fn where_nothing_can_be_written_the_tool_runs_from_memory() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.publish_word("script", "well");
    world.publish("binary", &fs::read("/bin/echo").unwrap());
    let read_only = "mount -t tmpfs -o ro none $STORE && mount -t tmpfs -o ro none $TMP";
    let output = in_namespace(
        &world,
        &format!(
            "{read_only} && $PROBE install script && $PROBE run script && $PROBE run binary x"
        ),
    );
    assert_eq!(said(&output), "memory\nwell\nx\n");
}

#[test]
fn a_user_without_a_home_runs_tools_from_a_temporary_store() {
    if !is_root() {
        return;
    }
    let world = World::new();
    world.publish_word("tool", "well");
    let places = [world.path("repository"), world.path("tmp")];
    for path in &places {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        fs::set_permissions(path, mode).unwrap();
    }
    let [repository, temporary] = places;
    let nobody = |command: &str| {
        Command::new("setpriv")
            .args(["--reuid", "12345", "--regid", "12345", "--clear-groups"])
            .arg(probe())
            .arg("/.dbt/tools")
            .args([&temporary, &repository])
            .args([command, "tool"])
            .output()
            .unwrap()
    };
    let installed = said(&nobody("install"));
    assert!(installed.starts_with(temporary.join("dbt-12345").to_str().unwrap()), "{installed}");
    assert_eq!(said(&nobody("run")), "well\n");
    assert_eq!(world.downloads(), 1, "the second run finds what the first has installed");
    assert!(!fs::exists("/.dbt").unwrap());
}
