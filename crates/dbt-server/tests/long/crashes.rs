//! A server that is killed, or whose disk fails, at each step of a thread that changes files: readers never
//! see part of a file or of a platform, and what was answered with success is there afterwards.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dbt_testkit::changes::{Changes, Disturbance, Fault, Report};
use serde_json::Value;

use crate::dying::is_whole;
use crate::every_step::{BETWEEN_READS, FAILURES, Failure, KILL};
use crate::world::{Place, Reply, Server, WRITABLE, sha256};

/// Fewer steps than all uploads take together: some twenty each, mostly of the databases.
const LEAST: usize = 160;

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// A file that is published.
struct Upload {
    path: String,
    bytes: Vec<u8>,
    digest: String,
}

/// What is published, in this order; each path at most once more as a replacement.
static UPLOADS: LazyLock<[Upload; 8]> = LazyLock::new(|| {
    let sum = |bytes: &[u8]| sha256(bytes).into_bytes();
    let (old, new) = (vec![1; 300_000], vec![2; 200_000]);
    let (old_sum, new_sum) = (sum(&old), sum(&new));
    [
        ("/dbt/latest".to_owned(), b"1.0.0".to_vec()),
        ("/dbt/latest".to_owned(), vec![b'2'; 300_000]),
        (X.to_owned(), old),
        (format!("{X}.asc"), b"sig".to_vec()),
        (format!("{X}.sha256"), old_sum),
        (X.to_owned(), new),
        (format!("{X}.asc"), b"new sig".to_vec()),
        (format!("{X}.sha256"), new_sum),
    ]
    .map(|(path, bytes)| Upload { path, digest: sha256(&bytes), bytes })
});

/// What became of the uploads: for each, the status of its answer, or 0 for none.
struct Story {
    place: Place,
    statuses: Vec<u16>,
    report: Report,
}

/// Uploads everything to a server to which something is done at one of its steps.
fn story(changes: &Changes, disturbance: Disturbance) -> Story {
    let server = Server::disturbed(changes, disturbance);
    server.count_steps();
    let put = |upload: &Upload| server.try_put(&upload.path, &upload.bytes);
    let ended = AtomicBool::new(false);
    let statuses = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                read(&server);
                std::thread::sleep(BETWEEN_READS);
            }
        });
        let statuses = UPLOADS.iter().map(put).collect();
        ended.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        statuses
    });
    let (place, report) = server.end_disturbed();
    Story { place, statuses, report }
}

/// Reads what is there while it is being published: one of the files that were sent, whole, and of a
/// platform all of one publication.
fn read(server: &Server) {
    let get = |path: &str| server.try_send("GET", path, b"");
    let is_certain = |reply: &Reply| matches!(reply.status, 200 | 404) && is_whole(reply);
    for path in ["/dbt/latest", X] {
        let Some(reply) = get(path) else { return };
        if reply.status == 200 && is_whole(&reply) {
            let is_one = UPLOADS.iter().any(|it| path == it.path && it.bytes == reply.body);
            assert!(is_one, "{path}: {} bytes", reply.body.len());
        }
    }
    let sum = format!("{X}.sha256");
    let [Some(before), Some(artifact), Some(after)] = [&sum, X, &sum].map(get) else { return };
    if ![&before, &artifact, &after].into_iter().all(is_certain) || before.body != after.body {
        return;
    }
    // The uploader sees drafts, in which one of the two may be of the next publication.
    let is_draft = |reply: &Reply| reply.header("cache-control") == Some("private, no-store");
    if before.status == 200 && ![&before, &artifact, &after].into_iter().any(is_draft) {
        assert_eq!(before.text(), sha256(&artifact.body), "two publications are mixed");
    }
}

/// Checks what a later server has of the uploads.
fn check(story: Story, fault: Fault, what: &str) {
    let Story { place, statuses, report: _ } = story;
    let server = Server::on(place, WRITABLE);
    assert!(server.unfinished().is_empty(), "{what}: {:?}", server.unfinished());
    // As the uploader, who sees drafts.
    let seen = |path: &str| server.try_send("GET", path, b"").unwrap();
    for path in UPLOADS.iter().map(|upload| &upload.path) {
        let of_path =
            || UPLOADS.iter().zip(&statuses).filter(|(upload, _status)| upload.path == *path);
        let reply = seen(path);
        // The last that was answered with success, or one of those after it.
        let last = of_path().rposition_of_success();
        let is_possible = of_path()
            .enumerate()
            .filter(|(index, _)| last.is_none_or(|last| *index >= last))
            .any(|(_, (upload, _status))| reply.status == 200 && upload.bytes == reply.body);
        assert!(
            is_possible || (reply.status == 404 && last.is_none()),
            "{what}: {path} is {} with {} bytes",
            reply.status,
            reply.body.len()
        );
    }
    let [artifact, signature, checksum] =
        ["", ".asc", ".sha256"].map(|ending| server.get(&format!("{X}{ending}")));
    let seen = [&artifact, &signature, &checksum].map(|reply| reply.status);
    assert!(seen == [200; 3] || seen == [404; 3], "{what}: part of a platform is seen: {seen:?}");
    if seen == [200; 3] {
        assert_eq!(sha256(&artifact.body), checksum.text(), "{what}: two publications are mixed");
    }
    check_record(&server, &statuses, fault, what);
    // Whatever was left, it can be published now. Only a checksum that was left alone is in the way
    // of other files, until the one that belongs to them has come.
    let put = |upload: &Upload| server.try_send("PUT", &upload.path, &upload.bytes).unwrap();
    let newest = [1, 5, 6, 7].map(|index| &UPLOADS[index]);
    let mut has_to_wait = false;
    for upload in newest {
        let reply = put(upload);
        let waits_for_its_checksum = reply.status == 422 && !upload.path.ends_with(".sha256");
        let is_taken = (200..300).contains(&reply.status);
        assert!(is_taken || waits_for_its_checksum, "{what}: {}: {reply:?}", upload.path);
        has_to_wait |= waits_for_its_checksum;
    }
    for upload in newest.into_iter().filter(|_upload| has_to_wait) {
        let reply = put(upload);
        assert!((200..300).contains(&reply.status), "{what}: {} again: {reply:?}", upload.path);
    }
    assert_eq!(server.get(X).body, UPLOADS[5].bytes, "{what}");
}

/// Checks that the record holds, and that everything that was answered with success is in it.
///
/// An upload that has happened is answered with success also where its outcome could not be recorded.
/// That of the last one is then lost with the server, and the next start says that nobody knows it.
fn check_record(server: &Server, statuses: &[u16], fault: Fault, what: &str) {
    let (records, unknown) = server.closed_records(what);
    assert!(unknown.len() <= 1, "{what}: {unknown:?}");
    let is_recorded = |Upload { path, digest, bytes: _ }: &Upload| {
        records.iter().any(|it| it["path"] == path.as_str() && it["sha256"] == digest.as_str())
    };
    let succeeded = |index: &usize| (200..300).contains(&statuses[*index]);
    let missing: Vec<usize> = (0..UPLOADS.len())
        .filter(succeeded)
        .filter(|index| !is_recorded(&UPLOADS[*index]))
        .collect();
    if missing.is_empty() {
        return;
    }
    assert_eq!(Some(missing[0]), (0..UPLOADS.len()).rfind(succeeded), "{what}: {missing:?}");
    assert_ne!(fault, Fault::Kill, "{what}: answered before it was recorded");
    let [interrupted] = &*unknown else { panic!("{what}: nothing is said of {missing:?}") };
    assert_eq!(interrupted["path"], UPLOADS[missing[0]].path.as_str(), "{what}");
    assert_eq!(interrupted.get("sha256"), None, "{what}");
    let of_path = |record: &&Value| record["path"] == interrupted["path"];
    let last = records.iter().rfind(of_path);
    assert_eq!(last, Some(interrupted), "{what}: it is not of the last upload");
}

trait Successes {
    /// Returns the index of the last upload that was answered with success.
    fn rposition_of_success(self) -> Option<usize>;
}

impl<'a, U: 'a, I: Iterator<Item = (&'a U, &'a u16)>> Successes for I {
    fn rposition_of_success(self) -> Option<usize> {
        let succeeded = |(index, (_, status)): (usize, (&U, &u16))| {
            (200..300).contains(status).then_some(index)
        };
        self.enumerate().filter_map(succeeded).last()
    }
}

#[test]
fn a_server_killed_at_any_step_loses_nothing_and_shows_nothing_half() {
    let directory = tempfile::tempdir().unwrap();
    let changes = Changes::compiled(directory.path());
    KILL.each_step(LEAST, |disturbance| {
        let story = story(&changes, disturbance);
        let was_disturbed = story.report.was_disturbed();
        let what = format!("killed at {:?}, answered {:?}", story.report.done, story.statuses);
        check(story, disturbance.fault, &what);
        was_disturbed
    });
}

#[test]
fn a_disk_that_fails_at_any_step_loses_nothing_and_shows_nothing_half() {
    let directory = tempfile::tempdir().unwrap();
    let changes = Changes::compiled(directory.path());
    // Counted over all failures: how many of a series' few steps lead to a refusal is chance.
    let refused = AtomicUsize::new(0);
    for Failure { series, statuses } in FAILURES {
        series.each_step(LEAST, |disturbance| {
            let story = story(&changes, disturbance);
            let was_disturbed = story.report.was_disturbed();
            let failed: Vec<u16> =
                story.statuses.iter().copied().filter(|status| *status >= 300).collect();
            let Report { done, .. } = &story.report;
            let first = done.first();
            let what = format!("{disturbance:?}: {first:?}, answered {:?}", story.statuses);
            // A file that is missing since makes one that does not belong to the others be refused.
            let is_expected = |(index, status): (usize, &u16)| {
                statuses.contains(status) || (index > 0 && *status == 422)
            };
            assert!(failed.iter().enumerate().all(is_expected), "{what}");
            assert!(!story.statuses.contains(&0), "{what}");
            refused.fetch_add(failed.len(), Ordering::Relaxed);
            check(story, disturbance.fault, &what);
            was_disturbed
        });
    }
    let refused = refused.into_inner();
    assert!(refused > 20, "only {refused} uploads were refused");
}
