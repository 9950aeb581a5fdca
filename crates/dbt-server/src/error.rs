//! What a client is told when something is refused, and what only the log is told.

use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::audit::AuditError;
use crate::authn::Excess;
use crate::content::{self, Body};
use crate::request_id::RequestId;
use crate::state::StateError;
use crate::storage::StorageError;
use crate::upload::UploadError;

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The request makes no sense.
    #[error("{detail}")]
    BadRequest {
        /// The stable code.
        code: &'static str,
        /// What is wrong with it.
        detail: String,
    },

    /// A credential is required, or the one that was sent proves nothing.
    #[error("{detail}")]
    Unauthorised {
        /// The methods that could help.
        challenges: Vec<String>,
        /// Whether a credential was sent.
        offered: bool,
        /// What is wrong.
        detail: String,
    },

    /// A credential does not count now, because there were too many before it.
    #[error("{detail}")]
    TooManyCredentials {
        /// Of which kind.
        of: Excess,
        /// What there was too much of.
        detail: String,
        /// After how long it would be looked at.
        after: Duration,
    },

    /// The caller may not do this.
    #[error("{detail}")]
    Forbidden {
        /// Why.
        detail: String,
    },

    /// There is nothing at this path.
    #[error("nothing is there")]
    NotFound,

    /// The API has no such thing.
    #[error("the API knows no such thing")]
    Unknown,

    /// The client hoped that we have these bytes already, and must send them.
    #[error("the bytes must be sent")]
    BodyWanted,

    /// This path does not know this method.
    #[error("the method is not allowed here")]
    MethodNotAllowed {
        /// Those it knows.
        allow: &'static str,
    },

    /// Too much is going on.
    #[error("{0}")]
    Busy(&'static str),

    /// One client asks too much.
    #[error("too many requests came from this address")]
    TooMany {
        /// When it may ask again.
        seconds: u64,
    },

    /// Nothing may be changed at present.
    #[error("the server was started with `--read-only`")]
    ReadOnly,

    /// A quota does not allow it.
    #[error("at most {limit} bytes may lie at or below `/{path}`")]
    OverQuota {
        /// Where.
        path: RepoPath,
        /// How much may be there.
        limit: u64,
    },

    /// The settings could not be read again.
    #[error("{0}")]
    Settings(String),
    /// The caller has too much going on.
    #[error("{limit} uploads of this caller are running")]
    TooManyOfYours {
        /// How many may.
        limit: u32,
    },

    /// The policy wants to know what the caller expects to be there.
    #[error("{detail}")]
    PreconditionRequired {
        /// What to send.
        detail: String,
    },

    /// Somebody else is uploading this version, and the caller could take it over.
    #[error("`{owner}` is uploading this version")]
    CanBeTakenOver {
        /// Who.
        owner: String,
        /// The version's directory.
        version: String,
        /// When it goes by itself.
        until: SystemTime,
    },

    /// Somebody has as many tokens as may be.
    #[error("`{subject}` has {limit} tokens that count, the most there may be; revoke one")]
    TooManyTokens {
        /// How many may be.
        limit: u32,
        /// Who.
        subject: String,
    },

    /// The identity of a job was exchanged before.
    #[error("{detail}")]
    IdentityUsed {
        /// What came of it, and what can be done.
        detail: &'static str,
    },

    /// What was asked for of somebody does not fit what is kept of them.
    #[error("{detail}")]
    UserConflict {
        /// The stable code of the problem.
        code: &'static str,
        /// Why.
        detail: String,
    },

    /// There are as many tokens as may be.
    #[error("the server has as many tokens that count as there may be; revoke some")]
    NoRoomForTokens,

    /// Something could not be kept or looked up.
    #[error(transparent)]
    State(#[from] StateError),

    /// The bytes asked for do not exist.
    #[error("the file has only {length} bytes")]
    RangeNotSatisfiable {
        /// How many there are.
        length: u64,
    },

    /// A condition of a read does not hold.
    #[error("a precondition does not hold")]
    PreconditionFailed,

    /// The storage did not do it.
    #[error(transparent)]
    Storage(#[from] StorageError),

    /// It could not be recorded, so it was not done.
    #[error(transparent)]
    Audit(#[from] AuditError),

    /// Something unexpected.
    #[error("{0}")]
    Internal(String),
}

/// What is known of an error that a client may see.
struct Outside {
    status: StatusCode,
    code: &'static str,
    detail: String,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, String)>,
}

impl Outside {
    fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), members: Vec::new(), headers: Vec::new() }
    }

    fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn member(mut self, name: &'static str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.members.push((name, json!(value)));
        }
        self
    }
}

impl ApiError {
    /// Returns the status of the answer.
    pub fn status(&self) -> StatusCode {
        self.outside().status
    }

    /// Returns the status of the answer that an error of the storage becomes.
    pub fn status_of(error: &StorageError) -> StatusCode {
        storage(error).status
    }

    /// Says whether the server, not the client, is at fault, so that the log gets the cause.
    pub fn is_ours(&self) -> bool {
        self.status().is_server_error()
    }

    /// Returns the answer, in the form the client prefers.
    pub fn into_response(self, accept: &HeaderMap, id: RequestId) -> Response<Body> {
        let outside = self.outside();
        // Programs that speak to the API read problems.
        let default_is_text = !matches!(self, Self::Unknown | Self::BodyWanted);
        let (content_type, text) = if prefers_text(accept, outside.status, default_is_text) {
            ("text/plain; charset=utf-8", outside.text(id))
        } else {
            ("application/problem+json", outside.problem(id))
        };
        let mut response = Response::new(content::empty());
        *response.status_mut() = outside.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for (name, value) in outside.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
        *response.body_mut() = content::bytes(text);
        response
    }

    fn outside(&self) -> Outside {
        match self {
            Self::BadRequest { code, detail } => {
                Outside::new(StatusCode::BAD_REQUEST, code, detail)
            }
            Self::Unauthorised { challenges, offered, detail } => {
                let outside = Outside::new(StatusCode::UNAUTHORIZED, "unauthorised", detail);
                challenges.iter().fold(outside, |outside, known| {
                    outside.header(WWW_AUTHENTICATE, challenge(known, *offered))
                })
            }
            Self::TooManyCredentials { of, detail, after } => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                Outside::new(StatusCode::TOO_MANY_REQUESTS, of.code(), detail)
                    .header(RETRY_AFTER, seconds.to_string())
            }
            Self::Forbidden { detail } => Outside::new(StatusCode::FORBIDDEN, "forbidden", detail),
            Self::NotFound => Outside::new(StatusCode::NOT_FOUND, "not-found", "nothing is there"),
            Self::Unknown => {
                Outside::new(StatusCode::NOT_FOUND, "not-found", "there is no such thing")
            }
            Self::BodyWanted => Outside::new(
                StatusCode::NOT_FOUND,
                "body-wanted",
                "nothing that you may read has these bytes; send them",
            ),
            Self::MethodNotAllowed { allow } => Outside::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                format!("this path knows {allow}"),
            )
            .header(ALLOW, *allow),
            Self::Busy(what) => {
                Outside::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("{what}; try again"))
                    .header(RETRY_AFTER, "5")
            }
            Self::TooMany { seconds } => {
                Outside::new(StatusCode::TOO_MANY_REQUESTS, "too-many-requests", self.to_string())
                    .header(RETRY_AFTER, seconds.to_string())
            }
            Self::ReadOnly => Outside::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "read-only",
                "the server was started to be read only",
            ),
            Self::OverQuota { .. } => {
                Outside::new(StatusCode::INSUFFICIENT_STORAGE, "over-quota", self.to_string())
            }
            Self::Settings(why) => bad_settings(why),
            Self::TooManyOfYours { limit } => Outside::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-uploads",
                format!("{limit} of your uploads are running, which is as many as one caller may have; try again"),
            )
            .header(RETRY_AFTER, "5"),
            Self::PreconditionRequired { detail } => Outside::new(
                StatusCode::PRECONDITION_REQUIRED,
                "precondition-required",
                detail,
            ),
            Self::CanBeTakenOver { owner, version, until } => {
                can_be_taken_over(owner, version, *until)
            }
            Self::TooManyTokens { .. } | Self::NoRoomForTokens => {
                Outside::new(StatusCode::CONFLICT, "token-limit", self.to_string())
            }
            Self::UserConflict { code, detail } => conflict(code, detail),
            Self::IdentityUsed { detail } => identity_used(detail),
            Self::State(error) => state(error),
            Self::RangeNotSatisfiable { length } => Outside::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range-not-satisfiable",
                self.to_string(),
            )
            .header(CONTENT_RANGE, format!("bytes */{length}")),
            Self::PreconditionFailed => precondition_failed(None),
            Self::Storage(error) => storage(error),
            Self::Audit(error) => not_recorded(error),
            Self::Internal(_inside) => internal(),
        }
    }
}

impl Outside {
    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Error")
    }

    fn problem(&self, id: RequestId) -> String {
        let mut problem = Map::new();
        problem.insert("type".to_owned(), json!(format!("urn:dbt:problem:{}", self.code)));
        problem.insert("title".to_owned(), json!(self.title()));
        problem.insert("status".to_owned(), json!(self.status.as_u16()));
        problem.insert("detail".to_owned(), json!(self.detail));
        problem.insert("instance".to_owned(), json!(format!("urn:dbt:request:{id}")));
        problem.insert("requestId".to_owned(), json!(id.as_str()));
        for (name, value) in &self.members {
            problem.insert((*name).to_owned(), value.clone());
        }
        format!("{}\n", Value::Object(problem))
    }

    fn text(&self, id: RequestId) -> String {
        if self.status == StatusCode::NOT_FOUND {
            // Deployed clients show this text where a description should be.
            return "404 page not found\n".to_owned();
        }
        format!("{} {}: {} (request {id})\n", self.status.as_u16(), self.title(), self.detail)
    }
}

fn conflict(code: &'static str, detail: &str) -> Outside {
    Outside::new(StatusCode::CONFLICT, code, detail)
}

fn identity_used(detail: &'static str) -> Outside {
    Outside::new(StatusCode::CONFLICT, "identity-used", detail)
}

fn bad_settings(why: &str) -> Outside {
    Outside::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-settings", why)
}

fn challenge(known: &str, offered: bool) -> String {
    let failure = if offered && known.starts_with("Bearer ") {
        ", error=\"invalid_token\", error_description=\"the credential is not valid\""
    } else {
        ""
    };
    format!("{known}{failure}")
}

fn can_be_taken_over(owner: &str, version: &str, until: SystemTime) -> Outside {
    let detail = format!(
        "`{owner}` is uploading `/{version}/`; to take that over, `POST /-/api/v1/releases` with `\"takeOver\": true`, and then commit it or give it up"
    );
    Outside::new(StatusCode::CONFLICT, "upload-in-progress", detail)
        .member("owner", Some(owner.to_owned()))
        .member("expires", Some(crate::time::rfc_3339(until)))
}

fn precondition_failed(existing: Option<Digest>) -> Outside {
    let detail = "what is there is not what the request expects";
    Outside::new(StatusCode::PRECONDITION_FAILED, "precondition-failed", detail)
        .member("existing", existing.map(|digest| digest.to_string()))
}

fn not_recorded(error: &AuditError) -> Outside {
    let unavailable =
        |detail| Outside::new(StatusCode::SERVICE_UNAVAILABLE, "not-recorded", detail);
    match error {
        AuditError::Write { source: StateError::OutOfSpace }
        | AuditError::Outcome { source: StateError::OutOfSpace } => Outside::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "out-of-space",
            "no space is left to record the request, which was not carried out",
        ),
        AuditError::Write { .. } | AuditError::Outcome { .. } => {
            unavailable("the request could not be recorded and was not carried out")
        }
        AuditError::Unusable(_inside) => unavailable(
            "the server's state is lost or damaged, so no writes are taken until its \
             administrator has put it back (`reposerver restore`)",
        ),
    }
}

fn state(error: &StateError) -> Outside {
    match error {
        StateError::OutOfSpace => Outside::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "out-of-space",
            "no space is left for what the server must not forget",
        ),
        StateError::Failed { .. } => Outside::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-state",
            "what the server must not forget cannot be used; its log has the cause",
        ),
    }
}

fn internal() -> Outside {
    let detail = "the server failed; its log has the cause under this request's id";
    Outside::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
}

fn storage(error: &StorageError) -> Outside {
    match error {
        StorageError::NotFound => {
            Outside::new(StatusCode::NOT_FOUND, "not-found", error.to_string())
        }
        StorageError::IsDirectory | StorageError::ParentIsFile | StorageError::Taken => {
            Outside::new(StatusCode::CONFLICT, "path-conflict", error.to_string())
        }
        StorageError::CaseVariant => {
            Outside::new(StatusCode::CONFLICT, "case-conflict", error.to_string())
        }
        StorageError::NotReadable => {
            Outside::new(StatusCode::FORBIDDEN, "forbidden", "the server may not read this file")
        }
        StorageError::Precondition { existing } => precondition_failed(*existing),
        StorageError::Immutable { existing } => {
            Outside::new(StatusCode::CONFLICT, "immutable-conflict", error.to_string())
                .member("existing", existing.map(|digest| digest.to_string()))
        }
        StorageError::Claimed { owner: _not_told, until } => Outside::new(
            StatusCode::CONFLICT,
            "upload-in-progress",
            "somebody else is uploading this version; it is free again when that is published or has expired, or when somebody who may delete and replace here has taken it over",
        )
        .member("expires", Some(crate::time::rfc_3339(*until))),
        StorageError::BeingUploaded { until } => Outside::new(
            StatusCode::CONFLICT,
            "upload-in-progress",
            "a version there is being uploaded; try again when that is published, deleted or has expired",
        )
        .member("expires", Some(crate::time::rfc_3339(*until))),
        StorageError::NeverRestored { .. } => {
            Outside::new(StatusCode::FORBIDDEN, "forbidden", error.to_string())
        }
        StorageError::NotPublishable { reason } => {
            Outside::new(StatusCode::UNPROCESSABLE_ENTITY, "not-publishable", reason)
        }
        StorageError::Incomplete { waiting_for } => {
            let mut outside = Outside::new(
                StatusCode::CONFLICT,
                "release-incomplete",
                "the release has no platform yet, or one of which files are missing",
            );
            outside.members.push(("waitingFor", json!(waiting_for)));
            outside
        }
        StorageError::OffsetMismatch { offset } => {
            let mut outside =
                Outside::new(StatusCode::CONFLICT, "offset-mismatch", error.to_string())
                    .header(crate::v1::UPLOAD_OFFSET, offset.to_string());
            outside.members.push(("offset", json!(offset)));
            outside
        }
        StorageError::TooManyOpen { own } => Outside::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-uploads",
            format!("too many uploads are open, {own} of them yours; commit one or give one up"),
        )
        .header(RETRY_AFTER, "60"),
        StorageError::Upload(error) => upload(error),
        StorageError::TooLong { .. } => Outside::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "listing-too-long",
            error.to_string(),
        ),
        StorageError::OutOfSpace => {
            Outside::new(StatusCode::INSUFFICIENT_STORAGE, "out-of-space", error.to_string())
        }
        StorageError::ReadOnly => {
            Outside::new(StatusCode::SERVICE_UNAVAILABLE, "read-only", error.to_string())
        }
        StorageError::Io { .. } => internal(),
    }
}

fn upload(error: &UploadError) -> Outside {
    let detail = error.to_string();
    match error {
        UploadError::Header(_text) => Outside::new(StatusCode::BAD_REQUEST, "bad-header", detail),
        UploadError::Encoded => {
            Outside::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-coding", detail)
        }
        UploadError::LengthRequired => {
            Outside::new(StatusCode::LENGTH_REQUIRED, "length-required", detail)
        }
        UploadError::TooLarge { .. } => {
            Outside::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
        }
        UploadError::TooSlow => Outside::new(StatusCode::REQUEST_TIMEOUT, "too-slow", detail),
        // Answered with the ways to sign in; this is what is recorded of it.
        UploadError::TokenGone => Outside::new(StatusCode::UNAUTHORIZED, "unauthorised", detail),
        UploadError::Cut { .. } => Outside::new(StatusCode::BAD_REQUEST, "upload-cut", detail),
        UploadError::DigestMismatch { declared, computed, .. } => {
            Outside::new(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", detail)
                .member("declared", Some(declared.clone()))
                .member("computed", Some(computed.clone()))
        }
    }
}

/// Says whether a client would rather have text than JSON.
///
/// Without a preference, only "not found" is text: old clients put it before their users.
fn prefers_text(headers: &HeaderMap, status: StatusCode, default_is_text: bool) -> bool {
    let accept: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    let json = quality(&accept, &["application/problem+json", "application/json"]);
    let text = quality(&accept, &["text/plain", "text/html"]);
    match (json, text) {
        (None, None) => default_is_text && status == StatusCode::NOT_FOUND,
        (json, text) => text.unwrap_or(0.0) > json.unwrap_or(0.0),
    }
}

/// Says whether a client would rather have JSON than a page.
pub fn prefers_json(headers: &HeaderMap) -> bool {
    let accept: Vec<&str> =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    let json = quality(&accept, &["application/json"]).unwrap_or(0.0);
    json > quality(&accept, &["text/html", "text/plain"]).unwrap_or(0.0)
}

/// Returns the best quality that `Accept` gives to one of some types by name.
fn quality(accept: &str, types: &[&str]) -> Option<f32> {
    let named = |part: &str| {
        let mut parts = part.split(';').map(str::trim);
        let name = parts.next()?;
        types.iter().find(|known| known.eq_ignore_ascii_case(name))?;
        let quality = parts.find_map(|parameter| parameter.strip_prefix("q="));
        Some(quality.map_or(1.0, |text| text.parse().unwrap_or(0.0)))
    };
    accept.split(',').filter_map(named).reduce(f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_for(accept: &str, status: StatusCode) -> bool {
        let mut headers = HeaderMap::new();
        if !accept.is_empty() {
            headers.insert(ACCEPT, accept.parse().unwrap());
        }
        prefers_text(&headers, status, true)
    }

    #[test]
    fn errors_are_problems_unless_text_is_preferred() {
        let conflict = StatusCode::CONFLICT;
        for accept in ["", "*/*", "application/json", "text/plain;q=0.5, application/json"] {
            assert!(!text_for(accept, conflict), "{accept}");
        }
        for accept in ["text/plain", "text/html,*/*;q=0.8", "application/json;q=0.1, text/plain"] {
            assert!(text_for(accept, conflict), "{accept}");
        }
        assert!(text_for("", StatusCode::NOT_FOUND));
        assert!(!text_for("application/problem+json", StatusCode::NOT_FOUND));
    }
}
