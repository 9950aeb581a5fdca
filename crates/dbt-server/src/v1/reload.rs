//! Reading the settings again, when an administrator says so.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde_json::json;

use super::json;
use crate::action::Reload;
use crate::app::App;
use crate::audit::Outcome;
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, admit};

/// Has the settings read again, recorded before and after.
pub(super) async fn reload(app: &Arc<App>, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, Reload::settings()).await?;
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let reloaded = worker.running.reload().await.map_err(ApiError::Settings);
        worker.audit.close(entry, Outcome::of("settings read again", &reloaded)).await;
        reloaded
    });
    let reloaded = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let about = json!({ "notices": reloaded.notices, "afterRestart": reloaded.kept });
    json(StatusCode::OK, &about)
}
