//! Times relative to the moment at which the tests began.

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

/// One day.
pub const DAY: Duration = Duration::from_hours(24);

/// Returns the moment at which the tests began.
#[expect(clippy::disallowed_methods, reason = "the programs under test read the real time too")]
pub fn now() -> SystemTime {
    static NOW: OnceLock<SystemTime> = OnceLock::new();
    *NOW.get_or_init(SystemTime::now)
}

/// Returns a time in the past.
pub fn days_ago(days: u32) -> SystemTime {
    now() - DAY * days
}

/// Returns a time in the future.
pub fn in_days(days: u32) -> SystemTime {
    now() + DAY * days
}
