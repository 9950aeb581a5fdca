//! The cryptography of signed metadata: `ring` for signatures, `sha2` for hashes.
//!
//! ed25519, ECDSA on P-256 and P-384, and RSA-PSS. Everything else is refused as unsupported,
//! which counts as no signature.

use std::sync::Once;

use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use sigstore_crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
};
use sigstore_types::HashAlgorithm;

/// Makes sure that signatures can be checked: without it the library would panic.
///
/// Called by whatever makes the first state of an update, so that nothing can be checked before.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Only another provider could be there already, and nobody else installs one.
        let _already = install_default_provider(&Provider);
    });
}

#[derive(Debug)]
struct Provider;

impl CryptoProvider for Provider {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hashing(Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hashing(Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hashing(Sha512::new())),
            other => return Err(Error::UnsupportedAlgorithm(other.to_string())),
        })
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        signed: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        let algorithm = algorithm_of(scheme)?;
        if scheme == SigningScheme::Ed25519 && is_of_small_order(key) {
            return Err(Error::InvalidKey("anybody could sign for it".to_owned()));
        }
        UnparsedPublicKey::new(algorithm, key).verify(signed, signature).map_err(|_unspecified| {
            Error::Verification(format!("the {} signature is not valid", scheme.name()))
        })
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        _key: &[u8],
        _digest: &[u8],
        _signature: &[u8],
    ) -> Result<()> {
        Err(Error::UnsupportedAlgorithm(format!("{} over a digest", scheme.name())))
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here is not supported")]
fn algorithm_of(scheme: SigningScheme) -> Result<&'static dyn VerificationAlgorithm> {
    Ok(match scheme {
        SigningScheme::Ed25519 => &ED25519,
        SigningScheme::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
        SigningScheme::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        SigningScheme::RsaPssSha256 => &RSA_PSS_2048_8192_SHA256,
        SigningScheme::RsaPssSha384 => &RSA_PSS_2048_8192_SHA384,
        SigningScheme::RsaPssSha512 => &RSA_PSS_2048_8192_SHA512,
        other => return Err(Error::UnsupportedAlgorithm(other.name().to_owned())),
    })
}

struct Hashing<H>(H);

impl<H: sha2::Digest + Send> HashContext for Hashing<H> {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

/// Says whether a key is one of the few points for which one signature fits many texts.
///
/// The verification equation of RFC 8032 does not refuse them. These are the y coordinates of the
/// points whose order divides eight, with the two encodings that are not reduced; the sign of x, in
/// the highest bit, is left out.
fn is_of_small_order(key: &[u8]) -> bool {
    let Ok(mut point) = <[u8; 32]>::try_from(key) else { return false };
    point[31] &= 0x7f;
    SMALL_ORDER.contains(&point)
}

const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    number_with_ends(0x01, 0x00, 0x00),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98,
        0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53,
        0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67,
        0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac,
        0x03, 0x7a,
    ],
    number_with_ends(0xec, 0xff, 0x7f),
    number_with_ends(0xed, 0xff, 0x7f),
    number_with_ends(0xee, 0xff, 0x7f),
];

const fn number_with_ends(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut number = [between; 32];
    number[0] = first;
    number[31] = last;
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_refused_and_does_not_panic() {
        install();
        for scheme in [SigningScheme::MlDsa65, SigningScheme::RsaPkcs1Sha256] {
            let words = Provider.verify_raw(scheme, &[1; 64], b"text", &[2; 64]).unwrap_err();
            assert!(matches!(words, Error::UnsupportedAlgorithm(_)), "{words}");
        }
        for (keytype, scheme) in [("ed448", "ed448"), ("rsa", "rsa-pkcs1v15-sha256"), ("", "")] {
            let key = serde_json::json!({
                "keytype": keytype, "scheme": scheme, "keyval": {"public": "00"},
            });
            let key: sigstore_tuf::Key = serde_json::from_value(key).unwrap();
            key.verify(b"text", &sigstore_types::SignatureBytes::new(vec![0; 64])).unwrap_err();
        }
    }

    /// The identity, with the signature that holds for every text: R is the identity and s is zero.
    #[test]
    fn a_key_for_which_anybody_can_sign_is_refused() {
        let identity = number_with_ends(0x01, 0x00, 0x00);
        let mut signature = [0; 64];
        signature[0] = 1;
        for sign in [0x00, 0x80] {
            let mut key = identity;
            key[31] |= sign;
            let refused = Provider.verify_raw(SigningScheme::Ed25519, &key, b"any", &signature);
            assert!(matches!(refused, Err(Error::InvalidKey(_))));
        }
        // The library by itself takes it.
        UnparsedPublicKey::new(&ED25519, identity).verify(b"any", &signature).unwrap();
    }

    #[test]
    fn hashes_are_those_of_the_standard() {
        install();
        let abc = sigstore_crypto::sha256(b"abc").to_hex();
        assert!(abc.starts_with("ba7816bf8f01cfea"), "{abc}");
        let abc = sigstore_crypto::sha512(b"abc").to_hex();
        assert!(abc.starts_with("ddaf35a193617aba"), "{abc}");
    }
}
