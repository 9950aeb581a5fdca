//! The same suite for every way to read a repository: what a client does is decided once, whatever it
//! reads from.
//!
//! The suite itself is run again by this very program, in worlds whose client reads a directory or a
//! bucket. What is about web servers is left out: their requests, their faults, their sign-in.

use std::process::Command;

use dbt_testkit::world::Reading;

/// What is about a client and not about how it reads.
const SUITE: [&str; 9] = [
    "candidates::",
    "concurrency::",
    "copies::",
    "interrupted::",
    "manifest::",
    "run::",
    "tamper::",
    "truststore::",
    "versions::",
];

#[track_caller]
fn check(reading: Reading, left_out: &[&str], at_least: usize) {
    let program = std::env::current_exe().unwrap();
    let skipped = left_out.iter().flat_map(|test| ["--skip", *test]);
    let output = Command::new(program)
        .env(Reading::VARIABLE, reading.name())
        .args(SUITE)
        .args(skipped)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}:\n{words}", reading.name());
    let passed = words.lines().filter(|line| line.ends_with(" ... ok")).count();
    assert!(passed >= at_least, "{passed} passed:\n{words}");
}

#[test]
fn a_directory_is_a_repository_like_any_other() {
    check(Reading::Directory, &[], 60);
}

#[test]
fn a_bucket_is_a_repository_like_any_other() {
    check(Reading::Bucket, &[], 60);
}
