//! People: who is known, and suspending and reactivating them.
//!
//! Nobody suspends themselves, and only an administrator has a hand in what administrators may.

use std::sync::Arc;

use hyper::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::query::Query;
use super::{json, object};
use crate::action::users::{ChangeUser, SeeUsers};
use crate::app::App;
use crate::audit::{AuditError, Outcome};
use crate::authn::{Caller, HOST, Scope};
use crate::authz::Grant;
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, admit};
use crate::state::{self, Changed, State, Suspension, User};
use crate::time;
use crate::tokens::mint::{plain, subject_of_tokens};
use crate::upload::BodyReader;
use crate::users::{Change, told_change};

/// How many are listed, unless the request says otherwise.
const PAGE: u32 = 100;

/// The most that are listed at once.
const LONGEST_PAGE: u32 = 1000;

/// The most bytes of what somebody says about why.
pub(crate) const REASON_BYTES: usize = 200;

/// What may be said about why somebody is suspended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: String,
}

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let _grant = admit(app, asked, SeeUsers::of(None)).await?;
    let query = Query::read(asked.parts.uri.query(), &["after", "limit"])?;
    let most = query.number("limit", PAGE, LONGEST_PAGE)?;
    let page = state(app)?.users(query.id("after")?, most)?;
    let users: Vec<Value> = page.users.iter().map(shown).collect();
    json(StatusCode::OK, &json!({ "users": users, "next": page.next }))
}

pub(super) async fn show(app: &App, asked: &Asked, who: &str) -> Result<Response<Body>, ApiError> {
    let _grant = admit(app, asked, SeeUsers::of(Some(&id_of(app, who)))).await?;
    let user = state(app)?.user(&id_of(app, who))?.ok_or(ApiError::NotFound)?;
    json(StatusCode::OK, &shown(&user))
}

pub(super) async fn suspend(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let said = if body.is_empty() { Ok(Said::default()) } else { object(body).await };
    let grant = admit(app, asked, ChangeUser::of(&id_of(app, who))).await?;
    let Said { reason } = said?;
    if !reason.is_empty() {
        plain("`reason`", &reason, REASON_BYTES).map_err(|refusal| bad(refusal.to_string()))?;
    }
    let subject = subject(app, who)?;
    if grant.caller().subject().is_some_and(|own| own.to_string() == subject) {
        let detail = "nobody suspends themselves: ask another administrator".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    let by = grant.caller().subject().map(ToString::to_string).unwrap_or_default();
    change(app, asked, grant, subject, Change::Suspend { by, reason }).await
}

pub(super) async fn reactivate(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, ChangeUser::of(&id_of(app, who))).await?;
    let subject = subject(app, who)?;
    change(app, asked, grant, subject, Change::Reactivate).await
}

/// Changes something of somebody, recorded before and after.
async fn change(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<ChangeUser>,
    subject: String,
    change: Change,
) -> Result<Response<Body>, ApiError> {
    only_equals(app, grant.caller(), &subject)?;
    let (worker, origin, who) = (Arc::clone(app), asked.origin.clone(), subject.clone());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let (effect, reason) = match &change {
            Change::Suspend { reason, .. } => ("suspended", reason.clone()),
            Change::Reactivate => ("reactivated", String::new()),
        };
        let changed = worker.users.change(who.clone(), change, worker.clock).await;
        let changed = changed.map_err(ApiError::from);
        let outcome = match &changed {
            Ok(Changed::Done { revoked }) => {
                Outcome::Noted { effect, detail: told_change(&who, &reason, revoked) }
            }
            Ok(Changed::Unchanged) => Outcome::done("unchanged"),
            Err(error) => Outcome::failed(error),
        };
        worker.audit.close(entry, outcome).await;
        changed
    });
    let changed = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let user = state(app)?.user(&state::user_id(&subject))?.ok_or(ApiError::NotFound)?;
    let mut answer = shown(&user);
    let revoked = if let Changed::Done { revoked } = changed { revoked } else { Vec::new() };
    answer["revokedTokens"] = json!(revoked);
    if user.managed {
        let notice =
            "`auth.users` names them: what it says counts again when the settings are next read";
        answer["notice"] = json!(notice);
    }
    json(StatusCode::OK, &answer)
}

/// Refuses whoever is no administrator a hand in what administrators may, as far as the settings name these.
fn only_equals(app: &App, caller: &Caller, subject: &str) -> Result<(), ApiError> {
    if app.policy.is_administrator(caller) {
        return Ok(());
    }
    let named = app.names.subject(subject).ok();
    let assumed = named.map(|it| Caller::assumed(it, Vec::new(), Scope::ALL.to_vec()));
    if assumed.is_some_and(|assumed| app.policy.is_administrator(&assumed)) {
        let detail = "only an administrator suspends or reactivates an administrator".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    Ok(())
}

/// Returns the id of somebody who is named by it, or as rules name them.
fn id_of(app: &App, who: &str) -> String {
    if is_id(who) {
        return who.to_owned();
    }
    let subject = subject_of_tokens(&app.names, who);
    state::user_id(&subject.unwrap_or_else(|_nobody| who.to_owned()))
}

/// Returns whom a path names. Also somebody who never came: they must not come first.
fn subject(app: &App, who: &str) -> Result<String, ApiError> {
    if is_id(who) {
        let user = state(app)?.user(who)?;
        return user.map(|user| user.subject).ok_or(ApiError::NotFound);
    }
    let subject = subject_of_tokens(&app.names, who).map_err(|refusal| bad(refusal.to_string()))?;
    if subject.split_once(':').is_some_and(|(word, _number)| word == HOST) {
        return Err(bad("whoever is on the server's own machine cannot be suspended".to_owned()));
    }
    Ok(subject)
}

fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

const fn bad(detail: String) -> ApiError {
    ApiError::BadRequest { code: "bad-user", detail }
}

/// Returns what may be shown of somebody.
pub(crate) fn shown(user: &User) -> Value {
    let User { subject, id, managed, created, seen, suspended } = user;
    let suspended = suspended.as_ref().map(|suspension| {
        let Suspension { subject: _, since, by, reason } = suspension;
        json!({ "since": time::rfc_3339(*since), "by": by, "reason": reason })
    });
    json!({
        "id": id,
        "subject": subject,
        "managed": managed,
        "created": time::rfc_3339(*created),
        "lastSeen": seen.map(time::rfc_3339),
        "suspended": suspended,
    })
}

fn state(app: &App) -> Result<&State, ApiError> {
    app.tokens.state().map_err(|unusable| AuditError::Unusable(unusable.clone()).into())
}
