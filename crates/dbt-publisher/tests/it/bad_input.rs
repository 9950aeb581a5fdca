//! What cannot be published is refused before anything is uploaded, in words that name what is wrong,
//! why, and what to do about it; at a server and in a directory.

use std::ffi::OsString;

use dbt_testkit::invocation::mounts_work;

use super::http::{Fault, READ_TOKEN, Server, TOKEN};
use super::world::{Run, SCRIPT, World};

const LINE: &str = "publish deploy 1.4.0 linux/amd64=deploy --description x --to ROOT \
                    --signer file:alice --token-file PLACE/token";

/// Something that is wrong with what is typed, or lies there.
struct Case {
    /// What of [`LINE`] is replaced, and by what.
    typed: (&'static str, &'static str),
    /// How it ends.
    code: i32,
    /// The object and the cause.
    says: &'static str,
    /// The fix.
    hint: &'static str,
}

const CASES: [Case; 9] = [
    Case {
        typed: ("linux/amd64", "linux/x86"),
        code: 80,
        says: "`linux/x86` is not a platform",
        hint: "a slash, and `amd64` or `arm64`",
    },
    Case {
        typed: ("linux/amd64=deploy", "dist-misspelt"),
        code: 80,
        says: "dist-misspelt/macOS/` is not named as platforms are",
        hint: "the systems are `linux`, `darwin` and `windows`",
    },
    Case {
        typed: ("deploy 1.4.0 linux/amd64=deploy", "--metadata metadata.json"),
        code: 80,
        says: "`metadata.json` has a target `{{.Repository}}/{{.Name}}/{{.Version}}/linux/x86/deploy`",
        hint: "with `amd64` and `arm64`",
    },
    Case {
        typed: ("=deploy", "=missing"),
        code: 80,
        says: "failed to read `missing`",
        hint: "build the file first, or name where it is",
    },
    Case {
        typed: ("linux/amd64=deploy", "dist-half"),
        code: 80,
        says: "dist-half/linux/arm64` has no `deploy`",
        hint: "half a version is not published",
    },
    Case {
        typed: ("1.4.0", "1.3.0"),
        code: 86,
        says: "/dbt-tools/deploy/1.3.0/linux/amd64/deploy` is published with other content",
        hint: "publish it as a new version",
    },
    Case {
        typed: ("file:alice", "file:mallory"),
        code: 86,
        says: "is not in the truststore `",
        hint: "`publisher truststore add ",
    },
    Case {
        typed: ("file:alice", "file:nobody"),
        code: 81,
        says: "nobody",
        hint: "publisher key generate",
    },
    Case {
        typed: ("--description x", ""),
        code: 80,
        says: "`--description TEXT` is missing",
        hint: "one line is enough",
    },
];

/// Returns what is typed for a server, or for a directory, which wants no token.
fn line(root: &str) -> String {
    let line = LINE.replace("ROOT", root);
    if root == "REPO" { line.replace("--token-file PLACE/token", "") } else { line }
}

/// A world with everything that is wrong in it, and a version before.
fn world(root: &str) -> World {
    let world = World::new();
    for name in ["alice", "mallory"] {
        world.key(name);
    }
    world.write_secret("token", TOKEN);
    world.write_secret("reader", READ_TOKEN);
    world.write("deploy", b"#!/bin/sh\necho before\n");
    let publish = line(root);
    let place = publish.split_once(" --to ").unwrap().1;
    world.run(&format!("truststore add alice --to {place}")).succeeds();
    world.run(&publish.replace("1.4.0", "1.3.0")).succeeds();
    world.write("deploy", SCRIPT);
    world.write("dist-misspelt/macOS/arm64/deploy", SCRIPT);
    world.write("dist-half/linux/amd64/deploy", SCRIPT);
    world.write("dist-half/linux/arm64/README", b"nothing yet");
    let metadata = serde_json::json!({
        "name": "deploy", "version": "1.4.0", "repository": "http://127.0.0.1:1/dbt-tools",
        "publishing": {"targets": [{
            "src": "deploy", "dst": "{{.Repository}}/{{.Name}}/{{.Version}}/linux/x86/deploy",
        }]},
    });
    world.write("metadata.json", metadata.to_string().as_bytes());
    world
}

#[track_caller]
fn is_told(run: Run, case: &Case) {
    let run = run.fails(case.code, case.says);
    let hint = run.talk.split_once("\nhint: ").map_or(run.talk.as_str(), |(_before, hint)| hint);
    assert!(hint.contains(case.hint), "`{}` is not in: {}", case.hint, run.talk);
}

#[test]
fn a_server_is_sent_nothing() {
    let server = Server::start();
    let world = world(server.url());
    let (writes, files) = (server.writes(), server.files());
    for case in &CASES {
        let line = line(server.url()).replace(case.typed.0, case.typed.1);
        is_told(world.run(&line), case);
        assert_eq!(server.writes(), writes, "{}", case.says);
    }
    assert!(server.files() == files);
}

#[test]
fn a_directory_stays_as_it_is() {
    let world = world("REPO");
    let before: Vec<_> =
        world.served().into_iter().map(|it| (world.read(&format!("repo/{it}")), it)).collect();
    for case in &CASES {
        let line = line("REPO").replace(case.typed.0, case.typed.1);
        is_told(world.run(&line), case);
        let after: Vec<_> =
            world.served().into_iter().map(|it| (world.read(&format!("repo/{it}")), it)).collect();
        assert!(after == before, "{}", case.says);
    }
}

/// Whether a token may write is known to the server alone: it refuses the first files, of which some are sent at
/// once.
#[test]
fn a_token_without_rights_writes_nothing_and_is_refused_at_the_first_files() {
    let server = Server::start();
    let world = world(server.url());
    let files = server.files();
    let typed = line(server.url());
    for (token, status, hint) in [
        ("--token-file PLACE/reader", "(403)", "whoever publishes here has no right to that"),
        ("", "(401)", "say who publishes: `--token-file FILE`"),
    ] {
        let asked = server.writes().len();
        let run = world.run(&typed.replace("--token-file PLACE/token", token)).fails(83, status);
        assert!(run.talk.contains("failed to publish `deploy` 1.4.0"), "{}", run.talk);
        assert!(run.talk.contains(&format!("\nhint: {hint}")), "{}", run.talk);
        let asked = server.writes()[asked..].to_vec();
        assert!((1..=4).contains(&asked.len()), "{asked:?}");
        assert!(asked.iter().all(|path| path.starts_with("/dbt-tools/deploy/1.4.0/")), "{asked:?}");
    }
    assert!(server.files() == files);
}

#[test]
fn a_dead_server_is_named_and_the_same_command_goes_on() {
    let server = Server::start();
    let world = world(server.url());
    let (writes, files) = (server.writes(), server.files());
    let run = world.run(&line("http://127.0.0.1:1")).fails(82, "cannot connect");
    assert!(run.talk.contains("`http://127.0.0.1:1/dbt-tools/deploy/1.4.0/"), "{}", run.talk);
    assert!(run.talk.contains("\nhint: the same command again"), "{}", run.talk);
    assert_eq!(server.writes(), writes);
    assert!(server.files() == files);
}

/// The first file is refused, again and again; the version before stays the newest.
#[test]
fn a_server_without_room_keeps_nothing_and_is_told_so() {
    let server = Server::start();
    let world = world(server.url());
    let files = server.files();
    server.misbehave(Fault::Status(507));
    let run = world.run(&line(server.url())).fails(82, "(507)");
    assert!(run.talk.contains("\nhint: the same command again"), "{}", run.talk);
    assert!(server.files() == files);
    server.behave();
    world.run(&line(server.url())).says_nothing();
}

/// Runs the program with a disk of a few blocks in the place of a directory.
fn on_a_full_disk(world: &World, directory: &str, line: &str) -> Run {
    let mount = "mount -t tmpfs -o size=16k none \"$0\" && exec \"$@\"";
    let words = ["unshare", "-rm", "sh", "-c", mount].map(OsString::from).to_vec();
    let place = world.path(directory).into_os_string();
    let program = OsString::from(env!("CARGO_BIN_EXE_publisher"));
    world.run_through(&[words, vec![place, program]].concat(), line)
}

#[test]
fn a_full_disk_here_is_named_before_anything_is_sent() {
    if !mounts_work() {
        return;
    }
    let server = Server::start();
    let mut world = world(server.url());
    let (writes, files) = (server.writes(), server.files());
    // It does not fit unpacked.
    let mut large = SCRIPT.to_vec();
    large.resize(1 << 20, b'#');
    world.write("dist/deploy", &large);
    let packed = world.path("deploy_linux_amd64.tar.gz");
    let tar = std::process::Command::new("tar")
        .args(["-czf".as_ref(), packed.as_os_str(), "-C".as_ref(), world.path("dist").as_os_str()])
        .arg("deploy")
        .output();
    assert!(tar.unwrap().status.success());
    world.write("temporary/nothing", b"");
    world.set("TMPDIR", world.path("temporary"));
    let line = line(server.url()).replace("=deploy", "=deploy_linux_amd64.tar.gz");
    let run =
        on_a_full_disk(&world, "temporary", &line).fails(87, "failed to write a temporary file");
    assert!(run.talk.contains("deploy_linux_amd64.tar.gz`"), "{}", run.talk);
    assert!(run.talk.contains("No space left on device"), "{}", run.talk);
    assert!(run.talk.contains("\nhint: temporary files go to `TMPDIR`"), "{}", run.talk);
    assert_eq!(server.writes(), writes);
    assert!(server.files() == files);
    world.run(&line).says_nothing();
}
