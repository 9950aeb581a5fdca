//! Where no thread can be started, because a container or a user has used up its processes, one
//! thing is done after the other.

use std::fs;

use dbt_testkit::invocation::Run;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

/// Runs dbt in a system that starts neither threads nor processes.
fn alone(world: &World, words: &[&str]) -> Run {
    let refused = "inject=clone,clone3,vfork,fork:error=EAGAIN";
    let strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"];
    let strace = [&strace[..], &["-e", "trace=clone,clone3,vfork,fork", "-e", refused]].concat();
    world.invoke(words).through(&strace).run()
}

fn world() -> World {
    let world = World::new(&programs().now);
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world
}

#[test]
fn tools_run_and_are_updated_where_no_thread_can_be_started() {
    for host in ["127.0.0.1", "localhost"] {
        let world = world();
        world.move_server(&world.server().url().replace("127.0.0.1", host));
        alone(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        alone(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        world.repository().publish("deploy", "1.5.0").now();
        alone(&world, &["deploy"]).prints("deploy 1.5.0\n").says_nothing();
        alone(&world, &["-o", "deploy"]).prints("deploy 1.5.0\n").says_nothing();
        alone(&world, &["catalog", "list"]).exits_with(0).says_nothing();
    }
}

#[test]
fn a_newer_dbt_that_could_not_be_tried_is_taken_over_once_it_can() {
    let world = world();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish_program("99.0.0", next()).now();
    let run = alone(&world, &["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("failed to try the new program");
    assert!(fs::read(world.program()).unwrap() == fs::read(&programs().now).unwrap());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(fs::read(world.program()).unwrap() == next());
}

#[test]
fn a_credential_that_no_command_can_print_is_named() {
    let world = world();
    world.set("tokenFunc", "echo secret");
    let run = alone(&world, &["deploy"]);
    run.mentions("tokenFunc");
    assert!(
        run.stdout().is_empty() && !run.stderr().contains("panicked"),
        "{run:?}: {}",
        run.stderr()
    );
    world.nothing_happened();
}
