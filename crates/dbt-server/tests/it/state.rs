//! What must not be forgotten: it is known after a restart, moves with the server's versions, and
//! where it is lost, nothing is written until somebody has decided.

use std::fs;

use crate::world::{Place, Server, WRITABLE, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// Artifacts keep their bytes, also after they were deleted.
const IMMUTABLE: &str = r#""immutable": true, "authTypePut": "static-token",
    "authOptsPut": {"staticToken": "open-sesame"}"#;

/// Publishes a version whose artifact has these bytes; returns the status of the last file.
fn publish(server: &Server, bytes: &[u8]) -> u16 {
    server.put(X, bytes);
    server.put(&format!("{X}.asc"), b"sig");
    server.put(&format!("{X}.sha256"), sha256(bytes).as_bytes()).status
}

fn lose(server: Server, damage: &str) -> Place {
    let file = server.state().join("state.db");
    let place = server.kill();
    for ending in ["", "-wal", "-shm"] {
        let _absent = fs::remove_file(format!("{}{ending}", file.display()));
    }
    match damage {
        "lost" => {}
        "emptied" => fs::write(&file, b"").unwrap(),
        "damaged" => fs::write(&file, vec![b'x'; 8192]).unwrap(),
        _ => another(&file),
    }
    place
}

/// Puts the state of another server there.
fn another(file: &std::path::Path) {
    let other = Server::start();
    assert_eq!(other.put("/dbt/latest", b"1").status, 201);
    fs::copy(other.stop().state().join("state.db"), file).unwrap();
}

#[test]
fn what_was_deleted_is_known_after_a_restart() {
    let server = Server::with(IMMUTABLE);
    assert_eq!(publish(&server, b"old"), 201);
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    let server = Server::on(server.kill(), IMMUTABLE);
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    assert_eq!(server.put(X, b"old").status, 201);
    assert_eq!(
        server.command_beside(&["trash", "forget", "/dbt-tools"]),
        "forgot 2 deleted files at or below `/dbt-tools`\n"
    );
}

#[test]
fn the_list_of_an_earlier_version_is_taken_over() {
    let place = Place::new();
    let line = format!("{}  {}\n", sha256(b"old"), &X[1..]);
    place.put_on_disk(".reposerver/tombstones", line.as_bytes());
    let server = Server::on(place, IMMUTABLE);
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    assert!(!server.root().join(".reposerver/tombstones").exists());
    let server = Server::on(server.kill(), IMMUTABLE);
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    assert_eq!(server.put(X, b"old").status, 201);
}

#[test]
fn a_list_that_cannot_be_read_is_left_and_nothing_is_written() {
    let place = Place::new();
    place.put_on_disk(".reposerver/tombstones", b"what is this\n");
    place.put_on_disk("dbt/latest", b"1");
    let server = Server::on(place, IMMUTABLE);
    server.put("/dbt/latest", b"2").is_refused(503, "not-recorded");
    assert_eq!(server.get("/dbt/latest").text(), "1");
    assert!(server.root().join(".reposerver/tombstones").exists());
    server.eventually("said", |server| server.log().contains("the list of what was deleted"));
}

#[test]
fn a_state_that_is_lost_or_damaged_is_not_begun_anew_and_nothing_is_written() {
    for (damage, words) in [
        ("lost", "is missing, and the tree remembers"),
        ("emptied", "is damaged: it is empty"),
        ("damaged", "is damaged: file is not a database"),
        ("of another server", "and the tree remembers"),
    ] {
        let server = Server::start();
        assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
        let place = lose(server, damage);
        let server = Server::on(place, WRITABLE);
        assert_eq!(server.get("/dbt/latest").text(), "1.0.0", "{damage}");
        for reply in [server.put("/dbt/latest", b"2.0.0"), server.delete("/dbt/latest")] {
            reply.is_refused(503, "not-recorded");
            assert!(reply.text().contains("reposerver restore"), "{damage}: {}", reply.text());
        }
        assert_eq!(server.get("/dbt/latest").text(), "1.0.0", "{damage}");
        server.eventually(damage, |server| server.log().contains(words));
        let said = server.log();
        assert!(
            said.contains("reposerver restore DIR") && said.contains("--accept-loss"),
            "{said}"
        );
        // A second start changes nothing about it.
        let server = Server::on(server.kill(), WRITABLE);
        assert_eq!(server.put("/dbt/latest", b"2.0.0").status, 503, "{damage}");
    }
}

#[test]
fn a_state_that_is_taken_away_while_the_server_runs_is_missed_at_once() {
    let server = Server::start();
    assert_eq!(server.put("/dbt/latest", b"1.0.0").status, 201);
    fs::remove_file(server.state().join("state.db")).unwrap();
    server.put("/dbt/latest", b"2.0.0").is_refused(503, "not-recorded");
    assert_eq!(server.get("/dbt/latest").text(), "1.0.0");
}
