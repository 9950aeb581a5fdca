//! The API under `/-/api/v1/`, described by `openapi.json`: what there is, releases of several
//! platforms at once, uploads in parts, the trash, the server's own tokens, trusted publishing, who
//! asks, and administration.

use std::sync::Arc;

use dbt_core::brand;
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
use crate::tokens::text::{self, Form};
use crate::upload::BodyReader;

pub(crate) mod catalog;
mod exchange;
mod query;
mod releases;
mod reload;
mod tokens;
mod tools;
mod trash;
mod uploads;
mod users;
mod whoami;

pub use self::catalog::Shelves;
pub(crate) use self::query::decoded;
pub(crate) use self::tools::listing;
pub(crate) use self::uploads::UPLOAD_OFFSET;
pub(crate) use self::users::{REASON_BYTES, managed as told_managed, shown as shown_user};

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
    /// All tools with their newest versions, or those after one.
    Catalog(Option<ToolName>),
    /// To begin a release.
    BeginRelease,
    /// How far a release is.
    Release(String),
    /// To publish a release.
    Commit(String),
    /// To give a release up.
    Abandon(String),
    /// To begin an upload in parts.
    BeginUpload,
    /// How far an upload is.
    Upload(String),
    /// To add a part to an upload.
    Append(String),
    /// To publish an upload.
    CommitUpload(String),
    /// To give an upload up.
    AbandonUpload(String),
    /// What was deleted.
    Trash,
    /// To put something back.
    Restore(String),
    /// To read the settings again.
    Reload,
    /// Which tokens there are.
    Tokens,
    /// To make a token.
    MakeToken,
    /// What a token is.
    Token(String),
    /// To revoke a token.
    RevokeToken(String),
    /// To revoke all tokens of somebody, or all that somebody made.
    RevokeTokens,
    /// To take a token over from whoever owns it.
    OwnToken(String),
    /// Who is known.
    Users,
    /// What is kept of somebody.
    User(String),
    /// To add somebody.
    AddUser,
    /// To give somebody other roles.
    GiveRoles(String),
    /// To delete somebody.
    DeleteUser(String),
    /// To suspend somebody.
    Suspend(String),
    /// To take that back.
    Reactivate(String),
    /// For whom identities of jobs must be.
    Audience,
    /// To exchange the identity of a job for a token.
    Exchange,
    /// As whom the server knows the caller.
    Whoami,
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
            ["catalog"] => (is_read.then_some(Self::Catalog(None)), READ),
            ["catalog", "after", name] => {
                let Ok(name) = name.parse() else { return Ok(None) };
                (is_read.then_some(Self::Catalog(Some(name))), READ)
            }
            ["whoami"] => (is_read.then_some(Self::Whoami), READ),
            ["reload"] => ((*method == Method::POST).then_some(Self::Reload), POST),
            ["tokens"] => match *method {
                Method::POST => (Some(Self::MakeToken), ALL_OF_TOKENS),
                Method::DELETE => (Some(Self::RevokeTokens), ALL_OF_TOKENS),
                _ => (is_read.then_some(Self::Tokens), ALL_OF_TOKENS),
            },
            ["oidc", "audience"] => (is_read.then_some(Self::Audience), READ),
            ["oidc", "exchange"] => ((*method == Method::POST).then_some(Self::Exchange), POST),
            ["tokens", token] if text::form(token) != Form::Other || text::has_token(token) => {
                let detail = "give the id of the token, and not the token".to_owned();
                return Err(ApiError::BadRequest { code: "bad-path", detail });
            }
            ["tokens", token] => match *method {
                Method::DELETE => (Some(Self::RevokeToken(id(token))), READ_AND_DELETE),
                _ => (is_read.then(|| Self::Token(id(token))), READ_AND_DELETE),
            },
            ["tokens", token, "own"] => {
                ((*method == Method::POST).then(|| Self::OwnToken(id(token))), POST)
            }
            ["users"] => match *method {
                Method::POST => (Some(Self::AddUser), READ_AND_POST),
                _ => (is_read.then_some(Self::Users), READ_AND_POST),
            },
            ["users", user] => match *method {
                Method::PATCH => (Some(Self::GiveRoles(id(user))), ALL_OF_ONE),
                Method::DELETE => (Some(Self::DeleteUser(id(user))), ALL_OF_ONE),
                _ => (is_read.then(|| Self::User(id(user))), ALL_OF_ONE),
            },
            ["users", user, "suspend"] => {
                ((*method == Method::POST).then(|| Self::Suspend(id(user))), POST)
            }
            ["users", user, "reactivate"] => {
                ((*method == Method::POST).then(|| Self::Reactivate(id(user))), POST)
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
            ["uploads"] => ((*method == Method::POST).then_some(Self::BeginUpload), POST),
            ["uploads", upload] => match *method {
                Method::PATCH => (Some(Self::Append(id(upload))), ALL_OF_ONE),
                Method::DELETE => (Some(Self::AbandonUpload(id(upload))), ALL_OF_ONE),
                _ => (is_read.then(|| Self::Upload(id(upload))), ALL_OF_ONE),
            },
            ["uploads", upload, "commit"] => {
                ((*method == Method::POST).then(|| Self::CommitUpload(id(upload))), POST)
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

    /// Returns the word for it in the log and in what is counted.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Description => "v1-description",
            Self::Tools | Self::Tool(_) => "v1-tools",
            Self::Catalog(_) => "v1-catalog",
            Self::BeginRelease | Self::Release(_) | Self::Commit(_) | Self::Abandon(_) => {
                "v1-releases"
            }
            Self::BeginUpload
            | Self::Upload(_)
            | Self::Append(_)
            | Self::CommitUpload(_)
            | Self::AbandonUpload(_) => "v1-uploads",
            Self::Trash | Self::Restore(_) => "v1-trash",
            Self::Reload => "v1-reload",
            Self::Tokens
            | Self::MakeToken
            | Self::Token(_)
            | Self::RevokeToken(_)
            | Self::RevokeTokens
            | Self::OwnToken(_) => "v1-tokens",
            Self::Users
            | Self::User(_)
            | Self::AddUser
            | Self::GiveRoles(_)
            | Self::DeleteUser(_)
            | Self::Suspend(_)
            | Self::Reactivate(_) => "v1-users",
            Self::Audience | Self::Exchange => "v1-exchange",
            Self::Whoami => "v1-whoami",
        }
    }

    /// Says whether it changes something, so that pages of other sites must not ask for it.
    pub const fn changes(&self) -> bool {
        match self {
            Self::BeginRelease
            | Self::Commit(_)
            | Self::Abandon(_)
            | Self::BeginUpload
            | Self::Append(_)
            | Self::CommitUpload(_)
            | Self::AbandonUpload(_)
            | Self::Restore(_)
            | Self::Reload
            | Self::MakeToken
            | Self::RevokeToken(_)
            | Self::RevokeTokens
            | Self::OwnToken(_)
            | Self::AddUser
            | Self::GiveRoles(_)
            | Self::DeleteUser(_)
            | Self::Suspend(_)
            | Self::Reactivate(_)
            | Self::Exchange => true,
            Self::Description
            | Self::Tools
            | Self::Tool(_)
            | Self::Catalog(_)
            | Self::Release(_)
            | Self::Upload(_)
            | Self::Trash
            | Self::Tokens
            | Self::Token(_)
            | Self::Users
            | Self::User(_)
            | Self::Audience
            | Self::Whoami => false,
        }
    }
}

const READ: &str = "GET, HEAD, OPTIONS";
const READ_AND_POST: &str = "GET, HEAD, POST, OPTIONS";
const POST: &str = "POST, OPTIONS";
const ALL_OF_TOKENS: &str = "GET, HEAD, POST, DELETE, OPTIONS";
const READ_AND_DELETE: &str = "GET, HEAD, DELETE, OPTIONS";
const ALL_OF_ONE: &str = "GET, HEAD, PATCH, DELETE, OPTIONS";

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
                brand::in_our_names(DESCRIPTION).into_owned(),
                None,
                crate::pipeline::caching(&grant),
            )
        }
        Ask::Tools => tools::list(app, asked).await,
        Ask::Tool(name) => tools::show(app, asked, &name).await,
        Ask::Catalog(after) => catalog::list(app, asked, after).await,
        Ask::BeginRelease => releases::begin(app, asked, body).await,
        Ask::Release(id) => releases::look(app, asked, &id).await,
        Ask::Commit(id) => releases::commit(app, asked, &id).await,
        Ask::Abandon(id) => releases::abandon(app, asked, &id).await,
        Ask::BeginUpload => uploads::begin(app, asked, body).await,
        Ask::Upload(id) => uploads::look(app, asked, &id).await,
        Ask::Append(id) => uploads::append(app, asked, &id, body).await,
        Ask::CommitUpload(id) => uploads::commit(app, asked, &id, body).await,
        Ask::AbandonUpload(id) => uploads::abandon(app, asked, &id).await,
        Ask::Trash => trash::list(app, asked).await,
        Ask::Restore(id) => trash::restore(app, asked, &id).await,
        Ask::Reload => reload::reload(app, asked).await,
        Ask::Tokens => tokens::list(app, asked).await,
        Ask::MakeToken => tokens::make(app, asked, body).await,
        Ask::Token(id) => tokens::show(app, asked, &id).await,
        Ask::RevokeToken(id) => tokens::revoke(app, asked, &id).await,
        Ask::RevokeTokens => tokens::revoke_all(app, asked).await,
        Ask::OwnToken(id) => tokens::own(app, asked, &id).await,
        Ask::Users => users::list(app, asked).await,
        Ask::User(who) => users::show(app, asked, &who).await,
        Ask::AddUser => users::add(app, asked, body).await,
        Ask::GiveRoles(who) => users::give(app, asked, &who, body).await,
        Ask::DeleteUser(who) => users::delete(app, asked, &who).await,
        Ask::Suspend(who) => users::suspend(app, asked, &who, body).await,
        Ask::Reactivate(who) => users::reactivate(app, asked, &who).await,
        Ask::Audience => exchange::audience(app, asked).await,
        Ask::Exchange => exchange::exchange(app, asked, body).await,
        Ask::Whoami => whoami::show(app, asked).await,
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
async fn object<T: serde::de::DeserializeOwned>(body: BodyReader) -> Result<T, ApiError> {
    parsed(&whole(body).await?)
}

/// Reads a body of JSON, if there is a body.
async fn object_if_any<T: serde::de::DeserializeOwned>(
    body: BodyReader,
) -> Result<Option<T>, ApiError> {
    let bytes = whole(body).await?;
    if bytes.is_empty() { Ok(None) } else { parsed(&bytes).map(Some) }
}

async fn whole(mut body: BodyReader) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await.map_err(StorageError::from)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > BODY_BYTES {
            return Err(bad_body(format!("the body is longer than {BODY_BYTES} bytes")));
        }
    }
    Ok(bytes)
}

fn parsed<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let unread = |error| bad_body(format!("the body cannot be read: {error}"));
    serde_json::from_slice(bytes).map_err(unread)
}

fn bad_body(detail: String) -> ApiError {
    ApiError::BadRequest { code: "bad-body", detail }
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
            ("GET", "catalog", Ask::Catalog(None)),
            ("GET", "catalog/after/x", Ask::Catalog(Some("x".parse().unwrap()))),
            ("POST", "releases", Ask::BeginRelease),
            ("POST", "releases/1/commit", Ask::Commit("1".to_owned())),
            ("DELETE", "releases/1", Ask::Abandon("1".to_owned())),
            ("POST", "uploads", Ask::BeginUpload),
            ("PATCH", "uploads/1", Ask::Append("1".to_owned())),
            ("HEAD", "uploads/1", Ask::Upload("1".to_owned())),
            ("POST", "trash/1/restore", Ask::Restore("1".to_owned())),
            ("GET", "tokens", Ask::Tokens),
            ("POST", "tokens", Ask::MakeToken),
            ("HEAD", "tokens/1", Ask::Token("1".to_owned())),
            ("DELETE", "tokens/1", Ask::RevokeToken("1".to_owned())),
            ("DELETE", "tokens", Ask::RevokeTokens),
            ("POST", "tokens/1/own", Ask::OwnToken("1".to_owned())),
            ("HEAD", "users", Ask::Users),
            ("GET", "users/ssh:a", Ask::User("ssh:a".to_owned())),
            ("POST", "users", Ask::AddUser),
            ("PATCH", "users/1", Ask::GiveRoles("1".to_owned())),
            ("DELETE", "users/1", Ask::DeleteUser("1".to_owned())),
            ("POST", "users/1/suspend", Ask::Suspend("1".to_owned())),
            ("POST", "users/1/reactivate", Ask::Reactivate("1".to_owned())),
            ("GET", "oidc/audience", Ask::Audience),
            ("POST", "oidc/exchange", Ask::Exchange),
            ("GET", "whoami", Ask::Whoami),
        ] {
            assert_eq!(asked(method, path).unwrap(), Some(ask), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "tools"),
            ("POST", "catalog"),
            ("GET", "releases"),
            ("PUT", "releases/1"),
            ("GET", "uploads"),
            ("PUT", "uploads/1"),
            ("GET", "trash/1/restore"),
            ("DELETE", "trash"),
            ("PUT", "tokens"),
            ("POST", "tokens/1"),
            ("GET", "tokens/1/own"),
            ("DELETE", "users"),
            ("PUT", "users/1"),
            ("GET", "users/1/suspend"),
            ("POST", "oidc/audience"),
            ("GET", "oidc/exchange"),
            ("POST", "whoami"),
        ] {
            assert_eq!(asked(method, path).unwrap_err().status(), 405, "{method} {path}");
        }
        for path in [
            "",
            "tools/",
            "tools/a b",
            "catalog/x",
            "catalog/after/..",
            "tool",
            "releases/1/2",
            "trash/1/2/3",
        ] {
            assert_eq!(asked("GET", path).unwrap(), None, "{path}");
        }
        let closed = Ask::of(&Method::POST, &["releases"], false).unwrap();
        assert_eq!(closed, None, "where nobody can write");
    }
}
