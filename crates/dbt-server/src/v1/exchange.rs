//! Trusted publishing: a job shows the identity that its CI system gave it, and gets a token with the
//! rights that rules give such jobs.
//!
//! Whoever is refused learns why in words that their own identity says; of the rules nothing but the name
//! of one that is about their own repositories.

use std::sync::Arc;

use dbt_core::secret::Secret;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::{json, object};
use crate::action::exchange::Exchange;
use crate::action::{Action as _, Read};
use crate::app::App;
use crate::audit::Outcome;
use crate::authn::federation::{Admitted, Federation, Refusal, WORD};
use crate::authn::{BadCredential, Caller, Excess, Identity, Proof, Scope, api_tokens};
use crate::authz::{Grant, REALM};
use crate::content::Body;
use crate::error::ApiError;
use crate::limits;
use crate::operate::metrics::Counter;
use crate::pipeline::{Asked, admit, permit, unsuspended};
use crate::request_id::RequestId;
use crate::state::Ending;
use crate::time;
use crate::tokens::{ApiToken, Came, Exchanging};
use crate::upload::BodyReader;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest word that a job may choose for a try.
const KEY_BYTES: usize = 255;

const USED: &str = "the identity was exchanged before, and counts once for writing; get another from the CI \
    system. Whoever may lose an answer sends an `Idempotency-Key`, and the same one when it asks again";

const ENDED: &str = "what the identity was exchanged for was revoked, so that it counts no more";

const RESTORED: &str = "what the identity was exchanged for ended when the server was put back from a backup; \
    get another from the CI system";

const BEFORE_MEMORY: &str = "the identity may have been exchanged before the server began to remember; get \
    another from the CI system";

/// What a job shows, and for what.
struct Offered {
    token: Secret<String>,
    scope: Scope,
}

/// Says for whom identities must be: for people, who write it into their pipelines. Programs take it from
/// their own settings.
pub(super) async fn audience(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let federation = federation(app, asked).await?;
    json(StatusCode::OK, &json!({ "audience": federation.audience() }))
}

/// Exchanges an identity.
pub(super) async fn exchange(
    app: &Arc<App>,
    asked: &Asked,
    body: BodyReader,
) -> Result<Response<Body>, ApiError> {
    // First, as it may take its time: what counts are the rules of when it is judged.
    let offered = object::<Value>(body).await;
    if app.is_superseded() {
        return Err(ApiError::Busy("the settings were read again meanwhile"));
    }
    let federation = federation(app, asked).await?;
    let offered = offered.and_then(offered_in)?;
    let key = idempotency_key(&asked.parts.headers)?;
    let admitted = judge(app, asked, federation, &offered).await?;
    not_too_often(app, asked, &admitted)?;
    let now = app.clock.now();
    let exchanging =
        Exchanging { admitted: &admitted, proof: &offered.token, key: key.as_deref(), now };
    let came = match app.tokens.exchanged(&exchanging)? {
        Some(Came::Token(text, token)) => {
            // From where the token is fetched again, the record has to say: it may be a thief.
            let grant = permitted(app, asked, &token, now)?;
            let outcome = Outcome::Noted { effect: "exchanged again", detail: token.told() };
            app.audit.noted(&asked.origin, &grant, outcome);
            Came::Token(text, token)
        }
        Some(came) => came,
        None => keep(app, asked, &admitted, &offered, key).await?,
    };
    match came {
        Came::Token(text, token) => {
            count(app, "accepted", "");
            answer(&text, &token, now)
        }
        Came::Used => Err(used(app, asked, &admitted, USED)),
        Came::Ended(ending) => Err(used(app, asked, &admitted, ended(ending))),
        Came::BeforeMemory => Err(used(app, asked, &admitted, BEFORE_MEMORY)),
        came @ (Came::TooMany | Came::Full) => {
            count(app, "refused", "too-many");
            Err(no_room(&came, &admitted))
        }
    }
}

/// Returns what says which jobs get tokens. Where none does, there is nothing to ask.
async fn federation<'a>(app: &'a App, asked: &Asked) -> Result<&'a Federation, ApiError> {
    if let Some(federation) = &app.federation {
        return Ok(federation);
    }
    // Strangers must not learn from a 404 what they may not list.
    let _grant = admit(app, asked, Read::root()).await?;
    Err(ApiError::Unknown)
}

/// Reads what is offered. Nothing of it is repeated in an error: it may be the identity.
fn offered_in(body: Value) -> Result<Offered, ApiError> {
    let bad = || {
        let detail = "the body must be `{\"token\": \"IDENTITY\"}`, with `\"scope\": \"read\"` or `\"write\"` \
                      if that is not for writing";
        ApiError::BadRequest { code: "bad-body", detail: detail.to_owned() }
    };
    let Value::Object(mut members) = body else { return Err(bad()) };
    let (token, scope) = (members.remove("token"), members.remove("scope"));
    let scope = match scope.as_ref().map(Value::as_str) {
        None | Some(Some("write")) => Scope::Writes,
        Some(Some("read")) => Scope::Reads,
        Some(_other) => return Err(bad()),
    };
    match token {
        Some(Value::String(token)) if members.is_empty() && !token.is_empty() => {
            Ok(Offered { token: Secret::new(token), scope })
        }
        _ => Err(bad()),
    }
}

/// Returns what the job calls this try.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if values.next().is_some() || text.is_empty() || text.len() > KEY_BYTES {
        let detail =
            format!("`Idempotency-Key` must be there once, with 1 to {KEY_BYTES} characters");
        return Err(ApiError::BadRequest { code: "bad-header", detail });
    }
    Ok(Some(text.to_owned()))
}

/// Finds out which job it is and what it gets, or answers why it gets nothing.
async fn judge(
    app: &App,
    asked: &Asked,
    federation: &Federation,
    offered: &Offered,
) -> Result<Admitted, ApiError> {
    let verifying = app.running.failed_exchanges.turn(asked.client()).await;
    let refusal = match federation.admit(&offered.token, offered.scope, app.clock.now()).await {
        Ok(admitted) => {
            verifying.was_not_in_vain();
            return Ok(admitted);
        }
        Err(refusal) => refusal,
    };
    // What costs nothing, or is nobody's fault, stops nobody who shares the address.
    if !refusal.was_verified() {
        verifying.was_not_in_vain();
    } else if let Some(after) = verifying.was_in_vain() {
        count(app, "refused", "too-many");
        let detail = "too many identities from this address proved nothing; try again later";
        let detail = detail.to_owned();
        let answer = ApiError::TooManyCredentials { of: Excess::Guesses, detail, after };
        record(app, asked, &answer, "one of too many from this address that proved nothing");
        return Err(answer);
    }
    let (answer, noted, why) = match refusal {
        Refusal::Unproven { bad, .. } if bad.is_away() => {
            let busy = ApiError::Busy("the identity cannot be checked now");
            (busy, bad.noted().to_owned(), bad.why().as_str())
        }
        Refusal::Unproven { told, bad, .. } => {
            let challenges = vec![format!("Bearer realm=\"{REALM}\"")];
            let answer = ApiError::Unauthorised { challenges, offered: true, detail: told };
            (answer, bad.noted().to_owned(), bad.why().as_str())
        }
        Refusal::NoRule { told, noted } => (ApiError::Forbidden { detail: told }, noted, "no-rule"),
    };
    count(app, "refused", why);
    record(app, asked, &answer, &noted);
    Err(answer)
}

/// Holds up jobs of a subject that exchange identities without end: whatever comes of it, it is recorded.
fn not_too_often(app: &App, asked: &Asked, admitted: &Admitted) -> Result<(), ApiError> {
    let subject = admitted.identity.subject.to_string();
    let taken = app.running.exchanges.take(subject.clone(), admitted.scope);
    let Err(after) = taken else { return Ok(()) };
    count(app, "refused", "too-many");
    let detail = "jobs of this subject exchange identities too often; try again later".to_owned();
    let answer = ApiError::TooManyCredentials { of: Excess::Exchanges, detail, after };
    record(app, asked, &answer, &format!("of `{}`", subject.escape_debug()));
    Err(answer)
}

/// Keeps a token for a job, recorded before and after.
async fn keep(
    app: &Arc<App>,
    asked: &Asked,
    admitted: &Admitted,
    offered: &Offered,
    key: Option<String>,
) -> Result<Came, ApiError> {
    let now = app.clock.now();
    let exchanging = Exchanging { admitted, proof: &offered.token, key: key.as_deref(), now };
    // Before two records are written that no limit holds up: a job may be given identities without end,
    // and what is kept for the record of writes is not theirs.
    if let Some(full) = app.tokens.is_full_for(&exchanging)? {
        let answer = no_room(&full, admitted);
        record(app, asked, &answer, &format!("of `{}`", admitted.identity.subject));
        return Ok(full);
    }
    let token = exchanging.token(RequestId::new(now).to_string());
    let grant = permitted(app, asked, &token, now)?;
    let (worker, origin) = (Arc::clone(app), asked.origin.clone());
    let (admitted, proof) = (admitted.clone(), Secret::new(offered.token.expose().clone()));
    // Whoever asked may leave; what was begun is ended and recorded.
    let work = tokio::spawn(async move {
        let entry = worker.audit.open(&origin, &grant).await?;
        let exchanging =
            Exchanging { admitted: &admitted, proof: &proof, key: key.as_deref(), now };
        let came = worker.tokens.exchange(&exchanging, &token).await.map_err(ApiError::from);
        let refused = |detail| Outcome::refused(&ApiError::IdentityUsed { detail });
        let outcome = match &came {
            Ok(Came::Token(_text, kept)) if kept.id == token.id => {
                Outcome::Noted { effect: "exchanged", detail: kept.told() }
            }
            Ok(Came::Token(_text, _earlier)) => Outcome::done("unchanged"),
            Ok(Came::Used) => refused(USED),
            Ok(Came::Ended(ending)) => refused(ended(*ending)),
            Ok(Came::BeforeMemory) => refused(BEFORE_MEMORY),
            Ok(came @ (Came::TooMany | Came::Full)) => Outcome::failed(&no_room(came, &admitted)),
            Err(error) => Outcome::failed(error),
        };
        worker.audit.close(entry, outcome).await;
        came
    });
    work.await.map_err(|error| ApiError::Internal(error.to_string()))?
}

/// Permits the exchange to whoever would show the token.
fn permitted(
    app: &App,
    asked: &Asked,
    token: &ApiToken,
    now: std::time::SystemTime,
) -> Result<Grant<Exchange>, ApiError> {
    let identity: Result<Identity, BadCredential> = api_tokens::judge(token, None, now);
    let identity = identity.map_err(|bad| ApiError::Internal(bad.noted().to_owned()))?;
    let identity = app.tokens.under_rules(identity);
    // Only a change of the rules in this moment takes them away.
    let identity =
        identity.map_err(|_changed| ApiError::Busy("the settings were read again meanwhile"))?;
    let proofs: Vec<Proof> = identity.token.iter().flat_map(|token| token.proven.clone()).collect();
    let caller = unsuspended(app, Caller::of(identity, proofs), Scope::Writes);
    let caller = caller.map_err(|unknown| unknown.answer(app, asked, &Exchange::new()))?;
    permit(app, asked, asked.from(caller), Exchange::new())
}

const fn ended(ending: Ending) -> &'static str {
    match ending {
        Ending::Restored => RESTORED,
        Ending::Revoked | Ending::Spent => ENDED,
    }
}

fn no_room(came: &Came, admitted: &Admitted) -> ApiError {
    if matches!(came, Came::Full) {
        return ApiError::NoRoomForTokens;
    }
    let subject = admitted.identity.subject.to_string();
    ApiError::TooManyTokens { limit: limits::TOKENS_OF_JOB, subject }
}

fn used(app: &App, asked: &Asked, admitted: &Admitted, detail: &'static str) -> ApiError {
    let answer = ApiError::IdentityUsed { detail };
    let subject = admitted.identity.subject.to_string();
    count(app, "refused", "used");
    record(app, asked, &answer, &format!("of `{}`: {detail}", subject.escape_debug()));
    answer
}

/// Records an exchange that was refused; when there are many, they are counted.
fn record(app: &App, asked: &Asked, answer: &ApiError, noted: &str) {
    let action = Exchange::new();
    let path = action.path().to_string();
    app.audit.failed_sign_in(&asked.origin, Exchange::KIND, path, answer, noted);
}

fn count(app: &App, result: &'static str, reason: &'static str) {
    app.running.metrics.count(Counter::SignIns, &[WORD.into(), result.into(), reason.into()]);
}

fn answer(
    text: &Secret<String>,
    token: &ApiToken,
    now: std::time::SystemTime,
) -> Result<Response<Body>, ApiError> {
    let expires = token.expires.unwrap_or(now);
    let about = token.about.as_ref();
    let writes = about.is_some_and(|it| it.proven.iter().any(|proof| proof.scope == Scope::Writes));
    let by = about.and_then(|about| about.exchanged.as_ref());
    let rules: Vec<&str> =
        by.iter().flat_map(|by| by.rules.iter().map(|it| it.name.as_str())).collect();
    let shown = json!({
        "token": text.expose(),
        "id": token.id,
        "subject": token.subject,
        "scope": if writes { "write" } else { "read" },
        "rules": rules,
        "expires": time::rfc_3339(expires),
        "expires_in": expires.duration_since(now).unwrap_or_default().as_secs(),
    });
    json(StatusCode::OK, &shown)
}
