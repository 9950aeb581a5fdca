//! A version is staged where there is no key, and signed where there is one: our own programs, with
//! two people who may publish and nothing else.

use std::fs;
use std::path::Path;
use std::process::Output;

use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use serde_json::{Value, json};

use crate::reposerver::{Reposerver, TOKEN};

/// The tokens of the job and of the person.
const JOB: &str = "open-sesame";
const PERSON: &str = "write-token";

fn server() -> Reposerver {
    let token = |(name, token): (&str, &str)| json!({"name": name, "sha256": Digest::of(token.as_bytes()).to_string()});
    let tokens = [("root", TOKEN), ("job", JOB), ("person", PERSON)].map(token);
    Reposerver::with(&json!({
        "authOptsPut": {},
        "tokens": tokens,
        "verifyUploads": true,
        "immutable": true,
        "auth": {"roles": {"admin": ["root"]}},
        "policies": [
            {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
            {"name": "publishing", "subjects": ["job", "person"], "paths": ["/dbt-tools/**"],
             "actions": ["create"]},
        ],
    }))
}

/// Runs `publisher` as one of them.
fn publisher(server: &Reposerver, token: &str, line: &str) -> Output {
    let line = line.replace("ROOT", server.root()).replace("KEY", &server.key());
    let line = line.replace("HERE", server.place().to_str().unwrap());
    let words: Vec<&str> = line.split(' ').collect();
    server.publisher_as(&words, ("DBT_PUBLISH_TOKEN", Path::new(token)))
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn succeeds(output: Output) -> Output {
    assert!(output.status.success(), "{}", said(&output));
    output
}

fn script(server: &Reposerver, words: &str) {
    fs::write(server.place().join("deploy"), format!("#!/bin/sh\necho {words}\n")).unwrap();
}

fn stage(version: &str) -> String {
    let platform = Platform::CURRENT;
    format!("stage deploy {version} {platform}=HERE/deploy --description ships --to ROOT")
}

#[test]
fn a_job_stages_without_a_key_and_a_person_sees_what_changes_and_signs() {
    let server = server();
    let platform = Platform::CURRENT;
    let artifact = |version: &str| {
        server.served().join(format!("dbt-tools/deploy/{version}/{platform}/deploy"))
    };
    script(&server, "one");
    succeeds(publisher(&server, JOB, &stage("1.0.0")));
    assert!(!artifact("1.0.0").exists());
    succeeds(publisher(&server, PERSON, "sign deploy 1.0.0 --to ROOT --signer KEY --yes"));
    assert!(artifact("1.0.0").exists());

    script(&server, "thirteen");
    let staged = succeeds(publisher(&server, JOB, &stage("v1.1.0")));
    assert!(said(&staged).contains("`publisher sign deploy 1.1.0`"), "{}", said(&staged));
    assert!(!artifact("1.1.0").exists());
    let other = publisher(&server, JOB, "sign deploy 9.9.9 --to ROOT --signer KEY --yes");
    assert_eq!(other.status.code(), Some(84), "{}", said(&other));

    // Without an answer nothing happens, and what would is shown.
    let sign = "sign deploy v1.1.0 --to ROOT --signer KEY";
    let asked = publisher(&server, PERSON, sign);
    assert_eq!(asked.status.code(), Some(80), "{}", said(&asked));
    for words in [
        "`deploy` 1.1.0, staged by `static-token:job`",
        "(+5 since 1.0.0)",
        "nothing was signed",
        "`--yes`",
    ] {
        assert!(said(&asked).contains(words), "{words}: {}", said(&asked));
    }
    assert!(!artifact("1.1.0").exists());
    succeeds(publisher(&server, PERSON, &format!("{sign} --dry-run")));
    assert!(!artifact("1.1.0").exists());

    let signed = succeeds(publisher(&server, PERSON, &format!("{sign} --yes --json")));
    let document: Value = serde_json::from_slice(&signed.stdout).unwrap();
    assert_eq!(document["staged"]["since"], "1.0.0");
    assert_eq!(document["staged"]["platforms"][0]["platform"], platform.to_string());
    assert_eq!(fs::read(artifact("1.1.0")).unwrap(), b"#!/bin/sh\necho thirteen\n");
    assert!(artifact("1.1.0").with_extension("asc").exists());

    // It is over: the job may run again, and signing again adds nothing.
    let again = succeeds(publisher(&server, JOB, &stage("1.1.0")));
    assert!(said(&again).contains("is published as it is"), "{}", said(&again));
}

#[test]
fn a_job_that_runs_again_goes_on_and_other_bytes_are_not_mixed_in() {
    let server = server();
    script(&server, "one");
    succeeds(publisher(&server, JOB, &stage("1.0.0")));
    succeeds(publisher(&server, JOB, &stage("1.0.0")));
    script(&server, "two");
    let other = publisher(&server, JOB, &stage("1.0.0"));
    assert_eq!(other.status.code(), Some(86), "{}", said(&other));
    assert!(said(&other).contains("is staged or published with other content"), "{}", said(&other));
    succeeds(publisher(&server, JOB, &format!("{} --replace", stage("1.0.0"))));

    succeeds(publisher(&server, PERSON, "sign deploy 1.0.0 --to ROOT --signer KEY --yes"));
    let path = format!("dbt-tools/deploy/1.0.0/{}/deploy", Platform::CURRENT);
    assert_eq!(fs::read(server.served().join(&path)).unwrap(), b"#!/bin/sh\necho two\n");

    // What is published stays, whatever is staged.
    script(&server, "three");
    let late = publisher(&server, JOB, &format!("{} --replace", stage("1.0.0")));
    assert_eq!(late.status.code(), Some(86), "{}", said(&late));
    assert_eq!(fs::read(server.served().join(&path)).unwrap(), b"#!/bin/sh\necho two\n");
}

#[test]
fn who_may_not_publish_stages_and_signs_nothing() {
    let server = server();
    script(&server, "one");
    let refused = publisher(&server, "planted-bearer", &stage("1.0.0"));
    assert_eq!(refused.status.code(), Some(83), "{}", said(&refused));
    succeeds(publisher(&server, JOB, &stage("1.0.0")));
    let sign = "sign deploy 1.0.0 --to ROOT --signer KEY --yes";
    let refused = publisher(&server, "planted-bearer", sign);
    assert_eq!(refused.status.code(), Some(83), "{}", said(&refused));
    assert!(!server.served().join("dbt-tools").join("deploy").exists());
    succeeds(publisher(&server, PERSON, sign));
}
