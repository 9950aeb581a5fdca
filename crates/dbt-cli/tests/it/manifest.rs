//! The truststore's signed manifest: adopted under known trust, then held on to.

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, BOB, CAROL, MALLORY};
use dbt_testkit::world::World;

use crate::world;

/// A machine that has adopted manifest 1, of Alice.
fn adopted() -> World {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    level_is(&world, "pinned");
    world
}

#[track_caller]
fn level_is(world: &World, level: &str) {
    let run = world.dbt(["which", "deploy", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(run.exits_with(0).stdout_bytes()).unwrap();
    assert_eq!(json["level"], level);
}

#[test]
fn a_manifest_that_a_known_signer_signed_is_adopted() {
    adopted();
}

#[test]
fn a_machine_that_knows_the_signers_already_adopts_a_manifest_that_appears() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    level_is(&world, "unsigned index");
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    level_is(&world, "pinned");
}

#[test]
fn a_foreign_manifest_is_ignored_and_nothing_is_latched() {
    for strict in [false, true] {
        let world = world();
        world.set("strict", strict);
        world.repository().publish("deploy", "1.4.0").now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        let manifest = world.repository().manifest(1).admins(&[&MALLORY]).signed_by(&[&MALLORY]);
        manifest.publish(&[&ALICE, &MALLORY]);
        world
            .dbt(["deploy"])
            .prints("deploy 1.4.0\n")
            .mentions("manifest on server `acme` is ignored");
        level_is(&world, "unsigned index");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
}

#[test]
fn foreign_metadata_of_a_higher_level_is_ignored() {
    for strict in [false, true] {
        let world = world();
        world.set("strict", strict);
        world.repository().publish("deploy", "1.4.0").now();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        world.repository().write("/dbt/tuf/1.root.json", b"{\"signed\":{},\"signatures\":[]}");
        world.repository().write("/dbt/tuf/timestamp.json", b"{}");
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        level_is(&world, "unsigned index");
    }
}

#[test]
fn a_key_that_the_next_manifest_lists_is_vouched_for() {
    let world = adopted();
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).publish(&[&ALICE, &BOB]);
    world.repository().publish("deploy", "1.5.0").signed_by(&BOB).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.5.0\n").mentions("new signing key, vouched: [FINGERPRINT] (Bob");
}

#[test]
fn a_machine_that_was_away_follows_the_manifests_in_between() {
    let world = adopted();
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).admins(&[&BOB]).publish(&[&ALICE, &BOB]);
    world.repository().trust(&[&ALICE, &BOB, &CAROL]);
    world.repository().manifest(3).signed_by(&[&BOB]).publish(&[&ALICE, &BOB, &CAROL]);
    world.repository().publish("deploy", "1.5.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").mentions("vouched: [FINGERPRINT] (Carol");
}

#[test]
fn a_truststore_that_no_manifest_names_installs_nothing_new() {
    let world = adopted();
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("not the one that its signed manifest names");
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn a_manifest_that_no_known_admin_signed_installs_nothing_new() {
    let world = adopted();
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().manifest(2).signed_by(&[&MALLORY]).publish(&[&ALICE, &MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("signed by 0 of the 1 trusted administrators");
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn a_manifest_that_went_back_installs_nothing_new() {
    let world = world();
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().manifest(1).publish(&[&ALICE]);
    let old = world.repository().backup();
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).publish(&[&ALICE, &BOB]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().restore(&old);
    world.repository().publish("deploy", "1.5.0").now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("went back from version 2 to 1");
}

#[test]
fn a_manifest_of_another_repository_installs_nothing_new() {
    let world = adopted();
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).of("other").publish(&[&ALICE, &BOB]);
    world.repository().publish("deploy", "1.5.0").now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.4.0\n").mentions("belongs to another repository");
}

#[test]
fn a_manifest_that_has_gone_installs_nothing_under_a_new_truststore() {
    let world = adopted();
    for name in ["json", "json.asc"] {
        world.repository().delete(&format!("/dbt/truststore.manifest.{name}"));
    }
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&ALICE, &MALLORY]);
    world.repository().publish("deploy", "1.5.0").signed_by(&MALLORY).now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("manifest");
    level_is(&world, "pinned");
    assert_eq!(world.executables().len(), 1);
}

#[test]
fn a_manifest_of_an_anchor_that_was_replaced_speaks_for_nobody() {
    let world = adopted();
    world.pin(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    // Whoever looks after this machine has heard that the key of Alice was stolen.
    world.pin(&[&BOB]);
    for words in [&["deploy"][..], &["-o", "deploy"], &["deploy@1.4.0"]] {
        let run = world.dbt(words.iter().copied());
        run.exits_with(exits::VERIFICATION_REFUSED);
        assert_eq!(run.stdout(), "", "nothing ran");
        run.mentions("`trust` in the configuration names other signers for it");
    }
    world.pin(&[&ALICE, &BOB]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_manifest_that_follows_from_one_of_the_anchor_goes_on_speaking() {
    let world = world();
    world.pin(&[&ALICE]);
    world.repository().publish("deploy", "1.4.0").now();
    world.repository().manifest(1).publish(&[&ALICE]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).admins(&[&BOB]).publish(&[&ALICE, &BOB]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.repository().trust(&[&BOB, &CAROL]);
    world.repository().manifest(3).admins(&[&BOB]).signed_by(&[&BOB]).publish(&[&BOB, &CAROL]);
    world.repository().publish("deploy", "1.5.0").signed_by(&CAROL).now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
}

#[test]
fn a_manifest_goes_on_speaking_where_keys_are_named_for_some_tools_alone() {
    let world = adopted();
    world.set(
        "trust",
        serde_json::json!({ "tool:payments-*": [MALLORY.fingerprint().to_string()] }),
    );
    world.repository().trust(&[&ALICE, &BOB]);
    world.repository().manifest(2).publish(&[&ALICE, &BOB]);
    world.repository().publish("deploy", "1.5.0").signed_by(&BOB).now();
    let run = world.dbt(["deploy"]);
    run.prints("deploy 1.5.0\n").mentions("new signing key, vouched: [FINGERPRINT] (Bob");
}
