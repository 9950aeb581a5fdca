//! The files of the program itself, from a build's directory or from another repository.

use dbt_core::digest::Digest;
use dbt_testkit::bucket_server;
use dbt_testkit::token_endpoint::TokenEndpoint;

use super::http::{Fault, Server, TOKEN};
use super::world::{SCRIPT, World, artifact};

const PROGRAMS: [&str; 4] = ["dbt", "catalog", "publisher", "reposerver"];

const RELEASE: &str = "release dist --to REPO --signer file:alice --yes";

/// A directory with everything, in the layouts that builds have. A server is for Linux alone.
fn built() -> World {
    built_in(World::with_alice())
}

fn built_in(world: World) -> World {
    for name in PROGRAMS {
        world.write(&format!("dist/linux-amd64/{name}"), SCRIPT);
        world.write(&format!("dist/{name}_linux_arm64"), SCRIPT);
    }
    let for_windows = [&b"MZ"[..], &[0; 0x3a], &[0x40, 0, 0, 0], b"PE\0\0\x64\x86"].concat();
    for name in PROGRAMS.into_iter().filter(|name| *name != "reposerver") {
        world.write(&format!("dist/darwin/arm64/{name}"), SCRIPT);
        world.write(&format!("dist/windows-amd64/{name}.exe"), &for_windows);
    }
    world.write("dist/VERSION", b"v4.1.0\n");
    world.write("dist/install_dbt.sh", b"#!/bin/sh\necho installing\n");
    world.write("dist/installer/linux/amd64/dbt-installer", SCRIPT);
    world
}

#[test]
fn a_release_is_published_whole_with_every_file_where_clients_look() {
    let world = built();
    let run = world.run(RELEASE).succeeds();
    assert!(run.talk.contains("release 4.1.0"), "{}", run.talk);
    for name in PROGRAMS {
        for platform in ["linux/amd64", "linux/arm64", "darwin/arm64", "windows/amd64"] {
            if name == "reposerver" && !platform.starts_with("linux") {
                let there = world.path(&format!("repo/dbt-tools/{name}/4.1.0/{platform}"));
                assert!(!there.exists(), "{platform}");
                continue;
            }
            assert!(world.client_accepts(&artifact(name, "4.1.0", platform)).unwrap(), "{name}");
        }
    }
    assert_eq!(world.read("repo/dbt/latest"), b"4.1.0");
    let published = world.published();
    for file in [
        "dbt/install_dbt.sh",
        "dbt/installer/linux/amd64/dbt-installer",
        "dbt-tools/catalog/4.1.0/description.txt",
    ] {
        for ending in ["", ".asc", ".sha256"] {
            assert!(
                published.contains(&format!("{file}{ending}")),
                "{file}{ending}: {published:?}"
            );
        }
    }
    let sum = world.read("repo/dbt/install_dbt.sh.sha256");
    let bytes = world.read("repo/dbt/install_dbt.sh");
    assert_eq!(Digest::from_checksum_file(&sum).unwrap(), Digest::of(&bytes));
    // Again, it changes nothing.
    world.run(RELEASE).succeeds();
    assert_eq!(world.published(), published);

    // The next one puts its installer in the place of this one.
    world.write("dist/install_dbt.sh", b"#!/bin/sh\necho better\n");
    world.run(&RELEASE.replace(" --to", " --version 4.2.0 --to")).succeeds();
    assert_eq!(world.read("repo/dbt/install_dbt.sh"), b"#!/bin/sh\necho better\n");
    assert_eq!(world.read("repo/dbt/latest"), b"4.2.0");
}

#[test]
fn installers_with_settings_count_before_those_that_a_build_has_left() {
    let world = built();
    world.write("dist/linux/amd64/dbt-installer", b"#!/bin/sh\necho without\n");
    world.write("dist/darwin/arm64/dbt-installer", b"#!/bin/sh\necho without\n");
    world.run(RELEASE).succeeds();
    assert_eq!(world.read("repo/dbt/installer/linux/amd64/dbt-installer"), SCRIPT);
    let published = world.published();
    let other = "dbt/installer/darwin/arm64/dbt-installer";
    for ending in ["", ".asc", ".sha256"] {
        assert!(published.contains(&format!("{other}{ending}")), "{published:?}");
    }
    assert!(!published.iter().any(|path| path.starts_with("dbt-tools/dbt-installer")));
}

#[test]
fn half_a_release_is_not_published_unless_the_rest_is_left_out_by_name() {
    let world = built();
    let before = world.published();
    std::fs::remove_file(world.path("dist/reposerver_linux_arm64")).unwrap();
    let run = world.run(RELEASE).fails(80, "has no `reposerver` for linux/arm64");
    assert!(run.talk.contains("`--exclude reposerver`"), "{}", run.talk);
    world.run(&RELEASE.replace(" --yes", "")).fails(80, "has no `reposerver`");
    world.write("dist/reposerver_linux_arm64", SCRIPT);
    std::fs::remove_file(world.path("dist/darwin/arm64/catalog")).unwrap();
    world.run(RELEASE).fails(80, "has no `catalog` for darwin/arm64");
    assert_eq!(world.published(), before);

    world.write("dist/darwin/arm64/catalog", SCRIPT);
    let some = RELEASE.replace(" --to", " --exclude reposerver --exclude installer --to");
    world.run(&some.replace(" --yes", " --dry-run")).succeeds();
    world.run(&some.replace(" --yes", "")).fails(80, "there is no terminal");
    assert_eq!(world.published(), before);
    world.run(&some).succeeds();
    let published = world.published();
    assert!(!published.iter().any(|path| path.contains("reposerver")), "{published:?}");
    assert!(!published.iter().any(|path| path.contains("install")), "{published:?}");

    // A choice of installers alone marks no version as the newest.
    let world = built();
    world.run(&RELEASE.replace(" --to", " --include installer --to")).succeeds();
    assert!(!world.path("repo/dbt/latest").exists());
    assert!(world.path("repo/dbt/install_dbt.sh.asc").exists());
}

#[test]
fn what_is_refused_of_one_program_leaves_all_others_unpublished() {
    let world = built();
    world.write("repo/dbt-tools/publisher/4.1.0/linux/amd64/publisher", b"other bytes");
    let before = world.published();
    world.run(RELEASE).fails(86, "is published with other content");
    assert_eq!(world.published(), before);

    world.write("dist/linux-amd64/dbt.sha256", Digest::of(b"x").to_string().as_bytes());
    world.run(RELEASE).fails(86, "is not what");
    world.run("release nowhere --to REPO --yes").fails(80, "is no directory");
    world.write("empty/x", b"");
    world.run("release empty --to REPO --yes").fails(80, "`--version` is missing");
    world.run("release empty -v 1.0.0 --to REPO --yes").fails(80, "holds nothing of a release");
    assert_eq!(world.published(), before);
}

#[test]
fn a_pipeline_of_the_older_script_needs_no_other_variables() {
    let mut world = built();
    let server = Server::start();
    let release = "release dist --signer file:alice --yes";
    world.set("REPOSERVER_URL", server.url());
    world.set("REPOSERVER_AUTH", "bearer");
    world.run(release).fails(80, "`--auth bearer` needs a token");
    world.set("REPOSERVER_AUTH", "basic");
    world.run(release).fails(80, "`--auth basic` needs a user name");
    world.set("REPOSERVER_AUTH", "digest");
    world.run(release).fails(80, "`REPOSERVER_AUTH` is `digest`");
    world.set("UPLOAD_METHOD", "ftp");
    world.run(release).fails(80, "only `http` and `s3` are known");
    world.set("UPLOAD_METHOD", "s3");
    world.run(release).fails(80, "`UPLOAD_METHOD=s3` needs `DBT_S3_BUCKET`");
    world.set("UPLOAD_METHOD", "http");
    world.set("REPOSERVER_AUTH", "oidc");
    world.run(release).fails(83, "knows nobody here");
    assert!(server.writes().is_empty());

    world.set("REPOSERVER_AUTH", "bearer");
    world.set("REPOSERVER_TOKEN", TOKEN);
    world.run(release).succeeds();
    let writes = server.writes();
    assert_eq!(writes.last().map(String::as_str), Some("/dbt/latest"), "it comes last");
    let at = |path: &str| writes.iter().position(|one| one == path).unwrap();
    assert!(at("/dbt/4.1.0/linux/amd64/dbt.asc") < at("/dbt/4.1.0/linux/amd64/dbt.sha256"));
    // Where clients look, and not below `/dbt`, as the script had it.
    assert!(server.file("/dbt-tools/catalog/4.1.0/linux/amd64/catalog").is_some());
    assert!(!writes.iter().any(|path| path.starts_with("/dbt/dbt-tools")), "{writes:?}");
}

#[test]
fn a_pipeline_of_the_older_script_writes_to_the_same_buckets() {
    let mut world = World::new();
    let store = world.open_store();
    world.key("alice");
    let mut world = built_in(world);
    let (place, _) = store.url_parts();
    let bucket = place.strip_prefix("s3://").unwrap().to_owned();
    world.set("UPLOAD_METHOD", "s3");
    world.set("DBT_S3_BUCKET", &bucket);
    world.set("TOOLS_S3_BUCKET", &bucket);
    world.set("S3_REGION", bucket_server::REGION);
    world.set("AWS_ENDPOINT_URL_S3", store.endpoint());
    world.run("truststore add alice --repository STORE --signer file:alice").succeeds();
    store.take_requests();
    world.run("release dist --signer file:alice --yes").succeeds();
    assert_eq!(world.read("repo/latest"), b"4.1.0");
    for file in ["4.1.0/linux/amd64/dbt", "catalog/4.1.0/linux/arm64/catalog", "install_dbt.sh"] {
        for ending in ["", ".asc", ".sha256"] {
            assert!(world.path(&format!("repo/{file}{ending}")).exists(), "{file}{ending}");
        }
    }
    let asked = store.take_requests();
    let writes: Vec<_> = asked.iter().filter(|asked| asked.request.method == "PUT").collect();
    let last = writes.last().unwrap();
    assert!(last.request.path.ends_with("/latest"), "it comes last: {}", last.request.path);
    assert_eq!(last.request.header("cache-control"), Some("no-cache"));
}

#[test]
fn a_release_of_others_is_signed_again_when_their_key_has_signed_it() {
    let world = built();
    world.run(RELEASE).succeeds();
    let upstream = world.run("key export alice").succeeds().data;
    world.write("upstream.asc", upstream.as_bytes());
    world.key("bob");
    let stranger = world.run("key export bob").succeeds().data;
    world.write("stranger.asc", stranger.as_bytes());

    let again =
        "release --from REPO --upstream-key upstream.asc --to PLACE/mine --signer file:bob --yes";
    std::fs::create_dir(world.path("mine")).unwrap();
    world.run("release --from REPO --to PLACE/mine --yes").fails(80, "upstream-key");
    world.run(&again.replace("upstream.asc", "stranger.asc")).fails(86, "refusing to sign");
    let tampered = "repo/dbt-tools/reposerver/4.1.0/linux/arm64/reposerver";
    let good = world.read(tampered);
    world.write(tampered, b"#!/bin/sh\necho evil\n");
    world.run(again).fails(86, "refusing to sign");
    world.write(tampered, &good);
    std::fs::remove_file(world.path(tampered)).unwrap();
    world.run(again).fails(80, "has no `reposerver` for linux/arm64");
    world.write(tampered, &good);
    let companion = "repo/dbt-tools/catalog/4.1.0/windows/amd64/catalog.exe";
    let good = world.read(companion);
    std::fs::remove_file(world.path(companion)).unwrap();
    world.run(again).fails(80, "has no `catalog` for windows/amd64");
    world.write(companion, &good);
    let installer = "repo/dbt/installer/linux/amd64/dbt-installer";
    world.write(installer, b"#!/bin/sh\necho evil\n");
    world.run(again).fails(86, "has not signed it");
    world.write(installer, SCRIPT);
    assert_eq!(std::fs::read_dir(world.path("mine")).unwrap().count(), 0, "nothing was published");

    world.run(again).succeeds();
    assert_eq!(world.read("mine/dbt/latest"), b"4.1.0");
    assert_eq!(world.read("mine/dbt/4.1.0/linux/amd64/dbt"), SCRIPT);
    let [theirs, ours] =
        ["repo", "mine"].map(|tree| world.read(&format!("{tree}/dbt/4.1.0/linux/amd64/dbt.asc")));
    assert_ne!(theirs, ours);
    assert!(world.path("mine/dbt-tools/reposerver/4.1.0/linux/arm64/reposerver.asc").exists());
    assert!(world.path("mine/dbt-tools/catalog/4.1.0/windows/amd64/catalog.exe.asc").exists());
    assert!(!world.path("mine/dbt-tools/reposerver/4.1.0/windows").exists());
    assert!(world.path("mine/dbt/installer/linux/amd64/dbt-installer.asc").exists());
}

/// The script of 3.x warned of what it could not upload, and ended well.
#[test]
fn d33_what_could_not_be_uploaded_is_an_error_and_latest_waits_for_it() {
    let mut world = built();
    let server = Server::start();
    world.set("REPOSERVER_URL", server.url());
    world.set("REPOSERVER_TOKEN", TOKEN);
    server.misbehave(Fault::Status(507));
    let release = "release dist --auth bearer --signer file:alice --yes";
    let run = world.run(release).fails(82, "(507)");
    assert!(run.talk.contains("hint: "), "{}", run.talk);
    assert_eq!(server.files().len(), 0);
    server.behave();
    world.run(release).succeeds();
    assert_eq!(server.file("/dbt/latest").unwrap(), b"4.1.0");
    assert!(server.file("/dbt/4.1.0/linux/arm64/dbt.sha256").is_some());
}

/// The script of 3.x signed in anew for each file, and sent its own words as a part of the token.
#[test]
fn d33_a_release_signs_in_once_and_sends_nothing_but_the_token() {
    let (server, system) = (Server::start(), TokenEndpoint::start());
    let mut world = built();
    world.set("REPOSERVER_URL", server.url());
    let claims = serde_json::json!({"sub": "repo:acme/dbt", "aud": server.url()});
    world.set("DBT_ID_TOKEN", system.sign(claims));
    world.run("release dist --auth oidc --signer file:alice --yes").succeeds();
    assert!(server.files().len() > 30);
    assert!(server.exchanges().len() <= 2, "once to read, once to write");
    assert_eq!(server.credentials(), [format!("Bearer {TOKEN}")]);
}
