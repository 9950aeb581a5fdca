//! Settings of the pages for browsers: whether there are any, and how people sign in at them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::Written;
use super::methods::{Door, Method, secret_file};
use super::{ConfigError, Decide};
use crate::authn::oidc;
use crate::env::Environment;
use crate::outbound::{SafeUrl, UnsafeUrl};
use crate::web::sign_in;
use dbt_core::secret::Secret;

const KEY: &str = "web.signIn";

/// What is asked for where nothing else is said.
const SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// Pages for browsers.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenWeb {
    /// Whether browsers see the catalog at `/-/ui/`.
    pub(super) catalog: Option<bool>,
    /// How people sign in there, where reading needs the word of an identity provider.
    pub(super) sign_in: Option<WrittenSignIn>,
}

/// How browsers sign in at an identity provider.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct WrittenSignIn {
    /// The provider: one of those of readers. Needed where there are several.
    pub(super) issuer_url: Option<String>,
    /// As whom the provider knows the pages: for whom the ID tokens of sessions are.
    pub(super) client_id: Option<String>,
    /// The variable that holds the client's secret, if it has one.
    pub(super) client_secret_env: Option<String>,
    /// The file that holds the client's secret, if it has one.
    pub(super) client_secret_file: Option<String>,
    /// The scopes that are asked for; `openid` is always among them.
    pub(super) scopes: Option<Vec<String>>,
}

/// The pages for browsers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Web {
    /// Whether there are any.
    pub catalog: bool,
    /// How people sign in there, if they do by a provider.
    pub sign_in: Option<sign_in::Settings>,
}

impl Decide<'_> {
    /// Decides what browsers see.
    pub(super) fn web(
        &mut self,
        written: &Written,
        environment: &Environment,
        reads: &Door,
    ) -> Result<Web, ConfigError> {
        let catalog = self.or("web.catalog", self.sourced_if(written.web.catalog), true);
        let Some(options) = &written.web.sign_in else {
            return Ok(Web { catalog, sign_in: None });
        };
        if !catalog {
            return Err(ConfigError::setting(
                KEY,
                "is for the pages that `web.catalog` takes away",
            ));
        }
        let sign_in = sign_in(options, written, environment, reads)?;
        Ok(Web { catalog, sign_in: Some(sign_in) })
    }
}

fn sign_in(
    options: &WrittenSignIn,
    written: &Written,
    environment: &Environment,
    reads: &Door,
) -> Result<sign_in::Settings, ConfigError> {
    let provider = provider(options, reads)?;
    let client = filled(options.client_id.as_deref())
        .ok_or_else(|| refused("clientId", "is needed: as whom the provider knows the pages"))?;
    let public = written.public_urls.iter().flatten().next();
    let missing = || {
        ConfigError::setting(KEY, "needs `publicUrls`: the first is where browsers come back to")
    };
    let public: SafeUrl =
        public.ok_or_else(missing)?.trim().parse().map_err(|error: UnsafeUrl| {
            let reason = format!("begins with one to which browsers cannot come back: {error}");
            ConfigError::setting("publicUrls", reason)
        })?;
    let discovery = match &provider.discovery {
        Some(place) => place.clone(),
        // Where only the place of the keys is written, the rest is where it always is.
        None => {
            format!("{}/.well-known/openid-configuration", provider.issuer.trim_end_matches('/'))
                .parse()
                .map_err(|error: UnsafeUrl| refused("issuerUrl", &error.to_string()))?
        }
    };
    Ok(sign_in::Settings {
        issuer: provider.issuer.clone(),
        discovery,
        ca_file: provider.ca_file.clone(),
        proxies: provider.proxies.clone(),
        client: client.to_owned(),
        secret: secret(options, environment)?,
        scopes: scopes(options)?,
        origin: public.origin(),
        is_secure: public.is_secure(),
    })
}

/// Returns the one of the readers' providers at which browsers sign in.
fn provider<'a>(
    options: &WrittenSignIn,
    reads: &'a Door,
) -> Result<&'a oidc::Settings, ConfigError> {
    let providers: Vec<&oidc::Settings> = reads
        .methods()
        .iter()
        .filter_map(
            |method| if let Method::Oidc(settings) = method { Some(&**settings) } else { None },
        )
        .collect();
    match (filled(options.issuer_url.as_deref()), providers.as_slice()) {
        (_, []) => Err(ConfigError::setting(
            KEY,
            "needs a provider by whom readers prove who they are: `authGets`, `authTypeGet`: `oidc`",
        )),
        (None, [only]) => Ok(only),
        (None, _several) => {
            Err(refused("issuerUrl", "is needed where there are several providers"))
        }
        (Some(issuer), all) => {
            let found = all.iter().find(|provider| provider.issuer == issuer);
            found.copied().ok_or_else(|| refused("issuerUrl", "is none of the readers' providers"))
        }
    }
}

fn secret(
    options: &WrittenSignIn,
    environment: &Environment,
) -> Result<Option<Secret<String>>, ConfigError> {
    let variable = filled(options.client_secret_env.as_deref());
    let file = filled(options.client_secret_file.as_deref());
    let (key, secret) = match (variable, file) {
        (None, None) => return Ok(None),
        (Some(_variable), Some(_file)) => {
            return Err(refused("clientSecretFile", "is one too many beside `clientSecretEnv`"));
        }
        (Some(variable), None) => {
            let unset = || refused("clientSecretEnv", "names a variable that is not set");
            let value = environment.get(variable).ok_or_else(unset)?;
            ("clientSecretEnv", Secret::new(value.trim().to_owned()))
        }
        (None, Some(file)) => {
            ("clientSecretFile", secret_file(KEY, "clientSecretFile", file.as_ref())?)
        }
    };
    if secret.expose().is_empty() {
        return Err(refused(key, "leads to a secret that is empty"));
    }
    Ok(Some(secret))
}

/// Returns what is asked for, with spaces (RFC 6749, 3.3).
fn scopes(options: &WrittenSignIn) -> Result<String, ConfigError> {
    let usual = || SCOPES.map(ToOwned::to_owned).to_vec();
    let mut scopes = options.scopes.clone().unwrap_or_else(usual);
    let is_scope = |scope: &String| {
        !scope.is_empty()
            && scope.bytes().all(|it| it.is_ascii_graphic() && it != b'"' && it != b'\\')
    };
    if !scopes.iter().all(is_scope) {
        return Err(refused("scopes", "holds something that is no scope"));
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        scopes.insert(0, "openid".to_owned());
    }
    Ok(scopes.join(" "))
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn refused(name: &str, reason: &str) -> ConfigError {
    ConfigError::setting(format!("{KEY}.{name}"), reason)
}
