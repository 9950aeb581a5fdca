//! Requests that overlap: what was so when one of them began must be so when it takes effect.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use dbt_testkit::people::{ALICE, BOB};

use crate::world::{AS_ADMIN, AUTHORIZED, Reply, Server, WRITABLE, sha256};

const VERSION: &str = "/dbt-tools/x/1.0.0";
const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// An upload of which the last byte is still to come.
struct Held {
    stream: TcpStream,
    last: u8,
}

impl Held {
    /// Sends all but the last byte, and waits until the server has begun to receive them.
    fn begin(server: &Server, path: &str, bytes: &[u8]) -> Self {
        let mut stream = server.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: {}\r\n\r\n",
            bytes.len()
        );
        let (last, first) = bytes.split_last().unwrap();
        stream.write_all(&[head.as_bytes(), first].concat()).unwrap();
        server.eventually("begun", |server| !server.unfinished().is_empty());
        Self { stream, last: *last }
    }

    fn end(mut self) -> Reply {
        self.stream.write_all(&[self.last]).unwrap();
        Reply::read(&mut self.stream, false)
    }
}

#[test]
fn what_is_deleted_while_other_bytes_are_on_their_way_is_not_replaced_by_them() {
    for deleted in [VERSION, X] {
        let server = Server::with(&format!(r#"{WRITABLE}, "immutable": true"#));
        server.put_on_disk(&X[1..], b"binary");
        server.put_on_disk(&format!("{}.sha256", &X[1..]), sha256(b"binary").as_bytes());
        server.put_on_disk(&format!("{}.asc", &X[1..]), b"sig");
        let other = Held::begin(&server, X, b"other bytes");
        assert_eq!(server.delete(deleted).status, 204);
        let reply = other.end();
        reply.is_refused(409, "immutable-conflict");
        assert_eq!(reply.json()["existing"], sha256(b"binary"), "{deleted}");
        assert_eq!(server.get_as_writer(X).status, 404, "{deleted}");
        assert!(server.drafts().is_empty() && server.unfinished().is_empty(), "{deleted}");

        let same = Held::begin(&server, X, b"binary");
        assert_eq!(same.end().status, 201, "{deleted}: the same bytes may return");
    }
}

#[test]
fn a_file_is_not_deleted_under_a_condition_that_an_upload_has_just_made_false() {
    let server = Server::start();
    let ended = AtomicBool::new(false);
    let expected = format!("If-Match: \"{}\"", sha256(b"old"));
    std::thread::scope(|scope| {
        // With others at work, each waits for its turn between looking and acting.
        for number in 0..4 {
            let (server, ended) = (&server, &ended);
            scope.spawn(move || {
                for round in (0..=u8::MAX).cycle() {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    server.put(&format!("/dbt/other-{number}"), &[round]);
                }
            });
        }
        let _ended = EndsWork(&ended);
        for round in 0..60 {
            server.put("/dbt/latest", b"old");
            let (put, delete) = std::thread::scope(|scope| {
                let put = scope.spawn(|| server.put("/dbt/latest", b"new").status);
                // They meet at another step each time.
                for _read in 0..round % 12 {
                    server.get("/healthz");
                }
                let delete = server.delete_with("/dbt/latest", &[&expected]).status;
                (put.join().unwrap(), delete)
            });
            assert!(matches!((put, delete), (200, 412) | (201, 204)), "{put} {delete}");
            assert_eq!(server.get("/dbt/latest").text(), "new", "{round}: {put} {delete}");
        }
    });
}

/// Tells others to stop when it goes, also when a check has failed.
struct EndsWork<'a>(&'a AtomicBool);

impl Drop for EndsWork<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_condition_holds_for_what_only_its_uploader_sees_too() {
    let server = Server::start();
    let description = "/dbt-tools/x/1.0.0/description.txt";
    server.put(X, b"binary");
    server.put(description, b"text");
    let stale = format!("If-Match: \"{}\"", sha256(b"other"));
    let current = format!("If-Match: \"{}\"", sha256(b"binary"));
    for path in [X, description] {
        server.delete_with(path, &[&stale]).is_refused(412, "precondition-failed");
        server.delete_with(path, &["If-None-Match: *"]).is_refused(412, "precondition-failed");
    }
    for directory in [VERSION, "/dbt-tools/x/1.0.0/linux"] {
        server.delete_with(directory, &[&current]).is_refused(412, "precondition-failed");
    }
    assert_eq!(server.get_as_writer(X).text(), "binary");
    assert_eq!(server.delete_with(X, &[&current]).status, 204);
    assert_eq!(server.get_as_writer(X).status, 404);
    assert_eq!(server.get_as_writer(description).text(), "text");

    // Of something published and what is to replace it, both go, so both must be meant.
    server.put_on_disk("dbt-tools/y/1.0.0/linux/amd64/y", b"published");
    let y = "/dbt-tools/y/1.0.0/linux/amd64/y";
    server.put(y, b"binary");
    server.delete_with(y, &[&current]).is_refused(412, "precondition-failed");
    assert_eq!(server.get(y).text(), "published");
    assert_eq!(server.get_as_writer(y).text(), "binary");
}

#[test]
fn a_plain_writer_cannot_undo_what_an_administrator_does_to_the_truststore() {
    let server = Server::with_roles();
    let old = [ALICE.certificate(), BOB.certificate()].concat();
    let new = [ALICE.certificate(), BOB.revoked()].concat();
    let as_admin =
        |bytes: &str| server.send("PUT", "/dbt/truststore", &[AS_ADMIN], bytes.as_bytes()).status;
    for round in 0..20 {
        assert!(matches!(as_admin(&old), 200 | 201), "{round}");
        let ended = AtomicBool::new(false);
        let refused = std::thread::scope(|scope| {
            let attacks = [(); 2].map(|()| {
                scope.spawn(|| {
                    loop {
                        let reply = server.put("/dbt/truststore", old.as_bytes());
                        if reply.status != 200 || ended.load(Ordering::Relaxed) {
                            break reply;
                        }
                    }
                })
            });
            let working = EndsWork(&ended);
            assert_eq!(as_admin(&new), 200);
            drop(working);
            attacks.map(|attack| attack.join().unwrap())
        });
        let there = std::fs::read_to_string(server.root().join("dbt/truststore")).unwrap();
        assert_eq!(there, new, "{round}: the revocation is gone; {refused:?}");
    }
}
