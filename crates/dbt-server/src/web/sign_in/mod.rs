//! Signing in at the pages: a browser goes to the identity provider and comes back with a code, for which
//! this server gets an ID token (OIDC Core, 3.1; authorisation code with PKCE).
//!
//! That token is then judged as any that a program shows, so that it opens no more and no less. Where a
//! browser is sent afterwards is the page of a tool or the first one, never an address from outside.

use std::sync::Arc;
use std::time::Duration;

use dbt_core::name::ToolName;
use dbt_core::secret::Secret;
use hyper::header::ORIGIN;
use hyper::{Response, StatusCode};
use serde_json::Value;

use self::attempt::Attempt;
pub use self::attempt::Attempts;
use self::provider::NoToken;
pub use self::provider::{Settings, SignIn};
use self::sessions::Session;
pub use self::sessions::Sessions;
use super::cookies::Cookie;
use super::query::part;
use super::visitor::as_header;
use super::{elsewhere, page_of, pages};
use crate::app::App;
use crate::authn::Scope;
use crate::authn::jwt::Jwt;
use crate::authn::keys::Algorithm;
use crate::authn::oidc::{self, claims};
use crate::content::Body;
use crate::error::ApiError;
use crate::operate::metrics::Counter;
use crate::pipeline::{self, Asked, Shown};

mod attempt;
mod provider;
pub(super) mod sessions;

/// The longest code that is taken to the provider.
const CODE_BYTES: usize = 4096;

const NOT_BEGUN: &str = "This sign-in was not begun in this browser, or it was too long ago.";
const AWAY: &str = "The identity provider does not answer at present.";
const REFUSED: &str = "The identity provider did not let you in.";
const NOT_ADMITTED: &str =
    "The identity provider knows you, and this server does not let you in. Ask its administrator.";
const NO_TOKEN: &str = "The identity provider did not give what it was asked for.";

/// Sends a browser to the provider.
pub(super) async fn begin(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let sign_in = configured(app)?;
    let tool: Option<ToolName> =
        part(asked.parts.uri.query(), "tool").and_then(|name| name.parse().ok());
    let now = app.clock.now();
    let no_randomness = || ApiError::Internal("there is no randomness".to_owned());
    let (attempt, cookie) =
        app.running.sign_ins.begin(tool.as_ref(), now).ok_or_else(no_randomness)?;
    let Some(place) = sign_in.place(&attempt, now).await else {
        return failed(app, StatusCode::SERVICE_UNAVAILABLE, AWAY, "away");
    };
    let cookie = Cookie::Attempt.set(&cookie, sign_in.settings().is_secure, attempt::TIME);
    elsewhere(StatusCode::SEE_OTHER, &place, [cookie])
}

/// Lets a browser in that comes back from the provider.
pub(super) async fn finish(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let sign_in = configured(app)?;
    let Settings { issuer, is_secure, client, .. } = sign_in.settings();
    let query = |name| part(asked.parts.uri.query(), name);
    let now = app.clock.now();
    let cookie = Cookie::Attempt.of(&asked.parts.headers, *is_secure).unwrap_or_default();
    let state = query("state").unwrap_or_default();
    let Some(attempt) = app.running.sign_ins.resume(cookie, &state, now) else {
        return failed(app, StatusCode::BAD_REQUEST, NOT_BEGUN, "wrong");
    };
    // One that says who it is must be the one that was asked (RFC 9207, 2.4).
    if query("iss").is_some_and(|said| said != *issuer) {
        return failed(app, StatusCode::BAD_REQUEST, NOT_BEGUN, "wrong");
    }
    let Some(code) = query("code").filter(|code| (1..=CODE_BYTES).contains(&code.len())) else {
        return failed(app, StatusCode::FORBIDDEN, REFUSED, "wrong");
    };
    // What browsers can make the server ask a provider is bounded.
    let asking = app.running.failed_sign_ins.turn(asked.client()).await;
    let token = match sign_in.unverified_token(&code, &attempt, now).await {
        Ok(token) => token,
        Err(why) => {
            if asking.was_in_vain().is_some() {
                return failed(app, StatusCode::TOO_MANY_REQUESTS, REFUSED, "too-many");
            }
            return match why {
                NoToken::Away => failed(app, StatusCode::SERVICE_UNAVAILABLE, AWAY, "away"),
                NoToken::Refused => failed(app, StatusCode::FORBIDDEN, REFUSED, "wrong"),
                NoToken::NoIdToken => failed(app, StatusCode::BAD_GATEWAY, NO_TOKEN, "wrong"),
            };
        }
    };
    asking.was_not_in_vain();
    let unusable = || failed(app, StatusCode::BAD_GATEWAY, NO_TOKEN, "malformed");
    let Some(headers) = as_header(&token) else { return unusable() };
    // Believed by the same rules as one that a program shows.
    let shown = Shown::by_session(&headers, client);
    let caller = match pipeline::proven_by(app, asked, shown).await {
        Ok(caller) if caller.is_proven_for(Scope::Reads) => caller,
        // Who only writes sees no pages.
        Ok(_) | Err(ApiError::Unauthorised { .. }) => {
            return pages::not_signed_in(app, StatusCode::FORBIDDEN, NOT_ADMITTED);
        }
        Err(error) => return Err(error),
    };
    let of_provider = caller.subject().filter(|subject| {
        subject.method == oidc::NAME && subject.issuer.as_deref() == Some(issuer)
    });
    let Some(subject) = of_provider.map(ToString::to_string) else { return unusable() };
    let Some(session) = session(client, token, subject, &attempt) else { return unusable() };
    let left = session.until.duration_since(now).unwrap_or(Duration::ZERO);
    // The browser is about to lose the way to the one it had, which somebody else may know.
    if let Some(before) = Cookie::Session.of(&asked.parts.headers, *is_secure) {
        app.running.sessions.end(before);
    }
    let Some(cookie) = app.running.sessions.begin(session, now) else { return unusable() };
    let cookies =
        [Cookie::Session.set(cookie.expose(), *is_secure, left), Cookie::Attempt.clear(*is_secure)];
    elsewhere(StatusCode::SEE_OTHER, &page_of(attempt.tool.as_ref()), cookies)
}

/// Ends the session of a browser, if one of our own pages asks for it: one at the address by which browsers
/// know this server, whatever a proxy calls it.
pub(super) fn end(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let Settings { origin, is_secure, .. } = configured(app)?.settings();
    let is_secure = *is_secure;
    if asked.parts.headers.get(ORIGIN).is_none_or(|said| said != origin.as_str()) {
        pipeline::refuse_foreign_pages(&asked.parts)?;
    }
    if let Some(cookie) = Cookie::Session.of(&asked.parts.headers, is_secure) {
        app.running.sessions.end(cookie);
    }
    elsewhere(StatusCode::SEE_OTHER, "/-/ui/signed-out", [Cookie::Session.clear(is_secure)])
}

/// Returns the session that a token for this client begins, which has been verified: if it was given for
/// this sign-in.
fn session(
    client: &str,
    token: Secret<String>,
    subject: String,
    attempt: &Attempt,
) -> Option<Session> {
    let parsed = Jwt::parse(token.expose(), &Algorithm::ALL).ok()?;
    let claims = parsed.claims();
    // OIDC Core, 3.1.3.7, points 5 and 11.
    let is_ours = claims.get("azp").is_none_or(|party| party == client)
        && claims.get("nonce").is_some_and(|nonce| nonce == attempt.nonce.as_str());
    let until = claims::time(claims, "exp").ok().flatten().filter(|_until| is_ours)?;
    let named = ["name", "preferred_username", "email", "sub"].into_iter();
    let mut named = named.filter_map(|claim| claims.get(claim).and_then(Value::as_str));
    let name = named.find(|name| !name.trim().is_empty())?.chars().take(100).collect();
    Some(Session { token, subject, name, until })
}

fn configured(app: &App) -> Result<&Arc<SignIn>, ApiError> {
    app.web.sign_in.as_ref().ok_or(ApiError::NotFound)
}

/// Tells a person that they are not let in, and counts it.
fn failed(
    app: &App,
    status: StatusCode,
    line: &str,
    reason: &'static str,
) -> Result<Response<Body>, ApiError> {
    app.running
        .metrics
        .count(Counter::SignIns, &["browser".into(), "refused".into(), reason.into()]);
    pages::not_signed_in(app, status, line)
}
