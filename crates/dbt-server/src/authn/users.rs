//! People whom this server alone knows, because the settings name them (`auth.users`) or somebody added
//! them: they have nothing but tokens of its own, which count as long as their names are there.

use std::net::IpAddr;
use std::time::SystemTime;

use super::{Attempt, Authenticator, BadCredential, Subject, USER, Verdict, Vouching, away};
use crate::authz::REALM;
use crate::content::BoxFuture;
use crate::state::State;

/// The people whom the settings name.
pub struct NamedUsers {
    names: Vec<String>,
}

impl NamedUsers {
    /// Knows these.
    pub const fn new(names: Vec<String>) -> Self {
        Self { names }
    }
}

impl Authenticator for NamedUsers {
    /// Their tokens are looked up before any method is asked.
    fn identify<'a>(&'a self, _attempt: &'a Attempt<'a>) -> BoxFuture<'a, Verdict> {
        Box::pin(std::future::ready(Verdict::NotMine))
    }

    fn could_prove(&self, _subject: &Subject) -> bool {
        false
    }

    fn vouches_for<'a>(
        &'a self,
        subject: &'a Subject,
        _peer: IpAddr,
        _now: SystemTime,
    ) -> BoxFuture<'a, Result<Vouching, BadCredential>> {
        let is_named = subject.method == USER && self.names.contains(&subject.id);
        Box::pin(std::future::ready(Ok(Vouching::of(is_named))))
    }

    fn challenge(&self) -> String {
        format!("Bearer realm=\"{REALM}\"")
    }
}

/// The people whom somebody added, and who have nothing but tokens of this server's own.
pub enum AddedUsers {
    /// Those who are in a state when they are asked for.
    Kept(State),
    /// These.
    These(Vec<String>),
}

impl AddedUsers {
    /// Says whether somebody is one of them.
    pub fn include(&self, subject: &Subject) -> Result<bool, BadCredential> {
        if subject.method != USER {
            return Ok(false);
        }
        match self {
            Self::Kept(state) => {
                let found = state.addition(&subject.to_string());
                let found = found.map(|addition| addition.is_some());
                found.map_err(|error| away(format!("who was added cannot be looked up: {error}")))
            }
            Self::These(names) => Ok(names.contains(&subject.id)),
        }
    }
}
