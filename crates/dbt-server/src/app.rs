//! The four rooms of the server, built from its configuration.

use std::io;
use std::sync::Arc;

use dbt_core::clock::Clock;

use crate::audit::AuditLog;
use crate::audit::json_lines::JsonLines;
use crate::audit::kept::{Anchor, Kept};
use crate::authn::api_tokens::ApiTokens;
use crate::authn::federation::Federation;
use crate::authn::htpasswd::Htpasswd;
use crate::authn::ldap::{Ldap, LdapError};
use crate::authn::oidc::Oidc;
use crate::authn::replay::InState;
use crate::authn::ssh::SshTokens;
use crate::authn::ssh_keys::{KeyFile, KeySource, Lookup};
use crate::authn::static_token::StaticTokens;
use crate::authn::users::{AddedUsers, NamedUsers};
use crate::authn::watched::Unreadable;
use crate::authn::{AnyOf, Authenticator, ProviderStanding, Scope, USER};
use crate::authz::{Access, Policy};
use crate::config::{AuditSettings, Config, Method, Names};
use crate::limits::Limits;
use crate::operate::gate::Gate;
use crate::operate::proxies::Proxies;
use crate::operate::tls::{self, CertificateError};
use crate::operate::{Edge, Running};
use crate::outbound::tls::{Tls, TlsError};
use crate::slots::Shares;
use crate::state::{State, StateError, Unusable};
use crate::storage::Storage;
use crate::storage::local::{Local, OpenError};
use crate::tokens::{self, Tokens};
use crate::users::Users;
use crate::web::Web;

/// Everything a request passes through. It never changes; new settings make another.
pub struct App {
    /// Who is calling.
    pub authn: AnyOf,
    /// Who may do what.
    pub policy: Policy,
    /// Who can be named.
    pub names: Names,
    /// Which jobs of CI systems get tokens, if any do.
    pub federation: Option<Arc<Federation>>,
    /// The server's own tokens.
    pub tokens: Arc<Tokens>,
    /// Who is known, and who is suspended.
    pub users: Arc<Users>,
    /// How long tokens count, and how many there may be.
    pub token_settings: tokens::Settings,
    /// Where the files are.
    pub storage: Arc<dyn Storage>,
    /// What was done.
    pub audit: Arc<AuditLog>,
    /// How much of everything.
    pub limits: Limits,
    /// How many writes may run.
    pub writes: Gate,
    /// How many of each caller run.
    pub shares: Arc<Shares>,
    /// The time.
    pub clock: Clock,
    /// What browsers see.
    pub web: Web,
    /// What clients are told before they are configured, as it is sent.
    pub announcement: Option<String>,
    /// What of the settings is about connections.
    pub edge: Edge,
    /// What stays the same however often the settings change.
    pub running: Arc<Running>,
    /// What of them an administrator should know that only came out when they were taken.
    pub notices: Vec<String>,
    methods: Methods,
    /// Which of the settings that were taken these are, from 1 on.
    number: u64,
}

/// Each method of authentication that is in use, with the settings that made it.
type Methods = Vec<(Method, Arc<dyn Authenticator>)>;

impl App {
    /// Builds the server that a configuration describes.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        let (authn, methods) = authn(config, None)?;
        let edge = edge(config)?;
        let web = Web::new(&config.web, None)?;
        let storage = if config.read_only {
            Local::open_to_read(&config.root, config.rules())?
        } else if config.writes.access() == Access::Nobody {
            Local::open_to_serve(&config.root, config.rules())?
        } else {
            Local::open_to_write(&config.root, config.rules())?
        };
        let running = Arc::<Running>::default();
        storage.observe(&running.metrics);
        let tokens = Arc::new(Tokens::new(storage.records()));
        let users = Arc::new(Users::new(storage.records()));
        let authn = authn.with_api_tokens(api_tokens(config, &tokens));
        let federation = federation(config, None)?;
        tokens.take_rules(federation.as_deref());
        let (authn, audit) = match storage.records() {
            Ok(state) => (
                authn
                    .remembering(Arc::new(InState::new(state.clone(), Clock::System.now())?))
                    .with_added_users(AddedUsers::Kept(state.clone())),
                kept(state, config)?,
            ),
            Err(unusable) => {
                let log = JsonLines::new(Box::new(io::stderr()));
                (authn, AuditLog::new(Box::new(log), Clock::System).stopped_by(unusable))
            }
        };
        let notices = users.reconcile(&config.users, !config.read_only, Clock::System.now())?;
        Ok(Self {
            authn,
            policy: config.policy.clone(),
            names: config.names.clone(),
            federation,
            tokens,
            users,
            notices,
            token_settings: config.tokens,
            storage: Arc::new(storage),
            audit: Arc::new(audit),
            writes: Gate::new(config.limits.uploads as usize),
            shares: Arc::default(),
            limits: config.limits.clone(),
            clock: Clock::System,
            web,
            announcement: config.announcement.clone(),
            edge,
            running,
            methods,
            number: 1,
        })
    }

    /// Builds a server around what is there already, for tests.
    pub fn of_parts(
        authn: AnyOf,
        policy: Policy,
        storage: Arc<dyn Storage>,
        audit: AuditLog,
        clock: Clock,
    ) -> Self {
        let limits = Limits::default();
        let reason = "it was not opened".to_owned();
        let none = Unusable::Failed { path: crate::state::FILE.into(), reason };
        Self {
            authn,
            policy,
            names: Names::default(),
            federation: None,
            tokens: Arc::new(Tokens::new(Err(none.clone()))),
            users: Arc::new(Users::new(Err(none))),
            notices: Vec::new(),
            token_settings: tokens::Settings::default(),
            storage,
            audit: Arc::new(audit),
            writes: Gate::new(limits.uploads as usize),
            shares: Arc::default(),
            limits,
            clock,
            web: Web::default(),
            announcement: None,
            edge: Edge::default(),
            running: Arc::default(),
            methods: Vec::new(),
            number: 1,
        }
    }

    /// Returns how it stands with each identity provider.
    pub fn providers(&self) -> Vec<ProviderStanding> {
        let now = self.clock.now();
        let of_people = self.methods.iter().filter_map(|(_settings, method)| method.provider(now));
        let of_jobs = self.federation.iter().flat_map(|federation| federation.standings(now));
        of_people.chain(of_jobs).collect()
    }

    /// Says whether other settings were taken since: a request has those that it began with.
    pub fn is_superseded(&self) -> bool {
        self.running.settings.number() > self.number
    }

    /// Builds the server that newer settings describe. What was opened stays open, and what is
    /// remembered stays remembered. Settings that cannot change meanwhile are added to `kept`.
    pub fn succeeding(
        before: &Self,
        config: &Config,
        kept: &mut Vec<String>,
    ) -> Result<Self, StartError> {
        let (mut authn, methods) = authn(config, Some(before))?;
        if let Ok(state) = before.tokens.state() {
            authn = authn.with_added_users(AddedUsers::Kept(state.clone()));
        }
        let authn = authn.with_api_tokens(api_tokens(config, &before.tokens));
        let federation = federation(config, before.federation.as_deref())?;
        let edge = edge(config)?;
        let web = Web::new(&config.web, Some(&before.web))?;
        let mut policy = config.policy.clone();
        // Where nobody could write, the tree was opened by somebody who only reads it.
        if policy.writable && !before.edge.read_only && !before.policy.writable {
            policy.writable = false;
            kept.push("authTypePut".to_owned());
        }
        // The last that can fail: what it does to people is not to be taken back.
        let notices = before.users.reconcile(&config.users, !edge.read_only, before.clock.now())?;
        before.storage.adapt(&config.rules());
        before.tokens.take_rules(federation.as_deref());
        before.writes.set_limit(config.limits.uploads as usize);
        Ok(Self {
            authn,
            policy,
            names: config.names.clone(),
            federation,
            tokens: Arc::clone(&before.tokens),
            users: Arc::clone(&before.users),
            notices,
            token_settings: config.tokens,
            storage: Arc::clone(&before.storage),
            audit: Arc::clone(&before.audit),
            limits: config.limits.clone(),
            writes: before.writes.clone(),
            shares: Arc::clone(&before.shares),
            clock: before.clock,
            web,
            announcement: config.announcement.clone(),
            edge,
            running: Arc::clone(&before.running),
            methods,
            number: before.number + 1,
        })
    }
}

fn edge(config: &Config) -> Result<Edge, CertificateError> {
    let prepared = config.tls.as_ref().map(tls::prepare).transpose()?;
    let (tls, tls_end) = prepared.map_or((None, None), |it| (Some(it.config), it.end));
    let proxies = Proxies::new(config.trusted_proxies.clone());
    Ok(Edge { tls, tls_end, proxies, read_only: config.read_only })
}

/// Builds what believes CI systems. What one before knows of their keys stays known.
fn federation(
    config: &Config,
    before: Option<&Federation>,
) -> Result<Option<Arc<Federation>>, TlsError> {
    let settings = config.federation.clone();
    settings.map(|settings| Federation::new(settings, before).map(Arc::new)).transpose()
}

/// Keeps the record in the state, with a copy in the log.
fn kept(state: State, config: &Config) -> Result<AuditLog, StartError> {
    let AuditSettings { retain, anchor, proxies } = &config.audit;
    let anchor = match anchor {
        Some(url) => {
            let (url, tls, proxies) = (url.clone(), Tls::trusting(None)?, proxies.clone());
            Some(Anchor { url, tls, proxies })
        }
        None => None,
    };
    let log = JsonLines::new(Box::new(io::stderr()));
    let kept = Kept::open(state, Clock::System, *retain, anchor, log)?;
    Ok(AuditLog::new(Box::new(kept), Clock::System))
}

/// Builds each method once, also where both readers and writers use it, and not again where the
/// same settings made it before: what it remembers stays good.
fn authn(config: &Config, before: Option<&App>) -> Result<(AnyOf, Methods), StartError> {
    let mut authn = AnyOf::new(Clock::System).in_mode(config.mode);
    if let Some(before) = before {
        authn = authn.continuing(&before.authn);
    }
    let mut built: Vec<(&Method, Vec<Scope>)> = Vec::new();
    for (scope, door) in [(Scope::Reads, &config.reads), (Scope::Writes, &config.writes)] {
        for method in door.methods() {
            match built.iter_mut().find(|(known, _scopes)| *known == method) {
                Some((_known, scopes)) => scopes.push(scope),
                None => built.push((method, vec![scope])),
            }
        }
    }
    // Passwords cost a slow comparison, and a directory sees only those that nobody here knows.
    built.sort_by_key(|(method, _scopes)| match method {
        Method::StaticTokens(_)
        | Method::SshFile { .. }
        | Method::SshCommand { .. }
        | Method::Oidc(_)
        | Method::ApiTokens => 0,
        Method::Htpasswd(_) => 1,
        Method::Ldap(_) => 2,
    });
    let known: &[(Method, Arc<dyn Authenticator>)] = before.map_or(&[], |before| &before.methods);
    let mut methods = Methods::new();
    for (method, scopes) in built {
        let made = match known.iter().find(|(known, _made)| known == method) {
            Some((_known, made)) => Arc::clone(made),
            None => match authenticator(method)? {
                Some(made) => Arc::from(made),
                None => continue,
            },
        };
        authn.share(&scopes, Arc::clone(&made));
        methods.push((method.clone(), made));
    }
    let named = config.users.iter().filter(|user| user.subject.method == USER);
    let named: Vec<String> = named.map(|user| user.subject.id.clone()).collect();
    if !named.is_empty() {
        authn.add(&Scope::ALL, Box::new(NamedUsers::new(named)));
    }
    Ok((authn, methods))
}

/// Builds what says who could sign in, for commands on the server's machine.
pub fn signing_in(config: &Config, added: Vec<String>) -> Result<AnyOf, StartError> {
    let (authn, _methods) = authn(config, None)?;
    Ok(authn.with_added_users(AddedUsers::These(added)))
}

/// Returns what looks tokens of the server's own up. They always count.
fn api_tokens(config: &Config, tokens: &Arc<Tokens>) -> ApiTokens {
    let doors = [(Scope::Reads, &config.reads), (Scope::Writes, &config.writes)].into_iter();
    let named_for = doors
        .filter(|(_scope, door)| door.methods().contains(&Method::ApiTokens))
        .map(|(scope, _door)| scope)
        .collect();
    ApiTokens::new(Arc::clone(tokens), named_for, config.tokens.longest)
}

/// Builds a method; nothing for tokens of the server's own, which are looked up before any is asked.
fn authenticator(method: &Method) -> Result<Option<Box<dyn Authenticator>>, StartError> {
    Ok(Some(match method {
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
        Method::ApiTokens => return Ok(None),
    }))
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
            | Method::Ldap(_)
            | Method::ApiTokens => continue,
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
    Tls(#[from] TlsError),
    /// The server's certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The state cannot be read or written.
    #[error("failed to begin with the state")]
    State(#[from] StateError),
    /// A directory cannot be asked.
    #[error("failed to prepare for the directory")]
    Directory(#[from] LdapError),
}
