//! Answers to reads: files, parts of files, listings.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, RANGE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::http::response::Builder;
use hyper::{HeaderMap, Method, Response, StatusCode};

use crate::conditions::{Conditions, EntityTag, Validators, Verdict};
use crate::content::{self, Body, Pace, Piece, Stream};
use crate::error::ApiError;
use crate::limits;
use crate::ranges::{Part, Ranges};
use crate::storage::StoredFile;
use crate::time;

/// What a browser may do with a stored file: show it, nothing else.
const SANDBOX: &str = "sandbox; default-src 'none'";

/// What a browser may do with a page of ours: it has no script, style or frame.
const OWN_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// Digest of the whole representation, whatever part of it is sent (RFC 9530).
pub const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// The digest as other artifact servers name it.
pub const X_CHECKSUM_SHA256: HeaderName = HeaderName::from_static("x-checksum-sha256");

const X_CHECKSUM_SHA1: HeaderName = HeaderName::from_static("x-checksum-sha1");
const X_CHECKSUM_MD5: HeaderName = HeaderName::from_static("x-checksum-md5");
const WANT_CONTENT_DIGEST: HeaderName = HeaderName::from_static("want-content-digest");

/// Names that hold text; browsers may show it, and nothing more.
const TEXT_ENDINGS: [&str; 11] =
    [".asc", ".sha256", ".md5", ".sha1", ".txt", ".json", ".jsonl", ".md", ".sh", ".ps1", ".cmd"];

/// About how many headers an answer with a file has.
const HEADERS: usize = 16;

/// How an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Whether everybody may see it.
    pub shared: bool,
    /// Whether it never changes.
    pub immutable: bool,
}

impl Caching {
    fn header(self) -> &'static str {
        match (self.shared, self.immutable) {
            (true, true) => "public, max-age=31536000, immutable",
            (false, true) => "private, max-age=31536000, immutable",
            (true, false) => "no-cache",
            (false, false) => "private, no-cache",
        }
    }
}

/// Tells whoever uploads a version what of it nobody else sees yet.
const DRAFT: HeaderName = HeaderName::from_static("x-dbt-draft");

/// Answers with a file: all of it, parts of it, or that the client has it already.
pub async fn file(
    asked: &Parts,
    pace: Pace,
    path: &RepoPath,
    file: StoredFile,
    caching: Caching,
    now: SystemTime,
) -> Result<Response<Body>, ApiError> {
    let Parts { method, headers, .. } = asked;
    let validators = file.validators(now);
    let conditions = conditions(headers)?;
    let mut answer = stored(&file, &validators);
    if file.is_draft {
        // Not even a cache of the uploader's own may show it to others.
        answer = answer.header(CACHE_CONTROL, "private, no-store").header(DRAFT, "1");
    } else {
        answer = answer.header(CACHE_CONTROL, caching.header());
    }
    match conditions.judge_read(&validators) {
        Verdict::Failed => return Err(ApiError::PreconditionFailed),
        Verdict::NotModified => return not_modified(answer),
        Verdict::Proceed => {}
    }
    let ranges = match headers.get(RANGE).and_then(|value| value.to_str().ok()) {
        // Only GET knows ranges (RFC 9110, 14.2).
        Some(range) if *method == Method::GET && conditions.admit_range(&validators) => {
            Ranges::of(range, file.length)
        }
        _ => Ranges::Whole,
    };
    match ranges {
        Ranges::Unsatisfiable => Err(ApiError::RangeNotSatisfiable { length: file.length }),
        Ranges::Whole => whole(method, answer, path, file, pace),
        Ranges::Parts(parts) => {
            let (answer, pieces) = match parts.as_slice() {
                [part] => one_part(answer, path, &file, *part),
                _ => many_parts(answer, path, &file, &parts),
            };
            some(headers, answer, file, pieces, pace).await
        }
    }
}

/// Reads the conditions of a request. One that cannot be read is no reason to do as if there were
/// none: another that it goes before would then decide.
pub fn conditions(headers: &HeaderMap) -> Result<Conditions, ApiError> {
    Conditions::of(headers)
        .map_err(|error| ApiError::BadRequest { code: "bad-header", detail: error.to_string() })
}

fn stored(file: &StoredFile, validators: &Validators) -> Builder {
    let mut answer = Response::builder();
    if let Some(headers) = answer.headers_mut() {
        // So that they are not moved while they grow.
        headers.reserve(HEADERS);
    }
    answer = answer
        .header(ETAG, validators.tag.header())
        .header(ACCEPT_RANGES, "bytes")
        .header(CONTENT_SECURITY_POLICY, SANDBOX);
    if let Some(modified) = validators.modified {
        answer = answer.header(LAST_MODIFIED, time::http_date(modified));
    }
    match file.digest {
        Some(digest) => {
            let answer = answer
                .header(REPR_DIGEST, digest_field(digest))
                .header(X_CHECKSUM_SHA256, digest.to_string());
            let older = [(X_CHECKSUM_SHA1, &file.older.sha1), (X_CHECKSUM_MD5, &file.older.md5)];
            older.into_iter().fold(answer, |answer, (name, value)| match value {
                Some(value) => answer.header(name, value),
                None => answer,
            })
        }
        None => answer,
    }
}

/// Returns a digest as a structured field.
pub fn digest_field(digest: Digest) -> String {
    format!("sha-256=:{}:", STANDARD.encode(digest.as_bytes()))
}

fn whole(
    method: &Method,
    mut answer: Builder,
    path: &RepoPath,
    file: StoredFile,
    pace: Pace,
) -> Result<Response<Body>, ApiError> {
    if let Some(digest) = file.digest {
        answer = answer.header(CONTENT_DIGEST, digest_field(digest));
    }
    let answer =
        answer.header(CONTENT_TYPE, content_type(path)).header(CONTENT_LENGTH, file.length);
    if *method == Method::HEAD || file.length == 0 {
        return finish(answer, content::empty());
    }
    let all = Part { start: 0, length: file.length };
    finish(answer, stream(file, [Piece::Part(all)], pace))
}

fn one_part(
    answer: Builder,
    path: &RepoPath,
    file: &StoredFile,
    part: Part,
) -> (Builder, Vec<Piece>) {
    let answer = answer
        .header(CONTENT_TYPE, content_type(path))
        .header(CONTENT_RANGE, part.content_range(file.length));
    (answer, vec![Piece::Part(part)])
}

fn many_parts(
    answer: Builder,
    path: &RepoPath,
    file: &StoredFile,
    parts: &[Part],
) -> (Builder, Vec<Piece>) {
    // A boundary must not occur in the file, and nobody should be able to arrange that it does.
    let boundary = crate::request_id::RequestId::new(file.modified).to_string();
    let mut pieces = Vec::with_capacity(parts.len() * 2 + 1);
    for part in parts {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
            content_type(path),
            part.content_range(file.length)
        );
        pieces.push(Piece::Bytes(head.into()));
        pieces.push(Piece::Part(*part));
    }
    pieces.push(Piece::Bytes(format!("\r\n--{boundary}--\r\n").into()));
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    (answer.header(CONTENT_TYPE, content_type), pieces)
}

/// Answers with a part of a file. Its digest is computed for those who ask for it, as long as
/// they do not wait for that.
async fn some(
    headers: &HeaderMap,
    mut answer: Builder,
    file: StoredFile,
    pieces: Vec<Piece>,
    pace: Pace,
) -> Result<Response<Body>, ApiError> {
    let length = content::length_of(&pieces);
    if wants_content_digest(headers) && length <= limits::HASH_AT_ONCE {
        let digest = content::digest_of(&file.content, &pieces).await;
        let digest = digest.map_err(|error| ApiError::Internal(error.to_string()))?;
        answer = answer.header(CONTENT_DIGEST, digest_field(digest));
    }
    let answer = answer.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_LENGTH, length);
    finish(answer, stream(file, pieces, pace))
}

/// Says whether a client wants to know the SHA-256 of the very bytes it is sent (RFC 9530, 4).
fn wants_content_digest(headers: &HeaderMap) -> bool {
    let values = headers.get_all(WANT_CONTENT_DIGEST).into_iter().filter_map(|it| it.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|member| {
        let (name, weight) = member.split_once('=').unwrap_or((member, "1"));
        name.trim().eq_ignore_ascii_case("sha-256") && weight.trim() != "0"
    })
}

fn stream(file: StoredFile, pieces: impl IntoIterator<Item = Piece>, pace: Pace) -> Body {
    Body::new(Stream::new(file.content, pieces, pace))
}

/// Answers with a page or a list of ours.
pub fn page(
    headers: &HeaderMap,
    content_type: &'static str,
    text: String,
    modified: Option<SystemTime>,
    caching: Caching,
) -> Result<Response<Body>, ApiError> {
    let tag = EntityTag { weak: false, value: Digest::of(text.as_bytes()).to_string() };
    let mut answer = Response::builder()
        .header(ETAG, tag.header())
        .header(CACHE_CONTROL, caching.header())
        .header(CONTENT_SECURITY_POLICY, OWN_PAGE);
    if let Some(modified) = modified {
        answer = answer.header(LAST_MODIFIED, time::http_date(modified));
    }
    let validators = Validators { tag, modified: modified.map(time::whole_seconds) };
    match conditions(headers)?.judge_read(&validators) {
        Verdict::Failed => return Err(ApiError::PreconditionFailed),
        Verdict::NotModified => return not_modified(answer),
        Verdict::Proceed => {}
    }
    let answer = answer.header(CONTENT_TYPE, content_type).header(CONTENT_LENGTH, text.len());
    finish(answer, content::bytes(text))
}

fn not_modified(answer: Builder) -> Result<Response<Body>, ApiError> {
    finish(answer.status(StatusCode::NOT_MODIFIED), content::empty())
}

/// Answers with another place.
pub fn redirect(location: &str) -> Result<Response<Body>, ApiError> {
    let answer = Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(LOCATION, location)
        .header(CACHE_CONTROL, "no-cache")
        .header(CONTENT_LENGTH, 0);
    finish(answer, content::empty())
}

/// Ends an answer.
pub fn finish(answer: Builder, body: Body) -> Result<Response<Body>, ApiError> {
    let nosniff = HeaderValue::from_static("nosniff");
    answer
        .header(X_CONTENT_TYPE_OPTIONS, nosniff)
        .body(body)
        .map_err(|error| ApiError::Internal(error.to_string()))
}

/// Never a type that a browser would run.
fn content_type(path: &RepoPath) -> &'static str {
    let name = path.file_name().unwrap_or_default();
    let is_text = TEXT_ENDINGS.iter().any(|ending| name.ends_with(ending));
    if is_text || name == dbt_core::layout::TRUSTSTORE_FILE || name == "latest" {
        "text/plain; charset=utf-8"
    } else {
        "application/octet-stream"
    }
}
