//! docs/secrets.md: each secret is changed by the commands of the page, and counts or does not count
//! when the page says so.

use std::fs;
use std::process::Output;

use dbt_core::platform::Platform;
use serde_json::json;

use crate::desk::Desk;
use crate::page::Page;
use crate::place::Place;

const PAGE: &str = include_str!("../../../../docs/secrets.md");

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_signing_key_is_replaced_while_machines_go_on_and_the_old_one_is_taken_out() {
    let mut place = Place::of(PAGE, "A signing key");
    place.publish("1.4.0", "alice");
    assert_eq!(place.desk.types("dbt deploy"), "deploy 1.4.0\n");

    place.types("publisher key generate alice-2028");
    place.types("publisher truststore add alice-2028 --admin");
    place
        .desk
        .write(&format!("dist/{}/deploy", Platform::CURRENT), "#!/bin/sh\necho deploy 1.5.0\n");
    place.types("publisher publish deploy 1.5.0");
    let run = place.desk.tries("dbt deploy");
    assert_eq!(run.stdout, b"deploy 1.5.0\n", "{run:?}");
    assert!(said(&run).contains("has a new signing key, vouched: "), "{run:?}");
    let run = place.desk.tries("dbt deploy");
    assert_eq!((&run.stdout[..], said(&run).as_str()), (&b"deploy 1.5.0\n"[..], ""));

    place.types("publisher sign deploy 1.4.0");
    let would = place.desk.tries(&place.page.next("publisher truststore remove"));
    assert!(would.status.success(), "{would:?}");
    let listed = format!("publisher truststore list --json --to {}", place.server.root());
    let both = place.desk.types(&listed);
    place.types("publisher truststore remove");
    let one = place.desk.types(&listed);
    assert!(one.len() < both.len(), "{one}");
    for version in ["1.4.0", "1.5.0"] {
        let run = place.desk.types(&format!("dbt deploy@{version}"));
        assert_eq!(run, format!("deploy {version}\n"));
    }
    // The old one signs nothing any more.
    let root = place.server.root();
    let late = place.desk.tries(&format!(
        "publisher publish deploy 1.6.0 dist --description x --to {root} --signer file:alice"
    ));
    assert!(!late.status.success(), "{late:?}");
    assert_eq!(place.desk.types("dbt deploy"), "deploy 1.5.0\n");
    place.page.ends();
}

#[test]
fn what_a_stolen_key_signed_is_found_and_stopped() {
    let mut place = Place::of(PAGE, "A stolen signing key");
    let root = place.server.root().to_owned();
    place.publish("1.4.0", "alice");
    assert_eq!(place.desk.types("dbt deploy"), "deploy 1.4.0\n");
    place.desk.types("publisher key generate alice-2028 --email alice@example.com");
    place.desk.types(&format!(
        "publisher truststore add alice-2028 --admin --to {root} --signer file:alice"
    ));
    place.publish("1.5.0", "alice");
    assert_eq!(place.desk.types("dbt deploy"), "deploy 1.5.0\n");
    place.desk.types(&format!("publisher sign deploy 1.4.0 --to {root} --signer file:alice-2028"));
    let old = place.old();
    let remove = format!("publisher truststore remove {old} --to {root} --signer file:alice-2028");
    let would = place.desk.tries(&format!("{remove} --dry-run"));
    let shown = String::from_utf8_lossy(&would.stdout).into_owned() + &said(&would);
    assert!(shown.contains("1.5.0") && !shown.contains("1.4.0"), "{shown}");
    place.desk.types(&format!("{remove} --yes"));

    let line = place.page.next("publisher verify");
    let found = place.desk.tries(&line);
    assert_eq!(found.status.code(), Some(86), "{found:?}");
    let printed = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(printed.contains("signer-unknown") && printed.contains("/1.5.0/"), "{printed}");
    place.types("publisher withdraw deploy 1.5.0");
    let line = format!("publisher verify {root}");
    place.desk.types(&line);
    assert_eq!(place.desk.types("dbt deploy"), "deploy 1.4.0\n");
    assert!(!place.desk.tries("dbt -o deploy@1.5.0").status.success());
    place.page.ends();
}

#[test]
fn tokens_are_replaced_and_files_are_read_again() {
    let mut place = Place::of(PAGE, "A token of the server");
    let config = place.server.place().join("reposerver.json").display().to_string();
    let create = "token create agent:ci-foo --role publisher --path '/dbt-tools/foo/**'";
    let first = place.desk.types(&format!("reposerver -f {config} {create}"));
    place.types("reposerver -f");
    let second = fs::read_to_string(place.desk.path("successor")).unwrap();
    assert_ne!(first, second);
    let publishes = |desk: &Desk, token: &str, version: &str| {
        desk.write(&format!("foo/{}/foo", Platform::CURRENT), "#!/bin/sh\n");
        let token = token.trim();
        let root = place.server.root();
        desk.tries(&format!(
            "DBT_PUBLISH_TOKEN={token} publisher publish foo {version} foo --description x --to {root} --signer file:alice"
        ))
    };
    for (token, version) in [(&first, "1.0.0"), (&second, "1.0.1")] {
        let output = publishes(&place.desk, token, version);
        assert!(output.status.success(), "{output:?}");
    }
    let line = place.page.next("reposerver -f");
    let listed = place.desk.types(&line);
    let json: serde_json::Value =
        serde_json::from_str(&place.desk.types(&format!("{line} --json"))).unwrap();
    let tokens = json["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 2, "{json}");
    let is_first =
        |token: &&serde_json::Value| first.starts_with(token["prefix"].as_str().unwrap());
    let id = tokens.iter().find(is_first).unwrap()["id"].as_str().unwrap().to_owned();
    assert!(listed.contains(&id), "{listed}");
    let line = place.page.next("reposerver -f").replace("ID", &id);
    place.desk.types(&line);
    for (token, version, code) in [(&first, "1.0.2", 83), (&second, "1.0.3", 0)] {
        let output = publishes(&place.desk, token, version);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
    let Place { page, .. } = place;
    page.ends();
}

#[test]
fn a_token_of_the_settings_gets_a_second_one_beside_it() {
    let mut place = Place::of(PAGE, "A token in the settings");
    place.types("openssl rand -hex 32");
    let digest = place.types("printf");
    let digest = digest.split(' ').next().unwrap().to_owned();
    place.page.ends();

    let file = place.server.place().join("reposerver.json");
    let mut settings: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    settings["tokens"].as_array_mut().unwrap().push(json!({"name": "nightly", "sha256": digest}));
    settings["auth"]["roles"]["admin"] = json!(["root", "nightly"]);
    fs::write(&file, settings.to_string()).unwrap();
    let etc = file.display().to_string();
    let instead = [("/etc/reposerver/reposerver.json", etc.as_str())];
    let mut page = Page::section(PAGE, "What the server reads from files", &instead);
    for _ in ["check-config", "reload"] {
        place.desk.types(&page.next("reposerver -f"));
    }
    page.ends();
    let root = place.server.root();
    place.desk.write(&format!("foo/{}/foo", Platform::CURRENT), "#!/bin/sh\n");
    place.desk.types(&format!(
        "DBT_PUBLISH_TOKEN=$(cat token-of-the-nightly-job) publisher publish foo 1.0.0 foo \
         --description x --to {root} --signer file:alice"
    ));
}
