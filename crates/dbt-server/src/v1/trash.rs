//! What was deleted, and putting it back.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::json;

use super::json;
use crate::action::{ListTrash, Restore};
use crate::app::App;
use crate::audit::Outcome;
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, admit, permit};

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, ListTrash::everything()).await?;
    let discarded = app.storage.discarded(&grant).await?;
    json(StatusCode::OK, &json!({ "deleted": discarded }))
}

pub(super) async fn restore(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let seeing = admit(app, asked, ListTrash::everything()).await?;
    let known = app.storage.discarded(&seeing).await?;
    let found = known.into_iter().find(|it| it.id == id).ok_or(ApiError::NotFound)?;
    let path = found.path.parse().map_err(|_damaged| ApiError::NotFound)?;
    let grant = permit(app, asked, seeing.caller().clone(), Restore::of(path, id.to_owned()))?;

    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.writes.try_acquire().map_err(|_full| ApiError::Busy)?;
        let entry = worker.audit.open(&origin, &grant)?;
        let restored = worker.storage.restore(grant).await;
        worker.audit.close(entry, Outcome::of("restored", &restored));
        Ok::<_, ApiError>(restored?)
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    json(StatusCode::OK, &json!({ "restored": found.path }))
}
