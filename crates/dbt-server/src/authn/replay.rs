//! Tokens that count once: which were seen.
//!
//! A token that was first seen on a read may repeat on reads until it expires; a write needs one
//! that was never seen.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use super::{BadCredential, Scope};
use crate::limits;

/// What makes a token one that counts once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Once {
    key: [u8; 32],
    issued: SystemTime,
    expires: SystemTime,
}

impl Once {
    /// Names a token by whose it is and its own id. It is remembered until `expires`.
    pub fn new(owner: &str, id: &str, issued: SystemTime, expires: SystemTime) -> Self {
        // The length keeps two pairs of the same letters apart.
        let text = format!("{}:{owner}{id}", owner.len());
        Self { key: Sha256::digest(text).into(), issued, expires }
    }
}

/// The tokens that were seen since the program started.
pub struct Replay {
    // What was seen before that is forgotten, so that nothing older may write.
    since: SystemTime,
    seen: Mutex<HashMap<[u8; 32], Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    first_on: Scope,
    expires: SystemTime,
}

impl Replay {
    /// Begins to remember. Tokens issued before `since` may have been seen by an earlier run of
    /// the program, and write nothing.
    pub fn new(since: SystemTime) -> Self {
        Self { since, seen: Mutex::default() }
    }

    /// Counts a token as used, or says why it does not count.
    pub fn admit(&self, once: &Once, scope: Scope, now: SystemTime) -> Result<(), BadCredential> {
        // Times in tokens are whole seconds.
        if scope == Scope::Writes && once.issued + Duration::from_secs(1) <= self.since {
            return Err(BadCredential::new(
                "the token was signed before the server started; sign another",
            ));
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(earlier) = seen.get(&once.key).filter(|earlier| earlier.expires > now) {
            let repeats = earlier.first_on == Scope::Reads && scope == Scope::Reads;
            let used = || BadCredential::new("the token was used before; sign another");
            return if repeats { Ok(()) } else { Err(used()) };
        }
        if seen.len() >= limits::REMEMBERED_TOKENS {
            seen.retain(|_key, entry| entry.expires > now);
        }
        if seen.len() >= limits::REMEMBERED_TOKENS {
            return Err(BadCredential::new(
                "too many tokens are in use; try again in some minutes",
            ));
        }
        seen.insert(once.key, Seen { first_on: scope, expires: once.expires });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn once(id: &str) -> Once {
        Once::new("alice", id, at(100), at(400))
    }

    #[test]
    fn reads_may_repeat_and_writes_need_a_token_never_seen() {
        let replay = Replay::new(at(0));
        let admit = |id, scope| replay.admit(&once(id), scope, at(110)).is_ok();
        assert!(admit("read", Scope::Reads) && admit("read", Scope::Reads));
        assert!(!admit("read", Scope::Writes), "seen on a read");
        assert!(admit("write", Scope::Writes));
        assert!(!admit("write", Scope::Writes) && !admit("write", Scope::Reads));
        assert!(admit("other", Scope::Writes));
    }

    #[test]
    fn tokens_of_two_owners_are_told_apart() {
        let replay = Replay::new(at(0));
        let (a, b) =
            (Once::new("al", "ice1", at(1), at(400)), Once::new("alice", "1", at(1), at(400)));
        assert!(replay.admit(&a, Scope::Writes, at(2)).is_ok());
        assert!(replay.admit(&b, Scope::Writes, at(2)).is_ok());
    }

    #[test]
    fn what_may_have_been_seen_before_the_start_does_not_write() {
        let replay = Replay::new(at(101));
        assert!(replay.admit(&once("x"), Scope::Writes, at(110)).is_err());
        assert!(replay.admit(&once("x"), Scope::Reads, at(110)).is_ok());
        assert!(Replay::new(at(100)).admit(&once("x"), Scope::Writes, at(110)).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_the_expired_make_room() {
        let replay = Replay::new(at(0));
        for number in 0..limits::REMEMBERED_TOKENS {
            let id = number.to_string();
            assert!(replay.admit(&once(&id), Scope::Writes, at(110)).is_ok());
        }
        let another = once("another");
        assert!(replay.admit(&another, Scope::Writes, at(110)).is_err());
        assert!(replay.admit(&another, Scope::Writes, at(401)).is_ok());
    }
}
