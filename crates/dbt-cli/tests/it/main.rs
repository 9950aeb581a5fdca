//! The real programs, in worlds of their own: homes, repositories, file servers, faults.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

mod addresses;
mod candidates;
mod catalog;
mod certificates;
mod ci;
mod command_line;
mod completions;
mod concurrency;
mod config;
mod copies;
mod credentials;
mod doctor;
mod documents;
mod errors_page;
mod everywhere;
mod file_systems;
mod full_disks;
mod handmade;
mod history;
mod homes;
mod hostile;
mod hosts;
mod installer;
mod interrupted;
mod job;
mod left_behind;
mod login;
mod manifest;
mod names;
mod netrc;
mod outage;
mod owners;
mod programs;
mod provider;
mod proxies;
mod purge;
mod requests;
mod run;
mod self_update;
mod servers;
mod signing_in_page;
mod ssh_keys;
mod status;
mod tamper;
mod troubleshooting;
mod truststore;
mod tuf_client;
mod versions;
mod whoami;

use std::path::PathBuf;

use dbt_testkit::invocation::Invocation;
use dbt_testkit::people::ALICE;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::Received;
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

/// The same, with `deploy` 1.4.0 published.
fn published() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world
}

/// Runs `deploy`, of which there is a copy, and expects that the server is asked for what a run without
/// any sign-in asks it for, all at once and no more; returns what it was asked.
fn asked_in_a_warm_run(world: &World, deploy: Invocation<'_>) -> Vec<Received> {
    world.server().take_requests();
    world.server().answer_only_together(4);
    deploy.run().prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_requests();
    let mut lines: Vec<String> = requests.iter().map(Received::line).collect();
    lines.sort();
    let checksum = format!("GET {}.sha256", artifact("deploy", "1.4.0"));
    assert_eq!(lines, ["GET /dbt-tools/deploy/", &checksum, "GET /dbt/", "GET /dbt/truststore"]);
    requests
}

/// Says whether everything is allowed to us: then no mode of a file refuses anything.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A library that shows another time to whoever is started with it.
fn other_time(world: &World, seconds: u64) -> PathBuf {
    let (source, library) = (world.directory().join("t.c"), world.directory().join("t.so"));
    let code = format!(
        "#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>\n\
         int clock_gettime(clockid_t id, struct timespec *t) {{\n\
         if (id != CLOCK_REALTIME) return syscall(SYS_clock_gettime, id, t);\n\
         t->tv_sec = {seconds}; t->tv_nsec = 0; return 0; }}\n"
    );
    std::fs::write(&source, code).unwrap();
    let made = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(made.unwrap().success());
    library
}
