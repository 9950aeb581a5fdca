//! What takes minutes: faults at every step of a run, and races of many rounds. `make test-long`
//! runs this; it needs strace.

#![expect(clippy::unwrap_used, reason = "what is unexpected in a test fails it")]

#[path = "../it/programs.rs"]
mod programs;

mod faults;
mod large;
mod races;
mod swaps;
mod threads;
