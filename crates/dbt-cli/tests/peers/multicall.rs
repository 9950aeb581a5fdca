//! A program that is many: busybox does what its name says.

use std::fs;
use std::path::Path;

use dbt_testkit::exits;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

/// The places where Debian puts it.
const BUSYBOX: [&str; 2] = ["/bin/busybox", "/usr/bin/busybox"];

fn busybox() -> Vec<u8> {
    let found = BUSYBOX.iter().find(|file| Path::new(file).exists());
    let found = found.unwrap_or_else(|| panic!("no busybox; run scripts/install-peers"));
    fs::read(found).unwrap()
}

/// A world in which busybox is published under several names.
fn world() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    world.pin(&[&ALICE]);
    for name in ["sh", "ls", "busybox"] {
        world.repository().publish(name, "1.36.1").content(busybox()).now();
    }
    world
}

#[test]
fn a_program_that_is_many_is_the_one_whose_name_was_typed() {
    let world = world();
    let directory = world.directory().join("some");
    fs::create_dir_all(directory.join("thing")).unwrap();
    let directory = directory.to_str().unwrap();
    world.dbt(["ls", directory]).prints("thing\n").says_nothing();
    world.dbt(["sh", "-c", "echo $0 $1", "x", "y"]).prints("x y\n").says_nothing();
    world.dbt(["--", "sh", "-c", "echo $0"]).prints("sh\n").says_nothing();
    world.dbt(["busybox", "echo", "sh"]).prints("sh\n").says_nothing();
}

#[test]
fn one_file_under_several_names_is_kept_as_each_of_them() {
    let world = world();
    for name in ["sh", "ls", "busybox"] {
        world.dbt(["fetch", name]).exits_with(0);
    }
    let mut names: Vec<String> = world
        .executables()
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["busybox", "ls", "sh"]);
}

#[test]
fn a_program_that_is_many_is_started_by_the_names_of_links() {
    let world = world();
    world.dbt(["link", "sh", "ls"]).exits_with(0).says_nothing();
    let link = |name: &str| world.home().join(".local/bin").join(name);
    let run = |name: &str, words: &[&str]| world.invoke(words).program(link(name)).run();
    run("sh", &["-c", "echo $0; exit 5"]).exits_with(5).says_nothing();
    run("sh", &["-c", "echo $0"]).prints("sh\n");
    let listed = run("ls", &["-a", world.home().join(".local").to_str().unwrap()]);
    listed.prints(".\n..\nbin\n").says_nothing();
    run("ls", &["--no-such-flag"]).exits_with(1).mentions("BusyBox");
    world.dbt(["unlink", "sh", "ls"]).exits_with(0);
    assert!(!link("sh").exists() && !link("ls").exists());
    world.dbt(["unlink", "ls"]).exits_with(exits::NOT_FOUND);
}
