//! The catalog of our own server, as our client shows it, and deleting from it with both programs.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;
use serde_json::{Value, json};

use crate::reposerver::{Reposerver, TOKEN};

fn server() -> Reposerver {
    let server = Reposerver::start();
    for version in ["1.0.0", "1.9.0", "1.10.0"] {
        server.publish("hello", version, "echo hello");
    }
    server.publish("other", "0.1.0", "echo other");
    server
}

/// Runs a program of ours with an empty home, and perhaps with the right to write.
fn run(server: &Reposerver, program: &str, words: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("DBT_SERVER", server.root());
    command.env("HOME", server.place()).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if let Some(token) = token {
        command.env("DBT_REPO_TOKEN", token);
    }
    command.output().unwrap()
}

fn dbt(server: &Reposerver, words: &[&str]) -> Output {
    run(server, env!("CARGO_BIN_EXE_dbt"), words, None)
}

#[track_caller]
fn printed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn our_servers_catalog_is_listed_by_both_programs_and_is_current() {
    let server = server();
    let expected =
        "TOOL   VERSION  DESCRIPTION\nhello  1.10.0   says hello\nother  0.1.0    says hello\n";
    let catalog = env!("CARGO_BIN_EXE_catalog");
    assert_eq!(printed(&dbt(&server, &["catalog", "list"])), expected);
    assert_eq!(printed(&run(&server, catalog, &["list"], None)), expected);
    server.publish("hello", "2.0.0", "echo hello");
    assert!(printed(&dbt(&server, &["catalog", "list"])).contains("2.0.0"));

    let entry: Value =
        serde_json::from_str(&printed(&dbt(&server, &["catalog", "list", "--json"]))).unwrap();
    assert_eq!(entry[0]["versions"], json!(["2.0.0", "1.10.0", "1.9.0", "1.0.0"]));
    assert_eq!(entry[0]["platforms"], json!({ Platform::CURRENT.to_string(): "2.0.0" }));
    let shown = printed(&dbt(&server, &["catalog", "show", "hello"]));
    assert!(shown.contains("not verified: this machine knows no keys"), "{shown}");
    assert!(dbt(&server, &["fetch", "hello"]).status.success());
    let shown = printed(&dbt(&server, &["catalog", "show", "hello"]));
    assert!(shown.contains("(description signed by"), "{shown}");
}

#[test]
fn versions_are_deleted_by_those_who_may_and_by_nobody_else() {
    let server = server();
    let there = |version: &str| server.served().join("dbt-tools/hello").join(version).exists();
    let purge = ["catalog", "purge", "hello", "--keep-latest", "--yes"];
    let refused = dbt(&server, &purge);
    assert_eq!(refused.status.code(), Some(83), "{refused:?}");
    assert!(there("1.0.0") && there("1.9.0") && there("1.10.0"));

    let purged = run(&server, env!("CARGO_BIN_EXE_dbt"), &purge, Some(TOKEN));
    assert_eq!(printed(&purged), "deleted hello 1.0.0\ndeleted hello 1.9.0\n");
    assert!(!there("1.0.0") && !there("1.9.0") && there("1.10.0"));

    let root = server.root();
    let writer = ("DBT_PUBLISH_TOKEN", Path::new(TOKEN));
    let words = ["delete", "hello", "1.10.0", "--to", root];
    let asked = server.publisher_as(&words, writer);
    assert_eq!(asked.status.code(), Some(80), "{asked:?}");
    assert!(there("1.10.0"));
    let deleted = server.publisher_as(&[&words[..], &["--yes"]].concat(), writer);
    assert_eq!(printed(&deleted), "deleted hello 1.10.0\n");
    let listed = printed(&dbt(&server, &["catalog", "list"]));
    assert_eq!(listed, "TOOL   VERSION  DESCRIPTION\nother  0.1.0    says hello\n");
}
