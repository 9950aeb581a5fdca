//! The four rooms of the server, built from its configuration.

use std::io;

use dbt_core::clock::Clock;
use tokio::sync::Semaphore;

use crate::audit::AuditLog;
use crate::audit::json_lines::JsonLines;
use crate::authn::static_token::StaticToken;
use crate::authn::{AnyOf, Scope};
use crate::authz::{Access, Policy};
use crate::config::{Config, Door, Method};
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
            Local::open_to_read(&config.root, config.rules())?
        } else {
            Local::open_to_write(&config.root, config.rules())?
        };
        let mut authn = AnyOf::default();
        for (scope, door) in [(Scope::Reads, &config.reads), (Scope::Writes, &config.writes)] {
            for method in door.methods() {
                match method {
                    Method::StaticToken(token) => {
                        authn.add(scope, Box::new(StaticToken::new(token)));
                    }
                }
            }
        }
        let reads = config.reads.access();
        let audit = AuditLog::new(Box::new(JsonLines::new(Box::new(io::stderr()))), Clock::System);
        Ok(Self {
            authn,
            policy: Policy { reads, writes, immutable: config.immutable },
            storage: Box::new(storage),
            audit,
            writes: Semaphore::new(config.limits.uploads as usize),
            limits: config.limits.clone(),
            clock: Clock::System,
        })
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

    fn methods(&self) -> &[Method] {
        match self {
            Self::Guarded(methods) => methods,
            Self::Open | Self::Closed => &[],
        }
    }
}
