//! Public certificates as they are written into truststores, and signature files put together.
//!
//! What a certificate *is* decides `dbt-core`; here its packets are taken apart and put together.

use dbt_core::trust::keys::{Certificate, Keyring};
use pgp::armor::BlockType;
use pgp::composed::{ArmorOptions, Deserializable as _, DetachedSignature, SignedPublicKey};
use pgp::packet::Signature;
use pgp::types::KeyDetails;

/// Returns the certificate without what others have said of it: user ids, subkeys and the key's
/// own signatures stay. Photographs go too.
pub(crate) fn minimal(certificate: &Certificate) -> Result<SignedPublicKey, BadCertificate> {
    let armored = certificate.armored();
    let (mut key, _headers) = SignedPublicKey::from_string(&armored).map_err(BadCertificate::of)?;
    let (fingerprint, key_id) = (key.primary_key.fingerprint(), key.primary_key.legacy_key_id());
    let by_itself = |signature: &Signature| {
        let fingerprints = signature.issuer_fingerprint();
        if fingerprints.is_empty() {
            return signature.issuer_key_id().contains(&&key_id);
        }
        fingerprints.contains(&&fingerprint)
    };
    key.details.user_attributes.clear();
    for user in &mut key.details.users {
        user.signatures.retain(by_itself);
    }
    key.details.users.retain(|user| !user.signatures.is_empty());
    Ok(key)
}

/// Returns the only certificate in some armored text.
pub(crate) fn only(armored: &[u8]) -> Result<Certificate, BadCertificate> {
    let keyring = Keyring::parse(armored).map_err(BadCertificate::of)?;
    let mut certificates = keyring.certificates;
    match (certificates.pop(), certificates.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        _ => Err(BadCertificate::of("there is more than one certificate")),
    }
}

/// Reads a certificate back from the library's form.
pub(crate) fn read_back(key: &SignedPublicKey) -> Result<Certificate, BadCertificate> {
    let armored = key.to_armored_bytes(ArmorOptions::default()).map_err(BadCertificate::of)?;
    only(&armored)
}

/// Puts the signatures of several files into one block: the form in which several signers sign
/// one file.
pub(crate) fn join_signatures(files: &[Vec<u8>]) -> Result<Vec<u8>, BadCertificate> {
    let mut signatures = Vec::new();
    for file in files {
        signatures.extend(split_signatures(file)?);
    }
    armored_block(&signatures)
}

/// Takes the signatures of a file apart, each to be judged and kept on its own.
pub(crate) fn split_signatures(file: &[u8]) -> Result<Vec<DetachedSignature>, BadCertificate> {
    let (signatures, _headers) =
        DetachedSignature::from_armor_many_buf(file).map_err(BadCertificate::of)?;
    signatures.collect::<Result<_, _>>().map_err(BadCertificate::of)
}

/// Writes signatures as one armored block.
pub(crate) fn armored_block(signatures: &[DetachedSignature]) -> Result<Vec<u8>, BadCertificate> {
    let mut block = Vec::new();
    pgp::armor::write(&Together(signatures), BlockType::Signature, &mut block, None, true)
        .map_err(BadCertificate::of)?;
    Ok(block)
}

struct Together<'a>(&'a [DetachedSignature]);

impl pgp::ser::Serialize for Together<'_> {
    fn to_writer<W: std::io::Write>(&self, writer: &mut W) -> pgp::errors::Result<()> {
        self.0.iter().try_for_each(|signature| signature.to_writer(writer))
    }

    fn write_len(&self) -> usize {
        self.0.iter().map(pgp::ser::Serialize::write_len).sum()
    }
}

/// Some packets could not be taken apart or put together.
#[derive(Debug, thiserror::Error)]
#[error("the OpenPGP data could not be read: {0}")]
pub(crate) struct BadCertificate(String);

impl BadCertificate {
    pub(crate) fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl crate::stop::Explained for BadCertificate {
    fn code(&self) -> dbt_ui::exit_code::ExitCode {
        dbt_ui::exit_code::ExitCode::VERIFICATION_REFUSED
    }
}
