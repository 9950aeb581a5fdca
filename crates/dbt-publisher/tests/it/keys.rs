//! Making, listing and exporting keys.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::world::{PASSPHRASE, World};

#[test]
fn a_generated_key_is_a_locked_file_that_only_its_owner_can_read() {
    let world = World::new();
    let made = world.run("key generate alice --email alice@example.org --expires 1y").succeeds();
    let path = world.path("home/.dbt/keys/alice.asc");
    let rights = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(rights(&path), 0o600);
    assert_eq!(rights(path.parent().unwrap()), 0o700);
    assert!(!fs::read_to_string(&path).unwrap().contains(PASSPHRASE));

    let listed = world.run("key list --json").succeeds().json();
    assert_eq!(listed[0]["fingerprint"], made.data.trim());
    assert_eq!(listed[0]["user"], "alice <alice@example.org>");
    let exported = world.run(&format!("key export {}", made.data.trim())).succeeds().data;
    assert!(exported.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), "{exported}");
    assert!(!exported.contains("PRIVATE"));
}

#[test]
fn a_key_is_never_overwritten() {
    let world = World::new();
    world.key("alice");
    let before = world.read("home/.dbt/keys/alice.asc");
    world.run("key generate alice").fails(80, "exists already");
    assert_eq!(world.read("home/.dbt/keys/alice.asc"), before);
}

#[test]
fn a_key_without_a_passphrase_is_not_made() {
    let mut world = World::new();
    world.set("DBT_SIGNING_PASSPHRASE", "");
    world.write("empty", b"\n");
    world
        .run("key generate alice --passphrase-file PLACE/empty")
        .fails(80, "a signing key needs a passphrase");
    assert!(!world.path("home/.dbt").exists());
}

#[test]
fn a_key_cannot_be_written_elsewhere_by_its_name() {
    let world = World::new();
    for name in ["../alice", ".alice", "a/b", "alice.asc"] {
        world.run(&format!("key generate {name}")).fails(80, "cannot be the name of a key file");
    }
    assert!(!world.path("home/.dbt").exists());
}

#[test]
fn keys_are_kept_in_the_home_that_is_named() {
    let mut world = World::new();
    world.set("DBT_HOME", world.path("elsewhere"));
    world.run("key generate alice").succeeds();
    assert!(world.path("elsewhere/keys/alice.asc").exists());
    assert!(!world.path("home/.dbt").exists());
}

#[test]
fn gpg_imports_a_generated_key_and_signs_with_it() {
    let mut world = World::new();
    let certificate = world.key("alice");
    let gpg = super::gpg::Gpg::new();
    world.set("GNUPGHOME", gpg.home());
    gpg.run(&["--import"], &world.read("home/.dbt/keys/alice.asc"));
    let fingerprint = certificate.fingerprint().to_string();
    let signature = gpg.run(
        &["--passphrase", PASSPHRASE, "--local-user", &fingerprint, "--armor", "--detach-sign"],
        b"content",
    );
    assert!(signature.starts_with(b"-----BEGIN PGP SIGNATURE-----"));
}
