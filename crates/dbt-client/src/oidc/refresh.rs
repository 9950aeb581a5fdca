//! The next token, without anybody noticing (RFC 6749, 6).

use dbt_core::secret::Secret;

use super::answer;
use super::error::{OidcError, What};
use super::form::Form;
use super::{Channel, Client, Provider, Tokens, UnverifiedClaims, id_token};
use crate::token_cache::Renewal;

/// Renews what a cache keeps, or returns nothing where there is nothing to renew it with, the
/// provider has ended the session, or gives nothing in its place that the server could be shown:
/// then it is forgotten, and somebody has to sign in anew.
///
/// Whoever calls this within [`get_or_obtain`](crate::token_cache::TokenCache::get_or_obtain) has
/// what comes back kept before it is used: where each refresh token counts once, losing the next
/// one would end the session.
pub fn within(
    renewal: &mut Renewal<'_>,
    channel: &Channel,
    provider: impl FnOnce() -> Result<Provider, OidcError>,
    client: &Client,
) -> Result<Option<Tokens>, OidcError> {
    let Some(before) = renewal.before().filter(|before| before.refresh_token.is_some()) else {
        return Ok(None);
    };
    match renewed(channel, &provider()?, client, before) {
        Ok(Some(tokens)) => Ok(Some(tokens)),
        Ok(None) => {
            renewal.forget();
            Ok(None)
        }
        Err(error) if error.ends_the_session() => {
            renewal.forget();
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Renews tokens; nothing where they have nothing to be renewed with, or where what comes is for
/// somebody else than the server.
pub fn renewed(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    before: &Tokens,
) -> Result<Option<Tokens>, OidcError> {
    let Some(refresh_token) = &before.refresh_token else { return Ok(None) };
    let url = provider.token_endpoint()?;
    let form = Form::default()
        .with("grant_type", "refresh_token")
        .with_secret("refresh_token", refresh_token);
    let who = (client, provider.secret_place());
    let answer = answer::ask(channel, &url, form, who, What::Renewal)?;
    if let Some(token) = &answer.id_token {
        id_token::check(token, provider.issuer(), client, None)?;
        check_subject(before, token, provider)?;
    } else if !has_the_audience_of(&before.token, &answer.access_token) {
        return Ok(None);
    }
    let tokens = answer.into_tokens(channel);
    // Providers that do not replace it let the old one count on.
    let next = tokens.refresh_token.clone().unwrap_or_else(|| refresh_token.clone());
    Ok(Some(tokens.renewed_by(Some(next))))
}

/// Says whether a server that was shown one token can be shown another.
///
/// Providers need not give an ID token again (OIDC Core, 12.2). The access token that is left is for
/// them, or for who knows whom, and no server that took the ID token takes it.
fn has_the_audience_of(before: &Secret<String>, after: &Secret<String>) -> bool {
    let Some(before) = UnverifiedClaims::of(before) else { return true };
    let expected = before.texts("aud");
    let after = UnverifiedClaims::of(after);
    let found = after.as_ref().map(|claims| claims.texts("aud")).unwrap_or_default();
    expected.is_empty() || found.iter().any(|audience| expected.contains(audience))
}

/// Refuses somebody else's token (OIDC Core, 12.2).
fn check_subject(
    before: &Tokens,
    after: &Secret<String>,
    provider: &Provider,
) -> Result<(), OidcError> {
    let subject = |token| UnverifiedClaims::of(token)?.text("sub").map(str::to_owned);
    match (subject(&before.token), subject(after)) {
        (Some(before), Some(after)) if before != after => Err(OidcError::IdToken {
            issuer: provider.issuer().as_str().to_owned(),
            problem: "it is somebody else's",
        }),
        _ => Ok(()),
    }
}
