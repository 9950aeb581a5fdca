//! Request ids: they join an answer, a log line and an audit row.

use std::fmt;
use std::time::SystemTime;

use crate::time;

/// A ULID: sorts by time, cannot be guessed.
///
/// Always our own. An id that a client sends is not taken over: it could repeat another's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; 26]);

/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl RequestId {
    /// Makes a new one.
    pub fn new(now: SystemTime) -> Self {
        let milliseconds = time::since_epoch(now).as_millis() & ((1 << 48) - 1);
        let mut random = [0_u8; 16];
        // Without randomness the id is only less unique; nothing is decided by it.
        let _unavailable = getrandom::fill(random.get_mut(6..).unwrap_or_default());
        let mut value = (milliseconds << 80) | u128::from_be_bytes(random);
        let mut text = [b'0'; 26];
        for place in text.iter_mut().rev() {
            let index = usize::try_from(value & 31).unwrap_or_default();
            *place = ALPHABET.get(index).copied().unwrap_or(b'0');
            value >>= 5;
        }
        Self(text)
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
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
