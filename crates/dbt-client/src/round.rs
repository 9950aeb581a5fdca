//! One round of requests: over one connection as long as the server answers at once, over several as
//! soon as it lets us wait.
//!
//! Another connection, and the thread that waits for it, cost more than an answer that is there at
//! once, and a secure one far more. Who is far away is asked for everything together all the same:
//! nobody is waited for longer than a moment before the other requests go out.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, Scope};
use std::time::{Duration, Instant};

/// What one request is for, and its outcome.
#[derive(Debug)]
pub(crate) struct Task<F, T> {
    work: F,
    outcome: Mutex<Option<T>>,
}

/// A [`Task`] of any kind.
pub(crate) trait Work: Sync {
    /// Does it.
    fn work(&self);
}

impl<T, F: Fn() -> T> Task<F, T> {
    pub(crate) const fn new(work: F) -> Self {
        Self { work, outcome: Mutex::new(None) }
    }

    /// Returns what came of it.
    pub(crate) fn outcome(self) -> T {
        let outcome = self.outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
        outcome.unwrap_or_else(self.work)
    }
}

impl<T: Send, F: Fn() -> T + Sync> Work for Task<F, T> {
    fn work(&self) {
        let outcome = (self.work)();
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// Does all tasks, and something else `meanwhile`, which calls what it is given every now and then.
/// An answer that takes longer than `moment` is not waited for with the tasks that are left.
///
/// Where the system gives no thread, one thing is done after the other.
pub(crate) fn run(tasks: &[&dyn Work], moment: Duration, meanwhile: impl FnOnce(&dyn Fn())) {
    let begun = Mutex::new(Begun { tasks: 0, last: Instant::now() });
    let round = Round { tasks, moment, begun, changed: Condvar::new() };
    thread::scope(|scope| {
        let alone = !round.start(scope);
        let all_are_started = Cell::new(alone);
        meanwhile(&|| {
            if !all_are_started.get() && round.is_waiting() {
                all_are_started.set(true);
                round.start_all(scope, 0);
            }
        });
        if !all_are_started.get() {
            round.wait();
            round.start_all(scope, 1);
        }
        // The scope waits for what others have begun.
        round.work();
    });
}

struct Round<'a> {
    tasks: &'a [&'a dyn Work],
    moment: Duration,
    begun: Mutex<Begun>,
    changed: Condvar,
}

/// How many tasks were begun, and when the last of them was.
struct Begun {
    tasks: usize,
    last: Instant,
}

impl Round<'_> {
    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether the task that was begun last takes longer than a moment. Where none was, there is
    /// no processor for another thread either.
    fn is_waiting(&self) -> bool {
        let begun = self.begun();
        begun.tasks > 0 && begun.last.elapsed() >= self.moment
    }

    /// Takes tasks until there are none.
    fn work(&self) {
        loop {
            let task = {
                let mut begun = self.begun();
                let task = self.tasks.get(begun.tasks);
                begun.tasks += 1;
                begun.last = Instant::now();
                task
            };
            let Some(task) = task else {
                return self.changed.notify_all();
            };
            task.work();
        }
    }

    /// Waits until nothing is left to be begun, or a moment has passed with nothing begun.
    fn wait(&self) {
        let mut begun = self.begun();
        while begun.tasks < self.tasks.len() {
            let Some(left) = self.moment.checked_sub(begun.last.elapsed()) else { return };
            let waited = self.changed.wait_timeout(begun, left);
            begun = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Starts a thread for each task that is left, but for so many.
    fn start_all<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, but: usize) {
        let begun = self.begun().tasks;
        for _task in begun + but..self.tasks.len() {
            self.start(scope);
        }
    }

    fn start<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> bool {
        Builder::new().spawn_scoped(scope, || self.work()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LONG: Duration = Duration::from_mins(1);
    const SHORT: Duration = Duration::from_millis(1);

    #[test]
    fn every_task_is_done_once_and_has_its_outcome() {
        for moment in [Duration::ZERO, SHORT, LONG] {
            let done = AtomicUsize::new(0);
            let task = |number: usize| Task::new(move || number);
            let counted = Task::new(|| done.fetch_add(1, Ordering::Relaxed));
            let (first, second) = (task(1), task(2));
            run(&[&first, &counted, &second], moment, |_look| {});
            assert_eq!((first.outcome(), counted.outcome(), second.outcome()), (1, 0, 2));
            assert_eq!(done.into_inner(), 1);
        }
    }

    #[test]
    fn while_answers_come_at_once_one_thread_asks_for_all_of_them() {
        let who = || thread::current().id();
        let tasks = [(); 4].map(|()| Task::new(who));
        run(&tasks.each_ref().map(|task| task as &dyn Work), LONG, |look| look());
        let who = tasks.map(Task::outcome);
        assert_eq!(who, [who[0]; 4]);
        assert_ne!(who[0], thread::current().id());
    }

    #[test]
    fn an_answer_that_takes_long_is_not_waited_for_with_the_next_request() {
        // Each ends only when all of them have begun.
        let together = Barrier::new(4);
        let tasks = [(); 4].map(|()| Task::new(|| together.wait()));
        let tasks = tasks.each_ref().map(|task| task as &dyn Work);
        run(&tasks, SHORT, |_look| {});
        // Also while there is something else to do.
        run(&tasks, SHORT, |look| {
            let began = Instant::now();
            while began.elapsed() < SHORT * 20 {
                look();
                thread::yield_now();
            }
        });
    }
}
