//! Changing whose signatures count, as clients see it.

use std::fs;
use std::time::SystemTime;

use dbt_core::clock::Clock;
use dbt_core::trust::keys::{Certificate, Keyring};
use dbt_core::trust::manifest::PinnedManifest;
use dbt_core::trust::memory::{Demands, TrustMemory};
use dbt_core::trust::{Confirmation, Standing, TrustRules};

use super::world::World;

fn now() -> SystemTime {
    Clock::System.now()
}

fn manifest(world: &World, version: &str) -> (Vec<u8>, Vec<u8>) {
    let path = format!("repo/dbt/truststore.manifest{version}.json");
    (world.read(&path), world.read(&format!("{path}.asc")))
}

fn fingerprints(keyring: &Keyring) -> Vec<String> {
    keyring.certificates.iter().map(|one| one.fingerprint().to_string()).collect()
}

#[test]
fn a_client_follows_the_truststore_from_the_first_version_to_the_third() {
    let world = World::with_alice();
    let first = world.truststore();
    let trusted: Vec<&Certificate> = first.certificates.iter().collect();
    let (bytes, signature) = manifest(&world, "");
    let pin = PinnedManifest::first(&bytes, &signature, &trusted, now()).unwrap();
    assert_eq!(pin.manifest.version, 1);

    let bob = world.key("bob");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    let second = world.truststore();
    world
        .run(&format!(
            "truststore remove {} --yes --to REPO --signer file:alice",
            bob.fingerprint()
        ))
        .succeeds();
    let third = world.truststore();
    assert_eq!(fingerprints(&first), fingerprints(&third));
    assert_eq!(fingerprints(&second).len(), 2);

    let (bytes, signature) = manifest(&world, ".2");
    let pin = pin.follow(&bytes, &signature, &trusted, now()).unwrap();
    assert!(pin.manifest.certs.contains(bob.fingerprint()));
    let (bytes, signature) = manifest(&world, "");
    let pin = pin.follow(&bytes, &signature, &trusted, now()).unwrap();
    assert_eq!(pin.manifest.version, 3);
    assert_eq!(manifest(&world, ".3"), (bytes, signature));
    let truststore = world.read("repo/dbt/truststore");
    assert_eq!(pin.manifest.sha256, dbt_core::digest::Digest::of(&truststore));
    assert!(!pin.manifest.certs.contains(bob.fingerprint()));
}

#[test]
fn a_machine_that_knows_the_first_key_lets_the_second_in_without_asking() {
    let world = World::with_alice();
    let rules = TrustRules::default();
    let demands = Demands { rules: &rules, strict: true };
    let assemble = |memory: &TrustMemory, previous: Option<&Keyring>| {
        memory
            .assemble(world.truststore(), previous, demands, Confirmation::Confirmed, now())
            .unwrap()
    };
    let memory = assemble(&TrustMemory::default(), None).memory;
    let before = world.truststore();
    let bob = world.key("bob");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    let after = assemble(&memory, Some(&before));
    let signer = after
        .store
        .signers()
        .iter()
        .find(|signer| signer.certificate.fingerprint() == bob.fingerprint())
        .unwrap();
    assert_eq!(signer.standing, Standing::Vouched);
}

#[test]
fn the_line_to_pin_is_printed_and_says_the_same_as_json() {
    let world = World::new();
    let alice = world.key("alice").fingerprint().to_string();
    let run = world.run("truststore add alice --to REPO --signer file:alice").succeeds();
    let line = run.data.lines().find_map(|line| line.strip_prefix("\"trust\": ")).unwrap();
    let trust: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(trust, serde_json::json!({ "dbt": [alice], "tools": [alice] }));
    world.key("bob");
    let run = world.run("truststore add bob --to REPO --signer file:alice --json").succeeds();
    assert_eq!(run.json()["trust"]["tools"][0], alice);
    assert_eq!(run.json()["manifest"]["version"], 2);
}

#[test]
fn keys_of_others_and_the_text_around_them_stay_byte_for_byte() {
    let world = World::new();
    world.key("alice");
    let bob = world.key("bob");
    world.key("carol");
    let block = bob.armored();
    world.write("repo/dbt/truststore", format!("# our keys\n{block}\n# the end").as_bytes());
    world.run("truststore add alice carol --to REPO --signer file:alice").succeeds();
    let text = String::from_utf8(world.read("repo/dbt/truststore")).unwrap();
    assert!(text.starts_with(&format!("# our keys\n{block}\n# the end\n")), "{text}");
    assert_eq!(fingerprints(&world.truststore()).len(), 3);
}

#[test]
fn a_key_that_somebody_slipped_into_the_truststore_is_not_signed() {
    let world = World::with_alice();
    let mallory = world.key("mallory");
    world.key("bob");
    let mut truststore = world.read("repo/dbt/truststore");
    truststore.extend(mallory.armored().into_bytes());
    world.write("repo/dbt/truststore", &truststore);
    let before = world.published();

    let run = world
        .run("truststore add bob --to REPO --signer file:alice")
        .fails(86, "which no administrator has signed");
    assert!(run.talk.contains(&mallory.fingerprint().to_string()), "{}", run.talk);
    assert_eq!(world.published(), before);
    assert_eq!(world.read("repo/dbt/truststore"), truststore);
    let listed = world.run("truststore list --to REPO --json").succeeds().json();
    assert_eq!(listed["certificates"][1]["standing"], "not signed by an administrator");

    world
        .run(&format!(
            "truststore remove {} --yes --to REPO --signer file:alice",
            mallory.fingerprint()
        ))
        .succeeds();
    assert_eq!(fingerprints(&world.truststore()).len(), 1);
}

#[test]
fn only_an_administrator_may_change_the_truststore() {
    let world = World::with_alice();
    let bob = world.key("bob");
    let carol = world.key("carol");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    let before = world.read("repo/dbt/truststore");
    world
        .run("truststore add carol --to REPO --signer file:bob")
        .fails(83, &format!("{} may not change this truststore", bob.fingerprint()));
    assert_eq!(world.read("repo/dbt/truststore"), before);

    world.run("truststore add bob --admin --to REPO --signer file:alice").succeeds();
    world.run("truststore add carol --to REPO --signer file:bob").succeeds();
    assert!(fingerprints(&world.truststore()).contains(&carol.fingerprint().to_string()));
}

#[test]
fn as_many_administrators_sign_as_the_manifest_asks_for() {
    let world = World::with_alice();
    world.key("bob");
    world.key("carol");
    let raise = "truststore add bob --admin --admin-threshold 2 --to REPO --signer file:alice";
    world.run(raise).fails(86, "signed by 1 of the 2");
    world.run("truststore add bob --admin --to REPO --signer file:alice").succeeds();
    let both = "--to REPO --signer file:alice --signer file:bob";
    world.run(&format!("truststore add carol --admin-threshold 2 {both}")).succeeds();
    let before = world.read("repo/dbt/truststore");
    let carol = fingerprints(&world.truststore()).remove(2);
    world
        .run(&format!("truststore remove {carol} --yes --to REPO --signer file:alice"))
        .fails(86, "signed by 1 of the 2");
    assert_eq!(world.read("repo/dbt/truststore"), before);
    world.run(&format!("truststore remove {carol} --yes {both}")).succeeds();
}

#[test]
fn a_manifest_that_was_changed_is_refused() {
    let world = World::with_alice();
    world.key("bob");
    let path = world.path("repo/dbt/truststore.manifest.json");
    let text = fs::read_to_string(&path)
        .unwrap()
        .replace("\"admin_threshold\": 1", "\"admin_threshold\":  1");
    fs::write(&path, text).unwrap();
    let before = world.read("repo/dbt/truststore");
    world.run("truststore add bob --to REPO --signer file:alice").fails(86, "refusing `file://");
    assert_eq!(world.read("repo/dbt/truststore"), before);
}

#[test]
fn a_change_that_was_interrupted_is_completed_by_the_same_command() {
    let world = World::with_alice();
    let bob = world.key("bob");
    let before = world.read("repo/dbt/truststore");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    // The manifest is written first: so it looks when the truststore itself was not.
    world.write("repo/dbt/truststore", &before);
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    assert!(fingerprints(&world.truststore()).contains(&bob.fingerprint().to_string()));
    let listed = world.run("truststore list --to REPO --json").succeeds().json();
    assert_eq!(listed["manifest"]["version"], 3);
}

#[test]
fn a_dry_run_of_a_change_writes_nothing() {
    let world = World::with_alice();
    world.key("bob");
    let before = (world.published(), world.read("repo/dbt/truststore"));
    world.run("truststore add bob --to REPO --signer file:alice --dry-run").succeeds();
    assert_eq!((world.published(), world.read("repo/dbt/truststore")), before);
}

#[test]
fn what_cannot_be_added_or_removed_is_said() {
    let world = World::new();
    world.key("alice");
    world.key("bob");
    world
        .run("truststore add bob --to REPO --signer file:alice")
        .fails(80, "signs, and is not in the truststore itself");
    assert!(world.published().is_empty());
    world.write("page", b"<html>");
    world
        .run("truststore add PLACE/page --to REPO --signer file:alice")
        .fails(86, "holds no certificate that clients accept");
    let alice = world.run("truststore add alice --to REPO --signer file:alice --json").succeeds();
    let alice = alice.json()["added"][0].as_str().unwrap().to_owned();
    world
        .run(&format!("truststore remove {alice} --yes --to REPO --signer file:alice"))
        .fails(80, "cannot remove itself");
    world
        .run(&format!("truststore remove {} --yes --to REPO --signer file:alice", &alice[24..]))
        .fails(80, "not the fingerprint");
    world
        .run(&format!("truststore remove {} --yes --to REPO --signer file:alice", "AB".repeat(20)))
        .fails(84, "is not in");
}

#[test]
fn a_certificate_in_a_file_is_added_without_what_others_said_of_it() {
    let world = World::with_alice();
    let bob = world.key("bob");
    let exported = world.run("key export bob").succeeds().data;
    world.write("bob.asc", exported.as_bytes());
    world.run("truststore add PLACE/bob.asc --to REPO --signer file:alice").succeeds();
    assert!(fingerprints(&world.truststore()).contains(&bob.fingerprint().to_string()));
    // The file with the secret half stands for its public half.
    let secret = world.path("home/.dbt/keys/bob.asc");
    let again = format!("truststore add {} --to REPO --signer file:alice", secret.display());
    world.run(&again).succeeds();
    let text = String::from_utf8(world.read("repo/dbt/truststore")).unwrap();
    assert!(!text.contains("PRIVATE"), "{text}");
    assert_eq!(fingerprints(&world.truststore()).len(), 2);
}

/// Alice and Bob count; `deploy` 1.0.0 is Alice's, 1.1.0 and `other` are Bob's.
fn with_two_publishers() -> (World, Certificate) {
    let world = World::with_alice();
    let bob = world.key("bob");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    world.write("tool", super::world::SCRIPT);
    for (tool, version, signer) in
        [("deploy", "1.0.0", "alice"), ("deploy", "1.1.0", "bob"), ("other", "2.0.0", "bob")]
    {
        let what = format!("publish {tool} {version} linux/amd64=tool --description x");
        world.run(&format!("{what} --to REPO --signer file:{signer}")).says_nothing();
    }
    (world, bob)
}

#[test]
fn what_would_no_longer_verify_is_said_before_a_key_goes() {
    let (world, bob) = with_two_publishers();
    let before = (world.served(), world.read("repo/dbt/truststore"));
    let remove = format!("truststore remove {} --to REPO --signer file:alice", bob.fingerprint());
    let stopped = serde_json::json!([
        { "tool": "deploy", "versions": ["1.1.0"] },
        { "tool": "other", "versions": ["2.0.0"] },
    ]);

    let run = world.run(&remove).fails(80, "there is no terminal to ask on");
    assert!(run.talk.contains("no longer verifies: deploy 1.1.0\n"), "{}", run.talk);
    assert!(run.talk.contains("no longer verifies: other 2.0.0\n"), "{}", run.talk);
    assert!(run.talk.contains(&format!("would no longer count: {}", bob.fingerprint())));
    let dry = world.run(&format!("{remove} --dry-run --json")).succeeds().json();
    assert_eq!(dry["stopsVerifying"], stopped);
    assert_eq!((world.served(), world.read("repo/dbt/truststore")), before);

    let done = world.run(&format!("{remove} --yes --json")).succeeds().json();
    assert_eq!(done["stopsVerifying"], stopped);
    assert_eq!(fingerprints(&world.truststore()).len(), 1);
    let run = world.run("verify REPO");
    assert_eq!(run.code, Some(86));
    assert_eq!(run.data.matches("error: signer-unknown: ").count(), 2, "{}", run.data);
}

#[test]
fn a_change_that_locks_everybody_out_is_refused() {
    let (world, _bob) = with_two_publishers();
    let alice = world.key("alice").fingerprint().to_string();
    world.run("truststore add bob --admin --to REPO --signer file:alice").succeeds();
    world.run("delete deploy 1.1.0 --yes --to REPO").succeeds();
    world.run("delete other --all --yes --to REPO").succeeds();
    let before = world.read("repo/dbt/truststore");

    let remove = format!("truststore remove {alice} --yes --to REPO --signer file:bob");
    let run = world.run(&remove).fails(86, "nothing that is published would verify any more");
    assert!(run.talk.contains("publisher sign TOOL VERSION"), "{}", run.talk);
    let both = "--to REPO --signer file:alice --signer file:bob";
    let raise = format!("truststore add bob --admin-threshold 3 --yes {both}");
    world.run(&raise).fails(86, "3 administrators would have to sign the next change, and 2 could");
    assert_eq!(world.read("repo/dbt/truststore"), before);

    world.run(&format!("{remove} --even-if-nothing-verifies")).succeeds();
    assert_eq!(fingerprints(&world.truststore()).len(), 1);
}

#[test]
fn a_key_that_ends_soon_is_named_at_every_change() {
    let world = World::with_alice();
    let erin = dbt_testkit::people::ERIN.certificate();
    world.write("erin.asc", erin.as_bytes());
    let words = format!(
        "{} (Erin <erin@example.org>) expires on ",
        dbt_testkit::people::ERIN.fingerprint()
    );
    for line in
        ["truststore add PLACE/erin.asc --to REPO --signer file:alice", "truststore list --to REPO"]
    {
        let run = world.run(line).succeeds();
        assert!(run.talk.contains(&words), "{line}: {}", run.talk);
    }
}
