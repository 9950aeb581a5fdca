//! Giving tokens back to the provider that gave them (RFC 7009).

use super::answer;
use super::error::{OidcError, What};
use super::form::{FORM, Form};
use super::{Channel, Client, Provider, Tokens};

/// Gives back what gets the next token, and with it the session; or the token itself, where that is
/// all there is. Says whether the provider takes anything back.
///
/// What a server was shown counts there until it ends: servers do not ask providers about each.
pub fn revoke(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    tokens: &Tokens,
) -> Result<bool, OidcError> {
    let Some(url) = provider.revocation_endpoint()? else { return Ok(false) };
    let (kind, token) = match &tokens.refresh_token {
        Some(refresh_token) => ("refresh_token", refresh_token),
        None => ("access_token", &tokens.token),
    };
    let place = provider.secret_place();
    let form = Form::default().with_secret("token", token).with("token_type_hint", kind);
    let form = form.by(client, place);
    let reply = channel.post(&url, (FORM, form.encoded()), place.header(client), Vec::new())?;
    answer::accepted(reply, &url, What::Revocation, &form)?;
    Ok(true)
}
