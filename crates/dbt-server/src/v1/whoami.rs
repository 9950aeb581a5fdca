//! As whom the server knows whoever asks.

use dbt_core::timestamp;
use hyper::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::authn::jwt::Jwt;
use crate::authn::keys::Algorithm;
use crate::authn::oidc::{self, claims};
use crate::authn::{Caller, Credential};
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, known};

pub(super) async fn show(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let caller = known(app, asked).await?;
    let groups: Vec<String> = caller.groups().iter().map(ToString::to_string).collect();
    let token = caller.token();
    let claims = of_provider(asked, &caller).unwrap_or_default();
    let text = |claim| claims.get(claim).and_then(Value::as_str);
    let end = claims::time(&claims, "exp").ok().flatten();
    let expires = token.and_then(|token| token.expires).or(end).map(timestamp::format);
    // An address that nobody has verified could be anybody's.
    let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
    super::json(
        StatusCode::OK,
        &json!({
            "subject": caller.subject().map(ToString::to_string),
            "method": caller.method(),
            "groups": groups,
            "groupsLeftOut": caller.has_groups_left_out(),
            "roles": app.policy.rules.roles(&caller),
            "name": text("name").or_else(|| text("preferred_username")),
            "email": text("email").filter(|_email| is_verified),
            "token": token.map(|token| &token.id),
            "expires": expires,
        }),
    )
}

/// Returns what an identity provider's token says, where the caller is known by one: then it has just
/// been verified.
fn of_provider(asked: &Asked, caller: &Caller) -> Option<Map<String, Value>> {
    if caller.method() != Some(oidc::NAME) {
        return None;
    }
    let credentials = Credential::all_of(&asked.parts.headers).ok()?;
    let token = credentials.iter().find_map(Credential::token)?;
    Some(Jwt::parse(token.expose(), &Algorithm::ALL).ok()?.claims().clone())
}
