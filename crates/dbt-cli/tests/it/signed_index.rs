//! The signed index of a server (level 2): how a machine comes to it, and that whoever has the server can then do nothing
//! but be slow.

use dbt_testkit::exits;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::server::Received;
use dbt_testkit::signed_index::Index;
use dbt_testkit::tuf::Key;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::published;

/// A machine that has adopted the enforced index of a server, which lists `deploy` 1.4.0.
fn signed() -> (World, Index) {
    let world = published();
    let mut index = Index::of(world.repository(), true);
    index.list(world.repository(), "1.4.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    (world, index)
}

fn level(world: &World) -> String {
    let shown: Value =
        serde_json::from_str(&world.dbt(["which", "deploy", "--json"]).stdout()).unwrap();
    shown["level"].as_str().unwrap().to_owned()
}

#[test]
fn a_machine_comes_from_a_plain_repository_over_a_trial_to_an_index_that_decides_alone() {
    let world = published();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(level(&world), "unsigned index");

    // On trial: what is not listed runs, and that is said once.
    let mut index = Index::of(world.repository(), false);
    index.list(world.repository(), "1.4.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says(
        "warning: the signed index of server `acme`, which is on trial, would not have allowed this: `deploy` 1.5.0: it does not list it\n",
    );
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
    assert_eq!(level(&world), "unsigned index");

    // Enforced: a signed root says so, and nothing that is not listed runs from then on.
    index.metadata.raise("root");
    index.say(true);
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(level(&world), "signed index");
    index.list(world.repository(), "1.5.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn a_warm_run_makes_one_conditional_request() {
    let (world, _index) = signed();
    world.server().send_etags();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_requests();
    let lines: Vec<String> = requests.iter().map(Received::line).collect();
    assert_eq!(lines, ["GET /dbt/tuf/timestamp.json"]);
    assert!(requests[0].request.pairs().any(|(name, _value)| name == "if-none-match"));
}

#[test]
fn a_version_that_is_published_and_not_listed_does_not_exist() {
    let (world, mut index) = signed();
    world.repository().publish("deploy", "1.5.0").now();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["deploy@1.5.0"]).exits_with(exits::NOT_FOUND);
    assert_eq!(world.executables().len(), 1);
    index.list(world.repository(), "1.5.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

/// The attacker has the server, its online key, and a key that the truststore trusts: everything but the key of the role.
#[test]
fn whoever_has_the_server_its_key_and_a_signers_key_runs_nothing() {
    let (world, mut index) = signed();
    world.repository().publish("deploy", "1.4.0").content("#!/bin/sh\necho evil\n").now();
    world.repository().publish("deploy", "1.5.0").content("#!/bin/sh\necho evil\n").now();
    // A list of his own, which he can put into a snapshot and cannot sign.
    let own = index.metadata.signers["tool.deploy"].clone();
    index.list(world.repository(), "1.4.0");
    index.list(world.repository(), "1.5.0");
    index.metadata.signers.insert("tool.deploy".to_owned(), vec![Key::ed25519()]);
    index.publish(world.repository());
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("the signed index of the server is refused");
    run.mentions("`dbt -o deploy` runs the newest cached copy");
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(world.executables().len(), 1);

    // On a machine that comes with the right list and no copy, the other bytes are refused.
    index.metadata.signers.insert("tool.deploy".to_owned(), own);
    index.metadata.role("tool.deploy")["targets"] = json!({});
    let fresh = published();
    index.list(fresh.repository(), "1.4.0");
    index.publish(world.repository());
    let home = world.dbt_home();
    std::fs::remove_dir_all(home.join("tools")).unwrap();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED);
    assert_eq!(world.executables().len(), 0, "{}", run.stderr());
}

#[test]
fn an_index_that_goes_back_or_away_is_refused_and_offline_the_copy_runs() {
    let (world, index) = signed();
    let before = world.repository().backup();
    let mut index = index;
    world.repository().publish("deploy", "1.5.0").now();
    index.list(world.repository(), "1.5.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();

    world.repository().restore(&before);
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("older than version");
    world.repository().delete("/dbt/tuf/timestamp.json");
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("no longer has the signed index that this machine has seen there");
    world.dbt(["-o", "deploy"]).prints("deploy 1.5.0\n");
}

#[test]
fn an_index_that_no_known_key_stands_behind_is_ignored_and_nothing_is_latched() {
    let world = published();
    let mut index = Index::of(world.repository(), true);
    index.publish(world.repository());
    index.serve(world.repository(), &MALLORY);
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("is ignored: no key that this machine knows");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(level(&world), "unsigned index");
}

#[test]
fn a_withdrawn_version_runs_no_more_not_even_from_the_cache() {
    let (world, mut index) = signed();
    world.repository().publish("deploy", "1.5.0").now();
    index.list(world.repository(), "1.5.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.5.0\n");
    index.list_as(
        world.repository(),
        "1.5.0",
        &json!({"status": "withdrawn", "reason": "it deletes"}),
    );
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let run = world.dbt(["deploy@1.5.0"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("was withdrawn: it deletes");
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
    let run = world.dbt(["-o", "deploy@1.5.0"]);
    run.exits_with(exits::VERIFICATION_REFUSED).mentions("was withdrawn: it deletes");
    assert_eq!(
        world.tools_started(),
        ["deploy 1.4.0", "deploy 1.4.0", "deploy 1.5.0", "deploy 1.4.0", "deploy 1.4.0"]
    );
}

#[test]
fn a_deprecated_version_runs_and_names_what_is_better_once_a_day() {
    let (world, mut index) = signed();
    let said = json!({"status": "deprecated", "reason": "it is slow", "replaced_by": "ship"});
    index.list_as(world.repository(), "1.4.0", &said);
    index.publish(world.repository());
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .says("warning: `deploy` 1.4.0 is deprecated: it is slow; `ship` takes its place\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn the_root_of_another_repository_is_refused_though_the_keys_are_the_same() {
    let (world, mut index) = signed();
    index.metadata.raise("root");
    index.say(true);
    index.metadata.role("root")["x-dbt"]["repository_id"] = "another".into();
    index.metadata.publish_root();
    index.publish(world.repository());
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::VERIFICATION_REFUSED)
        .mentions("belongs to another repository: `another`");
    world.dbt(["-o", "deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn a_trial_does_not_come_back_once_it_has_ended() {
    let (world, mut index) = signed();
    world.repository().publish("deploy", "1.5.0").now();
    index.metadata.raise("root");
    index.say(false);
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(level(&world), "signed index");
}

#[test]
fn keys_are_rotated_and_machines_that_slept_follow() {
    let (world, mut index) = signed();
    for _rotation in 0..5 {
        for role in ["root", "targets", "snapshot", "timestamp"] {
            let former = index.metadata.signers["root"].clone();
            index.metadata.trust(role, 1, vec![Key::ed25519()]);
            index.metadata.raise("root");
            if role == "root" {
                // Signed by the keys of the root before, and by its own.
                let own = index.metadata.signers["root"].clone();
                index.metadata.signers.insert("root".to_owned(), [former, own.clone()].concat());
                index.say(true);
                index.metadata.signers.insert("root".to_owned(), own);
            } else {
                index.say(true);
            }
        }
    }
    world.repository().publish("deploy", "1.5.0").now();
    index.list(world.repository(), "1.5.0");
    index.publish(world.repository());
    world.dbt(["deploy"]).prints("deploy 1.5.0\n").says_nothing();
}

#[test]
fn what_the_server_could_do_is_said_and_a_person_at_the_machine_can_begin_anew() {
    let (world, _index) = signed();
    let shown = world.dbt(["trust", "show"]).stdout();
    assert!(shown.contains("level: signed index"), "{shown}");
    assert!(shown.contains("nothing runs that its signed index does not list"), "{shown}");
    world.dbt(["trust", "reset", &ALICE.fingerprint().to_string()]).exits_with(0);
    assert!(world.dbt(["trust", "show"]).stdout().contains("level: unsigned index"));
    world.dbt(["-o", "deploy"]).exits_with(exits::UNREACHABLE);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(level(&world), "signed index");
}
