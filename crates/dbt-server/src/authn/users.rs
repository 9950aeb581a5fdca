//! People whom the settings alone know (`auth.users`): they have nothing but tokens of this server's own,
//! which count as long as their names are there.

use std::net::IpAddr;
use std::time::SystemTime;

use super::{Attempt, Authenticator, BadCredential, Subject, USER, Verdict, Vouching};
use crate::authz::REALM;
use crate::content::BoxFuture;

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
