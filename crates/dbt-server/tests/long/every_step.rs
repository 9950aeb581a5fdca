//! Step after step of a server, until nothing is left to be done to it.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use dbt_testkit::changes::{Counted, Disturbance, Fault, Lasts};

/// More steps than the server takes here.
const MANY: usize = 2000;

/// How many are tried at once: each waits for the disk, and for servers to start.
const AT_ONCE: usize = 4;

/// How many in a row at which nothing was done say that there are no more. What a server does by itself
/// comes between what it is asked for, so that it is not always as many.
const NOTHING_MORE: usize = 2 * AT_ONCE;

/// What whoever reads meanwhile leaves of the processor to the servers.
pub(crate) const BETWEEN_READS: Duration = Duration::from_millis(1);

/// So many failures are enough to see what they have in common.
const MANY_PANICS: usize = 10;

/// What is done to a server, each time at another step.
pub(crate) struct Series {
    pub(crate) counted: Counted,
    pub(crate) fault: Fault,
    pub(crate) lasts: Lasts,
    /// It is tried at the first step and at each that comes so many after the one before.
    pub(crate) each: usize,
}

/// How a disk fails, and how a request may be answered then.
pub(crate) struct Failure {
    pub(crate) series: Series,
    pub(crate) statuses: &'static [u16],
}

/// A kill, at each step.
pub(crate) const KILL: Series =
    Series { counted: Counted::Changes, fault: Fault::Kill, lasts: Lasts::Once, each: 1 };

/// The ways in which a disk fails. What differs between errors is only the answer: a disk that is full
/// once is tried at each step, the others at some. What keeps something from being recorded is not always
/// told apart: then the answer is 503.
pub(crate) const FAILURES: [Failure; 6] = [
    Failure { series: fails("ENOSPC", 1), statuses: &[507, 503] },
    Failure { series: stays_so(fails("ENOSPC", 8)), statuses: &[507, 503] },
    Failure { series: fails("EIO", 4), statuses: &[500, 503] },
    Failure { series: fails("EROFS", 10), statuses: &[503] },
    Failure { series: looks(fails("EIO", 10)), statuses: &[500, 503] },
    Failure { series: looks(fails("EMFILE", 7)), statuses: &[500, 503] },
];

const fn fails(error: &'static str, each: usize) -> Series {
    Series { fault: Fault::Error(error), each, ..KILL }
}

const fn stays_so(series: Series) -> Series {
    Series { lasts: Lasts::ForEver, ..series }
}

const fn looks(series: Series) -> Series {
    Series { counted: Counted::Looks, ..series }
}

impl Series {
    /// Tries one step after another, until nothing was done at several in a row. `attempt` says whether
    /// something was done, and of the first `least` steps it must say so. Goes on where one fails, as
    /// there are often several of a kind. Prints how far it got.
    #[expect(clippy::print_stdout, reason = "how many steps there were is what such a run tells")]
    pub(crate) fn each_step(&self, least: usize, attempt: impl Fn(Disturbance) -> bool + Sync) {
        let Self { counted, fault, lasts, each } = *self;
        let progress = Mutex::new(Progress { next: 1, last: 0, each, done: 0, panics: Vec::new() });
        let work = || {
            loop {
                let Some(number) = progress.lock().unwrap().take() else { return };
                assert!(number < MANY, "a server never got through");
                let disturbance = Disturbance { counted, number, fault, lasts };
                let outcome = catch_unwind(AssertUnwindSafe(|| {
                    let was_done = attempt(disturbance);
                    assert!(was_done || number > least, "nothing was done at step {number}");
                    was_done
                }));
                let mut progress = progress.lock().unwrap();
                match outcome {
                    Ok(true) => progress.count(number),
                    Ok(false) => {}
                    Err(panic) => {
                        progress.count(number);
                        progress.panics.push(panic);
                    }
                }
            }
        };
        let began = Instant::now();
        thread::scope(|scope| {
            for _worker in 0..AT_ONCE {
                scope.spawn(work);
            }
        });
        let Progress { last, done, mut panics, .. } = progress.into_inner().unwrap();
        let took = began.elapsed().as_secs();
        println!("{fault:?} {lasts:?}, {counted:?}: {done} of {last} steps, in {took} s");
        if let Some(panic) = panics.pop() {
            resume_unwind(panic);
        }
        assert!(last >= least, "only {last} steps");
    }
}

/// How far it has got.
struct Progress {
    next: usize,
    last: usize,
    each: usize,
    done: usize,
    panics: Vec<Box<dyn Any + Send>>,
}

impl Progress {
    fn take(&mut self) -> Option<usize> {
        if self.panics.len() >= MANY_PANICS || self.next > self.last + self.each * NOTHING_MORE {
            return None;
        }
        self.next += self.each;
        Some(self.next - self.each)
    }

    fn count(&mut self, step: usize) {
        self.last = self.last.max(step);
        self.done += 1;
    }
}
