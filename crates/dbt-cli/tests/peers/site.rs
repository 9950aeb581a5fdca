//! Somebody who publishes to our own server on a way that can be cut, and readers who look at it all the
//! while.

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dbt_core::digest::Digest;
use dbt_core::listing::Listing;
use dbt_testkit::http::{Answer, ask};
use dbt_testkit::relay::{Doomed, Relay};

use crate::reposerver::{Reposerver, TOKEN, publisher};

/// More than everything that is sent besides the artifacts.
pub(crate) const SMALL: u64 = 64 * 1024;

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
    pub(crate) large: PathBuf,
    pub(crate) small: PathBuf,
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

    /// A server as it is, and a tool of so many bytes and another small one to be published.
    pub(crate) fn new(length: u64) -> Self {
        Self::with(&serde_json::json!({}), length)
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
        self.publish_as(TOKEN, version, &what, doomed)
    }

    /// Publishes what is typed, with a token.
    pub(crate) fn publish_as(
        &self,
        token: &str,
        version: &str,
        what: &[String],
        doomed: &Doomed,
    ) -> Run {
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
}

impl Run {
    #[track_caller]
    pub(crate) fn succeeds(&self, told: &str) {
        assert_eq!((self.code, self.talk.as_str()), (Some(0), ""), "{told}");
    }

    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{}", self.talk);
        assert!(self.talk.contains(words), "`{words}` is not in: {}", self.talk);
    }
}
