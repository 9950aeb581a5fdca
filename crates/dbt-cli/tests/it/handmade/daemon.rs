//! Servers of others, run as this user on loopback, and stopped by their process id.

use std::process::Child;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that is done in a moment on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running program. It is stopped when this goes.
#[derive(Debug)]
pub(crate) struct Daemon(pub(crate) Child);

impl Daemon {
    /// Says whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.has_ended() {
            // The id may be that of somebody else by now.
            return;
        }
        // Asked first, because only the program itself knows its own children.
        let asked = kill_process(Pid::from_child(&self.0), Signal::TERM);
        if asked.is_err() || !eventually(|| self.has_ended()) {
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// Says whether something becomes true while there is patience for it.
pub(crate) fn eventually(mut is_true: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if is_true() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}
