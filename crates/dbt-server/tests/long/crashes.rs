//! A server that is killed, or whose disk fails, at each step of a thread that changes files: readers never
//! see part of a file or of a platform, and what was answered with success is there afterwards.

use crate::world::{Place, Server, WRITABLE, sha256};

/// The steps that change files.
const STEPS: &str = "rename,renameat,renameat2,linkat,unlinkat,mkdirat,fsync,fdatasync,fchmod,\
                     utimensat,pwrite64,ftruncate";

/// More steps than any thread of the server takes here.
const MANY: usize = 120;

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// What is published, in this order; each path at most once more as a replacement.
fn uploads() -> Vec<(String, Vec<u8>)> {
    let sum = |bytes: &[u8]| sha256(bytes).into_bytes();
    vec![
        ("/dbt/latest".to_owned(), b"1.0.0".to_vec()),
        ("/dbt/latest".to_owned(), vec![b'2'; 300_000]),
        (X.to_owned(), vec![1; 300_000]),
        (format!("{X}.asc"), b"sig".to_vec()),
        (format!("{X}.sha256"), sum(&vec![1; 300_000])),
        (X.to_owned(), vec![2; 200_000]),
        (format!("{X}.asc"), b"new sig".to_vec()),
        (format!("{X}.sha256"), sum(&vec![2; 200_000])),
    ]
}

/// What became of the uploads: for each, the status of its answer, or 0 for none.
struct Story {
    place: Place,
    statuses: Vec<u16>,
}

/// Uploads everything to a server to which something is done at step number `step` of a thread.
fn story(what: &str, step: usize) -> Story {
    let server = Server::start();
    let mut tracer = server.inject(STEPS, what, step);
    let put = |(path, bytes): &(String, Vec<u8>)| server.try_put(path, bytes);
    let statuses = uploads().iter().map(put).collect();
    let place = server.kill();
    tracer.wait().unwrap();
    Story { place, statuses }
}

/// Checks what a later server has of the uploads.
fn check(story: Story, what: &str) {
    let Story { place, statuses } = story;
    let server = Server::on(place, WRITABLE);
    assert!(server.unfinished().is_empty(), "{what}: {:?}", server.unfinished());
    let uploads = uploads();
    for path in uploads.iter().map(|(path, _)| path) {
        let of_path = || uploads.iter().zip(&statuses).filter(|((other, _), _)| other == path);
        let reply = server.get_as_writer(path);
        // The last that was answered with success, or one of those after it.
        let last = of_path().rposition_of_success();
        let possible: Vec<&Vec<u8>> = of_path()
            .enumerate()
            .filter(|(index, _)| last.is_none_or(|last| *index >= last))
            .map(|(_, ((_, bytes), _))| bytes)
            .collect();
        let is_possible = possible.contains(&&reply.body);
        assert!(
            is_possible || (reply.status == 404 && last.is_none()),
            "{what}: {path} is {} with {} bytes; answered {statuses:?}",
            reply.status,
            reply.body.len()
        );
    }
    let seen: Vec<u16> =
        ["", ".asc", ".sha256"].map(|ending| server.get(&format!("{X}{ending}")).status).into();
    assert!(seen == [200; 3] || seen == [404; 3], "{what}: part of a platform is seen: {seen:?}");
    if seen == [200; 3] {
        let sum = server.get(&format!("{X}.sha256")).text();
        assert_eq!(sha256(&server.get(X).body), sum, "{what}: two publications are mixed");
    }
    // Whatever was left, it can be published now.
    for (path, bytes) in &uploads {
        let reply = server.put(path, bytes);
        assert!((200..300).contains(&reply.status), "{what}: {path}: {reply:?}");
    }
    assert_eq!(server.get(X).body, vec![2; 200_000], "{what}");
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
    let mut interrupted = 0;
    for step in 1..MANY {
        let story = story("signal=KILL", step);
        let is_whole = story.statuses.iter().all(|status| (200..300).contains(status));
        interrupted += usize::from(!is_whole);
        check(story, &format!("killed at step {step}"));
        if is_whole {
            assert!(interrupted >= 10, "only {interrupted} runs were interrupted");
            return;
        }
    }
    panic!("a server never got through");
}

#[test]
fn a_disk_that_fails_at_any_step_loses_nothing_and_shows_nothing_half() {
    for (error, statuses) in [("ENOSPC", &[507][..]), ("EIO", &[500]), ("EROFS", &[503])] {
        let mut refused = 0;
        for step in 1..MANY {
            let story = story(&format!("error={error}"), step);
            let failed: Vec<u16> =
                story.statuses.iter().copied().filter(|status| *status >= 300).collect();
            let what = format!("{error} at step {step}");
            // A file that is missing since makes one that does not belong to the others be refused.
            let is_expected = |(index, status): (usize, &u16)| {
                statuses.contains(status) || (index > 0 && *status == 422)
            };
            assert!(failed.iter().enumerate().all(is_expected), "{what}: {failed:?}");
            refused += failed.len();
            check(story, &what);
            if failed.is_empty() {
                break;
            }
        }
        assert!(refused > 5, "{error}: only {refused} uploads were refused");
    }
}
