//! People with SSH keys, and what their agents sign.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

/// The audience of servers whose configuration says `https://dbt.example.com`.
pub(crate) const AUDIENCE: &str = "dbt.example.com";

/// Somebody's key.
pub(crate) enum Key {
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
    /// P-256 or P-384, with its names in tokens and at OpenSSH.
    Ecdsa(EcdsaKeyPair, &'static str, &'static str),
}

impl Key {
    /// Makes the key of which every byte is this.
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    /// Makes a key on P-256.
    pub(crate) fn p256() -> Self {
        Self::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, "ES256", "nistp256")
    }

    /// Makes a key on P-384.
    pub(crate) fn p384() -> Self {
        Self::ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "nistp384")
    }

    fn ecdsa(
        curve: &'static EcdsaSigningAlgorithm,
        algorithm: &'static str,
        name: &'static str,
    ) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(curve, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(curve, pkcs8.as_ref(), &random).unwrap();
        Self::Ecdsa(pair, algorithm, name)
    }

    /// Returns the public key as a line of OpenSSH.
    pub(crate) fn line(&self) -> String {
        let (kind, fields) = match self {
            Self::Ed25519(pair) => {
                ("ssh-ed25519".to_owned(), vec![pair.public_key().as_ref().to_vec()])
            }
            Self::Ecdsa(pair, _algorithm, curve) => (
                format!("ecdsa-sha2-{curve}"),
                vec![curve.as_bytes().to_vec(), pair.public_key().as_ref().to_vec()],
            ),
        };
        let mut blob = Vec::new();
        for field in [vec![kind.as_bytes().to_vec()], fields].concat() {
            blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            blob.extend(field);
        }
        format!("{kind} {} someone@example.com", STANDARD.encode(blob))
    }

    /// Signs bytes as a token's signature.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(pair) => pair.sign(bytes).as_ref().to_vec(),
            Self::Ecdsa(pair, ..) => {
                pair.sign(&SystemRandom::new(), bytes).unwrap().as_ref().to_vec()
            }
        }
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "EdDSA",
            Self::Ecdsa(_, algorithm, _) => algorithm,
        }
    }

    /// Signs these claims, given as text so that they may be anything.
    pub(crate) fn token(&self, header: &str, claims: &str) -> String {
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.sign(signed.as_bytes())))
    }

    /// Signs claims with the header that the reference's clients send.
    pub(crate) fn signed(&self, claims: &Value) -> String {
        let header = format!(r#"{{"alg":"{}","typ":"JWT"}}"#, self.algorithm());
        self.token(&header, &claims.to_string())
    }

    /// Returns the header line with a token that is good once, for this user, now.
    pub(crate) fn header_of(&self, user: &str) -> String {
        format!("Token: {}", self.signed(&claims(user)))
    }
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the real program looks at the real time")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Returns the claims of a token that is good now, with an id of its own.
pub(crate) fn claims(user: &str) -> Value {
    let mut id = [0; 32];
    getrandom::fill(&mut id).unwrap();
    json!({
        "iss": user, "sub": user, "aud": [AUDIENCE],
        "exp": now() + 300, "nbf": now(), "iat": now(),
        "jti": URL_SAFE_NO_PAD.encode(id),
    })
}

/// Returns a file of public keys in which everybody may read and write.
pub(crate) fn key_file(users: &[(&str, String)]) -> String {
    let entry = |(name, line): &(&str, String)| json!({"username": name, "publickey": line});
    let users: Vec<Value> = users.iter().map(entry).collect();
    json!({"getUsers": users, "putUsers": users}).to_string()
}
