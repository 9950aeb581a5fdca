//! Signatures that were verified before, so that a token that comes with each request is costly once.
//!
//! Only that a signature is good is remembered, because that never changes. Whether its key still
//! counts, and whether the token is valid now and here, is asked each time.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use ring::hmac;
use ring::rand::SystemRandom;

use super::jwt::Jwt;
use super::keys::PublicKey;
use crate::limits;

/// Good signatures, by a hash that nobody else can compute: of the key, the algorithm, what is
/// signed and the signature.
pub struct Verified {
    /// Without randomness, nothing is remembered.
    secret: Option<hmac::Key>,
    good: Mutex<HashSet<[u8; 32]>>,
}

impl Default for Verified {
    fn default() -> Self {
        Self::new()
    }
}

impl Verified {
    /// Remembers nothing yet.
    pub fn new() -> Self {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { secret, good: Mutex::default() }
    }

    /// Says whether a key has signed a token.
    pub fn is_signed_by(&self, token: &Jwt<'_>, key: &PublicKey) -> bool {
        let Some(secret) = &self.secret else { return token.is_signed_by(key) };
        let mark = mark(secret, token, key);
        let good = || self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good().contains(&mark) {
            return true;
        }
        let is_good = token.is_signed_by(key);
        if is_good {
            let mut good = good();
            if good.len() >= limits::REMEMBERED_SIGNATURES {
                good.clear();
            }
            good.insert(mark);
        }
        is_good
    }
}

/// Returns a hash of everything that a signature's goodness depends on.
fn mark(secret: &hmac::Key, token: &Jwt<'_>, key: &PublicKey) -> [u8; 32] {
    let [one, two] = key.parts();
    let (signed, signature) = token.signed();
    let mut hashing = hmac::Context::with_key(secret);
    // The kind of a key follows from the algorithm, or it does not verify.
    for part in [token.algorithm().as_str().as_bytes(), one, two, signed, signature] {
        hashing.update(&(part.len() as u64).to_le_bytes());
        hashing.update(part);
    }
    let mut mark = [0; 32];
    mark.copy_from_slice(hashing.sign().as_ref());
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::keys::Algorithm;
    use dbt_testkit::identity_provider::SigningKey;
    use serde_json::json;

    fn public(key: &SigningKey) -> PublicKey {
        use base64::Engine as _;
        let x = key.public()["x"].as_str().unwrap().to_owned();
        PublicKey::Ed25519(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(x).unwrap())
    }

    #[test]
    fn only_the_very_same_token_under_the_very_same_key_is_remembered() {
        let (ours, others) = (SigningKey::ed25519("a"), SigningKey::ed25519("a"));
        let texts = [ours.token(&json!({"sub": "a"})), ours.token(&json!({"sub": "b"}))];
        let [first, second] = texts.each_ref().map(|it| Jwt::parse(it, &Algorithm::ALL).unwrap());
        let signature = texts[0].rsplit_once('.').unwrap().1;
        let moved = format!("{}.{signature}", texts[1].rsplit_once('.').unwrap().0);
        let moved = Jwt::parse(&moved, &Algorithm::ALL).unwrap();
        let verified = Verified::new();
        let remembered = || verified.good.lock().unwrap().len();
        for _again in 0..2 {
            assert!(verified.is_signed_by(&first, &public(&ours)));
            assert!(!verified.is_signed_by(&first, &public(&others)));
            assert!(!verified.is_signed_by(&moved, &public(&ours)));
            assert_eq!(remembered(), 1);
        }
        assert!(verified.is_signed_by(&second, &public(&ours)));
        assert_eq!(remembered(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let key = SigningKey::ed25519("a");
        let verified = Verified::new();
        for number in 0..=limits::REMEMBERED_SIGNATURES {
            let text = key.token(&json!({"sub": number}));
            let token = Jwt::parse(&text, &Algorithm::ALL).unwrap();
            assert!(verified.is_signed_by(&token, &public(&key)));
        }
        assert_eq!(verified.good.lock().unwrap().len(), 1);
    }
}
