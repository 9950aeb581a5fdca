//! The real programs, in worlds of their own: homes, repositories, file servers, faults.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod catalog;
mod command_line;
mod concurrency;
mod config;
mod credentials;
mod documents;
mod handmade;
mod history;
mod hosts;
mod manifest;
mod names;
mod outage;
mod programs;
mod requests;
mod run;
mod self_update;
mod servers;
mod tamper;
mod truststore;
mod versions;

use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;

/// A world with the program that was built for this test run.
fn world() -> World {
    World::new(env!("CARGO_BIN_EXE_dbt"))
}

/// A world whose configuration names Alice, so that a first run has nothing to say.
fn pinned() -> World {
    let world = world();
    world.pin(&[&ALICE]);
    world
}
