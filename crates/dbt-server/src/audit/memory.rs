//! Records in memory, for tests.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Audit, Record};

/// Keeps records in memory, and can be told to fail. Clones share their records.
#[derive(Clone, Default)]
pub struct Memory {
    records: Arc<Mutex<Vec<Record>>>,
    broken: Arc<AtomicBool>,
}

impl Memory {
    /// Returns what was recorded so far.
    pub fn records(&self) -> Vec<Record> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails from now on, or no longer.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Release);
    }
}

impl Audit for Memory {
    fn record(&self, record: &Record) -> io::Result<()> {
        if self.broken.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.records.lock().unwrap_or_else(PoisonError::into_inner).push(record.clone());
        Ok(())
    }
}
