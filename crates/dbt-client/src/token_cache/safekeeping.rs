//! What of the tokens is for long, and the keychain: how it gets there, and how it is had again.
//!
//! The file says of each entry whether its part is in the keychain, so that a look at the file alone
//! tells when the keychain is asked: to renew a sign-in, to forget it, and for each process that
//! sends a server's own token. Where tokens belong is decided when they are written; what is read
//! is where the file says. So a switch moves nothing by itself.
//!
//! A secret is written there before the file says so, and taken away before the file forgets it:
//! what is in the keychain is always what counts, or a sign-in that has ended.

use std::collections::BTreeMap;
use std::time::Duration;

use dbt_core::secret::Secret;

use super::keychain::Item;
use super::{
    CacheProblem, Entry, Key, Keychain, KeychainError, Lock, Place, TokenCache, TokenStore,
};
use crate::oidc::Tokens;
use crate::url::Origin;

/// How long whoever signs in or out waits for a renewal that is going on.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was taken out of the keychain, and what could not be.
pub(super) struct TakenOut {
    secrets: BTreeMap<Key, Option<Secret<String>>>,
    /// Nobody renews meanwhile what is forgotten next.
    locks: Vec<Option<Lock>>,
    left: Vec<Key>,
}

impl TokenCache {
    /// Keeps tokens there from now on. What is somewhere else moves when it is renewed, or signed in
    /// to anew.
    #[must_use]
    pub fn keeping_in(self, store: TokenStore) -> Self {
        Self { store, ..self }
    }

    /// Asks this keychain in the place of the system's.
    #[must_use]
    pub fn with_keychain(self, keychain: Keychain) -> Self {
        Self { keychain, ..self }
    }

    /// Returns where tokens are kept.
    pub const fn store_of_tokens(&self) -> TokenStore {
        self.store
    }

    /// Looks whether the keychain takes something, where tokens belong there: before somebody signs
    /// in for nothing.
    pub fn check_keychain(&self) -> Result<(), KeychainError> {
        match (self.store, &self.place) {
            (TokenStore::Keychain, Place::File(_)) => self.keychain.check(),
            (TokenStore::Keychain | TokenStore::File, _) => Ok(()),
        }
    }

    /// Puts what of an entry is for long into the keychain, where it belongs there, and returns what
    /// is for the file. `unlocked` is there already.
    ///
    /// Where that fails it is said, and the error is the entry without it: it is in no file instead.
    pub(super) fn put_away(
        &self,
        entry: Entry,
        unlocked: Option<&Secret<String>>,
    ) -> Result<Entry, Box<Entry>> {
        let (Place::File(file), TokenStore::Keychain) = (self.place_of(&entry.key), self.store)
        else {
            return Ok(entry);
        };
        let Some(secret) = entry.long_lived() else { return Ok(entry) };
        if unlocked != Some(secret)
            && let Err(source) = self.keychain.store(&file.item(&entry.key), secret)
        {
            self.say(&entry.key, KeychainProblem::NotKept, source);
            return Err(Box::new(entry.with_long_lived(None)));
        }
        Ok(Entry { in_keychain: true, ..entry.with_long_lived(None) })
    }

    /// Returns an entry whose token is asked of the keychain, if it is there: nothing where it cannot
    /// be had.
    pub(super) fn with_its_token(&self, entry: Entry) -> Option<Entry> {
        if !entry.in_keychain || !entry.key.is_of_server() {
            return Some(entry);
        }
        let secret = self.look_up(&entry.key)?;
        Some(entry.with_long_lived(Some(secret)))
    }

    /// Returns what gets the token after that of an entry, where the next one can be kept by whoever
    /// has this lock, and is spent.
    pub(super) fn spendable(&self, entry: &Entry, lock: Option<&Lock>) -> Option<Secret<String>> {
        let is_there = entry.in_keychain || entry.tokens.refresh_token.is_some();
        if entry.key.is_of_server() || !is_there || !self.can_keep_the_next(&entry.key, lock) {
            return None;
        }
        let secret = match &entry.tokens.refresh_token {
            Some(secret) => secret.clone(),
            None => self.look_up(&entry.key)?,
        };
        if self.store == TokenStore::Keychain
            && let Some(item) = self.item(&entry.key)
        {
            // By writing what is there, as for the file.
            let outcome = if entry.in_keychain {
                self.keychain.store(&item, &secret)
            } else {
                self.keychain.check()
            };
            if let Err(source) = outcome {
                self.say(&entry.key, KeychainProblem::NotRenewed, source);
                return None;
            }
        }
        Some(secret)
    }

    /// Takes what the file says is in the keychain out of it, to forget it. Says what could not be.
    pub(super) fn take_out(&self, is_its: impl Fn(&Key) -> bool) -> TakenOut {
        let mut taken = TakenOut { secrets: BTreeMap::new(), locks: Vec::new(), left: Vec::new() };
        let Place::File(file) = &self.place else { return taken };
        let is_there = |entry: &Entry| entry.in_keychain && is_its(&entry.key);
        for entry in file.read(&*self.say).into_iter().filter(is_there) {
            let item = file.item(&entry.key);
            taken.locks.push(self.lock_for(&entry.key, PATIENCE));
            // It ends the session at its giver; without it the session is forgotten all the same.
            let secret = self.keychain.lookup(&item).ok();
            if let Err(source) = self.keychain.clear(&item) {
                self.say(&entry.key, KeychainProblem::NotRemoved, source);
                taken.left.push(entry.key.clone());
            }
            taken.secrets.insert(entry.key, secret);
        }
        taken
    }

    /// Takes what entries have there out of the keychain: the file has them no more.
    pub(super) fn clear(&self, gone: &[Entry]) {
        for entry in gone.iter().filter(|entry| entry.in_keychain) {
            if let Some(item) = self.item(&entry.key)
                && let Err(source) = self.keychain.clear(&item)
            {
                self.say(&entry.key, KeychainProblem::NotRemoved, source);
            }
        }
    }

    /// Keeps a renewal that is going on from writing over what somebody has just signed in with.
    pub(super) fn lock_for_keychain(&self, key: &Key) -> Option<Lock> {
        let is_there = self.store == TokenStore::Keychain && !key.is_of_server();
        if is_there { self.lock_for(key, PATIENCE) } else { None }
    }

    fn look_up(&self, key: &Key) -> Option<Secret<String>> {
        let found = self.keychain.lookup(&self.item(key)?);
        found.map_err(|source| self.say(key, KeychainProblem::NotRead, source)).ok()
    }

    fn item(&self, key: &Key) -> Option<Item> {
        match self.place_of(key) {
            Place::File(file) | Place::ReadOnly(file) => Some(file.item(key)),
            Place::Memory => None,
        }
    }

    fn say(
        &self,
        key: &Key,
        problem: fn(Origin, KeychainError) -> KeychainProblem,
        source: KeychainError,
    ) {
        (self.say)(&CacheProblem::Keychain(problem(key.to.origin.clone(), source)));
    }
}

impl TakenOut {
    /// Says whether something is in the keychain still.
    pub(super) fn stays(&self, key: &Key) -> bool {
        self.left.contains(key)
    }

    /// Returns what was forgotten with what was taken out for it.
    pub(super) fn whole(&self, entry: Entry) -> (Key, Tokens) {
        let entry = match self.secrets.get(&entry.key) {
            Some(Some(secret)) => entry.with_long_lived(Some(secret.clone())),
            Some(None) | None => entry,
        };
        (entry.key, entry.tokens)
    }
}

/// What the keychain did not do for the tokens of a server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeychainProblem {
    /// It did not say what it has.
    #[error("the sign-in to `{0}` cannot be read from the keychain")]
    NotRead(Origin, #[source] KeychainError),
    /// It did not take it.
    #[error("the sign-in to `{0}` cannot be kept in the keychain")]
    NotKept(Origin, #[source] KeychainError),
    /// What gets the next token counts once, and the next one could not be kept.
    #[error("the sign-in to `{0}` is not renewed, since the keychain cannot be written")]
    NotRenewed(Origin, #[source] KeychainError),
    /// It did not forget it.
    #[error("the sign-in to `{0}` is left in the keychain")]
    NotRemoved(Origin, #[source] KeychainError),
}

impl KeychainProblem {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NotRead(_, source)
            | Self::NotKept(_, source)
            | Self::NotRenewed(_, source)
            | Self::NotRemoved(_, source) => source.hint(),
        }
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
