//! People: who is known, adding and deleting them, the roles that they are given, and suspending and
//! reactivating them.
//!
//! Nobody suspends or deletes themselves or gives a role that they do not hold, and only an administrator
//! has a hand in what administrators may.

use std::sync::Arc;

use hyper::header::LOCATION;
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
use crate::authz::rules::ADMIN;
use crate::content::Body;
use crate::error::ApiError;
use crate::limits;
use crate::pipeline::{Asked, admit, permit};
use crate::state::{self, Addition, Changed, State, Suspension, User};
use crate::time;
use crate::tokens::mint::{plain, subject_of_tokens};
use crate::upload::BodyReader;
use crate::users::{Change, roles_to_be_given, to_be_added, told_change};

/// How many are listed, unless the request says otherwise.
const PAGE: u32 = 100;

/// The most that are listed at once.
const LONGEST_PAGE: u32 = 1000;

/// The longest name of somebody who is added.
const SUBJECT_BYTES: usize = 512;

/// The most bytes of what somebody says about why.
pub(crate) const REASON_BYTES: usize = 200;

/// Who is to be added.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    subject: String,
    #[serde(default)]
    roles: Vec<String>,
}

/// Which roles somebody is to have.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Roles {
    roles: Vec<String>,
}

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

/// Adds somebody, who need not have been there yet.
pub(super) async fn add(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let wanted = object::<Wanted>(body).await;
    let somewhere = admit(app, asked, ChangeUser::of(None)).await?;
    let Wanted { subject, roles } = wanted?;
    let subject = to_be_added(&app.names, app.authn.admits_own_tokens(), &subject).map_err(bad)?;
    let subject = subject.to_string();
    plain("a subject", &subject, SUBJECT_BYTES).map_err(|refusal| bad(refusal.to_string()))?;
    let roles = roles_to_be_given(&app.policy.rules, roles).map_err(bad)?;
    let id = state::user_id(&subject);
    let grant = permit(app, asked, somewhere.caller().clone(), ChangeUser::of(Some(&id)))?;
    only_held(app, grant.caller(), &roles)?;
    let by = named(grant.caller());
    change(app, asked, grant, &subject, Change::Add { by, roles }).await?;
    let user = state(app)?.user(&id)?.ok_or(ApiError::NotFound)?;
    let mut answer = json(StatusCode::CREATED, &shown(&user))?;
    if let Ok(location) = format!("/-/api/v1/users/{id}").parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

/// Gives somebody who was added these roles and no others.
pub(super) async fn give(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let wanted = object::<Roles>(body).await;
    let grant = admit(app, asked, ChangeUser::of(Some(&id_of(app, who)))).await?;
    let subject = known_subject(app, who)?;
    let roles = roles_to_be_given(&app.policy.rules, wanted?.roles).map_err(bad)?;
    let before = state(app)?.addition(&subject)?.map(|addition| addition.roles);
    let before = before.unwrap_or_default();
    let new: Vec<String> = roles.iter().filter(|role| !before.contains(role)).cloned().collect();
    only_held(app, grant.caller(), &new)?;
    change(app, asked, grant, &subject, Change::Give { before, roles }).await?;
    let user = state(app)?.user(&state::user_id(&subject))?.ok_or(ApiError::NotFound)?;
    json(StatusCode::OK, &shown(&user))
}

/// Deletes what is kept of somebody, and ends their tokens.
pub(super) async fn delete(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, ChangeUser::of(Some(&id_of(app, who)))).await?;
    let subject = known_subject(app, who)?;
    if named(grant.caller()) == subject {
        let detail = "nobody deletes themselves: ask another administrator".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    let revoked = change(app, asked, grant, &subject, Change::Delete).await?;
    let left = state(app)?.user(&state::user_id(&subject))?;
    let is_suspended = left.is_some_and(|user| user.suspended.is_some());
    json(
        StatusCode::OK,
        &json!({ "subject": subject, "revokedTokens": revoked, "suspended": is_suspended }),
    )
}

pub(super) async fn suspend(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    let said = if body.is_empty() { Ok(Said::default()) } else { object(body).await };
    let grant = admit(app, asked, ChangeUser::of(Some(&id_of(app, who)))).await?;
    let Said { reason } = said?;
    if !reason.is_empty() {
        plain("`reason`", &reason, REASON_BYTES).map_err(|refusal| bad(refusal.to_string()))?;
    }
    let subject = subject(app, who)?;
    if named(grant.caller()) == subject {
        let detail = "nobody suspends themselves: ask another administrator".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    let by = named(grant.caller());
    let revoked = change(app, asked, grant, &subject, Change::Suspend { by, reason }).await?;
    changed(app, &subject, &revoked)
}

pub(super) async fn reactivate(
    app: &Arc<App>,
    asked: &Asked,
    who: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = admit(app, asked, ChangeUser::of(Some(&id_of(app, who)))).await?;
    let subject = subject(app, who)?;
    let revoked = change(app, asked, grant, &subject, Change::Reactivate).await?;
    changed(app, &subject, &revoked)
}

/// Changes something of somebody, recorded before and after; returns which of their tokens it ended.
async fn change(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<ChangeUser>,
    subject: &str,
    change: Change,
) -> Result<Vec<String>, ApiError> {
    only_equals(app, grant.caller(), subject)?;
    let (worker, origin, who) = (Arc::clone(app), asked.origin.clone(), subject.to_owned());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let (effect, told) = (change.effect(), change.told());
        let changed = worker.users.change(who.clone(), change, worker.clock).await;
        let done = changed.map_err(ApiError::from).and_then(|changed| done(&who, changed));
        let outcome = match &done {
            Ok(Some(revoked)) => {
                Outcome::Noted { effect, detail: told_change(&who, &told, revoked) }
            }
            Ok(None) => Outcome::done("unchanged"),
            Err(error) => Outcome::failed(error),
        };
        worker.audit.close(entry, outcome).await;
        done
    });
    let done = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    Ok(done.unwrap_or_default())
}

/// Returns which tokens a change ended, or nothing where all was so before; or why there was none.
fn done(who: &str, changed: Changed) -> Result<Option<Vec<String>>, ApiError> {
    match changed {
        Changed::Done { revoked } => Ok(Some(revoked)),
        Changed::Unchanged => Ok(None),
        Changed::Unknown => Err(ApiError::NotFound),
        Changed::Managed => Err(conflict("user-managed", managed(who))),
        Changed::Known => {
            let detail = format!("`{}` was added before", who.escape_debug());
            Err(conflict("user-exists", detail))
        }
        Changed::Moved => {
            let detail = format!("the roles of `{}` were changed meanwhile", who.escape_debug());
            Err(conflict("user-changed", detail))
        }
        Changed::Full => {
            let detail = format!("{} people were added, and no more can be", limits::ADDED_USERS);
            Err(conflict("user-limit", detail))
        }
    }
}

/// Says who alone changes somebody whom the settings name.
pub(crate) fn managed(who: &str) -> String {
    format!("`auth.users` names `{}`, and the settings win: change it there", who.escape_debug())
}

const fn conflict(code: &'static str, detail: String) -> ApiError {
    ApiError::UserConflict { code, detail }
}

/// Answers with somebody as they are after a change.
fn changed(app: &App, subject: &str, revoked: &[String]) -> Result<Response<Body>, ApiError> {
    let user = state(app)?.user(&state::user_id(subject))?.ok_or(ApiError::NotFound)?;
    let mut answer = shown(&user);
    answer["revokedTokens"] = json!(revoked);
    if user.managed {
        let notice =
            "`auth.users` names them: what it says counts again when the settings are next read";
        answer["notice"] = json!(notice);
    }
    json(StatusCode::OK, &answer)
}

/// Refuses whoever is no administrator a hand in what administrators may, as far as the settings name these,
/// or they were given that role.
fn only_equals(app: &App, caller: &Caller, subject: &str) -> Result<(), ApiError> {
    if app.policy.is_administrator(caller) {
        return Ok(());
    }
    let given = state(app)?.addition(subject)?.map(|addition| addition.roles);
    let is_given = given.is_some_and(|roles| roles.iter().any(|role| role == ADMIN));
    let named = app.names.subject(subject).ok();
    let assumed = named.map(|it| Caller::assumed(it, Vec::new(), Scope::ALL.to_vec()));
    if is_given || assumed.is_some_and(|assumed| app.policy.is_administrator(&assumed)) {
        let detail = "only an administrator changes anything of an administrator".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    Ok(())
}

/// Refuses to give roles that whoever gives them does not hold, as with tokens. What they are given with
/// narrows no person, so that it must not be narrowed itself.
fn only_held(app: &App, caller: &Caller, roles: &[String]) -> Result<(), ApiError> {
    if roles.is_empty() || app.policy.is_administrator(caller) {
        return Ok(());
    }
    let held = app.policy.rules.roles(caller);
    let detail = match roles.iter().find(|role| !held.contains(&role.as_str())) {
        Some(role) => format!("you do not hold the role `{role}`"),
        None if !caller.ceilings().is_empty() => {
            "with a token that is narrowed nobody is given a role".to_owned()
        }
        None => return Ok(()),
    };
    Err(ApiError::Forbidden { detail })
}

/// Returns the name of somebody who is known.
fn named(caller: &Caller) -> String {
    caller.subject().map(ToString::to_string).unwrap_or_default()
}

/// Returns whom a path names, of whom something is kept.
fn known_subject(app: &App, who: &str) -> Result<String, ApiError> {
    let user = state(app)?.user(&id_of(app, who))?;
    user.map(|user| user.subject).ok_or(ApiError::NotFound)
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
    let User { subject, id, managed, created, seen, suspended, added } = user;
    let added = added.as_ref().map(|Addition { by, roles }| json!({ "by": by, "roles": roles }));
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
        "added": added,
    })
}

fn state(app: &App) -> Result<&State, ApiError> {
    app.tokens.state().map_err(|unusable| AuditError::Unusable(unusable.clone()).into())
}
