//! The variables `REPOSERVER_*`. Their names are the contract's, whatever the brand.

use dbt_core::secret::Secret;
use serde::de::DeserializeOwned;

use super::ConfigError;
use super::file::{AuthOptions, OidcOptions, Written, WrittenAudit, WrittenAuth, WrittenLimits};
use super::keys;
use super::operating::{WrittenFormat, WrittenLog};
use super::publishing::{Switch, Word};
use crate::env::Environment;

const PREFIX: &str = "REPOSERVER_";

/// Every variable there is: the 24 of the contract, then those of newer settings.
const NAMES: &[&str] = &[
    "REPOSERVER_ADDRESS",
    "REPOSERVER_PORT",
    "REPOSERVER_ROOT",
    "REPOSERVER_AUTH_GETS",
    "REPOSERVER_AUTH_TYPE_GET",
    "REPOSERVER_AUTH_TYPE_PUT",
    "REPOSERVER_IDP_FILE_GET",
    "REPOSERVER_IDP_FILE_PUT",
    "REPOSERVER_IDP_FUNC_GET",
    "REPOSERVER_IDP_FUNC_PUT",
    "REPOSERVER_STATIC_TOKEN_GET",
    "REPOSERVER_STATIC_TOKEN_PUT",
    "REPOSERVER_OIDC_ISSUER_URL_GET",
    "REPOSERVER_OIDC_ISSUER_URL_PUT",
    "REPOSERVER_OIDC_AUDIENCES_GET",
    "REPOSERVER_OIDC_AUDIENCES_PUT",
    "REPOSERVER_OIDC_USERNAME_CLAIM_GET",
    "REPOSERVER_OIDC_USERNAME_CLAIM_PUT",
    "REPOSERVER_OIDC_ALLOWED_GROUPS_GET",
    "REPOSERVER_OIDC_ALLOWED_GROUPS_PUT",
    "REPOSERVER_OIDC_SKIP_ISSUER_VERIFY_GET",
    "REPOSERVER_OIDC_SKIP_ISSUER_VERIFY_PUT",
    "REPOSERVER_OIDC_JWKS_CACHE_GET",
    "REPOSERVER_OIDC_JWKS_CACHE_PUT",
    "REPOSERVER_PUBLIC_URLS",
    "REPOSERVER_ANNOUNCE",
    "REPOSERVER_HTPASSWD_FILE",
    "REPOSERVER_PUBKEYS_FILE",
    "REPOSERVER_TOKENS",
    "REPOSERVER_LDAP",
    "REPOSERVER_AUTH",
    "REPOSERVER_POLICIES",
    "REPOSERVER_STATE_DIR",
    "REPOSERVER_IMMUTABLE",
    "REPOSERVER_REFUSE_CASE_VARIANTS",
    "REPOSERVER_VERIFY_UPLOADS",
    "REPOSERVER_LIMITS_MAX_UPLOAD_BYTES",
    "REPOSERVER_LIMITS_MAX_UPLOADS",
    "REPOSERVER_LIMITS_MAX_UPLOADS_PER_CALLER",
    "REPOSERVER_LIMITS_REQUIRE_LENGTH",
    "REPOSERVER_LIMITS_MAX_CONNECTIONS",
    "REPOSERVER_LIMITS_MAX_CONNECTIONS_PER_CLIENT",
    "REPOSERVER_LIMITS_REQUESTS_PER_MINUTE",
    "REPOSERVER_LIMITS_HEADER_SECONDS",
    "REPOSERVER_LIMITS_MAX_HEADER_BYTES",
    "REPOSERVER_LIMITS_MAX_HEADERS",
    "REPOSERVER_LIMITS_IDLE_SECONDS",
    "REPOSERVER_LIMITS_STALL_SECONDS",
    "REPOSERVER_LIMITS_MIN_BODY_BYTES",
    "REPOSERVER_LIMITS_BODY_SECONDS",
    "REPOSERVER_LIMITS_MAX_LISTING",
    "REPOSERVER_LIMITS_QUOTAS",
    "REPOSERVER_LIMITS_TRASH_DAYS",
    "REPOSERVER_LISTEN",
    "REPOSERVER_WEB",
    "REPOSERVER_TRUSTED_PROXIES",
    "REPOSERVER_LOG_FORMAT",
    "REPOSERVER_DRAIN_DELAY",
    "REPOSERVER_SHUTDOWN_GRACE",
    "REPOSERVER_AUDIT_RETAIN",
    "REPOSERVER_AUDIT_ANCHOR_URL",
];

/// Returns the names of the variables that are ours and set.
pub(super) fn names_in(environment: &Environment) -> impl Iterator<Item = &str> {
    environment.keys().map(String::as_str).filter(|name| NAMES.contains(name))
}

/// Returns a notice for each variable that looks like ours and is not. They do not stop the
/// start: orchestrators set such names by themselves.
pub(super) fn unknown(environment: &Environment) -> Vec<String> {
    let ours = |name: &&String| name.starts_with(PREFIX) && !NAMES.contains(&name.as_str());
    let notice = |name: &String| {
        let nearest = keys::nearest(name, NAMES.iter().copied());
        format!("the variable `{name}` is not known; the nearest known one is `{nearest}`")
    };
    environment.keys().filter(ours).map(notice).collect()
}

/// Reads the variables.
pub(super) fn read(environment: &Environment) -> Result<Written, ConfigError> {
    let text = |name: &str| environment.get(&format!("{PREFIX}{name}")).cloned();
    Ok(Written {
        address: text("ADDRESS").filter(|text| !text.is_empty()),
        port: number(environment, "PORT", "a port number between 0 and 65535")?,
        server_root: text("ROOT"),
        state_dir: text("STATE_DIR"),
        auth_gets: boolean(environment, "AUTH_GETS")?,
        auth_type_get: text("AUTH_TYPE_GET"),
        auth_type_put: text("AUTH_TYPE_PUT"),
        auth_opts_get: options(environment, "GET")?,
        auth_opts_put: options(environment, "PUT")?,
        public_urls: list(environment, "PUBLIC_URLS"),
        announce: json(environment, "ANNOUNCE", "announce")?.unwrap_or_default(),
        htpasswd_file: filled(environment, "HTPASSWD_FILE"),
        pubkeys_file: filled(environment, "PUBKEYS_FILE"),
        tokens: json(environment, "TOKENS", "tokens")?,
        ldap: json(environment, "LDAP", "ldap")?,
        auth: json(environment, "AUTH", "auth")?.unwrap_or_else(WrittenAuth::default),
        policies: json(environment, "POLICIES", "policies")?,
        immutable: boolean(environment, "IMMUTABLE")?,
        refuse_case_variants: boolean(environment, "REFUSE_CASE_VARIANTS")?,
        verify_uploads: switch(environment, "VERIFY_UPLOADS")?,
        audit: WrittenAudit {
            retain: filled(environment, "AUDIT_RETAIN"),
            anchor_url: filled(environment, "AUDIT_ANCHOR_URL"),
        },
        listen: json(environment, "LISTEN", "listen")?.unwrap_or_default(),
        web: json(environment, "WEB", "web")?.unwrap_or_default(),
        trusted_proxies: list(environment, "TRUSTED_PROXIES"),
        log: WrittenLog { format: format(environment)? },
        limits: limits(environment)?,
        drain_delay: number(environment, "DRAIN_DELAY", SECONDS)?,
        shutdown_grace: number(environment, "SHUTDOWN_GRACE", SECONDS)?,
    })
}

const SECONDS: &str = "a number of seconds";
const BYTES: &str = "a number of bytes";

fn limits(environment: &Environment) -> Result<WrittenLimits, ConfigError> {
    let seconds = |name| number(environment, name, SECONDS);
    let bytes = |name| number(environment, name, BYTES);
    Ok(WrittenLimits {
        max_upload_bytes: bytes("LIMITS_MAX_UPLOAD_BYTES")?,
        max_uploads: number(environment, "LIMITS_MAX_UPLOADS", "a number")?,
        max_uploads_per_caller: number(environment, "LIMITS_MAX_UPLOADS_PER_CALLER", "a number")?,
        require_length: boolean(environment, "LIMITS_REQUIRE_LENGTH")?,
        max_connections: number(environment, "LIMITS_MAX_CONNECTIONS", "a number")?,
        max_connections_per_client: number(
            environment,
            "LIMITS_MAX_CONNECTIONS_PER_CLIENT",
            "a number",
        )?,
        requests_per_minute: number(environment, "LIMITS_REQUESTS_PER_MINUTE", "a number")?,
        header_seconds: seconds("LIMITS_HEADER_SECONDS")?,
        max_header_bytes: number(environment, "LIMITS_MAX_HEADER_BYTES", BYTES)?,
        max_headers: number(environment, "LIMITS_MAX_HEADERS", "a number")?,
        idle_seconds: seconds("LIMITS_IDLE_SECONDS")?,
        stall_seconds: seconds("LIMITS_STALL_SECONDS")?,
        min_body_bytes: bytes("LIMITS_MIN_BODY_BYTES")?,
        body_seconds: seconds("LIMITS_BODY_SECONDS")?,
        max_listing: number(environment, "LIMITS_MAX_LISTING", "a number")?,
        quotas: json(environment, "LIMITS_QUOTAS", "limits/properties/quotas")?,
        trash_days: number(environment, "LIMITS_TRASH_DAYS", "a number of days")?,
    })
}

fn format(environment: &Environment) -> Result<Option<WrittenFormat>, ConfigError> {
    let Some(text) = filled(environment, "LOG_FORMAT") else { return Ok(None) };
    match text.trim().to_ascii_lowercase().as_str() {
        "json" => Ok(Some(WrittenFormat::Json)),
        "text" => Ok(Some(WrittenFormat::Text)),
        _ => {
            let name = format!("{PREFIX}LOG_FORMAT");
            Err(ConfigError::Variable { name, expected: "`json` or `text`", value: text })
        }
    }
}

fn options(environment: &Environment, verb: &str) -> Result<AuthOptions, ConfigError> {
    let name = |name: &str| format!("{name}_{verb}");
    // The reference builds this block only where there is an issuer; wrong values are named
    // even so.
    let oidc = OidcOptions {
        issuer_url: filled(environment, &name("OIDC_ISSUER_URL")),
        audiences: list(environment, &name("OIDC_AUDIENCES")),
        username_claim_key: filled(environment, &name("OIDC_USERNAME_CLAIM")),
        allowed_groups: list(environment, &name("OIDC_ALLOWED_GROUPS")),
        skip_issuer_verify: boolean(environment, &name("OIDC_SKIP_ISSUER_VERIFY"))?,
        jwks_cache_seconds: number(environment, &name("OIDC_JWKS_CACHE"), "a number of seconds")?,
        ..OidcOptions::default()
    };
    Ok(AuthOptions {
        idp_file: filled(environment, &name("IDP_FILE")),
        idp_func: filled(environment, &name("IDP_FUNC")),
        static_token: filled(environment, &name("STATIC_TOKEN")).map(Secret::new),
        static_token_env: None,
        oidc: oidc.issuer_url.is_some().then_some(oidc),
    })
}

/// Returns a variable that is not blank.
fn filled(environment: &Environment, name: &str) -> Option<String> {
    let value = environment.get(&format!("{PREFIX}{name}"))?;
    (!value.trim().is_empty()).then(|| value.clone())
}

/// Returns the words of a list with commas; empty places do not count, as in the reference.
fn list(environment: &Environment, name: &str) -> Option<Vec<String>> {
    let words = filled(environment, name)?;
    let words = words.split(',').map(str::trim).filter(|word| !word.is_empty());
    Some(words.map(ToOwned::to_owned).collect())
}

/// Returns the part of a configuration that a variable holds as JSON.
fn json<T: DeserializeOwned>(
    environment: &Environment,
    name: &str,
    key: &str,
) -> Result<Option<T>, ConfigError> {
    let Some(text) = filled(environment, name) else { return Ok(None) };
    keys::part(&format!("the variable `{PREFIX}{name}`"), key, &text).map(Some)
}

fn boolean(environment: &Environment, name: &str) -> Result<Option<bool>, ConfigError> {
    let name = format!("{PREFIX}{name}");
    let Some(value) = environment.get(&name) else { return Ok(None) };
    match value.trim().to_ascii_lowercase().as_str() {
        "" => Ok(None),
        "true" | "1" | "yes" => Ok(Some(true)),
        "false" | "0" | "no" => Ok(Some(false)),
        _ => {
            let expected = "`true`, `false`, `1`, `0`, `yes` or `no`";
            Err(ConfigError::Variable { name, expected, value: value.clone() })
        }
    }
}

fn switch(environment: &Environment, name: &str) -> Result<Option<Switch>, ConfigError> {
    let value = environment.get(&format!("{PREFIX}{name}")).map(|value| value.trim());
    match value.map(str::to_ascii_lowercase).as_deref() {
        Some("on") => Ok(Some(Switch::Word(Word::On))),
        Some("off") => Ok(Some(Switch::Word(Word::Off))),
        _ => Ok(boolean(environment, name)?.map(Switch::Flag)),
    }
}

fn number<T: std::str::FromStr>(
    environment: &Environment,
    name: &str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    let name = format!("{PREFIX}{name}");
    let Some(value) = environment.get(&name).filter(|value| !value.trim().is_empty()) else {
        return Ok(None);
    };
    let number = value.trim().parse();
    number.map(Some).map_err(|_error| ConfigError::Variable {
        name,
        expected,
        value: value.clone(),
    })
}

#[cfg(test)]
mod tests;
