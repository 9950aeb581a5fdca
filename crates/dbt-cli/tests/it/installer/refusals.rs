//! What is not installed: whatever is not what was published by somebody who may.

use std::fs;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::people::{ALICE, MALLORY};
use dbt_testkit::repository::program;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;

use super::{install, nothing_is_there, put_beside, ready, settings, world};
use crate::programs::programs;

/// Expects a refusal with these words, and nothing of ours on the machine.
#[track_caller]
fn refused(world: &World, code: i32, words: &[&str]) {
    let run = install(world, &["--yes", "--modify-profile"]);
    run.exits_with(code);
    for words in words {
        run.mentions(words);
    }
    world.nothing_happened();
    nothing_is_there(world);
}

fn now() -> Vec<u8> {
    fs::read(&programs().now).unwrap()
}

#[test]
fn a_program_with_another_checksum_is_refused() {
    let world = ready();
    let checksum = "0".repeat(64);
    world.repository().publish_program("4.0.0", now()).checksum(&checksum).now();
    refused(
        &world,
        exits::VERIFICATION_REFUSED,
        &["error: dbt 4.0.0 was not installed\n  caused by: checksum of"],
    );
}

#[test]
fn a_program_with_a_bit_changed_is_refused() {
    let world = ready();
    let path = program("4.0.0");
    let mut bytes = world.repository().read(&path);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.repository().write(&path, &bytes);
    refused(&world, exits::VERIFICATION_REFUSED, &["error: dbt 4.0.0 was not installed"]);
}

#[test]
fn a_program_that_somebody_else_has_signed_is_refused() {
    let world = ready();
    world.repository().publish_program("4.0.0", now()).signed_by(&MALLORY).now();
    refused(&world, exits::VERIFICATION_REFUSED, &["error: dbt 4.0.0 was not installed"]);
    // Nor is it enough that the server has its key.
    world.repository().trust(&[&ALICE, &MALLORY]);
    refused(&world, exits::VERIFICATION_REFUSED, &["error: dbt 4.0.0 was not installed"]);
}

#[test]
fn a_signature_of_something_else_is_refused() {
    let world = ready();
    let binding = "dbt/3.9.9/linux/amd64/dbt";
    world.repository().publish_program("4.0.0", now()).bound_to(binding).now();
    refused(&world, exits::VERIFICATION_REFUSED, &["error: dbt 4.0.0 was not installed"]);
}

#[test]
fn a_program_without_a_signature_or_a_checksum_is_not_installed() {
    for ending in [".asc", ".sha256"] {
        let world = ready();
        world.repository().delete(&format!("{}{ending}", program("4.0.0")));
        refused(
            &world,
            exits::NOT_FOUND,
            &["error: dbt 4.0.0 was not installed\n  caused by: it is not completely published"],
        );
    }
}

#[test]
fn a_truststore_without_the_key_that_the_installer_was_given_is_refused() {
    let world = ready();
    world.repository().trust(&[&MALLORY]);
    world.repository().publish_program("4.0.0", now()).signed_by(&MALLORY).now();
    refused(
        &world,
        exits::VERIFICATION_REFUSED,
        &[
            "error: dbt was not installed\n  caused by: none of the keys that the settings of this installer trust is in the truststore",
            "hint: ask an administrator for the fingerprints that count now",
        ],
    );
}

#[test]
fn a_download_that_ends_early_is_refused() {
    let world = ready();
    let path = program("4.0.0");
    let bytes = world.repository().read(&path);
    let half = bytes[..bytes.len() / 2].to_vec();
    // Whole as far as anybody can tell from the answer.
    world.repository().write(&path, &half);
    refused(&world, exits::VERIFICATION_REFUSED, &["error: dbt 4.0.0 was not installed"]);
}

#[test]
fn a_connection_that_breaks_again_and_again_ends_it() {
    let world = ready();
    world.server().fault(&program("4.0.0"), Fault::CutAfter(1000));
    refused(&world, exits::UNREACHABLE, &["error: dbt 4.0.0 was not installed"]);
}

#[test]
fn a_page_in_the_place_of_the_program_is_refused() {
    let world = ready();
    let page = Answer::of(200, "text/html", b"<html>sign in</html>".to_vec());
    world.server().fault(&program("4.0.0"), Fault::Answer(page));
    let run = install(&world, &["--yes"]);
    assert_ne!(run.code(), Some(0));
    run.mentions("dbt 4.0.0 was not installed");
    world.nothing_happened();
    nothing_is_there(&world);
}

#[test]
fn a_program_that_does_not_say_that_it_is_ours_is_refused() {
    let world = ready();
    let other = b"#!/bin/sh\necho data build tool\n".to_vec();
    world.repository().publish_program("4.0.0", other).now();
    refused(
        &world,
        exits::VERIFICATION_REFUSED,
        &["error: dbt 4.0.0 was not installed\n  caused by: its self-test failed"],
    );
}

#[test]
fn a_server_without_a_program_for_this_machine_is_said() {
    let world = world();
    put_beside(&world, &settings(&world));
    fs::remove_dir_all(world.repository().file("/dbt/4.0.0")).unwrap();
    refused(
        &world,
        exits::NOT_FOUND,
        &["error: dbt was not installed\n  caused by: no version of dbt is published for "],
    );
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let world = world();
    for (key, value, words) in [
        ("truststor", "x", "`truststore` may be meant"),
        ("oidcClientSecret", "", "only clients without a secret are given to everybody"),
        ("url", "http://dbt.example.com", "a server cannot announce a URL without TLS"),
    ] {
        let mut settings = settings(&world);
        settings[key] = value.into();
        put_beside(&world, &settings);
        if value.is_empty() {
            // A secret that is one is in the list of those that tests plant.
            settings[key] = serde_json::json!(["none"]);
            put_beside(&world, &settings);
        }
        refused(
            &world,
            exits::CONFIGURATION,
            &["settings of this installer cannot be used", words],
        );
    }
}
