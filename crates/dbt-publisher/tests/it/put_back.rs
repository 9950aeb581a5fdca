//! An older version of the program under a number above all others.

use dbt_core::digest::Digest;

use super::http::{Fault, Server, TOKEN};
use super::world::{World, artifact};

const BACK: &str = "dbt-rollback 4.0.0 --to REPO --signer file:alice --yes";

/// A repository with two versions of the program, of which the newer one has a platform more.
fn published() -> World {
    let world = World::with_alice();
    for version in ["4.0.0", "4.1.0"] {
        world.write(&format!("dist-{version}/linux/amd64/dbt"), program(version).as_bytes());
    }
    world.write("dist-4.1.0/linux/arm64/dbt", program("4.1.0").as_bytes());
    for version in ["4.0.0", "4.1.0"] {
        let line = format!("publish dbt {version} PLACE/dist-{version} --to REPO");
        world.run(&format!("{line} --signer file:alice")).succeeds();
    }
    world
}

fn program(version: &str) -> String {
    format!("#!/bin/sh\necho dbt version {version}\n")
}

#[test]
fn an_older_program_is_published_again_above_all_others_and_says_what_it_was_built_as() {
    let world = published();
    let run = world.run(BACK).succeeds();
    for words in ["`dbt` 4.0.0 is published again as 4.1.1", "linux/arm64 stay as they are"] {
        assert!(run.talk.contains(words), "{words}: {}", run.talk);
    }
    assert_eq!(world.read("repo/dbt/4.1.1/linux/amd64/dbt"), program("4.0.0").as_bytes());
    assert_eq!(world.read("repo/dbt/latest"), b"4.1.1");
    assert!(!world.path("repo/dbt/4.1.1/linux/arm64").exists());
    assert!(world.client_accepts(&artifact("dbt", "4.1.1", "linux/amd64")).unwrap());
    let endorsement = world.endorsement(&artifact("dbt", "4.1.1", "linux/amd64"));
    assert_eq!(endorsement.built_as, Some("4.0.0".parse().unwrap()));
    let endorsement = world.endorsement(&artifact("dbt", "4.1.0", "linux/amd64"));
    assert_eq!(endorsement.built_as, None);

    // Again, it has nothing to do, and what comes later is above it.
    let before = world.published();
    let again = world.run(BACK).succeeds();
    assert!(again.talk.contains("4.1.1 is 4.0.0 already"), "{}", again.talk);
    assert_eq!(world.published(), before);
    world.run("verify REPO").succeeds();
}

#[test]
fn without_an_answer_or_with_a_dry_run_nothing_is_published() {
    let world = published();
    let before = world.published();
    let run = world.run(&BACK.replace(" --yes", "")).fails(80, "there is no terminal to ask on");
    assert!(run.talk.contains("4.0.0 is published again as 4.1.1"), "{}", run.talk);
    let run = world.run(&BACK.replace(" --yes", " --dry-run")).succeeds();
    assert!(run.data.contains("/dbt/4.1.1/linux/amd64/dbt.asc\n"), "{}", run.data);
    let run = world.run(&BACK.replace(" --yes", " --dry-run --json")).succeeds();
    let document = run.json();
    assert_eq!((&document["version"], &document["builtAs"]), (&"4.1.1".into(), &"4.0.0".into()));
    assert_eq!(world.published(), before);
}

#[test]
fn what_is_not_there_not_older_or_would_not_be_taken_is_refused() {
    let world = published();
    let before = world.published();
    world.run(&BACK.replace(" 4.0.0", " 4.1.0")).fails(80, "4.1.0 is not older than 4.1.0");
    world.run(&BACK.replace(" 4.0.0", " 3.9.9")).fails(84, "`dbt` 3.9.9 is not published");
    let numbered = |number: &str| BACK.replace(" --to", &format!(" --as {number} --to"));
    let run = world.run(&numbered("4.0.5")).fails(80, "4.0.5 is below 4.1.0");
    assert!(run.talk.contains("without `--as`"), "{}", run.talk);
    world.run(&numbered("4.2.0-rc.1")).fails(80, "4.2.0-rc.1 is a pre-release");
    world.run(&numbered("4.1.0")).fails(86, "is published with other content");
    assert_eq!(world.published(), before);
    world.run(&numbered("v5.0.0")).succeeds();
    assert_eq!(world.read("repo/dbt/latest"), b"5.0.0");
}

#[test]
fn what_nobody_known_has_signed_is_not_put_back_unless_that_is_said() {
    let world = published();
    let evil = b"#!/bin/sh\necho evil\n";
    world.write("repo/dbt/4.0.0/linux/amd64/dbt", evil);
    let before = world.published();
    world.run(BACK).fails(86, "does not match");
    world.write("repo/dbt/4.0.0/linux/amd64/dbt.sha256", Digest::of(evil).to_string().as_bytes());
    world.run(BACK).fails(86, "no key of the truststore has signed it");
    assert_eq!(world.published(), before);

    // As with what a 3.x has published without a signature.
    world.write("repo/dbt/4.0.0/linux/amd64/dbt", program("4.0.0").as_bytes());
    let digest = Digest::of(program("4.0.0").as_bytes()).to_string();
    world.write("repo/dbt/4.0.0/linux/amd64/dbt.sha256", digest.as_bytes());
    std::fs::remove_file(world.path("repo/dbt/4.0.0/linux/amd64/dbt.asc")).unwrap();
    let run = world.run(BACK).fails(86, "no key of the truststore has signed it");
    assert!(run.talk.contains("hint: `--sign-unverified` signs it as it is"), "{}", run.talk);
    assert_eq!(world.read("repo/dbt/latest"), b"4.1.0");
    world.run(&format!("{BACK} --sign-unverified")).succeeds();
    assert!(world.client_accepts(&artifact("dbt", "4.1.1", "linux/amd64")).unwrap());
}

#[test]
fn over_http_a_try_that_broke_off_is_gone_on_with_by_the_number_that_it_says() {
    let mut world = published();
    let server = Server::start();
    world.set("DBT_PUBLISH_TOKEN", TOKEN);
    world
        .run(&format!("truststore add alice --to {} --signer file:alice", server.url()))
        .succeeds();
    for version in ["4.0.0", "4.1.0"] {
        let line = format!("publish dbt {version} PLACE/dist-{version} --to {}", server.url());
        world.run(&format!("{line} --signer file:alice")).succeeds();
    }
    let back = BACK.replace("REPO", server.url());
    server.misbehave(Fault::Busy(1000));
    let run = world.run(&back).fails(82, "failed to publish 4.0.0 again as 4.1.1");
    assert!(run.talk.contains("`--as 4.1.1` goes on"), "{}", run.talk);
    assert_eq!(server.file("/dbt/latest").as_deref(), Some(&b"4.1.0"[..]));
    server.behave();
    world.run(&back.replace(" --to", " --as 4.1.1 --to")).succeeds();
    assert_eq!(server.file("/dbt/latest").as_deref(), Some(&b"4.1.1"[..]));
    assert!(server.file("/dbt/4.1.1/linux/amd64/dbt.sha256").is_some());
    // Half of it would have been of no use: a client wants signature and checksum.
    let at = |ending: &str| format!("/dbt/4.1.1/linux/amd64/dbt{ending}");
    let writes = server.writes();
    let last = |path: &str| writes.iter().rposition(|one| one == path).unwrap();
    assert!(last(&at(".asc")) < last(&at(".sha256")), "{writes:?}");
}
