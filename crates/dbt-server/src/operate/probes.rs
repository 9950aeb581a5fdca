//! What others ask to know how the server is, and finding it out beforehand.

use std::time::Duration;

use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::{Response, StatusCode, Uri};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::health::Trouble;
use super::live::Live;
use crate::app::App;
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::log::causes;
use crate::respond;
use crate::storage::StorageError;

/// How often it is found out how the disk is.
const EVERY: Duration = Duration::from_secs(2);

/// A question about how the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// `/healthz`: whether the process answers, as the reference's does.
    Compatible,
    /// `/-/livez`: the same.
    Live,
    /// `/-/readyz`: whether reads can be answered; with `?for=write`, whether writes can.
    Ready,
}

/// Answers a question about how the server is.
pub fn answer(app: &App, probe: Probe, uri: &Uri) -> Result<Response<Body>, ApiError> {
    match probe {
        Probe::Compatible | Probe::Live => {
            let answer = Response::builder()
                .header(CONTENT_TYPE, "text/plain; charset=utf-8")
                .header(CONTENT_LENGTH, 2);
            respond::finish(answer, content::bytes("ok"))
        }
        Probe::Ready => {
            let health = &app.running.health;
            let (reads, writes) = (health.reads(), health.writes());
            let asked = if is_about_writes(uri.query())? { writes } else { reads };
            let status =
                if asked.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            let text = format!("{}\n", json!({"reads": told(reads), "writes": told(writes)}));
            let answer = Response::builder()
                .status(status)
                .header(CONTENT_TYPE, "application/json")
                .header(CACHE_CONTROL, "no-store")
                .header(CONTENT_LENGTH, text.len());
            respond::finish(answer, content::bytes(text))
        }
    }
}

/// Says whether writes are asked about. A word that we do not know must not pass for a question
/// about reads: who mistypes a probe would never hear of a full disk.
fn is_about_writes(query: Option<&str>) -> Result<bool, ApiError> {
    let parameters = query.unwrap_or_default().split('&');
    let mut wanted =
        parameters.filter(|parameter| parameter.split('=').next() == Some("for")).peekable();
    let asked = wanted.peek().is_some();
    if wanted.all(|parameter| parameter == "for=write") {
        return Ok(asked);
    }
    let detail = "`for` can only be `write`; without it, reads are asked about".to_owned();
    Err(ApiError::BadRequest { code: "bad-query", detail })
}

fn told(trouble: Option<Trouble>) -> Value {
    match trouble {
        None => json!({"ready": true}),
        Some(trouble) => json!({"ready": false, "reason": trouble.as_str()}),
    }
}

/// Finds out how the disk is, for ever.
pub async fn watch(live: &Live) {
    let mut watch = interval(EVERY);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        watch.tick().await;
        look(&live.current()).await;
    }
}

/// Finds out how the disk is, once.
pub async fn look(app: &App) {
    let health = &app.running.health;
    let before = health.writes();
    let reads = app.storage.readable().await.err().map(|error| {
        tracing::error!(error = causes(&error), "the tree cannot be read");
        Trouble::Unreadable
    });
    let writes = writes(app).await;
    health.note(reads, writes);
    if let Some(trouble) = writes.filter(|_| before != writes && is_unwanted(writes)) {
        tracing::error!(reason = trouble.as_str(), "writes are not taken");
    }
    if writes.is_none() && is_unwanted(before) && before != Some(Trouble::Hanging) {
        tracing::info!("writes are taken again");
    }
}

async fn writes(app: &App) -> Option<Trouble> {
    if app.edge.read_only {
        return Some(Trouble::ToldSo);
    }
    if !app.policy.writable {
        return Some(Trouble::NoWriters);
    }
    if app.audit.unusable().is_some() {
        return Some(Trouble::NoState);
    }
    if app.audit.is_stopped() {
        return Some(Trouble::AuditStopped);
    }
    match app.storage.writable().await {
        Ok(()) => None,
        Err(StorageError::OutOfSpace) => Some(Trouble::DiskFull),
        Err(StorageError::ReadOnly) => Some(Trouble::DiskReadOnly),
        Err(_other) => Some(Trouble::Disk),
    }
}

/// Says whether nobody asked for it.
fn is_unwanted(trouble: Option<Trouble>) -> bool {
    !matches!(trouble, None | Some(Trouble::ToldSo | Trouble::NoWriters | Trouble::Stopping))
}
