//! A server that is killed, or whose disk fails, at each step of committing a release, of deleting
//! and of putting back, while others read: each of them happens whole or not at all, and can be asked
//! for again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dbt_testkit::changes::{Changes, Disturbance, Report};

use crate::dying::is_whole;
use crate::every_step::{BETWEEN_READS, FAILURES, Failure, KILL};
use crate::world::{Reply, Server, WRITABLE, sha256};

/// Fewer steps than all that is asked for takes together.
const LEAST: usize = 60;

/// What is released, deleted and put back.
const RELEASED: [&str; 2] =
    ["/dbt-tools/x/1.0.0/linux/amd64/x", "/dbt-tools/x/1.0.0/darwin/arm64/x"];
const DELETED: &str = "/dbt-tools/y/1.0.0/linux/amd64/y";
const RESTORED: &str = "/dbt-tools/z/1.0.0/linux/amd64/z";
const ENDINGS: [&str; 3] = ["", ".asc", ".sha256"];

fn bytes_of(artifact: &str) -> Vec<u8> {
    artifact.as_bytes().repeat(1000)
}

fn files_of(artifact: &str) -> [(String, Vec<u8>); 3] {
    let bytes = bytes_of(artifact);
    let sum = sha256(&bytes).into_bytes();
    let [binary, signature, checksum] = ENDINGS.map(|ending| format!("{artifact}{ending}"));
    [(binary, bytes), (signature, b"sig".to_vec()), (checksum, sum)]
}

/// Something that is about to be asked of a server.
struct Begun {
    server: Server,
    commit: String,
    restore: String,
}

fn begin(changes: &Changes, disturbance: Disturbance) -> Begun {
    let server = Server::disturbed(changes, disturbance);
    for artifact in [DELETED, RESTORED] {
        for (path, bytes) in files_of(artifact) {
            server.put_on_disk(&path[1..], &bytes);
        }
    }
    let send = |method: &str, path: &str, body: &[u8]| server.try_send(method, path, body).unwrap();
    assert_eq!(send("DELETE", "/dbt-tools/z/1.0.0/", b"").status, 204);
    let trash = send("GET", "/-/api/v1/trash", b"").json();
    let restore =
        format!("/-/api/v1/trash/{}/restore", trash["deleted"][0]["id"].as_str().unwrap());
    let wanted = br#"{"tool": "x", "version": "1.0.0"}"#;
    let release = send("POST", "/-/api/v1/releases", wanted).json();
    let commit = format!("/-/api/v1/releases/{}/commit", release["id"].as_str().unwrap());
    for (path, bytes) in RELEASED.iter().flat_map(|artifact| files_of(artifact)) {
        assert_eq!(send("PUT", &path, &bytes).status, 201, "{path}");
    }
    Begun { server, commit, restore }
}

/// Reads as strangers do: what is there is whole, and so is what it belongs to.
fn read(server: &Server) {
    let get = |path: &str| -> Option<Reply> {
        let mut stream = std::net::TcpStream::connect(server.address).ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        let _cut = std::io::Write::write_all(&mut stream, request.as_bytes());
        Some(Reply::read(&mut stream, false))
    };
    let seen = |path: &str, bytes: &[u8]| {
        let Some(reply) = get(path) else { return (false, false) };
        let is_seen = reply.status == 200 && is_whole(&reply);
        assert!(!is_seen || reply.body == bytes, "{path}: {} bytes", reply.body.len());
        (is_seen, reply.status == 404)
    };
    // What appears does so at once: after one of its files is seen, none is missing.
    for appearing in [&RELEASED[..], &[RESTORED]] {
        let files: Vec<_> = appearing.iter().flat_map(|artifact| files_of(artifact)).collect();
        let mut any = false;
        for (path, bytes) in &files {
            let (is_seen, is_missing) = seen(path, bytes);
            assert!(!(any && is_missing), "{path} is missing, and others of its kind are seen");
            any |= is_seen;
        }
    }
    let mut gone = false;
    for (path, bytes) in files_of(DELETED) {
        let (is_seen, is_missing) = seen(&path, &bytes);
        assert!(!(gone && is_seen), "{path} is seen, and others of its kind are gone");
        gone |= is_missing;
    }
}

/// What came of everything that was asked for.
struct Story {
    /// What came after the server that was disturbed.
    begun: Begun,
    /// The statuses of the answers, 0 for none.
    statuses: [u16; 3],
    report: Report,
}

/// Asks for everything while something is done to the server.
fn story(changes: &Changes, disturbance: Disturbance) -> Story {
    let begun = begin(changes, disturbance);
    let server = &begun.server;
    server.count_steps();
    let ended = AtomicBool::new(false);
    let status = |method: &str, path: &str| {
        server.try_send(method, path, b"").map_or(0, |reply| reply.status)
    };
    let statuses = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                read(server);
                std::thread::sleep(BETWEEN_READS);
            }
        });
        let statuses = [
            status("POST", &begun.commit),
            status("DELETE", "/dbt-tools/y/1.0.0/"),
            status("POST", &begun.restore),
        ];
        ended.store(true, Ordering::Relaxed);
        reader.join().unwrap();
        statuses
    });
    let Begun { server, commit, restore } = begun;
    let (place, report) = server.end_disturbed();
    let later = Server::on(place, WRITABLE);
    Story { begun: Begun { server: later, commit, restore }, statuses, report }
}

/// Checks what a later server makes of it.
fn check(begun: &Begun, [committed, deleted, restored]: [u16; 3], what: &str) {
    let Begun { server, commit, restore } = begun;
    assert!(server.unfinished().is_empty(), "{what}: {:?}", server.unfinished());
    read(server);
    let (_records, unknown) = server.closed_records(what);
    assert!(unknown.len() <= 1, "{what}: {unknown:?}");
    let there = |artifact: &str| -> bool {
        let found = ENDINGS.map(|ending| server.get(&format!("{artifact}{ending}")).status);
        assert!(found == [200; 3] || found == [404; 3], "{what}: {artifact}: {found:?}");
        found == [200; 3]
    };
    let released = RELEASED.map(there);
    assert_eq!(released[0], released[1], "{what}: half a release");
    assert!(released[0] || committed != 200, "{what}: a release is lost");
    assert!(!there(DELETED) || deleted != 204, "{what}: what was deleted is back");
    assert!(there(RESTORED) || restored != 200, "{what}: what was put back is lost");

    let send = |method: &str, path: &str| server.try_send(method, path, b"").unwrap();
    let again = send("POST", commit);
    assert_eq!(again.status, 200, "{what}: {again:?}");
    assert_eq!(again.json()["state"], "published", "{what}");
    assert!(matches!(send("DELETE", "/dbt-tools/y/1.0.0/").status, 204 | 404), "{what}");
    let again = send("POST", restore);
    assert!(matches!(again.status, 200 | 404), "{what}: {again:?}");
    assert_eq!(RELEASED.map(there), [true; 2], "{what}");
    assert!(there(RESTORED) && !there(DELETED), "{what}");
}

#[test]
fn a_kill_at_any_step_of_a_release_a_deletion_or_a_restoration_leaves_all_of_it_or_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let changes = Changes::compiled(directory.path());
    KILL.each_step(LEAST, |disturbance| {
        let Story { begun, statuses, report } = story(&changes, disturbance);
        check(&begun, statuses, &format!("killed at {:?}, answered {statuses:?}", report.done));
        report.was_disturbed()
    });
}

#[test]
fn a_disk_that_fails_at_any_step_of_a_release_a_deletion_or_a_restoration_harms_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let changes = Changes::compiled(directory.path());
    // Counted over all failures: how many of a series' few steps lead to a refusal is chance.
    let refused = AtomicUsize::new(0);
    for Failure { series, statuses: expected } in FAILURES {
        series.each_step(LEAST, |disturbance| {
            let Story { begun, statuses, report } = story(&changes, disturbance);
            let first = report.done.first();
            let what = format!("{disturbance:?}: {first:?}, answered {statuses:?}");
            let failed: Vec<u16> =
                statuses.into_iter().filter(|status| *status >= 300 || *status == 0).collect();
            assert!(failed.iter().all(|status| expected.contains(status)), "{what}");
            refused.fetch_add(failed.len(), Ordering::Relaxed);
            check(&begun, statuses, &what);
            report.was_disturbed()
        });
    }
    let refused = refused.into_inner();
    assert!(refused > 20, "only {refused} were refused");
}
