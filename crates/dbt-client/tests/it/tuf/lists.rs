//! Timestamp and snapshot (specification, 5.4 and 5.5): nothing older, nothing expired, nothing that
//! does not fit together; and the way back when versions were raised out of reach.

use dbt_core::digest::Digest;
use dbt_testkit::tuf::Key;
use serde_json::{Value, json};

use super::world::{DAY, World};

const ALL_1: &str = "root 1, snapshot 1, targets 1, timestamp 1";
const ALL_2: &str = "root 1, snapshot 2, targets 2, timestamp 2";

#[test]
fn each_file_is_asked_for_once_and_kept_as_it_was_received() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    assert_eq!(
        world.requests(),
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
    );
    for (file, name) in [
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "1.snapshot.json"),
        ("targets.json", "1.targets.json"),
    ] {
        assert_eq!(world.file(file), world.repository.metadata[name]);
    }
    // Nothing changed: only what could say so is asked for.
    world.is_accepted(ALL_1);
    assert_eq!(world.requests(), ["2.root.json", "timestamp.json"]);

    world.repository.release();
    world.is_accepted(ALL_2);
    assert_eq!(
        world.requests(),
        ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"]
    );
}

#[test]
fn without_consistent_snapshots_names_have_no_version() {
    let mut world = World::new();
    world.repository.role("root")["consistent_snapshot"] = false.into();
    world.repository.next_root();
    world.repository.metadata.retain(|name, _bytes| name.ends_with(".root.json"));
    world.repository.publish();
    world.is_accepted("root 2, snapshot 1, targets 1, timestamp 1");
    assert_eq!(
        world.requests(),
        ["2.root.json", "3.root.json", "timestamp.json", "snapshot.json", "targets.json"]
    );
}

#[test]
fn an_older_timestamp_is_refused() {
    let mut world = World::new();
    let first = world.repository.metadata.clone();
    world.repository.release();
    world.is_accepted(ALL_2);
    world.requests();
    world.repository.metadata = first;
    world.is_refused("version 1 of the timestamp metadata is older than version 2", ALL_2);
    assert_eq!(world.requests(), ["2.root.json", "timestamp.json"]);
}

#[test]
fn a_newer_timestamp_with_an_older_snapshot_is_refused() {
    let mut world = World::new();
    world.repository.release();
    world.is_accepted(ALL_2);
    world.repository.raise("timestamp");
    world.repository.role("timestamp")["meta"]["snapshot.json"]["version"] = 1.into();
    world.repository.serve("timestamp");
    world.is_refused("is older than version 2, which was trusted before", ALL_2);
}

#[test]
fn another_timestamp_of_the_same_version_is_not_adopted() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    let kept = world.file("timestamp.json");
    world.repository.role("timestamp")["meta"]["snapshot.json"]["version"] = 100.into();
    world.repository.serve("timestamp");
    world.is_accepted(ALL_1);
    assert_eq!(world.file("timestamp.json"), kept);
}

#[test]
fn a_timestamp_that_names_no_snapshot_is_refused() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    world.repository.raise("timestamp");
    world.repository.role("timestamp")["meta"] = json!({});
    world.repository.serve("timestamp");
    world.is_refused("it does not list `snapshot.json`", ALL_1);
}

#[test]
fn metadata_is_good_before_the_second_it_names_and_not_in_it() {
    for (role, seconds, on_disk) in [
        ("timestamp", 0, "root 1"),
        ("snapshot", 0, "root 1, timestamp 1"),
        ("targets", 0, "root 1, snapshot 1, timestamp 1"),
        ("timestamp", 1, ALL_1),
        ("snapshot", 1, ALL_1),
        ("targets", 1, ALL_1),
    ] {
        let mut world = World::new();
        world.repository.role(role)["expires"] = format!("2026-01-01T00:00:0{seconds}Z").into();
        world.repository.publish();
        if seconds == 1 {
            world.is_accepted(on_disk);
        } else {
            world.is_refused(&format!("the {role} metadata expired"), on_disk);
        }
    }
}

#[test]
fn stored_metadata_that_expired_is_not_used_and_still_forbids_what_is_older() {
    let mut world = World::new();
    world.repository.role("root")["expires"] = "2027-01-01T00:00:00Z".into();
    world.repository.next_root();
    world.repository.release();
    world.is_accepted("root 2, snapshot 2, targets 2, timestamp 2");
    world.now += DAY * 31;
    // The same again, for ever.
    let same = "root 2, snapshot 2, targets 2, timestamp 2";
    world.is_refused("the timestamp metadata expired", same);
    // Fresh, and older.
    for role in ["timestamp", "snapshot", "targets"] {
        world.repository.role(role)["expires"] = "2026-12-01T00:00:00Z".into();
        world.repository.role(role)["version"] = 1.into();
    }
    world.repository.publish();
    world.is_refused("version 1 of the timestamp metadata is older than version 2", same);
    for role in ["timestamp", "snapshot", "targets"] {
        world.repository.role(role)["version"] = 3.into();
    }
    world.repository.publish();
    world.is_accepted("root 2, snapshot 3, targets 3, timestamp 3");
}

#[test]
fn a_snapshot_is_the_one_that_the_timestamp_names() {
    // Another version under the name that is asked for.
    let mut world = World::new();
    world.repository.role("snapshot")["version"] = 7.into();
    let bytes = world.repository.signed("snapshot");
    world.repository.metadata.insert("1.snapshot.json".to_owned(), bytes);
    world.is_refused("snapshot version 7 does not match", "root 1, timestamp 1");

    for (field, value, words) in [
        ("hashes", json!({"sha256": "00".repeat(32)}), "sha256 mismatch"),
        ("hashes", json!({"sha512": "00".repeat(64)}), "sha512 mismatch"),
        ("hashes", json!({"md5": "00"}), "no supported hash algorithm"),
        ("hashes", json!({}), "no supported hash algorithm"),
        ("length", json!(1_000_000), "length"),
        ("length", json!(0), "not a whole number above 0"),
        ("length", json!(-1), "not a whole number above 0"),
    ] {
        let mut world = World::new();
        world.repository.role("timestamp")["meta"]["snapshot.json"][field] = value;
        world.repository.serve("timestamp");
        let refused = world.refresh().map(drop);
        super::world::check_refusal(&refused, words);
        assert!(!world.on_disk().contains("snapshot"), "{}", world.on_disk());
    }
}

#[test]
fn targets_are_those_that_the_snapshot_lists() {
    for (field, value, words) in [
        ("hashes", json!({"sha256": "00".repeat(32)}), "sha256 mismatch"),
        ("length", json!(1_000_000), "length"),
        ("version", json!(2), "the repository has no `2.targets.json`"),
    ] {
        let mut world = World::new();
        world.repository.role("snapshot")["meta"]["targets.json"][field] = value;
        world.repository.publish_snapshot();
        world.is_refused(words, "root 1, snapshot 1, timestamp 1");
    }
    let mut world = World::new();
    world.repository.role("targets")["version"] = 2.into();
    let bytes = world.repository.signed("targets");
    world.repository.metadata.insert("1.targets.json".to_owned(), bytes);
    world.is_refused("version 2 does not match", "root 1, snapshot 1, timestamp 1");

    // With the right length and digests they are taken.
    let mut world = World::new();
    let bytes = world.repository.metadata["1.targets.json"].clone();
    let listed = json!({
        "version": 1, "length": bytes.len(), "hashes": {"sha256": Digest::of(&bytes).to_string()},
    });
    world.repository.role("snapshot")["meta"]["targets.json"] = listed;
    world.repository.publish_snapshot();
    world.is_accepted(ALL_1);
}

/// Publishes a snapshot that lists another thing than the one before, and expects a refusal after
/// which the one before is still there.
#[track_caller]
fn is_rolled_back(edit: fn(&mut Value), words: &str, between: fn(&mut World)) {
    let mut world = World::new();
    world.repository.delegate("targets", "role", &["*"], false);
    world.repository.role("role")["version"] = 5.into();
    world.repository.release();
    world.is_accepted(ALL_2);
    between(&mut world);
    world.repository.raise("snapshot");
    world.repository.raise("timestamp");
    let before = world.file("snapshot.json");
    edit(&mut world.repository.role("snapshot")["meta"]);
    world.repository.publish_snapshot();
    let refused = world.refresh().map(drop);
    super::world::check_refusal(&refused, words);
    assert_eq!(world.file("snapshot.json"), before);
    assert!(world.on_disk().contains("targets 2"), "{}", world.on_disk());
}

#[test]
fn a_snapshot_lists_nothing_older_and_leaves_nothing_out() {
    let older = "version 1 of the targets.json metadata is older than version 2";
    is_rolled_back(|meta| meta["targets.json"]["version"] = 1.into(), older, |_| {});
    let older = "version 4 of the role.json metadata is older than version 5";
    is_rolled_back(|meta| meta["role.json"]["version"] = 4.into(), older, |_| {});
    let gone = "no longer lists `role.json`";
    is_rolled_back(|meta| drop(meta.as_object_mut().unwrap().remove("role.json")), gone, |_| {});
}

/// Whoever has the online key answers the timestamp and then nothing, and comes back with older
/// versions: the stored snapshot no longer fits the stored timestamp, and counts all the same.
#[test]
fn what_a_snapshot_listed_is_remembered_through_an_update_that_broke_off() {
    let older = "version 4 of the role.json metadata is older than version 5";
    is_rolled_back(
        |meta| meta["role.json"]["version"] = 4.into(),
        older,
        |world| {
            world.repository.raise("snapshot");
            world.repository.raise("timestamp");
            world.repository.publish_snapshot();
            world.repository.metadata.remove("3.snapshot.json");
            world.is_refused(
                "the repository has no `3.snapshot.json`",
                "root 1, snapshot 2, targets 2, timestamp 3",
            );
        },
    );
}

#[test]
fn versions_that_were_raised_out_of_reach_come_down_with_new_keys() {
    // 2^53: what everything that counts in floating point still tells apart.
    const FAR: u64 = 1 << 53;
    for rotated in ["timestamp", "snapshot"] {
        let mut world = World::new();
        for role in ["timestamp", "snapshot", "targets"] {
            world.repository.role(role)["version"] = FAR.into();
        }
        world.repository.publish();
        world.is_accepted(&format!("root 1, snapshot {FAR}, targets {FAR}, timestamp {FAR}"));

        for role in ["timestamp", "snapshot", "targets"] {
            world.repository.role(role)["version"] = 2.into();
        }
        world.repository.publish();
        let refused = world.refresh().map(drop);
        super::world::check_refusal(&refused, "is older than version");

        world.repository.trust(rotated, 1, vec![Key::ed25519()]);
        world.repository.next_root();
        world.repository.publish();
        world.is_accepted("root 2, snapshot 2, targets 2, timestamp 2");
    }
}

#[test]
fn one_more_key_or_a_higher_threshold_is_no_reason_to_forget() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    for role in ["timestamp", "snapshot"] {
        let mut keys = world.repository.signers[role].clone();
        keys.push(Key::p256());
        world.repository.trust(role, 1, keys);
    }
    world.repository.next_root();
    world.repository.metadata.remove("timestamp.json");
    world.is_refused(
        "the repository has no `timestamp.json`",
        "root 2, snapshot 1, targets 1, timestamp 1",
    );
}

#[test]
fn a_key_that_lost_its_right_takes_what_it_signed_with_it_even_if_the_update_breaks_off() {
    let mut world = World::new();
    world.is_accepted(ALL_1);
    world.repository.trust("snapshot", 1, vec![Key::ed25519()]);
    world.repository.role("root")["expires"] = "2025-01-01T00:00:00Z".into();
    world.repository.next_root();
    world.is_refused("the root metadata expired", "root 2, targets 1");
}

#[test]
fn stored_files_that_are_damaged_are_as_good_as_absent() {
    for (file, bytes) in [
        ("timestamp.json", &b""[..]),
        ("timestamp.json", b"{\"signed\":"),
        ("snapshot.json", b"garbage"),
        ("snapshot.json", b"{}"),
        ("targets.json", b"[1,2"),
    ] {
        let mut world = World::new();
        world.repository.release();
        world.is_accepted(ALL_2);
        world.write(file, bytes);
        world.is_accepted(ALL_2);
    }
    let world = World::new();
    world.is_accepted(ALL_1);
    world.write("root.json", b"garbage");
    world.requests();
    world.refresh().unwrap_err();
    assert_eq!(world.requests(), [""; 0]);
}

#[test]
fn stored_versions_that_nobody_signed_forbid_nothing() {
    let world = World::new();
    world.is_accepted(ALL_1);
    for file in ["timestamp.json", "snapshot.json"] {
        let mut stored: Value = serde_json::from_slice(&world.file(file)).unwrap();
        stored["signed"]["version"] = 99.into();
        world.write(file, &serde_json::to_vec(&stored).unwrap());
    }
    world.is_accepted(ALL_1);
}
