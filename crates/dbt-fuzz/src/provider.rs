//! What an identity provider says of itself: where its keys are, and which they are.

use dbt_server::authn::jwt::Jwt;
use dbt_server::authn::keys::Algorithm;
use dbt_server::authn::oidc::keys::{KeySet, Signed};
use dbt_server::authn::verified::Verified;
use dbt_server::outbound::SafeUrl;
use dbt_server::outbound::discovery::Discovery;
use dbt_server::strict_json;
use serde_json::Value;

use crate::input::Input;
use crate::signer;

/// The first byte chooses what the rest is.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    match input.byte() % 3 {
        0 => discovery(input.0),
        1 => whole_set(input.0),
        _ => beside_a_good_key(input.0),
    }
}

/// A document leads to keys only if it is about the very issuer, and never out of TLS.
fn discovery(text: &[u8]) {
    let issuer = "https://id.example.com";
    for (place, is_secure) in [
        ("https://id.example.com/.well-known/openid-configuration", true),
        ("http://127.0.0.1:1/.well-known/openid-configuration", false),
    ] {
        let place: SafeUrl = place.parse().unwrap();
        let found = Discovery::read(text, &place, issuer).and_then(|said| said.place("jwks_uri"));
        let Ok(keys) = found else { continue };
        let document: Value = serde_json::from_slice(text).expect("it is JSON");
        assert!(document["issuer"] == issuer && document["jwks_uri"] == keys.as_str());
        let url = keys.as_str().to_ascii_lowercase();
        assert!(url.starts_with("https://") || (!is_secure && url.starts_with("http://")), "{url}");
        assert!(!url.contains('#') && !url.contains('\n'), "{url}");
        let rest = url.strip_prefix("http://");
        let is_here = |rest: &str| {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            ["127.", "localhost", "[::1]"].iter().any(|start| host.starts_with(start))
                && !host.contains('@')
        };
        assert!(rest.is_none_or(is_here), "{url}");
    }
}

fn token(header: &str) -> String {
    signer::token(header.as_bytes(), b"{}")
}

/// A set verifies a token only if the key of its signer is in it.
fn whole_set(text: &[u8]) {
    let Some(set) = KeySet::parse(text) else { return };
    let document: Value = serde_json::from_slice(text).expect("it is JSON");
    let keys = document["keys"].as_array().expect("a list");
    assert!((1..=100).contains(&keys.len()));
    for header in [r#"{"alg":"EdDSA"}"#, r#"{"alg":"EdDSA","kid":"first"}"#] {
        let token = token(header);
        let jwt = Jwt::parse(&token, &Algorithm::ALL).unwrap();
        if set.judge(&jwt, &Verified::new()) == Signed::Yes {
            let good: Value = serde_json::from_str(&signer::jwk()).unwrap();
            // Padding may follow.
            let is_it = |key: &Value| {
                key["x"].as_str().is_some_and(|x| x.trim_end_matches('=') == good["x"])
            };
            assert!(keys.iter().any(is_it), "nobody's key verifies");
        }
    }
}

/// A key that cannot be right, or a strange one, keeps no other from counting.
fn beside_a_good_key(text: &[u8]) {
    let Ok(other) = std::str::from_utf8(text) else { return };
    let deep = other.bytes().filter(|byte| b"[{".contains(byte)).count() > 100;
    if strict_json::parse(text).is_err() || deep {
        return;
    }
    let good = signer::jwk();
    for both in [format!("{other},{good}"), format!("{good},{other}")] {
        let set = format!(r#"{{"keys":[{both}]}}"#);
        let set = KeySet::parse(set.as_bytes()).expect("there is a good key");
        let token = token(r#"{"alg":"EdDSA"}"#);
        let jwt = Jwt::parse(&token, &Algorithm::ALL).unwrap();
        assert_eq!(set.judge(&jwt, &Verified::new()), Signed::Yes, "{both}");
    }
}
