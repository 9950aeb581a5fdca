//! Somebody with a key, and the tokens that they sign.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// Who has the key.
pub const NAME: &str = "alice";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// Returns the public key as a line of OpenSSH.
pub fn line() -> String {
    let mut blob = Vec::new();
    for field in [b"ssh-ed25519".as_slice(), pair().public_key().as_ref()] {
        blob.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
        blob.extend(field);
    }
    format!("ssh-ed25519 {} {NAME}", STANDARD.encode(blob))
}

/// Returns the public key as identity providers publish it.
pub fn jwk() -> String {
    let x = URL_SAFE_NO_PAD.encode(pair().public_key().as_ref());
    format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{x}"}}"#)
}

/// Returns a token with this header and these claims.
pub fn token(header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = pair().sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

/// The header of most tokens.
pub const HEADER: &[u8] = br#"{"alg":"EdDSA","typ":"JWT"}"#;
