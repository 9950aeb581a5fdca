//! The user's `gpg`, in a home directory of its own, at whatever time a test needs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::timestamp;
use dbt_core::trust::fingerprint::Fingerprint;
use dbt_core::trust::keys::{Certificate, Keyring};
use dbt_core::trust::openpgp::{GoodSignature, Judgement, SignatureBlock};

/// When most keys of the tests are made.
pub(crate) const BIRTH: &str = "2024-01-01T00:00:00Z";

/// When most signatures of the tests are made.
pub(crate) const SIGNING: &str = "2025-01-01T00:00:00Z";

/// When most signatures of the tests are judged.
pub(crate) const TODAY: &str = "2026-01-01T00:00:00Z";

/// What is signed, unless a test says otherwise.
pub(crate) const CONTENT: &[u8] = b"#!/bin/sh\necho hello\n";

/// Reads a time of a test.
pub(crate) fn at(time: &str) -> SystemTime {
    timestamp::parse(time).unwrap()
}

/// A `gpg` with its own keys. Its agent and its directory end with it, or with the process: one
/// that several tests share is never dropped.
pub(crate) struct Gpg {
    home: PathBuf,
    keeper: Child,
}

/// Waits until nobody holds the other end of its standard input, then cleans up.
const KEEPER: &str = r#"read _; gpgconf --homedir "$1" --kill all; rm -rf "$1""#;

impl Gpg {
    pub(crate) fn new() -> Self {
        // Sockets have short names only.
        let home = tempfile::Builder::new().prefix("g").rand_bytes(5).tempdir().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        let home = home.keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh"])
            .arg(&home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { home, keeper }
    }

    /// Runs `gpg` as if it were `time`, and returns what it writes. Answers come from `input`.
    pub(crate) fn run(&self, time: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let compact: String =
            time.chars().filter(|character| !matches!(character, '-' | ':' | 'Z')).collect();
        let mut child = Command::new("gpg")
            .arg("--homedir")
            .arg(&self.home)
            .args([
                "--batch",
                "--yes",
                "--quiet",
                "--no-tty",
                "--no-auto-check-trustdb",
                "--trust-model",
                "always",
            ])
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .args([
                "--faked-system-time",
                &format!("{compact}!"),
                "--ignore-time-conflict",
                "--ignore-valid-from",
            ])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gpg {arguments:?}: {words}");
        output.stdout
    }

    /// Makes a certificate that never expires, and returns its fingerprint.
    pub(crate) fn make_key(
        &self,
        name: &str,
        algorithm: &str,
        usage: &str,
        options: &[&str],
    ) -> String {
        let user = format!("{name} <{}@example.org>", name.to_lowercase());
        let arguments = [options, &["--quick-gen-key", &user, algorithm, usage, "never"]].concat();
        self.run(BIRTH, &arguments, b"");
        self.fingerprints(name).remove(0)
    }

    /// The fingerprints of a certificate: the primary key's, then its subkeys'.
    pub(crate) fn fingerprints(&self, key: &str) -> Vec<String> {
        let listing = self.run(TODAY, &["--with-colons", "--list-keys", key], b"");
        let listing = String::from_utf8(listing).unwrap();
        let lines = listing.lines().filter(|line| line.starts_with("fpr:"));
        lines.map(|line| line.split(':').nth(9).unwrap().to_owned()).collect()
    }

    /// Adds a subkey that may sign, and returns its fingerprint.
    pub(crate) fn add_signing_subkey(&self, key: &str, algorithm: &str) -> String {
        self.run(BIRTH, &["--quick-add-key", key, algorithm, "sign", "never"], b"");
        self.fingerprints(key).pop().unwrap()
    }

    /// Signs [`CONTENT`] at [`SIGNING`].
    pub(crate) fn sign(&self, key: &str) -> Vec<u8> {
        self.sign_with(key, SIGNING, &[])
    }

    /// Signs [`CONTENT`]. A subkey is named by its fingerprint and `!`.
    pub(crate) fn sign_with(&self, key: &str, time: &str, options: &[&str]) -> Vec<u8> {
        let arguments = [options, &["--armor", "--local-user", key, "--detach-sign"]].concat();
        self.run(time, &arguments, CONTENT)
    }

    /// The armored certificates of some keys, in one block.
    pub(crate) fn export(&self, keys: &[&str]) -> Vec<u8> {
        self.run(TODAY, &[&["--armor", "--export"], keys].concat(), b"")
    }

    /// Revokes the whole certificate at `time`, for the reason with that number in `gpg`'s menu:
    /// 0 none, 1 compromised, 2 superseded, 3 no longer used.
    pub(crate) fn revoke(&self, key: &str, time: &str, reason: &str, options: &[&str]) {
        let answers = format!("y\n{reason}\n\ny\n");
        let arguments =
            [options, &["--command-fd", "0", "--no-batch", "--gen-revoke", key]].concat();
        let revocation = self.run(time, &arguments, answers.as_bytes());
        self.run(time, &["--import"], &revocation);
    }

    /// Revokes the first subkey at `time`, for a reason as above.
    pub(crate) fn revoke_subkey(&self, key: &str, time: &str, reason: &str) {
        let commands = format!("key 1\nrevkey\ny\n{reason}\n\ny\nsave\n");
        self.run(
            time,
            &["--command-fd", "0", "--no-batch", "--edit-key", key],
            commands.as_bytes(),
        );
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        drop(self.keeper.wait());
    }
}

/// The certificates of a truststore, none of which may be skipped.
pub(crate) fn certificates(truststore: &[u8]) -> Vec<Certificate> {
    let keyring = Keyring::parse(truststore).unwrap();
    assert_eq!(keyring.skipped, []);
    keyring.certificates
}

/// The only certificate of a truststore.
pub(crate) fn certificate(truststore: &[u8]) -> Certificate {
    let mut certificates = certificates(truststore);
    assert_eq!(certificates.len(), 1);
    certificates.remove(0)
}

/// Judges a signature over [`CONTENT`] at `time`.
pub(crate) fn judge(signature: &[u8], certificates: &[Certificate], time: &str) -> Judgement {
    judge_content(signature, CONTENT, certificates, time)
}

/// Judges a signature over some content at `time`.
pub(crate) fn judge_content(
    signature: &[u8],
    mut content: &[u8],
    certificates: &[Certificate],
    time: &str,
) -> Judgement {
    let block = SignatureBlock::parse(signature).unwrap();
    let digests = block.hash(&mut content, u64::MAX).unwrap();
    block.judge(&digests, &certificates.iter().collect::<Vec<_>>(), at(time))
}

/// Expects one good signature and nothing else.
#[track_caller]
pub(crate) fn accepted(judgement: Judgement, signer: &str) -> GoodSignature {
    assert_eq!(judgement.refused, []);
    assert_eq!(judgement.good.len(), 1, "{judgement:?}");
    let good = judgement.good.into_iter().next().unwrap();
    assert_eq!(good.signer, signer.parse::<Fingerprint>().unwrap());
    good
}

/// Expects no good signature, and exactly one refusal with these words.
#[track_caller]
pub(crate) fn refused(judgement: &Judgement, words: &str) {
    assert_eq!(judgement.good, []);
    let said: Vec<String> = judgement.refused.iter().map(ToString::to_string).collect();
    assert_eq!(said, [words]);
}

/// The bytes inside the only armored block.
pub(crate) fn dearmor(block: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(block.to_vec()).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.is_empty()).skip(1);
    let body: String = lines.by_ref().take_while(|line| !line.starts_with(['=', '-'])).collect();
    STANDARD.decode(body).unwrap()
}

/// An armored block without a checksum.
pub(crate) fn armor(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(bytes);
    format!("-----BEGIN PGP {kind}-----\n\n{body}\n-----END PGP {kind}-----\n").into_bytes()
}

/// Splits `gpg`'s packets, which have the old header format with stated lengths. Each comes with
/// its type and as it stands, header included.
pub(crate) fn packets(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packets = Vec::new();
    while let Some(first) = bytes.first() {
        let width = 1 << (first & 3);
        let length =
            bytes[1..=width].iter().fold(0, |length, byte| (length << 8) | usize::from(*byte));
        let (packet, rest) = bytes.split_at(1 + width + length);
        packets.push(((first >> 2) & 15, packet.to_vec()));
        bytes = rest;
    }
    packets
}

/// Joins packets again.
pub(crate) fn join(packets: &[(u8, Vec<u8>)]) -> Vec<u8> {
    packets.iter().flat_map(|(_type, packet)| packet.clone()).collect()
}
