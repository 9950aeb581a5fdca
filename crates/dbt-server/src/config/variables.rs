//! The variables `REPOSERVER_*`. Their names are the contract's, whatever the brand.

use dbt_core::secret::Secret;

use super::ConfigError;
use super::file::{self, AuthOptions, OidcOptions, Written, WrittenLimits};
use super::publishing::{Switch, Word};
use crate::env::Environment;

const PREFIX: &str = "REPOSERVER_";

/// Every variable there is: the 24 of the contract, then those of newer settings.
const NAMES: [&str; 33] = [
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
    "REPOSERVER_STATE_DIR",
    "REPOSERVER_IMMUTABLE",
    "REPOSERVER_VERIFY_UPLOADS",
    "REPOSERVER_LIMITS_MAX_UPLOAD_BYTES",
    "REPOSERVER_LIMITS_MAX_UPLOADS",
    "REPOSERVER_LIMITS_MAX_CONNECTIONS",
    "REPOSERVER_LIMITS_HEADER_SECONDS",
    "REPOSERVER_LIMITS_TRASH_DAYS",
    "REPOSERVER_SHUTDOWN_GRACE",
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
        let nearest = file::nearest(name, NAMES.into_iter());
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
        immutable: boolean(environment, "IMMUTABLE")?,
        verify_uploads: switch(environment, "VERIFY_UPLOADS")?,
        limits: WrittenLimits {
            max_upload_bytes: number(environment, "LIMITS_MAX_UPLOAD_BYTES", "a number of bytes")?,
            max_uploads: number(environment, "LIMITS_MAX_UPLOADS", "a number")?,
            max_connections: number(environment, "LIMITS_MAX_CONNECTIONS", "a number")?,
            header_seconds: number(environment, "LIMITS_HEADER_SECONDS", "a number of seconds")?,
            trash_days: number(environment, "LIMITS_TRASH_DAYS", "a number of days")?,
        },
        shutdown_grace: number(environment, "SHUTDOWN_GRACE", "a number of seconds")?,
    })
}

fn options(environment: &Environment, verb: &str) -> Result<AuthOptions, ConfigError> {
    let text = |name: &str| environment.get(&format!("{PREFIX}{name}_{verb}")).cloned();
    boolean(environment, &format!("OIDC_SKIP_ISSUER_VERIFY_{verb}"))?;
    number::<u64>(environment, &format!("OIDC_JWKS_CACHE_{verb}"), "a number of seconds")?;
    Ok(AuthOptions {
        idp_file: text("IDP_FILE"),
        idp_func: text("IDP_FUNC"),
        static_token: text("STATIC_TOKEN").map(Secret::new),
        static_token_env: None,
        oidc: text("OIDC_ISSUER_URL").map(|_url| OidcOptions::default()),
    })
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
