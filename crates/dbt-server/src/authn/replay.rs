//! Tokens that count once: which were seen.
//!
//! A token that was first seen on a read may repeat on reads until it expires; a write needs one
//! that was never seen. What was seen is kept in the state, so that it is known after a restart.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::ready;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::jwt::CLOCK_SKEW;
use super::{BadCredential, Scope, Why, away};
use crate::content::BoxFuture;
use crate::limits;
use crate::state::{State, StateError, UsedToken};

/// Where it is kept which tokens were seen.
pub trait Replay: Send + Sync {
    /// Counts a token as used, or says why it does not count. Of two that come at the same time,
    /// one is the first.
    fn admit<'a>(
        &'a self,
        once: &'a Once,
        scope: Scope,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), BadCredential>>;
}

/// What makes a token one that counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    owner: Half,
    id: Half,
    issued: SystemTime,
    expires: SystemTime,
}

/// A half of what stands for a token: of whose it is, or of its own id.
type Half = [u8; 16];

impl Once {
    /// Names a token by whose it is and its own id. It is remembered until `expires`.
    pub fn new(owner: &str, id: &str, issued: SystemTime, expires: SystemTime) -> Self {
        Self { owner: half_of(owner), id: half_of(id), issued, expires }
    }

    /// Returns what stands for the token: all of one owner begin with the same half.
    pub fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        let (owner, id) = key.split_at_mut(size_of::<Half>());
        owner.copy_from_slice(&self.owner);
        id.copy_from_slice(&self.id);
        key
    }
}

fn half_of(text: &str) -> Half {
    halves(&Sha256::digest(text).into()).0
}

fn halves(key: &[u8; 32]) -> (Half, Half) {
    let (owner, id) = key.split_at(size_of::<Half>());
    let half = |bytes: &[u8]| bytes.try_into().unwrap_or_default();
    (half(owner), half(id))
}

/// Tokens that were seen, known until the program ends.
pub struct InMemory {
    // What was seen before that is forgotten, so that nothing older may write.
    since: SystemTime,
    seen: Mutex<Memory>,
}

/// The tokens of each owner. Whoever has keys can make tokens without end, so that each may have
/// only so many here, and fewer when there is little place: nobody fills what is there for all.
#[derive(Default)]
struct Memory {
    owners: HashMap<Half, HashMap<Half, Seen>>,
    count: usize,
    swept: Option<SystemTime>,
}

#[derive(Clone, Copy)]
struct Seen {
    first_on: Scope,
    expires: SystemTime,
}

/// Whether a token that counts was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    First,
    Repeated,
}

impl Memory {
    fn of(&self, once: &Once) -> Option<Seen> {
        self.owners.get(&once.owner)?.get(&once.id).copied()
    }

    fn add(&mut self, owner: Half, id: Half, seen: Seen) {
        let is_new = self.owners.entry(owner).or_default().insert(id, seen).is_none();
        self.count += usize::from(is_new);
    }

    /// Returns how many tokens one owner may have now.
    fn share(&self) -> usize {
        let left = limits::REMEMBERED_TOKENS.saturating_sub(self.count);
        (left / limits::PLACES_OF_OWNER).clamp(1, limits::TOKENS_OF_OWNER)
    }

    fn is_full(&self) -> bool {
        self.count >= limits::REMEMBERED_TOKENS
    }

    /// Returns the tokens of an owner who may have no other.
    fn too_many_of(&self, owner: &Half) -> Option<&HashMap<Half, Seen>> {
        self.owners.get(owner).filter(|theirs| theirs.len() >= self.share())
    }

    /// Forgets tokens that have expired, if their place is needed: those of one owner, and then all.
    fn make_room(&mut self, owner: &Half, now: SystemTime) {
        if self.too_many_of(owner).is_some()
            && let Some(theirs) = self.owners.get_mut(owner)
        {
            let before = theirs.len();
            theirs.retain(|_id, seen| seen.expires > now);
            self.count -= before - theirs.len();
        }
        let is_needed = self.is_full() || self.too_many_of(owner).is_some();
        // A clock that went back waits for nothing.
        let since = self.swept.map_or(Ok(Duration::MAX), |swept| now.duration_since(swept));
        let is_due = since.map_or(true, |since| since >= limits::EXPIRED_TOKENS);
        if is_needed && is_due {
            self.swept = Some(now);
            self.owners.retain(|_owner, theirs| {
                theirs.retain(|_id, seen| seen.expires > now);
                !theirs.is_empty()
            });
            self.count = self.owners.values().map(HashMap::len).sum();
        }
    }

    /// Returns after how long an owner may have another token, if there are too many now.
    fn wait(&self, owner: &Half, now: SystemTime) -> Option<Duration> {
        let first = self.too_many_of(owner)?.values().map(|seen| seen.expires).min()?;
        Some(first.duration_since(now).unwrap_or_default())
    }
}

impl InMemory {
    /// Begins to remember. Tokens issued before `since` may have been seen by an earlier run of
    /// the program, and write nothing.
    pub fn new(since: SystemTime) -> Self {
        Self { since, seen: Mutex::default() }
    }

    fn count(&self, once: &Once, scope: Scope, now: SystemTime) -> Result<Sight, BadCredential> {
        // Times in tokens are whole seconds.
        if scope == Scope::Writes && once.issued + Duration::from_secs(1) <= self.since {
            return Err(BadCredential::new(
                "the token may have been used before the server began to remember tokens; sign \
                 another in a minute",
            )
            .because(Why::Used));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = seen.of(once).filter(|earlier| earlier.expires > now) {
            let repeats = earlier.first_on == Scope::Reads && scope == Scope::Reads;
            let told = "the token was used before; sign another";
            let used = || BadCredential::new(told).because(Why::Used);
            return if repeats { Ok(Sight::Repeated) } else { Err(used()) };
        }
        seen.make_room(&once.owner, now);
        if let Some(wait) = seen.wait(&once.owner, now) {
            let theirs = seen.owners.get(&once.owner).map_or(0, HashMap::len);
            let mut noted = format!("{theirs} tokens of theirs are remembered, the most");
            if theirs < limits::TOKENS_OF_OWNER {
                // Writing to a string cannot fail.
                let _infallible = write!(noted, " while there are {} of all", seen.count);
            }
            return Err(BadCredential::too_many_tokens(wait).noting(noted));
        }
        if seen.is_full() {
            return Err(away(format!(
                "{} tokens are remembered, the most of all owners together",
                limits::REMEMBERED_TOKENS
            )));
        }
        seen.add(once.owner, once.id, Seen { first_on: scope, expires: once.expires });
        Ok(Sight::First)
    }
}

impl Replay for InMemory {
    fn admit<'a>(
        &'a self,
        once: &'a Once,
        scope: Scope,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), BadCredential>> {
        Box::pin(ready(self.count(once, scope, now).map(|_sight| ())))
    }
}

/// Tokens that were seen, kept in the state, which knows what earlier runs of the program have
/// seen.
pub struct InState {
    state: State,
    seen: InMemory,
}

impl InState {
    /// Goes on with what is kept.
    pub fn new(state: State, now: SystemTime) -> Result<Self, StateError> {
        // A clock that was wrong when it was noted must not refuse tokens for years.
        let since = state.tokens_since()?.min(after_all_used(now));
        let mut seen = Memory::default();
        for used in state.used_tokens(now)? {
            let first_on = if used.writes { Scope::Writes } else { Scope::Reads };
            let (owner, id) = halves(&used.key);
            seen.add(owner, id, Seen { first_on, expires: used.expires });
        }
        let seen = Mutex::new(seen);
        Ok(Self { state, seen: InMemory { since, seen } })
    }
}

/// Returns a time after that of issue of every token that can have been accepted by now: those of
/// a clock that is ahead say that they are from later.
pub(crate) fn after_all_used(now: SystemTime) -> SystemTime {
    // Times are kept as whole seconds, and a token's second counts to its end.
    now + CLOCK_SKEW + Duration::from_secs(2)
}

/// For a write, that a token was used is on the disk when it is admitted; reads go on where it
/// cannot be.
impl Replay for InState {
    fn admit<'a>(
        &'a self,
        once: &'a Once,
        scope: Scope,
        now: SystemTime,
    ) -> BoxFuture<'a, Result<(), BadCredential>> {
        Box::pin(async move {
            if self.seen.count(once, scope, now)? == Sight::Repeated {
                return Ok(());
            }
            let writes = scope == Scope::Writes;
            let used = UsedToken { key: once.key(), writes, expires: once.expires };
            match self.state.use_token(used, now).await {
                Err(error) if writes => Err(away(format!("its use cannot be recorded: {error}"))),
                Err(_) | Ok(()) => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Excess;
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn once(id: &str) -> Once {
        Once::new("alice", id, at(100), at(400))
    }

    #[test]
    fn reads_may_repeat_and_writes_need_a_token_never_seen() {
        let replay = InMemory::new(at(0));
        let admit = |id, scope| replay.count(&once(id), scope, at(110)).is_ok();
        assert!(admit("read", Scope::Reads) && admit("read", Scope::Reads));
        assert!(!admit("read", Scope::Writes), "seen on a read");
        assert!(admit("write", Scope::Writes));
        assert!(!admit("write", Scope::Writes) && !admit("write", Scope::Reads));
        assert!(admit("other", Scope::Writes));
    }

    #[test]
    fn tokens_of_two_owners_are_told_apart() {
        let replay = InMemory::new(at(0));
        let (a, b) =
            (Once::new("al", "ice1", at(1), at(400)), Once::new("alice", "1", at(1), at(400)));
        assert!(replay.count(&a, Scope::Writes, at(2)).is_ok());
        assert!(replay.count(&b, Scope::Writes, at(2)).is_ok());
    }

    #[test]
    fn what_may_have_been_seen_before_the_start_does_not_write() {
        let replay = InMemory::new(at(101));
        assert!(replay.count(&once("x"), Scope::Writes, at(110)).is_err());
        assert!(replay.count(&once("x"), Scope::Reads, at(110)).is_ok());
        assert!(InMemory::new(at(100)).count(&once("x"), Scope::Writes, at(110)).is_ok());
    }

    #[test]
    fn an_owner_who_reaches_the_limit_waits_and_others_go_on() {
        let replay = InMemory::new(at(0));
        let of = |owner: &str, number: usize, expires| {
            Once::new(owner, &number.to_string(), at(100), at(expires))
        };
        for number in 0..limits::TOKENS_OF_OWNER {
            let once = of("mallory", number, if number < 2 { 390 } else { 400 });
            assert!(replay.count(&once, Scope::Writes, at(110)).is_ok());
        }
        let another = of("mallory", limits::TOKENS_OF_OWNER, 400);
        for scope in [Scope::Reads, Scope::Writes] {
            let refused = replay.count(&another, scope, at(110)).unwrap_err();
            assert_eq!(refused.retry_after(), Some((Duration::from_secs(280), Excess::Tokens)));
            assert_eq!(refused.noted(), "10000 tokens of theirs are remembered, the most");
        }
        // What was used is still known, and nobody else notices.
        let used = replay.count(&of("mallory", 0, 390), Scope::Writes, at(110)).unwrap_err();
        assert!(used.to_string().contains("used before"), "{used}");
        assert!(replay.count(&of("alice", 0, 400), Scope::Writes, at(110)).is_ok());
        // Two have expired, and two have their place.
        for number in 0..2 {
            let once = of("mallory", limits::TOKENS_OF_OWNER + number, 700);
            assert!(replay.count(&once, Scope::Writes, at(390)).is_ok());
        }
        assert!(replay.count(&of("mallory", 0, 700), Scope::Reads, at(390)).is_err());
    }

    #[test]
    fn memory_is_bounded_whoever_they_are_and_the_expired_make_room() {
        let replay = InMemory::new(at(0));
        let of = |owner: usize, id| Once::new(&format!("user-{owner}"), id, at(100), at(400));
        for number in 0..limits::REMEMBERED_TOKENS {
            assert!(replay.count(&of(number, "1"), Scope::Writes, at(110)).is_ok());
        }
        let newcomer = of(limits::REMEMBERED_TOKENS, "1");
        let refused = replay.count(&newcomer, Scope::Writes, at(110)).unwrap_err();
        assert!(refused.noted().contains("of all owners together"), "{}", refused.noted());
        assert!(refused.is_away(), "it was not judged");
        let refused = replay.count(&of(0, "2"), Scope::Writes, at(110)).unwrap_err();
        assert_eq!(refused.retry_after(), Some((Duration::from_secs(290), Excess::Tokens)));
        assert!(replay.count(&newcomer, Scope::Writes, at(401)).is_ok());
        assert_eq!(replay.seen.lock().unwrap().owners.len(), 1, "nobody without tokens is kept");
    }

    #[test]
    fn owners_who_take_all_they_can_leave_enough_to_everybody_else() {
        let replay = InMemory::new(at(0));
        let of = |owner: &str, number: usize, now| {
            let (issued, expires) = (at(now - 10), at(now + 290));
            replay.count(
                &Once::new(owner, &number.to_string(), issued, expires),
                Scope::Writes,
                at(now),
            )
        };
        let taken = |owner: &str, now| {
            (0..100_000).take_while(|number| of(owner, *number, now).is_ok()).count()
        };
        let mallory = |owner| taken(&format!("mallory-{owner}"), 110);
        let theirs: Vec<usize> = (0..40).map(mallory).collect();
        assert_eq!(theirs[0], limits::TOKENS_OF_OWNER);
        let refused = of("mallory-39", 100_000, 111).unwrap_err();
        assert_eq!(refused.retry_after(), Some((Duration::from_secs(289), Excess::Tokens)));
        let all: usize = theirs.iter().sum();
        let noted = format!(
            "{} tokens of theirs are remembered, the most while there are {all} of all",
            theirs[39]
        );
        assert_eq!(refused.noted(), noted);
        // Many people who sign in, and a pipeline.
        for number in 0..1000 {
            assert!(of(&format!("user-{number}"), 0, 112).is_ok());
        }
        assert!(taken("ci", 113) > 500, "{}", replay.seen.lock().unwrap().count);
        // When theirs have expired, their places are free for others.
        assert_eq!(taken("ci", 500), limits::TOKENS_OF_OWNER);
        assert_eq!(replay.seen.lock().unwrap().owners.len(), 1);
    }

    #[tokio::test]
    async fn what_was_seen_is_seen_after_a_restart_and_the_rest_counts() {
        let directory = tempfile::tempdir().unwrap();
        let now = dbt_core::clock::Clock::System.now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let once = |id| Once::new("alice", id, later(1), later(300));
        let replay = || {
            let state = State::open(directory.path(), None).unwrap();
            InState::new(state, now).unwrap()
        };
        let before = replay();
        assert!(before.admit(&once("written"), Scope::Writes, later(1)).await.is_ok());
        assert!(before.admit(&once("read"), Scope::Reads, later(1)).await.is_ok());
        drop(before);
        let after = replay();
        assert!(after.admit(&once("written"), Scope::Writes, later(2)).await.is_err());
        assert!(after.admit(&once("written"), Scope::Reads, later(2)).await.is_err());
        assert!(after.admit(&once("read"), Scope::Reads, later(2)).await.is_ok());
        assert!(after.admit(&once("read"), Scope::Writes, later(2)).await.is_err());
        assert!(
            after.admit(&once("signed before, not used"), Scope::Writes, later(2)).await.is_ok()
        );
        let old = Once::new("alice", "before the state", now - Duration::from_secs(5), later(300));
        assert!(after.admit(&old, Scope::Writes, later(2)).await.is_err());
    }

    /// A machine that starts with a wrong clock notes a wrong time.
    #[tokio::test]
    async fn a_state_that_was_begun_in_the_future_refuses_no_longer_than_clocks_differ() {
        let directory = tempfile::tempdir().unwrap();
        let begun = dbt_core::clock::Clock::System.now();
        let state = State::open(directory.path(), None).unwrap();
        let now = begun - Duration::from_hours(24 * 365);
        let replay = InState::new(state, now).unwrap();
        let admitted = async |id, issued: SystemTime| {
            let once = Once::new("alice", id, issued, issued + Duration::from_mins(5));
            replay.admit(&once, Scope::Writes, issued).await.is_ok()
        };
        assert!(!admitted("now", now).await);
        assert!(!admitted("ahead", now + CLOCK_SKEW).await);
        assert!(admitted("later", now + CLOCK_SKEW + Duration::from_secs(2)).await);
    }

    #[tokio::test]
    async fn how_many_an_owner_has_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let now = dbt_core::clock::Clock::System.now();
        let expires = now + Duration::from_mins(5);
        let once = move |owner: &str, id: usize| {
            Once::new(owner, &id.to_string(), now + Duration::from_secs(1), expires)
        };
        let state = State::open(directory.path(), None).unwrap();
        let used = move |transaction: &rusqlite::Transaction<'_>| {
            for number in 0..limits::TOKENS_OF_OWNER {
                let query = "INSERT INTO used_tokens VALUES (?1, 1, ?2)";
                let expires = crate::time::since_epoch(expires).as_secs().cast_signed();
                let key = once("mallory", number).key();
                transaction.execute(query, rusqlite::params![key, expires])?;
            }
            Ok(())
        };
        state.write(crate::state::Claim::Reserved, used).await.unwrap();
        let replay = InState::new(state, now).unwrap();
        let another = once("mallory", limits::TOKENS_OF_OWNER);
        let refused = replay.admit(&another, Scope::Writes, now).await.unwrap_err();
        assert!(refused.retry_after().is_some(), "{refused}");
        assert!(replay.admit(&once("alice", 0), Scope::Writes, now).await.is_ok());
    }

    #[tokio::test]
    async fn where_its_use_cannot_be_kept_a_token_reads_and_does_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let now = dbt_core::clock::Clock::System.now();
        let state = State::open(directory.path(), None).unwrap();
        let replay = InState::new(state, now).unwrap();
        std::fs::remove_file(directory.path().join("state.db")).unwrap();
        let later = now + Duration::from_mins(5);
        let once = |id| Once::new("alice", id, now + Duration::from_secs(1), later);
        let refused = replay.admit(&once("w"), Scope::Writes, now).await.unwrap_err();
        assert!(refused.noted().contains("was taken away"), "{}", refused.noted());
        assert!(replay.admit(&once("r"), Scope::Reads, now).await.is_ok());
    }
}
