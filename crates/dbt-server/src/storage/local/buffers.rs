//! Memory for what is read of files, used again.
//!
//! Memory from the system comes empty and page by page: taking it anew for each chunk made up half of
//! what sending a large file costs.

use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::body::Bytes;

use crate::limits;

/// How many buffers are kept while nobody uses them: 4 MiB.
const KEPT: usize = 32;

static FREE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

/// Bytes to read into. What is in them before is of no meaning, and may be of another file.
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// Returns a buffer for so many bytes.
    pub(super) fn of(length: usize) -> Self {
        let bytes = if is_kept(length) { free().pop() } else { None };
        let size = if is_kept(length) { limits::CHUNK } else { length };
        Self { bytes: bytes.unwrap_or_else(|| vec![0; size].into()), length }
    }

    /// Returns the bytes to read into, which must all be read before they are [`Self::full`].
    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }

    /// Returns the bytes that were read into it.
    pub(super) fn full(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = free();
        if is_kept(self.length) && free.len() < KEPT {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

/// Says whether a buffer of this length is worth keeping: a smaller one costs next to nothing, and
/// a larger one is never asked for.
const fn is_kept(length: usize) -> bool {
    length > limits::SHARED_CHUNK && length <= limits::CHUNK
}

fn free() -> MutexGuard<'static, Vec<Box<[u8]>>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_long_as_was_asked_whoever_had_it_before() {
        for length in [0, 1, limits::SHARED_CHUNK, 100_000, limits::CHUNK, limits::CHUNK + 1] {
            for round in 1..=2 {
                let mut buffer = Buffer::of(length);
                assert_eq!(buffer.as_mut().len(), length);
                buffer.as_mut().fill(round);
                let bytes = buffer.full();
                assert_eq!(bytes.len(), length);
                assert!(bytes.iter().all(|byte| *byte == round));
            }
        }
    }

    #[test]
    fn no_more_than_a_few_are_kept() {
        let many: Vec<_> = (0..2 * KEPT).map(|_| Buffer::of(limits::CHUNK)).collect();
        drop(many);
        assert!(free().len() <= KEPT);
        assert!(free().iter().all(|buffer| buffer.len() == limits::CHUNK));
    }
}
