//! Uploads: what is accepted, what is refused, and that a refusal leaves nothing behind.

use std::io::Write as _;
use std::sync::Barrier;

use crate::world::{AUTHORIZED, Reply, Server, WRITABLE, repr_digest, sha256};

const ARTIFACT: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

fn immutable() -> Server {
    Server::with(&format!(r#"{WRITABLE}, "immutable": true"#))
}

#[test]
fn a_new_file_is_created_and_served_with_its_digest() {
    let server = Server::start();
    let reply = server.put(ARTIFACT, b"binary");
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("location"), Some(ARTIFACT));
    assert_eq!(reply.json()["sha256"], sha256(b"binary"));
    assert_eq!(reply.json()["size"], 6);
    let got = server.get_as_writer(ARTIFACT);
    assert_eq!((got.status, got.body.as_slice()), (200, b"binary".as_slice()));
    assert_eq!(got.header("etag"), reply.header("etag"));
    assert_eq!(reply.header("etag"), Some(&*format!("\"{}\"", sha256(b"binary"))));
    assert_eq!(reply.header("repr-digest"), Some(&*repr_digest(b"binary")));
    assert_eq!(reply.header("want-repr-digest"), None);
    assert!(server.unfinished().is_empty());
}

#[test]
fn a_file_may_be_replaced_and_the_same_bytes_change_nothing() {
    let server = Server::start();
    let inode = || {
        let file = std::fs::metadata(server.root().join("dbt/latest")).unwrap();
        std::os::unix::fs::MetadataExt::ino(&file)
    };
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let first = inode();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 200);
    assert_eq!(inode(), first);
    assert_eq!(server.put("/dbt/latest", b"1.0.1").status, 200);
    assert_ne!(inode(), first, "readers of the old file must not see the new bytes");
    assert_eq!(server.get("/dbt/latest").text(), "1.0.1");
}

#[test]
fn a_chunked_body_without_a_type_is_accepted() {
    let server = Server::start();
    let request = format!(
        "PUT //dbt//latest HTTP/1.1\r\nHost: t\r\nUser-Agent: Go-http-client/1.1\r\n\
         Transfer-Encoding: chunked\r\nX-Checksum-Md5:\r\nX-Checksum-Sha1: \r\n\
         X-Checksum-Sha256: {}\r\n{AUTHORIZED}\r\nAccept-Encoding: gzip\r\n\r\n\
         3\r\n1.2\r\n2\r\n.3\r\n0\r\n\r\n",
        sha256(b"1.2.3").to_uppercase()
    );
    assert_eq!(server.raw(request.as_bytes()).status, 201);
    assert_eq!(server.get("/dbt/latest").text(), "1.2.3");
}

#[test]
fn an_empty_file_can_be_written() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/empty", b"").status, 201);
    let reply = server.get("/dbt/empty");
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("0")));
}

#[test]
fn bytes_that_are_not_what_was_declared_are_refused_and_leave_nothing() {
    let server = Server::start();
    let other = sha256(b"other");
    for line in [
        format!("X-Checksum-Sha256: {other}"),
        "X-Checksum-Md5: 5d41402abc4b2a76b9719d911017c592".to_owned(),
        "X-Checksum-Sha1: aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d".to_owned(),
        "Repr-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:".to_owned(),
        "Content-Digest: sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:".to_owned(),
    ] {
        let reply = server.put_with(ARTIFACT, &[&line], b"binary");
        reply.is_refused(422, "digest-mismatch");
        assert!(reply.json()["computed"].is_string() && reply.json()["declared"].is_string());
    }
    for line in ["X-Checksum-Sha256: abc", "Repr-Digest: sha-256=abc"] {
        server.put_with(ARTIFACT, &[line], b"binary").is_refused(400, "bad-header");
    }
    assert!(server.tree().is_empty(), "{:?}", server.tree());
    assert!(server.unfinished().is_empty());
}

#[test]
fn who_declares_only_unknown_digests_is_told_which_is_known() {
    let server = Server::start();
    let unknown = "Repr-Digest: sha3-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let right = format!("Repr-Digest: {}", repr_digest(b"binary"));
    for (lines, told) in [
        (vec![unknown], Some("sha-256=10")),
        (vec![unknown, &right], None),
        (vec![right.as_str()], None),
        (vec!["X-Checksum-Sha256: "], None),
    ] {
        let reply = server.put_with("/dbt/latest", &lines, b"binary");
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        assert_eq!(reply.header("want-repr-digest"), told, "{lines:?}");
        assert_eq!(reply.header("repr-digest"), Some(&*repr_digest(b"binary")), "{lines:?}");
    }
}

#[test]
fn of_two_checksum_headers_both_must_hold() {
    let server = Server::start();
    let good = format!("X-Checksum-Sha256: {}", sha256(b"binary"));
    let bad = format!("X-Checksum-Sha256: {}", sha256(b"other"));
    server.put_with(ARTIFACT, &[&good, &bad], b"binary").is_refused(422, "digest-mismatch");
    assert_eq!(server.put_with(ARTIFACT, &[&good, &good], b"binary").status, 201);
}

#[test]
fn preconditions_protect_what_is_there() {
    let server = Server::start();
    let new = ["If-None-Match: *"];
    assert_eq!(server.put_with("/dbt/latest", &new, b"1").status, 201);
    let reply = server.put_with("/dbt/latest", &new, b"1");
    reply.is_refused(412, "precondition-failed");
    assert_eq!(reply.json()["existing"], sha256(b"1"));

    let stale = format!("If-Match: \"{}\"", sha256(b"0"));
    let current = format!("If-Match: \"{}\"", sha256(b"1"));
    server.put_with("/dbt/latest", &[&stale], b"2").is_refused(412, "precondition-failed");
    server.put_with("/dbt/missing", &[&current], b"2").is_refused(412, "precondition-failed");
    server.put_with("/dbt/latest", &["If-Match: 1"], b"2").is_refused(400, "bad-header");
    assert_eq!(server.get("/dbt/latest").text(), "1");
    assert_eq!(server.put_with("/dbt/latest", &[&current], b"2").status, 200);
    assert_eq!(server.tree(), ["dbt", "dbt/latest"]);
}

#[test]
fn of_many_that_create_one_file_exactly_one_succeeds() {
    let server = Server::start();
    for round in 0..100 {
        // Half of the rounds are about files of versions, which go another way.
        let path = match round % 2 {
            0 => format!("/dbt/one-{round}"),
            _ => format!("/dbt-tools/x/1.0.{round}/linux/amd64/x"),
        };
        let start = Barrier::new(8);
        let create = |number: u8| {
            let (server, start, path) = (&server, &start, &path);
            move || {
                start.wait();
                let body = vec![number; 10_000];
                server.put_with(path, &["If-None-Match: *"], &body).status
            }
        };
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8).map(|number| scope.spawn(create(number))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!((count(201), count(412)), (1, 7), "{path}: {statuses:?}");
        let body = server.get_as_writer(&path).body;
        assert!(body.len() == 10_000 && body.iter().all(|byte| *byte == body[0]), "{path}");
    }
    assert!(server.unfinished().is_empty());
}

#[test]
fn of_many_that_replace_the_same_bytes_exactly_one_succeeds() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/latest", b"0").status, 201);
    for round in 0..20_u8 {
        let there = server.get("/dbt/latest").body;
        let current = format!("If-Match: \"{}\"", sha256(&there));
        let start = Barrier::new(8);
        let replace = |number: u8| {
            let (server, start, current) = (&server, &start, &current);
            move || {
                start.wait();
                server.put_with("/dbt/latest", &[current], &[round + 1, number]).status
            }
        };
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8).map(|number| scope.spawn(replace(number))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
        assert_eq!((count(200), count(412)), (1, 7), "{round}: {statuses:?}");
        let winner = statuses.iter().position(|status| *status == 200).unwrap();
        assert_eq!(server.get("/dbt/latest").body, [round + 1, u8::try_from(winner).unwrap()]);
    }
}

#[test]
fn writers_without_conditions_replace_each_other_whole() {
    let server = Server::start();
    let write = |number: u8| {
        let server = &server;
        move || server.put("/dbt/one", &vec![number; 50_000]).status
    };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|number| scope.spawn(write(number))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let succeeded = |status: &u16| matches!(status, 200 | 201);
    assert!(statuses.iter().all(succeeded), "{statuses:?}");
    let body = server.get("/dbt/one").body;
    assert!(body.len() == 50_000 && body.iter().all(|byte| *byte == body[0]));
}

#[test]
fn a_published_artifact_stays_as_it_is_where_that_is_configured() {
    let server = immutable();
    assert_eq!(server.put(ARTIFACT, b"one").status, 201);
    assert_eq!(server.put(ARTIFACT, b"one").status, 200);
    let reply = server.put(ARTIFACT, b"two");
    reply.is_refused(409, "immutable-conflict");
    assert_eq!(reply.json()["existing"], sha256(b"one"));
    assert_eq!(server.get_as_writer(ARTIFACT).text(), "one");

    let checksum = format!("{ARTIFACT}.sha256");
    assert_eq!(server.put(&checksum, sha256(b"one").as_bytes()).status, 201);
    server.put(&checksum, b"2").is_refused(409, "immutable-conflict");
    for ending in [".asc", ".md5", ".sha1"] {
        let path = format!("{ARTIFACT}{ending}");
        assert_eq!(server.put(&path, b"1").status, 201, "{path}");
        assert_eq!(server.put(&path, b"2").status, 200, "{path}");
    }
    assert_eq!(server.put("/dbt-tools/x/1.0.0/description.txt", b"1").status, 201);
    assert_eq!(server.put("/dbt-tools/x/1.0.0/description.txt", b"2").status, 200);
}

#[test]
fn of_many_that_publish_other_bytes_only_the_first_counts() {
    let server = Server::with(&format!(
        r#"{WRITABLE}, "immutable": true, "limits": {{"maxUploadsPerCaller": 64}}"#
    ));
    let publish = |number: u8| {
        let server = &server;
        move || (number, server.put(ARTIFACT, &[number; 5000]).status)
    };
    let statuses: Vec<(u8, u16)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..50).map(|number| scope.spawn(publish(number))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    let created: Vec<u8> = statuses
        .iter()
        .filter(|(_number, status)| *status == 201)
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(created.len(), 1, "{statuses:?}");
    assert_eq!(
        statuses.iter().filter(|(_number, status)| *status == 409).count(),
        49,
        "{statuses:?}"
    );
    assert_eq!(server.get_as_writer(ARTIFACT).body, [created[0]; 5000]);
}

#[test]
fn a_refusal_comes_before_the_body_is_asked_for() {
    let server = Server::start();
    server.put_on_disk("dbt/taken", b"x");
    let refused = |path: &str, line: &str, length: u64| -> Reply {
        let mut stream = server.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n{line}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut all = String::new();
        // The server answers and closes; it never says `100 Continue`.
        let _reset = std::io::Read::read_to_string(&mut stream, &mut all);
        assert!(!all.contains("100 Continue"), "{all}");
        assert!(all.to_lowercase().contains("\r\nconnection: close\r\n"), "{all}");
        let mut reply = server.connect();
        reply.write_all(head.replace("Expect: 100-continue\r\n", "").as_bytes()).unwrap();
        Reply::read(&mut reply, false)
    };
    refused("/dbt/x", "X-No: credential", 1_000_000).is_refused(401, "unauthorised");
    refused("/dbt/x y", AUTHORIZED, 10);
    refused("/dbt/.x", AUTHORIZED, 1_000_000).is_refused(400, "bad-path");
    refused("/dbt/taken", &format!("{AUTHORIZED}\r\nIf-None-Match: *"), 1_000_000)
        .is_refused(412, "precondition-failed");
    refused("/dbt/taken/x", AUTHORIZED, 1_000_000).is_refused(409, "path-conflict");
    refused("/dbt/x", AUTHORIZED, 10 * 1024 * 1024 * 1024).is_refused(413, "too-large");
    assert_eq!(server.tree(), ["dbt", "dbt/taken"]);
}

#[test]
fn a_client_that_waits_for_leave_to_send_gets_it() {
    let server = Server::start();
    let mut stream = server.connect();
    let head = format!(
        "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n{AUTHORIZED}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"1.0.0").unwrap();
    assert_eq!(Reply::read(&mut stream, false).status, 201);
}

#[test]
fn an_upload_that_is_cut_leaves_nothing() {
    let server = Server::start();
    for framing in
        ["Content-Length: 100000\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\nff\r\nabc"]
    {
        let mut stream = server.connect();
        let head = format!("PUT /dbt/latest HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\n{framing}");
        stream.write_all(head.as_bytes()).unwrap();
        server.eventually("staged", |server| server.unfinished().len() == 1);
        drop(stream);
        server.eventually("discarded", |server| server.unfinished().is_empty());
    }
    assert!(server.tree().is_empty(), "{:?}", server.tree());
}

#[test]
fn an_upload_that_arrived_is_published_though_its_client_left() {
    let server = Server::start();
    let mut stream = server.connect();
    let body = vec![1; 200_000];
    let head = format!(
        "PUT /dbt/latest HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n{AUTHORIZED}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    drop(stream);
    // Whether the last bytes were read before the connection was seen closed is up to the
    // system; half a file is not.
    server.eventually("decided", |server| {
        server.log().contains(r#""outcome":"created""#)
            || server.log().contains(r#""outcome":"failed""#)
    });
    let reply = server.get("/dbt/latest");
    assert!(reply.status == 404 || reply.body == body, "{}", reply.body.len());
    assert!(server.unfinished().is_empty());
}

#[test]
fn headers_that_would_store_something_else_are_refused() {
    let server = Server::start();
    server
        .put_with("/dbt/x", &["Content-Range: bytes 0-2/10"], b"abc")
        .is_refused(400, "bad-header");
    server
        .put_with("/dbt/x", &["Content-Encoding: gzip"], b"abc")
        .is_refused(415, "content-coding");
    assert_eq!(server.put_with("/dbt/x", &["Content-Encoding: identity"], b"abc").status, 201);
}

#[test]
fn a_page_of_another_site_cannot_make_a_browser_write() {
    let server = Server::start();
    for line in [
        "Origin: https://evil.example",
        "Origin: null",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
    ] {
        server.put_with("/dbt/x", &[line], b"abc").is_refused(403, "forbidden");
        server.delete_with("/dbt/x", &[line]).is_refused(403, "forbidden");
    }
    assert!(server.tree().is_empty());
    assert_eq!(
        server
            .put_with("/dbt/x", &["Origin: http://test", "Sec-Fetch-Site: same-origin"], b"abc")
            .status,
        201
    );
}

#[test]
fn a_refusal_is_text_for_those_who_prefer_text() {
    let server = Server::start();
    let reply = server.put_with("/dbt/.x", &["Accept: text/plain"], b"abc");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    let id = reply.header("x-request-id").unwrap();
    assert_eq!(
        reply.text(),
        format!(
            "400 Bad Request: no file may be written there: a name must begin with a letter or a digit (request {id})\n"
        )
    );
}
