//! docs/releasing.md: what publishes and verifies a release is typed, with small files in the place of
//! programs; what takes hours to build is there to be started.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use dbt_core::platform::Platform;

use crate::desk::Desk;
use crate::page::Page;
use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN};

const PAGE: &str = include_str!("../../../../docs/releasing.md");
const MAKEFILE: &str = include_str!("../../../../Makefile");

/// Expects that what a line builds with is there.
#[track_caller]
fn is_there(line: &str) {
    let mut words = line.split(' ').filter(|word| !word.contains('='));
    match words.next().unwrap() {
        "make" => {
            let target = words.next().unwrap();
            assert!(MAKEFILE.contains(&format!("\n{target}:")), "{line}");
        }
        script => {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(script);
            let metadata = fs::metadata(&file).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(metadata.permissions().mode() & 0o111 != 0, "{line}");
        }
    }
}

#[test]
fn what_the_page_about_releases_types_publishes_and_verifies_one() {
    let server = Reposerver::start();
    let desk = Desk::new();
    desk.set("DBT_PUBLISH_TOKEN", TOKEN);
    desk.set("DBT_SIGNING_PASSPHRASE", PASSPHRASE);
    let key = server.key();
    let instead =
        [("https://dbt.example.com", server.root()), ("gpg:releases@example.com", key.as_str())];
    let mut page = Page::of(PAGE, &instead);

    // A release, and the repository of it that whoever made it has signed.
    desk.small_release("target/releases/4.0.0");
    desk.write("target/releases/4.0.0/VERSION", "4.0.0\n");
    fs::create_dir(desk.path("target/releases/4.0.0-repository")).unwrap();
    let maker = [
        "publisher key generate maker --email maker@example.org",
        "publisher truststore add maker --to target/releases/4.0.0-repository --signer file:maker",
        "publisher release target/releases/4.0.0 --to target/releases/4.0.0-repository --signer file:maker --yes",
        "publisher key export maker > releases.asc",
        "cd target/releases/4.0.0; sha256sum VERSION */*/* > SHA256SUMS",
    ];
    for line in maker {
        desk.types(line);
    }

    let mut typed = 0;
    while let Some(line) = page.next_of_all() {
        let line = line.split("  #").next().unwrap().trim_end();
        // Variables may stand in front.
        let line = line.rsplit_once("\" ").map_or(line, |(_variables, command)| command);
        let first = line.split(' ').next().unwrap();
        if first == "make" || first.starts_with("scripts/") {
            is_there(line);
            continue;
        }
        let (place, options) = match first {
            "publisher" if line.starts_with("publisher release --from") => {
                (".", " --signer SIGNER --yes")
            }
            "publisher" if line.starts_with("publisher release") => (".", " --yes"),
            "publisher" => (".", ""),
            "sha256sum" if line.contains("--check") => ("target/releases/4.0.0", ""),
            "gpg" => {
                desk.types("gpg --quiet --batch --import releases.asc");
                ("PROGRAM", "")
            }
            // The source, and what was built of it anew.
            "git" | "sha256sum" => continue,
            _ => panic!("nobody types `{line}`"),
        };
        let program = format!("target/releases/4.0.0-repository/dbt/4.0.0/{}", Platform::CURRENT);
        let place = place.replace("PROGRAM", &program);
        let options = options.replace("SIGNER", &format!("{key} -v 4.0.0"));
        desk.types(&format!("cd {place}; {line}{options}"));
        typed += 1;
    }
    assert_eq!(typed, 5, "two that publish, and three that verify");
    let tree = server.served();
    assert_eq!(fs::read(tree.join("dbt/latest")).unwrap(), b"4.0.0");
    assert!(tree.join("dbt/4.0.0/windows/amd64/dbt.exe.asc").is_file());
    assert!(!tree.join("dbt-tools/reposerver/4.0.0/windows").exists());
}
