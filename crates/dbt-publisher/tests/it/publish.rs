//! Publishing to a directory.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use dbt_core::digest::Digest;

use super::world::{PASSPHRASE, SCRIPT, World, artifact};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description ships%20it --to REPO \
                    --signer file:alice";

#[test]
fn a_published_version_is_what_clients_and_the_reference_expect() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(&LINE.replace("linux/amd64=", "darwin/arm64=deploy linux/amd64=")).says_nothing();

    let version = "dbt-tools/deploy/1.4.0";
    let mut expected: Vec<String> = ["", ".asc", ".sha256"]
        .into_iter()
        .flat_map(|ending| {
            ["darwin/arm64/deploy", "linux/amd64/deploy", "description.txt"]
                .map(|file| format!("{version}/{file}{ending}"))
        })
        .collect();
    expected.sort();
    let mut published = world.published();
    published.retain(|path| path.starts_with("dbt-tools/"));
    assert_eq!(published, expected);

    let digest = world.read(&format!("repo/{version}/linux/amd64/deploy.sha256"));
    assert_eq!(digest, Digest::of(SCRIPT).to_string().as_bytes(), "bare, lower case, no newline");
    let signature = world.read(&format!("repo/{version}/linux/amd64/deploy.asc"));
    assert!(signature.starts_with(b"-----BEGIN PGP SIGNATURE-----\n"));
    assert_eq!(world.read(&format!("repo/{version}/description.txt")), b"ships it");
    for platform in ["linux/amd64", "darwin/arm64"] {
        assert!(world.client_accepts(&artifact("deploy", "1.4.0", platform)).unwrap());
    }
}

#[test]
fn a_signature_for_one_tool_does_not_count_for_another() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(LINE).says_nothing();
    let version = world.path("repo/dbt-tools/deploy/1.4.0");
    fs::create_dir_all(world.path("repo/dbt-tools/delete/1.4.0/linux/amd64")).unwrap();
    for ending in ["", ".asc", ".sha256"] {
        let from = version.join(format!("linux/amd64/deploy{ending}"));
        let to = world.path(&format!("repo/dbt-tools/delete/1.4.0/linux/amd64/delete{ending}"));
        fs::copy(from, to).unwrap();
    }
    let error = world.client_accepts(&artifact("delete", "1.4.0", "linux/amd64")).unwrap_err();
    assert!(error.to_string().contains("tool/deploy/1.4.0/linux/amd64"), "{error}");
}

#[test]
fn the_program_itself_goes_to_its_own_repository_and_latest_only_rises() {
    let world = World::with_alice();
    world.write("dbt", SCRIPT);
    let publish = |version: &str| {
        let line = format!("publish dbt {version} linux/amd64=dbt --to REPO --signer file:alice");
        world.run(&line).says_nothing();
        String::from_utf8(world.read("repo/dbt/latest")).unwrap()
    };
    assert_eq!(publish("4.1.0"), "4.1.0");
    assert_eq!(publish("4.0.9"), "4.1.0");
    assert_eq!(publish("4.2.0-rc.1"), "4.1.0");
    assert_eq!(publish("v4.10.0"), "4.10.0");
    assert!(world.client_accepts(&artifact("dbt", "4.10.0", "linux/amd64")).unwrap());
    assert!(!world.path("repo/dbt-tools/dbt").exists());
}

#[test]
fn running_again_changes_nothing_and_adds_what_is_missing() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(LINE).says_nothing();
    let files = ["deploy.asc", "deploy.sha256", "deploy"]
        .map(|file| format!("repo/dbt-tools/deploy/1.4.0/linux/amd64/{file}"));
    let before = files.clone().map(|file| world.read(&file));
    fs::remove_file(world.path(&files[1])).unwrap();

    let run = world.run(&format!("{LINE} linux/arm64=deploy --json")).succeeds();
    assert_eq!(files.map(|file| world.read(&file)), before);
    let outcomes: Vec<_> = run.json()["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|file| file["outcome"] == "uploaded")
        .map(|file| file["url"].as_str().unwrap().rsplit("1.4.0/").next().unwrap().to_owned())
        .collect();
    let expected = [
        "linux/arm64/deploy",
        "linux/arm64/deploy.asc",
        "linux/amd64/deploy.sha256",
        "linux/arm64/deploy.sha256",
    ];
    let mut sorted = outcomes.clone();
    sorted.sort();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted, wanted);
    assert!(outcomes[2].ends_with(".sha256") && outcomes[3].ends_with(".sha256"), "{outcomes:?}");
}

#[test]
fn other_bytes_under_a_published_version_are_refused_unless_asked_for() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(LINE).says_nothing();
    world.write("deploy", b"#!/bin/sh\necho other\n");
    let run = world.run(LINE).fails(86, "is published with other content");
    assert!(run.talk.contains("hint: publish it as a new version"), "{}", run.talk);
    assert_eq!(world.read("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy"), SCRIPT);
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());

    world.run(&format!("{LINE} --replace")).says_nothing();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn a_refusal_for_one_platform_leaves_the_others_untouched() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.run(LINE).says_nothing();
    let before = world.published();
    world.write("deploy", b"#!/bin/sh\necho other\n");
    let line = LINE.replace("linux/amd64=", "darwin/arm64=deploy linux/amd64=");
    world.run(&line).fails(86, "is published with other content");
    assert_eq!(world.published(), before);
}

#[test]
fn a_dry_run_signs_and_checks_and_writes_nothing() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let before = world.published();
    let run = world.run(&format!("{LINE} --dry-run")).succeeds();
    assert_eq!(run.data.lines().count(), 6, "{}", run.data);
    assert!(run.data.contains("would write file://"), "{}", run.data);
    assert_eq!(world.published(), before);
}

#[test]
fn what_cannot_be_a_tool_is_refused_before_anything_happens() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let before = world.published();
    let long = "x".repeat(10_000);
    let names =
        ["../x", "..", ".", "a/b", "a\\b", "a%2fb", "CON", "x.asc", "a\u{200b}", "a.", &long];
    for name in names {
        world
            .run(&LINE.replace(" deploy ", &format!(" {name} ")))
            .fails(80, "cannot be the name of a tool");
    }
    for name in ["install", "update", "login"] {
        world.run(&LINE.replace(" deploy ", &format!(" {name} "))).fails(80, "would hide the tool");
    }
    for version in ["1.4", "latest", "1.4.0/..", "01.4.0"] {
        world.run(&LINE.replace("1.4.0", version)).fails(80, "is not a version");
    }
    for artifact in ["linux/x86=deploy", "linux/amd64", "linux=deploy"] {
        world.run(&LINE.replace("linux/amd64=deploy", artifact)).fails(80, "error: ");
    }
    world.run(&LINE.replace("=deploy", "=missing")).fails(80, "failed to read `missing`");
    world.run(&format!("{LINE} linux/amd64=deploy")).fails(80, "is named twice");
    assert_eq!(world.published(), before);
}

#[test]
fn what_is_made_for_another_platform_is_refused_unless_forced() {
    let world = World::with_alice();
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(18, 0);
    elf.extend([0xb7, 0]);
    world.write("deploy", &elf);
    world
        .run(LINE)
        .fails(80, "`deploy` does not run on linux/amd64: it is an ELF program for arm64");
    world.write("deploy", b"just text\n");
    world.run(LINE).fails(80, "neither a program nor a script");
    world.write("deploy", b"");
    world.run(&format!("{LINE} --force")).fails(80, "is not a file with content");
    assert!(!world.path("repo/dbt-tools").exists());

    world.write("deploy", SCRIPT);
    let windows = LINE.replace("linux/amd64", "windows/amd64");
    world.run(&windows).fails(80, "it is a script");
    let run = world.run(&format!("{windows} --force")).succeeds();
    assert!(
        run.talk.starts_with("warning: `deploy` does not run on windows/amd64"),
        "{}",
        run.talk
    );
    assert!(world.path("repo/dbt-tools/deploy/1.4.0/windows/amd64/deploy.exe.sha256").exists());
}

#[test]
fn a_tool_needs_a_description_once() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let without = LINE.replace("--description ships%20it", "");
    world.run(&without).fails(80, "`--description TEXT` is missing");
    assert!(!world.path("repo/dbt-tools").exists());
    world.run(LINE).says_nothing();
    world.run(&without).says_nothing();
}

#[test]
fn publishing_with_a_key_that_nobody_trusts_is_refused_unless_forced() {
    let world = World::with_alice();
    let mallory = world.key("mallory");
    world.write("deploy", SCRIPT);
    let line = LINE.replace("file:alice", "file:mallory");
    let words = format!("{} is not in the truststore", mallory.fingerprint());
    let run = world.run(&line).fails(86, &words);
    assert!(run.talk.contains("`publisher truststore add "), "{}", run.talk);
    assert!(!world.path("repo/dbt-tools").exists());

    let run = world.run(&format!("{line} --force")).succeeds();
    assert!(run.talk.starts_with(&format!("warning: {words}")), "{}", run.talk);
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).is_err());
}

#[test]
fn a_wrong_passphrase_stops_before_anything_happens_and_is_not_repeated() {
    let mut world = World::with_alice();
    world.write("deploy", SCRIPT);
    world.set("DBT_SIGNING_PASSPHRASE", "jabberwocky");
    world.run(LINE).fails(81, "the passphrase does not unlock it");
    assert!(!world.path("repo/dbt-tools").exists());
}

#[test]
fn a_key_in_a_variable_signs() {
    let mut world = World::with_alice();
    let key = String::from_utf8(world.read("home/.dbt/keys/alice.asc")).unwrap();
    world.set("CI_KEY", key);
    world.write("deploy", SCRIPT);
    world.run(&LINE.replace("file:alice", "env:CI_KEY")).says_nothing();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    world.run(&LINE.replace("file:alice", "env:NOTHING")).fails(81, "`NOTHING` is not set");
}

#[test]
fn programs_that_are_started_see_no_secrets() {
    let mut world = World::with_alice();
    let key = String::from_utf8(world.read("home/.dbt/keys/alice.asc")).unwrap();
    let gpg = world.write("bin/gpg", b"#!/bin/sh\nenv > \"$SEEN\"\nexit 2\n");
    fs::set_permissions(&gpg, PermissionsExt::from_mode(0o755)).unwrap();
    world.set("PATH", format!("{}:/usr/bin:/bin", gpg.parent().unwrap().display()));
    world.set("SEEN", world.path("seen"));
    for (name, value) in [
        ("CI_KEY", key.as_str()),
        ("DBT_PUBLISH_TOKEN", "hunter2"),
        ("DBT_PUBLISH_PASSWORD", "hunter2"),
        ("GPG_TTY", "/dev/pts/7"),
    ] {
        world.set(name, value);
    }
    world.run("truststore add nobody --to REPO --signer env:CI_KEY").fails(81, "is neither a file");
    let seen = String::from_utf8(world.read("seen")).unwrap();
    for secret in ["hunter2", "PRIVATE KEY", PASSPHRASE] {
        assert!(!seen.contains(secret), "{seen}");
    }
    assert!(seen.contains("GPG_TTY=/dev/pts/7"), "{seen}");
}

#[test]
fn the_server_of_the_configuration_is_published_to() {
    let mut world = World::with_alice();
    let repo = world.path("repo");
    let config = format!(
        "{{\"servers\": {{\"prod\": {{\"repository\": \"{0}/dbt\", \"toolsRepository\": \"{0}/${{TREE}}\"}}}}}}",
        repo.display()
    );
    world.write("home/.dbt/conf/dbt.json", config.as_bytes());
    world.write("deploy", SCRIPT);
    let line = LINE.replace("--to REPO", "");
    world.run(&line).fails(81, "names the variable `TREE`");
    world.set("TREE", "dbt-tools");
    world.run(&format!("{line} -s dev")).fails(81, "has no server `dev`");
    world.run(&format!("{line} -s prod")).says_nothing();
    world.run(&line).says_nothing();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn the_help_and_the_version_are_shown() {
    let world = World::new();
    let help = world.run("publish --help").succeeds().data;
    for word in ["usage: publisher publish", "--description", "--dry-run", "Example:"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    assert_eq!(world.run("-V").succeeds().data, world.run("--version").succeeds().data);
    assert!(world.run("").succeeds().data.contains("DBT_SIGNING_PASSPHRASE"));
}

#[test]
fn a_directory_that_is_not_there_yet_is_to_be_made_and_nothing_else_is_done() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    let line = "publish deploy 1.4.0 linux/amd64=deploy --description x --signer file:alice";
    let run = world.run(&format!("{line} --to site")).fails(80, "`site` is not the URL of a repo");
    assert!(
        run.talk.contains("hint: a directory that is not there yet is made first: `mkdir -p site`")
    );
    assert!(!world.path("site").exists());
    fs::create_dir(world.path("site")).unwrap();
    world.run(&format!("{line} --to site")).succeeds();
    assert!(world.path("site/dbt-tools/deploy/1.4.0/linux/amd64/deploy").exists());
}
