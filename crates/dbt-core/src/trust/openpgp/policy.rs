//! What we accept: algorithms, key sizes, and what a signature may ask of us. The one place.

use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{
    EcdsaPublicParams, Ed25519PublicParams, EddsaLegacyPublicParams, KeyDetails, PublicParams,
};

use super::ARTIFACT_NOTATION;

/// RSA keys with fewer bits are refused.
pub(in crate::trust) const RSA_MINIMUM_BITS: u16 = 2048;

/// How far into our future a signature may be dated, in seconds: clocks differ.
pub(in crate::trust) const CLOCK_SKEW: u64 = 10 * 60;

/// A self, binding or back signature with SHA-1 counts only if it is dated before
/// 2023-02-01T00:00:00Z, in seconds since 1970.
///
/// Keys made with old defaults carry them and are still in use. What limits the damage of a
/// collision is not the date, which its maker chooses, but that only the owner's own statements
/// about his keys are concerned: signatures over files never get this exception.
const SHA1_SELF_SIGNATURES_END: u64 = 1_675_209_600;

/// May a signature over a file, or over somebody else's key, be made with this hash algorithm?
///
/// No claimed date relaxes this: the date is the signer's claim, and whoever can find a collision
/// can also write a date.
pub(in crate::trust) fn accepts_hash(algorithm: HashAlgorithm) -> bool {
    matches!(
        algorithm,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// May a statement of a certificate about itself, dated `made` (seconds since 1970), be made with
/// this hash algorithm?
pub(in crate::trust) fn accepts_self_signature_hash(algorithm: HashAlgorithm, made: u64) -> bool {
    accepts_hash(algorithm) || (algorithm == HashAlgorithm::Sha1 && made < SHA1_SELF_SIGNATURES_END)
}

/// The name of a hash algorithm that we do not accept, as people write it (RFC 9580, section 9.5).
pub(in crate::trust) fn hash_name(algorithm: HashAlgorithm) -> String {
    match u8::from(algorithm) {
        1 => "MD5".to_owned(),
        2 => "SHA-1".to_owned(),
        3 => "RIPEMD-160".to_owned(),
        11 => "SHA-224".to_owned(),
        number => format!("number {number}"),
    }
}

/// Why a key may not sign anything for us, whatever it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::trust) enum WeakKey {
    Algorithm(String),
    RsaBits(u16),
    /// Anybody can make signatures that it accepts.
    SmallOrder,
}

/// Is this key of a kind and a size that we accept?
pub(in crate::trust) fn check_key(key: &impl KeyDetails) -> Result<(), WeakKey> {
    // The deprecated "encrypt only" number of RSA says what its owner did not want it for.
    if !accepts_key_algorithm(key.algorithm()) {
        return Err(WeakKey::Algorithm(key_algorithm_name(key.algorithm())));
    }
    match key.public_params() {
        PublicParams::RSA(numbers) => {
            // The first number is the modulus, and it begins with its length in bits
            // (RFC 9580, section 3.2).
            let bytes = numbers.to_bytes().unwrap_or_default();
            let bits = bytes.first_chunk::<2>().map_or(0, |bits| u16::from_be_bytes(*bits));
            if bits < RSA_MINIMUM_BITS {
                return Err(WeakKey::RsaBits(bits));
            }
            Ok(())
        }
        PublicParams::ECDSA(
            EcdsaPublicParams::P256 { .. }
            | EcdsaPublicParams::P384 { .. }
            | EcdsaPublicParams::P521 { .. },
        )
        | PublicParams::Ed448(_) => Ok(()),
        PublicParams::EdDSALegacy(EddsaLegacyPublicParams::Ed25519 { key })
        | PublicParams::Ed25519(Ed25519PublicParams { key }) => {
            // The library verifies as RFC 8032 allows, and not as strictly as one should.
            if key.is_weak() { Err(WeakKey::SmallOrder) } else { Ok(()) }
        }
        PublicParams::ECDSA(other) => {
            Err(WeakKey::Algorithm(format!("ECDSA over {}", other.curve().name())))
        }
        PublicParams::EdDSALegacy(other) => {
            Err(WeakKey::Algorithm(format!("EdDSA over {}", other.curve().name())))
        }
        PublicParams::DSA(_)
        | PublicParams::ECDH(_)
        | PublicParams::Elgamal(_)
        | PublicParams::X25519(_)
        | PublicParams::X448(_)
        | PublicParams::Unknown { .. } => {
            Err(WeakKey::Algorithm(key_algorithm_name(key.algorithm())))
        }
    }
}

/// May a signature be made with a key of this kind?
pub(in crate::trust) fn accepts_key_algorithm(algorithm: PublicKeyAlgorithm) -> bool {
    matches!(
        algorithm,
        PublicKeyAlgorithm::RSA
            | PublicKeyAlgorithm::RSASign
            | PublicKeyAlgorithm::ECDSA
            | PublicKeyAlgorithm::EdDSALegacy
            | PublicKeyAlgorithm::Ed25519
            | PublicKeyAlgorithm::Ed448
    )
}

/// The name of a key algorithm that we do not accept, as people write it (RFC 9580, section 9.1).
pub(in crate::trust) fn key_algorithm_name(algorithm: PublicKeyAlgorithm) -> String {
    match u8::from(algorithm) {
        2 => "RSA for encryption only".to_owned(),
        16 | 20 => "ElGamal".to_owned(),
        17 => "DSA".to_owned(),
        18 => "ECDH".to_owned(),
        25 => "X25519".to_owned(),
        26 => "X448".to_owned(),
        number => format!("number {number}"),
    }
}

/// The first thing in a signature's hashed area that is marked critical and that we do not
/// honour, in words (RFC 9580, section 5.2.3.7).
///
/// What the library can parse is not what we honour: a signature restricted by a regular
/// expression or meant for certain recipients must not count as one without the restriction.
pub(in crate::trust) fn unknown_critical(signature: &Signature) -> Option<String> {
    let hashed = signature.config()?.hashed_subpackets();
    hashed.filter(|subpacket| subpacket.is_critical).find_map(|subpacket| match &subpacket.data {
        SubpacketData::SignatureCreationTime(_)
        | SubpacketData::SignatureExpirationTime(_)
        | SubpacketData::KeyExpirationTime(_)
        | SubpacketData::IssuerKeyId(_)
        | SubpacketData::IssuerFingerprint(_)
        | SubpacketData::PreferredSymmetricAlgorithms(_)
        | SubpacketData::PreferredHashAlgorithms(_)
        | SubpacketData::PreferredCompressionAlgorithms(_)
        | SubpacketData::PreferredEncryptionModes(_)
        | SubpacketData::PreferredAeadAlgorithms(_)
        | SubpacketData::PreferredKeyServer(_)
        | SubpacketData::KeyServerPreferences(_)
        | SubpacketData::KeyFlags(_)
        | SubpacketData::Features(_)
        | SubpacketData::RevocationReason(..)
        | SubpacketData::RevocationKey(_)
        | SubpacketData::IsPrimary(_)
        | SubpacketData::Revocable(_)
        | SubpacketData::EmbeddedSignature(_)
        | SubpacketData::SignersUserID(_)
        | SubpacketData::PolicyURI(_)
        | SubpacketData::ExportableCertification(_) => None,
        SubpacketData::Notation(notation) if notation.name == ARTIFACT_NOTATION => None,
        SubpacketData::Notation(notation) => {
            Some(format!("notation `{}`", String::from_utf8_lossy(&notation.name).escape_debug()))
        }
        SubpacketData::TrustSignature(..)
        | SubpacketData::RegularExpression(_)
        | SubpacketData::IntendedRecipientFingerprint(_)
        | SubpacketData::SignatureTarget(..)
        | SubpacketData::Experimental(..)
        | SubpacketData::Other(..) => {
            Some(format!("subpacket of type {}", subpacket.typ().as_u8(false)))
        }
    })
}

/// When a signature says it was made, in seconds since 1970.
///
/// Only the hashed area counts, and only if it says so once: with two dates, two programs could
/// believe different ones.
pub(in crate::trust) fn made(signature: &Signature) -> Option<u64> {
    let mut dates = signature.config()?.hashed_subpackets().filter_map(|subpacket| {
        let SubpacketData::SignatureCreationTime(time) = subpacket.data else {
            return None;
        };
        Some(u64::from(time.as_secs()))
    });
    let made = dates.next()?;
    dates.next().is_none().then_some(made)
}

/// When a signature itself stops counting, if it says so (RFC 9580, section 5.2.3.18).
pub(in crate::trust) fn until(signature: &Signature, made: u64) -> Option<u64> {
    let seconds = u64::from(signature.signature_expiration_time()?.as_secs());
    (seconds != 0).then(|| made + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_modern_hash_algorithms_are_accepted_for_files() {
        for weak in [
            HashAlgorithm::None,
            HashAlgorithm::Md5,
            HashAlgorithm::Sha1,
            HashAlgorithm::Ripemd160,
            HashAlgorithm::Sha224,
            HashAlgorithm::Other(200),
        ] {
            assert!(!accepts_hash(weak), "{weak:?}");
        }
    }

    #[test]
    fn an_old_sha_1_self_signature_counts_and_a_new_one_does_not() {
        assert!(accepts_self_signature_hash(HashAlgorithm::Sha1, SHA1_SELF_SIGNATURES_END - 1));
        assert!(!accepts_self_signature_hash(HashAlgorithm::Sha1, SHA1_SELF_SIGNATURES_END));
        assert!(!accepts_self_signature_hash(HashAlgorithm::Md5, 0));
        assert!(!accepts_self_signature_hash(HashAlgorithm::Ripemd160, 0));
    }
}
