//! How callers prove who they are: from the words of the configuration to what each method needs.

use std::path::{Path, PathBuf};

use dbt_core::secret::Secret;

use super::file::{AuthOptions, Written, WrittenToken};
use super::{ConfigError, keys};
use crate::authn::static_token::{self, NamedToken};
use crate::authz::Access;
use crate::env::Environment;

/// Who is let through, for reading or for writing.
#[derive(Clone, Debug)]
pub enum Door {
    /// Everybody.
    Open,
    /// Nobody.
    Closed,
    /// Whoever proves who they are by one of these.
    Guarded(Vec<Method>),
}

/// A method of authentication with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Tokens that are written in the configuration.
    StaticTokens(Vec<NamedToken>),
}

impl Method {
    /// Returns the word before the names that this method proves.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::StaticTokens(_tokens) => static_token::NAME,
        }
    }

    /// Returns who vouches for the names, where a method may be configured for several.
    pub const fn issuer(&self) -> Option<&str> {
        match self {
            Self::StaticTokens(_tokens) => None,
        }
    }

    /// Says whether the method also tells the groups that somebody is in.
    pub const fn tells_groups(&self) -> bool {
        match self {
            Self::StaticTokens(_tokens) => false,
        }
    }

    /// Says whether anybody in the world can have a proof, so that having one means nothing.
    pub const fn is_for_all(&self) -> bool {
        match self {
            Self::StaticTokens(_tokens) => false,
        }
    }
}

impl Door {
    /// Says who may pass.
    pub const fn access(&self) -> Access {
        match self {
            Self::Open => Access::Anyone,
            Self::Closed => Access::Nobody,
            Self::Guarded(_methods) => Access::Proven,
        }
    }

    /// Returns the methods by which one may pass.
    pub fn methods(&self) -> &[Method] {
        match self {
            Self::Guarded(methods) => methods,
            Self::Open | Self::Closed => &[],
        }
    }
}

/// The methods there are, as the configuration names them.
const TYPES: [&str; 1] = [static_token::NAME];

/// Methods of the contract that this version knows by name only.
const NOT_YET: [&str; 6] =
    ["basic-htpasswd", "ssh-agent-file", "ssh-agent-func", "oidc", "basic-ldap", "ssh-agent-ldap"];

/// Which of the two lists of methods is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Put,
}

impl Verb {
    pub(super) const fn types_key(self) -> &'static str {
        match self {
            Self::Get => "authTypeGet",
            Self::Put => "authTypePut",
        }
    }

    pub(super) const fn options_key(self) -> &'static str {
        match self {
            Self::Get => "authOptsGet",
            Self::Put => "authOptsPut",
        }
    }

    pub(super) const fn types(self, written: &Written) -> Option<&String> {
        match self {
            Self::Get => written.auth_type_get.as_ref(),
            Self::Put => written.auth_type_put.as_ref(),
        }
    }

    const fn options(self, written: &Written) -> &AuthOptions {
        match self {
            Self::Get => &written.auth_opts_get,
            Self::Put => &written.auth_opts_put,
        }
    }
}

/// Reads the methods of one list. Every name must be one that this version has.
pub(super) fn read(
    verb: Verb,
    types: &str,
    written: &Written,
    environment: &Environment,
) -> Result<Vec<Method>, ConfigError> {
    let key = verb.types_key();
    let names: Vec<&str> = types.split(',').map(str::trim).collect();
    if names.contains(&"") {
        return Err(ConfigError::EmptyType { key, value: types.to_owned() });
    }
    let mut methods = Vec::new();
    for name in names {
        let method = match name {
            static_token::NAME => Method::StaticTokens(tokens(verb, written, environment)?),
            name if NOT_YET.contains(&name) => {
                return Err(ConfigError::TypeNotYet { key, name: name.to_owned() });
            }
            name => {
                let nearest = keys::nearest(name, TYPES.into_iter()).to_owned();
                return Err(ConfigError::UnknownType { key, name: name.to_owned(), nearest });
            }
        };
        if methods.contains(&method) {
            return Err(ConfigError::setting(key, format!("names `{name}` twice")));
        }
        methods.push(method);
    }
    Ok(methods)
}

/// Returns the tokens that count: the reference's one, and those with names.
fn tokens(
    verb: Verb,
    written: &Written,
    environment: &Environment,
) -> Result<Vec<NamedToken>, ConfigError> {
    let options = verb.options(written);
    let named = written.tokens.as_deref().unwrap_or_default();
    let has_one = options.static_token.is_some() || options.static_token_env.is_some();
    let mut tokens = Vec::new();
    if has_one || named.is_empty() {
        let token = the_token(verb.options_key(), options, environment)?;
        tokens.push(NamedToken::unnamed(&token));
    }
    for (index, written) in named.iter().enumerate() {
        let token = named_token(index, written, environment)?;
        if tokens.iter().any(|earlier| earlier.name == token.name) {
            let reason = format!("has the name `{}` twice", token.name);
            return Err(ConfigError::setting("tokens", reason));
        }
        if tokens.iter().any(|earlier| earlier.digest == token.digest) {
            let reason = format!("gives `{}` the token of another", token.name);
            return Err(ConfigError::setting("tokens", reason));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// Finds the reference's token: the named variable's, if that is set, else the one that is
/// written.
///
/// White space around it is not part of it: a secret mounted as a file often ends in a newline.
fn the_token(
    key: &'static str,
    options: &AuthOptions,
    environment: &Environment,
) -> Result<Secret<String>, ConfigError> {
    let variable = options.static_token_env.as_deref().unwrap_or_default();
    let written = options.static_token.as_ref().map_or("", |token| token.expose().trim());
    let token = match environment.get(variable).map(|value| value.trim()) {
        Some(value) if !value.is_empty() => value,
        _ if !written.is_empty() => written,
        Some(_blank) => return Err(ConfigError::EmptyVariable { key, name: variable.to_owned() }),
        None if !variable.is_empty() => {
            return Err(ConfigError::MissingVariable { key, name: variable.to_owned() });
        }
        None => return Err(ConfigError::NoToken { key }),
    };
    sendable(token).map_err(|_reason| ConfigError::BadToken { key })
}

fn named_token(
    index: usize,
    written: &WrittenToken,
    environment: &Environment,
) -> Result<NamedToken, ConfigError> {
    let place = format!("tokens[{index}]");
    let refuse = |reason: &str| ConfigError::setting(&place, reason);
    let name = written.name.as_deref().unwrap_or_default();
    if !is_name(name) {
        return Err(refuse("needs a `name` of 1 to 64 letters, digits and `._@-`"));
    }
    let WrittenToken { name: _, sha256, env, file } = written;
    let token = match (sha256, env, file) {
        (Some(digest), None, None) => {
            let digest = digest_of_hex(digest.trim())
                .ok_or_else(|| refuse("has a `sha256` that is not 64 hexadecimal digits"))?;
            return Ok(NamedToken { name: name.to_owned(), digest });
        }
        (None, Some(variable), None) => Secret::new(
            environment
                .get(variable)
                .ok_or_else(|| refuse("names a variable in `env` that is not set"))?
                .clone(),
        ),
        (None, None, Some(file)) => secret_file(&place, "file", Path::new(file))?,
        _ => return Err(refuse("needs one of `sha256`, `env` and `file`")),
    };
    let token = sendable(token.expose().trim()).map_err(refuse)?;
    Ok(NamedToken::new(name, &token))
}

/// Says whether a text can name a subject of the server's own.
pub(super) fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
    (1..=64).contains(&text.len())
        && text.bytes().all(plain)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

fn digest_of_hex(text: &str) -> Option<[u8; 32]> {
    let digest: dbt_core::digest::Digest = text.to_ascii_lowercase().parse().ok()?;
    Some(*digest.as_bytes())
}

/// Returns a token that can stand in a header.
fn sendable(token: &str) -> Result<Secret<String>, &'static str> {
    if token.is_empty() {
        return Err("is empty");
    }
    if token.contains(|c: char| c.is_control()) {
        return Err("holds control characters");
    }
    Ok(Secret::new(token.to_owned()))
}

/// Reads a secret from a file, without the white space around it.
pub(super) fn secret_file(
    place: &str,
    key: &str,
    path: &Path,
) -> Result<Secret<String>, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Secret {
        key: format!("{place}.{key}"),
        path: path.to_owned(),
        source,
    })?;
    let text = Secret::new(text);
    Ok(Secret::new(text.expose().trim().to_owned()))
}

/// Returns the files that methods read and that must not be served.
pub(super) fn private_files(written: &Written) -> Vec<PathBuf> {
    let options = [&written.auth_opts_get, &written.auth_opts_put];
    let tokens = written.tokens.iter().flatten().filter_map(|token| token.file.as_ref());
    let ldap = written.ldap.iter().filter_map(|ldap| ldap.bind_password_file.as_ref());
    options
        .into_iter()
        .filter_map(|options| options.idp_file.as_ref())
        .chain(&written.htpasswd_file)
        .chain(&written.pubkeys_file)
        .chain(tokens)
        .chain(ldap)
        .map(PathBuf::from)
        .collect()
}
