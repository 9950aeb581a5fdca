//! Files: what is said about them, and when they are not sent again.

use crate::world::{AUTHORIZED, Server, repr_digest, sha256};

#[test]
fn a_file_comes_with_its_length_digest_and_time_and_cannot_do_anything_in_a_browser() {
    let server = Server::start();
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"#!/bin/sh\n");
    let reply = server.get("/dbt-tools/x/1.0.0/linux/amd64/x");
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"#!/bin/sh\n".as_slice()));
    let digest = sha256(b"#!/bin/sh\n");
    let field = repr_digest(b"#!/bin/sh\n");
    for (name, value) in [
        ("content-length", "10"),
        ("etag", format!("\"{digest}\"").as_str()),
        ("x-checksum-sha256", &digest),
        ("repr-digest", &field),
        ("content-digest", &field),
        ("accept-ranges", "bytes"),
        ("cache-control", "no-cache"),
        ("content-type", "application/octet-stream"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(reply.header(name), Some(value), "{name}");
    }
}

#[test]
fn a_head_says_what_a_get_says_and_sends_nothing() {
    let server = Server::start();
    server.put_on_disk("dbt/truststore", b"keys");
    for path in ["/dbt/truststore", "/dbt/", "/dbt", "/", "/healthz", "/missing", "/-/api/tools"] {
        let get = server.get(path);
        let head = server.send("HEAD", path, &[], b"");
        assert_eq!(head.status, get.status, "{path}");
        let length =
            |reply: &crate::world::Reply| reply.header("content-length").map(str::to_owned);
        assert_eq!(length(&head), length(&get), "{path}");
        if get.status == 200 {
            assert_eq!(head.stable_headers(), get.stable_headers(), "{path}");
        }
    }
    // Were a body sent, the next answer on the same connection could not be read.
    let mut stream = server.connect();
    let two =
        b"HEAD /dbt/truststore HTTP/1.1\r\nHost: t\r\n\r\nGET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, two).unwrap();
    let mut all = String::new();
    std::io::Read::read_to_string(&mut stream, &mut all).unwrap();
    assert!(!all.contains("keys") && all.ends_with("ok"), "{all}");
}

#[test]
fn text_is_text_and_everything_else_is_bytes() {
    let server = Server::start();
    for (name, kind) in [
        ("truststore", "text/plain; charset=utf-8"),
        ("latest", "text/plain; charset=utf-8"),
        ("x.asc", "text/plain; charset=utf-8"),
        ("x.sha256", "text/plain; charset=utf-8"),
        ("tuf/root.json", "text/plain; charset=utf-8"),
        ("page.html", "application/octet-stream"),
        ("image.svg", "application/octet-stream"),
        ("dbt", "application/octet-stream"),
    ] {
        server.put_on_disk(&format!("dbt/{name}"), b"<script>alert(1)</script>");
        let reply = server.get(&format!("/dbt/{name}"));
        assert_eq!(reply.header("content-type"), Some(kind), "{name}");
    }
}

#[test]
fn a_file_that_did_not_change_is_not_sent_again() {
    let server = Server::start();
    server.put_on_disk("dbt/latest", b"1.0.0");
    let file = std::fs::File::options().write(true).open(server.root().join("dbt/latest"));
    let hour = std::time::Duration::from_hours(1);
    file.unwrap().set_modified(dbt_core::clock::Clock::System.now() - hour).unwrap();
    let first = server.get("/dbt/latest");
    let tag = format!("If-None-Match: {}", first.header("etag").unwrap());
    let date = format!("If-Modified-Since: {}", first.header("last-modified").unwrap());
    for line in [&tag, &date] {
        let reply = server.send("GET", "/dbt/latest", &[line], b"");
        assert_eq!((reply.status, reply.body.len()), (304, 0), "{line}");
        assert_eq!(reply.header("etag"), first.header("etag"));
    }
    let reply = server.send("GET", "/dbt/latest", &["If-Match: \"other\""], b"");
    reply.is_refused(412, "precondition-failed");

    server.put_on_disk("dbt/latest", b"1.0.1");
    assert_eq!(server.send("GET", "/dbt/latest", &[&tag, &date], b"").text(), "1.0.1");
}

#[test]
fn a_file_changed_behind_the_servers_back_gets_its_own_digest() {
    let server = Server::start();
    server.put("/dbt/latest", b"1.0.0");
    assert_eq!(
        server.get("/dbt/latest").header("x-checksum-sha256"),
        Some(sha256(b"1.0.0").as_str())
    );
    server.put_on_disk("dbt/latest", b"one dot oh");
    let reply = server.get("/dbt/latest");
    assert_eq!(reply.header("x-checksum-sha256"), Some(sha256(b"one dot oh").as_str()));
}

#[test]
fn a_large_file_is_hashed_in_the_background_and_has_a_weak_tag_until_then() {
    let server = Server::start();
    let bytes = vec![7; 9 * 1024 * 1024];
    server.put_on_disk("dbt/large", &bytes);
    let first = server.get("/dbt/large");
    assert_eq!(first.body.len(), bytes.len());
    assert!(first.header("etag").unwrap().starts_with("W/"));
    assert_eq!(first.header("repr-digest"), None);
    let strong = format!("\"{}\"", sha256(&bytes));
    server.eventually("hashed", |server| {
        server.send("HEAD", "/dbt/large", &[], b"").header("etag") == Some(&strong)
    });
}

#[test]
fn what_is_published_for_ever_may_be_kept_for_ever() {
    let server = Server::with(r#""immutable": true"#);
    let caching = |path: &str| {
        server.put_on_disk(path, b"x");
        server.get(&format!("/{path}")).header("cache-control").unwrap().to_owned()
    };
    let for_ever = "public, max-age=31536000, immutable";
    assert_eq!(caching("dbt-tools/x/1.0.0/linux/amd64/x"), for_ever);
    assert_eq!(caching("dbt-tools/x/1.0.0/linux/amd64/x.sha256"), for_ever);
    for path in
        ["dbt-tools/x/1.0.0/linux/amd64/x.asc", "dbt-tools/x/1.0.0/description.txt", "dbt/latest"]
    {
        assert_eq!(caching(path), "no-cache", "{path}");
    }
}

#[test]
fn what_is_missing_is_told_as_deployed_clients_show_it() {
    let server = Server::start();
    server.put_on_disk("dbt/file", b"x");
    for path in
        ["/missing", "/dbt/file/below", "/.reposerver/lock", "/-/api/unknown", "/dbt/%252e%252e"]
    {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.text().as_str()), (404, "404 page not found\n"), "{path}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    }
    let reply = server.send("GET", "/missing", &["Accept: application/problem+json"], b"");
    reply.is_refused(404, "not-found");
}

#[test]
fn pipes_and_sockets_in_the_tree_are_not_opened() {
    let server = Server::start();
    let pipe = server.root().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from(0o600)).unwrap();
    assert_eq!(server.get("/pipe").status, 404);
    assert!(!server.get("/").text().contains("pipe"));
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_cuts_the_connection() {
    let server = Server::start();
    let size = 64 * 1024 * 1024;
    server.put_on_disk("dbt/large", b"");
    let path = server.root().join("dbt/large");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(size).unwrap();

    let mut stream = server.connect();
    std::io::Write::write_all(&mut stream, b"GET /dbt/large HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
    let mut start = [0; 1024];
    std::io::Read::read_exact(&mut stream, &mut start).unwrap();
    file.set_len(1024).unwrap();
    let mut rest = Vec::new();
    // Either the connection ends early or it is reset; a whole answer would be a lie.
    let _reset = std::io::Read::read_to_end(&mut stream, &mut rest);
    assert!((rest.len() as u64) < size, "{}", rest.len());
}

#[test]
fn what_only_some_may_read_is_kept_for_ever_by_them_alone() {
    let server = Server::with(
        r#""immutable": true, "authGets": true, "authTypeGet": "static-token",
        "authOptsGet": {"staticToken": "open-sesame"}"#,
    );
    let path = "dbt-tools/x/1.0.0/linux/amd64/x";
    for (path, expected) in [
        (path.to_owned(), "private, max-age=31536000, immutable"),
        (format!("{path}.sha256"), "private, max-age=31536000, immutable"),
        (format!("{path}.asc"), "private, no-cache"),
        ("dbt/latest".to_owned(), "private, no-cache"),
    ] {
        server.put_on_disk(&path, b"x");
        let reply = server.get_as_writer(&format!("/{path}"));
        assert_eq!((reply.status, reply.header("cache-control")), (200, Some(expected)), "{path}");
        let range = server.send("GET", &format!("/{path}"), &[AUTHORIZED, "Range: bytes=0-0"], b"");
        assert_eq!((range.status, range.header("cache-control")), (206, Some(expected)), "{path}");
        let stranger = server.get(&format!("/{path}"));
        assert_eq!((stranger.status, stranger.header("cache-control")), (401, Some("no-store")));
    }
}

#[test]
fn who_reads_while_a_file_is_replaced_gets_one_file_or_the_other() {
    let server = Server::start();
    let ended = std::sync::atomic::AtomicBool::new(false);
    let content = |round: u8| vec![round; 200_000 + usize::from(round) * 1000];
    server.put("/dbt/latest", &content(0));
    let reads = std::thread::scope(|scope| {
        let readers = [(); 3].map(|()| {
            scope.spawn(|| {
                let mut reads = 0;
                while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                    let reply = server.get("/dbt/latest");
                    assert_eq!(reply.status, 200);
                    assert_eq!(reply.body, content(reply.body[0]));
                    assert_eq!(reply.header("repr-digest"), Some(&*repr_digest(&reply.body)));
                    assert_eq!(
                        reply.header("etag"),
                        Some(&*format!("\"{}\"", sha256(&reply.body)))
                    );
                    reads += 1;
                }
                reads
            })
        });
        let writes = scope.spawn(|| {
            let statuses = (1..=40).map(|round| server.put("/dbt/latest", &content(round)).status);
            statuses.collect::<Vec<u16>>()
        });
        let written = writes.join().unwrap();
        ended.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(written, [200; 40]);
        readers.map(|reader| reader.join().unwrap())
    });
    assert!(reads.iter().sum::<u32>() > 0, "{reads:?}");
}
