//! The API under `/-/api/v1/`, described by `openapi.json`: what there is, releases of several
//! platforms at once, and the trash.

use std::sync::Arc;

use dbt_core::name::ToolName;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Method, Response, StatusCode};
use serde_json::Value;

use crate::action::Read;
use crate::app::App;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::pipeline::{Asked, admit};
use crate::respond;
use crate::storage::StorageError;
use crate::upload::BodyReader;

mod releases;
mod tools;
mod trash;

/// What the API can do, for programs: `OpenAPI` 3.1. A test runs it against the server.
pub const DESCRIPTION: &str = include_str!("openapi.json");

/// The longest body of a request to the API, which only names things.
const BODY_BYTES: usize = 16 * 1024;

/// What is asked of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Its own description.
    Description,
    /// The tools.
    Tools,
    /// One tool, with its versions.
    Tool(ToolName),
    /// To begin a release.
    BeginRelease,
    /// How far a release is.
    Release(String),
    /// To publish a release.
    Commit(String),
    /// To give a release up.
    Abandon(String),
    /// What was deleted.
    Trash,
    /// To put something back.
    Restore(String),
}

impl Ask {
    /// Says what a method and the segments after `/-/api/v1/` ask for. `writable` is whether
    /// any caller could write at all.
    ///
    /// Nothing for a path that does not exist.
    pub fn of(
        method: &Method,
        segments: &[&str],
        writable: bool,
    ) -> Result<Option<Self>, ApiError> {
        let id = |id: &str| id.to_owned();
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let (asked, allow) = match segments {
            ["openapi.json"] => (is_read.then_some(Self::Description), READ),
            ["tools"] => (is_read.then_some(Self::Tools), READ),
            ["tools", name] => {
                let Ok(name) = name.parse() else { return Ok(None) };
                (is_read.then_some(Self::Tool(name)), READ)
            }
            _ if !writable => return Ok(None),
            ["releases"] => ((*method == Method::POST).then_some(Self::BeginRelease), POST),
            ["releases", release] => match *method {
                Method::DELETE => (Some(Self::Abandon(id(release))), READ_AND_DELETE),
                _ => (is_read.then(|| Self::Release(id(release))), READ_AND_DELETE),
            },
            ["releases", release, "commit"] => {
                ((*method == Method::POST).then(|| Self::Commit(id(release))), POST)
            }
            ["trash"] => (is_read.then_some(Self::Trash), READ),
            ["trash", discarded, "restore"] => {
                ((*method == Method::POST).then(|| Self::Restore(id(discarded))), POST)
            }
            _ => return Ok(None),
        };
        match asked {
            Some(asked) => Ok(Some(asked)),
            None => Err(ApiError::MethodNotAllowed { allow }),
        }
    }

    /// Says whether it changes something, so that pages of other sites must not ask for it.
    pub const fn changes(&self) -> bool {
        match self {
            Self::BeginRelease | Self::Commit(_) | Self::Abandon(_) | Self::Restore(_) => true,
            Self::Description | Self::Tools | Self::Tool(_) | Self::Release(_) | Self::Trash => {
                false
            }
        }
    }
}

const READ: &str = "GET, HEAD, OPTIONS";
const POST: &str = "POST, OPTIONS";
const READ_AND_DELETE: &str = "GET, HEAD, DELETE, OPTIONS";

/// Answers a request to the API.
pub async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    ask: Ask,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    match dispatch(app, asked, ask, body).await {
        Err(ApiError::NotFound | ApiError::Storage(StorageError::NotFound)) => {
            Err(ApiError::Unknown)
        }
        other => other,
    }
}

async fn dispatch(
    app: &Arc<App>,
    asked: &Asked,
    ask: Ask,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    match ask {
        Ask::Description => {
            let grant = admit(app, asked, Read::root()).await?;
            respond::page(
                &asked.parts.headers,
                "application/json",
                DESCRIPTION.to_owned(),
                None,
                crate::pipeline::caching(&grant),
            )
        }
        Ask::Tools => tools::list(app, asked).await,
        Ask::Tool(name) => tools::show(app, asked, &name).await,
        Ask::BeginRelease => releases::begin(app, asked, body).await,
        Ask::Release(id) => releases::look(app, asked, &id).await,
        Ask::Commit(id) => releases::commit(app, asked, &id).await,
        Ask::Abandon(id) => releases::abandon(app, asked, &id).await,
        Ask::Trash => trash::list(app, asked).await,
        Ask::Restore(id) => trash::restore(app, asked, &id).await,
    }
}

/// Answers with JSON that no cache keeps.
fn json(status: StatusCode, value: &Value) -> Result<Response<Body>, ApiError> {
    let text = format!("{value}\n");
    let answer = Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json")
        .header(hyper::header::CACHE_CONTROL, "no-store")
        .header(CONTENT_LENGTH, text.len());
    respond::finish(answer, content::bytes(text))
}

/// Reads a body of JSON.
async fn object<T: serde::de::DeserializeOwned>(mut body: BodyReader) -> Result<T, ApiError> {
    let mut bytes = Vec::new();
    let bad = |detail: String| ApiError::BadRequest { code: "bad-body", detail };
    while let Some(chunk) = body.next().await.map_err(StorageError::from)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BODY_BYTES {
            return Err(bad(format!("the body is longer than {BODY_BYTES} bytes")));
        }
    }
    serde_json::from_slice(&bytes).map_err(|error| bad(format!("the body cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str) -> Result<Option<Ask>, ApiError> {
        let segments: Vec<&str> = path.split('/').collect();
        Ask::of(&method.parse().unwrap(), &segments, true)
    }

    #[test]
    fn each_path_knows_its_methods() {
        for (method, path, ask) in [
            ("GET", "tools", Ask::Tools),
            ("HEAD", "openapi.json", Ask::Description),
            ("POST", "releases", Ask::BeginRelease),
            ("POST", "releases/1/commit", Ask::Commit("1".to_owned())),
            ("DELETE", "releases/1", Ask::Abandon("1".to_owned())),
            ("POST", "trash/1/restore", Ask::Restore("1".to_owned())),
        ] {
            assert_eq!(asked(method, path).unwrap(), Some(ask), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "tools"),
            ("GET", "releases"),
            ("PUT", "releases/1"),
            ("GET", "trash/1/restore"),
            ("DELETE", "trash"),
        ] {
            assert_eq!(asked(method, path).unwrap_err().status(), 405, "{method} {path}");
        }
        for path in ["", "tools/", "tools/a b", "tool", "releases/1/2", "trash/1/2/3"] {
            assert_eq!(asked("GET", path).unwrap(), None, "{path}");
        }
        let closed = Ask::of(&Method::POST, &["releases"], false).unwrap();
        assert_eq!(closed, None, "where nobody can write");
    }
}
