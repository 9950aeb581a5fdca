//! The chain of roots (specification, 5.3).

use std::rc::Rc;

use dbt_testkit::tuf::Key;
use serde_json::{Value, json};

use super::world::{DAY, World};

const ALL_1: &str = "root 1, snapshot 1, targets 1, timestamp 1";

/// A version of the root: its keys, how many of them have to sign, and who signs.
type Version<'a> = (&'a [usize], u64, &'a [usize]);

/// Serves these versions after the first one, which has the keys 0, 1 and 2 of six, and two have to
/// sign. Expects the client to follow up to `last`.
#[track_caller]
fn chain(versions: &[Version<'_>], last: u64) {
    let keys: Vec<Rc<Key>> = (0..6).map(|_| Key::ed25519()).collect();
    let chosen = |which: &[usize]| which.iter().map(|key| Rc::clone(&keys[*key])).collect();
    let mut world = World::new();
    world.repository.trust("root", 2, chosen(&[0, 1, 2]));
    world.repository.publish_root();
    world.init(&world.repository.metadata["1.root.json"]).unwrap();
    for (trusted, threshold, signers) in versions {
        world.repository.trust("root", *threshold, chosen(trusted));
        world.repository.signers.insert("root".to_owned(), chosen(signers));
        world.repository.next_root();
    }
    if last == versions.len() as u64 + 1 {
        world.is_accepted(&format!("root {last}, snapshot 1, targets 1, timestamp 1"));
    } else {
        world.is_refused("valid signatures of the", &format!("root {last}"));
    }
    assert_eq!(world.file("root.json"), world.repository.metadata[&format!("{last}.root.json")]);
}

#[test]
fn a_root_is_signed_by_enough_keys_of_the_one_before_and_of_its_own() {
    chain(&[(&[0, 1, 2], 2, &[1, 2])], 2);
    chain(&[(&[1, 2, 3], 2, &[1, 2])], 2);
    chain(&[(&[1, 2, 3], 2, &[1, 2]), (&[3, 4, 5], 2, &[1, 2, 3, 4])], 3);
    chain(&[(&[3, 4, 5], 2, &[0, 1, 3, 4]), (&[3, 4, 5], 2, &[4, 5])], 3);
    chain(&[(&[0, 1, 2], 1, &[0, 1]), (&[0, 1, 2], 1, &[2])], 3);
    chain(&[(&[0, 1, 2], 3, &[0, 1, 2])], 2);
}

#[test]
fn a_root_with_too_few_of_either_ends_the_update() {
    // Only new keys; only old ones; one of each; fewer than before; fewer than from now on.
    chain(&[(&[3, 4, 5], 2, &[3, 4, 5])], 1);
    chain(&[(&[3, 4, 5], 2, &[0, 1, 2])], 1);
    chain(&[(&[0, 1, 3], 2, &[2, 3])], 1);
    chain(&[(&[0, 1, 2], 1, &[0])], 1);
    chain(&[(&[0, 1, 2], 3, &[0, 1])], 1);
    // The good ones before it stay.
    chain(&[(&[1, 2, 3], 2, &[1, 2]), (&[4, 5], 2, &[4, 5])], 2);
}

#[test]
fn a_root_follows_the_one_before_it_by_one_version() {
    for version in [1_u64, 3, 4, u64::MAX] {
        let mut world = World::new();
        world.repository.role("root")["version"] = version.into();
        let bytes = world.repository.signed("root");
        world.repository.metadata.insert("2.root.json".to_owned(), bytes);
        world.is_refused(&format!("root {version} does not follow root 1"), "root 1");
        assert_eq!(world.requests(), ["2.root.json"]);
    }
}

#[test]
fn what_is_no_root_ends_the_update() {
    let edits: &[(&str, Value, &str)] = &[
        ("/version", json!(-2), "not a whole number above 0"),
        ("/version", json!(2.0), "not a whole number above 0"),
        ("/version", json!("2"), "not a whole number above 0"),
        ("/version", json!(0), "not a whole number above 0"),
        ("/roles/root/threshold", json!(0), "the threshold of `root`"),
        ("/roles/timestamp/threshold", json!(0), "the threshold of `timestamp`"),
        ("/roles/targets/threshold", json!(1.5), "the threshold of `targets`"),
        ("/roles/snapshot/keyids", json!("x"), "`snapshot` lists no keys"),
        ("/roles/snapshot", json!(null), "`snapshot` is not an object"),
        ("/_type", json!("targets"), "`_type` is not `root`"),
        ("/spec_version", json!("2.0.0"), "`spec_version` is not 1.N"),
        ("/spec_version", json!("1"), "`spec_version` is not 1.N"),
        ("/spec_version", json!(1), "`spec_version` is not 1.N"),
        ("/consistent_snapshot", json!("yes"), "neither true nor false"),
        ("/expires", json!("2026-02-30T00:00:00Z"), "`expires` is not a time"),
        ("/expires", json!("2026-12-31T23:59:60Z"), "`expires` is not a time"),
        ("/expires", json!("2027-01-01T00:00:00"), "`expires` is not a time"),
        ("/expires", json!("2027-01-01T00:00:00.5Z"), "`expires` is not a time"),
        ("/expires", json!("2027-01-01T00:00:00+01:00"), "`expires` is not a time"),
        ("/expires", json!(1_800_000_000), "`expires` is not a time"),
    ];
    for (place, value, words) in edits {
        let mut world = World::new();
        world.repository.raise("root");
        *world.repository.role("root").pointer_mut(place).unwrap() = value.clone();
        let bytes = world.repository.signed("root");
        world.repository.metadata.insert("2.root.json".to_owned(), bytes);
        world.is_refused(words, "root 1");
    }
    for bytes in [&b""[..], b"{}", b"[]", b"<html></html>", b"{\"signed\":{},\"signatures\":[]}"] {
        let mut world = World::new();
        world.repository.metadata.insert("2.root.json".to_owned(), bytes.to_vec());
        world.is_refused("the root metadata is malformed", "root 1");
    }
}

#[test]
fn an_expired_root_is_kept_and_nothing_after_it_is_asked_for() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    world.repository.role("root")["expires"] = "2025-12-31T00:00:00Z".into();
    world.repository.next_root();
    world.repository.release();
    world.requests();
    world.is_refused(
        "the root metadata expired at 2025-12-31T00:00:00Z",
        "root 2, snapshot 1, targets 1, timestamp 1",
    );
    assert_eq!(world.requests(), ["2.root.json", "3.root.json"]);

    // A newer one is followed from there.
    world.repository.role("root")["expires"] = "2026-12-31T00:00:00Z".into();
    world.repository.next_root();
    world.is_accepted("root 3, snapshot 2, targets 2, timestamp 2");
}

#[test]
fn a_client_that_slept_for_a_long_time_follows_every_root_one_by_one() {
    for behind in [1, 5, 50, 300_u64] {
        let mut world = World::new();
        world.is_accepted(ALL_1);
        for _ in 0..behind {
            world.repository.trust("root", 1, {
                let mut keys = vec![Key::ed25519()];
                keys.extend(world.repository.signers["root"].first().cloned());
                keys
            });
            // Signed by the old and the new one; only the new one is trusted from now on.
            let new = world.repository.signers["root"][0].id();
            world.repository.role("root")["roles"]["root"]["keyids"] = json!([new]);
            world.repository.next_root();
        }
        // No update follows more than 256; the next one goes on from there.
        let followed = behind.min(256) + 1;
        world.is_accepted(&format!("root {followed}, snapshot 1, targets 1, timestamp 1"));
        let last = behind + 1;
        world.is_accepted(&format!("root {last}, snapshot 1, targets 1, timestamp 1"));
    }
}

#[test]
fn the_first_root_is_checked_before_anything_is_asked_for() {
    let mut world = World::new();
    let good = world.file("root.json");
    let mut unsigned: Value = serde_json::from_slice(&good).unwrap();
    unsigned["signatures"] = json!([]);
    let mut without_version: Value = serde_json::from_slice(&good).unwrap();
    without_version["signed"].as_object_mut().unwrap().remove("version");
    for bad in [unsigned, without_version, json!("x")] {
        let bytes = serde_json::to_vec(&bad).unwrap();
        world.init(&bytes).unwrap_err();
        assert_eq!(world.file("root.json"), good);
        world.write("root.json", &bytes);
        world.refresh().unwrap_err();
        world.write("root.json", &good);
    }
    world.remove("root.json");
    world.is_refused("there is no trusted root", "");
    assert_eq!(world.requests(), [""; 0]);

    // It may have expired: a newer one is looked for.
    world.now += DAY * 31;
    world.init(&good).unwrap();
    world.is_refused("the root metadata expired", "root 1");
    world.repository.role("root")["expires"] = "2027-01-01T00:00:00Z".into();
    world.repository.next_root();
    world.is_refused("the timestamp metadata expired", "root 2");
}

#[test]
fn fields_that_nobody_knows_are_signed_and_kept() {
    let mut world = World::new();
    let root = world.repository.role("root");
    root["x-dbt"] = json!({"repository_id": "6f0c", "n": [1, {"a": null}], "\"\\\n\u{e9}": true});
    root["roles"]["root"]["another"] = json!("field");
    let id = root["roles"]["root"]["keyids"][0].as_str().unwrap().to_owned();
    root["keys"][id]["x-owner"] = json!({"b": 2, "a": 1});
    world.repository.next_root();
    world.is_accepted("root 2, snapshot 1, targets 1, timestamp 1");
    assert_eq!(world.file("root.json"), world.repository.metadata["2.root.json"]);

    let mut changed: Value = serde_json::from_slice(&world.file("root.json")).unwrap();
    changed["signed"]["x-dbt"]["n"][0] = json!(2);
    world.write("root.json", &serde_json::to_vec(&changed).unwrap());
    world.refresh().unwrap_err();
}
