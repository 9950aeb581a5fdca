//! A real `ssh-agent` for one test, keys in it, and what it has signed, read without the code under
//! test.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{self, UnparsedPublicKey};
use serde_json::Value;
use tempfile::TempDir;

/// How long the agent may take to listen, and to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages of its protocol that `ssh-add` sends only from a terminal.
const LOCK: u8 = 22;
const UNLOCK: u8 = 23;

/// What it is locked with.
const PASSPHRASE: &[u8] = b"locked";

/// An agent of its own, and keys in a directory. It ends when this goes.
#[derive(Debug)]
pub struct Agent {
    directory: TempDir,
    process: Child,
}

impl Agent {
    /// Starts one without keys.
    pub fn start() -> Self {
        // Short, because the path of a socket has room for few bytes.
        let directory = tempfile::Builder::new().prefix("a").tempdir().unwrap();
        let process = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(directory.path().join("agent"))
            // Without anything to ask a person with.
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let agent = Self { directory, process };
        let started = Instant::now();
        while UnixStream::connect(agent.socket()).is_err() {
            assert!(started.elapsed() < PATIENCE, "the agent does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        agent
    }

    /// Returns where it listens, which `SSH_AUTH_SOCK` says.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("agent")
    }

    /// Makes a key as `ssh-keygen` does with these words, gives it to the agent, and returns the
    /// line of its public half.
    pub fn key(&self, name: &str, kind: &[&str]) -> String {
        let line = self.key_outside(name, kind);
        self.add(name, &[]);
        line
    }

    /// Makes a key and gives it to nobody.
    pub fn key_outside(&self, name: &str, kind: &[&str]) -> String {
        let path = self.directory.path().join(name);
        run(Command::new("ssh-keygen").args(["-q", "-N", "", "-f"]).arg(&path).args(kind));
        fs::read_to_string(self.public_file(name)).unwrap()
    }

    /// Gives the agent a key that was made, with further words for `ssh-add`.
    pub fn add(&self, name: &str, words: &[&str]) {
        let mut command = Command::new("ssh-add");
        command.args(words).arg(self.directory.path().join(name));
        run(command.env("SSH_AUTH_SOCK", self.socket()));
    }

    /// Returns the file with the public half of a key.
    pub fn public_file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name).with_extension("pub")
    }

    /// Returns the line of a certificate of somebody's key that an authority signed.
    pub fn certificate(&self, authority: &str, name: &str) -> String {
        run(Command::new("ssh-keygen")
            .args(["-q", "-I", "an id", "-n", name, "-V", "-1d:+1d", "-s"])
            .arg(self.directory.path().join(authority))
            .arg(self.public_file(name)));
        fs::read_to_string(self.directory.path().join(format!("{name}-cert.pub"))).unwrap()
    }

    /// Locks it, as `ssh-add -x` does.
    pub fn lock(&self) {
        assert_eq!(self.ask(&[&[LOCK][..], &framed(PASSPHRASE)].concat()), [6], "not locked");
    }

    /// Unlocks it.
    pub fn unlock(&self) {
        assert_eq!(self.ask(&[&[UNLOCK][..], &framed(PASSPHRASE)].concat()), [6], "still locked");
    }

    /// Sends a message of its protocol, and returns the answer.
    pub fn ask(&self, message: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&framed(message)).unwrap();
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut answer).unwrap();
        answer
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Puts the length of a text before it.
pub fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

/// Reads texts with their lengths before them, until there are no more.
pub fn fields(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        fields.push(field);
        bytes = rest;
    }
    fields
}

/// A token of the header `Token`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedToken {
    /// Its header.
    pub header: String,
    /// Its claims.
    pub claims: Value,
    signed: String,
    signature: Vec<u8>,
}

impl SignedToken {
    /// Reads one; nothing, if it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        Some(Self {
            header: String::from_utf8(part(header)?).ok()?,
            claims: serde_json::from_slice(&part(claims)?).ok()?,
            signed: signed.to_owned(),
            signature: part(signature)?,
        })
    }

    /// Says whether the key of a line signed it, by the one algorithm that belongs to it.
    pub fn is_signed_by(&self, line: &str) -> bool {
        let blob = STANDARD.decode(line.split(' ').nth(1).unwrap()).unwrap();
        let parts = fields(&blob);
        let (bytes, signature) = (self.signed.as_bytes(), &self.signature[..]);
        let algorithm = match parts[0] {
            b"ssh-ed25519" => "EdDSA",
            b"ssh-rsa" => "RS256",
            b"ecdsa-sha2-nistp256" => "ES256",
            _ => "ES384",
        };
        let point = parts[parts.len() - 1];
        let verified = match algorithm {
            "RS256" => {
                let key = signature::RsaPublicKeyComponents {
                    n: without_zeros(parts[2]),
                    e: without_zeros(parts[1]),
                };
                key.verify(&signature::RSA_PKCS1_2048_8192_SHA256, bytes, signature)
            }
            "EdDSA" => UnparsedPublicKey::new(&signature::ED25519, point).verify(bytes, signature),
            "ES256" => UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                .verify(bytes, signature),
            _ => UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                .verify(bytes, signature),
        };
        verified.is_ok() && self.header == format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#)
    }
}

/// Returns a number without the zeros before it.
pub(crate) fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
