//! The publisher or the server is ended at each request of a publication: readers never see half of a
//! version, and the same command again completes it and sends nothing twice.

use dbt_testkit::relay::{Doomed, Signal, When};

use crate::publishing::Site;

/// One part, and a bit of another.
const LENGTH: u64 = 8 * 1024 * 1024 + 100_000;

/// More than what is sent besides the artifacts.
const SMALL: u64 = 64 * 1024;

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
    // Of small files that were on their way when it ended nothing is kept.
    let second = site.relay.take_passed();
    assert!(first + second <= site.length() + 2 * SMALL, "{first} and {second} bytes, {told}");
    true
}

#[test]
fn a_server_that_is_killed_at_any_request_and_started_again_shows_a_whole_version_or_none() {
    let site = Site::new(LENGTH);
    let requests = (1..).take_while(|number| server_ends(&site, *number, true)).count();
    assert!(requests > 30, "{requests} requests are too few to be all");
}

#[test]
fn a_server_that_is_killed_and_stays_away_leaves_a_whole_version_or_none() {
    let site = Site::new(LENGTH);
    let numbers = (1..).step_by(3);
    let requests = numbers.take_while(|number| server_ends(&site, *number, false)).count();
    assert!(requests > 10, "{requests} requests are too few to be all");
}
