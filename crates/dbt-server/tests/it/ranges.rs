//! Parts of files.

use crate::world::{Reply, Server, repr_digest};

fn with_digits() -> Server {
    let server = Server::start();
    server.put_on_disk("dbt/digits", b"0123456789");
    server
}

fn range(server: &Server, range: &str) -> Reply {
    server.send("GET", "/dbt/digits", &[&format!("Range: {range}")], b"")
}

#[test]
fn one_range_is_answered_with_its_part() {
    let server = with_digits();
    for (asked, got, place) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=3-", "3456789", "bytes 3-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
        ("bytes=8-99", "89", "bytes 8-9/10"),
        ("bytes=2-3,4-5", "2345", "bytes 2-5/10"),
    ] {
        let reply = range(&server, asked);
        assert_eq!((reply.status, reply.text().as_str()), (206, got), "{asked}");
        assert_eq!(reply.header("content-range"), Some(place), "{asked}");
        assert_eq!(reply.header("repr-digest"), Some(&*repr_digest(b"0123456789")));
        assert_eq!(reply.header("content-digest"), None, "it would be the digest of the part");
    }
}

#[test]
fn the_digest_of_a_part_is_told_to_those_who_want_it() {
    let server = with_digits();
    server.put_on_disk("dbt/large", &vec![7; 9 * 1024 * 1024]);
    let digest = |bytes: &[u8]| {
        let digest = dbt_core::digest::Digest::of(bytes);
        let text =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest.as_bytes());
        format!("sha-256=:{text}:")
    };
    let asked = |path: &str, range: &str, want: &str| {
        let want = format!("Want-Content-Digest: {want}");
        server.send("GET", path, &[&format!("Range: {range}"), &want], b"")
    };
    for range in ["bytes=3-5", "bytes=0-1,5-6"] {
        for want in ["sha-256=1", "sha-512=3, SHA-256=10"] {
            let reply = asked("/dbt/digits", range, want);
            assert_eq!(reply.status, 206);
            assert_eq!(reply.header("content-digest"), Some(digest(&reply.body).as_str()));
            assert_eq!(reply.header("repr-digest"), Some(digest(b"0123456789").as_str()));
        }
        for want in ["sha-256=0", "sha-512=3", "nonsense"] {
            assert_eq!(asked("/dbt/digits", range, want).header("content-digest"), None, "{want}");
        }
    }
    let chunks = asked("/dbt/large", "bytes=1-1000000", "sha-256=1");
    assert_eq!(chunks.header("content-digest"), Some(digest(&chunks.body).as_str()));
    // Nobody waits for more than is hashed while they do.
    let too_much = asked("/dbt/large", "bytes=1-", "sha-256=1");
    assert_eq!((too_much.status, too_much.header("content-digest")), (206, None));
}

#[test]
fn several_ranges_are_answered_in_parts() {
    let server = with_digits();
    let reply = range(&server, "bytes=0-1, 5-6, -1");
    assert_eq!(reply.status, 206);
    let kind = reply.header("content-type").unwrap();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let part = |place: &str, bytes: &str| {
        format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {place}/10\r\n\r\n{bytes}"
        )
    };
    let expected = [part("0-1", "01"), part("5-6", "56"), part("9-9", "9")].concat();
    assert_eq!(reply.text(), format!("{expected}\r\n--{boundary}--\r\n"));
}

#[test]
fn ranges_that_do_not_bind_are_answered_with_the_whole() {
    let server = with_digits();
    let nine = "bytes=0-0,2-2,4-4,6-6,8-8,0-0,2-2,4-4,6-6";
    for asked in ["bytes=x", "lines=1-2", "bytes=5-1", nine] {
        let reply = range(&server, asked);
        assert_eq!((reply.status, reply.text().as_str()), (200, "0123456789"), "{asked}");
    }
    let head = server.send("HEAD", "/dbt/digits", &["Range: bytes=0-0"], b"");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
}

#[test]
fn bytes_that_do_not_exist_are_refused_with_the_size() {
    let server = with_digits();
    let reply = range(&server, "bytes=10-");
    reply.is_refused(416, "range-not-satisfiable");
    assert_eq!(reply.header("content-range"), Some("bytes */10"));
}

#[test]
fn a_broken_download_goes_on_only_with_the_same_bytes() {
    let server = with_digits();
    let tag = server.get("/dbt/digits").header("etag").unwrap().to_owned();
    let resumed = |line: &str| server.send("GET", "/dbt/digits", &["Range: bytes=5-", line], b"");
    assert_eq!(resumed(&format!("If-Range: {tag}")).text(), "56789");
    assert_eq!(resumed("If-Range: \"other\"").text(), "0123456789");
    assert_eq!(resumed(&format!("If-Range: W/{tag}")).text(), "0123456789");
    server.put_on_disk("dbt/digits", b"abcdefghij");
    assert_eq!(resumed(&format!("If-Range: {tag}")).text(), "abcdefghij");
}
