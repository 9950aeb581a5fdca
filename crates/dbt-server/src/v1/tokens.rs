//! The server's own tokens: making them, seeing which there are, and revoking them.

use std::sync::Arc;

use dbt_core::secret::Secret;
use hyper::header::{CONTENT_LENGTH, LOCATION};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::query::{self, Query};
use super::{json, object};
use crate::action::tokens::{Deed, Make, OfTokens, Own, Revoke, See, Whose};
use crate::app::App;
use crate::audit::{AuditError, Outcome};
use crate::authn::api_tokens;
use crate::authz::{Grant, Guarded as _};
use crate::content::{self, Body};
use crate::error::ApiError;
use crate::pipeline::{self, Asked, identify, permit};
use crate::request_id::RequestId;
use crate::state::{Added, Revoked, Revoking, State, Which};
use crate::tokens::mint::{Minter, Refusal, Wanted, subject_of_tokens};
use crate::tokens::{ApiToken, NewToken, told_revoked};
use crate::upload::BodyReader;
use crate::{respond, token_ends};

/// How many are listed, unless the request says otherwise.
const PAGE: u32 = 100;

/// The most that are listed at once.
const LONGEST_PAGE: u32 = 1000;

/// Admits to the tokens of everybody those who may manage them, and others to their own.
async fn admit<D: Deed>(
    app: &App,
    asked: &Asked,
    id: Option<&str>,
) -> Result<Grant<OfTokens<D>>, ApiError> {
    let own = OfTokens::<D>::new(Whose::Own, id);
    let caller = identify(app, asked, &own).await?;
    let all = OfTokens::<D>::new(Whose::Anybodys, id);
    if app.policy.would_permit(&caller, &all.wish(all.permission())) {
        return permit(app, asked, caller, all);
    }
    permit(app, asked, caller, own)
}

pub(super) async fn make(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    // First, as it may take its time: whoever asks must be somebody when the token is made, and for the
    // settings of then.
    let wanted = object(body).await;
    if app.is_superseded() {
        return Err(ApiError::Busy("the settings were read again meanwhile"));
    }
    let somewhere = admit::<Make>(app, asked, None).await?;
    let wanted: Wanted = wanted?;
    let now = app.clock.now();
    let id = RequestId::new(now).to_string();
    let names = app.users.names(&app.names, wanted.subject.as_deref())?;
    let decided = Minter {
        caller: somewhere.caller(),
        manages: somewhere.action().whose() == Whose::Anybodys,
        policy: &app.policy,
        names: &names,
        settings: app.token_settings,
        now,
    }
    .decide(id.clone(), &wanted);
    let decided = match decided {
        Ok(new) => Ok(new),
        Err(Refusal::Wrong(detail)) => return Err(bad_token(detail)),
        Err(Refusal::Beyond(detail)) => Err(ApiError::Forbidden { detail }),
    };
    if let Ok(new) = &decided {
        proves_somebody(app, asked, new).await?;
    }
    let action = OfTokens::<Make>::new(somewhere.action().whose(), Some(&id));
    let grant = permit(app, asked, somewhere.caller().clone(), action)?;

    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let made = match decided {
            Ok(new) => keep(&worker, new).await,
            Err(refused) => Err(refused),
        };
        let outcome = match &made {
            Ok((_text, new)) => Outcome::Noted { effect: "created", detail: new.told() },
            Err(error @ (ApiError::Forbidden { .. } | ApiError::Unauthorised { .. })) => {
                Outcome::refused(error)
            }
            Err(error) => Outcome::failed(error),
        };
        worker.audit.close(entry, outcome).await;
        made
    });
    let (text, new) = work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    // The one time that anybody sees it.
    let mut shown = new.token.shown(now);
    shown["token"] = Value::from(text.expose().as_str());
    let mut answer = json(StatusCode::CREATED, &shown)?;
    if let Ok(location) = format!("/-/api/v1/tokens/{id}").parse() {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

const fn bad_token(detail: String) -> ApiError {
    ApiError::BadRequest { code: "bad-token", detail }
}

/// Refuses a token that would prove nobody: a name that no file has, say.
async fn proves_somebody(app: &App, asked: &Asked, new: &NewToken) -> Result<(), ApiError> {
    let now = new.token.created;
    let proven = match api_tokens::judge(&new.token, app.token_settings.longest, now) {
        Ok(identity) => app.authn.bearer(identity, asked.client(), now).await,
        Err(bad) => Err(bad),
    };
    proven.map(drop).map_err(|_bad| bad_token(new.in_vain()))
}

/// Keeps a token that was decided, if there is room for it and the one it is made with still counts.
async fn keep(app: &App, new: NewToken) -> Result<(Secret<String>, NewToken), ApiError> {
    let (text, new) = new.with_text().map_err(|error| ApiError::Internal(error.to_string()))?;
    match app.tokens.add(new.row(&text), new.making.clone(), app.clock).await? {
        Added::Kept { ended: _ } => Ok((text, new)),
        Added::TooMany => {
            Err(ApiError::TooManyTokens { limit: new.making.each, subject: new.token.subject })
        }
        Added::Full => Err(ApiError::NoRoomForTokens),
        Added::Gone(ending) => Err(token_ends::ended(app, ending)),
    }
}

pub(super) async fn list(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let grant = admit::<See>(app, asked, None).await?;
    let query = Query::read(asked.parts.uri.query(), &["after", "limit"])?;
    let most = query.number("limit", PAGE, LONGEST_PAGE)?;
    let (own, state, now) = (whose(&grant), state(app)?, app.clock.now());
    let mut after = query.id("after")?.map(ToOwned::to_owned);
    // Until there is something to show, and named by that: nobody learns of others that they are there.
    let (tokens, next) = loop {
        let page = state.tokens(own.as_deref(), after.as_deref(), most)?;
        let rows = page.rows.into_iter().map(ApiToken::from);
        let tokens: Vec<ApiToken> = rows.filter(|token| is_for(&grant, token)).collect();
        let last = tokens.last().map(|token| token.id.clone());
        if last.is_some() || page.next.is_none() {
            break (tokens, page.next.and(last));
        }
        after = page.next;
    };
    let tokens: Vec<Value> = tokens.iter().map(|token| token.shown(now)).collect();
    json(StatusCode::OK, &json!({ "tokens": tokens, "next": next }))
}

pub(super) async fn show(app: &App, asked: &Asked, id: &str) -> Result<Response<Body>, ApiError> {
    let grant = admit::<See>(app, asked, Some(id)).await?;
    let token = find(app, &grant, id)?;
    let mut shown = token.shown(app.clock.now());
    shown["owner"] = json!(state(app)?.owner(id)?);
    json(StatusCode::OK, &shown)
}

/// Takes one over from whoever owns it, so that it counts although that one is suspended. Only an
/// administrator does: it may be good for more than others have.
pub(super) async fn own(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let own = OfTokens::<Own>::new(Whose::Anybodys, Some(id));
    let grant = pipeline::admit(app, asked, own).await?;
    if !app.policy.is_administrator(grant.caller()) {
        let detail = "only an administrator takes tokens over".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    let token = find(app, &grant, id)?;
    let owner = grant.caller().subject().map(ToString::to_string).unwrap_or_default();
    let (worker, origin, id) = (Arc::clone(app), asked.origin.clone(), id.to_owned());
    let told = format!("by `{}`: {}", owner.escape_debug(), token.told());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let came = match worker.users.own(id, owner, worker.clock).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(bad_token("the token was revoked, and stays so".to_owned())),
            Err(error) => Err(error.into()),
        };
        let outcome = match &came {
            Ok(()) => Outcome::Noted { effect: "taken over", detail: told },
            Err(error) => Outcome::failed(error),
        };
        worker.audit.close(entry, outcome).await;
        came
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))??;
    let answer = Response::builder().status(StatusCode::NO_CONTENT).header(CONTENT_LENGTH, 0);
    respond::finish(answer, content::empty())
}

/// Revokes one.
pub(super) async fn revoke(
    app: &Arc<App>,
    asked: &Asked,
    id: &str,
) -> Result<Response<Body>, ApiError> {
    let grant = admit::<Revoke>(app, asked, Some(id)).await?;
    let keep_made = Query::read(asked.parts.uri.query(), &["keepMade"])?.is("keepMade")?;
    if keep_made && grant.action().whose() != Whose::Anybodys {
        let detail = "`keepMade` takes the permission `token.manage` everywhere".to_owned();
        return Err(ApiError::Forbidden { detail });
    }
    let token = find(app, &grant, id)?;
    let (which, what) = (Which::One(token.id.clone()), token.told());
    end(app, asked, grant, which, keep_made, what).await?;
    let answer = Response::builder().status(StatusCode::NO_CONTENT).header(CONTENT_LENGTH, 0);
    respond::finish(answer, content::empty())
}

/// Revokes all of a subject, or all that somebody made.
pub(super) async fn revoke_all(app: &Arc<App>, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let own = OfTokens::<Revoke>::new(Whose::Own, None);
    let caller = identify(app, asked, &own).await?;
    let grant = permit(app, asked, caller, OfTokens::<Revoke>::new(Whose::Anybodys, None))?;
    let query = Query::read(asked.parts.uri.query(), &["subject", "createdBy", "keepMade"])?;
    let keep_made = query.is("keepMade")?;
    let (which, what) = match (query.text("subject"), query.text("createdBy")) {
        (Some(subject), None) => {
            (Which::Of(checked(app, subject)?), format!("all of `{}`", subject.escape_debug()))
        }
        (None, Some(subject)) => (
            Which::CreatedBy(checked(app, subject)?),
            format!("all that `{}` made", subject.escape_debug()),
        ),
        _ => return Err(query::bad("one of `subject` and `createdBy` must be there".to_owned())),
    };
    let count = end(app, asked, grant, which, keep_made, what).await?;
    json(StatusCode::OK, &json!({ "revoked": count }))
}

fn checked(app: &App, text: &str) -> Result<String, ApiError> {
    subject_of_tokens(&app.names, text).map_err(|refusal| query::bad(refusal.to_string()))
}

/// Ends tokens, recorded before and after; returns how many counted until now.
async fn end(
    app: &Arc<App>,
    asked: &Asked,
    grant: Grant<OfTokens<Revoke>>,
    which: Which,
    keep_made: bool,
    what: String,
) -> Result<usize, ApiError> {
    let with = grant.caller().token().map(|token| token.id.clone());
    let is_one = matches!(which, Which::One(_));
    let revoking = Revoking { which, keep_made, with };
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let (count, outcome) = match worker.tokens.revoke(revoking, worker.clock).await {
            Ok(Revoked::Done { named, made }) if named.is_empty() && made.is_empty() => {
                (Ok(0), Outcome::done("unchanged"))
            }
            Ok(Revoked::Done { named, made }) => {
                let listed = if is_one { &[] } else { named.as_slice() };
                let detail = told_revoked(&what, listed, &made, keep_made);
                (Ok(named.len() + made.len()), Outcome::Noted { effect: "revoked", detail })
            }
            Ok(Revoked::Unknown) => refused(ApiError::NotFound),
            Ok(Revoked::Gone(ending)) => refused(token_ends::ended(&worker, ending)),
            Ok(Revoked::Within) => {
                let detail = "`keepMade` is not for what the token that you show was made with";
                refused(ApiError::Forbidden { detail: detail.to_owned() })
            }
            Err(error) => {
                let error = ApiError::from(error);
                let outcome = Outcome::failed(&error);
                (Err(error), outcome)
            }
        };
        worker.audit.close(entry, outcome).await;
        count
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))?
}

fn refused(error: ApiError) -> (Result<usize, ApiError>, Outcome) {
    let outcome = Outcome::refused(&error);
    (Err(error), outcome)
}

/// Returns the subject whose tokens alone the caller may ask for, unless it is everybody's.
fn whose<D: Deed>(grant: &Grant<OfTokens<D>>) -> Option<String> {
    match grant.action().whose() {
        Whose::Anybodys => None,
        Whose::Own => Some(grant.caller().subject().map(ToString::to_string).unwrap_or_default()),
    }
}

/// Returns a token that the caller may ask for. Of others' nobody learns that they are there.
fn find<D: Deed>(app: &App, grant: &Grant<OfTokens<D>>, id: &str) -> Result<ApiToken, ApiError> {
    let token = state(app)?.token(id)?.map(ApiToken::from);
    token.filter(|token| is_for(grant, token)).ok_or(ApiError::NotFound)
}

/// Says whether the caller may ask for a token.
fn is_for<D: Deed>(grant: &Grant<OfTokens<D>>, token: &ApiToken) -> bool {
    whose(grant).is_none_or(|own| own == token.subject && grant.caller().reaches(token))
}

fn state(app: &App) -> Result<&State, ApiError> {
    app.tokens.state().map_err(|unusable| AuditError::Unusable(unusable.clone()).into())
}
