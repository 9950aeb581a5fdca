//! `make build-installer`: variables become installers that install from the server that they name,
//! whose keys somebody has said or agreed to.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use dbt_client::reserved::settings_in;
use dbt_core::platform::Platform;
use dbt_testkit::invocation::{Invocation, Run};
use dbt_testkit::people::ALICE;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::reposerver::built;

/// A machine without anything of ours but a release, and a repository that has the program and a tool.
fn world() -> World {
    let program = Path::new(env!("CARGO_BIN_EXE_dbt"));
    let world = World::new(program);
    fs::remove_dir_all(world.dbt_home()).unwrap();
    world.repository().publish_program("4.0.0", fs::read(program).unwrap()).now();
    world.repository().publish("deploy", "1.4.0").now();
    let programs = release(&world).join(Platform::CURRENT.to_string());
    fs::create_dir_all(&programs).unwrap();
    symlink(built("publisher"), programs.join("publisher")).unwrap();
    let installer = Path::new(env!("CARGO_BIN_EXE_dbt-installer"));
    let to = programs.join("dbt-installer");
    let status = Command::new("strip").arg("-o").args([&*to, installer]).status().unwrap();
    assert!(status.success());
    world
}

fn release(world: &World) -> PathBuf {
    world.directory().join("release")
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/build-installer")
}

/// Prepares to make the installers for this server, with further variables.
fn building<'a>(world: &'a World, variables: &[(&str, &str)]) -> Invocation<'a> {
    let nobody = world.invoke([""; 0]).program(script()).through(&["setsid", "-w"]);
    variables.iter().fold(told(nobody, world), |building, (name, value)| building.env(name, value))
}

/// Says what is needed, but for the keys.
fn told<'a>(invocation: Invocation<'a>, world: &World) -> Invocation<'a> {
    invocation
        .env("RELEASE", release(world))
        .env("SERVER_URL", world.server().url())
        .env("SERVER_NAME", "acme")
}

fn alice() -> String {
    ALICE.fingerprint().to_string()
}

/// The installer that was made.
fn made(world: &World) -> PathBuf {
    release(world).join(format!("installer/{}/dbt-installer", Platform::CURRENT))
}

fn baked(world: &World) -> Value {
    serde_json::from_slice(settings_in(&fs::read(made(world)).unwrap()).unwrap()).unwrap()
}

#[track_caller]
fn nothing_was_made(world: &World) {
    assert!(!made(world).exists());
    let left = fs::read_dir(world.temporary()).unwrap().count();
    assert_eq!(left, 0, "files are left in the directory of temporary ones");
}

fn install(world: &World) -> Run {
    let words = ["--yes", "--no-modify-profile", "--no-sign-in"];
    world.invoke(words).program(made(world)).through(&["setsid", "-w"]).run()
}

#[test]
fn variables_become_an_installer_that_installs_from_their_server() {
    let world = world();
    let keys = [("TRUST_FINGERPRINTS", alice())];
    let [(name, key)] = &keys;
    let run = building(&world, &[(name, key), ("ORGANISATION", "Acme Ltd")]).run();
    run.exits_with(0)
        .mentions("organisation `Acme Ltd`, server `acme`")
        .mentions("anchor `[FINGERPRINT]`");
    assert!(run.stdout().trim_end().ends_with(made(&world).to_str().unwrap()), "{}", run.stdout());
    let keys = json!([key]);
    let url = world.server().url();
    let expected = json!({
        "organisation": "Acme Ltd", "name": "acme", "url": url, "trust": {"dbt": keys, "tools": keys},
    });
    assert_eq!(baked(&world), expected);

    install(&world).exits_with(0).mentions("organisation: Acme Ltd");
    let program = world.home().join(".local/bin/dbt");
    let run = world.invoke(["deploy", "x"]).program(program).run();
    run.exits_with(0).prints("deploy 1.4.0\n[x]\n");
}

#[test]
fn an_installer_of_another_key_than_the_servers_installs_nothing() {
    let world = world();
    let stranger = "AB".repeat(20);
    building(&world, &[("TRUST_FINGERPRINTS", &stranger)]).run().exits_with(0);
    install(&world).exits_with(86).mentions("none of the keys that");
    assert!(!world.home().join(".local/bin/dbt").exists());
    assert!(!world.config_file().exists());
}

#[test]
fn what_is_said_of_an_identity_provider_is_what_the_older_build_made_of_it() {
    let world = world();
    let key = alice();
    let provider = "https://id.example.com";
    let variables = [("TRUST_FINGERPRINTS", key.as_str()), ("ISSUER_URL", provider)];
    building(&world, &variables).run().exits_with(0);
    let (settings, url) = (baked(&world), world.server().url());
    assert_eq!(settings["authType"], "oidc");
    assert_eq!(settings["issuerUrl"], provider);
    assert_eq!(settings["oidcAudience"], url);
    assert_eq!(settings["oidcClientId"], "dbt");

    let further = [("CONNECTOR_ID", "ssh"), ("OIDC_AUDIENCE", "dbt-server")];
    building(&world, &[&variables[..], &further].concat()).run().exits_with(0);
    let settings = baked(&world);
    assert_eq!(settings["oidcAudience"], "dbt-server");
    assert_eq!(settings["connectorId"], "ssh");
    assert_eq!(settings["oidcClientId"], "dbt-ssh");

    let tools = format!("{url}/elsewhere");
    let further = [("OIDC_CLIENT_ID", "cli"), ("TOOLS_URL", tools.as_str())];
    building(&world, &[&variables[..], &further].concat()).run().exits_with(0);
    let settings = baked(&world);
    assert_eq!(settings["oidcClientId"], "cli");
    assert_eq!(settings["toolsRepository"], tools);
}

#[test]
fn a_server_may_be_a_bucket_or_two_as_in_the_older_build() {
    let world = world();
    let key = alice();
    let baked_of = |variables: &[(&str, &str)]| {
        let key = [("TRUST_FINGERPRINTS", key.as_str())];
        building(&world, &[&key[..], variables].concat()).run().exits_with(0);
        let settings = baked(&world);
        ["url", "repository", "toolsRepository"].map(|key| settings[key].clone())
    };
    let nothing = Value::Null;
    let region = ("S3_REGION", "eu-west-1");
    assert_eq!(
        baked_of(&[("SERVER_URL", "s3://acme"), region]),
        [json!("s3://acme?region=eu-west-1"), nothing.clone(), nothing.clone()]
    );
    let written = "https://acme.s3.eu-west-1.amazonaws.com";
    assert_eq!(
        baked_of(&[("SERVER_URL", written), region]),
        [json!(written), nothing.clone(), nothing.clone()]
    );
    let tools = ("TOOLS_URL", "s3://acme-tools?endpoint=https://s3.acme.com");
    assert_eq!(
        baked_of(&[("SERVER_URL", "s3://acme-dbt"), tools, region]),
        [
            nothing,
            json!("s3://acme-dbt?region=eu-west-1"),
            json!(format!("{}&region=eu-west-1", tools.1))
        ]
    );
}

#[test]
fn what_is_said_of_a_bucket_and_contradicts_itself_is_refused() {
    let world = world();
    let key = alice();
    let other = "https://acme.s3.us-east-1.amazonaws.com";
    for (variables, words) in [
        ([("SERVER_URL", other), ("S3_REGION", "eu-west-1")], "SERVER_URL says another region"),
        (
            [("SERVER_URL", "s3://acme?region=us-east-1"), ("S3_REGION", "eu-west-1")],
            "SERVER_URL says another region",
        ),
        ([("SERVER_URL", "s3://acme"), ("S3_REGION", "eu&x=y")], "expected the name of a region"),
        (
            [("SERVER_URL", "s3://acme"), ("ISSUER_URL", "https://id.example.com")],
            "whoever reads it signs in to AWS",
        ),
    ] {
        let key = [("TRUST_FINGERPRINTS", key.as_str())];
        let run = building(&world, &[&key[..], &variables].concat()).run();
        run.exits_with(2).mentions(words);
        assert_eq!(run.stdout(), "");
        nothing_was_made(&world);
    }
}

#[test]
fn packages_have_the_version_that_was_said() {
    let world = world();
    let key = alice();
    // The older build had the day for it.
    for version in ["7.1.0", "20261123"] {
        let variables = [
            ("TRUST_FINGERPRINTS", key.as_str()),
            ("PACKAGE", "deb rpm"),
            ("INSTALLER_VERSION", version),
        ];
        let run = building(&world, &variables).run();
        run.exits_with(0);
        for part in [format!("dbt-installer_{version}_"), format!("dbt-installer-{version}-1.")] {
            assert!(run.stdout().contains(&part), "{}", run.stdout());
        }
    }
}

#[test]
fn variables_that_would_harm_or_do_nothing_are_refused() {
    let world = world();
    let key = alice();
    for (name, value, words) in [
        ("SERVER_URL", "", "SERVER_URL is missing"),
        ("OIDC_CLIENT_SECRET", "hunter2", "register a public client"),
        ("S3_REGION", "eu-west-1", "neither SERVER_URL nor TOOLS_URL is a bucket"),
        (
            "CONNECTOR_ID",
            "ssh",
            "CONNECTOR_ID is set, and ISSUER_URL, the identity provider, is not",
        ),
        ("ORGANISATION", "Acme\", \"trust\": {}, \"x\": \"", "ORGANISATION has a character"),
        ("TRUST_FINGERPRINTS", "alice", "expected fingerprints"),
        ("RELEASE", "/nowhere", "`/nowhere/"),
    ] {
        let variables = [("TRUST_FINGERPRINTS", key.as_str()), (name, value)];
        let run = building(&world, &variables).run();
        run.exits_with(2).mentions(words);
        assert_eq!(run.stdout(), "", "{name}");
        nothing_was_made(&world);
    }
    // What publisher itself refuses.
    for (name, value, code, words) in [
        ("TRUST_FINGERPRINTS", "ABCD 0123", 81, "`trust"),
        ("SERVER_URL", "http://dbt.example.com", 81, "a server cannot announce a URL without TLS"),
        ("PACKAGE", "msi", 80, "msi"),
    ] {
        let variables = [("TRUST_FINGERPRINTS", key.as_str()), (name, value)];
        let run = building(&world, &variables).run();
        run.exits_with(code).mentions(words);
        assert_eq!(run.stdout(), "", "{name}");
        nothing_was_made(&world);
    }
}

#[test]
fn keys_that_nobody_has_said_are_shown_and_without_a_person_nothing_is_made() {
    let world = world();
    let run = building(&world, &[]).run();
    run.exits_with(80).mentions("\n  [FINGERPRINT]  Alice <alice@example.org> (expires: never)");
    run.mentions("nobody is there to say");
    assert_eq!(run.stdout(), "");
    nothing_was_made(&world);
    let requests = world.server().take_lines();
    let fetched = requests.iter().filter(|it| it.ends_with("/dbt/truststore")).count();
    assert_eq!(fetched, 1, "{requests:?}");
}

/// The same at a terminal, where somebody types this.
fn at_a_terminal(world: &World, typed: &[u8]) -> Run {
    let script = script();
    let words = ["-qec", script.to_str().unwrap(), "/dev/null"];
    told(world.invoke(words).program("script"), world).stdin(typed).run()
}

#[test]
fn keys_that_a_person_agrees_to_are_baked_and_those_that_he_does_not_are_not() {
    let world = world();
    let run = at_a_terminal(&world, b"n\n");
    run.exits_with(0);
    assert!(run.stdout().contains("nothing was made"), "{}", run.stdout());
    nothing_was_made(&world);

    at_a_terminal(&world, b"y\n").exits_with(0);
    let keys = json!([alice()]);
    assert_eq!(baked(&world)["trust"], json!({"dbt": keys, "tools": keys}));
    install(&world).exits_with(0);
}
