//! docs/troubleshooting.md: what the page has `publisher` say, it says.

use dbt_testkit::errors_page::Section;

use super::world::{PASSPHRASE, SCRIPT, World};

const PAGE: &str = include_str!("../../../../docs/troubleshooting.md");

#[test]
fn what_the_page_has_the_publisher_say_it_says() {
    let mut page = Section::on(PAGE, "What publisher says");
    let mut world = World::with_alice();
    world.key("bob");
    world.write("deploy", SCRIPT);
    let publish = "publish deploy 1.0.0 linux/amd64=deploy --to REPO --signer file:alice";
    let described = format!("{publish} --description ships");
    let mut has = |world: &World, line: &str| page.has(&world.run(line).talk);

    has(&world, publish);
    has(&world, &described.replace("publish deploy", "publish login"));
    world.write("program", b"\x7fELF\x02\x01\x01 of no machine that is known");
    has(&world, &described.replace("=deploy", "=program"));
    world.run(&described).says_nothing();
    world.write("deploy", b"#!/bin/sh\necho other\n");
    has(&world, &described);
    let unknown = described.replace("1.0.0", "1.1.0").replace("alice", "bob");
    has(&world, &unknown);
    world.run(&format!("{unknown} --force")).succeeds();
    has(&world, "sign deploy 1.1.0 --to REPO --signer file:alice");
    has(&world, "verify REPO");
    has(&world, "truststore add bob --to REPO --signer file:bob");
    let alice = world.key("alice").fingerprint().to_string();
    has(&world, &format!("truststore remove {alice} --to REPO --signer file:alice"));
    world.set("DBT_SIGNING_PASSPHRASE", "");
    has(&world, &described.replace("1.0.0", "1.2.0"));
    assert!(!PASSPHRASE.is_empty());
    page.was_all_said();
}
