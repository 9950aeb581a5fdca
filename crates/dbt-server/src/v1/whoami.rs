//! As whom the server knows whoever asks.

use dbt_core::timestamp;
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::app::App;
use crate::content::Body;
use crate::error::ApiError;
use crate::pipeline::{Asked, known};

pub(super) async fn show(app: &App, asked: &Asked) -> Result<Response<Body>, ApiError> {
    let caller = known(app, asked).await?;
    let groups: Vec<String> = caller.groups().iter().map(ToString::to_string).collect();
    let token = caller.token();
    let expires = token.and_then(|token| token.expires).map(timestamp::format);
    super::json(
        StatusCode::OK,
        &json!({
            "subject": caller.subject().map(ToString::to_string),
            "method": caller.method(),
            "groups": groups,
            "groupsLeftOut": caller.has_groups_left_out(),
            "roles": app.policy.rules.roles(&caller),
            "token": token.map(|token| &token.id),
            "expires": expires,
        }),
    )
}
