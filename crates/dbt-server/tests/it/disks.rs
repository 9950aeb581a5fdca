//! Disks that are full: what does not fit is refused in words, and everything else is as before.

use dbt_testkit::invocation::mounts_work;

use crate::world::{Place, Server, WRITABLE, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// Starts a server on a small file system of its own; nothing where that cannot be had and whoever
/// runs this has said so.
fn on_a_disk_of(options: &str) -> Option<Server> {
    mounts_work().then(|| Server::on(Place::new().on_a_disk_of(options), WRITABLE))
}

#[test]
fn a_full_disk_is_named_and_what_was_there_stays() {
    let Some(server) = on_a_disk_of("size=2m") else { return };
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    assert_eq!(server.put(X, &vec![1; 100_000]).status, 201);
    let large = vec![7; 4 * 1024 * 1024];
    for path in ["/dbt/large", "/dbt/latest", X, &format!("{X}.asc")] {
        server.put(path, &large).is_refused(507, "out-of-space");
    }
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    assert_eq!(server.get_as_writer(X).body, vec![1; 100_000]);
    assert_eq!(server.get("/dbt/large").status, 404);
    // Nothing of the refused ones is left, so that there is room again.
    assert_eq!(server.put("/dbt/small", &vec![7; 500_000]).status, 201);
    assert_eq!(server.put(&format!("{X}.asc"), b"sig").status, 201);
    let last = server.put(&format!("{X}.sha256"), sha256(&vec![1; 100_000]).as_bytes());
    assert_eq!(last.json()["published"], true, "{last:?}");
}

#[test]
fn a_disk_without_room_for_another_name_is_named_too() {
    let Some(server) = on_a_disk_of("nr_inodes=60") else { return };
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    let mut refused = 0;
    for number in 0..80 {
        let path = format!("/dbt/deep-{number}/file");
        let reply = server.put(&path, b"x");
        if reply.status == 201 {
            assert_eq!(server.get(&path).text(), "x");
        } else {
            reply.is_refused(507, "out-of-space");
            assert_eq!(server.get(&path).status, 404);
            refused += 1;
        }
    }
    assert!(refused > 0, "no inode was ever missing");
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
    assert_eq!(server.delete("/dbt/deep-0").status, 507, "even the trash needs a name");
}
