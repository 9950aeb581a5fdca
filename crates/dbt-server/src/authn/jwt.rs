//! Signed tokens (RFC 7519): their form and the claims that all of them share.
//!
//! Nothing here is believed until a key has verified the signature.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::keys::{Algorithm, PublicKey};
use super::{BadCredential, Why};
use crate::strict_json;

/// How far clocks may be apart.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The latest time that a token may speak of: the end of the year 9999.
const LAST_SECOND: f64 = 253_402_300_799.0;

/// A token, taken apart.
#[derive(Debug)]
pub struct Jwt<'a> {
    algorithm: Algorithm,
    key_id: Option<String>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Says whether a text has the three parts of a token, whatever is in them.
    pub fn looks_like_one(text: &str) -> bool {
        text.split('.').filter(|part| !part.is_empty()).count() == 3
            && text.matches('.').count() == 2
    }

    /// Takes a token apart. It must name one of these algorithms.
    pub fn parse(text: &'a str, algorithms: &[Algorithm]) -> Result<Self, BadCredential> {
        let refuse = |told| BadCredential::new(told).because(Why::Malformed);
        let malformed = || refuse("the token is malformed");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let part = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_error| malformed());
        let header = object(&part(header)?).ok_or_else(malformed)?;
        let claims = object(&part(claims)?).ok_or_else(malformed)?;
        let signature = part(signature)?;
        // What must be understood and is not, and what would have to be unpacked first.
        if ["crit", "zip", "enc", "b64"].iter().any(|name| header.contains_key(*name)) {
            return Err(refuse("the token's header asks for what is not supported"));
        }
        let typ = header.get("typ").map_or(Some("JWT"), Value::as_str).unwrap_or_default();
        if !["jwt", "at+jwt", "application/at+jwt"].contains(&typ.to_ascii_lowercase().as_str()) {
            return Err(refuse("the token is of another type"));
        }
        let named = header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let algorithm = algorithms
            .iter()
            .find(|algorithm| algorithm.as_str() == named)
            .ok_or_else(|| refuse("the token's algorithm is not accepted"))?;
        let key_id = match header.get("kid") {
            None => None,
            Some(id) => Some(id.as_str().ok_or_else(malformed)?.to_owned()),
        };
        Ok(Self { algorithm: *algorithm, key_id, claims, signed, signature })
    }

    /// Returns which key it says has signed it.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the algorithm it names.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Says whether a key has signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature)
    }

    /// Returns what is signed, and the signature.
    pub(super) fn signed(&self) -> (&[u8], &[u8]) {
        (self.signed.as_bytes(), &self.signature)
    }

    /// Returns the claims.
    pub const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Returns a claim that is a text and not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// Returns a claim that is a time, if there is one.
    pub fn time(&self, name: &str) -> Result<Option<SystemTime>, BadCredential> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        let seconds = value.as_f64().filter(|seconds| (0.0..=LAST_SECOND).contains(seconds));
        let time = seconds.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds));
        let none = || BadCredential::new("a time in the token is none").because(Why::Malformed);
        time.map(Some).ok_or_else(none)
    }

    /// Checks that it is valid now, and returns when it was issued and when it expires. It must
    /// say both, and not be valid for longer than `limit`.
    pub fn valid_at(
        &self,
        now: SystemTime,
        limit: Duration,
    ) -> Result<(SystemTime, SystemTime), BadCredential> {
        let refuse = |told, why| Err(BadCredential::new(told).because(why));
        let Some(expires) = self.time("exp")? else {
            return refuse("the token does not say when it expires", Why::Malformed);
        };
        let Some(issued) = self.time("iat")? else {
            return refuse("the token does not say when it was issued", Why::Malformed);
        };
        let from = self.time("nbf")?.unwrap_or(issued);
        if now >= expires + CLOCK_SKEW {
            return refuse("the token has expired", Why::Expired);
        }
        if from > now + CLOCK_SKEW || issued > now + CLOCK_SKEW {
            return refuse("the token is not valid yet; are the clocks right?", Why::NotYetValid);
        }
        match expires.duration_since(issued) {
            Ok(lifetime) if lifetime <= limit => Ok((issued, expires)),
            _ => refuse("the token is valid for too long a time", Why::Malformed),
        }
    }
}

fn object(bytes: &[u8]) -> Option<Map<String, Value>> {
    match strict_json::parse(bytes) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}
