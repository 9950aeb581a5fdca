//! The public half of an SSH key: which key of the agent is meant, and how it signs tokens.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use dbt_core::digest::Digest;

use super::agent::{Signature, take_string};

/// A public key of a kind that can sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SshKey {
    kind: Kind,
    blob: Vec<u8>,
}

/// A kind of key: each signs in one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    Rsa,
    P256,
    P384,
}

impl SshKey {
    /// Reads a line as `ssh-keygen` writes it into `.pub` files: the first that is not empty.
    pub(super) fn parse(text: &str) -> Result<Self, KeyProblem> {
        let (name, encoded) = words_of(text)?;
        Ok(Self { kind: Kind::named(name)?, blob: decoded(name, encoded)? })
    }

    /// Reads a key as an agent names it.
    pub(super) fn of_blob(blob: &[u8]) -> Result<Self, KeyProblem> {
        let name = name_of(blob).ok_or(KeyProblem::NoKey)?;
        Ok(Self { kind: Kind::named(name)?, blob: blob.to_vec() })
    }

    /// Returns it in the form of the SSH protocol.
    pub(super) fn blob(&self) -> &[u8] {
        &self.blob
    }

    /// Returns its name among people, as `ssh-add -l` shows it.
    pub(super) fn fingerprint(&self) -> String {
        fingerprint(&self.blob)
    }

    /// Returns the name of its algorithm in a token's header (RFC 7518, RFC 8037).
    pub(super) const fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Ed25519 => "EdDSA",
            Kind::Rsa => "RS256",
            Kind::P256 => "ES256",
            Kind::P384 => "ES384",
        }
    }

    /// Returns an agent's signature in the form that tokens have it. Nothing, if it is not one of
    /// this key's algorithm: an agent may know an older one only.
    pub(super) fn token_signature(&self, signature: &Signature) -> Option<Vec<u8>> {
        let (algorithm, length) = match self.kind {
            Kind::Ed25519 => ("ssh-ed25519", 64),
            // As long as its modulus.
            Kind::Rsa => ("rsa-sha2-256", signature.blob.len()),
            Kind::P256 => ("ecdsa-sha2-nistp256", 2 * 32),
            Kind::P384 => ("ecdsa-sha2-nistp384", 2 * 48),
        };
        if signature.algorithm != algorithm {
            return None;
        }
        let bytes = match self.kind {
            Kind::Ed25519 | Kind::Rsa => signature.blob.clone(),
            Kind::P256 | Kind::P384 => side_by_side(&signature.blob, length / 2)?,
        };
        (!bytes.is_empty() && bytes.len() == length).then_some(bytes)
    }
}

/// Returns the name among people of any key, which it has in the form of the SSH protocol.
pub(super) fn fingerprint(blob: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Digest::of(blob).as_bytes()))
}

/// Returns what kind of key it is, as the SSH protocol calls it.
pub(super) fn name_of(blob: &[u8]) -> Option<&str> {
    let (name, _rest) = take_string(blob)?;
    std::str::from_utf8(name).ok()
}

/// Reads a line of any kind of key, into the form of the SSH protocol.
pub(super) fn blob_of(text: &str) -> Result<Vec<u8>, KeyProblem> {
    let (name, encoded) = words_of(text)?;
    decoded(name, encoded)
}

/// Returns the two words of the first line that says something: the kind of key, and the key.
fn words_of(text: &str) -> Result<(&str, &str), KeyProblem> {
    let mut lines = text.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let mut words = line.unwrap_or_default().split_ascii_whitespace();
    words.next().zip(words.next()).ok_or(KeyProblem::NoKey)
}

fn decoded(name: &str, encoded: &str) -> Result<Vec<u8>, KeyProblem> {
    let blob = STANDARD.decode(encoded).map_err(|_error| KeyProblem::NoKey)?;
    if name_of(&blob) == Some(name) { Ok(blob) } else { Err(KeyProblem::NoKey) }
}

impl Kind {
    fn named(name: &str) -> Result<Self, KeyProblem> {
        match name {
            "ssh-ed25519" => Ok(Self::Ed25519),
            "ssh-rsa" => Ok(Self::Rsa),
            "ecdsa-sha2-nistp256" => Ok(Self::P256),
            "ecdsa-sha2-nistp384" => Ok(Self::P384),
            "ecdsa-sha2-nistp521" => Err(KeyProblem::P521),
            _ if name.contains("-cert-v") => Err(KeyProblem::Certificate),
            _ if name.starts_with("sk-") => Err(KeyProblem::SecurityKey),
            _ => Err(KeyProblem::Unknown { name: name.chars().take(40).collect() }),
        }
    }
}

/// Puts the two numbers of an ECDSA signature (RFC 5656, 3.1.2) beside each other, each filled up
/// to `length` bytes (RFC 7518, 3.4).
fn side_by_side(blob: &[u8], length: usize) -> Option<Vec<u8>> {
    let (r, rest) = take_string(blob)?;
    let (s, _nothing) = take_string(rest)?;
    let mut bytes = Vec::with_capacity(2 * length);
    for number in [r, s] {
        // Positive numbers whose first bit is set have a zero before them.
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..)?;
        bytes.resize(bytes.len() + length.checked_sub(digits.len())?, 0);
        bytes.extend(digits);
    }
    Some(bytes)
}

/// Why a text names no key that can sign tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// It is none.
    #[error("it is no line of a public key, as in the `.pub` files of `ssh-keygen`")]
    NoKey,
    /// A key of 521 bits.
    #[error("servers do not accept P-521; use ed25519, P-256, P-384 or RSA")]
    P521,
    /// A certificate of a key.
    #[error("it is a certificate; name the key itself")]
    Certificate,
    /// A key in a security token.
    #[error("keys of security tokens (`sk-…`) cannot sign this")]
    SecurityKey,
    /// Something else.
    #[error("keys of the kind `{name}` cannot sign this; use ed25519, P-256, P-384 or RSA")]
    Unknown {
        /// What the line begins with.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea a@b";

    #[test]
    fn a_line_names_a_key_by_the_fingerprint_that_people_know() {
        let key = SshKey::parse(&format!("# mine\n\n  {ED25519}\nssh-dss x\n")).unwrap();
        assert_eq!(key.algorithm(), "EdDSA");
        // As `ssh-keygen -l` says.
        assert_eq!(key.fingerprint(), "SHA256:bbXpuKG6zhzdmnxq256TlqzFBzRl2f6OOg722cYNbU8");
    }

    #[test]
    fn what_cannot_sign_is_refused_by_name() {
        let blob = ED25519.split(' ').nth(1).unwrap();
        for (line, expected) in [
            (String::new(), KeyProblem::NoKey),
            ("ssh-ed25519".to_owned(), KeyProblem::NoKey),
            ("ssh-ed25519 AAAA%".to_owned(), KeyProblem::NoKey),
            ("ssh-ed25519 AAAA".to_owned(), KeyProblem::NoKey),
            (format!("ssh-rsa {blob}"), KeyProblem::NoKey),
            (format!("ecdsa-sha2-nistp521 {blob}"), KeyProblem::P521),
            (format!("ssh-ed25519-cert-v01@openssh.com {blob}"), KeyProblem::Certificate),
            (format!("sk-ssh-ed25519@openssh.com {blob}"), KeyProblem::SecurityKey),
            (format!("sk-ssh-ed25519-cert-v01@openssh.com {blob}"), KeyProblem::Certificate),
            (format!("ssh-dss {blob}"), KeyProblem::Unknown { name: "ssh-dss".to_owned() }),
            (
                format!("command=\"x\",no-pty {ED25519}"),
                KeyProblem::Unknown { name: "command=\"x\",no-pty".to_owned() },
            ),
        ] {
            assert_eq!(SshKey::parse(&line), Err(expected), "{line}");
        }
    }

    fn string(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length, bytes].concat()
    }

    #[test]
    fn numbers_of_any_length_stand_beside_each_other_in_one() {
        let (short, long) = ([7; 30], [[0].as_slice(), &[0xFF; 32]].concat());
        let blob = [string(&short), string(&long)].concat();
        let expected = [[0, 0].as_slice(), &short, &[0xFF; 32]].concat();
        assert_eq!(side_by_side(&blob, 32), Some(expected));
        assert_eq!(side_by_side(&[string(&[1; 33]), string(&[1])].concat(), 32), None);
        assert_eq!(side_by_side(&string(&[1; 32]), 32), None);
    }

    #[test]
    fn a_signature_of_another_algorithm_is_none() {
        let signature = |algorithm: &str, length| Signature {
            algorithm: algorithm.to_owned(),
            blob: vec![1; length],
        };
        let ed25519 = SshKey::parse(ED25519).unwrap();
        assert!(ed25519.token_signature(&signature("ssh-ed25519", 64)).is_some());
        assert_eq!(ed25519.token_signature(&signature("ssh-ed25519", 63)), None);
        let rsa = SshKey { kind: Kind::Rsa, blob: Vec::new() };
        assert!(rsa.token_signature(&signature("rsa-sha2-256", 256)).is_some());
        for (algorithm, length) in [("ssh-rsa", 256), ("rsa-sha2-512", 256), ("rsa-sha2-256", 0)] {
            assert_eq!(rsa.token_signature(&signature(algorithm, length)), None, "{algorithm}");
        }
    }
}
