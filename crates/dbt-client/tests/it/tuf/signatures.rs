//! Which signatures count (specification, 4.2), for the role that signs most often.

use dbt_testkit::tuf::Key;
use serde_json::{Value, json};

use super::world::World;

const ALL: &str = "root 2, snapshot 1, targets 1, timestamp 1";

/// Has three keys trusted with timestamps, two of which have to sign, and edits what is served.
#[track_caller]
fn check(edit: fn(&mut Value), valid: Option<usize>) {
    let mut world = World::new();
    let keys = vec![Key::ed25519(), Key::p256(), Key::p384()];
    world.repository.trust("timestamp", 2, keys);
    world.repository.next_root();
    world.repository.serve("timestamp");
    let mut served: Value =
        serde_json::from_slice(&world.repository.metadata["timestamp.json"]).unwrap();
    edit(&mut served);
    let bytes = serde_json::to_vec(&served).unwrap();
    world.repository.metadata.insert("timestamp.json".to_owned(), bytes);
    match valid {
        None => world.is_accepted(ALL),
        Some(valid) => {
            let words = format!("has {valid} valid signatures of the 2 it needs");
            world.is_refused(&words, "root 2");
        }
    }
}

fn signatures(served: &mut Value) -> &mut Vec<Value> {
    served["signatures"].as_array_mut().unwrap()
}

#[test]
fn enough_keys_sign_whatever_their_kind_and_order() {
    check(|_served| {}, None);
    check(|served| signatures(served).reverse(), None);
    check(|served| drop(signatures(served).remove(0)), None);
    check(|served| drop(signatures(served).remove(1)), None);
    check(|served| drop(signatures(served).remove(2)), None);
}

#[test]
fn too_few_of_them_are_refused() {
    check(|served| signatures(served).clear(), Some(0));
    check(|served| signatures(served).truncate(1), Some(1));
    // One is empty, one is none, one is of another text, one is of another key.
    check(|served| (1..3).for_each(|key| signatures(served)[key]["sig"] = json!("")), Some(1));
    check(|served| (0..2).for_each(|key| signatures(served)[key]["sig"] = json!("zz")), Some(1));
    check(|served| served["signed"]["version"] = json!(2), Some(0));
    check(
        |served| {
            let other = signatures(served)[0]["sig"].clone();
            signatures(served)[1]["sig"] = other.clone();
            signatures(served)[2]["sig"] = other;
        },
        Some(1),
    );
}

#[test]
fn signatures_of_strangers_do_not_matter() {
    check(
        |served| {
            let stranger = json!({"keyid": "ab".repeat(32), "sig": "cd".repeat(64)});
            signatures(served).insert(0, stranger);
        },
        None,
    );
    check(
        |served| {
            signatures(served).truncate(1);
            for _ in 0..5 {
                signatures(served).push(json!({"keyid": "ab".repeat(32), "sig": "cd".repeat(64)}));
            }
        },
        Some(1),
    );
}

#[test]
fn a_key_never_counts_twice() {
    // Twice the same signature: nothing that honest signers make.
    let mut world = World::new();
    world.repository.trust("timestamp", 2, vec![Key::ed25519(), Key::ed25519()]);
    world.repository.next_root();
    world.repository.serve("timestamp");
    let mut served: Value =
        serde_json::from_slice(&world.repository.metadata["timestamp.json"]).unwrap();
    let again = served["signatures"][0].clone();
    served["signatures"] = json!([again.clone(), again]);
    let bytes = serde_json::to_vec(&served).unwrap();
    world.repository.metadata.insert("timestamp.json".to_owned(), bytes);
    world.is_refused("the timestamp metadata is malformed: duplicate signature", "root 2");

    // Under two names, in whatever case.
    for changed in [str::to_owned as fn(&str) -> String, str::to_uppercase] {
        let mut world = World::new();
        let key = Key::ed25519();
        world.repository.trust("timestamp", 2, vec![std::rc::Rc::clone(&key)]);
        let root = world.repository.role("root");
        let mut twin = key.public().clone();
        twin["keyval"]["public"] =
            changed(key.public()["keyval"]["public"].as_str().unwrap()).into();
        root["keys"]["twin"] = twin;
        root["roles"]["timestamp"]["keyids"] = json!([key.id(), "twin"]);
        world.repository.next_root();
        world.is_refused("`timestamp` lists one key under two names", "root 1");
    }

    // The same name twice.
    let mut world = World::new();
    let id = world.repository.signers["timestamp"][0].id();
    world.repository.role("root")["roles"]["timestamp"]["keyids"] = json!([id, id]);
    world.repository.next_root();
    world.is_refused("`timestamp` lists a key twice", "root 1");
}

#[test]
fn keys_that_cannot_be_used_do_not_count_and_do_no_harm() {
    let key = Key::ed25519();
    for (keytype, scheme, public) in [
        ("unknown", "unknown", "00".to_owned()),
        ("ml-dsa", "ml-dsa-65/1", "00".repeat(1952)),
        (
            "rsa",
            "rsa-pkcs1v15-sha256",
            "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----".into(),
        ),
        ("ed25519", "ed25519", "zz".repeat(32)),
        ("ed25519", "ed25519", "00".repeat(31)),
        // The identity: one signature fits every text.
        ("ed25519", "ed25519", format!("01{}", "00".repeat(31))),
        ("ecdsa", "ecdsa-sha2-nistp256", "04".repeat(65)),
    ] {
        let mut world = World::new();
        world.repository.trust("timestamp", 1, vec![std::rc::Rc::clone(&key)]);
        let root = world.repository.role("root");
        root["keys"]["odd"] =
            json!({"keytype": keytype, "scheme": scheme, "keyval": {"public": public}});
        root["roles"]["timestamp"]["keyids"] = json!(["odd", key.id(), "absent"]);
        world.repository.next_root();
        world.repository.serve("timestamp");
        world.is_accepted(ALL);

        let mut served: Value = serde_json::from_slice(&world.file("timestamp.json")).unwrap();
        // The signature that holds for every text under the identity.
        let sig = format!("01{}", "00".repeat(63));
        served["signatures"] = json!([{"keyid": "odd", "sig": sig}]);
        served["signed"]["version"] = 2.into();
        let bytes = serde_json::to_vec(&served).unwrap();
        world.repository.metadata.insert("timestamp.json".to_owned(), bytes);
        world.is_refused("has 0 valid signatures of the 1 it needs", ALL);
    }
}

#[test]
fn a_key_is_of_the_kind_that_its_scheme_is_for() {
    for (keytype, scheme) in
        [("ecdsa", "ed25519"), ("ed25519", "ecdsa-sha2-nistp256"), ("x", "rsassa-pss-sha256")]
    {
        let mut world = World::new();
        let id = world.repository.signers["timestamp"][0].id();
        let key = &mut world.repository.role("root")["keys"][id];
        key["keytype"] = keytype.into();
        key["scheme"] = scheme.into();
        world.repository.next_root();
        world.is_refused(&format!("`{keytype}` is no kind of key for `{scheme}`"), "root 1");
    }
}

#[test]
fn rsa_keys_sign_with_pss_and_have_2048_bits_or_more() {
    for (bits, is_accepted) in [(2048, true), (1024, false)] {
        let mut world = World::new();
        world.repository.trust("timestamp", 1, vec![Key::rsa(bits)]);
        world.repository.next_root();
        world.repository.serve("timestamp");
        if is_accepted {
            world.is_accepted(ALL);
        } else {
            world.is_refused("has 0 valid signatures of the 1 it needs", "root 2");
        }
    }
}

#[test]
fn every_role_needs_its_own_signers() {
    for (role, on_disk) in [
        ("timestamp", "root 1"),
        ("snapshot", "root 1, timestamp 1"),
        ("targets", "root 1, snapshot 1, timestamp 1"),
    ] {
        let mut world = World::new();
        world.repository.signers.insert(role.to_owned(), vec![Key::ed25519()]);
        world.repository.publish();
        let words = format!("the {role} metadata has 0 valid signatures of the 1 it needs");
        world.is_refused(&words, on_disk);
    }
    // The key of one role does not sign for another.
    let mut world = World::new();
    let snapshot = world.repository.signers["snapshot"].clone();
    world.repository.signers.insert("timestamp".to_owned(), snapshot);
    world.repository.serve("timestamp");
    world.is_refused("has 0 valid signatures", "root 1");
}
