//! Checks signatures, by the specification and by nobody's library ("Authenticating Requests: AWS
//! Signature Version 4" of the S3 API reference).

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::timestamp;
use ring::hmac;

use super::{State, refusal, refusal_with};
use crate::http::{Answer, Request};

/// How far clocks may differ.
const SKEW: Duration = Duration::from_mins(15);

/// Returns who signed a request, nobody if it is not signed at all, or why it is refused.
pub(super) fn check(
    request: &Request,
    body: &[u8],
    state: &State,
) -> Result<Option<String>, Answer> {
    let Some(proof) = request.header("authorization") else { return Ok(None) };
    let malformed = || refusal(400, "AuthorizationHeaderMalformed");
    let rest = proof.strip_prefix("AWS4-HMAC-SHA256 ").ok_or_else(malformed)?;
    let part =
        |name: &str| rest.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let scope: Vec<&str> = part("Credential").ok_or_else(malformed)?.split('/').collect();
    let [id, date, region, "s3", "aws4_request"] = scope.as_slice() else {
        return Err(malformed());
    };
    let known = state.keys.iter().find(|key| key.id == *id);
    let known = known.ok_or_else(|| refusal(403, "InvalidAccessKeyId"))?;
    if *region != state.region {
        let more = format!("<Region>{}</Region>", state.region);
        return Err(refusal_with(400, "AuthorizationHeaderMalformed", &more)
            .with("x-amz-bucket-region", &state.region));
    }
    let signed: Vec<&str> = part("SignedHeaders").ok_or_else(malformed)?.split(';').collect();
    let amz = request.headers.iter().filter(|(name, _)| name.starts_with("x-amz-"));
    let mut must = amz.map(|(name, _)| name.as_str()).chain(["host"]);
    if !must.all(|name| signed.contains(&name)) {
        return Err(refusal(403, "AccessDenied"));
    }
    let moment = request.header("x-amz-date").unwrap_or_default();
    if !moment.starts_with(date) || !is_now(moment) {
        return Err(refusal(403, "RequestTimeTooSkewed"));
    }
    let announced = request.header("x-amz-content-sha256").unwrap_or_default();
    if announced != Digest::of(body).to_string() {
        return Err(refusal(400, "XAmzContentSHA256Mismatch"));
    }
    let text = text_to_sign(request, &signed, announced, moment, &scope[1..].join("/"));
    let expected = signature(&known.secret, &scope[1..], &text);
    if part("Signature") != Some(&expected) {
        return Err(refusal(403, "SignatureDoesNotMatch"));
    }
    if known.token.as_deref() != request.header("x-amz-security-token") {
        return Err(refusal(403, "InvalidToken"));
    }
    if known.is_expired {
        return Err(refusal(400, "ExpiredToken"));
    }
    Ok(Some((*id).to_owned()))
}

fn is_now(moment: &str) -> bool {
    let at = |range| moment.get(range).unwrap_or_default();
    let time = format!(
        "{}-{}-{}T{}:{}:{}Z",
        at(0..4),
        at(4..6),
        at(6..8),
        at(9..11),
        at(11..13),
        at(13..15)
    );
    let Some(time) = timestamp::parse(&time) else { return false };
    let now = dbt_core::clock::Clock::System.now();
    let (earlier, later) = if time < now { (time, now) } else { (now, time) };
    later.duration_since(earlier).is_ok_and(|difference: Duration| difference < SKEW)
        && time > SystemTime::UNIX_EPOCH
}

fn text_to_sign(
    request: &Request,
    signed: &[&str],
    body: &str,
    moment: &str,
    scope: &str,
) -> String {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let path: Vec<String> = path.split('/').map(encoded_again).collect();
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded_again(name), encoded_again(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in signed {
        let value = request.header(name).unwrap_or_default().trim();
        writeln!(headers, "{name}:{value}").expect("a string takes it");
    }
    let canonical = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{body}",
        request.method,
        path.join("/"),
        pairs.join("&"),
        signed.join(";")
    );
    format!("AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}", Digest::of(canonical.as_bytes()))
}

/// Brings an escaped text into the one form that is signed.
fn encoded_again(text: &str) -> String {
    let mut out = String::new();
    for byte in super::listing::unescaped(&text.replace('+', "%2B")).bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes it");
        }
    }
    out
}

fn signature(secret: &str, scope: &[&str], text: &str) -> String {
    let sign = |key: &[u8], words: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), words.as_bytes()).as_ref().to_vec()
    };
    let first = format!("AWS4{secret}").into_bytes();
    let key = scope.iter().fold(first, |key, word| sign(&key, word));
    let mut digits = String::new();
    for byte in sign(&key, text) {
        write!(digits, "{byte:02x}").expect("a string takes it");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first example of the specification, so that this is no mistake of ours twice.
    #[test]
    fn the_example_of_the_specification_has_its_signature() {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let empty = Digest::of(b"").to_string();
        let request = Request {
            method: "GET".to_owned(),
            path: "/test.txt".to_owned(),
            headers: vec![
                header("host", "examplebucket.s3.amazonaws.com"),
                header("range", "bytes=0-9"),
                header("x-amz-content-sha256", &empty),
                header("x-amz-date", "20130524T000000Z"),
            ],
        };
        let scope = ["20130524", "us-east-1", "s3", "aws4_request"];
        let signed = ["host", "range", "x-amz-content-sha256", "x-amz-date"];
        let text = text_to_sign(&request, &signed, &empty, "20130524T000000Z", &scope.join("/"));
        assert_eq!(
            signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", &scope, &text),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
    }
}
