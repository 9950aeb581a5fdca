//! A server that is worked without a pause while it is killed, told to stop and given new settings:
//! what was answered with success is there at the end, nobody ever reads anything wrong, and the last
//! server holds no more memory and descriptors than the first.
//!
//! The figures of [docs/reliability.md](../../../../docs/reliability.md) are from here.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::load::{Load, REPLACED, files_of, replacement};
use crate::world::{Place, Server, WRITABLE, sha256};

/// How many files are asked for, at least.
const READS: u64 = 200_000;
/// How many versions are published; each is three files.
const VERSIONS: u64 = 667;
/// How often the server is started again: after a kill, and after an order to stop, by turns.
const RESTARTS: u64 = 40;
/// How often it reads its settings again.
const RELOADS: u64 = 50;

/// What a process has done when its memory is measured, and the files that it has read then.
const READS_OF_WARM_UP: u64 = 20_000;
const VERSIONS_OF_WARM_UP: u64 = 67;
const FILES_OF_WARM_UP: usize = 3 * 67;
/// What the last one does then, until it is measured once more.
const READS_AFTER: u64 = 40_000;
/// How often it does that, until once nothing has grown by it: heaps of threads come one by one, and
/// what each request leaves behind comes every time.
const ROUNDS_AFTER: usize = 5;

/// How much more memory the last process may hold than the first, which had fewer files and records
/// to remember and fewer threads at the same time, each with a heap that the allocator keeps.
const SLACK: u64 = 8 * 1024 * 1024;

/// A start takes no longer, whatever it finds and whoever else wants the machine.
const START: Duration = Duration::from_secs(30);
/// All of it takes no longer.
const ALL: Duration = Duration::from_mins(10);

fn members(reload: u64) -> String {
    let listing = 100_000 + reload;
    format!(
        r#"{WRITABLE}, "listen": {{"metrics": "127.0.0.1:0"}}, "limits": {{"maxListing": {listing}}}"#
    )
}

/// What a process holds when it has nothing to do.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Memory of its own, in bytes: pages of its program are the system's to keep or to drop.
    memory: u64,
    descriptors: u64,
}

impl Held {
    fn by(server: &Server) -> Self {
        let process = format!("/proc/{}", server.process.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        let memory = memory.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024;
        let descriptors = std::fs::read_dir(format!("{process}/fd")).unwrap().count() as u64;
        Self { memory, descriptors }
    }

    fn is_near(self, other: Self) -> bool {
        self.memory <= other.memory + SLACK && self.has_as_many_descriptors(other)
    }

    fn is_within_a_tenth(self, other: Self) -> bool {
        self.memory.abs_diff(other.memory) * 10 <= other.memory
            && self.has_as_many_descriptors(other)
    }

    fn has_as_many_descriptors(self, other: Self) -> bool {
        self.descriptors.abs_diff(other.descriptors) * 10 <= other.descriptors
    }
}

impl std::fmt::Display for Held {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{} KiB, {} descriptors", self.memory / 1024, self.descriptors)
    }
}

/// Waits until a server has noticed that its clients are gone, and returns what it holds.
fn at_rest(server: &Server) -> Held {
    server.eventually("at rest", |server| {
        server.metric("reposerver_connections").as_deref() == Some("0")
    });
    Held::by(server)
}

/// Works until so many more files were read, of those that were published first, and so many more
/// versions published.
fn work(load: &Load, reads: u64, versions: u64) {
    load.read_only(FILES_OF_WARM_UP);
    let goal = load.reads() + reads;
    load.run(|| {
        load.allow(load.allowed() + versions);
        load.wait("work", || load.reads() >= goal && load.are_published());
    });
}

/// How the server was ended and started again.
#[derive(Default)]
struct Restarts {
    after_kills: Vec<Duration>,
    after_orders: Vec<Duration>,
    refused_settings: u64,
}

/// Ends the server while it works, and starts another.
fn restart(load: &Load, server: Server, round: u64, restarts: &mut Restarts) -> Server {
    let is_kill = round.is_multiple_of(2);
    let server = load.during_a_restart(|| {
        let place = if is_kill { server.kill() } else { server.stop() };
        let began = Instant::now();
        let server = Server::on(place, &members(0));
        let taken = began.elapsed();
        assert!(taken < START, "start {round} took {taken:?}");
        let all = if is_kill { &mut restarts.after_kills } else { &mut restarts.after_orders };
        all.push(taken);
        (server.address, server)
    });
    assert_eq!(server.get("/-/readyz").status, 200);
    server
}

/// Has the server read its settings again, and now and then some that it cannot use.
fn reload(server: &Server, number: u64, restarts: &mut Restarts) {
    if number.is_multiple_of(10) {
        server.configure(r#""limits": {"maxListing": -1}"#);
        let output = server.try_command_beside(&["reload"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        restarts.refused_settings += 1;
    }
    server.reload(&members(number));
}

/// Reads, writes, new settings, kills and orders to stop, all at the same time.
fn storm(load: &Load, mut server: Server, restarts: &mut Restarts) -> Server {
    let (reads, versions) = (load.reads(), load.allowed());
    let (more_reads, more_versions) = (READS - reads, VERSIONS - 2 * versions);
    load.read_only(usize::MAX);
    load.run(|| {
        let mut reloads = 0;
        for round in 0..RESTARTS {
            // One half of a round's versions is published in its course.
            load.allow(versions + (2 * round + 1) * more_versions / (2 * RESTARTS));
            load.wait("reads", || {
                load.reads() >= reads + (round + 1) * more_reads / RESTARTS && load.are_published()
            });
            while reloads < (round + 1) * RELOADS / RESTARTS {
                reloads += 1;
                reload(&server, reloads, restarts);
            }
            // The other half when the server ends, so that it ends in the midst of uploads.
            load.allow(versions + (round + 1) * more_versions / RESTARTS);
            load.wait("an upload", || load.is_uploading() || load.are_published());
            server = restart(load, server, round, restarts);
        }
        load.wait("the last", || load.are_published());
        assert_eq!(reloads, RELOADS);
        server
    })
}

/// Checks that everything is there that was answered with success, and nothing else, as it was sent.
fn check_files(load: &Load, server: &Server) -> usize {
    let mut expected = BTreeSet::new();
    let mut check = |path: &str, bytes: &[u8]| {
        let reply = server.get(path);
        let digest = sha256(bytes);
        assert_eq!((reply.status, sha256(&reply.body)), (200, digest.clone()), "{path}");
        assert_eq!(reply.header("x-checksum-sha256"), Some(digest.as_str()), "{path}");
        let on_disk = std::fs::read(server.root().join(&path[1..])).unwrap();
        assert_eq!(sha256(&on_disk), digest, "{path} on the disk");
        expected.insert(path[1..].to_owned());
    };
    for version in 0..load.allowed() {
        for (path, bytes) in files_of(version) {
            check(&path, &bytes);
        }
    }
    for writer in 0..REPLACED {
        let (path, bytes) = replacement(writer, load.last_of(writer));
        check(&path, &bytes);
    }
    let is_file = |path: &String| server.root().join(path).is_file();
    let there: BTreeSet<String> = server.tree().into_iter().filter(is_file).collect();
    assert_eq!(there, expected);
    assert_eq!((server.unfinished(), server.drafts()), (Vec::new(), Vec::new()));
    expected.len()
}

/// Checks that the record holds over all restarts, and that everything is in it that was answered
/// with success. Returns how many records there are.
fn check_record(load: &Load, server: &Server) -> usize {
    let records = server.verified_records("at the end");
    let word = |record: &serde_json::Value, name: &str| {
        record[name].as_str().unwrap_or_default().to_owned()
    };
    let done: BTreeSet<(String, String)> =
        records.iter().map(|record| (word(record, "path"), word(record, "sha256"))).collect();
    for version in 0..load.allowed() {
        for (path, bytes) in files_of(version) {
            assert!(done.contains(&(path.clone(), sha256(&bytes))), "{path} is not recorded");
        }
    }
    for writer in 0..REPLACED {
        for number in 1..=load.last_of(writer) {
            let (path, bytes) = replacement(writer, number);
            assert!(done.contains(&(path.clone(), sha256(&bytes))), "{path}: {number}");
        }
    }
    let closed: BTreeSet<u64> =
        records.iter().filter_map(|record| record["attempt"].as_u64()).collect();
    let is_open = |record: &&serde_json::Value| {
        record["outcome"] == "attempted" && !closed.contains(&record["seq"].as_u64().unwrap())
    };
    assert_eq!(records.iter().find(is_open), None, "an attempt has no outcome");
    let starts = records.iter().filter(|record| record["action"] == "start").count() as u64;
    // The first, and the one that was measured last.
    assert_eq!(starts, RESTARTS + 2);
    records.len()
}

fn median_and_most(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    format!("{} times, {} ms, at most {} ms", times.len(), median.as_millis(), most.as_millis())
}

/// Memory is measured of processes that did the same since they were started, with the same files, as
/// what was asked for is remembered: the first one before all others, and the last one after them;
/// then the last one again, after more of the same. Who leaks for each request shows in the second
/// comparison, who leaves more behind with each start, or with each file, in the first. The allocator and the tables of a process grow until they fit its
/// work: that is why there is a warm-up. Nobody is connected when it is measured.
#[test]
fn a_server_that_is_worked_ended_and_started_again_loses_nothing_and_does_not_grow() {
    let began = Instant::now();
    let server = Server::on(Place::new(), &members(0));
    let load = Load::on(server.address);
    let mut restarts = Restarts::default();

    work(&load, READS_OF_WARM_UP, VERSIONS_OF_WARM_UP);
    let first = at_rest(&server);
    let mut server = storm(&load, server, &mut restarts);
    // One more of the same age as the first was.
    server = restart(&load, server, RESTARTS, &mut Restarts::default());
    work(&load, READS_OF_WARM_UP, VERSIONS_OF_WARM_UP);
    let last = at_rest(&server);
    let (mut before, mut later) = (last, last);
    for _round in 0..ROUNDS_AFTER {
        work(&load, READS_AFTER, 0);
        (before, later) = (later, at_rest(&server));
        if later.is_within_a_tenth(before) {
            break;
        }
    }

    let files = check_files(&load, &server);
    let records = check_record(&load, &server);
    let taken = began.elapsed();
    let told = format!(
        "{taken:.0?}: {load}\n\
         started again after kills: {}; after orders to stop: {}\n\
         settings: {RELOADS} taken, {} refused\n\
         first: {first}; last: {last}; later: {later}\n\
         {files} files read back by hash, {records} records verified\n",
        median_and_most(restarts.after_kills),
        median_and_most(restarts.after_orders),
        restarts.refused_settings,
    );
    // Also where what tests print is not shown.
    std::io::stderr().write_all(told.as_bytes()).unwrap();
    assert!(last.is_near(first) && later.is_within_a_tenth(before), "{told}");
    assert!(load.reads() >= READS && taken < ALL, "{told}");
}
