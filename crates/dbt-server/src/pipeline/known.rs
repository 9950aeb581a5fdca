//! Who sends a request, by what it shows; and requests that are about nobody else.

use hyper::http::request::Parts;

use super::{Asked, Door, bad_credential, count_sign_in};
use crate::action::Read;
use crate::app::App;
use crate::authn::{BadCredential, Caller, Presented, Scope};
use crate::authz::Reason;
use crate::error::ApiError;

/// Finds out who sends a request that is about nobody else. What is open to everybody does not
/// matter; strangers are refused.
pub(crate) async fn known(app: &App, asked: &Asked) -> Result<Caller, ApiError> {
    if let Door::Host(user) = asked.door {
        return Ok(asked.from(Caller::on_the_host(user)));
    }
    let caller = match proven(app, asked, Scope::Reads).await {
        Ok(caller) => asked.from(caller),
        Err(error) => return Err(bad_credential(app, asked, &Read::root(), &error)),
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

/// Looks at what a request shows to prove who sends it.
pub(super) async fn proven(
    app: &App,
    asked: &Asked,
    scope: Scope,
) -> Result<Caller, BadCredential> {
    let Parts { headers, method, uri, .. } = &asked.parts;
    let presented = Presented { headers, method, uri, peer: asked.client, scope };
    let identified = app.authn.identify(&presented).await;
    count_sign_in(app, headers, &identified);
    identified
}
