//! The file that says who decided the exit code: what it may be, and who writes to it.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::process::{Command, Stdio};

use crate::{pinned, published};

const TOOL: &str = "{\"phase\":\"tool\",\"code\":null}\n";

#[test]
fn a_pipe_in_the_place_of_the_status_file_stays_one_and_gets_it() {
    let world = published();
    let pipe = world.directory().join("status");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // Nobody reads, and nobody is waited for.
    world.invoke(["deploy"]).env("DBT_STATUS_FILE", &pipe).run().prints("deploy 1.4.0\n");
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());

    // Opened for both, so that it is open before anybody writes, and what was written stays in it.
    let reader = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    world.invoke(["deploy"]).env("DBT_STATUS_FILE", &pipe).run().prints("deploy 1.4.0\n");
    let read = Command::new("head").arg("-n1").stdin(Stdio::from(reader)).output().unwrap();
    assert_eq!(String::from_utf8(read.stdout).unwrap(), TOOL);
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_link_in_the_place_of_the_status_file_stays_one() {
    let world = published();
    let at = |name: &str| world.directory().join(name);
    let run = |name: &str| {
        world.invoke(["deploy"]).env("DBT_STATUS_FILE", at(name)).run().prints("deploy 1.4.0\n");
        assert!(at(name).is_symlink(), "{name}");
    };
    fs::write(at("file"), "before").unwrap();
    for (name, target) in [("to-file", "file"), ("to-nothing", "made"), ("to-device", "/dev/null")]
    {
        symlink(target, at(name)).unwrap();
        run(name);
    }
    for name in ["file", "made"] {
        assert_eq!(fs::read_to_string(at(name)).unwrap(), TOOL, "{name}");
    }
    assert!(fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn what_looks_for_newer_versions_beside_the_tool_does_not_write_the_status() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.set("updates", "after");
    world.repository().publish("deploy", "1.5.0").now();
    let file = world.directory().join("status");
    world.invoke(["deploy"]).env("DBT_STATUS_FILE", &file).run().prints("deploy 1.4.0\n");
    let is_newer = |_try: &u32| world.dbt(["-o", "deploy"]).stdout() == "deploy 1.5.0\n";
    assert!((0..1000).any(|try_| is_newer(&try_)));
    // It has done its work, and writes how it ended in its last moment.
    let is_over = |_try: &u32| !runs(&world.program());
    assert!((0..10_000).any(|try_| is_over(&try_)));
    assert_eq!(fs::read_to_string(&file).unwrap(), TOOL);
}

/// Says whether some process runs a program.
fn runs(program: &std::path::Path) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().any(|process| {
        fs::read_link(process.path().join("exe")).is_ok_and(|running| running == program)
    })
}

#[test]
fn where_nothing_can_look_for_newer_versions_in_the_background_that_is_said() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").script("/bin/echo deploy 1.4.0").now();
    world.dbt(["deploy"]).exits_with(0);
    world.set("updates", "after");
    let run = world.invoke(["deploy"]).env("PATH", world.directory()).run();
    run.exits_with(0).mentions("nothing looks for newer versions in the background");
    run.mentions("`dbt update`");
    world.invoke(["deploy"]).env("PATH", world.directory()).run().exits_with(0).says_nothing();
}
