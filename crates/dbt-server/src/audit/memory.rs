//! Records in memory, for tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Audit, Record};
use crate::content::BoxFuture;
use crate::state::{Claim, StateError};

/// Keeps records in memory, and can be told to fail. Clones share their records.
#[derive(Clone, Default)]
pub struct Memory {
    records: Arc<Mutex<Vec<Record>>>,
    /// How often it still works, plus one; 0 is for ever.
    left: Arc<AtomicUsize>,
}

impl Memory {
    /// Returns what was recorded so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails from now on, or no longer.
    pub fn set_broken(&self, broken: bool) {
        self.left.store(usize::from(broken), Ordering::Release);
    }

    /// Works so often, and then fails.
    pub fn break_after(&self, count: usize) {
        self.left.store(count + 1, Ordering::Release);
    }

    fn keep(&self, records: Vec<Record>) -> Result<u64, StateError> {
        match self.left.load(Ordering::Acquire) {
            0 => {}
            1 => return Err(StateError::OutOfSpace),
            left => self.left.store(left - 1, Ordering::Release),
        }
        let mut kept = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(records);
        Ok(kept.len() as u64)
    }
}

impl Audit for Memory {
    fn record(
        &self,
        records: Vec<Record>,
        _claim: Claim,
    ) -> BoxFuture<'_, Result<u64, StateError>> {
        Box::pin(std::future::ready(self.keep(records)))
    }
}
