//! The four rooms of the server, built from its configuration.

use std::io;

use dbt_core::clock::Clock;
use tokio::sync::Semaphore;

use crate::audit::AuditLog;
use crate::audit::json_lines::JsonLines;
use crate::authn::static_token::StaticTokens;
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
    pub fn new(config: &Config) -> Result<Self, OpenError> {
        let writes = config.writes.access();
        let storage = if writes == Access::Nobody {
            Local::open_to_read(&config.root)?
        } else {
            Local::open_to_write(&config.root)?
        };
        let audit = AuditLog::new(Box::new(JsonLines::new(Box::new(io::stderr()))), Clock::System);
        Ok(Self {
            authn: authn(config),
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
fn authn(config: &Config) -> AnyOf {
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
    for (method, scopes) in built {
        authn.add(&scopes, authenticator(method));
    }
    authn
}

fn authenticator(method: &Method) -> Box<dyn Authenticator> {
    match method {
        Method::StaticTokens(tokens) => Box::new(StaticTokens::new(tokens.clone())),
    }
}
