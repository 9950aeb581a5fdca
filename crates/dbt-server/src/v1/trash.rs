//! What was deleted, and putting it back.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::json;

use super::json;
use crate::action::{ListTrash, Restore};
use crate::app::App;
use crate::audit::Outcome;
use crate::authz::{Grant, Guarded as _};
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, admit, permit};
use crate::storage::local::Discarded;

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let (_grant, discarded) = seen(app, asked).await?;
    json(StatusCode::OK, &json!({ "deleted": discarded }))
}

/// Returns what the caller sees of the trash: what they may publish where it was.
async fn seen(app: &App, asked: &Asked) -> Result<(Grant<ListTrash>, Vec<Discarded>), ApiError> {
    let grant = admit(app, asked, ListTrash::new()).await?;
    let mut discarded = app.storage.discarded(&grant).await?;
    discarded.retain(|it| {
        let wish = |restore: Restore| {
            app.policy.would_permit(grant.caller(), &restore.wish(restore.permission()))
        };
        restore_of(it).is_some_and(wish)
    });
    Ok((grant, discarded))
}

fn restore_of(discarded: &Discarded) -> Option<Restore> {
    let path = discarded.path.parse().ok()?;
    Some(Restore::of(path, discarded.id.clone(), discarded.kind))
}

pub(super) async fn restore(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let (seeing, known) = seen(app, asked).await?;
    let found = known.into_iter().find(|it| it.id == id).ok_or(ApiError::NotFound)?;
    let action = restore_of(&found).ok_or(ApiError::NotFound)?;
    let grant = permit(app, asked, seeing.caller().clone(), action)?;

    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let _slot = worker.slot(grant.caller())?;
        let entry = worker.audit.open(&origin, &grant).await?;
        let restored = worker.storage.restore(grant).await;
        worker.audit.close(entry, Outcome::of("restored", &restored)).await;
        Ok::<_, ApiError>(restored?)
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    json(StatusCode::OK, &json!({ "restored": found.path }))
}
