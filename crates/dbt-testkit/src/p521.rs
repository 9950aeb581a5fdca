//! Signatures of P-521 keys, which `ring` does not verify: `openssl` does.

use std::fs;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::ssh_agent::fields;

/// Says whether the key of a line has made a signature in the form of SSH (RFC 5656, 3.1.2).
pub(crate) fn is_signed_by(line: &str, signed: &[u8], signature: &[u8]) -> bool {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("key.pub"), line).unwrap();
    fs::write(at("signed"), signed).unwrap();
    fs::write(at("signature"), in_der(signature)).unwrap();
    let mut converts = Command::new("ssh-keygen");
    let converted = converts.args(["-e", "-m", "PKCS8", "-f"]).arg(at("key.pub")).output().unwrap();
    assert!(converted.status.success(), "{converted:?}");
    fs::write(at("key.pem"), converted.stdout).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha512", "-verify"]).arg(at("key.pem"));
    openssl.arg("-signature").arg(at("signature")).arg(at("signed"));
    let judged = openssl.stdin(Stdio::null()).output().unwrap();
    judged.status.success() && judged.stdout == b"Verified OK\n"
}

/// Writes two numbers with their lengths before them as a sequence of two integers, whose digits are the
/// same. Their lengths are below 128, and that of both together is not.
fn in_der(signature: &[u8]) -> Vec<u8> {
    let is_framed = signature.first() == Some(&0);
    let numbers = if is_framed { fields(signature) } else { Vec::new() };
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let integer = |number: &&[u8]| [&[2, length(number)], *number].concat();
    let integers: Vec<u8> = numbers.iter().flat_map(integer).collect();
    [&[0x30, 0x81, length(&integers)], &integers[..]].concat()
}
