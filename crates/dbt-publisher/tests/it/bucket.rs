//! Publishing to a bucket.

use std::fs;

use dbt_testkit::bucket_server::{BucketServer, KEY};

use super::world::{SCRIPT, World, artifact};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description ships%20it --to STORE \
                    --signer file:alice";

/// A world with a bucket, whose truststore has Alice's key.
fn world() -> (World, BucketServer) {
    let mut world = World::new();
    let server = world.open_store();
    world.key("alice");
    world.run("truststore add alice --to STORE --signer file:alice").succeeds();
    world.write("deploy", SCRIPT);
    (world, server)
}

#[test]
fn a_version_in_a_bucket_is_what_clients_and_the_reference_expect() {
    let (world, server) = world();
    server.take_requests();
    world.run(LINE).says_nothing();
    let version = "dbt-tools/deploy/1.4.0";
    let published = world.published();
    let mut expected: Vec<String> = ["description.txt", "linux/amd64/deploy"]
        .iter()
        .flat_map(|file| ["", ".asc", ".sha256"].map(|end| format!("{version}/{file}{end}")))
        .collect();
    expected.sort();
    let of_the_version = |path: &&String| path.starts_with(version) && !path.contains(".meta-of-");
    let found: Vec<String> = published.iter().filter(of_the_version).cloned().collect();
    assert_eq!(found, expected);
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());

    // Everything was signed, created and not replaced, and the checksums came last.
    let asked = server.take_requests();
    assert!(asked.iter().all(|asked| asked.key.as_deref() == Some(KEY.0)));
    let puts: Vec<_> = asked.iter().filter(|asked| asked.request.method == "PUT").collect();
    assert_eq!(puts.len(), 6);
    assert!(puts.iter().all(|put| put.request.header("if-none-match") == Some("*")));
    assert!(puts[4..].iter().all(|put| put.request.path.ends_with(".sha256")), "{puts:?}");

    // No mark of a directory, and no page: nobody has asked for them.
    assert!(
        !world.served().iter().any(|path| path.ends_with("/.mark") || path.ends_with("index.html"))
    );
}

#[test]
fn objects_say_what_they_are_and_how_long_they_may_be_kept() {
    let (world, _server) = world();
    world.run(LINE).says_nothing();
    let said = |path: &str| {
        let (directory, name) = path.rsplit_once('/').unwrap();
        String::from_utf8(world.read(&format!("repo/{directory}/.meta-of-{name}"))).unwrap()
    };
    let version = "dbt-tools/deploy/1.4.0";
    assert_eq!(
        said(&format!("{version}/linux/amd64/deploy")),
        "content-type: application/octet-stream\ncache-control: public, max-age=31536000, immutable\n"
    );
    for text in [format!("{version}/linux/amd64/deploy.asc"), format!("{version}/description.txt")]
    {
        let expected = "content-type: text/plain; charset=utf-8\ncache-control: no-cache\n";
        assert_eq!(said(&text), expected);
    }
    let truststore = said("dbt/truststore");
    assert!(truststore.ends_with("cache-control: no-cache\n"), "{truststore}");
}

#[test]
fn what_is_published_in_a_bucket_is_not_replaced() {
    let (world, server) = world();
    world.run(LINE).says_nothing();
    world.run(LINE).says_nothing();
    world.write("deploy", b"#!/bin/sh\necho other\n");
    server.take_requests();
    world.run(LINE).fails(86, "is published with other content");
    let methods: Vec<String> =
        server.take_requests().into_iter().map(|asked| asked.request.method).collect();
    assert!(!methods.contains(&"PUT".to_owned()), "{methods:?}");
    assert_eq!(world.read("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy"), SCRIPT);
    world.run(&format!("{LINE} --replace")).succeeds();
    assert_ne!(world.read("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy"), SCRIPT);
}

#[test]
fn a_store_without_conditions_is_looked_at_before_it_is_written() {
    let (world, server) = world();
    server.know_no_conditions();
    world.run(LINE).succeeds();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    assert!(server.take_requests().iter().any(|asked| asked.request.method == "HEAD"));
}

#[test]
fn whoever_may_not_write_is_told_what_is_missing_and_nothing_is_there() {
    let (world, server) = world();
    server.deny("PutObject");
    let words = "has no permission `s3:PutObject` in the bucket `acme-tools` (AccessDenied)";
    world.run(LINE).fails(83, words);
    assert!(!world.path("repo/dbt-tools").exists());
}

#[test]
fn a_bucket_is_verified_withdrawn_from_and_deleted_from() {
    let (world, server) = world();
    world.run(LINE).says_nothing();
    world.write("deploy", b"#!/bin/sh\necho other\n");
    world.run(&LINE.replace("1.4.0", "1.5.0")).says_nothing();
    world.run("verify --to STORE").succeeds();
    world.run("withdraw deploy 1.5.0 --reason broken --to STORE --signer file:alice").succeeds();
    assert!(
        String::from_utf8(world.read("repo/dbt-tools/deploy/withdrawn.json"))
            .unwrap()
            .contains("1.5.0")
    );

    server.take_requests();
    world.run("delete deploy 1.5.0 --yes --to STORE").succeeds();
    assert!(!world.path("repo/dbt-tools/deploy/1.5.0/linux/amd64/deploy").exists());
    assert!(world.path("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy").exists());
    let deleted: Vec<String> =
        server.take_lines().into_iter().filter(|line| line.starts_with("DELETE")).collect();
    assert_eq!(deleted.len(), 7, "six objects, and what could be one: {deleted:?}");
    world.run("verify --to STORE").succeeds();
}

#[test]
fn a_bucket_that_is_served_as_a_site_has_its_pages_brought_up_to_date() {
    let (world, _server) = world();
    world.run(LINE).says_nothing();
    // Whoever wants pages puts an empty one: all that is there gets one then.
    fs::write(world.path("repo/dbt-tools/index.html"), "").unwrap();
    world.run(&LINE.replace("1.4.0", "1.5.0")).says_nothing();
    assert_eq!(world.page("dbt-tools"), ["deploy"]);
    assert_eq!(world.page("dbt-tools/deploy"), ["1.4.0", "1.5.0"]);
    assert_eq!(world.page("dbt-tools/deploy/1.4.0/linux"), ["amd64"]);
    world.run(&LINE.replace("1.4.0", "1.6.0")).says_nothing();
    assert_eq!(world.page("dbt-tools/deploy"), ["1.4.0", "1.5.0", "1.6.0"]);
    world.run("delete deploy 1.4.0 --yes --to STORE").succeeds();
    assert_eq!(world.page("dbt-tools/deploy"), ["1.5.0", "1.6.0"]);
    assert!(!world.path("repo/dbt/index.html").exists(), "its root has none");
}

#[test]
fn of_those_who_publish_the_same_version_at_once_one_wins() {
    let (world, _server) = world();
    for number in 0..4 {
        world.write(&format!("deploy-{number}"), format!("#!/bin/sh\necho {number}\n").as_bytes());
    }
    let runs: Vec<_> = std::thread::scope(|scope| {
        let begin = |number: usize| {
            let line = LINE.replace("=deploy ", &format!("=deploy-{number} "));
            let world = &world;
            scope.spawn(move || world.run(&line))
        };
        let started: Vec<_> = (0..4).map(begin).collect();
        started.into_iter().map(|run| run.join().unwrap()).collect()
    });
    let good: Vec<usize> = (0..4).filter(|number| runs[*number].code == Some(0)).collect();
    assert!(good.len() <= 1, "{runs:?}");
    let bytes = world.read("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy");
    if let [winner] = good.as_slice() {
        assert_eq!(bytes, format!("#!/bin/sh\necho {winner}\n").as_bytes());
        assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    }
}
