//! The publisher or the server is ended at each request of a publication, and the server at its own
//! changes of files: readers never see half of a
//! version, and the same command again completes it and sends nothing twice.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use dbt_client::source::PART;
use dbt_testkit::changes::{Begins, Changes, Counted, Disturbance, Fault, Lasts, Report};
use dbt_testkit::relay::{Doomed, Signal, When};

use crate::reposerver::built;
use crate::site::{SMALL, Site};

/// One part, and a bit of another.
const LENGTH: u64 = PART + 100_000;

/// At each so-manieth request the server stays away: whoever publishes waits for it for a while.
const AWAY: usize = 11;

/// At each so-manieth change of a file the server is killed.
const EACH: usize = 23;

/// More requests than a publication makes.
const MANY: usize = 1000;

/// How many are tried at once: each waits most of the time.
const AT_ONCE: usize = 3;

/// Ends the publisher at each of its requests, each time of another version.
fn publisher_ends(when: When, signal: Signal) {
    let site = Site::new(LENGTH);
    let mut number = 0;
    loop {
        number += 1;
        let (version, doomed) = (format!("1.0.{number}"), Doomed::default());
        let victim = doomed.clone();
        site.relay.at("", number, when, move || victim.end(signal));
        let run = site.while_read(&version, || site.publish_doomed(&version, &doomed));
        let told = format!("at {:?}: {}", site.relay.take_lines().last(), run.talk);
        if !site.relay.was_done() {
            run.succeeds("nothing was done");
            break;
        }
        assert_eq!(run.code, None, "{told}");
        site.is_seen(&version, &told);
        let first = site.relay.take_passed();
        site.while_read(&version, || site.publish(&version)).succeeds(&told);
        assert!(site.is_seen(&version, &told), "it is completed, {told}");
        let second = site.relay.take_passed();
        assert!(first + second <= site.length() + SMALL, "{first} and {second} bytes, {told}");
        site.relay.take_lines();
    }
    assert!(number > 30, "{number} requests are too few to be all");
}

#[test]
fn a_publisher_that_is_killed_before_any_of_its_requests_leaves_a_whole_version_or_none() {
    publisher_ends(When::Before, Signal::KILL);
}

#[test]
fn a_publisher_that_is_interrupted_after_any_of_its_requests_leaves_a_whole_version_or_none() {
    publisher_ends(When::After, Signal::INT);
}

/// Ends the server at each request, and says whether there was such a request.
fn server_ends(site: &Site, number: usize, starts_again: bool) -> bool {
    let version = format!("1.0.{number}");
    let when = if number.is_multiple_of(2) { When::After } else { When::Before };
    site.relay.at("", number, when, site.ends_the_server(starts_again));
    let run = site.while_read(&version, || site.publish(&version));
    let told = format!("at {number}, {:?}: {}", site.relay.take_lines(), run.talk);
    if !site.relay.was_done() {
        run.succeeds("nothing was done");
        return false;
    }
    if !starts_again {
        site.server().start_again();
        site.lead();
    }
    let is_seen = site.is_seen(&version, &told);
    if run.code == Some(0) {
        assert!(is_seen, "{told}");
    } else {
        assert_eq!(run.code, Some(82), "{told}");
        let goes_on = "the same command again goes on where it stopped";
        assert!(run.talk.contains("failed to") || run.talk.contains(goes_on), "{told}");
    }
    let first = site.relay.take_passed();
    site.publish(&version).succeeds(&told);
    assert!(site.is_seen(&version, &told), "it is completed, {told}");
    // What was on its way when it ended it had perhaps not written yet: of a large file a part at most.
    let second = site.relay.take_passed();
    let most = site.length() + PART + 2 * SMALL;
    assert!(first + second <= most, "{first} and {second} bytes, {told}");
    true
}

#[test]
fn a_server_that_is_killed_at_any_request_and_started_again_shows_a_whole_version_or_none() {
    let site = Site::new(LENGTH);
    let requests = (1..MANY).take_while(|number| server_ends(&site, *number, true)).count();
    assert!((31..MANY - 1).contains(&requests), "{requests} requests cannot be all");
}

#[test]
fn a_server_that_is_killed_and_stays_away_leaves_a_whole_version_or_none() {
    let site = Site::new(LENGTH);
    let numbers = (1..MANY).step_by(AWAY);
    let requests = numbers.take_while(|number| server_ends(&site, *number, false)).count();
    assert!(requests > 2, "{requests} requests are too few to be all");
}

/// Starts the server so that it is killed at one of its changes of files, from now on.
fn doom_the_server(site: &Site, changes: &Changes, number: usize) {
    let mut server = site.server();
    server.stop();
    let kill =
        Disturbance { counted: Counted::Changes, number, fault: Fault::Kill, lasts: Lasts::Once };
    let report = server.place().join("disturbed");
    let words = changes.words(kill, Begins::AtSignal, server.place(), &report);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(built("reposerver")).arg("-f").arg(server.settings());
    server.started(command);
    server.signal(Signal::USR1);
    drop(server);
    site.lead();
}

/// Publishes a version to a server that is killed at one of its changes; says whether it came to that.
fn server_ends_at_a_change(site: &Site, changes: &Changes, number: usize) -> bool {
    let version = format!("1.0.{number}");
    doom_the_server(site, changes, number);
    let run = site.while_read(&version, || site.publish(&version));
    let report = {
        let mut server = site.server();
        server.stop();
        let report = Report::read(&server.place().join("disturbed"));
        server.start_again();
        report
    };
    site.lead();
    let told = format!("at {:?}: {}", report.done.first(), run.talk);
    if !report.was_disturbed() {
        run.succeeds("nothing was done");
        return false;
    }
    let is_seen = site.is_seen(&version, &told);
    if run.code == Some(0) {
        assert!(is_seen, "{told}");
    } else {
        assert_eq!(run.code, Some(82), "{told}");
    }
    site.while_read(&version, || site.publish(&version)).succeeds(&told);
    assert!(site.is_seen(&version, &told), "it is completed, {told}");
    true
}

#[test]
fn a_server_that_is_killed_at_a_change_of_its_files_shows_a_whole_version_or_none() {
    let directory = tempfile::tempdir().unwrap();
    let directory: &Path = directory.path();
    let changes = Changes::compiled(directory);
    let (next, done) = (AtomicUsize::new(1), Mutex::new(0));
    std::thread::scope(|scope| {
        for _worker in 0..AT_ONCE {
            scope.spawn(|| {
                let site = Site::new(LENGTH);
                while server_ends_at_a_change(
                    &site,
                    &changes,
                    next.fetch_add(EACH, Ordering::Relaxed),
                ) {
                    *done.lock().unwrap() += 1;
                }
            });
        }
    });
    let done = done.into_inner().unwrap();
    assert!(done > 10, "{done} changes are too few to be all");
}
