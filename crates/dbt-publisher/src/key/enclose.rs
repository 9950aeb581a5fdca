//! Makes an `OpenPGP` certificate around a public key whose secret half is elsewhere.

use std::path::Path;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_client::fsx;
use dbt_core::trust::keys::Certificate;
use dbt_ui::exit_code::ExitCode;
use pgp::composed::{SignedKeyDetails, SignedPublicKey};
use pgp::packet::{PacketHeader, PublicKey, SignatureType};
use pgp::types::{Password, Tag};

use super::certificate;
use super::der::{self, PublicNumbers};
use super::external::ExternalKey;
use super::secret::{KeyError, NewKey, configured, timestamp};
use crate::stop::{Explained, Stop};

/// The most bytes of a file with a public key.
const PEM_LIMIT: u64 = 64 * 1024;

/// Reads a public key (`-----BEGIN PUBLIC KEY-----`) and lets the command sign that it is the
/// user's.
pub(super) fn certificate_of(
    path: &Path,
    command: &str,
    wanted: &NewKey<'_>,
) -> Result<Certificate, Stop> {
    let text = fsx::read_limited(path, PEM_LIMIT)?;
    let not_a_key = || EncloseError { path: path.display().to_string() };
    let bytes = pem(&String::from_utf8_lossy(&text)).ok_or_else(not_a_key)?;
    let numbers = der::public_key(&bytes).ok_or_else(not_a_key)?;
    let body = packet(&numbers, wanted.now);
    let length = u32::try_from(body.len()).map_err(|_error| not_a_key())?;
    let header = PacketHeader::new_fixed(Tag::PublicKey, length);
    let public =
        PublicKey::try_from_reader(header, body.as_slice()).map_err(|_error| not_a_key())?;

    let key = ExternalKey::new(command, &public);
    let unusable = |error: KeyError| key.failure().map_or_else(|| error.into(), Stop::from);
    let user = wanted.user()?;
    let claim = configured(&key, SignatureType::CertPositive, wanted.now, wanted.claims()?)
        .and_then(|config| {
            config
                .sign_certification(&key, &public, &Password::empty(), Tag::UserId, &user)
                .map_err(KeyError::sign)
        })
        .map_err(unusable)?;
    let details = SignedKeyDetails::new(vec![], vec![], vec![user.into_signed(claim)], vec![]);
    let made = SignedPublicKey { primary_key: public.clone(), details, public_subkeys: vec![] };
    made.verify_bindings().map_err(|_error| OtherKey)?;
    Ok(certificate::read_back(&made)?)
}

/// Takes the bytes out of a PEM block of a public key.
fn pem(text: &str) -> Option<Vec<u8>> {
    let (_before, rest) = text.split_once("-----BEGIN PUBLIC KEY-----")?;
    let (base64, _after) = rest.split_once("-----END PUBLIC KEY-----")?;
    let base64: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(base64).ok()
}

/// Writes the body of a public key packet of version 4 (RFC 9580, 5.5.2.2 and 5.5.5).
fn packet(numbers: &PublicNumbers<'_>, created: SystemTime) -> Vec<u8> {
    const P256: &[u8] = b"\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
    const ED25519_LEGACY: &[u8] = b"\x09\x2b\x06\x01\x04\x01\xda\x47\x0f\x01";
    let mut body = vec![4];
    body.extend(timestamp(created).as_secs().to_be_bytes());
    match numbers {
        PublicNumbers::Rsa(modulus, exponent) => {
            body.push(1);
            add_number(&mut body, modulus);
            add_number(&mut body, exponent);
        }
        PublicNumbers::P256(point) => {
            body.push(19);
            body.extend(P256);
            add_number(&mut body, point);
        }
        PublicNumbers::Ed25519(point) => {
            body.push(22);
            body.extend(ED25519_LEGACY);
            add_number(&mut body, &[&[0x40], *point].concat());
        }
    }
    body
}

/// Writes a number with its length in bits in front.
fn add_number(body: &mut Vec<u8>, number: &[u8]) {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = number.get(zeros..).unwrap_or_default();
    let unused = number.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = u16::try_from(number.len() * 8 - unused).unwrap_or(u16::MAX);
    body.extend(bits.to_be_bytes());
    body.extend(number);
}

/// A file holds no public key that can be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{path}` holds no public key of RSA, NIST P-256 or Ed25519 (`-----BEGIN PUBLIC KEY-----`)"
)]
struct EncloseError {
    path: String,
}

impl Explained for EncloseError {
    fn code(&self) -> ExitCode {
        ExitCode::USAGE
    }
}

/// The command signs with another key.
#[derive(Debug, thiserror::Error)]
#[error("the command of `--signer exec:` does not sign with the key that `--public-key` names")]
struct OtherKey;

impl Explained for OtherKey {
    fn code(&self) -> ExitCode {
        ExitCode::VERIFICATION_REFUSED
    }
}
