//! What is kept under one key: how long it is good, and what makes room for it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;

use super::{Key, Need, Recipient};
use crate::oidc::Tokens;

/// How long before its end a token is renewed, at most; a fifth of its life where that is less.
pub const RENEWED_BEFORE: Duration = Duration::from_mins(5);

/// How long before its end a token is not used any more, at most; a tenth of its life where that
/// is less. (The reference has the same, wire formats, 2.3.)
pub const NOT_USED_BEFORE: Duration = Duration::from_secs(30);

/// How far this machine's clock may have been behind when a token came. Further back, it was
/// changed since, and nobody knows how long the token is still good.
const CLOCK_STEP: Duration = Duration::from_mins(1);

/// How long an entry is kept after its token has ended, for what gets the next one.
pub(super) const KEPT_AFTER_END: Duration = Duration::from_hours(24 * 180);

/// How many entries are kept.
pub(super) const ENTRY_LIMIT: usize = 256;

/// How many of them one server has, at most: it does not push out what others have given.
pub(super) const SERVER_LIMIT: usize = 32;

/// How many bytes all entries may have in the file, so that there is room for the largest one more. A
/// larger file than its reader takes would be taken away, with everybody's sign-ins.
const BYTES_LIMIT: usize = 3 * 1024 * 1024;

/// What is kept under one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) tokens: Tokens,
    /// When the next one could last not be had.
    pub(super) tried: Option<SystemTime>,
    /// What of it is for long is in the keychain. Then there is no refresh token here, and in the
    /// place of a server's own token nothing until it is asked for.
    pub(super) in_keychain: bool,
}

/// How long a token is still good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    /// It is good, and somebody should get the next one.
    Ends,
    Over,
}

impl Entry {
    pub(super) fn new(key: &Key, tokens: &Tokens) -> Self {
        Self { key: key.clone(), tokens: tokens.clone(), tried: None, in_keychain: false }
    }

    /// Returns what of it is for long: a server's own token, which is good until it is revoked; else
    /// what gets the next token.
    pub(super) fn long_lived(&self) -> Option<&Secret<String>> {
        if self.key.is_of_server() {
            return Some(&self.tokens.token).filter(|token| !token.expose().is_empty());
        }
        self.tokens.refresh_token.as_ref()
    }

    /// Returns it with that, or without.
    pub(super) fn with_long_lived(mut self, secret: Option<Secret<String>>) -> Self {
        if self.key.is_of_server() {
            self.tokens.token = secret.unwrap_or_else(|| Secret::new(String::new()));
        } else {
            self.tokens.refresh_token = secret;
        }
        self
    }

    /// Returns how many bytes it has in the file at most.
    fn size(&self) -> usize {
        let Self {
            key: Key { issuer, client, audience, to: _, who },
            tokens,
            tried: _,
            in_keychain: _,
        } = self;
        let secrets = [Some(&tokens.token), tokens.refresh_token.as_ref()].into_iter().flatten();
        let texts = [issuer, client, audience, who].into_iter().map(String::len);
        // Each of their characters may be written as two; the rest has names, times, a host and a
        // server's name.
        2 * (texts.sum::<usize>() + secrets.map(|it| it.expose().len()).sum::<usize>()) + 1024
    }

    /// Returns how long the token is still good.
    pub(super) fn standing(&self, need: &Need<'_>) -> Standing {
        let Tokens { token, received, expires, refresh_token: _ } = &self.tokens;
        if need.refused == Some(token) {
            return Standing::Over;
        }
        let Some(expires) = expires else { return Standing::Good };
        let clock_went_back = received.duration_since(need.now).is_ok_and(|by| by > CLOCK_STEP);
        let life = expires.duration_since(*received).unwrap_or_default();
        let left = expires.duration_since(need.now).unwrap_or_default();
        if clock_went_back || left <= NOT_USED_BEFORE.min(life / 10) {
            Standing::Over
        } else if left <= RENEWED_BEFORE.min(life / 5) {
            Standing::Ends
        } else {
            Standing::Good
        }
    }
}

/// Drops what is of no use any more, and the oldest where there is too much.
///
/// Returns what was dropped.
pub(super) fn make_room(entries: &mut Vec<Entry>, now: SystemTime) -> Vec<Entry> {
    let is_of_no_use = |entry: &mut Entry| {
        if entry.key.is_of_job() {
            return true;
        }
        let Some(expires) = entry.tokens.expires else { return false };
        let is_renewable = entry.in_keychain || entry.tokens.refresh_token.is_some();
        let kept = if is_renewable { KEPT_AFTER_END } else { Duration::ZERO };
        now.duration_since(expires).is_ok_and(|since| since > kept)
    };
    let mut dropped: Vec<Entry> = entries.extract_if(.., is_of_no_use).collect();
    entries.sort_by_key(|entry| entry.tokens.received);
    entries.reverse();
    let (mut count, mut bytes, mut of_server) = (0, 0, BTreeMap::<Recipient, usize>::new());
    let is_too_much = |entry: &mut Entry| {
        let its = of_server.entry(entry.key.to.clone()).or_default();
        *its += 1;
        let is_kept =
            *its < SERVER_LIMIT && count + 1 < ENTRY_LIMIT && bytes + entry.size() <= BYTES_LIMIT;
        if is_kept {
            count += 1;
            bytes += entry.size();
        }
        !is_kept
    };
    dropped.extend(entries.extract_if(.., is_too_much));
    entries.reverse();
    dropped
}
