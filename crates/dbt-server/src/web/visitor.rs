//! Who looks at a page.

use dbt_core::secret::Secret;
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

use super::cookies::Cookie;
use super::sign_in::SignIn;
use super::sign_in::sessions::Session;
use crate::action::Read;
use crate::app::App;
use crate::authn::Caller;
use crate::error::ApiError;
use crate::pipeline::{self, Asked, Shown};

/// Somebody who looks at a page.
pub(super) struct Visitor {
    /// Who, as everything else that is authorised knows them.
    pub(super) caller: Caller,
    /// What people call them, if they have a session.
    pub(super) name: Option<String>,
}

/// Finds out who looks at a page: by what the browser shows itself, or else by their session, whose ID
/// token is then looked at as if it were shown.
pub(super) async fn visitor(app: &App, asked: &Asked, action: &Read) -> Result<Visitor, ApiError> {
    let headers = &asked.parts.headers;
    if !headers.contains_key(AUTHORIZATION)
        && let Some(sign_in) = &app.web.sign_in
        && let Some(session) = session(app, sign_in, headers)
        && let Some(token) = as_header(&session.token)
    {
        let shown = Shown::by_session(&token, &sign_in.settings().client);
        let caller = pipeline::by_proof(app, asked, shown, action).await?;
        let name = (!caller.is_anonymous()).then_some(session.name);
        return Ok(Visitor { caller, name });
    }
    let caller = pipeline::by_proof(app, asked, Shown::by(asked), action).await?;
    Ok(Visitor { caller, name: None })
}

/// Returns the session of a request, if it has one.
fn session(app: &App, sign_in: &SignIn, headers: &HeaderMap) -> Option<Session> {
    let cookie = Cookie::Session.of(headers, sign_in.settings().is_secure)?;
    app.running.sessions.find(cookie, app.clock.now())
}

/// Returns the headers of a request that shows a token, and nothing else.
pub(super) fn as_header(token: &Secret<String>) -> Option<HeaderMap> {
    let mut line = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    line.set_sensitive(true);
    Some(HeaderMap::from_iter([(AUTHORIZATION, line)]))
}
