//! The user's `gpg`, in a home directory of its own, as signer and as judge.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::world::{SCRIPT, World, artifact};

/// A `gpg` with its own keys. Its agent ends with it.
pub(crate) struct Gpg {
    home: TempDir,
}

impl Gpg {
    pub(crate) fn new() -> Self {
        // Sockets have short names only.
        let home = tempfile::Builder::new().prefix("g").rand_bytes(5).tempdir().unwrap();
        Self { home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Runs `gpg` with some input and returns what it writes.
    pub(crate) fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let (output, words) = self.try_run(arguments, input);
        output.unwrap_or_else(|| panic!("gpg {arguments:?}: {words}"))
    }

    fn try_run(&self, arguments: &[&str], input: &[u8]) -> (Option<Vec<u8>>, String) {
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(self.home())
            .args(["--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end without reading.
        let _unread = child.stdin.take().unwrap().write_all(input);
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success().then_some(output.stdout), words)
    }

    /// Makes a key without a passphrase and returns its fingerprint.
    pub(crate) fn make_key(&self, name: &str) -> String {
        let user = format!("{name} <{}@example.org>", name.to_lowercase());
        self.run(&["--passphrase", "", "--quick-gen-key", &user, "ed25519", "sign", "never"], b"");
        let listing = self.run(&["--with-colons", "--list-keys", name], b"");
        let listing = String::from_utf8(listing).unwrap();
        let line = listing.lines().find(|line| line.starts_with("fpr:")).unwrap();
        line.split(':').nth(9).unwrap().to_owned()
    }

    /// Says what `gpg` thinks of a signature.
    fn verifies(&self, signature: &Path, content: &Path) -> Result<String, String> {
        let paths = [signature.to_str().unwrap(), content.to_str().unwrap()];
        let options = ["--status-fd", "1", "--verify-options", "show-notations", "--verify"];
        let (output, words) = self.try_run(&[&options[..], &paths].concat(), b"");
        output.map(|status| String::from_utf8(status).unwrap()).ok_or(words)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _it_may_not_run = Command::new("gpgconf")
            .arg("--homedir")
            .arg(self.home())
            .args(["--kill", "all"])
            .output();
    }
}

#[test]
fn gpg_signs_by_default_with_its_only_key_and_says_what_for() {
    let mut world = World::new();
    let gpg = Gpg::new();
    let fingerprint = gpg.make_key("Alice");
    world.set("GNUPGHOME", gpg.home());
    world.write("deploy", SCRIPT);
    world.run("truststore add alice@example.org --to REPO").succeeds();
    world
        .run("publish deploy 1.4.0 linux/amd64=deploy --description ships%20it --to REPO")
        .says_nothing();

    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    let path = world.path("repo/dbt-tools/deploy/1.4.0/linux/amd64/deploy");
    let status = gpg.verifies(&path.with_extension("asc"), &path).unwrap();
    assert!(status.contains(&format!("VALIDSIG {fingerprint}")), "{status}");
    assert!(status.contains("NOTATION_DATA tool/deploy/1.4.0/linux/amd64"), "{status}");
}

#[test]
fn gpg_signs_where_no_thread_can_be_started() {
    let mut world = World::new();
    let gpg = Gpg::new();
    gpg.make_key("Alice");
    world.set("GNUPGHOME", gpg.home());
    // No system has room for the stack of such a thread.
    world.set("RUST_MIN_STACK", (1_u64 << 47).to_string());
    // More than a pipe holds.
    world.write("deploy", &SCRIPT.repeat(20_000));
    world.run("truststore add alice@example.org --to REPO").succeeds();
    world.run("publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO").succeeds();
    assert!(world.client_accepts(&artifact("deploy", "1.4.0", "linux/amd64")).unwrap());
    world
        .run(
            "publish deploy 1.5.0 linux/amd64=deploy --description x --to REPO --signer gpg:nobody",
        )
        .fails(81, "`gpg` has no key `nobody`");
}

#[test]
fn gpg_certifies_what_it_adds_and_its_own_keyring_stays_as_it_was() {
    let mut world = World::new();
    let gpg = Gpg::new();
    let alice = gpg.make_key("Alice");
    let bob = world.key("bob");
    world.set("GNUPGHOME", gpg.home());
    world.run("truststore add alice@example.org --to REPO").succeeds();
    world.run(&format!("truststore add bob --to REPO --signer gpg:{alice}")).succeeds();

    let keyring = world.truststore();
    let added = keyring.certificates.iter().find(|one| one.fingerprint() == bob.fingerprint());
    let voucher = &keyring.certificates[0];
    let now = dbt_core::clock::Clock::System.now();
    assert!(added.unwrap().is_certified_by(voucher, now));
    let keys = String::from_utf8(gpg.run(&["--with-colons", "--list-keys"], b"")).unwrap();
    assert_eq!(keys.lines().filter(|line| line.starts_with("pub:")).count(), 1, "{keys}");
}

#[test]
fn what_a_key_file_signs_gpg_and_gpgv_accept() {
    let world = World::with_alice();
    world.write("deploy", SCRIPT);
    world
        .run(
            "publish deploy 1.4.0 linux/arm64=deploy --description x --to REPO --signer file:alice",
        )
        .says_nothing();
    let gpg = Gpg::new();
    gpg.run(&["--import"], &world.read("repo/dbt/truststore"));
    let path = world.path("repo/dbt-tools/deploy/1.4.0/linux/arm64/deploy");
    let status = gpg.verifies(&path.with_extension("asc"), &path).unwrap();
    assert!(status.contains("NOTATION_DATA tool/deploy/1.4.0/linux/arm64"), "{status}");
    let manifest = world.path("repo/dbt/truststore.manifest.json");
    gpg.verifies(&world.path("repo/dbt/truststore.manifest.json.asc"), &manifest).unwrap();

    let ring = world.write("ring.gpg", &gpg.run(&["--export"], b""));
    let judged = Command::new("gpgv")
        .args(["--keyring", ring.to_str().unwrap()])
        .args([path.with_extension("asc"), path])
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
}

#[test]
fn gpgs_own_words_are_shown_when_it_fails_and_nothing_is_written() {
    let mut world = World::new();
    let (gpg, others) = (Gpg::new(), Gpg::new());
    let fingerprint = others.make_key("Alice");
    gpg.run(&["--import"], &others.run(&["--export"], b""));
    world.set("GNUPGHOME", gpg.home());
    world.write("deploy", SCRIPT);
    let line = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO";
    world.run(line).fails(81, "`gpg` has no secret key that can sign");
    world.run(&format!("{line} --signer gpg:{fingerprint}")).fails(81, "No secret key");
    world.run(&format!("{line} --signer gpg:nobody")).fails(81, "`gpg` has no key `nobody`");
    assert!(world.published().is_empty());
}

#[test]
fn one_of_several_keys_of_gpg_must_be_named() {
    let mut world = World::new();
    let gpg = Gpg::new();
    let (alice, bob) = (gpg.make_key("Alice"), gpg.make_key("Bob"));
    world.set("GNUPGHOME", gpg.home());
    world.write("deploy", SCRIPT);
    let line = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO";
    let run = world.run(line).fails(81, "`gpg` has several secret keys that can sign");
    assert!(run.talk.contains(&alice) && run.talk.contains(&bob), "{}", run.talk);
    world
        .run(&format!("{line} --signer gpg:example.org"))
        .fails(81, "`example.org` names several keys");
    assert!(world.published().is_empty());
}

#[test]
fn a_key_is_generated_in_gpg_without_being_asked_where_the_passphrase_is_given() {
    let mut world = World::new();
    let gpg = Gpg::new();
    world.set("GNUPGHOME", gpg.home());
    let made = world.run("key generate Carol --email carol@example.org --gpg").succeeds().data;
    let secret = gpg.run(&["--with-colons", "--list-secret-keys"], b"");
    assert!(String::from_utf8(secret).unwrap().contains(made.trim()), "{made}");
    assert!(!world.path("home/.dbt").exists());
}

/// Clients refuse what it signs, whatever the machine that signs knows of it.
#[test]
fn a_key_that_the_truststore_has_as_revoked_publishes_and_withdraws_nothing() {
    let (mut world, gpg, elsewhere) = (World::with_alice(), Gpg::new(), Gpg::new());
    let fingerprint = gpg.make_key("Bob");
    world.set("GNUPGHOME", gpg.home());
    world.write("deploy", SCRIPT);
    world.write("bob.asc", &gpg.run(&["--armor", "--export"], b""));
    let publish = "publish deploy 1.4.0 linux/amd64=deploy --description x --to REPO";
    world.run("truststore add PLACE/bob.asc --to REPO --signer file:alice").succeeds();
    world.run(publish).says_nothing();

    let revocation = format!("openpgp-revocs.d/{fingerprint}.rev");
    let revocation = std::fs::read_to_string(gpg.home().join(revocation)).unwrap();
    elsewhere.run(&["--import"], &world.read("bob.asc"));
    elsewhere.run(&["--import"], revocation.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    world.write("bob.asc", &elsewhere.run(&["--armor", "--export"], b""));
    let add = "truststore add PLACE/bob.asc --to REPO --signer file:alice --yes";
    world.run(&format!("{add} --even-if-nothing-verifies")).succeeds();

    let before = world.served();
    let withdraw = "withdraw deploy 1.4.0 --reason bad --to REPO --yes";
    for line in [&publish.replace("1.4.0", "1.5.0"), withdraw] {
        let run = world.run(line).fails(86, "is revoked in the truststore");
        assert!(run.talk.contains("hint: sign with another key"), "{}", run.talk);
    }
    assert_eq!(world.served(), before);
}
