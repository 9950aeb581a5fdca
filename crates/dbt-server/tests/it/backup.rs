//! Losing what the server must not forget, and putting it back.

use std::fs;
use std::process::Output;

use crate::world::{Place, Server, sha256};

const X: &str = "/dbt-tools/x/1.0.0/linux/amd64/x";

/// Artifacts keep their bytes, also after they were deleted.
const IMMUTABLE: &str = r#""immutable": true, "authTypePut": "static-token",
    "authOptsPut": {"staticToken": "open-sesame"}"#;

fn publish(server: &Server, bytes: &[u8]) {
    server.put(X, bytes);
    server.put(&format!("{X}.asc"), b"sig");
    let last = server.put(&format!("{X}.sha256"), sha256(bytes).as_bytes());
    assert_eq!(last.json()["published"], true, "{last:?}");
}

fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    said(output)
}

fn refused(output: &Output, words: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(output).contains(words), "{}", said(output));
}

/// A server with something to lose, of which there is a backup, that was killed.
fn backed_up() -> Place {
    let server = Server::with(IMMUTABLE);
    publish(&server, b"old");
    assert_eq!(server.delete("/dbt-tools/x/1.0.0/").status, 204);
    let text = succeeded(&server.try_command_beside(&["backup", "backup"]));
    assert!(text.contains("copied records up to"), "{text}");
    assert_eq!(server.put("/dbt/latest", b"after the backup").status, 201);
    server.kill()
}

#[test]
fn what_is_lost_is_put_back_and_is_known_again() {
    let place = backed_up();
    fs::remove_dir_all(place.state()).unwrap();
    let server = Server::on(place, IMMUTABLE);
    assert_eq!(server.put(X, b"other").status, 503);
    refused(&server.try_command_beside(&["restore", "backup"]), "another server holds");
    let place = server.kill();
    let text = succeeded(&place.run(IMMUTABLE, &["restore", "backup"]));
    assert!(text.contains("the server can start"), "{text}");
    let server = Server::on(place, IMMUTABLE);
    server.put(X, b"other").is_refused(409, "immutable-conflict");
    assert_eq!(server.put(X, b"old").status, 201);
    let text = server.command_beside(&["audit", "verify"]);
    assert!(text.contains(": as they were written"), "{text}");
    let tail = server.command_beside(&["audit", "export"]);
    assert!(
        tail.contains("state.restore") && tail.contains("\"outcome\":\"deleted with"),
        "{tail}"
    );
}

#[test]
fn a_backup_verifies_by_itself_and_one_that_was_touched_is_not_put_back() {
    let place = backed_up();
    let text = succeeded(&place.run(IMMUTABLE, &["audit", "verify", "--state", "backup"]));
    assert!(text.contains(": as they were written"), "{text}");
    let file = place.beside("backup/state.db");
    let mut bytes = fs::read(&file).unwrap();
    let needle = b"open-sesame";
    assert!(!bytes.windows(needle.len()).any(|window| window == needle), "no secrets");
    let needle = b"static-token:static-token";
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    bytes[at] = b'S';
    fs::write(&file, bytes).unwrap();
    let before = fs::read(place.state().join("state.db")).unwrap();
    refused(&place.run(IMMUTABLE, &["restore", "backup"]), "does not hold");
    assert_eq!(fs::read(place.state().join("state.db")).unwrap(), before);
}

#[test]
fn the_backup_of_another_server_is_not_put_back() {
    let place = backed_up();
    let other = Server::with(IMMUTABLE);
    let words = ["restore", place.beside("backup").to_str().unwrap()].map(ToOwned::to_owned);
    let other = other.kill();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    refused(&other.run(IMMUTABLE, &words), "it is the backup of another server");
    refused(&place.run(IMMUTABLE, &["restore", "nowhere"]), "is missing");
}

#[test]
fn a_backup_goes_to_a_new_directory_only_and_is_recorded() {
    let server = Server::with(IMMUTABLE);
    succeeded(&server.try_command_beside(&["backup", "backup"]));
    let last = server.command_beside(&["audit", "tail", "-n", "1"]);
    assert!(last.contains("  backup  -  copied  records up to"), "{last}");
    let output = server.try_command_beside(&["backup", "backup"]);
    refused(&output, "failed to make `backup`");
}

#[test]
fn beginning_anew_takes_a_word_and_a_loss_and_is_recorded() {
    let place = backed_up();
    refused(&place.run(IMMUTABLE, &["state", "init"]), "--accept-loss");
    refused(&place.run(IMMUTABLE, &["state", "init", "--accept-loss"]), "nothing is lost");
    fs::write(place.state().join("state.db"), vec![b'x'; 8192]).unwrap();
    let text = succeeded(&place.run(IMMUTABLE, &["state", "init", "--accept-loss"]));
    assert!(text.contains("begun anew as") && text.contains("aside-"), "{text}");
    let server = Server::on(place, IMMUTABLE);
    // What was deleted is not known any more.
    assert_eq!(server.put(X, b"other").status, 201);
    assert!(server.command_beside(&["audit", "export"]).contains("state.init"));
    assert!(server.command_beside(&["audit", "verify"]).contains(": as they were written"));
}
