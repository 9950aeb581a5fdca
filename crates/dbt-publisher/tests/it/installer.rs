//! Settings in prebuilt installers: found again, signed afterwards, packed, and refused where they
//! would harm.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use dbt_client::reserved::{self, settings_in};
use dbt_core::digest::Digest;
use serde_json::{Value, json};

use super::http::{Server, TOKEN};
use super::world::{SCRIPT, World};

const INSTALLER: &str = "installer dist --settings PLACE/acme.json --output PLACE/made";

fn settings() -> Value {
    let keys = ["AB".repeat(20)];
    json!({
        "organisation": "Acme Ltd", "url": "https://dbt.example.com",
        "trust": {"dbt": keys, "tools": keys},
    })
}

/// A program of Linux with a room, as far as its header says it is one.
fn linux(machine: u8) -> Vec<u8> {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    header[18] = machine;
    [header.as_slice(), &[0x90; 1001], &reserved::empty(), b"the end"].concat()
}

/// A program of Windows, the same way.
fn windows() -> Vec<u8> {
    let mut header = vec![0; 0x80 + 24 + 240];
    header[..2].copy_from_slice(b"MZ");
    header[0x3c] = 0x80;
    header[0x80..0x86].copy_from_slice(b"PE\0\0\x64\x86");
    header[0x98..0x9a].copy_from_slice(&0x20b_u16.to_le_bytes());
    [header.as_slice(), &reserved::empty()].concat()
}

/// Settings, and what a build leaves for three platforms.
fn built() -> World {
    let world = World::new();
    world.write("acme.json", &serde_json::to_vec_pretty(&settings()).unwrap());
    world.write("dist/installer/linux/amd64/dbt-installer", &linux(62));
    world.write("dist/dbt-installer_linux_arm64", &linux(183));
    world.write("dist/windows-amd64/dbt-installer.exe", &windows());
    world
}

#[test]
fn every_prebuilt_installer_gets_the_settings_and_its_checksum_is_printed() {
    let world = built();
    let run = world.run(INSTALLER).succeeds();
    assert!(run.talk.contains("organisation `Acme Ltd`, server `dbt.example.com`"), "{}", run.talk);
    let key = "AB".repeat(20);
    let words = format!("repository `https://dbt.example.com/dbt`, anchor `{key}`");
    assert!(run.talk.contains(&words), "{}", run.talk);
    let mut lines = run.data.lines();
    for (path, before) in [
        ("linux/amd64/dbt-installer", linux(62)),
        ("linux/arm64/dbt-installer", linux(183)),
        ("windows/amd64/dbt-installer.exe", windows()),
    ] {
        let made = world.read(&format!("made/{path}"));
        let found: Value = serde_json::from_slice(settings_in(&made).unwrap()).unwrap();
        assert_eq!(found, settings());
        assert_eq!(made.len(), before.len());
        let line = format!("{}  {}", Digest::of(&made), world.path("made").join(path).display());
        assert_eq!(lines.next(), Some(line.as_str()));
        let permissions = fs::metadata(world.path("made").join(path)).unwrap().permissions();
        assert_eq!(permissions.mode() & 0o777, 0o755);
    }
    assert_eq!(lines.next(), None);
    // Again, and with other settings in the place of these, whatever was baked before.
    world.run(&INSTALLER.replace("installer dist", "installer made")).succeeds();
    let before = world.read("made/linux/amd64/dbt-installer");
    world.run(INSTALLER).succeeds();
    assert!(world.read("made/linux/amd64/dbt-installer") == before);
    assert_eq!(entries(&world), ["linux", "windows"]);
}

fn entries(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.path("made")) else { return Vec::new() };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<String> =
        entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Expects a refusal with these words, and nothing made.
#[track_caller]
fn refused(world: &World, line: &str, words: &str) {
    let run = world.run(line);
    assert_ne!(run.code, Some(0), "{}", run.talk);
    assert!(run.talk.contains(words), "{}", run.talk);
    assert_eq!(run.data, "");
    assert_eq!(entries(world), [""; 0]);
}

#[test]
fn settings_that_would_harm_are_not_baked() {
    let world = built();
    for (key, value, words) in [
        ("trust", Value::Null, "names nobody who may sign"),
        ("oidcClientSecret", json!(["x"]), "only clients without a secret are given to everybody"),
        ("url", json!("http://dbt.example.com"), "a server cannot announce a URL without TLS"),
    ] {
        let mut settings = settings();
        settings[key] = value;
        world.write("acme.json", &serde_json::to_vec(&settings).unwrap());
        refused(&world, INSTALLER, words);
    }
}

#[test]
fn keys_that_only_the_server_has_named_are_shown_and_not_baked_without_a_person() {
    let mut world = built();
    let server = Server::start();
    let settings = json!({"url": server.url()});
    world.write("acme.json", &serde_json::to_vec(&settings).unwrap());
    let line = format!("{INSTALLER} --trust-from-server");
    refused(&world, &line, "there is no truststore at");
    let alice = world.key("alice");
    world.set("DBT_PUBLISH_TOKEN", TOKEN);
    let add = format!("truststore add alice --to {} --signer file:alice", server.url());
    world.run(&add).succeeds();

    // Whoever runs the tests may have a terminal.
    let nobody = ["setsid", "-w", env!("CARGO_BIN_EXE_publisher")].map(OsString::from);
    let run = world.run_through(&nobody, &line).fails(80, "nobody is there to say");
    assert!(run.talk.contains(&alice.fingerprint().to_string()), "{}", run.talk);
    assert_eq!(entries(&world), [""; 0]);
    let run = world.run_through(&nobody, INSTALLER).fails(81, "names nobody who may sign");
    assert!(run.talk.contains("`--trust-from-server` shows"), "{}", run.talk);
    assert_eq!(entries(&world), [""; 0]);
}

#[test]
fn what_is_no_installer_is_named() {
    let world = built();
    world.write("dist/installer/linux/amd64/dbt-installer", SCRIPT);
    refused(&world, INSTALLER, "is a script, and no installer for one platform");
    world.write("dist/installer/linux/amd64/dbt-installer", &linux(62)[..2000]);
    refused(&world, INSTALLER, "it has no room for settings");
    world.write("dist/installer/linux/amd64/dbt-installer", &linux(183));
    refused(&world, INSTALLER, "are both for linux/arm64");
    refused(&world, "installer home --settings PLACE/acme.json", "has no `dbt-installer`");
}

#[test]
fn a_command_signs_what_was_baked_and_a_failure_leaves_nothing() {
    let world = built();
    let signer = world.write("sign", b"#!/bin/sh\nprintf signed >> \"$2\"; echo \"$1 $2\" >&2\n");
    fs::set_permissions(&signer, fs::Permissions::from_mode(0o755)).unwrap();
    let signing = |command: &str| format!("{INSTALLER} --sign-command {command}");
    refused(&world, &signing("false"), "it ended with exit status: 1");
    refused(&world, &signing("truncate%20-s0"), "has lost its settings");
    let run = world.run(&signing("PLACE/sign%20--as")).succeeds();
    assert!(run.talk.contains("--as "), "{}", run.talk);
    let made = world.read("made/linux/amd64/dbt-installer");
    assert!(made.ends_with(b"the endsigned"));
    assert!(run.data.contains(&Digest::of(&made).to_string()), "{}", run.data);
}

#[test]
fn a_package_for_debian_holds_the_installer_and_says_what_it_is() {
    let world = built();
    let line = format!("{INSTALLER} --package deb --package-version 4.1.0-rc.1");
    let run = world.run(&line).succeeds();
    let path = world.path("made/linux/amd64/dbt-installer_4.1.0~rc.1_amd64.deb");
    assert!(run.data.contains(&path.display().to_string()), "{}", run.data);
    let field = |name: &str| {
        let output = Command::new("dpkg-deb").arg("-f").arg(&path).arg(name).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(field("Package"), "dbt-installer");
    assert_eq!(field("Version"), "4.1.0~rc.1");
    assert_eq!(field("Architecture"), "amd64");
    assert_eq!(field("Homepage"), "https://dbt.example.com/dbt");
    let to = world.path("unpacked");
    let status = Command::new("dpkg-deb").arg("-x").args([&path, &to]).status().unwrap();
    assert!(status.success());
    let program = to.join("usr/bin/dbt-installer");
    assert!(fs::read(&program).unwrap() == world.read("made/linux/amd64/dbt-installer"));
    assert_eq!(fs::metadata(&program).unwrap().permissions().mode() & 0o7777, 0o755);
    let before = fs::read(&path).unwrap();
    world.run(&line).succeeds();
    assert!(fs::read(&path).unwrap() == before, "two packages of the same differ");
}

#[test]
fn the_version_of_a_package_may_be_a_number_alone_and_what_is_none_is_refused_in_words() {
    let world = built();
    let run =
        world.run(&format!("{INSTALLER} --package deb --package rpm --package-version 20261123"));
    run.succeeds();
    assert!(world.path("made/linux/amd64/dbt-installer_20261123_amd64.deb").exists());
    assert!(world.path("made/linux/amd64/dbt-installer-20261123-1.x86_64.rpm").exists());
    let world = built();
    let run = world.run(&format!("{INSTALLER} --package deb --package-version 2026-11-23"));
    run.fails(
        80,
        "`2026-11-23` is no version of a package: expected numbers with dots between them",
    );
    assert!(!world.path("made").exists(), "nothing was made");
}

/// What a header of an `.rpm` says: where it ends, and its texts and numbers by tag.
fn header(package: &[u8], at: usize) -> (usize, Vec<(u32, u32, Vec<u8>)>) {
    let number = |at: usize| u32::from_be_bytes(package[at..at + 4].try_into().unwrap());
    let place = |at: usize| usize::try_from(number(at)).unwrap();
    assert_eq!(package[at..at + 8], [0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0]);
    let (count, size) = (place(at + 8), place(at + 12));
    let store = at + 16 + 16 * count;
    let said = (0..count).map(|index| {
        let entry = at + 16 + 16 * index;
        (number(entry), number(entry + 4), package[store + place(entry + 8)..store + size].to_vec())
    });
    (store + size, said.collect())
}

#[test]
fn a_package_for_fedora_names_its_own_bytes_and_what_it_holds() {
    let world = built();
    let line = format!("{INSTALLER} --package rpm --package deb --package-version 4.1.0");
    let run = world.run(&line).succeeds();
    assert_eq!(run.data.lines().count(), 3 + 4, "{}", run.data);
    let package = world.read("made/linux/arm64/dbt-installer-4.1.0-1.aarch64.rpm");
    assert_eq!(package[..4], [0xed, 0xab, 0xee, 0xdb]);
    let (end, about) = header(&package, 96);
    let begin = end.next_multiple_of(8);
    let (payload, said) = header(&package, begin);
    let text = |said: &[(u32, u32, Vec<u8>)], tag: u32| {
        let (_tag, _kind, bytes) = said.iter().find(|(it, ..)| *it == tag).unwrap();
        String::from_utf8(bytes.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
    };
    assert_eq!(text(&about, 273), Digest::of(&package[begin..payload]).to_string());
    assert_eq!(text(&said, 5092), Digest::of(&package[payload..]).to_string());
    assert_eq!(text(&said, 1000), "dbt-installer");
    assert_eq!(text(&said, 1001), "4.1.0");
    assert_eq!(text(&said, 1004), "Installs the tools of Acme Ltd");
    let program = world.read("made/linux/arm64/dbt-installer");
    assert_eq!(text(&said, 1035), Digest::of(&program).to_string());
    let tags: Vec<u32> = said[1..].iter().map(|(tag, ..)| *tag).collect();
    assert!(tags.is_sorted(), "{tags:?}");
    assert_eq!((said[0].0, said[0].1, about[0].0), (63, 7, 62));
}
