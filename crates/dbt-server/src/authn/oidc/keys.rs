//! The public keys of an identity provider (RFC 7517), and which of them a token may be of.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::authn::jwt::Jwt;
use crate::authn::keys::{Algorithm, PublicKey};
use crate::authn::verified::Verified;
use crate::limits;
use crate::strict_json;

/// The keys that verify an identity provider's tokens.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeySet {
    keys: Vec<Key>,
}

#[derive(Debug, PartialEq, Eq)]
struct Key {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    public: PublicKey,
}

/// What a set of keys says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// One of the keys signed it.
    Yes,
    /// The key that it names is here and did not sign it.
    No,
    /// The key that signed it may be a newer one.
    Unknown,
}

impl KeySet {
    /// Reads a set. Keys of unknown kinds, for other uses, or that cannot be right are left out;
    /// a set without any other is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let document = strict_json::parse(bytes).ok()?;
        let keys = document.get("keys")?.as_array()?;
        if keys.len() > limits::PROVIDER_KEYS {
            return None;
        }
        let keys: Vec<Key> = keys.iter().filter_map(key).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    /// Says whether a token is of one of these keys.
    pub fn judge(&self, token: &Jwt<'_>, verified: &Verified) -> Signed {
        let named = token.key_id();
        // A key without a name may be the one that is meant.
        let may_be_meant =
            |key: &&Key| named.is_none() || key.id.is_none() || key.id.as_deref() == named;
        let meant: Vec<&Key> = self.keys.iter().filter(may_be_meant).collect();
        let right = |key: &&&Key| key.algorithm.is_none_or(|only| only == token.algorithm());
        if meant.iter().filter(right).any(|key| verified.is_signed_by(token, &key.public)) {
            return Signed::Yes;
        }
        let is_here = named.is_some() && meant.iter().any(|key| key.id.as_deref() == named);
        if is_here { Signed::No } else { Signed::Unknown }
    }
}

fn key(written: &Value) -> Option<Key> {
    let text = |name: &str| written.get(name).and_then(Value::as_str);
    if text("use").is_some_and(|used| used != "sig") {
        return None;
    }
    if let Some(operations) = written.get("key_ops").and_then(Value::as_array)
        && !operations.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let algorithm = match written.get("alg") {
        None => None,
        Some(name) => Some(Algorithm::ALL.into_iter().find(|known| name == known.as_str())?),
    };
    let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.trim_end_matches('=')).ok();
    let public = match (text("kty")?, text("crv")) {
        ("RSA", _) => PublicKey::rsa(bytes("n")?, bytes("e")?).ok()?,
        ("EC", Some("P-256")) => PublicKey::P256(point(&bytes("x")?, &bytes("y")?, 32)?),
        ("EC", Some("P-384")) => PublicKey::P384(point(&bytes("x")?, &bytes("y")?, 48)?),
        ("OKP", Some("Ed25519")) => PublicKey::Ed25519(bytes("x").filter(|x| x.len() == 32)?),
        _ => return None,
    };
    // A key of which the name cannot be read must not become one without a name.
    let id = match written.get("kid") {
        None => None,
        Some(id) => Some(id.as_str()?.to_owned()),
    };
    Some(Key { id, algorithm, public })
}

fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn count(keys: &str) -> usize {
        KeySet::parse(format!(r#"{{"keys":[{keys}]}}"#).as_bytes()).map_or(0, |set| set.keys.len())
    }

    #[test]
    fn keys_of_other_kinds_and_uses_are_left_out() {
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"}}"#);
        assert_eq!(count(&good), 1);
        for member in
            [r#""use":"sig""#, r#""key_ops":["verify"]"#, r#""alg":"EdDSA""#, r#""x5c":["?"]"#]
        {
            assert_eq!(count(&good.replace('}', &format!(",{member}}}"))), 1, "{member}");
        }
        for member in [
            r#""use":"enc""#,
            r#""key_ops":["encrypt"]"#,
            r#""key_ops":[]"#,
            r#""alg":"HS256""#,
            r#""alg":"none""#,
            r#""alg":7"#,
            r#""kid":7"#,
            r#""kty":"OKP""#,
        ] {
            assert_eq!(count(&good.replace('}', &format!(",{member}}}"))), 0, "{member}");
        }
        for other in [
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            format!(r#"{{"kty":"OKP","crv":"X25519","x":"{X}"}}"#),
            r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#.to_owned(),
            format!(r#"{{"kty":"EC","crv":"P-521","x":"{X}","y":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-384","x":"{X}","y":"{X}"}}"#),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{X}"}}"#),
            r#"{"kty":"RSA","n":"AAAA","e":"AQAB"}"#.to_owned(),
            r#"{"kty":"RSA","n":"!","e":"AQAB"}"#.to_owned(),
            "7".to_owned(),
        ] {
            assert_eq!(count(&other), 0, "{other}");
            assert_eq!(count(&format!("{other},{good}")), 1, "{other}");
        }
    }

    #[test]
    fn what_is_no_set_is_none() {
        for text in ["", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":[]}"#, "<html>"] {
            assert_eq!(KeySet::parse(text.as_bytes()), None, "{text}");
        }
        let good = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}"}}"#);
        let many = vec![good; limits::PROVIDER_KEYS + 1].join(",");
        assert_eq!(count(&many), 0);
    }
}
