//! The time of what waits for a person: real, or a test's.

use std::time::{Duration, Instant};

use crate::source::Cancel;

/// How time goes by while somebody signs in elsewhere.
pub trait Pace {
    /// Returns how long it has been.
    fn elapsed(&self) -> Duration;

    /// Waits; returns false when it was cancelled.
    fn wait(&self, pause: Duration) -> bool;
}

/// The time as it goes by.
#[derive(Debug)]
pub struct RealPace {
    begun: Instant,
    cancel: Cancel,
}

/// How often a pause looks whether it was cancelled.
const STEP: Duration = Duration::from_millis(50);

impl RealPace {
    /// Begins now; `cancel` ends every pause.
    pub fn begin(cancel: Cancel) -> Self {
        Self { begun: Instant::now(), cancel }
    }
}

impl Pace for RealPace {
    fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    fn wait(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        while !self.cancel.is_cancelled() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STEP));
        }
        false
    }
}
