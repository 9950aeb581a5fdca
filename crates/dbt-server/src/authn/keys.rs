//! Public keys, and the signatures of tokens under them.
//!
//! A key has one kind, and each algorithm works with one kind: what a token says of itself can
//! never choose how a key is used.

use ring::signature as by_ring;
use ssh_key::public::{EcdsaPublicKey, KeyData};

/// A public key of a kind that is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// Ed25519.
    Ed25519(Vec<u8>),
    /// RSA, of 2048 to 8192 bits.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The exponent.
        e: Vec<u8>,
    },
    /// A point of P-256.
    P256(Vec<u8>),
    /// A point of P-384.
    P384(Vec<u8>),
}

/// An algorithm of signatures, as tokens name it. None is symmetric, and there is no "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// ECDSA over P-256 with SHA-256.
    Es256,
    /// ECDSA over P-384 with SHA-384.
    Es384,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::EdDsa,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
    ];

    /// Those with which ssh-agents sign.
    pub const OF_SSH: [Self; 5] = [Self::EdDsa, Self::Rs256, Self::Rs512, Self::Es256, Self::Es384];

    /// Returns the name in a token's header, which is compared exactly.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
        }
    }
}

impl PublicKey {
    /// Reads a line of a public key in OpenSSH's form, or says why its kind is not accepted.
    pub fn of_openssh(line: &str) -> Result<Self, &'static str> {
        let kind = line.split_ascii_whitespace().next().unwrap_or_default();
        if kind.contains("-cert-v") {
            return Err("certificates are not accepted; name the key itself");
        }
        if kind.starts_with("sk-") {
            return Err("keys of security tokens (`sk-…`) cannot sign tokens");
        }
        if kind == "ssh-dss" {
            return Err("DSA is not accepted");
        }
        let key = ssh_key::PublicKey::from_openssh(line.trim())
            .map_err(|_error| "it is no public key of OpenSSH")?;
        #[expect(clippy::wildcard_enum_match_arm, reason = "kinds of keys that are to come")]
        match key.key_data() {
            KeyData::Ed25519(key) => Ok(Self::Ed25519(key.0.to_vec())),
            KeyData::Rsa(key) => {
                let positive = |number: &ssh_key::Mpint| {
                    number.as_positive_bytes().map(<[u8]>::to_vec).ok_or("it is no RSA key")
                };
                Self::rsa(positive(&key.n)?, positive(&key.e)?)
            }
            KeyData::Ecdsa(key @ EcdsaPublicKey::NistP256(_)) => {
                Ok(Self::P256(key.as_sec1_bytes().to_vec()))
            }
            KeyData::Ecdsa(key @ EcdsaPublicKey::NistP384(_)) => {
                Ok(Self::P384(key.as_sec1_bytes().to_vec()))
            }
            KeyData::Ecdsa(EcdsaPublicKey::NistP521(_)) => {
                Err("P-521 is not accepted; use ed25519, P-256, P-384 or RSA")
            }
            _ => Err("its kind is not accepted; use ed25519, P-256, P-384 or RSA"),
        }
    }

    /// Takes an RSA key of a size that is accepted.
    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, &'static str> {
        let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
        let e: Vec<u8> = e.into_iter().skip_while(|byte| *byte == 0).collect();
        if !(256..=1024).contains(&n.len()) {
            return Err("RSA keys have 2048 to 8192 bits");
        }
        Ok(Self::Rsa { n, e })
    }

    /// Returns the numbers that it consists of.
    pub(super) fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::Ed25519(point) | Self::P256(point) | Self::P384(point) => [point, &[]],
            Self::Rsa { n, e } => [n, e],
        }
    }

    /// Says whether a signature by this key is one over these bytes.
    pub fn verifies(&self, algorithm: Algorithm, bytes: &[u8], signature: &[u8]) -> bool {
        let rsa: &by_ring::RsaParameters = match (self, algorithm) {
            (Self::Ed25519(key), Algorithm::EdDsa) => {
                let key = by_ring::UnparsedPublicKey::new(&by_ring::ED25519, key);
                return key.verify(bytes, signature).is_ok();
            }
            (Self::P256(key), Algorithm::Es256) => {
                let key = by_ring::UnparsedPublicKey::new(&by_ring::ECDSA_P256_SHA256_FIXED, key);
                return key.verify(bytes, signature).is_ok();
            }
            (Self::P384(key), Algorithm::Es384) => {
                let key = by_ring::UnparsedPublicKey::new(&by_ring::ECDSA_P384_SHA384_FIXED, key);
                return key.verify(bytes, signature).is_ok();
            }
            (Self::Rsa { .. }, Algorithm::Rs256) => &by_ring::RSA_PKCS1_2048_8192_SHA256,
            (Self::Rsa { .. }, Algorithm::Rs384) => &by_ring::RSA_PKCS1_2048_8192_SHA384,
            (Self::Rsa { .. }, Algorithm::Rs512) => &by_ring::RSA_PKCS1_2048_8192_SHA512,
            (Self::Rsa { .. }, Algorithm::Ps256) => &by_ring::RSA_PSS_2048_8192_SHA256,
            (Self::Rsa { .. }, Algorithm::Ps384) => &by_ring::RSA_PSS_2048_8192_SHA384,
            (Self::Rsa { .. }, Algorithm::Ps512) => &by_ring::RSA_PSS_2048_8192_SHA512,
            _ => return false,
        };
        let Self::Rsa { n, e } = self else { return false };
        by_ring::RsaPublicKeyComponents { n, e }.verify(rsa, bytes, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    fn line(kind: &str, fields: &[&[u8]]) -> String {
        let mut blob = Vec::new();
        for field in [&[kind.as_bytes()], fields].concat() {
            blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend(field);
        }
        format!("{kind} {} somebody", STANDARD.encode(blob))
    }

    /// What cannot be used is refused by its name, so that its owner knows which key to take.
    #[test]
    fn kinds_of_keys_that_cannot_sign_tokens_are_refused_by_name() {
        let p521 = [&[4][..], &[1; 132]].concat();
        let small = [&[0x80][..], &[1; 127]].concat();
        let small = [&[0][..], &small].concat();
        for (line, why) in [
            (
                line("ssh-ed25519-cert-v01@openssh.com", &[&[0; 32]]),
                "certificates are not accepted",
            ),
            (line("ssh-rsa-cert-v01@openssh.com", &[&[0; 32]]), "certificates are not accepted"),
            (line("sk-ssh-ed25519@openssh.com", &[&[0; 32], b"ssh:"]), "keys of security tokens"),
            (line("sk-ecdsa-sha2-nistp256@openssh.com", &[b"x"]), "keys of security tokens"),
            (line("ssh-dss", &[b"x"]), "DSA is not accepted"),
            (line("ecdsa-sha2-nistp521", &[b"nistp521", &p521]), "P-521 is not accepted"),
            (line("ssh-rsa", &[&[1, 0, 1], &small]), "RSA keys have 2048 to 8192 bits"),
            (line("ssh-ed25519", &[&[0; 31]]), "it is no public key"),
            (format!("restrict {}", line("ssh-ed25519", &[&[7; 32]])), "it is no public key"),
            ("ssh-ed25519".to_owned(), "it is no public key"),
            (String::new(), "it is no public key"),
        ] {
            let said = PublicKey::of_openssh(&line).unwrap_err();
            assert!(said.starts_with(why), "{line}: {said}");
        }
        let good = PublicKey::of_openssh(&line("ssh-ed25519", &[&[7; 32]]));
        assert_eq!(good, Ok(PublicKey::Ed25519(vec![7; 32])));
    }

    #[test]
    fn an_rsa_key_has_its_size_whatever_zeros_are_before_it() {
        let modulus = |bytes: usize| [vec![0; 500], vec![0xc0; bytes]].concat();
        for (bytes, is_accepted) in [(255, false), (256, true), (1024, true), (1025, false)] {
            assert_eq!(
                PublicKey::rsa(modulus(bytes), vec![1, 0, 1]).is_ok(),
                is_accepted,
                "{bytes}"
            );
        }
    }
}
