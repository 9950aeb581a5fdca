//! Deleting: what goes, what cannot.

use crate::world::{AUTHORIZED, Server, sha256};

#[test]
fn a_file_is_deleted_and_then_gone() {
    let server = Server::start();
    server.put("/dbt/latest", b"1");
    let reply = server.delete("/dbt/latest");
    assert_eq!((reply.status, reply.body.len()), (204, 0));
    assert_eq!(server.get("/dbt/latest").status, 404);
    assert_eq!(server.delete("/dbt/latest").status, 404);
}

#[test]
fn a_directory_goes_with_everything_below_and_links_inside_are_not_followed() {
    let server = Server::start();
    for path in
        ["dbt-tools/x/1.0.0/linux/amd64/x", "dbt-tools/x/1.0.0/a/.hidden/b", "dbt-tools/y/z"]
    {
        server.put_on_disk(path, b"x");
    }
    let outside = server.outside().join("precious");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("file"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, server.root().join("dbt-tools/x/1.0.0/link")).unwrap();

    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    assert_eq!(server.tree(), ["dbt-tools", "dbt-tools/x", "dbt-tools/y", "dbt-tools/y/z"]);
    assert!(server.unfinished().is_empty());
    assert!(outside.join("file").exists());
    assert_eq!(server.delete("/dbt-tools/x").status, 204);
}

#[test]
fn roots_and_the_truststore_stay_and_so_does_what_is_ours() {
    let server = Server::start();
    server.put_on_disk("dbt/truststore", b"keys");
    server.put_on_disk("dbt-tools/x/1.0.0/f", b"x");
    server.put_on_disk("elsewhere/file", b"x");
    let before = server.tree();
    for path in
        ["/", "//", "/dbt", "/dbt/", "/dbt-tools", "//dbt-tools//", "/dbt/truststore", "/elsewhere"]
    {
        server.delete(path).is_refused(403, "forbidden");
    }
    for path in [
        "/.reposerver",
        "/.reposerver/tmp",
        "/dbt/..",
        "/dbt/%2e%2e",
        "/dbt/../dbt-tools",
        "/dbt/.git",
    ] {
        server.delete(path).is_refused(400, "bad-path");
    }
    for path in ["/healthz", "/-/api/tools", "/-"] {
        server.delete(path).is_refused(405, "method-not-allowed");
    }
    server.send("DELETE", "*", &[AUTHORIZED], b"").is_refused(400, "bad-path");
    assert_eq!(server.tree(), before);
    assert!(server.root().join(".reposerver/lock").exists());
}

#[test]
fn a_condition_protects_a_file_from_being_deleted() {
    let server = Server::start();
    server.put("/dbt/latest", b"1");
    server.put("/dbt/dir/file", b"1");
    let stale = format!("If-Match: \"{}\"", sha256(b"0"));
    let current = format!("If-Match: \"{}\"", sha256(b"1"));
    server.delete_with("/dbt/latest", &[&stale]).is_refused(412, "precondition-failed");
    server.delete_with("/dbt/dir", &[&current]).is_refused(412, "precondition-failed");
    assert_eq!(server.tree(), ["dbt", "dbt/dir", "dbt/dir/file", "dbt/latest"]);
    assert_eq!(server.delete_with("/dbt/latest", &[&current]).status, 204);
}
