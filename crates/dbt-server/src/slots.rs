//! How many writes run at once: altogether, and for each caller.
//!
//! Each holds a file and a buffer. One caller who sends many must not leave the others without.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::app::App;
use crate::authn::Caller;
use crate::error::ApiError;
use crate::operate::gate::Pass;

/// How many writes of each caller run.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<String, u32>>);

/// The right to write, until it goes.
#[must_use]
pub struct Slot<'a> {
    _pass: Pass,
    shares: &'a Shares,
    caller: String,
}

impl App {
    /// Takes a slot for a write of a caller, or says what there are too many of.
    pub(crate) fn slot(&self, caller: &Caller) -> Result<Slot<'_>, ApiError> {
        let pass = self
            .writes
            .try_acquire()
            .map_err(|_full| ApiError::Busy("too many uploads are running"))?;
        let caller = caller.subject().map(ToString::to_string).unwrap_or_default();
        {
            let mut running = self.shares.running();
            let own = running.entry(caller.clone()).or_default();
            if *own >= self.limits.uploads_each {
                return Err(ApiError::TooManyOfYours { limit: self.limits.uploads_each });
            }
            *own += 1;
        }
        Ok(Slot { _pass: pass, shares: &self.shares, caller })
    }
}

impl Shares {
    fn running(&self) -> MutexGuard<'_, HashMap<String, u32>> {
        // Every change is a single step on a number, so a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut running = self.shares.running();
        if let Some(own) = running.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                // Who writes nothing is not remembered.
                running.remove(&self.caller);
            }
        }
    }
}
