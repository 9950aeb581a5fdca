//! Uploads in parts, for connections that break and proxies that take only so much at once: bytes
//! come in several requests, and are published as by a single `PUT`.

use std::sync::Arc;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use hyper::header::{
    CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, LOCATION,
};
use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{bad_body, json, object, object_if_any};
use crate::action::{Action as _, CreateSomewhere, Write};
use crate::app::App;
use crate::audit::Outcome;
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::log::causes;
use crate::pipeline::{Asked, admit, permit, store};
use crate::respond;
use crate::storage::{PartialUpload, StorageError};
use crate::upload::{BodyReader, Declared, Upload};
use crate::{time, token_ends};

/// Where in the upload a part begins, or where the next one must.
pub(crate) const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// Begins an upload. Where the body says what it will be, whoever has begun that gets the same one:
/// so nobody needs to remember an id to go on.
pub(super) async fn begin(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, CreateSomewhere::new()).await?;
    let body = token_ends::while_it_counts(app, grant.caller(), grant.rule(), body);
    let named = match object_if_any::<Committed>(body).await? {
        None => None,
        Some(named) => {
            // Who may not write it there is told so before the bytes come.
            let there = permit(app, asked, grant.caller().clone(), named.write()?)?;
            let sha256 = named.sha256.parse::<Digest>();
            let sha256 = sha256.map_err(|error| bad_body(format!("`sha256`: {error}")))?;
            Some((there.action().path().clone(), sha256))
        }
    };
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        let entry = worker.audit.open(&origin, &grant).await?;
        let begun = worker.storage.begin_upload(&grant, named, worker.limits.uploads_each).await;
        worker.audit.close(entry, Outcome::of("upload begun", &begun)).await;
        Ok::<_, ApiError>(begun?)
    });
    let upload = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let mut answer = shown(StatusCode::CREATED, &upload)?;
    if let Ok(location) = format!("/-/api/v1/uploads/{}", upload.id).parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

pub(super) async fn look(app: &App, asked: &Asked, id: &str) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, CreateSomewhere::new()).await?;
    shown(StatusCode::OK, &app.storage.upload(&grant, id).await?)
}

pub(super) async fn append(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, CreateSomewhere::new()).await?;
    let headers = &asked.parts.headers;
    let offset = headers.get(UPLOAD_OFFSET).and_then(|value| value.to_str().ok()?.parse().ok());
    let offset = offset.ok_or_else(|| ApiError::BadRequest {
        code: "bad-header",
        detail: "`Upload-Offset` must say where in the upload the body begins".to_owned(),
    })?;
    let body = token_ends::while_it_counts(app, grant.caller(), grant.rule(), body);
    let upload = Upload::new(headers, body, &app.limits).map_err(StorageError::from)?;
    let (worker, id) = (Arc::clone(app), id.to_owned());
    // What has come is kept whether or not the client still listens.
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        Ok::<_, ApiError>(worker.storage.append(&grant, &id, offset, upload).await?)
    });
    let upload = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let answer = Response::builder()
        .status(StatusCode::NO_CONTENT)
        .header(UPLOAD_OFFSET, upload.offset)
        .header(CONTENT_LENGTH, 0);
    respond::finish(answer, content::empty())
}

/// Where an upload goes, and what it must be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Committed {
    path: String,
    sha256: String,
}

impl Committed {
    fn write(&self) -> Result<Write, ApiError> {
        let bad = |detail: String| ApiError::BadRequest { code: "bad-path", detail };
        let below = self.path.strip_prefix('/');
        let below = below.ok_or_else(|| bad("`path` must begin with `/`".to_owned()))?;
        let path: RepoPath = below.parse().map_err(|error| bad(format!("{error}")))?;
        Write::of(path).map_err(|error| bad(error.to_string()))
    }
}

pub(super) async fn commit(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let somewhere = admit(app, asked, CreateSomewhere::new()).await?;
    let committed = object::<Committed>(body).await?;
    let conditional = Conditions::are_in(&asked.parts.headers);
    let action = committed.write()?.conditional(conditional);
    let grant = permit(app, asked, somewhere.caller().clone(), action)?;

    let mut headers = asked.parts.headers.clone();
    // They are about the body of this request, which only names the bytes.
    for name in ["content-digest", "repr-digest", "x-checksum-md5", "x-checksum-sha1"] {
        headers.remove(name);
    }
    let checksum = HeaderValue::from_str(&committed.sha256);
    headers.insert("x-checksum-sha256", checksum.unwrap_or(HeaderValue::from_static("?")));
    let sha256 = Declared::of(&headers).map_err(StorageError::from)?.sha256();
    let sha256 =
        sha256.ok_or_else(|| bad_body("`sha256` must be that of all the bytes".to_owned()))?;
    let named = (grant.action().path().clone(), sha256);
    let (file, is_again) = match app.storage.uploaded(&somewhere, id).await {
        Err(StorageError::NotFound) => {
            (app.storage.committed(&somewhere, id, named.clone()).await?, true)
        }
        file => (file?, false),
    };
    if is_again {
        // They held when the bytes were published, and would not hold any more because they were.
        for name in [IF_NONE_MATCH, IF_UNMODIFIED_SINCE] {
            headers.remove(name);
        }
        // What somebody else has put there since stays.
        let same = HeaderValue::from_str(&format!("\"{sha256}\""));
        headers.insert(IF_MATCH, same.map_err(|error| ApiError::Internal(error.to_string()))?);
    }
    let body = BodyReader::new(&HeaderMap::new(), file.into_request_body(), &app.limits);
    let upload = Upload::new(&headers, body, &app.limits).map_err(StorageError::from)?;
    let answer = store(app, asked, grant, upload).await?;
    if !is_again {
        end(app, &somewhere, id, named).await;
    }
    Ok(answer)
}

/// Removes what was published. Where that fails, it goes when its time is over.
async fn end(app: &App, grant: &Grant<CreateSomewhere>, id: &str, committed: (RepoPath, Digest)) {
    if let Err(error) = app.storage.end_upload(grant, id, committed).await {
        tracing::warn!(
            error = causes(&error),
            "an upload that was committed takes space until it expires"
        );
    }
}

pub(super) async fn abandon(
    app: &App,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, CreateSomewhere::new()).await?;
    app.storage.forget_upload(&grant, id).await?;
    let answer = Response::builder().status(StatusCode::NO_CONTENT).header(CONTENT_LENGTH, 0);
    respond::finish(answer, content::empty())
}

fn shown(status: StatusCode, upload: &PartialUpload) -> Result<Response<Body>, ApiError> {
    let PartialUpload { id, offset, expires } = upload;
    let about = json!({ "id": id, "offset": offset, "expires": time::rfc_3339(*expires) });
    let mut answer = json(status, &about)?;
    answer.headers_mut().insert(UPLOAD_OFFSET, HeaderValue::from(*offset));
    Ok(answer)
}
