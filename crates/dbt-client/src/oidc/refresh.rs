//! The next token, without anybody noticing (RFC 6749, 6).

use dbt_core::secret::Secret;

use super::answer;
use super::error::{OidcError, What};
use super::form::Form;
use super::{Channel, Client, Provider, Tokens, UnverifiedClaims, id_token};
use crate::token_cache::Renewal;

/// Renews what a cache keeps, or returns nothing where there is nothing to renew it with, or the
/// provider has ended the session: then it is forgotten, and somebody has to sign in anew.
///
/// Some providers renew everything but the ID token, as they may (OIDC Core, 12.2). A server is not
/// shown the access token in its place, which is for the provider's own APIs: what was kept is used
/// until it ends, and then somebody has to sign in.
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
    match answered(channel, &provider()?, client, before) {
        Ok(Some(Answered::Tokens(tokens))) => Ok(Some(tokens)),
        Ok(Some(Answered::WithoutIdToken)) if is_good(before, channel) => {
            // Asking again would bring the same, and what renews has been used.
            Ok(Some(before.clone().renewed_by(None)))
        }
        Ok(Some(Answered::WithoutIdToken)) => {
            renewal.forget();
            Ok(None)
        }
        Err(error) if error.ends_the_session() => {
            renewal.forget();
            Ok(None)
        }
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_good(tokens: &Tokens, channel: &Channel) -> bool {
    tokens.expires.is_none_or(|expires| channel.now() < expires)
}

/// What a provider answers that renews.
enum Answered {
    Tokens(Tokens),
    /// There was an ID token before, and there is none now.
    WithoutIdToken,
}

/// Renews tokens; nothing where they have nothing to be renewed with. In the place of an ID token
/// comes an ID token, or [`OidcError::NotOffered`].
pub fn renewed(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    before: &Tokens,
) -> Result<Option<Tokens>, OidcError> {
    match answered(channel, provider, client, before)? {
        Some(Answered::Tokens(tokens)) => Ok(Some(tokens)),
        None => Ok(None),
        Some(Answered::WithoutIdToken) => {
            let issuer = provider.issuer().as_str().to_owned();
            Err(OidcError::NotOffered { issuer, what: "the renewal of ID tokens" })
        }
    }
}

fn answered(
    channel: &Channel,
    provider: &Provider,
    client: &Client,
    before: &Tokens,
) -> Result<Option<Answered>, OidcError> {
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
    } else if id_token::check(&before.token, provider.issuer(), client, None).is_ok() {
        return Ok(Some(Answered::WithoutIdToken));
    }
    let tokens = answer.into_tokens(channel);
    // Providers that do not replace it let the old one count on.
    let next = tokens.refresh_token.clone().unwrap_or_else(|| refresh_token.clone());
    Ok(Some(Answered::Tokens(tokens.renewed_by(Some(next)))))
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
