//! The search through delegations (specification, 5.6.7): who is asked, in which order, and who is
//! not.

use dbt_core::digest::Digest;
use dbt_testkit::tuf::Key;
use serde_json::json;

use super::world::{World, check_refusal};

/// Delegator, role, patterns, and whether nobody is asked behind it.
type Delegation<'a> = (&'a str, &'a str, &'a [&'a str], bool);

fn world(delegations: &[Delegation<'_>]) -> World {
    let mut world = World::new();
    for (delegator, role, paths, terminating) in delegations {
        world.repository.delegate(delegator, role, paths, *terminating);
    }
    world.repository.release();
    world
}

/// Looks for what nobody lists, and expects these roles to be asked in this order.
#[track_caller]
fn visits(delegations: &[Delegation<'_>], path: &str, expected: &[&str]) {
    let world = world(delegations);
    let outcome = world.download(path).map(drop);
    check_refusal(&outcome, "is not listed by any role that may list it");
    let expected: Vec<String> = expected.iter().map(|role| format!("1.{role}.json")).collect();
    // Behind the roots, the timestamp, the snapshot and the top-level targets.
    assert_eq!(world.requests()[4..], expected);
}

const ANY: &[&str] = &["*"];

#[test]
fn roles_are_asked_depth_first_in_the_order_of_the_lists() {
    visits(&[("targets", "A", ANY, false), ("targets", "B", ANY, false)], "x", &["A", "B"]);
    visits(
        &[
            ("targets", "A", ANY, false),
            ("targets", "B", ANY, false),
            ("A", "C", ANY, false),
            ("A", "D", ANY, false),
        ],
        "x",
        &["A", "C", "D", "B"],
    );
}

#[test]
fn behind_a_terminating_role_nobody_is_asked() {
    let tree = [
        ("targets", "A", ANY, false),
        ("targets", "B", ANY, false),
        ("A", "C", ANY, true),
        ("A", "D", ANY, false),
        ("C", "E", ANY, false),
    ];
    visits(&tree, "x", &["A", "C", "E"]);
    // One that does not match ends nothing.
    visits(&[("targets", "A", &["y"], true), ("targets", "B", ANY, false)], "x", &["B"]);
}

#[test]
fn circles_end_and_nobody_is_asked_twice() {
    visits(
        &[
            ("targets", "A", ANY, false),
            ("A", "B", ANY, false),
            ("B", "A", ANY, false),
            ("B", "B", ANY, false),
            ("targets", "B", ANY, false),
        ],
        "x",
        &["A", "B"],
    );
}

#[test]
fn patterns_do_not_cross_slashes() {
    let tree: [Delegation<'_>; 5] = [
        ("targets", "flat", &["*"], false),
        ("targets", "tool", &["tools/t/*/*/*/*"], false),
        ("targets", "prefix", &["tools/pay-*/*"], false),
        ("targets", "one", &["tools/?/x"], false),
        ("targets", "exact", &["README.md"], false),
    ];
    visits(&tree, "x", &["flat"]);
    visits(&tree, "README.md", &["flat", "exact"]);
    visits(&tree, "tools/t/1.0.0/linux/amd64/t", &["tool"]);
    visits(&tree, "tools/t/1.0.0/linux/amd64/t/u", &[]);
    visits(&tree, "tools/pay-roll/x", &["prefix"]);
    visits(&tree, "tools/a/x", &["one"]);
    visits(&tree, "tools/aa/x", &[]);
}

#[test]
fn hash_prefixes_choose_by_the_digest_of_the_path() {
    let digest = Digest::of(b"a/path").to_string();
    for (prefixes, asked) in [
        (vec![digest[..2].to_owned()], true),
        (vec!["zz".to_owned(), digest[..8].to_owned()], true),
        (vec![digest.clone()], true),
        (vec![format!("{}0", &digest[..8]), "g".to_owned()], false),
        (vec![], false),
    ] {
        let mut world = world(&[("targets", "bin", ANY, false)]);
        let delegation = &mut world.repository.role("targets")["delegations"]["roles"][0];
        delegation.as_object_mut().unwrap().remove("paths");
        delegation["path_hash_prefixes"] = json!(prefixes);
        world.repository.release();
        check_refusal(&world.download("a/path").map(drop), "is not listed");
        let was_asked = world.requests().contains(&"1.bin.json".to_owned());
        // Nine digits of which the last may happen to be right.
        if asked || digest.as_bytes()[8] != b'0' {
            assert_eq!(was_asked, asked, "{prefixes:?}");
        }
    }
}

#[test]
fn the_first_role_that_lists_a_target_decides() {
    let mut world = world(&[("targets", "A", ANY, false), ("targets", "B", ANY, false)]);
    world.repository.add("B", "x", b"of B");
    world.repository.raise("B");
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"of B");
    world.repository.add("A", "x", b"of A");
    world.repository.raise("A");
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"of A");
    world.repository.add("targets", "x", b"of all");
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"of all");
}

#[test]
fn a_role_may_list_what_it_likes_and_only_what_was_delegated_is_found() {
    let mut world = world(&[("targets", "A", &["a/*"], false), ("A", "B", &["a/b", "c"], false)]);
    for path in ["a/b", "c"] {
        world.repository.add("B", path, b"bytes");
    }
    world.repository.raise("B");
    world.repository.release();
    assert_eq!(world.download("a/b").unwrap(), b"bytes");
    check_refusal(&world.download("c").map(drop), "`c` is not listed");
}

#[test]
fn a_delegated_role_is_signed_and_listed_and_good() {
    let refused = |edit: fn(&mut World), words: &str| {
        let mut world = world(&[("targets", "A", ANY, false), ("targets", "B", ANY, false)]);
        // Whoever comes behind a role that is refused is not asked instead.
        world.repository.add("B", "x", b"of B");
        world.repository.raise("B");
        edit(&mut world);
        check_refusal(&world.download("x").map(drop), words);
        assert!(!world.on_disk().contains("A "), "{}", world.on_disk());
        assert!(!world.requests().iter().any(|name| name.ends_with("B.json")));
    };
    refused(
        |world| {
            world.repository.signers.insert("A".to_owned(), vec![Key::ed25519()]);
            world.repository.release();
        },
        "the A metadata has 0 valid signatures of the 1 it needs",
    );
    refused(
        |world| {
            world.repository.role("A")["expires"] = "2026-01-01T00:00:00Z".into();
            world.repository.release();
        },
        "the A metadata expired",
    );
    refused(
        |world| {
            world.repository.release();
            world.repository.role("A")["version"] = 2.into();
            let bytes = world.repository.signed("A");
            world.repository.metadata.insert("1.A.json".to_owned(), bytes);
        },
        "version 2 does not match",
    );
    refused(
        |world| {
            world.repository.release();
            world.repository.metadata.remove("1.A.json");
        },
        "the repository has no `1.A.json`",
    );
    refused(
        |world| {
            world.repository.release();
            world.repository.role("snapshot")["meta"].as_object_mut().unwrap().remove("A.json");
            world.repository.publish_snapshot();
        },
        "the snapshot does not list `A.json`",
    );
}

#[test]
fn a_stored_delegated_role_is_used_until_it_is_not_current() {
    let mut world = world(&[("targets", "A", ANY, false)]);
    world.repository.add("A", "x", b"one");
    world.repository.raise("A");
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"one");
    assert_eq!(world.file("A.json"), world.repository.metadata["2.A.json"]);
    world.requests();
    world.download("x").unwrap();
    assert!(!world.requests().contains(&"2.A.json".to_owned()));

    world.write("A.json", b"garbage");
    world.download("x").unwrap();
    assert!(world.requests().contains(&"2.A.json".to_owned()));

    world.repository.add("A", "x", b"two");
    world.repository.raise("A");
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"two");
    assert!(world.on_disk().starts_with("A 3,"), "{}", world.on_disk());

    // It expires where it is stored, and nothing newer is there.
    world.repository.role("A")["expires"] = "2026-01-02T00:00:00Z".into();
    world.repository.raise("A");
    world.repository.release();
    world.download("x").unwrap();
    world.now += super::world::DAY * 2;
    check_refusal(&world.download("x").map(drop), "the A metadata expired");
}

#[test]
fn one_name_with_other_keys_elsewhere_is_judged_by_who_leads_there() {
    let mut world = World::new();
    world.repository.delegate("targets", "A", &["x"], false);
    world.repository.delegate("targets", "B", &["y"], false);
    world.repository.delegate("A", "C", ANY, false);
    world.repository.delegate("B", "C", ANY, false);
    // B believes that somebody else signs for C.
    let other = Key::ed25519();
    let delegations = &mut world.repository.role("B")["delegations"];
    delegations["keys"][other.id()] = other.public().clone();
    delegations["roles"][0]["keyids"] = json!([other.id()]);
    for path in ["x", "y"] {
        world.repository.add("C", path, b"bytes");
    }
    world.repository.release();
    assert_eq!(world.download("x").unwrap(), b"bytes");
    check_refusal(&world.download("y").map(drop), "the C metadata has 0 valid signatures");
}

#[test]
fn unusual_names_stay_one_file_of_the_directory_and_one_segment_of_the_url() {
    for (role, escaped) in [
        ("?", "%3F"),
        ("#", "%23"),
        ("/role", "%2Frole"),
        ("../role", "..%2Frole"),
        ("..", ".."),
        ("a b\n", "a%20b%0A"),
        ("2.root", "2.root"),
    ] {
        let world = world(&[("targets", role, ANY, false)]);
        check_refusal(&world.download("x").map(drop), "is not listed");
        assert_eq!(world.requests().last().unwrap(), &format!("1.{escaped}.json"));
        assert_eq!(
            world.file(&format!("{escaped}.json")),
            world.repository.metadata[&format!("1.{escaped}.json")]
        );
    }
}

#[test]
fn delegations_that_could_mean_something_else_are_refused() {
    let refused = |edit: fn(&mut serde_json::Value), words: &str| {
        let mut world = world(&[("targets", "A", ANY, false), ("targets", "B", ANY, false)]);
        edit(&mut world.repository.role("targets")["delegations"]);
        world.repository.release();
        world.is_refused(words, "root 1, snapshot 3, timestamp 3");
    };
    for name in ["root", "timestamp", "snapshot", "targets"] {
        let mut world = world(&[("targets", "A", ANY, false)]);
        world.repository.role("targets")["delegations"]["roles"][0]["name"] = name.into();
        world.repository.release();
        let words = format!("`{name}` cannot be the name of a delegated role");
        world.is_refused(&words, "root 1, snapshot 3, timestamp 3");
    }
    refused(|all| all["roles"][0]["name"] = "".into(), "it is empty");
    refused(|all| all["roles"][1]["name"] = "A".into(), "`A` is delegated to twice");
    refused(|all| all["roles"][0]["threshold"] = 0.into(), "the threshold of `A`");
    refused(|all| all["roles"][0]["path_hash_prefixes"] = json!(["0"]), "either `paths` or");
    refused(
        |all| drop(all["roles"][0].as_object_mut().unwrap().remove("paths")),
        "either `paths` or",
    );
    refused(|all| all["roles"] = json!({}), "`delegations.roles` is not a list");
}

#[test]
fn a_search_through_too_many_roles_is_given_up() {
    let mut world = World::new();
    for number in 0..10_000 {
        // Only some are looked into; all of them are listed.
        let role = json!({
            "name": format!("r{number}"), "keyids": [], "threshold": 1, "terminating": false,
            "paths": ["no/*"],
        });
        let delegations = &mut world.repository.role("targets")["delegations"];
        if delegations.is_null() {
            *delegations = json!({"keys": {}, "roles": []});
        }
        delegations["roles"].as_array_mut().unwrap().push(role);
    }
    for number in 0..40 {
        world.repository.delegate("targets", &format!("s{number}"), ANY, false);
    }
    world.repository.add("s39", "x", b"bytes");
    world.repository.release();
    check_refusal(&world.download("x").map(drop), "leads through more than 32 roles");
    assert_eq!(world.requests().iter().filter(|name| name.contains(".s")).count() - 1, 31);
}
