//! How long what is to be recorded waits until it is on the disk.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

use super::locked;

/// Since when records are waited for, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<BTreeMap<u64, SystemTime>>);

/// Records that are waited for, until this goes.
#[must_use]
pub(super) struct Wait<'a> {
    all: &'a Waiting,
    number: u64,
}

impl Waiting {
    /// Notes that somebody waits from now on.
    pub(super) fn begin(&self, now: SystemTime) -> Wait<'_> {
        let mut all = locked(&self.0);
        let number = all.last_key_value().map_or(0, |(last, _since)| last + 1);
        all.insert(number, now);
        Wait { all: self, number }
    }

    /// Returns since when the first one waits.
    pub(super) fn oldest(&self) -> Option<SystemTime> {
        locked(&self.0).first_key_value().map(|(_number, since)| *since)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        locked(&self.all.0).remove(&self.number);
    }
}
