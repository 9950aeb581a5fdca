//! The identity of a CI job: exchanged at its server for a token of minutes, one that reads and, when
//! something is to be written, one that writes. From then on that one reads, too: a server shows what
//! is not finished to nobody else. No secret is stored: those end with the process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dbt_core::clock::Clock;
use dbt_core::secret::Secret;

use super::{AuthHeader, CredentialsError, Purpose};
use crate::oidc::ci::{self, Identity, Scope};
use crate::oidc::{Channel, OidcError};
use crate::source::{Connector, Failure};
use crate::token_cache::{Need, NoToken, TokenCache};
use crate::url::Origin;

/// How long another process of the job is waited for at most.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a job's server is sent.
pub struct JobTokens {
    /// The identity, or why what somebody has given is none.
    identity: Result<Identity, Arc<OidcError>>,
    origin: Origin,
    cache: Arc<TokenCache>,
    clock: Clock,
    time_scale: f64,
    /// Whether it is exchanged before a server has asked who it is.
    is_wanted: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether something is being written.
    writes: bool,
    /// Why there is no token, or none from this server.
    lack: Option<Lack>,
    sent: Option<Secret<String>>,
    renewed: Option<bool>,
}

#[derive(Debug, Clone)]
enum Lack {
    /// The identity is for somebody else, or this server exchanges none. In words.
    NotHere(String),
    Failed(CredentialsError),
}

impl JobTokens {
    /// Exchanges an identity at the server at `origin`.
    pub(crate) fn new(
        identity: Result<Identity, OidcError>,
        origin: &Origin,
        cache: Arc<TokenCache>,
        (clock, time_scale): (Clock, f64),
        is_wanted: bool,
    ) -> Self {
        let (identity, origin) = (identity.map_err(Arc::new), origin.clone());
        Self { identity, origin, cache, clock, time_scale, is_wanted, state: Mutex::default() }
    }

    /// Says whether it waits until a server asks: then it is for none without TLS.
    pub(super) const fn is_found(&self) -> bool {
        !self.is_wanted
    }

    /// Says why the identity was not used.
    pub(super) fn unused(&self) -> Option<String> {
        match &self.lock().lack {
            Some(Lack::NotHere(words)) => Some(words.clone()),
            Some(Lack::Failed(_)) | None => None,
        }
    }

    /// Reads with the token that writes from now on; says whether that is another one than before.
    pub(super) fn begin_writing(&self) -> bool {
        let mut state = self.lock();
        let lacks_here = matches!(state.lack, Some(Lack::NotHere(_)));
        !std::mem::replace(&mut state.writes, true) && !lacks_here
    }

    pub(super) fn header(
        &self,
        purpose: Purpose<'_>,
        connector: Option<&Arc<Connector>>,
        limit: Duration,
    ) -> Result<Option<AuthHeader>, CredentialsError> {
        let Some(connector) = connector else { return Ok(None) };
        let mut state = self.lock();
        match &state.lack {
            Some(Lack::NotHere(_)) => return Ok(None),
            Some(Lack::Failed(error)) => return Err(error.clone()),
            None => {}
        }
        state.writes |= matches!(purpose, Purpose::Write { .. });
        let scope = state.scope();
        // Many repositories are read by everybody.
        let is_asked_for =
            self.is_wanted || scope == Scope::Write || state.renewed.is_some_and(|other| other);
        match self.obtained(connector, limit, scope, None, is_asked_for) {
            Ok(Some(token)) => {
                state.sent = Some(token.clone());
                Ok(Some(AuthHeader::authorization("Bearer", &token)))
            }
            Ok(None) => Ok(None),
            Err(Lack::NotHere(words)) => {
                state.lack = Some(Lack::NotHere(words));
                Ok(None)
            }
            Err(Lack::Failed(error)) => {
                state.lack = Some(Lack::Failed(error.clone()));
                Err(error)
            }
        }
    }

    /// Exchanges the identity because the server asks who it is, once in a run; says whether there is
    /// another token than before.
    pub(super) fn renew(
        &self,
        connector: Option<&Arc<Connector>>,
        limit: Duration,
    ) -> Result<bool, CredentialsError> {
        let mut state = self.lock();
        if let Some(renewed) = state.renewed {
            return Ok(renewed);
        }
        let Some(connector) = connector.filter(|_| state.lack.is_none()) else { return Ok(false) };
        let refused = state.sent.take();
        let outcome = self.obtained(connector, limit, state.scope(), refused.as_ref(), true);
        let is_other = matches!(&outcome, Ok(Some(token)) if Some(token) != refused.as_ref());
        state.renewed = Some(is_other);
        match outcome {
            Ok(token) => {
                state.sent = token;
                Ok(is_other)
            }
            Err(lack) => {
                let error = match &lack {
                    Lack::NotHere(_) => None,
                    Lack::Failed(error) => Some(error.clone()),
                };
                state.lack = Some(lack);
                error.map_or(Ok(false), Err)
            }
        }
    }

    /// Says whether that was tried.
    pub(super) fn was_renewed(&self) -> bool {
        self.lock().renewed.is_some()
    }

    /// Returns the token that is kept, or exchanges the identity for one where that is `asked_for`.
    fn obtained(
        &self,
        connector: &Arc<Connector>,
        limit: Duration,
        scope: Scope,
        refused: Option<&Secret<String>>,
        is_asked_for: bool,
    ) -> Result<Option<Secret<String>>, Lack> {
        let identity = match &self.identity {
            Ok(identity) => identity,
            Err(error) => return Err(Lack::Failed(CredentialsError::Provider(Arc::clone(error)))),
        };
        let key = identity.key(&self.origin, scope);
        let (now, patience) = (self.clock.now(), limit.min(LONGEST_WAIT));
        let need = Need { now, patience, refused };
        let outcome = self.cache.get_or_obtain(&key, &need, |_renewal| {
            if !is_asked_for {
                return Err(None);
            }
            let channel = Channel::new(connector, self.clock, self.time_scale)
                .until(Instant::now().checked_add(limit));
            let token = identity.token(&channel, &self.origin);
            let token = token.map_err(|error| Some(Lack::of_identity(error)))?;
            let tokens = ci::exchange(&channel, &self.origin, &token, scope);
            tokens.map_err(|error| Some(Lack::of_exchange(error)))
        });
        match outcome {
            Ok(tokens) => Ok(Some(tokens.token)),
            Err(NoToken::Obtain(None)) => Ok(None),
            Err(NoToken::Obtain(Some(lack))) => Err(lack),
            Err(NoToken::Busy { waited }) => Err(Lack::Failed(CredentialsError::Busy { waited })),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Says what the next token is for.
    const fn scope(&self) -> Scope {
        if self.writes { Scope::Write } else { Scope::Read }
    }
}

/// Without secrets.
impl fmt::Debug for JobTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobTokens").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Lack {
    /// An identity for another server is no failure: there may be another way in.
    fn of_identity(error: OidcError) -> Self {
        if matches!(error, OidcError::OtherAudience { .. }) {
            return Self::NotHere(error.to_string());
        }
        Self::Failed(error.into())
    }

    /// Nor is a server that knows no exchange, as web servers do not.
    fn of_exchange(error: OidcError) -> Self {
        let is_none = |failure: &Failure| {
            matches!(
                failure,
                Failure::Status { status: 404 | 405 | 410 | 501 } | Failure::Html { .. }
            )
        };
        if let OidcError::Fetch(fetched) = &error
            && is_none(fetched.failure())
        {
            let why = crate::anchor::in_one_line(&error);
            return Self::NotHere(format!("the server exchanges no identities of jobs: {why}"));
        }
        Self::Failed(error.into())
    }
}
