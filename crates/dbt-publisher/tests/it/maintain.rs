//! Signing again, and withdrawing.

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::trust::Document;
use dbt_core::trust::withdrawn::Withdrawn;

use super::gpg::Gpg;
use super::world::{SCRIPT, World, artifact, first_use};

const AT: &str = "repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy";

fn published() -> World {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world
        .run(
            "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO --signer file:alice",
        )
        .says_nothing();
    world
}

/// A repository made by hand: signatures without a name, checksums as `sha256sum` writes them.
fn made_by_hand() -> (World, Gpg) {
    let mut world = World::new();
    let gpg = Gpg::new();
    gpg.make_key("Alice");
    world.set("GNUPGHOME", gpg.home());
    world.write(AT, SCRIPT);
    world.write(&format!("{AT}.sha256"), format!("{}  deploy\n", Digest::of(SCRIPT)).as_bytes());
    let signature = gpg.run(&["--passphrase", "", "--armor", "--detach-sign"], SCRIPT);
    world.write(&format!("{AT}.asc"), &signature);
    world.write("repo/dbt-tools/deploy/1.4.0/description.txt", b"by hand\n");
    world.run("truststore add alice@example.org --to REPO").succeeds();
    (world, gpg)
}

#[test]
fn signing_again_names_what_was_signed_without_a_name() {
    let (world, _gpg) = made_by_hand();
    let id = artifact("deploy", "1.4.0", "linux/amd64");
    assert!(!world.client_accepts(&id).unwrap());
    let run = world.run("sign deploy v1.4.0 --to REPO").succeeds();
    assert!(run.data.contains("signed as `tool/deploy/1.4.0/linux/amd64`"), "{}", run.data);
    assert!(run.data.contains("(without a name)"), "{}", run.data);
    assert!(run.talk.contains("description.txt` is unsigned and stays so"), "{}", run.talk);
    assert!(world.client_accepts(&id).unwrap());
    assert!(!world.path("repo/dbt-tools/deploy/1.4.0/description.txt.asc").exists());
}

#[test]
fn signing_again_keeps_the_signatures_of_others() {
    let world = published();
    let bob = world.key("bob");
    world.run("truststore add bob --to REPO --signer file:alice").succeeds();
    world.run("sign deploy 1.4.0 --to REPO --signer file:bob").succeeds();
    let run = world.run("sign deploy 1.4.0 --to REPO --signer file:bob --json").succeeds();
    let before = run.json()["files"][0]["before"].as_array().unwrap().clone();
    assert_eq!(before.len(), 2, "{before:?}");
    assert_eq!(before[0]["signer"], bob.fingerprint().to_string());
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn what_nobody_has_signed_or_was_changed_is_not_signed() {
    let world = published();
    let signature = world.read(&format!("{AT}.asc"));
    let sign = "sign deploy 1.4.0 --to REPO --signer file:alice";

    let other = b"#!/bin/sh\necho evil\n";
    world.write(AT, other);
    world.run(sign).fails(86, "does not match");
    world.write(&format!("{AT}.sha256"), Digest::of(other).to_string().as_bytes());
    world.run(sign).fails(86, "no key of the truststore has signed it");
    assert_eq!(world.read(&format!("{AT}.asc")), signature);
    world.run("sign deploy 9.9.9 --to REPO --signer file:alice").fails(84, "is not published");

    world.run(&format!("{sign} --sign-unverified")).succeeds();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
}

#[test]
fn a_withdrawn_version_is_listed_with_its_bytes_and_a_reason_that_clients_believe() {
    let world = published();
    let withdraw =
        "withdraw deploy 1.4.0 --reason deletes%20everything --to REPO --signer file:alice --yes";
    world.run(withdraw).says_nothing();
    let tool: ToolName = "deploy".parse().unwrap();
    let read = || world.read("repo/dbt-tools/deploy/withdrawn.json");
    let verify = || {
        let signature = world.read("repo/dbt-tools/deploy/withdrawn.json.asc");
        let document = Document::Withdrawn(tool.clone());
        first_use(world.truststore())
            .verify_document(&document, &read(), &signature, Clock::System.now())
            .unwrap();
        Withdrawn::parse(&read(), &tool).unwrap()
    };
    let list = verify();
    assert_eq!(list.serial, 1);
    let version = |text: &str| text.parse().unwrap();
    assert_eq!(list.reason_against(&version("1.4.0"), None), Some("deletes everything"));
    let same_bytes = list.reason_against(&version("1.5.0"), Some(Digest::of(SCRIPT)));
    assert_eq!(same_bytes, Some("deletes everything"));

    let run = world.run(&withdraw.replace("1.4.0", "1.4.0 1.3.0")).succeeds();
    assert!(run.talk.contains("1.4.0 is withdrawn already"), "{}", run.talk);
    assert!(run.talk.contains("1.3.0 is not published"), "{}", run.talk);
    assert_eq!((verify().serial, verify().versions.len()), (2, 2));
}

/// The signature is written before the list, and clients read at any time: one that they find between the
/// two must not stop them.
#[test]
fn while_a_list_of_withdrawn_versions_changes_both_lists_verify() {
    let world = published();
    let at = "repo/dbt-tools/deploy/withdrawn.json";
    let mut before: Option<Vec<u8>> = None;
    for version in ["1.4.0", "1.3.0", "1.2.0"] {
        world
            .run(&format!(
                "withdraw deploy {version} --reason bad --to REPO --signer file:alice --yes"
            ))
            .succeeds();
        let (list, signature) = (world.read(at), world.read(&format!("{at}.asc")));
        let document = Document::Withdrawn("deploy".parse().unwrap());
        for read in [Some(&list), before.as_ref()].into_iter().flatten() {
            let store = first_use(world.truststore());
            store.verify_document(&document, read, &signature, Clock::System.now()).unwrap();
        }
        let text = String::from_utf8(signature).unwrap();
        assert!(text.lines().count() < 20, "no signature is kept that nobody needs: {text}");
        before = Some(list);
    }
}

#[test]
fn a_list_that_was_changed_is_not_continued() {
    let world = published();
    world
        .run("withdraw deploy 1.4.0 --reason bad --to REPO --signer file:alice --yes")
        .says_nothing();
    let path = "repo/dbt-tools/deploy/withdrawn.json";
    let emptied = b"{\"schema\":\"dbt.withdrawn/1\",\"tool\":\"deploy\",\"serial\":0,\"issued\":\"\",\"versions\":[]}";
    world.write(path, emptied);
    world
        .run("withdraw deploy 1.3.0 --reason bad --to REPO --signer file:alice --yes")
        .fails(86, "refusing to continue");
    assert_eq!(world.read(path), emptied);
}

/// Publishes a version of `deploy` whose platforms have these bytes.
fn publish(world: &World, version: &str, builds: &[(&str, &str)]) {
    let build = |(platform, words): &(&str, &str)| {
        let file = format!("{version}-{}", platform.replace('/', "-"));
        world.write(&file, format!("#!/bin/sh\necho {words}\n").as_bytes());
        format!(" {platform}={file}")
    };
    let what: String = builds.iter().map(build).collect();
    let rest = "--description x --to REPO --signer file:alice";
    world.run(&format!("publish deploy {version}{what} {rest}")).succeeds();
}

#[test]
fn what_a_withdrawal_changes_is_shown_for_each_platform_before_it_is_made() {
    let world = World::with_alice();
    publish(&world, "1.0.0", &[("linux/amd64", "first"), ("darwin/arm64", "mac")]);
    publish(&world, "1.1.0", &[("linux/amd64", "bad"), ("linux/arm64", "arm")]);
    let (before, line) =
        (world.served(), "withdraw deploy 1.1.0 --reason bad --to REPO --signer file:alice");
    let expected = "never runs again: deploy 1.1.0 (linux/amd64 linux/arm64)\n\
        linux/amd64 runs 1.0.0\n\
        linux/arm64 has nothing left to run\n\
        darwin/arm64 runs 1.0.0\n";
    let run = world.run(&format!("{line} --dry-run")).succeeds();
    assert_eq!((run.data.as_str(), run.talk.as_str()), (expected, ""));
    assert_eq!(world.served(), before);

    // Nobody can be asked; whoever names a version in a script means it.
    let run = world.run(line).succeeds();
    assert_eq!((run.data.as_str(), run.talk.as_str()), ("", expected));
    assert!(world.served().contains(&"dbt-tools/deploy/withdrawn.json".to_owned()));
}

#[test]
fn versions_with_the_bytes_of_a_withdrawn_one_are_named_before_they_stop_and_found_afterwards() {
    let world = World::with_alice();
    publish(&world, "1.0.0", &[("linux/amd64", "first")]);
    publish(&world, "1.1.0", &[("linux/amd64", "bad"), ("darwin/arm64", "mac")]);
    publish(&world, "1.2.0", &[("linux/amd64", "bad"), ("darwin/arm64", "new")]);
    let line = "withdraw deploy 1.1.0 --reason bad --to REPO --signer file:alice";
    let also = "never runs again: deploy 1.2.0 (linux/amd64), which has the same bytes\n";
    let run = world.run(&format!("{line} --dry-run")).succeeds();
    assert!(run.data.contains(also), "{}", run.data);
    let left = "linux/amd64 runs 1.0.0\n";
    assert!(run.data.contains(left) && run.data.contains("darwin/arm64 runs 1.2.0\n"));
    world.run("verify REPO").says_nothing();

    // Even who wants no question is told of what was not named.
    let run = world.run(&format!("{line} --yes --json")).succeeds();
    assert_eq!(run.talk, also);
    let review = &run.json()["review"];
    let stops = serde_json::json!([
        {"version": "1.1.0", "platforms": ["linux/amd64", "darwin/arm64"], "named": true},
        {"version": "1.2.0", "platforms": ["linux/amd64"], "named": false},
    ]);
    assert_eq!(review["stops"], stops);
    assert_eq!(
        review["runs"],
        serde_json::json!({"linux/amd64": "1.0.0", "darwin/arm64": "1.2.0"})
    );

    for depth in ["", " --quick"] {
        let run = world.run(&format!("verify REPO --json{depth}"));
        assert_eq!(run.code, Some(86), "{}", run.talk);
        let found = &run.json()["findings"];
        assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
        assert_eq!(
            (&found[0]["id"], &found[0]["version"]),
            (&"bytes-withdrawn".into(), &"1.2.0".into())
        );
        assert!(found[0]["found"].as_str().unwrap().ends_with("withdrawn: bad"), "{found}");
    }
}

/// Clients that cannot verify the list run nothing of the tool.
#[test]
fn whose_key_does_not_count_withdraws_nothing() {
    let world = published();
    world.key("mallory");
    let before = world.served();
    let line = "withdraw deploy 1.4.0 --reason bad --to REPO --signer file:mallory --yes";
    let run = world.run(line).fails(86, "is not in the truststore");
    assert!(run.talk.contains("hint: clients refuse what it signs until"), "{}", run.talk);
    world.run(&format!("{line} --dry-run")).fails(86, "is not in the truststore");
    assert_eq!(world.served(), before);
}

#[test]
fn a_version_is_withdrawn_where_what_else_changes_cannot_be_found_out() {
    let world = published();
    world.write("repo/dbt-tools/deploy/1.3.0/linux/amd64/deploy.sha256", &[b'a'; 9000]);
    let line = "withdraw deploy 1.4.0 --reason bad --to REPO --signer file:alice --yes --json";
    let run = world.run(line).succeeds();
    assert!(
        run.talk.contains("warning: what else changes could not be found out: "),
        "{}",
        run.talk
    );
    assert_eq!(run.json()["review"], serde_json::Value::Null);
    assert_eq!(run.json()["withdrawn"]["versions"][0]["version"], "1.4.0");
}
