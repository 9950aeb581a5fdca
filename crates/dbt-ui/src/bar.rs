//! Progress on a terminal, for work longer than a second.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printable;

/// How long work may take before anything is drawn.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the line is drawn anew, so that a stall can be seen.
const TICK: Duration = Duration::from_millis(250);

/// What a line shows when the size is known.
const KNOWN: &str =
    "{msg} [{bar:24}] {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";

/// What a line shows when it is not.
const UNKNOWN: &str = "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}";

/// Draws one line about one piece of work at a time on stderr.
///
/// The caller says whether stderr is a terminal; elsewhere nothing is ever drawn.
#[derive(Debug)]
pub struct Bar {
    visible: bool,
    work: Mutex<Option<Work>>,
}

#[derive(Debug)]
struct Work {
    line: ProgressBar,
    finished: Sender<()>,
    watcher: Option<JoinHandle<()>>,
}

impl Bar {
    /// Makes a bar that draws on stderr, or never.
    pub const fn new(visible: bool) -> Self {
        Self { visible, work: Mutex::new(None) }
    }

    /// Begins work on `what`; `total` bytes are expected, if known. Earlier work ends.
    pub fn begin(&self, what: &str, total: Option<u64>) {
        self.end();
        if self.visible {
            *self.lock() = Work::begin(what, total);
        }
    }

    /// Notes that `bytes` more are done.
    pub fn advance(&self, bytes: u64) {
        if let Some(work) = self.lock().as_ref() {
            work.line.inc(bytes);
        }
    }

    /// Notes that `bytes` that were done have to be done again.
    pub fn back(&self, bytes: u64) {
        if let Some(work) = self.lock().as_ref() {
            work.line.dec(bytes);
        }
    }

    /// Ends the work and clears its line. No thread is left behind, so that a program may be
    /// executed in this process afterwards.
    pub fn end(&self) {
        let work = self.lock().take();
        if let Some(work) = work {
            work.end();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.end();
    }
}

impl Work {
    fn begin(what: &str, total: Option<u64>) -> Option<Self> {
        let line = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = if total.is_some() { KNOWN } else { UNKNOWN };
        if let Ok(style) = ProgressStyle::with_template(template) {
            line.set_style(style);
        }
        line.set_message(printable::line(what).into_owned());
        let (finished, end) = mpsc::channel();
        let shown = line.clone();
        let watch = move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                shown.set_draw_target(ProgressDrawTarget::stderr());
            }
            while end.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                shown.tick();
            }
        };
        // Where no thread can be made the work goes on unseen.
        let watcher = std::thread::Builder::new().name("progress".into()).spawn(watch).ok()?;
        Some(Self { line, finished, watcher: Some(watcher) })
    }

    fn end(mut self) {
        // The watcher may be waiting for this, or be gone already.
        let _watcher_may_be_gone = self.finished.send(());
        drop(self.finished);
        if let Some(watcher) = self.watcher.take() {
            let _it_only_draws = watcher.join();
        }
        self.line.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_work_ends_at_once_and_draws_nothing() {
        let started = std::time::Instant::now();
        let bar = Bar::new(true);
        for round in 0..20 {
            bar.begin("deploy 1.4.0", Some(round));
            bar.advance(round);
            bar.end();
        }
        assert!(started.elapsed() < PATIENCE);
    }

    #[test]
    fn a_bar_without_a_terminal_does_no_work_at_all() {
        let bar = Bar::new(false);
        bar.begin("deploy", None);
        assert!(bar.lock().is_none());
        bar.advance(1);
        bar.back(1);
        bar.end();
    }

    #[test]
    fn the_templates_are_ones_that_can_be_drawn() {
        for template in [KNOWN, UNKNOWN] {
            ProgressStyle::with_template(template).unwrap();
        }
    }
}
