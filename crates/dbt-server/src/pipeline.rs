//! The road every request takes: parse the path, identify, authorise, storage, audit.
//!
//! There is no other. A step cannot be left out, because the next one takes what it gives.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use dbt_core::listing::page;
use dbt_core::repo_path::RepoPath;
use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPECT, HOST,
    HeaderName, HeaderValue, LOCATION, ORIGIN, TRANSFER_ENCODING, USER_AGENT, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode, Version};
use serde_json::json;
use tokio::time::Instant;

use crate::action::{Action, Delete, Kind, Observe, Read, TakeOver, Write};
use crate::app::App;
use crate::audit::{FileRead, Origin, Outcome};
use crate::authn::{BadCredential, Caller, Scope};
use crate::authz::{Grant, Guarded, Reason, Replacing};
use crate::conditions::Conditions;
use crate::content::{self, Body, Pace};
use crate::error::{self, ApiError};
use crate::log::causes;
use crate::operate::account::{self, Entry};
use crate::operate::metrics::{Counter, Timer};
use crate::operate::{probes, quota, told};
use crate::request_id::RequestId;
use crate::respond::{self, Caching};
use crate::router::{self, Route};
use crate::storage::{
    Detail, Directory, Effect, EntryKind, Found, Publication, StorageError, StoredFile, Written,
};
use crate::upload::{BodyReader, RequestBody, Upload, UploadError};
use crate::writable::InVersion;
use crate::{api, following, listing, possession, token_ends, v1, web, writable};

mod known;

use known::refusal;
pub(crate) use known::{Shown, admit_by_proof, by_proof, known, proven_by, unsuspended};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// By which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// From another machine, or from this one by the same way.
    Network(SocketAddr),
    /// By the socket for commands on this machine, from this user of it.
    Host(u32),
    /// By the address that is for metrics and health alone.
    Metrics(SocketAddr),
}

impl From<SocketAddr> for Door {
    fn from(peer: SocketAddr) -> Self {
        Self::Network(peer)
    }
}

/// A mark on a request that came while as much was under way as may be.
#[derive(Clone, Copy, Debug)]
pub struct TurnedAway;

/// A request on its way.
pub struct Asked {
    pub(crate) parts: Parts,
    pub(crate) origin: Origin,
    door: Door,
    client: IpAddr,
    route: OnceLock<&'static str>,
    subject: OnceLock<String>,
}

impl Asked {
    /// Notes where a request comes from.
    fn new(app: &App, parts: Parts, door: Door, own_id: RequestId) -> Self {
        let (route, subject) = (OnceLock::new(), OnceLock::new());
        let user_agent = parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
        let user_agent = user_agent.map(|text| text.chars().take(200).collect());
        let (Door::Network(peer) | Door::Metrics(peer)) = door else {
            let peer = crate::authn::HOST.to_owned();
            let origin = Origin { request: own_id, peer, user_agent };
            let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
            return Self { parts, origin, door, client, route, subject };
        };
        let said = app.edge.proxies.origin(peer.ip(), &parts.headers);
        if let Some(hint) = said.hint
            && !app.running.hinted.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(peer = %peer.ip(), "{hint}");
        }
        let client = said.client;
        let request = said.request.unwrap_or(own_id);
        let origin = Origin { request, peer: client.to_string(), user_agent };
        Self { parts, origin, door, client, route, subject }
    }

    /// Returns the address that it comes from.
    pub(crate) const fn client(&self) -> IpAddr {
        self.client
    }

    /// Notes who sent it.
    pub(crate) fn from(&self, caller: Caller) -> Caller {
        if let Some(subject) = caller.subject() {
            let _once = self.subject.set(subject.to_string());
        }
        caller
    }
}

/// Answers one request, and logs it when the answer has ended.
pub async fn serve(
    app: &Arc<App>,
    request: Request<RequestBody>,
    door: impl Into<Door>,
) -> Response<Body> {
    let (began, started) = (app.clock.now(), Instant::now());
    let (parts, body) = request.into_parts();
    let body = BodyReader::new(&parts.headers, body, &app.limits);
    let asked = Asked::new(app, parts, door.into(), RequestId::new(began));
    let id = asked.origin.request;

    let answer = answer(app, &asked, body).await;
    let mut response = answer
        .unwrap_or_else(|error| failed(app, &asked, error).into_response(&asked.parts.headers, id));
    if let Ok(value) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    if asked.parts.headers.contains_key(TRANSFER_ENCODING) {
        // There may have been a length too: the library goes by the chunks and leaves that out.
        // Whoever went by the length has other bytes waiting, which are nobody's request
        // (RFC 9112, 6.3).
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
    let entry = Entry {
        request: id,
        peer: asked.origin.peer,
        subject: asked.subject.into_inner(),
        method: asked.parts.method,
        path: account::logged(asked.parts.uri.path()),
        route: asked.route.into_inner().unwrap_or("invalid"),
        status: response.status().as_u16(),
        began,
        started,
    };
    response.map(|body| account::accounted(app, entry, body))
}

/// Logs that a request failed, where that is our fault.
pub(crate) fn failed(app: &App, asked: &Asked, error: ApiError) -> ApiError {
    let error = token_ends::answer(app, error);
    if error.is_ours() {
        let request = asked.origin.request;
        tracing::error!(request = %request, error = causes(&error), "a request failed");
    }
    error
}

/// The steps, in order.
async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let Parts { method, uri, .. } = &asked.parts;
    let route = router::route(method, uri, app.policy.writable)?;
    let route = web::for_browsers(app, &asked.parts, route);
    let _once = asked.route.set(route.label());
    let is_health = matches!(route, Route::Health(_));
    match asked.door {
        Door::Metrics(_peer) => {
            return match route {
                Route::Health(probe) => probes::answer(app, probe, uri),
                Route::Metrics => told::answer(app).await,
                Route::Announcement
                | Route::Options { .. }
                | Route::Redirect { .. }
                | Route::Files { .. }
                | Route::Tools(_)
                | Route::Versions(_)
                | Route::V1(_)
                | Route::Ui(_)
                | Route::Nothing
                | Route::Put(_)
                | Route::Remove(_) => Err(ApiError::NotFound),
            };
        }
        Door::Network(_peer) if !is_health => {
            if asked.parts.extensions.get::<TurnedAway>().is_some() {
                return Err(ApiError::Busy("too many answers are under way"));
            }
            within_rate(app, asked.client)?;
        }
        Door::Network(_) | Door::Host(_) => {}
    }
    match route {
        Route::Health(probe) => probes::answer(app, probe, uri),
        Route::Metrics => {
            let _grant = admit(app, asked, Observe::everything()).await?;
            told::answer(app).await
        }
        Route::Announcement => announced(app, asked).await,
        Route::Options { allow } => options(allow),
        Route::Redirect { location } => respond::redirect(&location),
        Route::Nothing => Err(nothing(app, asked).await?),
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
        Route::Ui(ask) => web::answer(app, asked, ask).await,
        Route::Put(action) => {
            refuse_foreign_pages(&asked.parts)?;
            let conditional = Conditions::are_in(&asked.parts.headers);
            let grant = admit(app, asked, action.conditional(conditional)).await?;
            put(app, asked, grant, body).await
        }
        Route::Remove(action) => {
            refuse_foreign_pages(&asked.parts)?;
            let conditional = Conditions::are_in(&asked.parts.headers);
            let grant = admit(app, asked, action.conditional(conditional)).await?;
            remove(app, asked, grant).await
        }
    }
}

/// Refuses a client that asks too often.
fn within_rate(app: &App, client: IpAddr) -> Result<(), ApiError> {
    app.running.clients.ask(client, app.limits.requests_per_minute).map_err(|wait| {
        app.running.metrics.count(Counter::TurnedAway, &["rate".into()]);
        ApiError::TooMany { seconds: wait.as_secs() + 1 }
    })
}

/// Identifies the caller and authorises the action. Refusals are recorded.
pub(crate) async fn admit<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    action: A,
) -> Result<Grant<A>, ApiError> {
    let caller = identify(app, asked, &action).await?;
    permit(app, asked, caller, action)
}

/// Refuses callers who would have to sign in for an action, and nobody else.
pub(crate) async fn refuse_strangers<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    action: A,
) -> Result<(), ApiError> {
    let caller = identify(app, asked, &action).await?;
    if caller.is_anonymous() {
        permit(app, asked, caller, action)?;
    }
    Ok(())
}

/// Finds out who sends a request for an action.
pub(crate) async fn identify<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    action: &A,
) -> Result<Caller, ApiError> {
    if let Door::Host(user) = asked.door {
        return Ok(asked.from(Caller::on_the_host(user)));
    }
    if app.policy.is_open(action) && !app.storage.has_draft(action.path()) {
        return Ok(Caller::anonymous());
    }
    by_proof(app, asked, Shown::by(asked), action).await
}

/// Authorises an action of a caller who is known: of a request, a proof is looked at once, because
/// it may count only once. A refusal is recorded.
pub(crate) fn permit<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    caller: Caller,
    action: A,
) -> Result<Grant<A>, ApiError> {
    let grant = app.policy.authorise(caller, action).map_err(|denied| {
        app.audit.refused(&asked.origin, &denied);
        refusal(app, &denied)
    })?;
    if app.edge.read_only && A::STORES {
        return Err(ApiError::ReadOnly);
    }
    Ok(grant)
}

/// Answers a credential that proves nothing, and records it.
pub(crate) fn bad_credential<A: Action>(
    app: &App,
    asked: &Asked,
    action: &A,
    error: &BadCredential,
) -> ApiError {
    let detail = error.to_string();
    let answer = if let Some((after, of)) = error.retry_after() {
        ApiError::TooManyCredentials { of, detail, after }
    } else {
        let challenges = app.authn.challenges(scope(A::KIND));
        ApiError::Unauthorised { challenges, offered: true, detail }
    };
    let path = action.path().to_string();
    app.audit.failed_sign_in(&asked.origin, A::KIND, path, &answer, error.noted());
    answer
}

const fn scope(kind: Kind) -> Scope {
    match kind {
        Kind::Read => Scope::Reads,
        Kind::Write | Kind::Delete => Scope::Writes,
    }
}

/// Refuses a write that a page of another site makes a browser send.
pub(crate) fn refuse_foreign_pages(parts: &Parts) -> Result<(), ApiError> {
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

/// Answers with what clients are told before they are configured. Nobody is asked who they are: it is
/// how somebody learns where to prove that. Without it the path is as any other that is not there.
async fn announced(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let Some(text) = &app.announcement else { return Err(nothing(app, asked).await?) };
    let caching = Caching { shared: true, immutable: false };
    respond::page(&asked.parts.headers, "application/json", text.clone(), None, caching)
}

/// Returns that there is nothing, to those who may know that.
async fn nothing(app: &App, asked: &Asked) -> Result<ApiError, ApiError> {
    // Strangers must not learn from a 404 what they may not list.
    let _grant = admit(app, asked, Read::root()).await?;
    let is_api = asked.parts.uri.path().starts_with("/-/api/v1/");
    Ok(if is_api { ApiError::Unknown } else { ApiError::NotFound })
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
    if path.file_name() == Some(page::FILE) && !directory {
        return respond::redirect("./");
    }
    let detail = if directory { Detail::All } else { Detail::Names };
    let found = look(app, grant, detail).await?;
    let name = path.file_name().unwrap_or_default();
    match found {
        Found::Directory(entries) if directory => listed(app, asked, grant, &entries),
        Found::Directory(_entries) => respond::redirect(&listing::link(name, "/")),
        Found::File(_file) if directory => {
            respond::redirect(&format!("../{}", listing::link(name, "")))
        }
        Found::File(file) => {
            let read = FileRead::from(&file);
            let answer = file_answer(app, asked, grant, file).await?;
            if asked.parts.method == Method::GET && answer.status().is_success() {
                app.audit.read(&asked.origin, grant, answer.status().as_u16(), &read);
            }
            Ok(answer)
        }
    }
}

async fn look(app: &App, grant: &Grant<Read>, detail: Detail) -> Result<Found, StorageError> {
    app.running.metrics.timed(Timer::Storage, "look", app.storage.look(grant, detail)).await
}

async fn file_answer(
    app: &App,
    asked: &Asked,
    grant: &Grant<Read>,
    file: StoredFile,
) -> Result<Response<Body>, ApiError> {
    let path = grant.action().path();
    let immutable = app.policy.immutable && writable::is_create_only(path);
    let caching = Caching { immutable, ..caching(grant) };
    let pace = Pace::over(asked.parts.version, &app.running.large_chunks);
    respond::file(&asked.parts, pace, path, file, caching, app.clock.now()).await
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
    let list = match look(app, grant, Detail::Names).await {
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
    match look(app, grant, Detail::Versions).await? {
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

/// Writes what a request brings.
async fn put(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Write>,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let mut upload =
        Upload::new(&asked.parts.headers, body, &app.limits).map_err(StorageError::from)?;
    if possession::is_asked_for(&asked.parts.headers) {
        upload = possession::with_known_bytes(app, &grant, upload).await?;
    }
    store(app, asked, grant, upload).await
}

/// Writes in a task of its own: once begun, it goes on whether or not the client still listens,
/// and its outcome is recorded.
pub(crate) async fn store(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Write>,
    upload: Upload,
) -> Result<Response<Body>, ApiError> {
    let body = token_ends::while_it_counts(app, grant.caller(), grant.rule(), upload.body);
    let upload = Upload { body, ..upload };
    let is_undeclared = upload.declared.has_only_unknown();
    let location = format!("/{}", grant.action().path().url_encoded());
    let path = grant.action().path().to_string();
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        let recording = worker.audit.open(&origin, &grant);
        let entry = worker.running.metrics.timed(Timer::Flush, "record", recording).await?;
        let admitted = async {
            let (path, length) = (grant.action().path(), upload.body.expected());
            let room = quota::make_room(&worker, path, length).await?;
            let mut upload = upload;
            if let Some((_path, _limit, left)) = &room.most {
                upload.body.at_most(*left);
            }
            let (upload, turn) = following::admit(&worker, &grant, upload).await?;
            Ok::<_, ApiError>((upload, turn, room))
        };
        let (upload, _turn, room) = match admitted.await {
            Ok(admitted) => admitted,
            Err(error) => {
                worker.audit.close(entry, Outcome::refused(&error)).await;
                return Err(error);
            }
        };
        let writing = worker.storage.write(&grant, upload);
        let written = worker.running.metrics.timed(Timer::Storage, "write", writing).await;
        count_upload(&worker, &written);
        let written = written.map_err(|error| {
            over_quota(&room, error).unwrap_or_else(|error| {
                not_written(&worker, &grant, for_caller(&worker, &grant, error))
            })
        });
        worker.audit.close(entry, Outcome::from(&written)).await;
        written
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

fn count_upload(app: &App, written: &Result<Written, StorageError>) {
    let metrics = &app.running.metrics;
    let reason = match written {
        Ok(written) => return metrics.add(Counter::UploadBytes, &[], written.length),
        Err(StorageError::Upload(error)) => error.label(),
        Err(StorageError::OutOfSpace) => "disk-full",
        Err(StorageError::Io { .. } | StorageError::ReadOnly) => "disk",
        Err(_refused) => "refused",
    };
    metrics.count(Counter::UploadsAborted, &[reason.into()]);
}

/// Says that an upload was too long for a quota, if that is why it was too long.
fn over_quota(room: &quota::Room, error: StorageError) -> Result<ApiError, StorageError> {
    match (&error, &room.most) {
        (
            StorageError::Upload(UploadError::TooLarge { limit: most }),
            Some((path, limit, left)),
        ) if most == left => Ok(ApiError::OverQuota { path: path.clone(), limit: *limit }),
        _ => Err(error),
    }
}

/// Says of a refused write whether the file or the caller is the reason.
fn not_written(app: &App, grant: &Grant<Write>, error: StorageError) -> ApiError {
    match (&error, grant.replacing()) {
        (StorageError::Immutable { .. }, Replacing::NotPermitted) => {
            let detail = "other bytes are there, and no rule permits this caller to `replace` them";
            ApiError::Forbidden { detail: detail.to_owned() }
        }
        (StorageError::Immutable { .. }, Replacing::WithPrecondition) => {
            ApiError::PreconditionRequired { detail: Reason::Unconditional.to_string() }
        }
        (StorageError::Claimed { .. }, _) => {
            let inside = InVersion::of(grant.action().path());
            claimed(app, grant.caller(), inside.map(|inside| inside.version), error)
        }
        _ => error.into(),
    }
}

/// Tells who is uploading a version, and what can be done about it, to those who could.
pub(crate) fn claimed(
    app: &App,
    caller: &Caller,
    version: Option<RepoPath>,
    error: StorageError,
) -> ApiError {
    match (error, version) {
        (StorageError::Claimed { owner, until }, Some(version))
            if app.policy.authorise(caller.clone(), TakeOver::of(version.clone())).is_ok() =>
        {
            ApiError::CanBeTakenOver { owner, version: version.to_string(), until }
        }
        (error, _) => error.into(),
    }
}

/// Leaves out of a refusal what is in a file that the caller may not read.
fn for_caller<A: Action>(app: &App, grant: &Grant<A>, error: StorageError) -> StorageError {
    let read = Read::of(grant.action().path().clone());
    if read.is_some_and(|read| app.policy.authorise(grant.caller().clone(), read).is_ok()) {
        return error;
    }
    error.without_digest()
}

async fn remove(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Delete>,
) -> Result<Response<Body>, ApiError> {
    let conditions = respond::conditions(&asked.parts.headers)?;
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        let recording = worker.audit.open(&origin, &grant);
        let entry = worker.running.metrics.timed(Timer::Flush, "record", recording).await?;
        let _turn = following::turn_to_delete(grant.action().path()).await;
        let deleting = worker.storage.delete(&grant, &conditions);
        let removed = worker.running.metrics.timed(Timer::Storage, "delete", deleting).await;
        worker.audit.close(entry, Outcome::from(&removed)).await;
        let removed = removed.map_err(|error| for_caller(&worker, &grant, error));
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
