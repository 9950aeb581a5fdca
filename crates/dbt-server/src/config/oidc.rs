//! Identity providers: from the words of the configuration to how each is believed.

use std::path::PathBuf;
use std::time::Duration;

use super::file::{OidcOptions, Written};
use super::methods::Verb;
use super::{ConfigError, roles};
use crate::authn::oidc::claims::Required;
use crate::authn::oidc::{NAME, Settings, shared};
use crate::env::Environment;
use crate::outbound::proxy::Proxies;
use crate::outbound::{SafeUrl, tls};

/// How long a provider's keys count without being asked for again.
const KEYS_FRESH: u64 = 3600;

/// What may be configured for it: asking every second serves nobody, and a key that was taken
/// back must not count for days.
const KEYS_FRESH_RANGE: std::ops::RangeInclusive<u64> = 60..=86_400;

/// Returns the providers of one list: the reference's one, and the further ones.
pub(super) fn providers(
    verb: Verb,
    one: Option<&OidcOptions>,
    written: &Written,
    environment: &Environment,
) -> Result<Vec<Settings>, ConfigError> {
    let proxies = Proxies::of(environment)
        .map_err(|(name, bad)| ConfigError::setting(name, bad.to_string()))?;
    let one = one.map(|options| (format!("{}.oidc", verb.options_key()), options));
    let further = written.auth.issuers.iter().flatten().enumerate();
    let further = further.map(|(index, options)| (format!("auth.issuers[{index}]"), options));
    let mut providers: Vec<Settings> = Vec::new();
    for (key, options) in one.into_iter().chain(further) {
        let public_urls = written.public_urls.as_deref();
        let provider = provider(&key, options, public_urls, proxies.clone())?;
        let role_mappings = roles::of_issuer(written, &provider.issuer)?;
        let provider = Settings { role_mappings, ..provider };
        if providers.iter().any(|earlier| earlier.issuer == provider.issuer) {
            let reason = format!("is `{}` a second time", provider.issuer);
            return Err(ConfigError::setting(format!("{key}.issuerUrl"), reason));
        }
        if let Some(_first) =
            providers.iter().find(|earlier| earlier.any_issuer || provider.any_issuer)
        {
            let reason = "cannot be true where there are several issuers";
            return Err(ConfigError::setting(format!("{key}.skipIssuerVerify"), reason));
        }
        providers.push(provider);
    }
    if providers.is_empty() {
        let key = format!("{}.oidc.issuerUrl", verb.options_key());
        return Err(ConfigError::setting(key, format!("is needed by `{NAME}`, or `auth.issuers`")));
    }
    Ok(providers)
}

fn provider(
    key: &str,
    options: &OidcOptions,
    public_urls: Option<&[String]>,
    proxies: Proxies,
) -> Result<Settings, ConfigError> {
    let refuse =
        |name: &str, reason: String| Err(ConfigError::setting(format!("{key}.{name}"), reason));
    let Place { issuer, keys_at, discovery, keys_fresh, ca_file } = place(key, options)?;
    let issuer = issuer.as_str();
    let required_claims = required(key, options)?;
    let shared = shared::of(issuer);
    if let Some(shared) = shared
        && !shared.owners.iter().any(|owner| required_claims.contains_key(*owner))
    {
        let reason = format!(
            "must name an owner: anybody can have a token of `{issuer}`; require one of `{}`",
            shared.owners.join("`, `")
        );
        return refuse("requiredClaims", reason);
    }
    let is_for_people = options.for_people == Some(true);
    if shared.is_some() && is_for_people {
        let reason = format!("cannot be true: anybody and any job can have a token of `{issuer}`");
        return refuse("forPeople", reason);
    }
    let audiences = match options.audiences.as_deref() {
        None | Some([]) => public_urls.unwrap_or_default(),
        Some(audiences) => audiences,
    };
    if audiences.is_empty() || audiences.iter().any(|audience| audience.trim().is_empty()) {
        let reason =
            "must name for whom tokens have to be, or any token of the provider would count";
        return refuse("audiences", reason.to_owned());
    }
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
    Ok(Settings {
        issuer: issuer.to_owned(),
        audiences: audiences.to_vec(),
        username_claim: filled(&options.username_claim_key),
        required_claims,
        allowed_groups: options.allowed_groups.clone().unwrap_or_default(),
        groups_claim: filled(&options.groups_claim).unwrap_or_else(|| "groups".to_owned()),
        any_issuer: options.skip_issuer_verify == Some(true),
        keys_fresh,
        keys_at,
        discovery,
        ca_file,
        proxies,
        is_for_all: shared.is_some(),
        is_for_people,
        role_mappings: Vec::new(),
    })
}

/// Where an issuer is, and how it is reached.
pub(super) struct Place {
    /// Its `iss`.
    pub(super) issuer: String,
    /// See [`Settings`], as for the rest.
    pub(super) keys_at: Option<SafeUrl>,
    pub(super) discovery: Option<SafeUrl>,
    pub(super) keys_fresh: Duration,
    pub(super) ca_file: Option<PathBuf>,
}

/// Decides where an issuer is, which is written at `key`.
pub(super) fn place(key: &str, options: &OidcOptions) -> Result<Place, ConfigError> {
    let refuse =
        |name: &str, reason: String| Err(ConfigError::setting(format!("{key}.{name}"), reason));
    let issuer = options.issuer_url.as_deref().unwrap_or_default().trim();
    if issuer.is_empty() {
        return refuse("issuerUrl", "is needed".to_owned());
    }
    let keys_at = url(key, "jwksUri", options.jwks_uri.as_deref())?;
    let discovery = match url(key, "discoveryUrl", options.discovery_url.as_deref())? {
        Some(place) => Some(place),
        None if keys_at.is_some() => None,
        None => {
            let place =
                format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            url(key, "issuerUrl", Some(&place))?
        }
    };
    if shared::names_no_tenant(issuer) {
        let reason = "names no tenant, and no token is of this issuer; write \
                      `https://login.microsoftonline.com/TENANT-ID/v2.0`";
        return refuse("issuerUrl", reason.to_owned());
    }
    let fresh = options.jwks_cache_seconds.unwrap_or(KEYS_FRESH);
    let fresh = fresh.clamp(*KEYS_FRESH_RANGE.start(), *KEYS_FRESH_RANGE.end());
    let ca_file = options.ca_file.as_deref().map(PathBuf::from);
    if let Some(file) = &ca_file
        && let Err(error) = tls::check_authorities(file)
    {
        return refuse("caFile", format!("cannot be used: `{}`: {error}", file.display()));
    }
    let (issuer, keys_fresh) = (issuer.to_owned(), Duration::from_secs(fresh));
    Ok(Place { issuer, keys_at, discovery, keys_fresh, ca_file })
}

fn url(key: &str, name: &str, written: Option<&str>) -> Result<Option<SafeUrl>, ConfigError> {
    let Some(written) = written.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let refuse = |error| ConfigError::setting(format!("{key}.{name}"), format!("{error}"));
    written.parse().map(Some).map_err(|error: crate::outbound::UnsafeUrl| refuse(error))
}

fn required(key: &str, options: &OidcOptions) -> Result<Required, ConfigError> {
    let mut required = Required::new();
    for (claim, value) in options.required_claims.iter().flatten() {
        let accepted = value.texts();
        if accepted.is_empty() || accepted.iter().any(String::is_empty) {
            let reason = "must be something that a claim can be";
            return Err(ConfigError::setting(format!("{key}.requiredClaims.{claim}"), reason));
        }
        required.insert(claim.clone(), accepted);
    }
    Ok(required)
}
