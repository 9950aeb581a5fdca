//! Smaller promises of HTTP: what is asked of us that we do not do, and what we say of ourselves.

use std::io::{Read as _, Write as _};

use crate::world::{AUTHORIZED, Reply, Server, sha256};

#[test]
fn bytes_are_sent_as_they_are_whatever_a_client_could_unpack() {
    let server = Server::start();
    server.put_on_disk("dbt/file", &[b'x'; 10_000]);
    let plain = server.get("/dbt/file");
    let asked = server.send("GET", "/dbt/file", &["Accept-Encoding: gzip, br, zstd"], b"");
    assert_eq!(asked.header("content-encoding"), None);
    assert_eq!((asked.stable_headers(), asked.body), (plain.stable_headers(), plain.body));
}

#[test]
fn no_page_of_another_site_is_let_in() {
    let server = Server::start();
    server.put_on_disk("dbt/file", b"x");
    let foreign = ["Origin: https://evil.example", "Access-Control-Request-Method: PUT"];
    for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
        let reply = server.send(method, "/dbt/file", &foreign, b"");
        let names = reply.stable_headers().into_iter().map(|(name, _value)| name);
        let let_in: Vec<String> =
            names.filter(|name| name.starts_with("access-control-")).collect();
        assert_eq!(let_in, [""; 0], "{method}");
    }
    assert_eq!(server.get("/dbt/file").text(), "x");
}

#[test]
fn a_digest_that_cannot_be_checked_is_ignored_and_the_answer_says_which_could_be() {
    let server = Server::start();
    let reply = server.put_with("/dbt/x", &["Repr-Digest: sha-512=:AAAA:"], b"bytes");
    assert_eq!((reply.status, reply.header("want-repr-digest")), (201, Some("sha-256=10")));
    let reply = server.put_with("/dbt/y", &["Content-Digest: md5=:AAAA:, unixsum=:AA==:"], b"y");
    assert_eq!((reply.status, reply.header("want-repr-digest")), (201, Some("sha-256=10")));
    assert_eq!(server.put("/dbt/z", b"z").header("want-repr-digest"), None);
}

#[test]
fn the_answer_to_an_upload_names_what_is_there_now() {
    let server = Server::start();
    for (body, status) in [(b"one".as_slice(), 201), (b"one", 200), (b"two", 200)] {
        let reply = server.put("//dbt//dir/latest", body);
        assert_eq!(reply.status, status);
        let got = server.get("/dbt/dir/latest");
        for name in ["etag", "repr-digest", "x-checksum-sha256"] {
            assert!(
                reply.header(name).is_some() && reply.header(name) == got.header(name),
                "{name}"
            );
        }
        assert_eq!(reply.header("location"), Some("/dbt/dir/latest"));
        let about = reply.json();
        assert_eq!(
            (&about["path"], &about["sha256"]),
            (&"dbt/dir/latest".into(), &sha256(body).into())
        );
    }
}

#[test]
fn a_directory_deleted_without_a_slash_goes_and_the_log_says_that_this_will_end() {
    let server = Server::start();
    server.put_on_disk("dbt-tools/x/1.0.0/file", b"x");
    server.put_on_disk("dbt-tools/y/1.0.0/file", b"y");
    assert_eq!(server.delete("/dbt-tools/x/").status, 204);
    server.eventually("logged", |server| server.log().contains("/dbt-tools/x/"));
    assert!(!server.log().contains("deprecated"), "{}", server.log());
    assert_eq!(server.delete("/dbt-tools/y").status, 204);
    server.eventually("logged", |server| server.log().contains("which is deprecated"));
    assert_eq!(server.tree(), ["dbt-tools"]);
}

#[test]
fn an_old_date_protects_what_was_changed_since() {
    let server = Server::start();
    let changed = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for path in ["dbt/latest", "dbt/other"] {
        server.put_on_disk(path, b"1");
        let file = std::fs::File::open(server.root().join(path)).unwrap();
        file.set_modified(changed).unwrap();
    }
    let before = "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT";
    server.put_with("/dbt/latest", &[before], b"2").is_refused(412, "precondition-failed");
    server.delete_with("/dbt/other", &[before]).is_refused(412, "precondition-failed");
    assert_eq!(server.get("/dbt/latest").text(), "1");
    let since = "If-Unmodified-Since: Sun, 09 Sep 2001 01:46:40 GMT";
    assert_eq!(server.put_with("/dbt/latest", &[since], b"2").status, 200);
    assert_eq!(server.delete_with("/dbt/other", &[since]).status, 204);
    assert_eq!(server.get("/dbt/latest").text(), "2");
}

#[test]
fn little_is_read_of_an_upload_that_is_refused() {
    let server = Server::start();
    let mut stream = server.connect();
    let head = "PUT /dbt/x HTTP/1.1\r\nHost: t\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    Reply::read(&mut stream, false).is_refused(401, "unauthorised");
    // The system's own buffers take some, and then nobody takes any more.
    let piece = vec![0; 64 * 1024];
    let sent = (0..15_000).take_while(|_| stream.write_all(&piece).is_ok()).count();
    assert!(sent < 1000, "{sent} pieces of 64 KiB were taken");
    let mut rest = Vec::new();
    let _reset = stream.read_to_end(&mut rest);
    assert_eq!(rest, [0; 0]);
}

#[test]
fn every_answer_has_a_request_id_of_its_own_that_is_in_the_log() {
    let server = Server::start();
    let mut ids = Vec::new();
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/missing"),
        ("PUT", "/dbt/x"),
        ("BREW", "/dbt/x"),
        ("HEAD", "/dbt/y"),
    ] {
        let lines = [AUTHORIZED, "X-Request-Id: chosen-by-the-client"];
        let reply = server.send(method, path, &lines, b"");
        let id = reply.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 26, "{method} {path}: {id}");
        assert!(!ids.contains(&id));
        server.eventually("logged", |server| server.log().contains(&id));
        ids.push(id);
    }
    assert!(!server.log().contains("chosen-by-the-client"));
}

#[test]
fn one_challenge_stands_on_each_line() {
    let place = crate::world::Place::new();
    place.put_beside("users", b"alice:{SHA}GpHWL3ymc5liWkNopqtdSjuqYHM=\n");
    let server = Server::on(
        place,
        r#""authTypePut": "static-token,basic-htpasswd", "htpasswdFile": "users",
        "authOptsPut": {"staticToken": "open-sesame"}"#,
    );
    let reply = server.send("PUT", "/dbt/x", &[], b"x");
    reply.is_refused(401, "unauthorised");
    let challenges = reply.all("www-authenticate");
    assert_eq!(challenges.len(), 2, "{challenges:?}");
    assert!(challenges.iter().any(|it| it.starts_with("Bearer realm=\"dbt\"")), "{challenges:?}");
    let basic = "Basic realm=\"dbt\", charset=\"UTF-8\"";
    assert!(challenges.contains(&basic), "{challenges:?}");
    let bad = server.send("PUT", "/dbt/x", &["Authorization: Bearer wrong"], b"x");
    let told = bad.all("www-authenticate").join("\n");
    assert!(told.contains("error=\"invalid_token\", error_description="), "{told}");
}
