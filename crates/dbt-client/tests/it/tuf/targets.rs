//! Targets (specification, 5.7): their names on the server, their length and their digests.

use dbt_core::digest::Digest;
use serde_json::json;

use super::world::{World, check_refusal};

fn with_target(path: &str, bytes: &[u8]) -> World {
    let mut world = World::new();
    world.repository.add("targets", path, bytes);
    world.repository.release();
    world
}

#[test]
fn a_target_is_asked_for_by_its_digest_where_snapshots_are_consistent() {
    for (path, directory, name) in [
        ("file", "", "file"),
        ("path/to/a/file.txt", "path/to/a/", "file.txt"),
        ("a b/c%d?e#f", "a b/", "c%d?e#f"),
    ] {
        let mut world = with_target(path, b"bytes");
        assert_eq!(world.download(path).unwrap(), b"bytes");
        let prefixed = format!("{directory}{}.{name}", Digest::of(b"bytes"));
        assert_eq!(world.requests().last().unwrap(), &prefixed);

        world.repository.role("root")["consistent_snapshot"] = false.into();
        world.repository.next_root();
        world.repository.publish();
        assert_eq!(world.download(path).unwrap(), b"bytes");
        assert_eq!(world.requests().last().unwrap(), path);
    }
}

#[test]
fn other_bytes_are_refused() {
    for (bytes, words) in [
        (&b"BYTES"[..], "`file` is not what is listed: its sha256 is"),
        (b"byte", "it has 4 bytes instead of 5"),
        (b"bytes and more", "it has 14 bytes instead of 5"),
        (b"", "it has 0 bytes instead of 5"),
    ] {
        let mut world = with_target("file", b"bytes");
        for served in world.repository.targets.values_mut() {
            *served = bytes.to_vec();
        }
        check_refusal(&world.download("file").map(drop), words);
    }
}

#[test]
fn every_known_digest_has_to_fit_and_one_has_to_be_known() {
    let good = Digest::of(b"bytes").to_string();
    for (hashes, words) in [
        (json!({"sha256": good, "sha512": "00".repeat(64)}), "its sha512 is"),
        (json!({"sha256": good, "blake9": "00"}), ""),
        (json!({"sha256": good.to_uppercase()}), ""),
        (json!({"blake9": "00"}), "it has no digest that is known here"),
        (json!({}), "it has no digest that is known here"),
        (json!({"sha256": "../../x"}), "it has no digest that is known here"),
    ] {
        let mut world = with_target("file", b"bytes");
        world.repository.role("targets")["targets"]["file"]["hashes"] = hashes;
        world.repository.release();
        let upper = format!("{}.file", good.to_uppercase());
        world.repository.targets.insert(upper, b"bytes".to_vec());
        let outcome = world.download("file").map(drop);
        if words.is_empty() {
            outcome.unwrap();
        } else {
            check_refusal(&outcome, words);
        }
    }
}

#[test]
fn a_target_that_nobody_lists_or_has_is_told_apart() {
    let mut world = with_target("file", b"bytes");
    check_refusal(&world.download("other").map(drop), "`other` is not listed by any role");
    world.repository.targets.clear();
    check_refusal(&world.download("file").map(drop), "the repository has no `");
}

#[test]
fn what_was_accepted_of_metadata_stays_when_the_target_is_not() {
    let mut world = World::new();
    check_refusal(&world.download("nothing").map(drop), "`nothing` is not listed");
    assert_eq!(world.on_disk(), "root 1, snapshot 1, targets 1, timestamp 1");
    world.repository.release();
    check_refusal(&world.download("nothing").map(drop), "`nothing` is not listed");
    assert_eq!(world.on_disk(), "root 1, snapshot 2, targets 2, timestamp 2");
}
