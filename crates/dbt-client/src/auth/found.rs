//! What is sent where the configuration says nothing: a token that somebody has signed in with, or
//! else what the user's netrc file has for the host.
//!
//! Both belong to one origin or host, and neither is ever for a server that is reached without
//! TLS, this machine aside. Nothing is looked at before it is needed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dbt_core::secret::Secret;

use super::netrc::Login;
use super::{Netrc, NetrcProblem};
use crate::token_cache::{Key, Recipient, TokenCache};
use crate::url::{Origin, Scheme};

/// Where it is looked for what is sent.
#[derive(Debug)]
pub struct Found {
    cache: Option<Arc<TokenCache>>,
    netrc: Option<Netrc>,
    /// For whom what is sent to an origin is kept.
    recipients: Vec<Recipient>,
    /// What the cache has, read once for each origin.
    tokens: Mutex<BTreeMap<Origin, Option<Secret<String>>>>,
}

/// What is sent to an origin.
pub(super) enum Proof<'a> {
    Token(Secret<String>),
    Login(&'a Login),
}

impl Found {
    /// Looks there, for a server that is sent tokens like this. The netrc file is for servers of
    /// which the configuration says nothing at all.
    pub fn new(
        cache: Option<Arc<TokenCache>>,
        netrc: Option<Netrc>,
        recipients: &[Recipient],
    ) -> Self {
        Self { cache, netrc, recipients: recipients.to_vec(), tokens: Mutex::default() }
    }

    /// Returns the netrc file, if that is looked into.
    pub fn netrc(&self) -> Option<&Netrc> {
        self.netrc.as_ref()
    }

    /// Says whether somebody has signed in to an origin with a token.
    pub fn has_token(&self, origin: &Origin) -> bool {
        self.token(origin).is_some()
    }

    /// Returns an origin where somebody has signed in to the server that is at home there, and not to
    /// this one, which only has something there.
    pub(super) fn origin_of_another(&self) -> Option<&Origin> {
        let cache = self.cache.as_ref()?;
        let of_another = |recipient: &&Recipient| {
            let home = Recipient::at_home(recipient.origin.clone());
            recipient.is_guest()
                && !self.has_token(&recipient.origin)
                && cache.peek(&Key::of_server(home)).is_some()
        };
        self.recipients.iter().find(of_another).map(|recipient| &recipient.origin)
    }

    /// Returns what an origin is told, if anything.
    pub(super) fn proof(&self, origin: &Origin) -> Result<Option<Proof<'_>>, NetrcProblem> {
        if let Some(token) = self.token(origin) {
            return Ok(Some(Proof::Token(token)));
        }
        let Some(netrc) = &self.netrc else { return Ok(None) };
        Ok(netrc.login(origin)?.map(Proof::Login))
    }

    fn token(&self, origin: &Origin) -> Option<Secret<String>> {
        let cache = self.cache.as_ref()?;
        if origin.scheme() == Scheme::Http && !origin.is_loopback() {
            return None;
        }
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = tokens.entry(origin.clone()).or_insert_with(|| {
            let its = self.recipients.iter().find(|it| it.origin == *origin).cloned();
            let its = its.unwrap_or_else(|| Recipient::at_home(origin.clone()));
            cache.peek(&Key::of_server(its)).map(|tokens| tokens.token)
        });
        kept.clone()
    }
}
