//! Large files on their way to our own server, versions that are not complete, and what is refused.

use std::fs;
use std::path::PathBuf;

use dbt_core::digest::Digest;
use dbt_testkit::relay::{Doomed, Relay, Signal, When};
use serde_json::json;

use crate::daemon::eventually;
use crate::life::Served as _;
use crate::nginx::nginx;
use crate::reposerver::TOKEN;
use crate::site::{SMALL, Site};

const MIB: u64 = 1024 * 1024;

/// Where the server keeps what has come of an upload in parts, of the one that there is.
fn half_of(site: &Site) -> PathBuf {
    let place = site.server().served().join(".reposerver/uploads");
    let mut uploads = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let upload = uploads.next().unwrap();
    assert_eq!(uploads.next(), None);
    upload
}

/// Cuts each connection again on which a part is sent, when so much of it has passed.
fn cut_each_part(relay: &Relay, after: u64) {
    let again = relay.clone();
    relay.at("PATCH ", 1, When::Within(after), move || cut_each_part(&again, after));
}

#[test]
fn a_large_file_comes_in_parts_and_what_came_before_a_cut_is_not_sent_again() {
    let site = Site::new(41 * MIB);
    // It never gets as far as the end of a part.
    cut_each_part(&site.relay, 6 * MIB);
    let run = site.while_read("1.4.0", || site.publish("1.4.0"));
    run.succeeds("cut again and again");
    let parts = site.relay.take_lines().iter().filter(|line| line.starts_with("PATCH ")).count();
    assert!(parts > 6, "{parts} parts");
    let passed = site.relay.take_passed();
    assert!(passed <= site.length() + SMALL, "{passed} bytes of {}", site.length());
    assert!(site.is_seen("1.4.0", "at the end"));
    assert!(!site.relay.was_done(), "it would go on cutting");

    site.publish("1.4.0").succeeds("again");
    assert_eq!(site.relay.take_passed(), 0, "nothing is sent twice");
}

#[test]
fn another_run_goes_on_with_what_came_of_a_large_file() {
    let site = Site::new(20 * MIB);
    let doomed = Doomed::default();
    let victim = doomed.clone();
    site.relay.at("PATCH ", 2, When::Within(3 * MIB), move || victim.end(Signal::KILL));
    assert_eq!(site.publish_doomed("1.4.0", &doomed).code, None);
    let first = site.relay.take_passed();
    assert!(first >= 11 * MIB, "{first}");
    // The server may be ended meanwhile too, when it has what was sent.
    let has_come = || half_of(&site).join("bytes").metadata().unwrap().len() >= 11 * MIB;
    assert!(eventually(has_come), "it keeps what came");
    site.ends_the_server(true)();
    assert!(!site.is_seen("1.4.0", "not yet"));
    site.publish("1.4.0").succeeds("again");
    let second = site.relay.take_passed();
    assert!(first + second <= site.length() + SMALL, "{first} and {second} bytes");
    assert!(site.is_seen("1.4.0", "at the end"));
}

#[test]
fn an_upload_that_has_expired_or_is_spoilt_is_begun_again() {
    let site = Site::new(20 * MIB);
    for (version, spoil) in [("1.4.0", true), ("1.5.0", false)] {
        let doomed = Doomed::default();
        let victim = doomed.clone();
        site.relay.at("PATCH ", 2, When::Within(3 * MIB), move || victim.end(Signal::INT));
        assert_eq!(site.publish_doomed(version, &doomed).code, None);
        site.ends_the_server(false)();
        let half = half_of(&site);
        if spoil {
            let mut bytes = fs::read(half.join("bytes")).unwrap();
            bytes[1000] ^= 1;
            fs::write(half.join("bytes"), bytes).unwrap();
        } else {
            fs::remove_dir_all(half).unwrap();
        }
        site.server().start_again();
        site.lead();
        site.relay.take_passed();
        site.publish(version).succeeds(version);
        assert!(site.is_seen(version, version));
        let passed = site.relay.take_passed();
        assert!(passed <= 2 * site.length(), "{passed}");
        let left = site.server().served().join(".reposerver/uploads");
        assert_eq!(fs::read_dir(left).unwrap().count(), 0, "nothing is left of it");
    }
}

#[test]
fn a_platform_alone_does_not_bring_to_light_what_an_interrupted_run_has_begun() {
    let site = Site::new(1000);
    let doomed = Doomed::default();
    let victim = doomed.clone();
    let checksum = "PUT /dbt-tools/deploy/1.4.0/linux/amd64/deploy.sha256";
    site.relay.at(checksum, 1, When::Before, move || victim.end(Signal::KILL));
    assert_eq!(site.publish_doomed("1.4.0", &doomed).code, None);
    let alone = [format!("darwin/arm64={}", site.small.display())];
    let run = site.publish_as(TOKEN, "1.4.0", &alone, &Doomed::default());
    run.fails(83, "it waits for `linux/amd64/deploy.sha256`");
    assert!(run.talk.contains("all appear when they are complete"), "{}", run.talk);
    assert!(!site.is_seen("1.4.0", "not yet"));
    site.publish("1.4.0").succeeds("again");
    assert!(site.is_seen("1.4.0", "at the end"));
}

#[test]
fn a_platform_that_is_published_alone_waits_for_nobody() {
    let site = Site::new(1000);
    for what in [
        format!("darwin/arm64={}", site.small.display()),
        format!("linux/amd64={}", site.large.display()),
    ] {
        let run = site.publish_as(TOKEN, "1.4.0", &[what], &Doomed::default());
        run.succeeds("alone");
        let asked = site.relay.take_lines();
        assert!(!asked.iter().any(|line| line.contains("/releases")), "{asked:?}");
    }
    assert!(site.is_seen("1.4.0", "at the end"));
}

#[test]
fn who_may_not_publish_is_told_so_before_anything_is_sent() {
    let token = |(name, token): (&str, &str)| json!({"name": name, "sha256": Digest::of(token.as_bytes()).to_string()});
    let tokens = [("root", TOKEN), ("other", "write-token")].map(token);
    let settings = json!({
        "authOptsPut": {},
        "tokens": tokens,
        "auth": {"roles": {"admin": ["root"]}},
        "policies": [
            {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
            {"name": "other", "subjects": ["other"], "paths": ["/dbt-tools/other/**"],
             "actions": ["create"]},
        ],
    });
    let site = Site::with(&settings, 9 * MIB);
    let what = [format!("linux/amd64={}", site.large.display())];
    for (token, words, hint) in [
        ("write-token", "access is denied (403)", "has no right to that"),
        ("planted-bearer", "the server wants to know who asks (401)", "`--token-file FILE`"),
    ] {
        let run = site.publish_as(token, "1.4.0", &what, &Doomed::default());
        run.fails(83, words);
        assert!(run.talk.contains(hint), "{}", run.talk);
        assert!(site.relay.take_passed() < SMALL, "{}", run.talk);
        assert!(!site.is_seen("1.4.0", words));
        assert!(!site.server().served().join("dbt-tools/deploy").exists());
    }
}

#[test]
fn a_place_that_is_full_is_said_and_keeps_the_version_before() {
    let quota = json!([{"path": "/dbt-tools/deploy", "bytes": 9 * MIB}]);
    let site = Site::with(&json!({"limits": {"quotas": quota}}), 10 * MIB);
    let run = site.while_read("1.4.0", || site.publish("1.4.0"));
    run.fails(82, "the server has no room left for it (507)");
    for words in ["makes room, or raises the limit", "clients keep to the version before"] {
        assert!(run.talk.contains(words), "{}", run.talk);
    }
    assert!(!site.is_seen("1.4.0", "there is no room"));
}

/// nginx takes `PUT` and nothing else.
#[test]
fn a_large_file_is_put_whole_to_a_web_server_of_others() {
    let site = Site::new(9 * MIB);
    let place = site.server().place().to_owned();
    let served = place.join("elsewhere");
    fs::create_dir(&served).unwrap();
    let words = "autoindex on; client_max_body_size 0; location / { dav_methods PUT; create_full_put_path on; }";
    let web = nginx(&served, &place, words);
    site.relay.lead_to(web.root()["http://".len()..].parse().unwrap());
    let run = site.publish("1.4.0");
    assert_eq!(run.code, Some(0), "{}", run.talk);
    let at = served.join("dbt-tools/deploy/1.4.0");
    assert!(fs::read(at.join("linux/amd64/deploy")).unwrap() == fs::read(&site.large).unwrap());
    assert!(at.join("darwin/arm64/deploy.sha256").exists());
    let passed = site.relay.take_passed();
    assert!(passed <= site.length() + SMALL, "{passed}");
    assert_eq!(site.publish("1.4.0").code, Some(0));
    assert_eq!(site.relay.take_passed(), 0, "nothing is written again");
}
