//! What is known of the tree beside the tree itself: where it lies, that it may be lost, and that
//! nobody is served it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;

use crate::world::{Place, Reply, Server, WRITABLE, sha256};

/// More than is hashed while a reader waits.
const LARGE: usize = 9 * 1024 * 1024;

fn tag(server: &Server, path: &str) -> String {
    server.send("HEAD", path, &[], b"").header("etag").unwrap().to_owned()
}

fn large(server: &Server) -> Reply {
    server.send("HEAD", "/dbt/large", &[], b"")
}

#[test]
fn what_was_hashed_once_is_known_after_a_restart() {
    let server = Server::start();
    let bytes = vec![7; LARGE];
    server.put_on_disk("dbt/large", &bytes);
    assert!(tag(&server, "/dbt/large").starts_with("W/"));
    let strong = format!("\"{}\"", sha256(&bytes));
    server.eventually("hashed", |server| tag(server, "/dbt/large") == strong);
    let server = Server::on(server.kill(), WRITABLE);
    assert_eq!(tag(&server, "/dbt/large"), strong, "at once");

    // Other bytes of the same size are another file.
    let other = vec![8; LARGE];
    server.put_on_disk("dbt/large", &other);
    assert_ne!(tag(&server, "/dbt/large"), strong);
    // It may have been hashed since; nobody is told the digest of what was there.
    let digest = Digest::of(&other);
    let told = format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()));
    let answer = large(&server);
    assert!(answer.header("repr-digest").is_none_or(|it| it == told), "{answer:?}");
}

#[test]
fn an_index_that_is_lost_or_damaged_is_made_anew_and_loses_nothing() {
    for damage in ["lost", "damaged", "a directory"] {
        let server = Server::start();
        server.put("/dbt/latest", b"1.0.0");
        let file = server.state().join("index.db");
        assert!(file.exists());
        let place = server.kill();
        for ending in ["", "-wal", "-shm"] {
            let _absent = fs::remove_file(format!("{}{ending}", file.display()));
        }
        match damage {
            "lost" => {}
            "damaged" => fs::write(&file, vec![b'x'; 8192]).unwrap(),
            _ => fs::create_dir(&file).unwrap(),
        }
        let server = Server::on(place, WRITABLE);
        let reply = server.get("/dbt/latest");
        assert_eq!(
            (reply.text().as_str(), reply.header("x-checksum-sha256")),
            ("1.0.0", Some(sha256(b"1.0.0").as_str())),
            "{damage}"
        );
    }
}

#[test]
fn reindex_hashes_everything_while_a_server_runs() {
    let server = Server::start();
    let bytes = vec![7; LARGE];
    server.put_on_disk("dbt/large", &bytes);
    server.put_on_disk("dbt-tools/x/1.0.0/linux/amd64/x", b"x");
    server.put_on_disk("dbt/.hidden", b"x");
    assert_eq!(server.command_beside(&["reindex"]), "2 files\n");
    assert_eq!(tag(&server, "/dbt/large"), format!("\"{}\"", sha256(&bytes)), "at once");
}

#[test]
fn the_state_lies_where_it_is_configured_and_never_where_it_is_served() {
    let place = Place::new();
    let elsewhere = place.root().parent().unwrap().join("elsewhere");
    let members = format!(r#"{WRITABLE}, "stateDir": {:?}"#, elsewhere.display().to_string());
    let server = Server::on(place, &members);
    server.put("/dbt/latest", b"1");
    assert!(elsewhere.join("index.db").exists());
    assert_eq!(fs::metadata(&elsewhere).unwrap().permissions().mode() & 0o777, 0o700);

    let place = Place::new();
    let inside = place.root().join("dbt/state");
    let members = format!(r#"{WRITABLE}, "stateDir": {:?}"#, inside.display().to_string());
    let said = place.refusal(&members);
    assert!(said.contains("dbt/state") && !inside.exists(), "{said}");
}

#[test]
fn without_a_place_of_its_own_the_state_lies_below_the_root_and_is_not_served() {
    let place = Place::new().variable("STATE_DIRECTORY", "");
    let server = Server::on(place, WRITABLE);
    server.put("/dbt/latest", b"1");
    if std::path::Path::new("/var/lib/reposerver").exists() {
        // This machine has a place of its own.
        return;
    }
    assert!(server.root().join(".reposerver/state/index.db").exists());
    for path in ["/.reposerver/state/index.db", "/.reposerver/state/", "/.reposerver/"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    let said = "must not show it";
    server.eventually("said", |server| server.log().contains(said));
}

#[test]
fn two_servers_cannot_share_a_state_directory() {
    let server = Server::start();
    let other = Place::new().variable("STATE_DIRECTORY", server.state().to_str().unwrap());
    let said = other.refusal(WRITABLE);
    assert!(said.contains("another server holds") && said.contains("lock"), "{said}");
}
