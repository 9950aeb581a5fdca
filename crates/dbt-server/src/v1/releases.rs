//! Releases: a version of which all platforms appear in one step.
//!
//! While a release is open, what its owner uploads to the version's ordinary paths is held back;
//! `commit` publishes all of it, or none if a platform is not whole.

use std::sync::Arc;

use dbt_core::brand;
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use hyper::header::{CONTENT_LENGTH, LOCATION};
use hyper::{Response, StatusCode};
use serde::Deserialize;

use super::{json, object};
use crate::action::{Action as _, CreateSomewhere, Release, TakeOver};
use crate::app::App;
use crate::audit::Outcome;
use crate::authz::Grant;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::pipeline::{Asked, admit, claimed, permit, refuse_strangers};
use crate::request_id::RequestId;
use crate::respond;
use crate::storage::{ReleaseState, ReleaseStep, Stager};
use crate::token_ends;
use crate::upload::BodyReader;

/// What is to be released: a version of a tool, or of the program itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    tool: Option<String>,
    version: String,
    /// Whether what somebody else has uploaded becomes the caller's.
    #[serde(default)]
    take_over: bool,
    /// Whether whoever may publish the version may sign and commit it from now on.
    #[serde(default)]
    staged: bool,
    /// Whether what somebody has staged becomes the caller's.
    #[serde(default)]
    take_up: bool,
}

/// What is wanted of a version.
#[derive(Clone, Copy)]
enum Way {
    Begin,
    TakeOver,
    Stage,
    TakeUp,
}

impl Wanted {
    fn way(&self) -> Result<Way, ApiError> {
        match (self.take_over, self.staged, self.take_up) {
            (false, false, false) => Ok(Way::Begin),
            (true, false, false) => Ok(Way::TakeOver),
            (false, true, false) => Ok(Way::Stage),
            (false, false, true) => Ok(Way::TakeUp),
            _ => {
                let detail = "`takeOver`, `staged` and `takeUp` exclude each other".to_owned();
                Err(ApiError::BadRequest { code: "bad-body", detail })
            }
        }
    }

    fn path(&self) -> Result<RepoPath, ApiError> {
        let bad =
            |detail: &str| ApiError::BadRequest { code: "bad-body", detail: detail.to_owned() };
        if self.version.parse::<Version>().is_err() {
            return Err(bad("`version` is not a version"));
        }
        let above = match self.tool.as_deref() {
            None | Some(brand::PROGRAM) => vec![brand::REPOSITORY_PATH],
            Some(tool) if tool.parse::<ToolName>().is_ok() => vec![brand::TOOLS_PATH, tool],
            Some(_other) => return Err(bad("`tool` is not the name of a tool")),
        };
        let path = [above.join("/").as_str(), &self.version].join("/");
        path.parse().map_err(|_error| bad("the name is too long"))
    }
}

pub(super) async fn begin(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    // Nobody's bytes are read who could not begin a release of anything.
    let caller = admit(app, asked, CreateSomewhere::new()).await?.caller().clone();
    let body = token_ends::while_it_counts(app, &caller, None, body);
    let wanted = object::<Wanted>(body).await?;
    let (path, id) = (wanted.path()?, RequestId::new(app.clock.now()).to_string());
    let way = wanted.way()?;
    let state = if matches!(way, Way::TakeOver) {
        let grant = permit(app, asked, caller, TakeOver::of(path))?;
        take_over(app, asked, grant, id).await?
    } else {
        let by = Stager::of(&caller);
        let grant = permit(app, asked, caller, Release::of(path))?;
        let (work, effect) = match way {
            Way::Stage => (ReleaseStep::Stage { id, by }, "release staged"),
            Way::TakeUp => (ReleaseStep::TakeUp { id }, "staged release taken up"),
            Way::Begin | Way::TakeOver => (ReleaseStep::Begin { id }, "release begun"),
        };
        step(app, asked, grant, work, effect).await?
    };
    let location = format!("/-/api/v1/releases/{}", state.id);
    let mut answer = json(StatusCode::CREATED, &state.to_json())?;
    if let Ok(location) = location.parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

pub(super) async fn look(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = owned(app, asked, id).await?;
    let state = app.storage.release(grant, ReleaseStep::Look { id: id.to_owned() }).await?;
    json(StatusCode::OK, &state.to_json())
}

pub(super) async fn commit(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = owned(app, asked, id).await?;
    let work = ReleaseStep::Commit { id: id.to_owned() };
    let state = step(app, asked, grant, work, "release published").await?;
    json(StatusCode::OK, &state.to_json())
}

pub(super) async fn abandon(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = owned(app, asked, id).await?;
    let work = ReleaseStep::Abandon { id: id.to_owned() };
    step(app, asked, grant, work, "release given up").await?;
    let answer = Response::builder().status(StatusCode::NO_CONTENT).header(CONTENT_LENGTH, 0);
    respond::finish(answer, content::empty())
}

/// Admits a caller to a release. Whose it is, the storage knows.
async fn owned(app: &App, asked: &Asked, id: &str) -> Result<Grant<Release>, ApiError> {
    let Some(path) = app.storage.version_of_release(id) else {
        // Strangers are not told which there are.
        let tools =
            RepoPath::root().join(brand::TOOLS_PATH).map_err(|_never| ApiError::NotFound)?;
        refuse_strangers(app, asked, Release::of(tools)).await?;
        return Err(ApiError::NotFound);
    };
    admit(app, asked, Release::of(path)).await
}

/// Does something to a release, recorded before and after.
async fn step(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<Release>,
    step: ReleaseStep,
    effect: &'static str,
) -> Result<ReleaseState, ApiError> {
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let (caller, version) = (grant.caller().clone(), grant.action().path().clone());
        let _slot = worker.slot(&caller)?;
        let entry = worker.audit.open(&origin, &grant).await?;
        let state = worker.storage.release(grant, step).await;
        worker.audit.close(entry, Outcome::of(effect, &state)).await;
        state.map_err(|error| claimed(&worker, &caller, Some(version), error))
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))?
}

/// Makes somebody else's upload the caller's, recorded before and after.
async fn take_over(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<TakeOver>,
    id: String,
) -> Result<ReleaseState, ApiError> {
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        let entry = worker.audit.open(&origin, &grant).await?;
        let state = worker.storage.take_over(grant, id).await;
        worker.audit.close(entry, Outcome::of("release taken over", &state)).await;
        Ok::<_, ApiError>(state?)
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))?
}
