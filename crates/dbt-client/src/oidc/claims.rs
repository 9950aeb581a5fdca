//! What a token says of itself. Nothing here is verified: that is the server's office.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_core::secret::Secret;
use serde_json::{Map, Value};

/// The longest token that is looked into.
const TOKEN_LIMIT: usize = 64 * 1024;

/// The claims of a signed token whose signature nobody has looked at: for showing them to whoever
/// holds the token, and for finding out early that a server would refuse it.
#[derive(Debug, Clone, PartialEq)]
pub struct UnverifiedClaims(Map<String, Value>);

impl UnverifiedClaims {
    /// Reads the claims of a JWT, or nothing where a token is something else.
    pub fn of(token: &Secret<String>) -> Option<Self> {
        let token = token.expose();
        if token.len() > TOKEN_LIMIT {
            return None;
        }
        let mut parts = token.split('.');
        let (_header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        serde_json::from_slice(&claims).ok().map(Self)
    }

    /// Returns a claim that is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// Returns a claim that is a time, in seconds since 1970 (RFC 7519, 2).
    pub fn time(&self, name: &str) -> Option<SystemTime> {
        let value = self.0.get(name)?;
        let seconds = match value.as_u64() {
            Some(seconds) => Duration::from_secs(seconds),
            None => Duration::try_from_secs_f64(value.as_f64()?).ok()?,
        };
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    }

    /// Returns the texts of a claim that is one text or a list of them: `aud`, `groups`.
    pub fn texts(&self, name: &str) -> Vec<&str> {
        match self.0.get(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(text: &str) -> Option<UnverifiedClaims> {
        UnverifiedClaims::of(&Secret::new(format!("e30.{}.eA", URL_SAFE_NO_PAD.encode(text))))
    }

    #[test]
    fn claims_are_read_as_what_they_are() {
        let read = claims(r#"{"sub": "alice", "aud": "dbt", "groups": ["a", 1, "b"], "exp": 1.5}"#);
        let read = read.unwrap();
        assert_eq!(read.text("sub"), Some("alice"));
        assert_eq!((read.text("exp"), read.text("email")), (None, None));
        assert_eq!((read.texts("aud"), read.texts("groups")), (vec!["dbt"], vec!["a", "b"]));
        let half_past = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
        assert_eq!(read.time("exp"), Some(half_past));
        assert_eq!(claims(r#"{"exp": -1}"#).unwrap().time("exp"), None);
    }

    #[test]
    fn what_is_no_jwt_says_nothing() {
        for token in ["", "opaque", "a.b", "a.b.c.d", "e30.!.e30", "e30.W10.e30"] {
            assert_eq!(UnverifiedClaims::of(&Secret::new(token.to_owned())), None, "{token}");
        }
        let long = format!("e30.{}.eA", "e30".repeat(TOKEN_LIMIT));
        assert_eq!(UnverifiedClaims::of(&Secret::new(long)), None);
    }
}
