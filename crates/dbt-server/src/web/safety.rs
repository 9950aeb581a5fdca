//! What a browser may do with a page: show it with its own style and script, and send its forms back here.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use hyper::Response;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};

use crate::content::Body;

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
    HeaderName::from_static("cross-origin-resource-policy");

/// Templates end without the last line's end.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| {
        let digest = Digest::of(text.trim_end_matches('\n').as_bytes());
        format!("'sha256-{}'", STANDARD.encode(digest.as_bytes()))
    };
    let style = hash(include_str!("../../templates/style.css"));
    let script = hash(include_str!("../../templates/search.js"));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src 'self'; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// Adds what keeps a page from being abused.
pub(super) fn kept(mut answer: Response<Body>) -> Response<Body> {
    let headers = answer.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    // Without any, a browser would not say either that its form comes from here.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    answer
}
