//! Tokens that providers and servers gave, kept for all processes of one user.
//!
//! A token is good for the server that it was got for and for no other: an entry belongs to an
//! issuer, a client, an audience, a server ([`Recipient`]) and somebody ([`Key`]). All are in one file,
//! `state/tokens.json` below the home of ours, which nobody else can read; where nothing can be
//! written they live in memory. Those of CI jobs always do: the home of a runner outlives the job,
//! and is the next one's.
//!
//! As long as a token is good nobody is asked. In the last fifth of its life, five minutes at most,
//! one process gets the next one while the others go on with it; when it is over, one does and the
//! others wait for what it gets. Where locks do not work everybody gets one; what is written is
//! whole all the same.

mod entry;
mod file;
mod key;
mod keychain;
mod safekeeping;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, SystemTime};

use dbt_core::secret::Secret;

use self::entry::{Entry, Standing, make_room};
pub use self::entry::{NOT_USED_BEFORE, RENEWED_BEFORE};
use self::file::TokenFile;
pub(crate) use self::file::locks;
pub use self::key::{Key, Recipient};
pub use self::keychain::{
    InvalidTokenStore, Keychain, KeychainError, PATIENCE as KEYCHAIN_PATIENCE, TokenStore,
};
pub use self::safekeeping::KeychainProblem;
use crate::fsx::{FsxError, Lock};
use crate::oidc::Tokens;
use crate::ownership::{self, Distrust};
use crate::settings::Places;

/// How long a renewal is not tried again that failed while the token was still good.
const TRIED_AGAIN_AFTER: Duration = Duration::from_mins(1);

/// When a token is needed, and what is known about it.
#[derive(Debug)]
pub struct Need<'a> {
    /// The time.
    pub now: SystemTime,
    /// How long another process is waited for that gets it.
    pub patience: Duration,
    /// The token that the server has just refused, although it seemed good: any other will do.
    pub refused: Option<&'a Secret<String>>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoToken<E> {
    /// It could not be had.
    #[error(transparent)]
    Obtain(E),
    /// Another process is about to get it, and has not in time.
    #[error("another process was still signing in after {} s", .waited.as_secs_f64().round())]
    Busy {
        /// How long was waited.
        waited: Duration,
    },
}

impl<E> NoToken<E> {
    /// Returns what went wrong where it was tried.
    pub fn into_cause(self) -> Option<E> {
        match self {
            Self::Obtain(error) => Some(error),
            Self::Busy { .. } => None,
        }
    }
}

/// The cache. One for a process, shared by its threads.
pub struct TokenCache {
    place: Place,
    store: TokenStore,
    keychain: Keychain,
    say: Box<dyn Fn(&CacheProblem) + Send + Sync>,
    /// What this process has seen.
    memory: Mutex<BTreeMap<Key, Entry>>,
    /// Held by the thread that gets a token.
    turn: Mutex<()>,
}

#[derive(Debug)]
enum Place {
    Memory,
    /// What was written when it could be.
    ReadOnly(TokenFile),
    File(TokenFile),
}

impl TokenCache {
    /// Returns the cache of the user whose places these are; reads and writes nothing yet. `say` is
    /// told what is wrong with what is kept, once: no run stops for that.
    pub fn open(places: &Places, say: impl Fn(&CacheProblem) + Send + Sync + 'static) -> Self {
        let said = Mutex::new(BTreeSet::new());
        let say = move |problem: &CacheProblem| {
            // Every look at the file finds the same.
            if lock_memory(&said).insert(problem.to_string()) {
                say(problem);
            }
        };
        let state = |home: &PathBuf| (home.clone(), home.join("state"));
        let place = match (&places.home, &places.read_only_home) {
            (Some(home), _) => Some((state(home), true)),
            (None, Some(home)) => Some((state(home), false)),
            (None, None) => None,
        };
        let place = match place {
            None => Place::Memory,
            Some(((home, directory), is_writable)) => match ownership::of_ours(&home, &directory) {
                Err(distrust) => {
                    say(&CacheProblem::Distrusted(distrust));
                    Place::Memory
                }
                Ok(()) if is_writable => Place::File(TokenFile::in_directory(directory)),
                Ok(()) => Place::ReadOnly(TokenFile::in_directory(directory)),
            },
        };
        Self::at(place, Box::new(say))
    }

    /// Returns a cache that ends with the process.
    pub fn in_memory() -> Self {
        Self::at(Place::Memory, Box::new(|_problem| {}))
    }

    fn at(place: Place, say: Box<dyn Fn(&CacheProblem) + Send + Sync>) -> Self {
        let (store, keychain) = (TokenStore::File, Keychain::of_this_system());
        Self { place, store, keychain, say, memory: Mutex::default(), turn: Mutex::default() }
    }

    /// Returns what is kept under a key, good or not.
    pub fn peek(&self, key: &Key) -> Option<Tokens> {
        let entry = self.by_now(key)?;
        self.remember(entry.clone());
        Some(entry.tokens)
    }

    /// Returns a token that is good, and gets one with `obtain` where there is none: once among all
    /// processes and threads that need it at the same time. It is kept before it is returned, so
    /// that what gets the next one is not lost where that counts once.
    ///
    /// Where a token that is still good cannot be renewed, it is returned; that is tried again a
    /// minute later. `obtain` must not use this cache, but what it is given.
    pub fn get_or_obtain<E>(
        &self,
        key: &Key,
        need: &Need<'_>,
        obtain: impl FnOnce(&mut Renewal<'_>) -> Result<Tokens, E>,
    ) -> Result<Tokens, NoToken<E>> {
        let seen = self.seen(key, need);
        let _turn;
        let lock;
        match &seen {
            Some((entry, Standing::Good)) => return Ok(entry.tokens.clone()),
            Some((entry, Standing::Ends)) => {
                let rests =
                    entry.tried.is_some_and(|tried| is_within(tried, TRIED_AGAIN_AFTER, need.now));
                let turn = if rests { None } else { self.turn_if_free() };
                let Some(turn) = turn else { return Ok(entry.tokens.clone()) };
                _turn = turn;
                lock = self.lock_for(key, Duration::ZERO);
                if lock.as_ref().is_some_and(is_anothers) {
                    return Ok(entry.tokens.clone());
                }
            }
            Some((_, Standing::Over)) | None => {
                _turn = lock_memory(&self.turn);
                lock = self.lock_for(key, need.patience);
            }
        }
        let by_now = self.by_now(key);
        let standing = by_now.as_ref().map(|entry| entry.standing(need));
        if let Some((entry, Standing::Good)) = by_now.as_ref().zip(standing) {
            self.remember(entry.clone());
            return Ok(entry.tokens.clone());
        }
        if lock.as_ref().is_some_and(is_anothers) {
            return Err(NoToken::Busy { waited: need.patience });
        }
        let mut renewal = Renewal::of(self, key, by_now, lock.as_ref());
        match (obtain(&mut renewal), renewal.before) {
            (Ok(tokens), before) => {
                let entry = Entry::new(key, &tokens);
                self.remember(entry.clone());
                // What gets the next one is lost where the keychain fails after all.
                let entry = self.put_away(entry, renewal.unlocked.as_ref());
                self.keep(entry.unwrap_or_else(|rest| *rest), before.as_ref());
                Ok(tokens)
            }
            (Err(_later), Some(still)) if still.standing(need) == Standing::Ends => {
                self.put_off(&still, need.now);
                Ok(still.tokens)
            }
            (Err(error), _) => Err(NoToken::Obtain(error)),
        }
    }

    /// Keeps what a person has signed in with; not at all where the keychain does not take its part.
    pub fn store(&self, key: &Key, tokens: &Tokens) {
        let entry = Entry::new(key, tokens);
        self.remember(entry.clone());
        let _lock = self.lock_for_keychain(key);
        if let Ok(entry) = self.put_away(entry, None) {
            self.keep(entry, None);
        }
    }

    /// Says whether anything is kept under a key for the same, for which an agent signed.
    pub fn has_of_agents(&self, key: &Key) -> bool {
        let is_its = |entry: &Entry| entry.key.is_same_but_for_agent(key) && entry.key != *key;
        let in_file = match self.place_of(key) {
            Place::Memory => Vec::new(),
            Place::ReadOnly(file) | Place::File(file) => file.read(&*self.say),
        };
        in_file.iter().any(is_its) || lock_memory(&self.memory).values().any(is_its)
    }

    /// Says whether other processes find this token under a key.
    pub fn is_kept(&self, key: &Key, tokens: &Tokens) -> bool {
        let Place::File(file) = self.place_of(key) else { return false };
        file.read(&*self.say)
            .iter()
            .any(|entry| entry.key == *key && entry.tokens.token == tokens.token)
    }

    /// Forgets the tokens that are sent to one server, and returns them: whoever signs out may want
    /// to end them where they came from. What the keychain does not give up stays.
    pub fn forget(&self, server: &[Recipient]) -> Vec<(Key, Tokens)> {
        let is_its = |key: &Key| server.contains(&key.to);
        let taken = self.take_out(is_its);
        let gone = self.forget_each(|key| is_its(key) && !taken.stays(key));
        gone.into_iter().map(|entry| taken.whole(entry)).collect()
    }

    /// Forgets what is in the way of tokens under a key, for a server to which tokens are sent like
    /// this: what a person gave for it, and what the same person was given before. Other people's
    /// stay.
    pub fn make_way_for(&self, new: &Key, server: &[Recipient]) {
        let is_in_the_way = |key: &Key| {
            if key.is_of_server() {
                server.contains(&key.to)
            } else {
                key.to == new.to && key.who == new.who
            }
        };
        let _taken = self.take_out(is_in_the_way);
        self.forget_each(is_in_the_way);
    }

    /// Says whether a token for a server is left in the file of a user, looking at it anew. It is not
    /// known where the file cannot be read.
    pub fn is_left(places: &Places, server: &[Recipient]) -> Result<bool, CacheProblem> {
        let Some(home) = places.home.as_ref().or(places.read_only_home.as_ref()) else {
            return Ok(false);
        };
        let directory = home.join("state");
        let file = TokenFile::in_directory(directory.clone());
        if !file.is_there() {
            return Ok(false);
        }
        ownership::of_ours(home, &directory).map_err(CacheProblem::Distrusted)?;
        Ok(file.entries()?.iter().any(|entry| server.contains(&entry.key.to)))
    }

    fn forget_each(&self, is_its: impl Fn(&Key) -> bool) -> Vec<Entry> {
        let mut memory = lock_memory(&self.memory);
        let mut forgotten: BTreeMap<Key, Entry> =
            memory.extract_if(.., |key, _entry| is_its(key)).collect();
        drop(memory);
        let mut in_file = |entries: &mut Vec<Entry>| {
            let gone = entries.extract_if(.., |entry| is_its(&entry.key));
            forgotten.extend(gone.map(|entry| (entry.key.clone(), entry)));
        };
        match &self.place {
            Place::Memory => {}
            Place::File(file) => file.change(&*self.say, in_file),
            Place::ReadOnly(file) => {
                let mut entries = file.read(&*self.say);
                let before = entries.len();
                in_file(&mut entries);
                if entries.len() < before {
                    (self.say)(&file.cannot_be_changed());
                }
            }
        }
        forgotten.into_values().collect()
    }

    /// Returns what is known of a key without a lock: what this process has seen, as long as that
    /// is good, and else what is in the file.
    fn seen(&self, key: &Key, need: &Need<'_>) -> Option<(Entry, Standing)> {
        let with_standing = |entry: Entry| {
            let standing = entry.standing(need);
            (entry, standing)
        };
        let known = lock_memory(&self.memory).get(key).cloned().map(with_standing);
        if let Some((_, Standing::Good)) = known {
            return known;
        }
        let found = self.by_now(key)?;
        self.remember(found.clone());
        Some(with_standing(found))
    }

    /// Returns what is kept under a key in this moment.
    fn by_now(&self, key: &Key) -> Option<Entry> {
        let in_file = match self.place_of(key) {
            Place::Memory => return lock_memory(&self.memory).get(key).cloned(),
            Place::ReadOnly(file) => {
                // What this process got since is newer.
                let known = lock_memory(&self.memory).get(key).cloned();
                if known.is_some() {
                    return known;
                }
                file.read(&*self.say)
            }
            Place::File(file) => file.read(&*self.say),
        };
        let found = in_file.into_iter().find(|entry| entry.key == *key)?;
        self.with_its_token(found)
    }

    /// Returns where what is under a key is kept.
    fn place_of(&self, key: &Key) -> &Place {
        if key.is_of_job() { &Place::Memory } else { &self.place }
    }

    fn remember(&self, entry: Entry) {
        lock_memory(&self.memory).insert(entry.key.clone(), entry);
    }

    /// Writes an entry. Where it continues one that is gone meanwhile, somebody has signed out since,
    /// and it lives for this process only.
    fn keep(&self, entry: Entry, before: Option<&Entry>) {
        let Place::File(file) = self.place_of(&entry.key) else { return };
        let mut gone = Vec::new();
        file.change(&*self.say, |entries| {
            let replaced: Vec<Entry> = entries.extract_if(.., |it| it.key == entry.key).collect();
            if replaced.is_empty() && before.is_some() {
                gone.push(entry);
                return;
            }
            gone.extend(make_room(entries, entry.tokens.received));
            gone.extend(replaced.into_iter().filter(|_replaced| !entry.in_keychain));
            entries.push(entry);
        });
        self.clear(&gone);
    }

    /// Remembers that a renewal failed, unless somebody else's did not.
    fn put_off(&self, entry: &Entry, now: SystemTime) {
        let tried = Entry { tried: Some(now), ..entry.clone() };
        self.remember(tried.clone());
        if let Place::File(file) = self.place_of(&entry.key) {
            file.change(&*self.say, |entries| {
                if let Some(same) = entries.iter_mut().find(|it| *it == entry) {
                    *same = tried;
                }
            });
        }
    }

    /// Says whether the next token can be kept by whoever has this lock. Many providers let what gets
    /// the next one count once, and end the session when it comes again: it is not spent where the
    /// next one would end with this process, and others would show the old one.
    fn can_keep_the_next(&self, key: &Key, lock: Option<&Lock>) -> bool {
        let file = match self.place_of(key) {
            Place::Memory => return true,
            Place::ReadOnly(file) => {
                (self.say)(&file.not_renewed());
                return false;
            }
            Place::File(file) => file,
        };
        let can = lock.is_some_and(Lock::is_held) && file.can_be_written();
        if !can {
            (self.say)(&file.not_renewed());
        }
        can
    }

    fn turn_if_free(&self) -> Option<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes the lock of a key among processes; nothing where locks do not work.
    fn lock_for(&self, key: &Key, patience: Duration) -> Option<Lock> {
        match self.place_of(key) {
            Place::File(file) => file.lock_for(key, patience),
            Place::Memory | Place::ReadOnly(_) => None,
        }
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The work of getting a token that everybody waits for.
#[derive(Debug)]
pub struct Renewal<'a> {
    cache: &'a TokenCache,
    key: &'a Key,
    before: Option<Entry>,
    shown: Option<Tokens>,
    /// What the keychain has gets the next one.
    unlocked: Option<Secret<String>>,
}

impl<'a> Renewal<'a> {
    fn of(cache: &'a TokenCache, key: &'a Key, before: Option<Entry>, lock: Option<&Lock>) -> Self {
        let spent = before.as_ref().and_then(|entry| cache.spendable(entry, lock));
        let shown = before.as_ref().map(|entry| entry.tokens.clone().renewed_by(spent.clone()));
        let unlocked = spent.filter(|_| before.as_ref().is_some_and(|entry| entry.in_keychain));
        Self { cache, key, before, shown, unlocked }
    }

    /// Returns what was kept: its token has ended or is about to, or the server has refused it. It
    /// has nothing that gets the next one where that one could not be kept.
    pub fn before(&self) -> Option<&Tokens> {
        self.shown.as_ref()
    }

    /// Forgets what was kept, at once: its giver has said that it counts no more.
    pub fn forget(&mut self) {
        let Some(gone) = self.before.take() else { return };
        self.shown = None;
        lock_memory(&self.cache.memory).remove(self.key);
        if let Place::File(file) = self.cache.place_of(self.key) {
            // Where locks do not work another process may have put the next one there.
            file.change(&*self.cache.say, |entries| entries.retain(|it| it.tokens != gone.tokens));
            self.cache.clear(&[gone]);
        }
    }
}

/// Says whether another process held a lock until patience ended. Where locks do not work, nobody
/// was waited for.
fn is_anothers(lock: &Lock) -> bool {
    !lock.is_held() && lock.has_waited()
}

fn is_within(since: SystemTime, limit: Duration, now: SystemTime) -> bool {
    now.duration_since(since).is_ok_and(|age| age < limit)
}

fn lock_memory<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is wrong with what is kept. The run goes on, perhaps with a new token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheProblem {
    /// Others could change the directory.
    #[error("tokens are not remembered: {0}")]
    Distrusted(Distrust),
    /// It belongs to another user.
    #[error("`{}` belongs to user {owner}; its tokens are not used, and it is taken away", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Others could read it.
    #[error(
        "other users could read `{}` (mode {mode:04o}); its tokens are not used, and it is taken away",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is a link, a pipe or a directory.
    #[error("`{}` is not a regular file; it is taken away", path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// It holds something else than tokens.
    #[error("`{}` is damaged; it is taken away", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("`{}` was written by a newer version; its tokens are not used, and none are remembered", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
    /// What gets the next token counts once, and the next one could not be kept.
    #[error("a sign-in is not renewed, since `{}` cannot be locked and written", path.display())]
    NotRenewed {
        /// The file.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("`{}` is not changed: another process had it for {} s", path.display(), .waited.as_secs())]
    Busy {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The keychain fails.
    #[error(transparent)]
    Keychain(KeychainProblem),
    /// It could not be read.
    #[error("tokens that were remembered are not used")]
    Read(#[source] FsxError),
    /// It could not be written.
    #[error("tokens are not remembered")]
    Write(#[source] FsxError),
}

impl CacheProblem {
    /// Says whether what is there can never be used.
    fn is_replaced(&self) -> bool {
        match self {
            Self::Foreign { .. }
            | Self::Open { .. }
            | Self::NoFile { .. }
            | Self::Damaged { .. } => true,
            Self::Distrusted(_)
            | Self::Newer { .. }
            | Self::NotRenewed { .. }
            | Self::Busy { .. }
            | Self::Keychain(_)
            | Self::Read(_)
            | Self::Write(_) => false,
        }
    }

    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let program = dbt_core::brand::PROGRAM;
        match self {
            Self::Distrusted(distrust) => Some(distrust.hint()),
            Self::Open { .. } => Some(format!(
                "sign in again with `{program} login`; who has read the file could use its tokens \
                 until they end, which your identity provider can do at once"
            )),
            Self::Foreign { .. } | Self::Damaged { .. } | Self::NoFile { .. } => {
                Some(format!("sign in again with `{program} login`"))
            }
            Self::Keychain(problem) => Some(problem.hint()),
            Self::Newer { .. } => Some(format!("use the newer version of `{program}`")),
            Self::NotRenewed { .. } | Self::Busy { .. } | Self::Read(_) | Self::Write(_) => {
                Some(format!(
                    "`{program} doctor` checks whose the files are and what may be done to them"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests;
