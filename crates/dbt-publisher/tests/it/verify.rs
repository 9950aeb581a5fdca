//! Checking a whole repository: every fault is found and named, and nothing else is.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use dbt_core::platform::Platform;
use dbt_core::timestamp;
use dbt_core::trust::manifest::{MANIFEST_SCHEMA, Manifest};
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, BOB, CAROL, ERIN, MALLORY, OLGA, Person, just_now};
use dbt_testkit::repository::{REPOSITORY, TOOLS, TestRepository, artifact};
use dbt_testkit::server::{Fault, FileServer, Received};
use dbt_testkit::times::{days_ago, in_days};

use super::gpg::Gpg;
use super::world::{Run, SCRIPT, World};

/// `deploy` in two versions and the program itself, all of it right, below `repo`.
fn repository(world: &World) -> TestRepository {
    let repository = TestRepository::create(&world.path("repo"), &world.path("started"));
    repository.trust(&[&ALICE, &CAROL]);
    publish(&repository, "deploy", "1.4.0");
    publish(&repository, "deploy", "1.5.0");
    repository.publish_program("4.0.0", SCRIPT.to_vec()).now();
    repository.write(&format!("{REPOSITORY}/latest"), b"4.0.0");
    repository
}

/// Publishes a tool with a description that Alice has signed.
fn publish(repository: &TestRepository, tool: &str, version: &str) {
    repository.publish(tool, version).now();
    describe(repository, tool, version);
}

fn describe(repository: &TestRepository, tool: &str, version: &str) {
    let at = format!("{TOOLS}/{tool}/{version}/description.txt");
    let binding = format!("description/{tool}/{version}");
    let signature = ALICE.sign(&repository.read(&at), Some(&binding), just_now());
    repository.write(&format!("{at}.asc"), signature.as_bytes());
}

/// Publishes 1.6.0 of `deploy`, signed by somebody.
fn publish_by(repository: &TestRepository, signer: &'static Person) {
    repository.publish("deploy", "1.6.0").signed_by(signer).now();
    describe(repository, "deploy", "1.6.0");
}

/// Withdraws a version of `deploy` that had the bytes which another one has.
fn withdraw_with_the_bytes_of(repository: &TestRepository, version: &str, other: &str) {
    repository.withdraw("deploy", 1, &[version], &ALICE);
    let at = format!("{TOOLS}/deploy/withdrawn.json");
    let mut list: serde_json::Value = serde_json::from_slice(&repository.read(&at)).unwrap();
    let digest = Digest::of(&repository.read(&artifact("deploy", other)));
    list["versions"][0]["sha256"] = serde_json::json!([digest]);
    let bytes = serde_json::to_vec(&list).unwrap();
    let signature = ALICE.sign(&bytes, Some("withdrawn/deploy"), just_now());
    repository.write(&at, &bytes);
    repository.write(&format!("{at}.asc"), signature.as_bytes());
}

/// Alice and Olga have signed the manifest and both must sign the next one; Olga's key has expired
/// since, and the manifest does soon.
fn manifest_that_nobody_can_follow(repository: &TestRepository) {
    repository.trust(&[&ALICE, &OLGA]);
    let admins = [ALICE.fingerprint(), OLGA.fingerprint()].to_vec();
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA.to_owned(),
        repository_id: "acme".to_owned(),
        version: 1,
        issued: timestamp::format(days_ago(200)),
        expires: timestamp::format(in_days(10)),
        sha256: Digest::of(&repository.read(&format!("{REPOSITORY}/truststore"))),
        certs: admins.clone(),
        admins,
        admin_threshold: 2,
        prev: None,
    };
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let both = [&ALICE, &OLGA].map(|one| packets(&one.sign(&bytes, None, days_ago(200)))).concat();
    let (kind, both) = ("PGP SIGNATURE", STANDARD.encode(both));
    let signature = format!("-----BEGIN {kind}-----\n\n{both}\n-----END {kind}-----\n");
    repository.write(&format!("{REPOSITORY}/truststore.manifest.json"), &bytes);
    repository.write(&format!("{REPOSITORY}/truststore.manifest.json.asc"), signature.as_bytes());
}

/// Returns what an armored signature holds.
fn packets(armored: &str) -> Vec<u8> {
    let (_head, body) = armored.split_once("\n\n").unwrap();
    let body: String = body.lines().take_while(|line| !line.starts_with(['=', '-'])).collect();
    STANDARD.decode(body).unwrap()
}

fn ids(run: &Run) -> Vec<String> {
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let mut ids: Vec<String> =
        findings.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids.dedup();
    ids
}

/// One fault, and what is to be found because of it.
type Case = (fn(&TestRepository), &'static [&'static str]);

const NEWEST: &str = "1.5.0";

fn newest(ending: &str) -> String {
    format!("{}{ending}", artifact("deploy", NEWEST))
}

const CASES: &[Case] = &[
    (|it| it.flip_a_bit("deploy", NEWEST), &["artifact-changed"]),
    (|it| it.delete(&newest("")), &["artifact-missing", "version-empty"]),
    (|it| it.delete(&newest(".asc")), &["signature-missing", "version-empty"]),
    (|it| it.delete(&newest(".sha256")), &["checksum-missing", "version-empty"]),
    (|it| it.write(&newest(".sha256"), b"no digest"), &["checksum-refused"]),
    (
        |it| {
            let digest = it.read(&newest(".sha256")).to_ascii_uppercase();
            it.write(&newest(".sha256"), &digest);
        },
        &["checksum-form"],
    ),
    (|it| it.write(&newest(".sha256"), &[b'a'; 9000]), &["malformed"]),
    (|it| it.write(&newest(".asc"), b"no signature"), &["signature-refused"]),
    (
        |it| it.write(&newest(".asc"), ALICE.sign(b"other bytes", None, just_now()).as_bytes()),
        &["signature-refused"],
    ),
    (|it| publish_by(it, &MALLORY), &["signer-unknown"]),
    (
        |it| {
            it.truststore(&[ALICE.certificate(), BOB.revoked()]);
            publish_by(it, &BOB);
        },
        &["key-revoked"],
    ),
    (
        |it| {
            it.trust(&[&ALICE, &OLGA]);
            publish_by(it, &OLGA);
        },
        &["key-expired", "signed-after-expiry"],
    ),
    (|it| it.trust(&[&ALICE, &ERIN]), &["key-expires"]),
    (
        |it| it.copy(&artifact("deploy", "1.4.0"), &artifact("deploy", NEWEST)),
        &["signed-for-other"],
    ),
    (
        |it| {
            it.publish("deploy", "1.6.0").unbound().now();
            describe(it, "deploy", "1.6.0");
        },
        &["unbound"],
    ),
    (
        |it| {
            it.publish("deploy", "1.6.0")
                .content([&b"MZ"[..], &[0; 80], b"PE\0\0\x64\x86"].concat())
                .now();
            describe(it, "deploy", "1.6.0");
        },
        &["no-program"],
    ),
    (
        |it| {
            it.publish("deploy", "1.6.0").content([0xcf, 0xfa, 0xed, 0xfe, 7, 0, 0, 1]).now();
            describe(it, "deploy", "1.6.0");
        },
        &["wrong-platform"],
    ),
    (|it| fs::create_dir(it.file(&format!("{TOOLS}/deploy/2.0.0"))).unwrap(), &["version-empty"]),
    (|it| publish(it, "deploy", "v1.5.0"), &["version-twice"]),
    (|it| it.publish("deploy", "1.6.0").now(), &["description-unsigned"]),
    (
        |it| it.write(&format!("{TOOLS}/deploy/1.5.0/description.txt"), b"Not what it is for."),
        &["description-refused"],
    ),
    (|it| it.withdraw("deploy", 1, &["1.4.0"], &MALLORY), &["withdrawn-refused"]),
    (|it| withdraw_with_the_bytes_of(it, "1.4.0", NEWEST), &["bytes-withdrawn"]),
    (|it| fs::create_dir(it.file(&format!("{TOOLS}/other"))).unwrap(), &["tool-empty"]),
    (|it| publish(it, "doctor", "1.0.0"), &["name-reserved"]),
    (|it| fs::create_dir(it.file(&format!("{TOOLS}/aux"))).unwrap(), &["name-illegal"]),
    (|it| publish(it, "Deploy", "1.0.0"), &["name-case"]),
    (|it| it.write(&newest(".old"), b"x"), &["unclaimed"]),
    (|it| it.write(&format!("{TOOLS}/deploy/1.5.0/plan9/x"), b"x"), &["unclaimed"]),
    (|it| it.write(&format!("{TOOLS}/deploy/withdrawn.json.asc"), b"x"), &["unclaimed"]),
    (|it| it.write(&format!("{REPOSITORY}/latest"), b"9.9.9"), &["latest-wrong"]),
    (|it| it.publish_program("4.1.0", SCRIPT.to_vec()).now(), &["latest-stale"]),
    (|it| it.write(&format!("{TOOLS}/index.html"), b"<pre>\n</pre>\n"), &["page-stale"]),
    (|it| it.delete(&format!("{REPOSITORY}/truststore")), &["truststore-missing"]),
    (
        |it| it.write(&format!("{REPOSITORY}/truststore"), b"<html>sign in</html>"),
        &["truststore-refused"],
    ),
    (
        |it| {
            let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n".to_owned();
            it.truststore(&[ALICE.certificate(), block]);
        },
        &["certificate-skipped"],
    ),
    (
        |it| {
            it.manifest(1).publish(&[&ALICE, &CAROL]);
            it.trust(&[&CAROL, &ALICE]);
        },
        &["manifest-refused"],
    ),
    (|it| it.manifest(1).signed_by(&[&MALLORY]).publish(&[&ALICE, &CAROL]), &["manifest-refused"]),
    (|it| it.manifest(1).publish(&[&ALICE]), &["certificate-unlisted"]),
    (manifest_that_nobody_can_follow, &["administrators", "key-expired", "manifest-expires"]),
];

#[test]
fn every_fault_is_found_and_named_and_nothing_else_is() {
    for (number, (seed, expected)) in CASES.iter().enumerate() {
        let world = World::new();
        let repository = repository(&world);
        world.run("verify REPO").says_nothing();

        seed(&repository);
        let before = world.served();
        let run = world.run("verify REPO --json");
        assert_eq!(ids(&run), *expected, "case {number}: {}", run.data);
        let errors = run.json()["errors"].as_u64().unwrap();
        assert_eq!(run.code, Some(if errors > 0 { 86 } else { 0 }), "{expected:?}: {}", run.talk);
        assert_eq!(run.json()["complete"], true, "{expected:?}");
        let strict = world.run("verify REPO --strict");
        assert_eq!(strict.code, Some(86), "{expected:?}");
        for id in *expected {
            assert!(strict.data.contains(&format!(": {id}: `")), "{id} in {}", strict.data);
        }
        assert_eq!(world.served(), before, "nothing is written");
    }
}

#[test]
fn what_the_publisher_writes_is_in_order() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    for version in ["1.0.0", "1.1.0"] {
        world.write("deploy", format!("#!/bin/sh\necho {version}\n").as_bytes());
        let line = format!("publish deploy {version} linux/amd64=deploy --description x --to REPO");
        world.run(&format!("{line} --signer file:alice")).says_nothing();
    }
    world.run("publish dbt 4.0.0 linux/amd64=deploy --to REPO --signer file:alice").says_nothing();
    world
        .run("withdraw deploy 1.0.0 --reason bad --to REPO --signer file:alice --yes")
        .says_nothing();
    world.run("verify REPO").says_nothing();
    let json = world.run("verify --to REPO --json").succeeds().json();
    assert_eq!(json["schema"], "dbt.verify/1");
    let looked_at = &json["lookedAt"];
    assert_eq!((&looked_at["tools"], &looked_at["versions"]), (&2.into(), &3.into()));
    assert_eq!((&looked_at["withdrawn"], &looked_at["artifacts"]), (&1.into(), &2.into()));
    assert_eq!(json["findings"], serde_json::json!([]));
}

#[test]
fn what_is_withdrawn_is_not_looked_at() {
    let world = World::new();
    let repository = repository(&world);
    repository.flip_a_bit("deploy", "1.4.0");
    world.run("verify REPO --json");
    repository.withdraw("deploy", 1, &["1.4.0"], &ALICE);
    world.run("verify REPO").says_nothing();
}

#[test]
fn a_quick_look_says_what_it_does_not_know() {
    let world = World::new();
    let repository = repository(&world);
    repository.flip_a_bit("deploy", "1.4.0");
    publish_by(&repository, &MALLORY);
    let run = world.run("verify REPO --quick");
    assert_eq!(run.code, Some(86), "{}", run.talk);
    assert!(run.talk.contains("no artifact was read"), "{}", run.talk);
    let run = world.run("verify REPO --quick --json");
    assert_eq!(ids(&run), ["signer-unknown"]);
    assert_eq!(run.json()["artifactsRead"], false);
    assert_eq!(run.json()["lookedAt"]["bytes"], 0);
}

#[test]
fn one_tool_is_looked_at_alone() {
    let world = World::new();
    let repository = repository(&world);
    publish(&repository, "other", "1.0.0");
    repository.flip_a_bit("other", "1.0.0");
    world.run("verify REPO --tool deploy --tool dbt").says_nothing();
    assert_eq!(ids(&world.run("verify REPO --tool other --json")), ["artifact-changed"]);
    let run = world.run("verify REPO --tool deploy --tool nothing --json").succeeds();
    assert_eq!(ids(&run), ["tool-empty"]);
    world.run("verify REPO --tool nothing").fails(84, "`nothing` is not published");
}

#[test]
fn who_comes_from_the_reference_learns_what_changes() {
    let world = World::new();
    let repository = repository(&world);
    let other =
        if Platform::CURRENT.to_string() == "linux/arm64" { "linux/amd64" } else { "linux/arm64" };
    repository.publish("deploy", "1.4.0").platform(other).now();
    describe(&repository, "deploy", "1.4.0");
    publish(&repository, "deploy", "v1.3.0");
    world.run("verify REPO").says_nothing();
    let run = world.run("verify REPO --migration --json").succeeds();
    assert_eq!(ids(&run), ["platform-missing", "version-spelt-v"]);
    let missing = run.json()["findings"].to_string();
    assert!(missing.contains(&format!("1.5.0 is not there for {other}; 1.4.0 is")), "{missing}");

    repository.trust(&[&ALICE, &OLGA]);
    publish_by(&repository, &OLGA);
    let run = world.run("verify REPO --migration");
    assert!(run.data.contains("clients of the reference accept it"), "{}", run.data);
}

/// What the reference was content with (wire formats, 5.6), each with what is found.
#[test]
fn what_the_reference_took_and_is_refused_here_is_said_to_be_so() {
    let taken = "; clients of the reference accept it";
    let world = World::new();
    let repository = repository(&world);
    publish(&repository, "login", "1.0.0");
    repository.publish_program("3.7.5", SCRIPT.to_vec()).without_signature().now();
    let gpg = Gpg::new();
    let today = gpg.make_key("Today");
    let old = ["--passphrase", "", "--cert-digest-algo", "SHA1", "--quick-gen-key"];
    gpg.run(&[&old[..], &["Old <old@example.org>", "rsa2048", "sign", "never"]].concat(), b"");
    let export =
        |name: &str| String::from_utf8(gpg.run(&["--armor", "--export", name], b"")).unwrap();
    let trusted = [ALICE.certificate(), CAROL.certificate(), export("Today"), export("Old")];
    repository.truststore(&trusted);
    repository.publish("old", "1.0.0").now();
    describe(&repository, "old", "1.0.0");
    let at = artifact("old", "1.0.0");
    let weak = ["--digest-algo", "SHA1", "--local-user", &today, "--armor", "--detach-sign"];
    repository.write(&format!("{at}.asc"), &gpg.run(&weak, &repository.read(&at)));

    let run = world.run("verify REPO --migration --json");
    assert_eq!(run.code, Some(86), "{}", run.talk);
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    let found = |id: &str| {
        let mut found = findings.iter().filter(|one| one["id"] == id);
        let one = found.next().unwrap_or_else(|| panic!("{id}: {json}"));
        assert!(found.next().is_none(), "{id}: {json}");
        (one["tool"].as_str().unwrap_or_default(), one["found"].as_str().unwrap().to_owned())
    };
    assert_eq!(found("name-reserved").0, "login");
    let (tool, words) = found("signature-refused");
    assert!(tool == "old" && words.contains("SHA-1") && words.ends_with(taken), "{words}");
    let (tool, words) = found("signature-missing");
    assert!(tool == "dbt" && words.ends_with(taken), "{words}");
    assert_eq!(found("version-empty").0, "dbt");
    let (_, words) = found("certificate-skipped");
    assert!(words.ends_with("; clients of the reference accept what it has signed"), "{words}");

    // Who does not ask about the reference is not told of it.
    let run = world.run("verify REPO");
    assert!(run.code == Some(86) && !run.data.contains("reference accept"), "{}", run.data);
    // What neither accepts is said of nobody.
    repository.trust(&[&ALICE, &CAROL]);
    fs::remove_dir_all(repository.file(&format!("{REPOSITORY}/3.7.5"))).unwrap();
    publish_by(&repository, &MALLORY);
    repository.write(&format!("{at}.asc"), b"");
    let run = world.run("verify REPO --migration");
    assert!(run.code == Some(86) && !run.data.contains("reference accept"), "{}", run.data);
}

/// The same repository behind a server.
fn served(world: &World) -> (TestRepository, FileServer) {
    let repository = repository(world);
    let server = FileServer::start(&world.path("repo"));
    (repository, server)
}

#[test]
fn a_server_is_asked_many_things_at_once_and_not_too_many() {
    let world = World::new();
    let (repository, server) = served(&world);
    for number in 0..60 {
        publish(&repository, &format!("tool{number}"), "1.0.0");
    }
    world.run(&format!("verify {}", server.url())).says_nothing();
    let lines: Vec<String> = server.take_requests().iter().map(Received::line).collect();
    let tools = lines.iter().position(|line| *line == format!("GET {TOOLS}/")).unwrap();

    // One after the other up to the list of the tools; then nobody is answered before 32 ask.
    server.answer_only_in_rounds(&[vec![1; tools + 1], vec![32]].concat());
    world.run(&format!("verify {}", server.url())).says_nothing();
    assert_eq!(server.most_at_once(), 32);
    repository.flip_a_bit("tool7", "1.0.0");
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!(ids(&run), ["artifact-changed"]);
    assert_eq!(run.json()["findings"][0]["tool"], "tool7");
}

#[test]
fn a_dead_server_is_an_outage_and_not_a_clean_repository() {
    let world = World::new();
    let (_repository, server) = served(&world);
    server.stop();
    world.run(&format!("verify {}", server.url())).fails(82, "cannot connect");
    world.run("verify PLACE/home").fails(82, "there is no repository at");
}

#[test]
fn what_cannot_be_read_is_said_and_is_not_taken_for_right() {
    let world = World::new();
    let (_repository, server) = served(&world);
    server.fault(&newest(".asc"), Fault::Status(503));
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!((run.code, ids(&run)), (Some(82), vec!["unreachable".to_owned()]));
    assert_eq!(run.json()["complete"], false);
    server.repair();
    server.fault(&newest(".asc"), Fault::Status(403));
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!((run.code, ids(&run)), (Some(83), vec!["forbidden".to_owned()]));
    server.repair();
    server.fault(&newest(""), Fault::CutAfter(10));
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!((run.code, ids(&run)), (Some(82), vec!["unreachable".to_owned()]));
}

#[test]
fn a_repository_that_lies_is_caught_and_does_no_harm() {
    let world = World::new();
    let (_repository, server) = served(&world);
    let page =
        |body: String| Fault::Answer(Answer::of(200, "text/html; charset=utf-8", body.into()));
    let link = |name: &str| format!("<a href=\"{name}\">x</a>\n");
    let honest = format!("<pre>\n{}{}", link("1.4.0/"), link("1.5.0/"));
    for (listing, expected) in [
        (format!("{honest}{}</pre>", link("99.0.0/")), &["version-empty"][..]),
        (format!("{honest}{}</pre>", link("../../99.0.0/")), &[]),
        (format!("{honest}{}</pre>", link("99.0.0%2f..%2f..%2f99.0.0/")), &[]),
        (format!("{honest}{}</pre>", link("http://127.0.0.1:9/99.0.0/")), &[]),
        (format!("{honest}{}</pre>", link("%1b[2J.txt")), &[]),
        (link("x/").repeat(1_000_000), &["malformed"]),
        ("<html><form><input type=\"password\"></form>".to_owned(), &["malformed"]),
        (String::new(), &["malformed"]),
    ] {
        server.repair();
        server.fault(&format!("{TOOLS}/deploy/"), page(listing.clone()));
        let run = world.run(&format!("verify {} --json", server.url()));
        let shown: String = listing.chars().take(200).collect();
        assert_eq!(ids(&run), expected, "{shown}: {}", run.data);
        assert_eq!(
            run.code,
            Some(if expected.is_empty() { 0 } else { 86 }),
            "{shown}: {}",
            run.talk
        );
        assert!(!run.data.contains('\u{1b}'), "{shown}");
    }
    server.repair();
    server
        .fault(&format!("{TOOLS}/"), page(format!("<pre>\n{}{}", link("deploy/"), link("ghost/"))));
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!((run.code, ids(&run)), (Some(0), vec!["tool-empty".to_owned()]));
    server.repair();
    server.fault(&format!("{TOOLS}/"), page("<html><script>".to_owned()));
    let run = world.run(&format!("verify {} --json", server.url()));
    assert_eq!((run.code, ids(&run)), (Some(86), vec!["malformed".to_owned()]));
    assert!(!Path::new("99.0.0").exists());
}
