//! What a directory says about itself, where it is told under which URL it is served.

use serde_json::{Value, json};

use super::world::{SCRIPT, World};

const FILE: &str = "repo/.well-known/dbt.json";
const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO \
                    --signer file:alice";

fn world() -> World {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world
}

fn said(world: &World) -> Value {
    serde_json::from_slice(&world.read(FILE)).unwrap()
}

fn places(root: &str) -> Value {
    json!({
        "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
        "truststore": format!("{root}/dbt/truststore"),
    })
}

#[test]
fn a_directory_says_where_it_is_served_from_when_that_is_typed_on() {
    let world = world();
    world.run(LINE).says_nothing();
    assert!(!world.path(FILE).exists(), "nobody has said where it is");
    world.run(&format!("{LINE} --public-url https://tools.example.com/x/")).says_nothing();
    assert_eq!(said(&world), places("https://tools.example.com/x"));

    // What somebody adds stays, and later publications leave everything as it is.
    let mut document = said(&world);
    document["authType"] = json!("oidc");
    world.write(FILE, document.to_string().as_bytes());
    world.run(&LINE.replace("1.4.0", "1.5.0")).says_nothing();
    assert_eq!(world.read(FILE), document.to_string().as_bytes());
    world.run(&format!("{LINE} --public-url https://cdn.example.com")).says_nothing();
    let mut moved = places("https://cdn.example.com");
    moved["authType"] = json!("oidc");
    assert_eq!(said(&world), moved);
}

#[test]
fn a_dry_run_names_the_document_and_writes_nothing() {
    let world = world();
    let line = format!("{LINE} --public-url https://tools.example.com --dry-run");
    let run = world.run(&line).succeeds();
    assert!(run.data.contains("/repo/.well-known/dbt.json\n"), "{}", run.data);
    assert!(!world.path(FILE).exists());
    let run = world.run(&line.replace("--dry-run", "--json")).succeeds();
    let files = run.json()["files"].clone();
    let last = files.as_array().unwrap().last().unwrap().clone();
    assert!(last["url"].as_str().unwrap().ends_with("/.well-known/dbt.json"), "{files}");
    assert_eq!(last["outcome"], "uploaded");
}

#[test]
fn what_clients_would_refuse_or_nobody_serves_is_refused_before_anything_is_written() {
    let world = world();
    let before = world.served();
    for (place, url, words) in [
        ("--to REPO", "http://tools.example.com", "is not where clients find a directory"),
        ("--to REPO", "/srv/tools", "is not where clients find a directory"),
        ("--to REPO", "https://me@tools.example.com", "must not stand in it"),
        (
            "--repository REPO/dbt --tools-repository PLACE/elsewhere",
            "https://tools.example.com",
            "is for a directory with both repositories",
        ),
        ("--to http://127.0.0.1:1", "https://tools.example.com", "with both repositories"),
    ] {
        let line = LINE.replace("--to REPO", place);
        world.run(&format!("{line} --public-url {url}")).fails(80, words);
    }
    world.write(FILE, b"[]");
    world.run(&format!("{LINE} --public-url https://a.example")).fails(81, "is no JSON object");
    assert_eq!(world.read(FILE), b"[]");
    std::fs::remove_dir_all(world.path("repo/.well-known")).unwrap();
    assert_eq!(world.served(), before);
}
