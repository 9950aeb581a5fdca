//! The configuration file, exactly as written.
//!
//! Keys are matched without regard to case, as the reference does; unknown ones are refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dbt_core::secret::Secret;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ConfigError;
use super::publishing::Switch;

/// What was written, in a file or in variables. Nothing is decided.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Written {
    pub(super) address: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) server_root: Option<String>,
    pub(super) state_dir: Option<String>,
    pub(super) auth_gets: Option<bool>,
    pub(super) auth_type_get: Option<String>,
    pub(super) auth_type_put: Option<String>,
    pub(super) auth_opts_get: AuthOptions,
    pub(super) auth_opts_put: AuthOptions,
    pub(super) immutable: Option<bool>,
    pub(super) verify_uploads: Option<Switch>,
    pub(super) limits: WrittenLimits,
    pub(super) shutdown_grace: Option<u64>,
}

/// Options of the methods of authentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct AuthOptions {
    pub(super) idp_file: Option<String>,
    pub(super) idp_func: Option<String>,
    pub(super) static_token: Option<Secret<String>>,
    pub(super) static_token_env: Option<String>,
    pub(super) oidc: Option<OidcOptions>,
}

/// Options of `oidc`, read so that wrong ones are named even while the method is not available.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct OidcOptions {
    issuer_url: Option<String>,
    audiences: Option<Vec<String>>,
    username_claim_key: Option<String>,
    required_claims: Option<BTreeMap<String, String>>,
    allowed_groups: Option<Vec<String>>,
    skip_issuer_verify: Option<bool>,
    jwks_cache_seconds: Option<u64>,
}

/// Limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenLimits {
    pub(super) max_upload_bytes: Option<u64>,
    pub(super) max_uploads: Option<u32>,
    pub(super) max_connections: Option<usize>,
    pub(super) header_seconds: Option<u64>,
    pub(super) trash_days: Option<u32>,
}

/// The known keys of an object.
type Keys = &'static [(&'static str, Kind)];

/// What a key holds, as far as keys go.
#[derive(Clone, Copy)]
enum Kind {
    /// A value, or an object whose keys are data.
    Leaf,
    /// An object with these keys.
    Object(Keys),
}

const TOP: Keys = &[
    ("address", Kind::Leaf),
    ("port", Kind::Leaf),
    ("serverRoot", Kind::Leaf),
    ("stateDir", Kind::Leaf),
    ("authGets", Kind::Leaf),
    ("authTypeGet", Kind::Leaf),
    ("authTypePut", Kind::Leaf),
    ("authOptsGet", Kind::Object(AUTH_OPTIONS)),
    ("authOptsPut", Kind::Object(AUTH_OPTIONS)),
    ("immutable", Kind::Leaf),
    ("verifyUploads", Kind::Leaf),
    ("limits", Kind::Object(LIMITS)),
    ("shutdownGrace", Kind::Leaf),
];

const AUTH_OPTIONS: Keys = &[
    ("idpFile", Kind::Leaf),
    ("idpFunc", Kind::Leaf),
    ("staticToken", Kind::Leaf),
    ("staticTokenEnv", Kind::Leaf),
    ("oidc", Kind::Object(OIDC)),
];

const OIDC: Keys = &[
    ("issuerUrl", Kind::Leaf),
    ("audiences", Kind::Leaf),
    ("usernameClaimKey", Kind::Leaf),
    ("requiredClaims", Kind::Leaf),
    ("allowedGroups", Kind::Leaf),
    ("skipIssuerVerify", Kind::Leaf),
    ("jwksCacheSeconds", Kind::Leaf),
];

const LIMITS: Keys = &[
    ("maxUploadBytes", Kind::Leaf),
    ("maxUploads", Kind::Leaf),
    ("maxConnections", Kind::Leaf),
    ("headerSeconds", Kind::Leaf),
    ("trashDays", Kind::Leaf),
];

/// The largest configuration that is read.
const SIZE_LIMIT: usize = 1024 * 1024;

/// Reads a configuration file.
pub(super) fn read(path: &Path) -> Result<Written, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let bytes = std::fs::read(path).map_err(failed)?;
    if bytes.len() > SIZE_LIMIT {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()));
    }
    parse(path, &bytes)
}

pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Written, ConfigError> {
    let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source };
    let value: Value = serde_json::from_slice(bytes).map_err(syntax)?;
    let Value::Object(object) = value else {
        let (key, reason) = (".".to_owned(), "it is not an object".to_owned());
        return Err(ConfigError::Value { path: path.to_owned(), key, reason });
    };
    let value = Value::Object(canonical(path, "", object, TOP)?);
    serde_path_to_error::deserialize(value).map_err(|error| ConfigError::Value {
        path: path.to_owned(),
        key: error.path().to_string(),
        reason: error.inner().to_string(),
    })
}

/// Spells every key as it is known, and refuses those that are not.
fn canonical(
    path: &Path,
    above: &str,
    object: Map<String, Value>,
    keys: Keys,
) -> Result<Map<String, Value>, ConfigError> {
    let mut spelt = Map::new();
    let mut seen = BTreeSet::new();
    for (key, value) in object {
        let full = format!("{above}{key}");
        let known = keys.iter().find(|(name, _kind)| name.eq_ignore_ascii_case(&key));
        let Some((name, kind)) = known else {
            let nearest =
                format!("{above}{}", nearest(&key, keys.iter().map(|(name, _kind)| *name)));
            return Err(ConfigError::UnknownKey { path: path.to_owned(), key: full, nearest });
        };
        if !seen.insert(*name) {
            return Err(ConfigError::TwoKeys { path: path.to_owned(), key: full });
        }
        let value = match (kind, value) {
            (Kind::Object(keys), Value::Object(inner)) => {
                Value::Object(canonical(path, &format!("{above}{name}."), inner, keys)?)
            }
            // `null` is how the reference's tools write "not set".
            (Kind::Object(_keys), Value::Null) => continue,
            (_, value) => value,
        };
        spelt.insert((*name).to_owned(), value);
    }
    Ok(spelt)
}

/// Returns the known name that takes the fewest changes to reach.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known
        .min_by_key(|known| distance(&name.to_lowercase(), &known.to_lowercase()))
        .unwrap_or_default()
}

/// Counts the insertions, deletions and replacements between two texts.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let cost =
                |index: usize, row: &[usize]| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = cost(j, &row) + usize::from(from != *to);
            next.push(replaced.min(cost(j + 1, &row) + 1).min(cost(j, &next) + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
