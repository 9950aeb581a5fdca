//! Request ids: they join an answer, a log line and an audit row.

use std::cell::RefCell;
use std::fmt;
use std::time::SystemTime;

use crate::time;

/// A ULID, which sorts by time and cannot be guessed, or what a trusted proxy says.
///
/// An id that a client sends is not taken over: it could repeat another's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    text: [u8; LONGEST],
    length: usize,
}

/// The longest id that is taken over.
const LONGEST: usize = 64;

/// The length of an id of our own.
const OWN: usize = 26;

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// How many random bytes an id has.
const RANDOM: usize = 10;

/// Returns random bytes of a supply of this thread's, which is filled for many ids at once.
fn drawn() -> [u8; RANDOM] {
    thread_local! {
        static SUPPLY: RefCell<Vec<[u8; RANDOM]>> = const { RefCell::new(Vec::new()) };
    }
    SUPPLY.with_borrow_mut(|supply| {
        if supply.is_empty() {
            let mut fresh = [0; RANDOM * 64];
            // Without randomness ids are only less unique; nothing is decided by them.
            let _unavailable = getrandom::fill(&mut fresh);
            supply.extend(fresh.as_chunks().0);
        }
        supply.pop().unwrap_or_default()
    })
}

impl RequestId {
    /// Makes a new one.
    pub fn new(now: SystemTime) -> Self {
        let milliseconds = time::since_epoch(now).as_millis() & ((1 << 48) - 1);
        let mut random = [0_u8; 16];
        if let Some(place) = random.last_chunk_mut() {
            *place = drawn();
        }
        let mut value = (milliseconds << 80) | u128::from_be_bytes(random);
        let mut text = [b'0'; LONGEST];
        for place in text.iter_mut().take(OWN).rev() {
            let index = usize::try_from(value & 31).unwrap_or_default();
            *place = ALPHABET.get(index).copied().unwrap_or(b'0');
            value >>= 5;
        }
        Self { text, length: OWN }
    }

    /// Takes over an id that can stand in a header, a line of a log and a file's name.
    pub fn of(given: &str) -> Option<Self> {
        let is_harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let mut text = [0; LONGEST];
        text.get_mut(..given.len())?.copy_from_slice(given.as_bytes());
        let length = given.len();
        (length > 0 && given.bytes().all(is_harmless)).then_some(Self { text, length })
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        self.text.get(..self.length).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn ids_sort_by_time_and_differ_within_one_moment() {
        let at = |seconds| RequestId::new(UNIX_EPOCH + Duration::from_secs(seconds));
        let (early, late, also_late) = (at(1), at(1_700_000_000), at(1_700_000_000));
        assert!(early.as_str() < late.as_str());
        assert_ne!(late, also_late);
        assert_eq!(late.as_str().get(..8), also_late.as_str().get(..8));
        assert!(early.as_str().starts_with("00000000"));
    }
}
