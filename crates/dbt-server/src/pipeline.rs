//! The road every request takes: parse the path, identify, authorise, storage, audit.
//!
//! There is no other. A step cannot be left out, because the next one takes what it gives.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPECT, HOST,
    HeaderName, HeaderValue, LOCATION, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::json;

use crate::action::{Action, Delete, Kind, Read, Write};
use crate::app::App;
use crate::audit::{Origin, Outcome};
use crate::authn::{BadCredential, Caller, Presented, Scope};
use crate::authz::{Denied, Grant, Guarded, Reason};
use crate::conditions::Conditions;
use crate::content::{self, Body};
use crate::error::{self, ApiError};
use crate::request_id::RequestId;
use crate::respond::{self, Caching};
use crate::router::{self, Route};
use crate::storage::{
    Detail, Directory, Effect, EntryKind, Found, Publication, StorageError, StoredFile,
};
use crate::upload::{BodyReader, RequestBody, Upload};
use crate::{api, following, listing, time, v1, writable};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const X_CHECKSUM_DEPLOY: HeaderName = HeaderName::from_static("x-checksum-deploy");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A request on its way.
pub struct Asked {
    pub(crate) parts: Parts,
    pub(crate) origin: Origin,
    peer: SocketAddr,
}

/// Answers one request and logs it.
pub async fn serve(
    app: &Arc<App>,
    request: Request<RequestBody>,
    peer: SocketAddr,
) -> Response<Body> {
    let began = app.clock.now();
    let id = RequestId::new(began);
    let (parts, body) = request.into_parts();
    let body = BodyReader::new(&parts.headers, body, &app.limits);
    let origin = Origin { request: id, peer: peer.ip().to_string() };
    let asked = Asked { parts, origin, peer };

    let answer = answer(app, &asked, body).await;
    let mut response = answer.unwrap_or_else(|error| {
        if error.is_ours() {
            tracing::error!(request = %id, error = &error as &dyn std::error::Error, "a request failed");
        }
        error.into_response(&asked.parts.headers, id)
    });
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let is_refusal = response.status().is_client_error() || response.status().is_server_error();
    if is_refusal
        && asked.parts.headers.contains_key(EXPECT)
        && asked.parts.version < Version::HTTP_2
    {
        // Without a word on it a proxy sends the body that nobody will read (RFC 9110, 10.1.1).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if asked.parts.method == Method::HEAD {
        *response.body_mut() = content::empty();
    }
    log(app, &asked, &response, began);
    response
}

/// The steps, in order.
async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let Parts { method, uri, .. } = &asked.parts;
    match router::route(method, uri, app.policy.writable)? {
        Route::Health => health(),
        Route::Options { allow } => options(allow),
        Route::Redirect { location } => respond::redirect(&location),
        Route::Nothing => {
            // Strangers must not learn from a 404 what they may not list.
            let _grant = admit(app, asked, Read::root()).await?;
            let is_api = uri.path().starts_with("/-/api/v1/");
            Err(if is_api { ApiError::Unknown } else { ApiError::NotFound })
        }
        Route::Files { action, directory } => {
            let grant = admit(app, asked, action.listing(directory)).await?;
            files(app, asked, &grant, directory).await
        }
        Route::Tools(action) => {
            let grant = admit(app, asked, action.listing(true)).await?;
            tools(app, asked, &grant).await
        }
        Route::Versions(action) => {
            let grant = admit(app, asked, action.listing(true)).await?;
            versions(app, asked, &grant).await
        }
        Route::V1(ask) => {
            if ask.changes() {
                refuse_foreign_pages(&asked.parts)?;
            }
            v1::answer(app, asked, ask, body).await
        }
        Route::Put(action) => {
            refuse_foreign_pages(&asked.parts)?;
            let grant = admit(app, asked, action).await?;
            put(app, asked, grant, body).await
        }
        Route::Remove(action) => {
            refuse_foreign_pages(&asked.parts)?;
            let grant = admit(app, asked, action).await?;
            remove(app, asked, grant).await
        }
    }
}

/// Identifies the caller and authorises the action. Refusals are recorded.
pub(crate) async fn admit<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    action: A,
) -> Result<Grant<A>, ApiError> {
    let is_open = app.policy.is_open(&action);
    let caller = if is_open && !app.storage.has_draft(action.path()) {
        Caller::anonymous()
    } else {
        let Parts { headers, method, uri, .. } = &asked.parts;
        let (peer, scope) = (asked.peer.ip(), scope(A::KIND));
        match app.authn.identify(&Presented { headers, method, uri, peer, scope }).await {
            Ok(caller) => caller,
            // What is open to everybody is open to those with a stale credential too.
            Err(_error) if is_open => Caller::anonymous(),
            Err(error) => return Err(bad_credential(app, asked, &action, error)),
        }
    };
    permit(app, asked, caller, action)
}

/// Authorises an action of a caller who is known: of a request, a proof is looked at once, because
/// it may count only once. A refusal is recorded.
pub(crate) fn permit<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    caller: Caller,
    action: A,
) -> Result<Grant<A>, ApiError> {
    app.policy.authorise(caller, action).map_err(|denied| {
        app.audit.refused(&asked.origin, &denied);
        refusal(app, &denied)
    })
}

fn bad_credential<A: Action>(
    app: &App,
    asked: &Asked,
    action: &A,
    error: BadCredential,
) -> ApiError {
    let path = action.path().to_string();
    app.audit.failed_sign_in(&asked.origin, A::KIND, path, error.noted());
    ApiError::Unauthorised {
        challenges: app.authn.challenges(scope(A::KIND)),
        offered: true,
        detail: error.to_string(),
    }
}

fn refusal(app: &App, denied: &Denied) -> ApiError {
    let detail = denied.reason.to_string();
    match denied.reason {
        Reason::NotSignedIn => ApiError::Unauthorised {
            challenges: app.authn.challenges(scope(denied.kind)),
            offered: false,
            detail,
        },
        Reason::NotAllowed(_) | Reason::Following | Reason::Protected(_) => {
            ApiError::Forbidden { detail }
        }
    }
}

const fn scope(kind: Kind) -> Scope {
    match kind {
        Kind::Read => Scope::Reads,
        Kind::Write | Kind::Delete => Scope::Writes,
    }
}

/// Refuses a write that a page of another site makes a browser send.
fn refuse_foreign_pages(parts: &Parts) -> Result<(), ApiError> {
    let text = |name| parts.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site_is_foreign =
        text(SEC_FETCH_SITE).is_some_and(|site| !matches!(site, "same-origin" | "none"));
    let host =
        parts.uri.authority().map(hyper::http::uri::Authority::as_str).or_else(|| text(HOST));
    let origin_is_foreign = text(ORIGIN).is_some_and(|origin| {
        let authority = origin.split_once("://").map(|(_scheme, authority)| authority);
        authority.is_none() || authority != host
    });
    if site_is_foreign || origin_is_foreign {
        let detail = "writes from pages of other sites are not accepted".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    Ok(())
}

fn health() -> Result<Response<Body>, ApiError> {
    let answer = Response::builder()
        .header(CONTENT_TYPE, "text/plain; charset=utf-8")
        .header(CONTENT_LENGTH, 2);
    respond::finish(answer, content::bytes("ok"))
}

fn options(allow: &'static str) -> Result<Response<Body>, ApiError> {
    let answer = Response::builder().status(StatusCode::NO_CONTENT).header(ALLOW, allow);
    respond::finish(answer, content::empty())
}

async fn files(
    app: &App,
    asked: &Asked,
    grant: &Grant<Read>,
    directory: bool,
) -> Result<Response<Body>, ApiError> {
    let path = grant.action().path();
    if path.file_name() == Some("index.html") && !directory {
        return respond::redirect("./");
    }
    let detail = if directory { Detail::All } else { Detail::Names };
    let found = app.storage.look(grant, detail).await?;
    let name = path.file_name().unwrap_or_default();
    match found {
        Found::Directory(entries) if directory => listed(app, asked, grant, &entries),
        Found::Directory(_entries) => respond::redirect(&listing::link(name, "/")),
        Found::File(_file) if directory => {
            respond::redirect(&format!("../{}", listing::link(name, "")))
        }
        Found::File(file) => {
            app.audit.read(&asked.origin, grant);
            file_answer(app, asked, grant, file)
        }
    }
}

fn file_answer(
    app: &App,
    asked: &Asked,
    grant: &Grant<Read>,
    file: StoredFile,
) -> Result<Response<Body>, ApiError> {
    let path = grant.action().path();
    let immutable = app.policy.immutable && writable::is_create_only(path);
    let caching = Caching { immutable, ..caching(grant) };
    respond::file(&asked.parts.method, &asked.parts.headers, path, file, caching)
}

fn listed(
    app: &App,
    asked: &Asked,
    grant: &Grant<Read>,
    directory: &Directory,
) -> Result<Response<Body>, ApiError> {
    // A date of this very second would still be true after the next change; then only the
    // entity tag can tell.
    let changed = listing::modified(directory);
    let age = app.clock.now().duration_since(changed).unwrap_or_default();
    let modified = (age.as_secs() >= 2).then_some(changed);
    let (headers, path) = (&asked.parts.headers, grant.action().path());
    let mut answer = if error::prefers_json(headers) {
        let list = listing::json(&directory.entries);
        respond::page(headers, "application/json", list, modified, caching(grant))
    } else {
        let shown = if path.is_root() { "/".to_owned() } else { format!("/{path}/") };
        let page = listing::html(&shown, &directory.entries);
        respond::page(headers, "text/html; charset=utf-8", page, modified, caching(grant))
    }?;
    let headers = answer.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    if let Ok(policy) = HeaderValue::from_str(&listing::page_policy()) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    Ok(answer)
}

async fn tools(app: &App, asked: &Asked, grant: &Grant<Read>) -> Result<Response<Body>, ApiError> {
    let list = match app.storage.look(grant, Detail::Names).await {
        Ok(Found::Directory(directory)) => api::tools(&directory.entries).map_err(internal)?,
        Ok(Found::File(_)) | Err(StorageError::NotFound) => api::NO_TOOLS.to_owned(),
        Err(error) => return Err(error.into()),
    };
    respond::page(&asked.parts.headers, "application/json", list, None, caching(grant))
}

async fn versions(
    app: &App,
    asked: &Asked,
    grant: &Grant<Read>,
) -> Result<Response<Body>, ApiError> {
    match app.storage.look(grant, Detail::All).await? {
        Found::Directory(directory) => {
            let list = api::versions(&directory.entries).map_err(internal)?;
            respond::page(&asked.parts.headers, "application/json", list, None, caching(grant))
        }
        Found::File(_file) => Err(ApiError::NotFound),
    }
}

fn internal(error: serde_json::Error) -> ApiError {
    ApiError::Internal(error.to_string())
}

/// Says how answers may be kept that can change.
pub(crate) fn caching(grant: &Grant<Read>) -> Caching {
    Caching { shared: grant.is_open(), immutable: false }
}

/// Writes in a task of its own: once begun, it goes on whether or not the client still listens,
/// and its outcome is recorded.
async fn put(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Write>,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    if asked.parts.headers.get(X_CHECKSUM_DEPLOY).is_some_and(|value| value == "true") {
        return Err(ApiError::BodyWanted);
    }
    let upload =
        Upload::new(&asked.parts.headers, body, &app.limits).map_err(StorageError::from)?;
    let is_undeclared = upload.declared.has_only_unknown();
    let location = format!("/{}", grant.action().path().url_encoded());
    let path = grant.action().path().to_string();
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.writes.try_acquire().map_err(|_full| ApiError::Busy)?;
        let entry = worker.audit.open(&origin, &grant)?;
        let (upload, _turn) = match following::admit(&worker, &grant, upload).await {
            Ok(admitted) => admitted,
            Err(error) => {
                worker.audit.close(entry, Outcome::Refused { reason: error.to_string() });
                return Err(error);
            }
        };
        let written = worker.storage.write(&grant, upload).await;
        worker.audit.close(entry, Outcome::from(&written));
        written.map_err(|error| not_replaced(&grant, error))
    });
    let written = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let status = match written.effect {
        Effect::Created => StatusCode::CREATED,
        Effect::Replaced | Effect::Unchanged => StatusCode::OK,
    };
    let sha256 = written.digest.to_string();
    let mut about = json!({ "path": path, "size": written.length, "sha256": sha256 });
    about["published"] = json!(written.publication == Publication::Seen);
    if let Publication::WaitingFor(files) = &written.publication {
        about["waitingFor"] = json!(files);
    }
    let text = format!("{about}\n");
    let mut answer = Response::builder();
    if is_undeclared {
        // What the client declared is not known here; this is (RFC 9530, 4).
        answer = answer.header(WANT_REPR_DIGEST, "sha-256=10");
    }
    let answer = answer
        .status(status)
        .header(LOCATION, location)
        .header(ETAG, format!("\"{sha256}\""))
        .header(respond::REPR_DIGEST, respond::digest_field(written.digest))
        .header(respond::X_CHECKSUM_SHA256, sha256)
        .header(CONTENT_TYPE, "application/json")
        .header(CONTENT_LENGTH, text.len());
    respond::finish(answer, content::bytes(text))
}

/// Says of a refused replacement whether the file or the caller is the reason.
fn not_replaced(grant: &Grant<Write>, error: StorageError) -> ApiError {
    if matches!(error, StorageError::Immutable { .. }) && !grant.may_replace() {
        let detail = "other bytes are there, and no rule permits this caller to `replace` them";
        return ApiError::Forbidden { detail: detail.to_owned() };
    }
    error.into()
}

async fn remove(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Delete>,
) -> Result<Response<Body>, ApiError> {
    let conditions = Conditions::of(&asked.parts.headers)
        .map_err(|error| ApiError::BadRequest { code: "bad-header", detail: error.to_string() })?;
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.writes.try_acquire().map_err(|_full| ApiError::Busy)?;
        let entry = worker.audit.open(&origin, &grant)?;
        let removed = worker.storage.delete(&grant, &conditions).await;
        worker.audit.close(entry, Outcome::from(&removed));
        Ok::<_, ApiError>(removed?)
    });
    let removed = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    if removed.kind == EntryKind::Directory && !asked.parts.uri.path().ends_with('/') {
        let path = asked.parts.uri.path();
        tracing::warn!(
            path,
            "a directory was deleted by a path without `/` at its end, which is deprecated"
        );
    }
    respond::finish(Response::builder().status(StatusCode::NO_CONTENT), content::empty())
}

/// One line per request, without what could be a secret: no query, no header.
fn log(app: &App, asked: &Asked, response: &Response<Body>, began: std::time::SystemTime) {
    let path = asked.parts.uri.path();
    if path == "/healthz" {
        return;
    }
    let taken = app.clock.now().duration_since(began).unwrap_or_default();
    let length = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    tracing::info!(
        target: "access",
        request = asked.origin.request.as_str(),
        peer = asked.origin.peer,
        method = asked.parts.method.as_str(),
        path,
        status = response.status().as_u16(),
        length,
        seconds = taken.as_secs_f64(),
        at = time::rfc_3339(began),
    );
}
