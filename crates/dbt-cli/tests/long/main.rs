//! What takes minutes: faults at every step of a run, and races of many rounds. `make test-long`
//! runs this; it needs strace.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/handmade/daemon.rs"]
mod daemon;
#[path = "../it/programs.rs"]
mod programs;
#[path = "../peers/reposerver.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod reposerver;
#[path = "../peers/site.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod site;

mod faults;
mod large;
mod publishing;
mod races;
mod swaps;
mod threads;
