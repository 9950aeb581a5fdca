//! A program that is killed in the middle leaves nothing that can be seen.

use std::io::Write as _;

use crate::world::{AUTHORIZED, Server, WRITABLE};

#[test]
fn a_kill_during_an_upload_leaves_nothing_visible_and_the_next_start_clears_up() {
    let server = Server::start();
    server.put("/dbt/latest", b"old");
    let mut uploads = Vec::new();
    for path in ["/dbt/latest", "/dbt/new"] {
        let mut stream = server.connect();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: t\r\n{AUTHORIZED}\r\nContent-Length: 2000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![b'x'; 1_000_000]).unwrap();
        uploads.push(stream);
    }
    server.eventually("begun", |server| server.unfinished().len() == 2);
    let place = server.kill();

    let server = Server::on(place, WRITABLE);
    assert_eq!(server.tree(), ["dbt", "dbt/latest"]);
    assert_eq!(server.get("/dbt/latest").text(), "old");
    assert!(server.unfinished().is_empty(), "{:?}", server.unfinished());
    assert_eq!(server.put("/dbt/new", b"new").status, 201);
}

#[test]
fn what_was_deleted_and_not_yet_emptied_goes_at_the_next_start() {
    let place = crate::world::Place::new();
    place.put_on_disk(".reposerver/tmp/left/over/file", b"x");
    place.put_on_disk(".reposerver/tmp/upload", b"x");
    place.put_on_disk("dbt/latest", b"1");
    std::os::unix::fs::symlink(place.root().join("dbt"), place.root().join(".reposerver/tmp/link"))
        .unwrap();
    let server = Server::on(place, WRITABLE);
    assert!(server.unfinished().is_empty());
    assert_eq!(server.get("/dbt/latest").text(), "1");
}
