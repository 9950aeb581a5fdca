//! Runs under strace: what the system was asked for, not what we say.

use std::fs;

use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

/// A world in which the tool has been run once.
fn world() -> World {
    let world = World::new(env!("CARGO_BIN_EXE_dbt"));
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world
}

/// Runs dbt, and returns the calls of these kinds that it and its threads and children made.
fn calls(world: &World, kinds: &str, words: &[&str]) -> Vec<String> {
    let trace = world.directory().join("trace");
    let prefix = ["strace", "-f", "-qq", "-s", "200", "-e", kinds, "-o", trace.to_str().unwrap()];
    world.invoke(words).through(&prefix).run().prints("deploy 1.4.0\n").says_nothing();
    let trace = fs::read_to_string(trace).unwrap();
    let calls = trace.lines().filter_map(|line| line.split_once(' '));
    calls.map(|(_process, call)| call.trim_start().to_owned()).collect()
}

#[test]
fn an_offline_run_does_not_touch_the_network() {
    let world = world();
    let found = calls(&world, "trace=%network", &["-o", "deploy"]);
    assert_eq!(found, [""; 0]);
    let found = calls(&world, "trace=%network", &["deploy"]);
    assert!(found.iter().any(|call| call.starts_with("connect(")), "{found:?}");
}

#[test]
fn a_warm_run_starts_the_tool_and_no_other_program() {
    let world = world();
    for words in [&["-o", "deploy"][..], &["deploy"]] {
        let started = calls(&world, "trace=execve,execveat", words);
        let files: Vec<&str> = started.iter().filter_map(|call| call.split('"').nth(1)).collect();
        let program = world.program().display().to_string();
        let tool = world.executables()[0].display().to_string();
        assert_eq!(files, [program, tool], "{started:?}");
    }
}

#[test]
fn a_warm_run_writes_to_nothing_that_can_be_executed() {
    let world = world();
    let opened = calls(&world, "trace=open,openat,openat2,creat", &["-o", "deploy"]);
    let tool = world.executables()[0].file_name().unwrap().to_str().unwrap().to_owned();
    let opened: Vec<&String> =
        opened.iter().filter(|call| call.contains(&format!("{tool}\""))).collect();
    assert!(!opened.is_empty());
    for call in opened {
        assert!(!call.contains("O_RDWR") && !call.contains("O_WRONLY"), "{call}");
    }
}
