//! What a token says of itself, as the client shows it and goes by it before a server has looked.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_client::oidc::{Tokens, UnverifiedClaims};
use dbt_core::secret::Secret;
use serde_json::{Map, Value};

use crate::fixtures;
use crate::input::Input;

/// The longest that a token is kept, whatever it says.
const LONGEST: Duration = Duration::from_hours(24 * 366);

/// Reads a token, or the claims of one: the first byte chooses.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (is_whole, seconds) = (input.byte().is_multiple_of(2), u64::from(input.byte()) * 60);
    let Ok(text) = std::str::from_utf8(input.0) else { return };
    let token =
        if is_whole { text.to_owned() } else { format!("e30.{}.eA", URL_SAFE_NO_PAD.encode(text)) };
    let said = said_by(&token);
    let claims = UnverifiedClaims::of(&Secret::new(token.clone()));
    assert_eq!(claims.is_some(), said.is_some(), "{token}");
    if let Some((claims, said)) = claims.as_ref().zip(said.as_ref()) {
        read(claims, said);
    }
    for seconds in [None, Some(seconds)] {
        kept(&token, seconds, said.as_ref());
    }
}

/// Reads the claims by another way.
fn said_by(token: &str) -> Option<Map<String, Value>> {
    let parts: Vec<&str> = token.split('.').collect();
    let [_header, claims, _signature] = parts.as_slice() else { return None };
    let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
    match serde_json::from_slice(&claims) {
        Ok(Value::Object(members)) => Some(members),
        _ => None,
    }
}

/// Each claim is what it is, or nothing where it is something else.
fn read(claims: &UnverifiedClaims, said: &Map<String, Value>) {
    for (name, value) in said {
        assert_eq!(claims.text(name), value.as_str());
        let texts = claims.texts(name);
        match value {
            Value::String(only) => assert_eq!(texts, [only]),
            Value::Array(several) => {
                assert!(texts.len() <= several.len());
                assert!(texts.iter().all(|text| several.iter().any(|it| it == text)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                assert_eq!(texts, [""; 0]);
            }
        }
        let Some(time) = claims.time(name) else { continue };
        let seconds = value.as_f64().expect("only a number is a time");
        let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("none is before 1970");
        // Less than a nanosecond is none.
        assert!((since.as_secs_f64() - seconds).abs() <= seconds / 1e6 + 1e-6, "{time:?} {value}");
    }
    assert_eq!(claims.text("a claim that nobody makes"), None);
}

/// A token is kept for no longer than its giver says, or it does itself, and never for ever.
fn kept(token: &str, seconds: Option<u64>, said: Option<&Map<String, Value>>) {
    let now = fixtures::now();
    let tokens = Tokens::for_seconds(Secret::new(token.to_owned()), seconds, now);
    assert_eq!((tokens.token.expose().as_str(), tokens.received), (token, now));
    assert_eq!(tokens.refresh_token, None);
    let life = tokens.expires.expect("it ends").duration_since(now).expect("not before it came");
    assert!(life <= LONGEST, "{life:?}");
    if let Some(seconds) = seconds.filter(|seconds| *seconds > 0) {
        assert!(life.as_secs() <= seconds, "{life:?} {seconds}");
    }
    let end = said.and_then(|said| said.get("exp")).and_then(Value::as_f64);
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
    if let Some(end) = end.filter(|end| *end > now) {
        // Larger numbers have no seconds.
        assert!(life.as_secs_f64() <= end - now + 1.0 || end > 1e15, "{life:?} {end}");
    }
}
