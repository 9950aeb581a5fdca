//! Who sends a request, by what it shows; and requests that are about nobody else.

use hyper::HeaderMap;
use hyper::http::request::Parts;

use super::{Asked, Door, bad_credential, permit, scope};
use crate::action::{Action, Read};
use crate::app::App;
use crate::authn::{BadCredential, Caller, Credential, Presented, Scope, Why, oidc};
use crate::authz::{Denied, Grant, Guarded, Reason};
use crate::error::ApiError;
use crate::operate::metrics::Counter;
use crate::users::Unadmitted;

/// What shows who sends a request.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'a> {
    headers: &'a HeaderMap,
    client: Option<&'a str>,
}

impl<'a> Shown<'a> {
    /// Its own headers.
    pub(crate) const fn by(asked: &'a Asked) -> Self {
        Self { headers: &asked.parts.headers, client: None }
    }

    /// A token that its browser's session keeps, as headers; it has to be for this client of its
    /// provider, and for this server alone it is not.
    pub(crate) const fn by_session(headers: &'a HeaderMap, client: &'a str) -> Self {
        Self { headers, client: Some(client) }
    }
}

/// Finds out who sends a request that is about nobody else. What is open to everybody does not
/// matter; strangers are refused.
pub(crate) async fn known(app: &App, asked: &Asked) -> Result<Caller, ApiError> {
    if let Door::Host(user) = asked.door {
        return Ok(asked.from(Caller::on_the_host(user)));
    }
    let caller = match identify(app, asked, Shown::by(asked), Scope::Reads).await {
        Ok(caller) => asked.from(caller),
        Err(unknown) => return Err(unknown.answer(app, asked, &Read::root())),
    };
    if !caller.is_anonymous() {
        return Ok(caller);
    }
    // Where everybody may read, only those who write have ways to prove who they are.
    let mut ways = Scope::ALL.into_iter().map(|scope| app.authn.challenges(scope));
    let challenges = ways.find(|challenges| !challenges.is_empty()).unwrap_or_default();
    let detail = Reason::NotSignedIn.to_string();
    Err(ApiError::Unauthorised { challenges, offered: false, detail })
}

/// Why a request that shows who it is from is from nobody to whom something could be permitted.
pub(crate) enum Unknown {
    /// What it shows proves nothing.
    Bad(BadCredential),
    /// It proves who they are, and they are suspended.
    Suspended(Box<Caller>, String),
    /// Whether they are could not be found out.
    Away(ApiError),
}

impl Unknown {
    /// Answers it, and records it.
    pub(crate) fn answer<A: Action>(self, app: &App, asked: &Asked, action: &A) -> ApiError {
        let (caller, told) = match self {
            Self::Bad(bad) => return bad_credential(app, asked, action, &bad),
            Self::Away(error) => return error,
            Self::Suspended(caller, told) => (asked.from(*caller), told),
        };
        let roles = app.policy.rules.roles(&caller).into_iter().map(ToOwned::to_owned).collect();
        let (path, reason) = (action.path().to_string(), Reason::Suspended(told));
        let denied = Denied { caller, roles, kind: A::KIND, path, reason };
        app.audit.refused(&asked.origin, &denied);
        refusal(app, &denied)
    }
}

/// Lets somebody who is known go on, with the roles that the server keeps of them, unless they are
/// suspended. Whoever makes a caller of what a request shows asks this.
pub(crate) fn unsuspended(app: &App, caller: Caller, scope: Scope) -> Result<Caller, Unknown> {
    let roles = app.users.judge(&caller, scope).and_then(|()| app.users.roles(&caller, scope));
    match roles {
        Ok(roles) => Ok(caller.given(roles)),
        Err(Unadmitted::Suspended(told)) => Err(Unknown::Suspended(Box::new(caller), told)),
        Err(Unadmitted::Away(error)) => Err(Unknown::Away(error.into())),
    }
}

/// Identifies the caller by what the request shows, also where everybody may do the same, and
/// authorises the action: for answers that show more to some than to others.
pub(crate) async fn admit_by_proof<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    action: A,
) -> Result<Grant<A>, ApiError> {
    let caller = by_proof(app, asked, Shown::by(asked), &action).await?;
    permit(app, asked, caller, action)
}

/// Identifies the caller by what is shown, also where everybody may do the same.
pub(crate) async fn by_proof<A: Action + Guarded>(
    app: &App,
    asked: &Asked,
    shown: Shown<'_>,
    action: &A,
) -> Result<Caller, ApiError> {
    if let Door::Host(user) = asked.door {
        return Ok(asked.from(Caller::on_the_host(user)));
    }
    match identify(app, asked, shown, scope(A::KIND)).await {
        Ok(caller) => Ok(asked.from(caller)),
        // What is open to everybody is open to those with a stale credential too.
        Err(_error) if app.policy.is_open(action) => Ok(Caller::anonymous()),
        Err(unknown) => Err(unknown.answer(app, asked, action)),
    }
}

/// Returns whoever reads, by what is shown; strangers too.
pub(crate) async fn proven_by(
    app: &App,
    asked: &Asked,
    shown: Shown<'_>,
) -> Result<Caller, ApiError> {
    match identify(app, asked, shown, Scope::Reads).await {
        Ok(caller) => Ok(asked.from(caller)),
        Err(unknown) => Err(unknown.answer(app, asked, &Read::root())),
    }
}

/// Looks at what is shown to prove who sends a request.
pub(super) async fn identify(
    app: &App,
    asked: &Asked,
    shown: Shown<'_>,
    scope: Scope,
) -> Result<Caller, Unknown> {
    let Parts { method, uri, .. } = &asked.parts;
    let Shown { headers, client } = shown;
    let presented = Presented { headers, method, uri, peer: asked.client, scope, client };
    let identified = app.authn.identify(&presented).await.map_err(Unknown::Bad);
    let known = identified.and_then(|caller| unsuspended(app, caller, scope));
    count_sign_in(app, headers, &known);
    if let Ok(caller) = &known {
        app.users.note_seen(caller, app.clock.now());
    }
    known
}

fn count_sign_in(app: &App, headers: &HeaderMap, known: &Result<Caller, Unknown>) {
    let (method, result, reason) = match known {
        Ok(caller) => match caller.method() {
            Some(method) => (method, "accepted", ""),
            None => return,
        },
        Err(Unknown::Bad(bad)) => (Credential::scheme(headers), "refused", bad.why().as_str()),
        Err(Unknown::Suspended(..)) => (Credential::scheme(headers), "refused", "suspended"),
        Err(Unknown::Away(_)) => (Credential::scheme(headers), "refused", Why::Away.as_str()),
    };
    let labels = [method.into(), result.into(), reason.into()];
    app.running.metrics.count(Counter::SignIns, &labels);
}

/// Answers whoever may not do what they asked for.
pub(super) fn refusal(app: &App, denied: &Denied) -> ApiError {
    let detail = told(denied);
    match denied.reason {
        Reason::NotSignedIn => ApiError::Unauthorised {
            challenges: app.authn.challenges(scope(denied.kind)),
            offered: false,
            detail,
        },
        Reason::Unconditional => ApiError::PreconditionRequired { detail },
        Reason::Suspended(_) | Reason::NotAllowed(_) | Reason::Following | Reason::Protected(_) => {
            ApiError::Forbidden { detail }
        }
    }
}

/// Says why somebody was refused, and what they may not see themselves.
fn told(denied: &Denied) -> String {
    let lacks_groups = matches!(denied.reason, Reason::NotAllowed(_) | Reason::Unconditional)
        && denied.caller.has_groups_left_out();
    if lacks_groups {
        return format!("{}; {}", denied.reason, oidc::claims::OVERAGE);
    }
    denied.reason.to_string()
}
