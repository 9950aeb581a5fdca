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
use crate::token_cache::{Key, TokenCache};
use crate::url::{Origin, Scheme};

/// Where it is looked for what is sent.
#[derive(Debug)]
pub struct Found {
    cache: Option<Arc<TokenCache>>,
    netrc: Option<Netrc>,
    /// What the cache has, read once for each origin.
    tokens: Mutex<BTreeMap<Origin, Option<Secret<String>>>>,
}

/// What is sent to an origin.
pub(super) enum Proof<'a> {
    Token(Secret<String>),
    Login(&'a Login),
}

impl Found {
    /// Looks there. The netrc file is for servers of which the configuration says nothing at all.
    pub fn new(cache: Option<Arc<TokenCache>>, netrc: Option<Netrc>) -> Self {
        Self { cache, netrc, tokens: Mutex::default() }
    }

    /// Returns the netrc file, if that is looked into.
    pub fn netrc(&self) -> Option<&Netrc> {
        self.netrc.as_ref()
    }

    /// Says whether somebody has signed in to an origin with a token.
    pub fn has_token(&self, origin: &Origin) -> bool {
        self.token(origin).is_some()
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
            cache.peek(&Key::of_server(origin.clone())).map(|tokens| tokens.token)
        });
        kept.clone()
    }
}
