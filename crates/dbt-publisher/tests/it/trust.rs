//! Signed metadata of a repository in a directory, from the first command to the last, as any client of The Update
//! Framework sees it.

use std::fs;
use std::path::Path;

use dbt_client::source::FetchError;
use dbt_client::tuf::{self, Kept, Remote, UpdateError};
use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::trust::metadata::{ListedArtifact, RemoteFile, Target};
use serde_json::Value;

use super::world::{SCRIPT, World, artifact};

/// A repository as a client finds it: files, and nothing of the publisher's code.
struct Files<'a>(&'a World);

impl Remote for Files<'_> {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(fs::read(self.0.path("repo/dbt/tuf").join(file.plain_name())).ok())
    }

    fn target(&self, _path: &str, _limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        Ok(None)
    }
}

/// Looks for a target as a client that has this root.
fn find(world: &World, kept: &Path, path: &str) -> Result<Target, UpdateError> {
    let kept = Kept::open(kept).unwrap();
    if kept.read("root.json").unwrap().is_none() {
        tuf::init(&kept, &world.read("repo/dbt/tuf/1.root.json"), Clock::System.now())?;
    }
    let mut trusted = tuf::refresh(&kept, &Files(world), Clock::System.now())?;
    tuf::find(&mut trusted, path, &kept, &Files(world))
}

/// A repository with one tool that was there before it had metadata.
fn initiated() -> (World, Value) {
    let world = World::with_alice();
    world.write("deploy.sh", SCRIPT);
    publish(&world, "deploy", "1.4.0").succeeds();
    let run =
        world.run("trust init --to REPO --spare PLACE/stick/spare.asc --signer file:alice --json");
    let said = run.succeeds().json();
    (world, said)
}

fn publish(world: &World, tool: &str, version: &str) -> super::world::Run {
    let file = "linux/amd64=PLACE/deploy.sh";
    world.run(&format!(
        "publish {tool} {version} {file} --description ships --to REPO --signer file:alice"
    ))
}

fn status(world: &World) -> Value {
    world.run("trust status --to REPO --json").succeeds().json()
}

fn version_of(world: &World, role: &str) -> u64 {
    let roles = status(world)["roles"].as_array().unwrap().clone();
    let found = roles.iter().find(|one| one["role"] == role).unwrap().clone();
    found["version"].as_u64().unwrap()
}

#[test]
fn a_repository_gets_metadata_that_lists_what_is_there_and_any_client_verifies() {
    let (world, said) = initiated();
    assert_eq!(said["artifacts"], 1);
    assert_eq!(said["enforced"], false);
    let root = world.read("repo/dbt/tuf/1.root.json");
    assert_eq!(said["root"], format!("sha256:{}", Digest::of(&root)));
    let id = artifact("deploy", "1.4.0", "linux/amd64");
    let kept = world.path("client");
    let target = find(&world, &kept, &ListedArtifact::path_of(&id)).unwrap();
    let listed = ListedArtifact::of(&target, &id).unwrap();
    assert_eq!((listed.sha256(), listed.role()), (Digest::of(SCRIPT), "new"));
    assert_eq!(listed.signers(), [world.key("alice").fingerprint().clone()]);
    // It is nothing else than what its path says.
    let other = artifact("deploy", "1.4.1", "linux/amd64");
    ListedArtifact::of(&target, &other).unwrap_err();

    let truststore = find(&world, &kept, "dbt/truststore").unwrap();
    let bytes = world.read("repo/dbt/truststore");
    let by_digest = format!("repo/dbt/tuf/targets/{}.truststore", Digest::of(&bytes));
    assert_eq!(world.read(&by_digest), bytes);
    truststore.verify(bytes).unwrap();
    // A second time is refused, and changes nothing.
    let again =
        world.run("trust init --to REPO --spare PLACE/other.asc --name x --signer file:alice");
    again.fails(80, "has signed metadata already");
    assert!(!world.path("home/.dbt/keys/x-admin.asc").exists());
}

#[test]
fn what_is_published_is_listed_and_a_client_follows() {
    let (world, _said) = initiated();
    let kept = world.path("client");
    let path = |version| ListedArtifact::path_of(&artifact("deploy", version, "linux/amd64"));
    find(&world, &kept, &path("1.4.0")).unwrap();
    find(&world, &kept, &path("1.5.0")).unwrap_err();
    publish(&world, "deploy", "1.5.0").says_nothing();
    find(&world, &kept, &path("1.5.0")).unwrap();
    publish(&world, "ship", "0.1.0").says_nothing();
    let ship = ListedArtifact::path_of(&artifact("ship", "0.1.0", "linux/amd64"));
    assert_eq!(find(&world, &kept, &ship).unwrap().role(), "new");
    // The same again has nothing to sign.
    let before = version_of(&world, "timestamp");
    publish(&world, "ship", "0.1.0").says_nothing();
    assert_eq!(version_of(&world, "timestamp"), before);
}

#[test]
fn a_tool_with_a_role_of_its_own_is_out_of_reach_of_the_online_key() {
    let (world, _said) = initiated();
    world.key("team");
    world.run("trust adopt deploy --key team --to REPO").succeeds();
    let kept = world.path("client");
    let path = |version| ListedArtifact::path_of(&artifact("deploy", version, "linux/amd64"));
    assert_eq!(find(&world, &kept, &path("1.4.0")).unwrap().role(), "tool.deploy");
    publish(&world, "deploy", "1.5.0").says_nothing();
    assert_eq!(find(&world, &kept, &path("1.5.0")).unwrap().role(), "tool.deploy");

    // Whoever has not the tool's key publishes nothing of it, and nothing is left behind.
    fs::remove_file(world.path("home/.dbt/keys/team.asc")).unwrap();
    let before = world.published();
    let run = publish(&world, "deploy", "1.6.0");
    run.fails(83, "the `tool.deploy` metadata is signed by 1 of its keys, and 0 of them are here");
    assert_eq!(world.published(), before);
}

#[test]
fn a_change_of_the_truststore_is_listed() {
    let (world, _said) = initiated();
    world.key("bob");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    let bytes = world.read("repo/dbt/truststore");
    let target = find(&world, &world.path("client"), "dbt/truststore").unwrap();
    target.verify(bytes).unwrap();
}

#[test]
fn enforcing_signs_a_root_that_clients_follow_and_a_known_key_vouches_for() {
    let (world, _said) = initiated();
    let kept = world.path("client");
    find(&world, &kept, "dbt/truststore").unwrap();
    world.run("trust enforce --to REPO --signer file:alice").fails(80, "no terminal to ask on");
    assert!(!world.path("repo/dbt/tuf/2.root.json").exists());
    world.run("trust enforce --yes --to REPO --signer file:alice").succeeds();
    find(&world, &kept, "dbt/truststore").unwrap();
    let root: Value = serde_json::from_slice(&world.read("client/root.json")).unwrap();
    assert_eq!(
        (&root["signed"]["version"], &root["signed"]["x-dbt"]["enforce"]),
        (&2.into(), &true.into())
    );
    assert!(world.path("repo/dbt/tuf/2.root.json.asc").exists());
    assert_eq!(status(&world)["enforced"], true);
    world.run("trust enforce --yes --to REPO --signer file:alice").succeeds();
    assert!(!world.path("repo/dbt/tuf/3.root.json").exists());
}

#[test]
fn another_machine_signs_only_from_a_root_that_a_person_has_named() {
    let (world, said) = initiated();
    fs::remove_dir_all(world.path("home/.dbt/publisher")).unwrap();
    let before = world.published();
    publish(&world, "deploy", "1.5.0").fails(86, "there is no trusted root");
    assert_eq!(world.published(), before);
    let wrong = format!("trust status --to REPO --root sha256:{}", "0".repeat(64));
    world.run(&wrong).fails(86, "has no root");
    let root = said["root"].as_str().unwrap();
    let shown = world.run(&format!("trust status --to REPO --root {root}")).succeeds();
    assert!(shown.data.contains("signed metadata is on trial"), "{}", shown.data);
    publish(&world, "deploy", "1.5.0").says_nothing();
}

#[test]
fn metadata_that_somebody_changed_is_not_signed_again() {
    let (world, _said) = initiated();
    publish(&world, "deploy", "1.5.0").says_nothing();
    let path = world.path("repo/dbt/tuf/timestamp.json");
    let mut changed: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    changed["signed"]["version"] = 1.into();
    fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
    let before = world.published();
    publish(&world, "deploy", "1.6.0").fails(86, "the repository's metadata is refused");
    assert_eq!(world.published(), before);
}

#[test]
fn the_spare_key_signs_in_the_place_of_the_one_that_is_lost() {
    let (world, _said) = initiated();
    fs::remove_file(world.path("home/.dbt/keys/trust-admin.asc")).unwrap();
    let run = world.run("trust enforce --yes --to REPO --signer file:alice");
    run.fails(83, "the `root` metadata is signed by 1 of its keys, and 0 of them are here");
    let line =
        "trust enforce --yes --to REPO --signer file:alice --trust-key PLACE/stick/spare.asc";
    world.run(line).succeeds();
    find(&world, &world.path("client"), "dbt/truststore").unwrap();
}

#[test]
fn renewing_signs_the_timestamp_again() {
    let (world, _said) = initiated();
    let before = version_of(&world, "timestamp");
    world.run("trust renew --to REPO --signer file:alice").says_nothing();
    assert!(version_of(&world, "timestamp") > before);
    find(&world, &world.path("client"), "dbt/truststore").unwrap();
}

#[test]
fn what_clients_would_refuse_is_named_and_not_listed() {
    let world = World::with_alice();
    world.write("deploy.sh", SCRIPT);
    publish(&world, "deploy", "1.4.0").succeeds();
    publish(&world, "deploy", "1.5.0").succeeds();
    world.write("repo/dbt-tools/deploy/1.5.0/linux/amd64/deploy", b"#!/bin/sh\necho evil\n");
    let run = world.run("trust init --to REPO --spare PLACE/spare.asc --signer file:alice --json");
    let run = run.succeeds();
    assert_eq!(run.json()["artifacts"], 1);
    assert!(run.talk.contains("1.5.0") && run.talk.contains("is not listed"), "{}", run.talk);
}
