//! Many processes, and one token.

use std::process::{Command, Stdio};

use dbt_core::digest::Digest;
use dbt_testkit::token_endpoint::TokenEndpoint;

/// The example that cargo builds beside the tests.
fn probe(home: &std::path::Path, endpoint: &TokenEndpoint) -> Command {
    let tests = std::env::current_exe().unwrap();
    let probe = tests.parent().unwrap().with_file_name("examples").join("token_probe");
    assert!(probe.exists(), "run `cargo test -p dbt-client`: it builds {}", probe.display());
    let mut probe = Command::new(probe);
    probe.arg(home).arg(endpoint.url()).stdin(Stdio::null()).stdout(Stdio::piped());
    probe
}

/// Runs so many at once; returns what each got.
fn run(home: &std::path::Path, endpoint: &TokenEndpoint, count: usize) -> Vec<String> {
    let runs: Vec<_> = (0..count).map(|_run| probe(home, endpoint).spawn().unwrap()).collect();
    let outputs = runs.into_iter().map(|run| run.wait_with_output().unwrap());
    outputs
        .map(|output| {
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
        .collect()
}

#[test]
fn a_hundred_processes_at_once_make_one_token_request_and_later_ones_none() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let got = run(home.path(), &endpoint, 100);
    assert_eq!(got[0].trim_end().len(), Digest::of(b"").to_string().len());
    assert!(got.iter().all(|token| *token == got[0]), "{got:?}");
    assert_eq!(endpoint.take_asked().len(), 1);
    assert_eq!(run(home.path(), &endpoint, 3), [&*got[0]; 3]);
    assert!(endpoint.take_asked().is_empty());
}

#[test]
fn without_a_home_that_can_be_written_each_asks_for_itself() {
    let (endpoint, place) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let home = place.path().join("no-directory");
    std::fs::write(&home, "").unwrap();
    run(&home, &endpoint, 3);
    assert_eq!(endpoint.take_asked().len(), 3);
}
