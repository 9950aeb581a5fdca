//! How callers prove who they are: from the words of the configuration to what each method needs.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use dbt_core::secret::Secret;

use super::file::{AuthOptions, Written, WrittenToken};
use super::{ConfigError, keys, ldap as directory, oidc as issuers};
use crate::authn::ssh::{self, Audiences};
use crate::authn::static_token::{self, NamedToken};
use crate::authn::{Scope, api_tokens, htpasswd, ldap, oidc};
use crate::authz::Access;
use crate::env::Environment;
use crate::outbound::proxy::Proxy;

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
    /// Users and passwords in a file.
    Htpasswd(PathBuf),
    /// Tokens that an ssh-agent signed, with the public keys in a list of a file.
    SshFile {
        /// The file.
        file: PathBuf,
        /// Which of its lists.
        list: Scope,
        /// For whom tokens may be meant.
        audiences: Audiences,
    },
    /// Tokens that an ssh-agent signed, with the public keys that a command prints.
    SshCommand {
        /// The command, to which the user's name is added.
        argv: Vec<String>,
        /// Variables that it does not get.
        hidden: Vec<String>,
        /// For whom tokens may be meant.
        audiences: Audiences,
    },
    /// Tokens of an identity provider.
    Oidc(Box<oidc::Settings>),
    /// Passwords that a directory service knows.
    Ldap(Box<ldap::Settings>),
    /// Tokens of the server's own. They count without being named, too; named, they can be all there
    /// is.
    ApiTokens,
}

impl Method {
    /// Returns the word before the names that this method proves.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::StaticTokens(_tokens) => static_token::NAME,
            Self::Htpasswd(_file) => htpasswd::WORD,
            Self::SshFile { .. } | Self::SshCommand { .. } => ssh::WORD,
            Self::Oidc(_settings) => oidc::NAME,
            Self::Ldap(_settings) => ldap::WORD,
            Self::ApiTokens => api_tokens::NAME,
        }
    }

    /// Returns who vouches for the names, where a method may be configured for several.
    pub fn issuer(&self) -> Option<&str> {
        match self {
            Self::Oidc(settings) => Some(&settings.issuer),
            Self::StaticTokens(_)
            | Self::Htpasswd(_)
            | Self::SshFile { .. }
            | Self::SshCommand { .. }
            | Self::Ldap(_)
            | Self::ApiTokens => None,
        }
    }

    /// Returns for whom signed tokens may be meant, where the method takes such.
    pub const fn audiences(&self) -> Option<&Audiences> {
        match self {
            Self::SshFile { audiences, .. } | Self::SshCommand { audiences, .. } => Some(audiences),
            Self::StaticTokens(_)
            | Self::Htpasswd(_)
            | Self::Oidc(_)
            | Self::Ldap(_)
            | Self::ApiTokens => None,
        }
    }

    /// Returns the proxy through which the method asks others, if it does.
    pub fn proxy(&self) -> Option<&Proxy> {
        if let Self::Oidc(settings) = self { settings.proxies.any() } else { None }
    }

    /// Says whether the method also tells the groups that somebody is in.
    pub const fn tells_groups(&self) -> bool {
        match self {
            Self::StaticTokens(_)
            | Self::Htpasswd(_)
            | Self::SshFile { .. }
            | Self::SshCommand { .. }
            | Self::ApiTokens => false,
            Self::Oidc(_) | Self::Ldap(_) => true,
        }
    }

    /// Says whether those whom it proves are people, as far as the settings say.
    pub fn is_for_people(&self) -> bool {
        match self {
            Self::Oidc(settings) => settings.is_for_people,
            Self::StaticTokens(_)
            | Self::Htpasswd(_)
            | Self::SshFile { .. }
            | Self::SshCommand { .. }
            | Self::Ldap(_)
            | Self::ApiTokens => true,
        }
    }

    /// Says whether anybody in the world can have a proof, so that having one means nothing.
    pub fn is_for_all(&self) -> bool {
        match self {
            Self::Oidc(settings) => settings.is_for_all,
            Self::StaticTokens(_)
            | Self::Htpasswd(_)
            | Self::SshFile { .. }
            | Self::SshCommand { .. }
            | Self::Ldap(_)
            | Self::ApiTokens => false,
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
const TYPES: [&str; 7] = [
    static_token::NAME,
    htpasswd::NAME,
    ssh::FILE_NAME,
    ssh::COMMAND_NAME,
    oidc::NAME,
    ldap::NAME,
    api_tokens::NAME,
];

/// Methods of the contract that this version knows by name only.
const NOT_YET: [&str; 1] = ["ssh-agent-ldap"];

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

    const fn scope(self) -> Scope {
        match self {
            Self::Get => Scope::Reads,
            Self::Put => Scope::Writes,
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
        let meant = match name {
            static_token::NAME => vec![Method::StaticTokens(tokens(verb, written, environment)?)],
            htpasswd::NAME => vec![Method::Htpasswd(identities(verb, htpasswd::NAME, written)?)],
            ssh::FILE_NAME => vec![Method::SshFile {
                file: identities(verb, ssh::FILE_NAME, written)?,
                list: verb.scope(),
                audiences: audiences(written)?,
            }],
            ssh::COMMAND_NAME => vec![Method::SshCommand {
                argv: command(verb, written)?,
                hidden: hidden(written, environment),
                audiences: audiences(written)?,
            }],
            oidc::NAME => {
                let one = verb.options(written).oidc.as_ref();
                let providers = issuers::providers(verb, one, written, environment)?.into_iter();
                providers.map(|settings| Method::Oidc(Box::new(settings))).collect()
            }
            ldap::NAME => vec![Method::Ldap(Box::new(directory::directory(written, environment)?))],
            api_tokens::NAME => vec![Method::ApiTokens],
            name if NOT_YET.contains(&name) => {
                return Err(ConfigError::TypeNotYet { key, name: name.to_owned() });
            }
            name => {
                let nearest = keys::nearest(name, TYPES.into_iter()).to_owned();
                return Err(ConfigError::UnknownType { key, name: name.to_owned(), nearest });
            }
        };
        if meant.iter().any(|method| methods.contains(method)) {
            return Err(ConfigError::setting(key, format!("names `{name}` twice")));
        }
        methods.extend(meant);
    }
    Ok(methods)
}

/// Returns the file of users of a method: its own, or the one that the reference has for all.
fn identities(verb: Verb, name: &str, written: &Written) -> Result<PathBuf, ConfigError> {
    let (own_key, own) = if name == htpasswd::NAME {
        ("htpasswdFile", written.htpasswd_file.as_deref())
    } else {
        ("pubkeysFile", written.pubkeys_file.as_deref())
    };
    let shared_key = format!("{}.idpFile", verb.options_key());
    let shared = verb.options(written).idp_file.as_deref();
    let filled = |path: &&str| !path.trim().is_empty();
    if let Some(own) = own.filter(filled) {
        return Ok(PathBuf::from(own));
    }
    let Some(shared) = shared.filter(filled) else {
        let reason = format!("is needed by `{name}`, or `{own_key}`");
        return Err(ConfigError::setting(shared_key, reason));
    };
    let types = verb.types(written).map(String::as_str).unwrap_or_default();
    let uses = |other: &str| types.split(',').any(|word| word.trim() == other);
    if uses(htpasswd::NAME) && uses(ssh::FILE_NAME) {
        let reason = format!(
            "cannot be both users with passwords and users with keys; name the file of `{name}` \
             in `{own_key}`"
        );
        let other_has_own = written.htpasswd_file.is_some() || written.pubkeys_file.is_some();
        if !other_has_own {
            return Err(ConfigError::setting(shared_key, reason));
        }
    }
    Ok(PathBuf::from(shared))
}

fn audiences(written: &Written) -> Result<Audiences, ConfigError> {
    Audiences::of_urls(written.public_urls.as_deref().unwrap_or_default())
        .map_err(|why| ConfigError::setting("publicUrls", why))
}

/// Returns the words of the command that finds keys. There is no shell, so what only a shell
/// understands is refused.
fn command(verb: Verb, written: &Written) -> Result<Vec<String>, ConfigError> {
    let key = format!("{}.idpFunc", verb.options_key());
    let line = verb.options(written).idp_func.as_deref().unwrap_or_default();
    if line.contains(['\'', '"', '\\', '|', '&', ';', '<', '>', '$', '`', '(', ')', '*', '?', '\n'])
    {
        let reason = "is run without a shell: give a program and its arguments, separated by \
                      spaces, and put the rest into a script";
        return Err(ConfigError::setting(key, reason));
    }
    let argv: Vec<String> = line.split_whitespace().map(ToOwned::to_owned).collect();
    if argv.is_empty() {
        return Err(ConfigError::setting(key, format!("is needed by `{}`", ssh::COMMAND_NAME)));
    }
    Ok(argv)
}

/// Returns the variables that may hold secrets of ours.
fn hidden(written: &Written, environment: &Environment) -> Vec<String> {
    let ours = environment.keys().filter(|name| name.starts_with("REPOSERVER_"));
    let options = [&written.auth_opts_get, &written.auth_opts_put];
    let tokens = written.tokens.iter().flatten().filter_map(|token| token.env.as_ref());
    let ldap = written.ldap.iter().filter_map(|ldap| ldap.bind_password_env.as_ref());
    let one = options.into_iter().filter_map(|options| options.static_token_env.as_ref());
    let web = written.web.sign_in.iter().filter_map(|it| it.client_secret_env.as_ref());
    ours.chain(one).chain(tokens).chain(ldap).chain(web).cloned().collect()
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
    if !ssh::is_user_name(name) {
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

/// The most that is read of the file of a secret.
const SECRET_LIMIT: u64 = 64 * 1024;

/// Reads a secret from a file, without the white space around it.
pub(super) fn secret_file(
    place: &str,
    key: &str,
    path: &Path,
) -> Result<Secret<String>, ConfigError> {
    let failed = |source| ConfigError::Secret {
        key: format!("{place}.{key}"),
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    // A device or a pipe would never end.
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    }
    let mut text = String::new();
    file.take(SECRET_LIMIT).read_to_string(&mut text).map_err(failed)?;
    let text = Secret::new(text);
    Ok(Secret::new(text.expose().trim().to_owned()))
}

/// Returns the words of commands that name files by a path.
pub(super) fn words_of_commands(written: &Written) -> Vec<PathBuf> {
    let options = [&written.auth_opts_get, &written.auth_opts_put];
    let lines = options.into_iter().filter_map(|options| options.idp_func.as_ref());
    let words = lines.flat_map(|line| line.split_whitespace());
    words.filter(|word| word.contains('/')).map(PathBuf::from).collect()
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
        .chain(written.web.sign_in.iter().filter_map(|it| it.client_secret_file.as_ref()))
        .chain(written.listen.tls.iter().filter_map(|tls| tls.key_file.as_ref()))
        .map(PathBuf::from)
        .collect()
}

/// Returns all files that the configuration names and that are read again when they change.
pub(super) fn files(written: &Written) -> Vec<PathBuf> {
    let options = [&written.auth_opts_get, &written.auth_opts_put];
    let one = options.into_iter().filter_map(|options| options.oidc.as_ref());
    let providers = one.chain(written.auth.issuers.iter().flatten());
    let of_jobs = written.auth.federation.issuers.iter().flatten();
    let authorities = providers
        .filter_map(|provider| provider.ca_file.as_ref())
        .chain(of_jobs.filter_map(|issuer| issuer.ca_file.as_ref()))
        .chain(written.ldap.iter().filter_map(|ldap| ldap.ca_file.as_ref()));
    let tls = written.listen.tls.iter().filter_map(|tls| tls.cert_file.as_ref());
    let public = authorities.chain(tls).map(PathBuf::from);
    private_files(written).into_iter().chain(public).collect()
}
