//! A run that dies, or whose disk fails, at every step that changes files: the next run is right.

use std::fs;

use dbt_testkit::invocation::Run;
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

use crate::programs::{next, programs};

/// The steps that change files.
const STEPS: &str = "rename,renameat,renameat2,link,linkat,symlinkat,unlink,unlinkat,mkdir,mkdirat,\
                     ftruncate,fsync,fdatasync,fchmod,fchmodat";

/// More steps than any run has.
const MANY: usize = 200;

/// A world in which a tool is published.
fn published() -> World {
    let world = World::new(&programs().now);
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world
}

/// Runs `deploy`, and does something to it at step number `step`.
fn deploy(world: &World, steps: &str, what: &str, step: usize) -> Run {
    let trace = format!("trace={steps}");
    let inject = format!("inject={steps}:{what}:when={step}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    world.invoke(["deploy"]).through(&strace).run()
}

#[test]
fn a_first_run_killed_at_any_step_leaves_the_next_one_right() {
    for step in 1..MANY {
        let world = published();
        let run = deploy(&world, STEPS, "signal=KILL", step);
        let reached_the_tool = run.stdout() == "deploy 1.4.0\n";
        assert!(reached_the_tool || run.stdout().is_empty(), "{step}: {run:?}");
        assert!(world.executables().len() <= 1, "{step}: {:?}", world.executables());
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
        if reached_the_tool {
            return;
        }
    }
    panic!("a run never got through");
}

#[test]
fn an_update_of_dbt_killed_at_any_step_leaves_a_program_that_works() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().publish_program("99.0.0", next()).now();
    let before = fs::read(world.program()).unwrap();
    for step in 1..MANY {
        let run = deploy(&world, STEPS, "signal=KILL", step);
        let now = fs::read(world.program()).unwrap();
        assert!(now == before || now == next(), "{step}: the program is neither of the two");
        world.dbt(["--version"]).exits_with(0);
        world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
        if run.stdout() == "deploy 1.4.0\n" {
            world.dbt(["--version"]).prints("dbt version 99.0.0\n");
            return;
        }
    }
    panic!("a run never got through");
}

#[test]
fn a_disk_that_fails_at_any_write_runs_the_right_tool_or_none() {
    for (what, steps) in [("error=ENOSPC", "write,pwrite64,writev"), ("error=EIO", STEPS)] {
        for step in 1..40 {
            let world = published();
            let run = deploy(&world, steps, what, step);
            let stdout = run.stdout();
            assert!(["", "deploy 1.4.0\n"].contains(&stdout.as_str()), "{what} {step}: {run:?}");
            world.dbt(["deploy"]).prints("deploy 1.4.0\n");
            world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n").says_nothing();
        }
    }
}
