//! Somebody who publishes to our own server on a way that can be cut, and readers who look at it all the
//! while; and what becomes of large files.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::listing::Listing;
use dbt_testkit::http::{Answer, ask};
use dbt_testkit::relay::{Doomed, Relay, Signal, When};
use serde_json::json;

use crate::nginx::nginx;
use crate::reposerver::{Reposerver, TOKEN, publisher};

const MIB: u64 = 1024 * 1024;

/// More than everything that is sent besides the artifacts, also twice.
const SMALL: u64 = 64 * 1024;

/// What a version has when all of it is there.
const WHOLE: [&str; 5] =
    ["darwin", "description.txt", "description.txt.asc", "description.txt.sha256", "linux"];

/// What readers leave of the processor to others.
const BETWEEN_READS: Duration = Duration::from_millis(2);

/// A server, and the ways to it.
pub(crate) struct Site {
    server: Arc<Mutex<Reposerver>>,
    /// The publisher's.
    pub(crate) relay: Relay,
    /// The readers'.
    reads: Relay,
    home: PathBuf,
    signer: String,
    large: PathBuf,
    small: PathBuf,
}

/// How the publisher ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Nothing when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) talk: String,
}

impl Site {
    /// A server with these settings, and a tool of so many bytes and another small one to be published.
    pub(crate) fn with(settings: &serde_json::Value, length: u64) -> Self {
        let server = Reposerver::with(settings);
        let (large, small) = (server.place().join("large"), server.place().join("small"));
        let mut bytes = b"#!/bin/sh\n".to_vec();
        // No part of it is like another, so that none can be taken for another.
        bytes.extend((0_u64..).flat_map(u64::to_le_bytes).take(usize::try_from(length).unwrap()));
        fs::write(&large, bytes).unwrap();
        fs::write(&small, "#!/bin/sh\n").unwrap();
        let (home, signer) = (server.home(), server.key());
        let site = Self {
            server: Arc::new(Mutex::new(server)),
            relay: Relay::start(),
            reads: Relay::start(),
            home,
            signer,
            large,
            small,
        };
        site.lead();
        site
    }

    pub(crate) fn new(length: u64) -> Self {
        Self::with(&json!({}), length)
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Reposerver> {
        self.server.lock().unwrap()
    }

    /// Leads both ways to where the server is now.
    pub(crate) fn lead(&self) {
        let address = self.server().address();
        self.relay.lead_to(address);
        self.reads.lead_to(address);
    }

    /// Returns what ends the server and, if it shall be so, starts it again.
    pub(crate) fn ends_the_server(&self, starts_again: bool) -> impl FnOnce() + Send + 'static {
        let server = Arc::clone(&self.server);
        let ways = [self.relay.clone(), self.reads.clone()];
        move || {
            let mut server = server.lock().unwrap();
            server.kill();
            if starts_again {
                server.start_again();
                for way in ways {
                    way.lead_to(server.address());
                }
            }
        }
    }

    /// Publishes a version for both platforms.
    pub(crate) fn publish(&self, version: &str) -> Run {
        self.publish_doomed(version, &Doomed::default())
    }

    /// Does so and says which process it is.
    pub(crate) fn publish_doomed(&self, version: &str, doomed: &Doomed) -> Run {
        let (large, small) = (self.large.display(), self.small.display());
        let what = [format!("linux/amd64={large}"), format!("darwin/arm64={small}")];
        self.run(version, &what, TOKEN, doomed)
    }

    fn run(&self, version: &str, what: &[String], token: &str, doomed: &Doomed) -> Run {
        let url = self.relay.url();
        let mut words = vec!["publish", "deploy", version];
        words.extend(what.iter().map(String::as_str));
        words.extend(["--description", "says", "--to", &url, "--signer", &self.signer]);
        let token = token.as_ref();
        let mut command = publisher(&self.home, &words, ("DBT_PUBLISH_TOKEN", token));
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        doomed.is(&child);
        let Output { status, stderr, stdout: _ } = child.wait_with_output().unwrap();
        Run { code: status.code(), talk: String::from_utf8(stderr).unwrap() }
    }

    fn get(&self, path: &str) -> Option<Answer> {
        let url = format!("{}/dbt-tools/deploy/{path}", self.reads.url());
        ask("GET", &url, &[], None).ok()
    }

    /// Returns what a reader is told is in a directory; nothing where there is none, or no answer.
    fn names(&self, path: &str) -> Option<Vec<String>> {
        let answer = self.get(path).filter(|answer| answer.status == 200)?;
        let listing = Listing::parse(&answer.body, "http://host/").unwrap();
        let mut names: Vec<String> = listing.names().map(str::to_owned).collect();
        names.sort_unstable();
        Some(names)
    }

    /// Says whether readers see a version. Of one that they see they see everything.
    #[track_caller]
    pub(crate) fn is_seen(&self, version: &str, told: &str) -> bool {
        let Some(names) = self.names(&format!("{version}/")) else { return false };
        assert_eq!(names, WHOLE, "{told}");
        for (platform, file) in [("linux/amd64", &self.large), ("darwin/arm64", &self.small)] {
            let names = self.names(&format!("{version}/{platform}/"));
            let whole = ["deploy", "deploy.asc", "deploy.sha256"].map(str::to_owned);
            assert_eq!(names.unwrap(), whole, "{told}");
            let answer = self.get(&format!("{version}/{platform}/deploy")).unwrap();
            assert_eq!(Digest::of(&answer.body), Digest::of(&fs::read(file).unwrap()), "{told}");
        }
        true
    }

    /// Does something, while readers look at a version all the time and see all of it or nothing.
    pub(crate) fn while_read<T>(&self, version: &str, work: impl FnOnce() -> T) -> T {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    if let Some(names) = self.names(&format!("{version}/")) {
                        assert_eq!(names, WHOLE, "while it is published");
                    }
                    std::thread::sleep(BETWEEN_READS);
                }
            });
            let outcome = work();
            ended.store(true, Ordering::Relaxed);
            reader.join().unwrap();
            outcome
        })
    }

    /// The bytes of the two artifacts.
    pub(crate) fn length(&self) -> u64 {
        [&self.large, &self.small].map(|file| file.metadata().unwrap().len()).iter().sum()
    }

    /// Where the server keeps what has come of an upload in parts, of the one that there is.
    fn half(&self) -> PathBuf {
        let place = self.server().served().join(".reposerver/uploads");
        let mut uploads = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
        let upload = uploads.next().unwrap();
        assert_eq!(uploads.next(), None);
        upload
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn succeeds(&self, told: &str) {
        assert_eq!((self.code, self.talk.as_str()), (Some(0), ""), "{told}");
    }

    #[track_caller]
    fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}", self.talk);
        assert!(self.talk.contains(words), "`{words}` is not in: {}", self.talk);
    }
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
    assert!(!site.relay.was_done(), "the last part is short enough");

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
    // The server may be ended meanwhile too.
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
        let half = site.half();
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
    let run = site.run("1.4.0", &alone, TOKEN, &Doomed::default());
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
        let run = site.run("1.4.0", &[what], TOKEN, &Doomed::default());
        run.succeeds("alone");
        let asked = site.relay.take_lines();
        assert!(!asked.iter().any(|line| line.contains("/releases")), "{asked:?}");
    }
    assert!(site.is_seen("1.4.0", "at the end"));
}

#[test]
fn who_may_not_publish_is_told_so_before_anything_is_sent() {
    let token =
        |name: &str| json!({"name": name, "sha256": Digest::of(name.as_bytes()).to_string()});
    let tokens = [TOKEN, "write-token"].map(token);
    let settings = json!({
        "authOptsPut": {},
        "tokens": tokens,
        "auth": {"roles": {"admin": [TOKEN]}},
        "policies": [
            {"name": "reading", "subjects": ["anonymous"], "paths": ["/**"], "actions": ["read", "list"]},
            {"name": "other", "subjects": ["write-token"], "paths": ["/dbt-tools/other/**"],
             "actions": ["create"]},
        ],
    });
    let site = Site::with(&settings, 9 * MIB);
    let what = [format!("linux/amd64={}", site.large.display())];
    for (token, words) in [
        ("write-token", "access is denied (403)"),
        ("planted-bearer", "the server wants to know who asks (401)"),
    ] {
        let run = site.run("1.4.0", &what, token, &Doomed::default());
        run.fails(83, words);
        assert!(run.talk.contains("`--token-file FILE`"), "{}", run.talk);
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
    site.relay.lead_to(crate::life::Served::root(&web)["http://".len()..].parse().unwrap());
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
