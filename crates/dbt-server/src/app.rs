//! The four rooms of the server, built from its configuration.

use std::io;
use std::sync::Arc;

use dbt_core::clock::Clock;
use tokio::sync::Semaphore;

use crate::audit::AuditLog;
use crate::audit::json_lines::JsonLines;
use crate::authn::htpasswd::Htpasswd;
use crate::authn::ldap::{Ldap, LdapError};
use crate::authn::oidc::Oidc;
use crate::authn::ssh::SshTokens;
use crate::authn::ssh_keys::{KeyFile, KeySource, Lookup};
use crate::authn::static_token::StaticTokens;
use crate::authn::watched::Unreadable;
use crate::authn::{AnyOf, Authenticator, Scope};
use crate::authz::{Access, Policy};
use crate::config::{Config, Method};
use crate::limits::Limits;
use crate::storage::Storage;
use crate::storage::local::{Local, OpenError};

/// Everything a request passes through.
pub struct App {
    /// Who is calling.
    pub authn: AnyOf,
    /// Who may do what.
    pub policy: Policy,
    /// Where the files are.
    pub storage: Box<dyn Storage>,
    /// What was done.
    pub audit: AuditLog,
    /// How much of everything.
    pub limits: Limits,
    /// How many more writes may run. When all are free again, none is under way.
    pub writes: Semaphore,
    /// The time.
    pub clock: Clock,
}

impl App {
    /// Builds the server that a configuration describes. Records go to standard error.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let authn = authn(config)?;
        let writes = config.writes.access();
        let storage = if writes == Access::Nobody {
            Local::open_to_read(&config.root, config.rules())?
        } else {
            Local::open_to_write(&config.root, config.rules())?
        };
        let audit = AuditLog::new(Box::new(JsonLines::new(Box::new(io::stderr()))), Clock::System);
        Ok(Self {
            authn,
            policy: config.policy.clone(),
            storage: Box::new(storage),
            audit,
            writes: Semaphore::new(config.limits.uploads as usize),
            limits: config.limits.clone(),
            clock: Clock::System,
        })
    }
}

/// Builds each method once, also where both readers and writers use it.
fn authn(config: &Config) -> Result<AnyOf, StartError> {
    let mut authn = AnyOf::new(Clock::System);
    let mut built: Vec<(&Method, Vec<Scope>)> = Vec::new();
    for (scope, door) in [(Scope::Reads, &config.reads), (Scope::Writes, &config.writes)] {
        for method in door.methods() {
            match built.iter_mut().find(|(known, _scopes)| *known == method) {
                Some((_known, scopes)) => scopes.push(scope),
                None => built.push((method, vec![scope])),
            }
        }
    }
    // A directory sees only passwords that nobody here knows.
    built.sort_by_key(|(method, _scopes)| matches!(method, Method::Ldap(_)));
    for (method, scopes) in built {
        authn.add(&scopes, authenticator(method)?);
    }
    Ok(authn)
}

fn authenticator(method: &Method) -> Result<Box<dyn Authenticator>, StartError> {
    Ok(match method {
        Method::StaticTokens(tokens) => Box::new(StaticTokens::new(tokens.clone())),
        Method::Htpasswd(file) => Box::new(Htpasswd::open(file)?),
        Method::SshFile { file, list, audiences } => {
            let keys = KeySource::File { file: Arc::new(KeyFile::open(file)?), list: *list };
            Box::new(SshTokens::new(keys, audiences.clone()))
        }
        Method::SshCommand { argv, hidden, audiences } => {
            let lookup = Lookup::new(argv.clone(), hidden.clone());
            Box::new(SshTokens::new(KeySource::Command(Arc::new(lookup)), audiences.clone()))
        }
        Method::Oidc(settings) => Box::new(Oidc::new(settings.as_ref().clone())?),
        Method::Ldap(settings) => Box::new(Ldap::new(settings.as_ref().clone())?),
    })
}

/// Says what is wrong in the files of users, without stopping the start.
pub fn complaints(config: &Config) -> Result<Vec<String>, Unreadable> {
    let mut complaints = Vec::new();
    for method in config.reads.methods().iter().chain(config.writes.methods()) {
        let (file, found) = match method {
            Method::Htpasswd(file) => (file, Htpasswd::open(file)?.complaints()),
            Method::SshFile { file, .. } => {
                (file, KeyFile::open(file)?.current().complaints().to_vec())
            }
            Method::StaticTokens(_)
            | Method::SshCommand { .. }
            | Method::Oidc(_)
            | Method::Ldap(_) => continue,
        };
        let place = |complaint| format!("`{}`: {complaint}", file.display());
        complaints.extend(found.into_iter().map(place));
    }
    complaints.dedup();
    Ok(complaints)
}

/// Why a server could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The tree cannot be opened.
    #[error(transparent)]
    Storage(#[from] OpenError),
    /// A file of users cannot be used.
    #[error("the users in {0}")]
    Users(#[from] Unreadable),
    /// There is no TLS to ask others.
    #[error("failed to prepare for TLS")]
    Tls(#[from] rustls::Error),
    /// A directory cannot be asked.
    #[error("failed to prepare for the directory")]
    Directory(#[from] LdapError),
}
