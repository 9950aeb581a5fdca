//! Signs requests (AWS Signature Version 4).

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign as signed,
};
use aws_sigv4::sign::v4::SigningParams;
use dbt_core::brand;
use dbt_core::digest::Digest;
use ureq::http::header::HeaderName;
use ureq::http::{HeaderMap, Method};

use super::Keys;
use crate::source::connector::secret_header;
use crate::source::error::Failure;
use crate::source::target::Target;
use crate::url::bucket::Region;

/// For whom a request is signed.
#[derive(Debug, Clone, Copy)]
pub(in crate::source) struct Scope<'a> {
    /// `s3` or `sts`.
    pub(in crate::source) service: &'static str,
    pub(in crate::source) region: &'a Region,
    pub(in crate::source) now: SystemTime,
}

/// Adds what proves that the owner of the keys asks exactly this. `body` is the digest of what is
/// sent.
pub(in crate::source) fn sign(
    keys: &Keys,
    scope: Scope<'_>,
    method: &Method,
    target: &Target,
    headers: &mut HeaderMap,
    body: &Digest,
) -> Result<(), Failure> {
    let malformed = |words: String| Failure::Protocol(format!("it cannot be signed: {words}"));
    let identity = Credentials::new(
        keys.id.clone(),
        keys.secret.expose().clone(),
        keys.token.as_ref().map(|token| token.expose().clone()),
        None,
        brand::PROGRAM,
    )
    .into();
    let mut settings = SigningSettings::default();
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    if scope.service == "s3" {
        // Keys are what they are: `a//b` and `a/../b` are two of them.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let parameters = SigningParams::builder()
        .identity(&identity)
        .region(scope.region.as_str())
        .name(scope.service)
        .time(scope.now)
        .settings(settings)
        .build()
        .map_err(|error| malformed(error.to_string()))?
        .into();
    let uri = target.uri();
    let pairs =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let pairs: Vec<(&str, &str)> = pairs.filter(|(name, _)| is_signed(name)).collect();
    let body = SignableBody::Precomputed(body.to_string());
    let request = SignableRequest::new(method.as_str(), &uri, pairs.into_iter(), body)
        .map_err(|error| malformed(error.to_string()))?;
    let (instructions, _signature) =
        signed(request, &parameters).map_err(|error| malformed(error.to_string()))?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|error| malformed(error.to_string()))?;
        headers.insert(name, secret_header(value)?);
    }
    Ok(())
}

/// Says whether a header is part of what is proved. What proxies may change, or the connection is
/// about, is not.
fn is_signed(name: &str) -> bool {
    name.starts_with("x-amz-")
        || matches!(name, "cache-control" | "content-type" | "if-match" | "if-none-match" | "range")
}

#[cfg(test)]
mod tests {
    use dbt_core::secret::Secret;
    use dbt_core::timestamp;

    use super::*;

    /// The examples of "Authenticating Requests: Using the Authorization Header" of the S3 API
    /// reference: their keys, their bucket, their moment.
    #[track_caller]
    fn check(
        url: &str,
        pairs: &[(&'static str, &str)],
        method: Method,
        body: &[u8],
        signature: &str,
    ) {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            token: None,
            expires: None,
        };
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        let target = Target::of_endpoint(url).unwrap();
        let now = timestamp::parse("2013-05-24T00:00:00Z").unwrap();
        let region = Region::usual();
        let scope = Scope { service: "s3", region: &region, now };
        sign(&keys, scope, &method, &target, &mut headers, &Digest::of(body)).unwrap();
        let proof = headers["authorization"].to_str().unwrap();
        assert!(proof.ends_with(&format!("Signature={signature}")), "{proof}");
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        assert!(!format!("{headers:?} {keys:?}").contains("wJalr"));
        assert!(!format!("{headers:?}").contains(signature));
    }

    #[test]
    fn the_examples_of_the_specification_have_their_signatures() {
        check(
            "https://examplebucket.s3.amazonaws.com/test.txt",
            &[("range", "bytes=0-9")],
            Method::GET,
            b"",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        );
        check(
            "https://examplebucket.s3.amazonaws.com/?lifecycle",
            &[],
            Method::GET,
            b"",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
        );
        check(
            "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J",
            &[],
            Method::GET,
            b"",
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
        );
    }
}
