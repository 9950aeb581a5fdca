//! What old publishers publish that clients of today do not run: platforms that only others know,
//! and programs without a signature.

use dbt_testkit::people::{ALICE, MALLORY, just_now};

use crate::world::{Server, WRITABLE, sha256};

fn verifying(members: &str) -> Server {
    let server = Server::with(&format!("{WRITABLE}{members}"));
    server.put_on_disk("dbt/truststore", ALICE.certificate().as_bytes());
    server
}

/// Uploads a file, which must succeed, and returns whether it is published.
fn put(server: &Server, path: &str, bytes: &[u8]) -> bool {
    let reply = server.put(path, bytes);
    assert!((200..300).contains(&reply.status), "{path}: {reply:?}");
    reply.json()["published"].as_bool().unwrap()
}

#[test]
fn a_platform_that_only_other_clients_know_is_verified_all_the_same() {
    let server = verifying("");
    let x = "/dbt-tools/x/1.0.0/freebsd/386/x";
    let sum = sha256(b"binary");
    put(&server, x, b"binary");
    put(&server, &format!("{x}.sha256"), sum.as_bytes());
    for (why, signature, words) in [
        ("a stranger's", MALLORY.sign(b"binary", None, just_now()), "no signature of"),
        ("of other bytes", ALICE.sign(b"other", None, just_now()), "no signature of"),
        (
            "of another platform",
            ALICE.sign(b"binary", Some("tool/x/1.0.0/linux/amd64"), just_now()),
            "was made for",
        ),
    ] {
        let reply = server.put(&format!("{x}.asc"), signature.as_bytes());
        reply.is_refused(422, "not-publishable");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words) && detail.contains("freebsd/386"), "{why}: {detail}");
        assert_eq!(server.get(x).status, 404, "{why}");
    }
    // gomason's signatures name nothing; ours name the platform, whatever it is.
    let plain = ALICE.sign(b"binary", None, just_now());
    assert!(put(&server, &format!("{x}.asc"), plain.as_bytes()));
    assert_eq!(server.get(x).text(), "binary");
    let bound = ALICE.sign(b"binary", Some("tool/x/1.0.0/freebsd/386"), just_now());
    assert!(put(&server, &format!("{x}.asc"), bound.as_bytes()));
}

#[test]
fn dbt_without_a_signature_is_never_shown_and_its_publisher_is_told_what_is_missing() {
    for members in ["", r#", "verifyUploads": "off""#] {
        let server = verifying(members);
        let dbt = "/dbt/3.7.16/linux/amd64/dbt";
        put(&server, dbt, b"binary");
        let reply = server.put(&format!("{dbt}.sha256"), sha256(b"binary").as_bytes());
        assert_eq!(reply.json()["published"], false);
        assert_eq!(reply.json()["waitingFor"], serde_json::json!(["linux/amd64/dbt.asc"]));
        assert_eq!(server.get(dbt).status, 404);
        assert!(!server.get("/dbt/").text().contains("3.7.16"));
        let signature = ALICE.sign(b"binary", None, just_now());
        assert!(put(&server, &format!("{dbt}.asc"), signature.as_bytes()));
        assert_eq!(server.get(dbt).text(), "binary");
    }
}
