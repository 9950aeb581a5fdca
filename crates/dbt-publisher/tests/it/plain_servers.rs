//! Publishing to servers that know `PUT` and nothing more: what is interrupted, refused or large.

use dbt_core::digest::Digest;
use dbt_testkit::relay::{Doomed, Relay, Signal, When};

use super::http::{Fault, Server, publishing_to};
use super::world::{Run, SCRIPT};

const FILES: [&str; 3] = ["linux/amd64/deploy", "darwin/arm64/deploy", "description.txt"];

fn line(version: &str, root: &str) -> String {
    format!(
        "publish deploy {version} linux/amd64=deploy darwin/arm64=deploy --description x \
         --to {root} --signer file:alice --token-file PLACE/token"
    )
}

fn at(version: &str, file: &str) -> String {
    format!("/dbt-tools/deploy/{version}/{file}")
}

/// Whatever has its checksum there is whole: without one, clients skip it.
#[track_caller]
fn nothing_is_half(server: &Server, version: &str, told: &str) -> bool {
    let mut are_whole = true;
    for file in FILES {
        let Some(checksum) = server.file(&at(version, &format!("{file}.sha256"))) else {
            are_whole = false;
            continue;
        };
        let bytes = server.file(&at(version, file));
        let bytes = bytes.unwrap_or_else(|| panic!("{file} is missing, {told}"));
        assert_eq!(checksum, Digest::of(&bytes).to_string().into_bytes(), "{file}, {told}");
        assert!(server.file(&at(version, &format!("{file}.asc"))).is_some(), "{file}, {told}");
    }
    are_whole
}

/// Ends the publisher at each of its requests, each time of another version.
fn ended_at_each_request(when: When, signal: Signal) {
    let server = Server::start();
    let world = publishing_to(&server);
    let relay = Relay::start();
    relay.lead_to(server.address());
    let mut number = 0;
    loop {
        number += 1;
        let (version, doomed) = (format!("1.0.{number}"), Doomed::default());
        let victim = doomed.clone();
        relay.at("", number, when, move || victim.end(signal));
        let run = world.run_doomed(&line(&version, &relay.url()), &doomed);
        let told = format!("{:?}: {}", relay.take_lines().last(), run.talk);
        if !relay.was_done() {
            run.says_nothing();
            break;
        }
        assert_eq!(run.code, None, "{told}");
        nothing_is_half(&server, &version, &told);

        let before = server.writes();
        let there: Vec<&String> =
            before.iter().filter(|path| server.file(path).is_some()).collect();
        world.run(&line(&version, &relay.url())).says_nothing();
        assert!(nothing_is_half(&server, &version, &told), "it is completed, {told}");
        // What had arrived is not sent again; of several that were on their way, some had not.
        let writes = server.writes();
        let again = writes[before.len()..].iter().filter(|path| there.contains(path));
        assert_eq!(again.count(), 0, "{told}");
        relay.take_lines();
    }
    assert!(number > 25, "{number} requests are too few to be all");
}

#[test]
fn a_publisher_that_is_killed_before_any_of_its_requests_leaves_nothing_half() {
    ended_at_each_request(When::Before, Signal::KILL);
}

#[test]
fn a_publisher_that_is_interrupted_after_any_of_its_requests_leaves_nothing_half() {
    ended_at_each_request(When::After, Signal::INT);
}

/// Nobody is asked whether he takes parts of what fits into one.
#[test]
fn a_large_file_is_put_whole_where_nothing_takes_parts() {
    let server = Server::start();
    let world = publishing_to(&server);
    let large = [SCRIPT, &vec![b'#'; 9 * 1024 * 1024]].concat();
    world.write("deploy", &large);
    world.run(&line("1.4.0", server.url())).says_nothing();
    assert_eq!(server.file(&at("1.4.0", "linux/amd64/deploy")).unwrap(), large);
    assert!(nothing_is_half(&server, "1.4.0", "at the end"));
    let before = server.writes().len();
    world.run(&line("1.4.0", server.url())).says_nothing();
    assert_eq!(server.writes().len(), before);
}

#[test]
fn what_a_server_refuses_is_said_with_what_helps_and_nothing_is_seen() {
    for (status, code, words, hint) in [
        (401, 83, "the server wants to know who asks (401)", "`--token-file FILE`"),
        (403, 83, "access is denied (403)", "has no right to that"),
        (404, 84, "there is no such file or directory (404)", ""),
        (503, 82, "the server failed (503)", "the same command again goes on"),
        (507, 82, "the server has no room left for it (507)", "makes room"),
    ] {
        let server = Server::start();
        let world = publishing_to(&server);
        server.misbehave(Fault::Status(status));
        let run: Run = world.run(&line("1.4.0", server.url())).fails(code, words);
        assert!(run.talk.contains("failed to publish `deploy` 1.4.0"), "{}", run.talk);
        assert!(run.talk.contains(hint), "{}", run.talk);
        for file in FILES {
            assert_eq!(server.file(&at("1.4.0", file)), None, "{status}");
        }
        server.behave();
        world.run(&line("1.4.0", server.url())).says_nothing();
        assert!(nothing_is_half(&server, "1.4.0", "at the end"));
    }
}
