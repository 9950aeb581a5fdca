//! What a client sends: a body that is bounded in size and slowness, and the digests it claims.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::HeaderMap;
use hyper::body::{Body as _, Bytes};
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, EXPECT};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout};

use crate::conditions::Conditions;
use crate::limits::{self, Limits};

/// The body of a request, as the connection gives it.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// A request's body, read under the limits.
///
/// When it is dropped unread, what little is on its way is read and thrown away, so that the
/// refusal reaches the client; but not if the client waits for `100 Continue`, which reading
/// would send.
pub struct BodyReader {
    body: Option<RequestBody>,
    waits_for_continue: bool,
    received: u64,
    limit: u64,
    floor: Floor,
    last: Option<LastLook>,
}

/// What is asked when a body has come: whether it may still count.
type LastLook = Box<dyn FnOnce() -> bool + Send>;

/// The least that must arrive in a time that we wait for it. While what came is written, nobody
/// waits for the client: a slow disk is not its doing.
#[derive(Clone, Copy, Debug)]
struct Floor {
    bytes: u64,
    window: Duration,
    waited: Duration,
    arrived: u64,
}

impl BodyReader {
    /// Takes the body of a request with these headers.
    pub fn new(headers: &HeaderMap, body: RequestBody, limits: &Limits) -> Self {
        let floor = Floor {
            bytes: limits.floor_bytes,
            window: limits.floor_window,
            waited: Duration::ZERO,
            arrived: 0,
        };
        Self {
            body: Some(body),
            waits_for_continue: headers.contains_key(EXPECT),
            received: 0,
            limit: limits.upload_bytes,
            floor,
            last: None,
        }
    }

    /// Ends the body in a refusal, unless this is so when all of it has come.
    #[must_use]
    pub fn provided(mut self, is_so: impl FnOnce() -> bool + Send + 'static) -> Self {
        self.last = Some(Box::new(is_so));
        self
    }

    /// Returns how many bytes are read at most.
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Says whether there is nothing to read, before anything was.
    pub fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    /// Says whether the client told how much comes.
    fn has_known_length(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.size_hint().exact().is_some())
    }

    /// Returns the next bytes, or nothing at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, UploadError> {
        self.waits_for_continue = false;
        loop {
            let Some(body) = &mut self.body else { return Ok(None) };
            let left = self.floor.window.saturating_sub(self.floor.waited);
            let began = Instant::now();
            let frame = timeout(left, body.frame()).await;
            self.floor.waited += began.elapsed();
            match frame {
                Err(_elapsed) => self.floor.next_window()?,
                Ok(None) => {
                    self.body = None;
                    let is_so = self.last.take().is_none_or(|is_so| is_so());
                    return if is_so { Ok(None) } else { Err(UploadError::TokenGone) };
                }
                Ok(Some(Err(source))) => {
                    self.body = None;
                    return Err(UploadError::Cut { source });
                }
                Ok(Some(Ok(frame))) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.count(bytes.len() as u64)?;
                    if !bytes.is_empty() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// Returns how many bytes come, if that is known.
    pub fn expected(&self) -> Option<u64> {
        self.body.as_ref().map_or(Some(0), |body| body.size_hint().exact())
    }

    /// Takes no more than this.
    pub fn at_most(&mut self, limit: u64) {
        self.limit = self.limit.min(limit);
    }

    fn count(&mut self, arrived: u64) -> Result<(), UploadError> {
        self.floor.arrived += arrived;
        self.received += arrived;
        if self.received > self.limit {
            return Err(UploadError::TooLarge { limit: self.limit });
        }
        Ok(())
    }
}

impl Floor {
    fn next_window(&mut self) -> Result<(), UploadError> {
        if self.arrived < self.bytes {
            return Err(UploadError::TooSlow);
        }
        self.arrived = 0;
        self.waited = Duration::ZERO;
        Ok(())
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take() else { return };
        if body.is_end_stream() || self.waits_for_continue {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut drained = 0;
            let drain = async {
                while let Some(Ok(frame)) = body.frame().await {
                    drained += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                    if drained > limits::DRAIN_BYTES {
                        break;
                    }
                }
            };
            let _drained_or_not = timeout(limits::DRAIN_TIME, drain).await;
        });
    }
}

/// A file on its way to a path.
pub struct Upload {
    /// Its bytes.
    pub body: BodyReader,
    /// What the client says they are.
    pub declared: Declared,
    /// Under which conditions they may be published.
    pub conditions: Conditions,
}

impl Upload {
    /// Checks everything that can be checked before the first byte is read.
    pub fn new(
        headers: &HeaderMap,
        body: BodyReader,
        limits: &Limits,
    ) -> Result<Self, UploadError> {
        if headers.contains_key(CONTENT_RANGE) {
            return Err(UploadError::Header(
                "`Content-Range` is not understood on a write".to_owned(),
            ));
        }
        let coding =
            headers.get(CONTENT_ENCODING).map(|value| value.as_bytes().to_ascii_lowercase());
        if coding.is_some_and(|coding| !coding.is_empty() && coding != b"identity") {
            return Err(UploadError::Encoded);
        }
        if limits.require_length && !body.has_known_length() {
            return Err(UploadError::LengthRequired);
        }
        if declared_length(headers).is_some_and(|length| length > limits.upload_bytes) {
            return Err(UploadError::TooLarge { limit: limits.upload_bytes });
        }
        let declared = Declared::of(headers)?;
        let conditions =
            Conditions::of(headers).map_err(|error| UploadError::Header(error.to_string()))?;
        Ok(Self { body, declared, conditions })
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The digests a client declared for its upload.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    claims: Vec<Claim>,
    /// Digests were declared, and all by algorithms that are not known here.
    only_unknown: bool,
}

#[derive(Clone, Debug)]
struct Claim {
    header: &'static str,
    algorithm: Algorithm,
    value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha1,
    Sha256,
}

/// The checksum headers of the contract. Publishers may send them blank, which means nothing.
const CHECKSUM_HEADERS: [(&str, Algorithm, usize); 3] = [
    ("x-checksum-md5", Algorithm::Md5, 16),
    ("x-checksum-sha1", Algorithm::Sha1, 20),
    (X_CHECKSUM_SHA256, Algorithm::Sha256, 32),
];

const X_CHECKSUM_SHA256: &str = "x-checksum-sha256";

/// Checksums in hexadecimal that some clients of other artifact servers still compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OlderChecksums {
    /// MD5.
    pub md5: Option<String>,
    /// SHA-1.
    pub sha1: Option<String>,
}

/// The digest fields of RFC 9530. A body without content coding is the representation, so both
/// mean the same here.
const DIGEST_FIELDS: [&str; 2] = ["content-digest", "repr-digest"];

impl Declared {
    /// Reads the claims of a request.
    pub fn of(headers: &HeaderMap) -> Result<Self, UploadError> {
        let mut claims = Vec::new();
        let mut fields = 0;
        for (header, algorithm, length) in CHECKSUM_HEADERS {
            for value in headers.get_all(header) {
                let text = value.to_str().unwrap_or("?").trim();
                if text.is_empty() {
                    continue;
                }
                let value =
                    from_hex(text).filter(|bytes| bytes.len() == length).ok_or_else(|| {
                        UploadError::Header(format!(
                            "`{header}` is not {} hexadecimal digits",
                            length * 2
                        ))
                    })?;
                claims.push(Claim { header, algorithm, value });
            }
        }
        for header in DIGEST_FIELDS {
            for value in headers.get_all(header) {
                let text = value.to_str().unwrap_or("?");
                claims.extend(sha256_of_field(header, text)?);
                fields += 1;
            }
        }
        let only_unknown = fields > 0 && claims.is_empty();
        Ok(Self { claims, only_unknown })
    }

    /// Returns the SHA-256 in the header of the contract.
    pub fn sha256(&self) -> Option<Digest> {
        let is_it = |claim: &&Claim| claim.header == X_CHECKSUM_SHA256;
        let value = &self.claims.iter().find(is_it)?.value;
        Some(Digest::from_bytes(value.as_slice().try_into().ok()?))
    }

    /// Returns the older checksums, which are true once [`Declared::check`] has said so.
    pub fn older(&self) -> OlderChecksums {
        let of = |algorithm| {
            let claim = self.claims.iter().find(|claim| claim.algorithm == algorithm);
            claim.map(|claim| to_hex(&claim.value))
        };
        OlderChecksums { md5: of(Algorithm::Md5), sha1: of(Algorithm::Sha1) }
    }

    /// Says whether digests were declared, and none that we can check.
    pub const fn has_only_unknown(&self) -> bool {
        self.only_unknown
    }

    /// Returns a hasher of all that is needed to check the claims.
    pub fn hasher(&self) -> Hasher {
        let claims = |algorithm| self.claims.iter().any(|claim| claim.algorithm == algorithm);
        Hasher {
            md5: claims(Algorithm::Md5).then(Md5::new),
            sha1: claims(Algorithm::Sha1).then(Sha1::new),
            sha256: Sha256::new(),
        }
    }

    /// Compares the claims with what arrived, and returns its digest.
    pub fn check(&self, hasher: Hasher) -> Result<Digest, UploadError> {
        let md5 = hasher.md5.map(|md5| md5.finalize().to_vec()).unwrap_or_default();
        let sha1 = hasher.sha1.map(|sha1| sha1.finalize().to_vec()).unwrap_or_default();
        let sha256: [u8; 32] = hasher.sha256.finalize().into();
        for claim in &self.claims {
            let computed: &[u8] = match claim.algorithm {
                Algorithm::Md5 => &md5,
                Algorithm::Sha1 => &sha1,
                Algorithm::Sha256 => &sha256,
            };
            if claim.value != computed {
                return Err(UploadError::DigestMismatch {
                    header: claim.header,
                    declared: to_hex(&claim.value),
                    computed: to_hex(computed),
                });
            }
        }
        Ok(Digest::from_bytes(sha256))
    }
}

/// Hashes what passes.
pub struct Hasher {
    md5: Option<Md5>,
    sha1: Option<Sha1>,
    sha256: Sha256,
}

impl Hasher {
    /// Takes some more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(bytes);
        }
        self.sha256.update(bytes);
    }
}

/// Takes the SHA-256 out of a digest field: `name=:base64:, ...`. Other algorithms are ignored.
fn sha256_of_field(header: &'static str, text: &str) -> Result<Option<Claim>, UploadError> {
    let malformed = || UploadError::Header(format!("`{header}` cannot be read"));
    let mut found = None;
    for member in text.split(',').map(str::trim).filter(|member| !member.is_empty()) {
        let (name, value) = member.split_once('=').ok_or_else(malformed)?;
        let encoded = value.trim().strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
        let value = encoded.and_then(|text| STANDARD.decode(text).ok()).ok_or_else(malformed)?;
        if name.trim().eq_ignore_ascii_case("sha-256") {
            if value.len() != 32 {
                return Err(malformed());
            }
            found = Some(Claim { header, algorithm: Algorithm::Sha256, value });
        }
    }
    Ok(found)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(high)? * 16 + digit(low)?).ok(),
        _ => None,
    };
    text.as_bytes().chunks(2).map(pair).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _always_ok = write!(text, "{byte:02x}");
        text
    })
}

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// A header that makes no sense.
    #[error("{0}")]
    Header(String),

    /// The body is compressed, and we keep bytes as they are.
    #[error("uploads with a content coding are not accepted")]
    Encoded,

    /// The length is not said, and the configuration wants it.
    #[error("an upload must say its length in `Content-Length`, by `limits.requireLength`")]
    LengthRequired,

    /// More bytes than are allowed.
    #[error("the upload is larger than {limit} bytes")]
    TooLarge {
        /// How many are.
        limit: u64,
    },

    /// Next to nothing arrived for a long time.
    #[error("the upload came to a standstill")]
    TooSlow,

    /// The connection ended before the body did.
    #[error("the upload ended before its end")]
    Cut {
        /// What the connection said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The token that was shown with them was revoked, or has expired, while they came.
    #[error("the token that was shown counts no more")]
    TokenGone,

    /// The bytes are not what the client said they would be.
    #[error("the digest in `{header}` does not match: declared {declared}, computed {computed}")]
    DigestMismatch {
        /// Where it was declared.
        header: &'static str,
        /// The digest that was declared.
        declared: String,
        /// The digest of the bytes.
        computed: String,
    },
}

impl UploadError {
    /// Returns the word for it in what is counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Header(_) => "header",
            Self::Encoded => "encoded",
            Self::TooLarge { .. } => "too-large",
            Self::TooSlow => "too-slow",
            Self::LengthRequired => "no-length",
            Self::Cut { .. } => "cut",
            Self::DigestMismatch { .. } => "digest",
            Self::TokenGone => "refused",
        }
    }
}

impl From<io::Error> for UploadError {
    fn from(source: io::Error) -> Self {
        Self::Cut { source: source.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn check(lines: &[(&'static str, &str)], bytes: &[u8]) -> Result<Digest, UploadError> {
        let declared = Declared::of(&headers(lines))?;
        let mut hasher = declared.hasher();
        hasher.update(bytes);
        declared.check(hasher)
    }

    const SHA256: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const FIELD: &str = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";

    #[test]
    fn true_claims_are_accepted_in_any_case_and_blank_ones_mean_nothing() {
        for lines in [
            &[][..],
            &[("x-checksum-sha256", SHA256)],
            &[("x-checksum-sha256", SHA256.to_uppercase().as_str()), ("x-checksum-md5", " ")],
            &[("x-checksum-md5", "5D41402ABC4B2A76B9719D911017C592"), ("x-checksum-sha1", "")],
            &[("x-checksum-sha1", "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d")],
            &[("repr-digest", FIELD), ("content-digest", "sha-512=:AAAA:")],
        ] {
            assert_eq!(check(lines, b"hello").unwrap(), Digest::of(b"hello"), "{lines:?}");
        }
    }

    #[test]
    fn a_false_claim_is_named_with_both_values() {
        let error = check(&[("x-checksum-sha256", SHA256)], b"other").unwrap_err().to_string();
        assert!(error.contains("x-checksum-sha256") && error.contains(SHA256), "{error}");
        for lines in [
            [("repr-digest", FIELD)],
            [("content-digest", FIELD)],
            [("x-checksum-md5", "5d41402abc4b2a76b9719d911017c592")],
        ] {
            let error = check(&lines, b"other").unwrap_err();
            assert!(matches!(error, UploadError::DigestMismatch { .. }), "{lines:?} {error}");
        }
    }

    #[test]
    fn of_two_claims_both_must_hold() {
        let other = "0".repeat(64);
        let lines = [("x-checksum-sha256", SHA256), ("x-checksum-sha256", other.as_str())];
        assert!(matches!(check(&lines, b"hello"), Err(UploadError::DigestMismatch { .. })));
    }

    #[test]
    fn a_claim_that_cannot_be_read_is_refused() {
        for lines in [
            [("x-checksum-sha256", "abc")],
            [("x-checksum-md5", SHA256)],
            [("x-checksum-sha1", "zz")],
            [("repr-digest", "sha-256=abc")],
            [("repr-digest", "sha-256=:AAAA:")],
            [("content-digest", "nonsense")],
        ] {
            assert!(matches!(check(&lines, b"hello"), Err(UploadError::Header(_))), "{lines:?}");
        }
    }

    fn reader(body: RequestBody, limits: &Limits) -> BodyReader {
        BodyReader::new(&HeaderMap::new(), body, limits)
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_while_it_streams() {
        let body = Full::new(Bytes::from_static(b"12345")).map_err(|never| match never {});
        let limits = Limits { upload_bytes: 4, ..Limits::default() };
        let error = reader(body.boxed_unsync(), &limits).next().await.unwrap_err();
        assert!(matches!(error, UploadError::TooLarge { limit: 4 }), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_at_a_standstill_is_refused_after_half_a_minute() {
        let (_sender, body) = http_body_util::channel::Channel::<Bytes>::new(1);
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let started = Instant::now();
        let error = reader(body, &Limits::default()).next().await.unwrap_err();
        assert!(matches!(error, UploadError::TooSlow), "{error}");
        assert_eq!(started.elapsed(), Duration::from_secs(30));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_body_above_the_floor_is_taken_whole() {
        let (mut sender, body) = http_body_util::channel::Channel::<Bytes>::new(1);
        let body = body.map_err(|never| match never {}).boxed_unsync();
        tokio::spawn(async move {
            for _ in 0..60 {
                sender.send_data(Bytes::from(vec![0; 2048])).await.unwrap();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut reader = reader(body, &Limits::default());
        let mut total = 0;
        while let Some(bytes) = reader.next().await.unwrap() {
            total += bytes.len();
        }
        assert_eq!(total, 60 * 2048);
    }

    #[tokio::test(start_paused = true)]
    async fn what_our_own_disk_takes_is_not_the_clients_slowness() {
        let (mut sender, body) = http_body_util::channel::Channel::<Bytes>::new(1);
        let body = body.map_err(|never| match never {}).boxed_unsync();
        let mut reader = reader(body, &Limits::default());
        for _ in 0..3 {
            sender.send_data(Bytes::from_static(b"some")).await.unwrap();
            assert_eq!(reader.next().await.unwrap().unwrap(), "some");
            tokio::time::sleep(Duration::from_mins(1)).await;
        }
        let later = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            sender.send_data(Bytes::from_static(b"the rest")).await.unwrap();
            sender
        });
        assert_eq!(reader.next().await.unwrap().unwrap(), "the rest");
        let _sender = later.await.unwrap();
        let began = Instant::now();
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, UploadError::TooSlow), "{error}");
        assert_eq!(began.elapsed(), Duration::from_secs(29), "the second before it counts");
    }
}
