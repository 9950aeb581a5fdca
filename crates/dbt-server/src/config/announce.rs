//! What clients are told about the server before they are configured for it: where it is, and how one
//! signs in. (`dbt_core::announcement` says who reads it, and why no keys are in it.)
//!
//! What a client would refuse is not announced, and where it was written it stops the start.

use dbt_core::announcement::{self, AUDIENCE, AUTH_TYPE, ISSUER, OIDC, SIGN_IN};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Written;
use super::methods::{Door, Method};
use super::{ConfigError, Decide};
use crate::authn::oidc;
use crate::outbound::{SafeUrl, UnsafeUrl};

const KEY: &str = "announce";

/// What clients are told of signing in. An empty text leaves a key out.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenAnnounce {
    /// `oidc`, or empty: nothing is said of signing in.
    pub(super) auth_type: Option<String>,
    /// The identity provider, as it calls itself.
    pub(super) issuer_url: Option<String>,
    /// For whom tokens have to be.
    pub(super) oidc_audience: Option<String>,
    /// The client at the provider that is everybody's who runs the program.
    pub(super) oidc_client_id: Option<String>,
    /// The connector of a Dex that takes SSH keys.
    pub(super) connector_id: Option<String>,
}

impl WrittenAnnounce {
    /// Returns what is written, in the order of [`SIGN_IN`].
    fn texts(&self) -> [Option<&str>; 5] {
        let Self { auth_type, issuer_url, oidc_audience, oidc_client_id, connector_id } = self;
        [auth_type, issuer_url, oidc_audience, oidc_client_id, connector_id]
            .map(|text| text.as_deref().map(str::trim))
    }
}

/// Some of [`SIGN_IN`], with their values.
type Members = Vec<(&'static str, String)>;

impl Decide<'_> {
    /// Decides what clients are told; nothing where it is not known under which URL the server is reached.
    pub(super) fn announcement(
        &mut self,
        written: &Written,
        reads: &Door,
    ) -> Result<Option<String>, ConfigError> {
        let Some(root) = root(written) else {
            if written.announce.texts().iter().any(Option::is_some) {
                let reason = "needs `publicUrls`: the first, which begins with `https://` except on \
                              this machine, is where clients are told to go";
                return Err(ConfigError::setting(KEY, reason));
            }
            return Ok(None);
        };
        let sign_in = sign_in(&written.announce, readers_provider(reads), root.host())?;
        let shown = match sign_in.iter().find(|(key, _value)| *key == ISSUER) {
            Some((_key, issuer)) => format!("{root}, where one signs in with `{issuer}`"),
            None => format!("{root}, and nothing of signing in"),
        };
        self.keep(KEY, (shown, "`publicUrls`".to_owned()));
        let mut document = announcement::places(root.as_str());
        document.extend(sign_in.into_iter().map(|(key, value)| (key.to_owned(), value.into())));
        Ok(Some(announcement::text(&document)))
    }
}

/// Returns the first of the server's URLs, if a client would be led there by another machine.
fn root(written: &Written) -> Option<SafeUrl> {
    let first = written.public_urls.iter().flatten().next()?;
    let url: SafeUrl = first.trim().parse().ok()?;
    let path = url.as_str().splitn(4, '/').nth(3).unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let leads_away = path.split('/').any(|segment| matches!(segment, "." | ".."));
    (path.bytes().all(is_plain) && !leads_away).then_some(url)
}

/// Returns the provider at which people who read prove who they are, if there is one and no other way
/// for them. Tokens of the settings and of the server's own are those of programs, too.
fn readers_provider(reads: &Door) -> Option<&oidc::Settings> {
    let is_of_people =
        |method: &&Method| !matches!(method, Method::StaticTokens(_) | Method::ApiTokens);
    let mut ways = reads.methods().iter().filter(is_of_people);
    match (ways.next(), ways.next()) {
        // Where anybody can have a token there is nothing to lead people to.
        (Some(Method::Oidc(settings)), None) if !settings.is_for_all => Some(settings),
        _ => None,
    }
}

/// Returns what a client has to know of a provider, as far as the settings of it say that; nothing if
/// no client would take it over.
fn of_provider(settings: &oidc::Settings, host: &str) -> Option<Members> {
    let is_own = |audience: &&String| announcement::is_own_audience(audience, Some(host));
    let audience = settings.audiences.iter().find(is_own)?;
    let members = vec![
        (AUTH_TYPE, OIDC.to_owned()),
        (ISSUER, settings.issuer.clone()),
        (AUDIENCE, audience.clone()),
    ];
    check(&members, host).is_ok().then_some(members)
}

/// Decides what is said of signing in: what is written, and else what the provider's settings say.
fn sign_in(
    written: &WrittenAnnounce,
    provider: Option<&oidc::Settings>,
    host: &str,
) -> Result<Members, ConfigError> {
    let [auth_type, issuer, ..] = written.texts();
    let is_about = |provider: &&oidc::Settings| {
        auth_type != Some("") && issuer.is_none_or(|issuer| issuer == provider.issuer)
    };
    let known = provider.filter(is_about).and_then(|provider| of_provider(provider, host));
    let known = known.unwrap_or_default();
    let mut members = Members::new();
    for (key, text) in SIGN_IN.into_iter().zip(written.texts()) {
        let usual = known.iter().find(|(known, _value)| *known == key);
        let value = text.map(ToOwned::to_owned).or_else(|| Some(usual?.1.clone()));
        members.extend(value.filter(|value| !value.is_empty()).map(|value| (key, value)));
    }
    check(&members, host)?;
    Ok(members)
}

/// Refuses what no client takes over, and what would be of no use to it.
fn check(members: &Members, host: &str) -> Result<(), ConfigError> {
    let refuse =
        |key: &str, reason: &str| Err(ConfigError::setting(format!("{KEY}.{key}"), reason));
    let of = |key| members.iter().find(|(known, _value)| *known == key).map(|(_, value)| value);
    for (key, value) in members {
        if value.contains("${") || value.chars().any(char::is_control) {
            return refuse(key, "holds a variable or a control character, which clients refuse");
        }
    }
    match (of(AUTH_TYPE), members.first()) {
        (None, None) => return Ok(()),
        (None, Some((key, _value))) => {
            return refuse(key, "says nothing to clients without `announce.authType`: `oidc`");
        }
        (Some(kind), _) if kind != OIDC => {
            return refuse(AUTH_TYPE, "can only be `oidc`, or empty for nothing of signing in");
        }
        (Some(_oidc), _) => {}
    }
    let Some(issuer) = of(ISSUER) else {
        return refuse(ISSUER, "is needed: the settings of readers name no provider for it");
    };
    if let Err(error) = issuer.parse::<SafeUrl>() {
        let error: UnsafeUrl = error;
        return refuse(ISSUER, &error.to_string());
    }
    match of(AUDIENCE) {
        Some(audience) if !announcement::is_own_audience(audience, Some(host)) => {
            let reason = format!(
                "is refused by clients: a server announces `https://{host}`, or a word that is no address"
            );
            refuse(AUDIENCE, &reason)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
