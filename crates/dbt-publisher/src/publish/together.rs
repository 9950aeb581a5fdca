//! Several pieces of work at once, such as files that are written to a server: most of the time of each
//! is spent waiting for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::stop::Stop;

/// How many files are written at once: as many requests as the client lets be under way to one server.
pub(super) const AT_ONCE: usize = 4;

/// Does each piece of work in one of so many threads, of which this is one. Returns what comes of them
/// in no order. After the first that fails nothing more is begun, and `end` is called so that what is
/// under way need not go on.
pub(super) fn each<T: Send, R: Send>(
    work: Vec<T>,
    threads: usize,
    end: impl Fn() + Sync,
    does: impl Fn(T) -> Result<R, Stop> + Sync,
) -> Result<Vec<R>, Stop> {
    let threads = threads.min(work.len());
    let queue = Mutex::new(work.into_iter());
    let done = Mutex::new(Ok(Vec::new()));
    let go = || {
        loop {
            if lock(&done).is_err() {
                return;
            }
            let Some(piece) = lock(&queue).next() else { return };
            let outcome = does(piece);
            let mut done = lock(&done);
            match outcome {
                Ok(result) => {
                    if let Ok(results) = done.as_mut() {
                        results.push(result);
                    }
                }
                // What fails because of the first one is not what went wrong.
                Err(stop) if done.is_ok() => {
                    *done = Err(stop);
                    end();
                }
                Err(_later) => {}
            }
        }
    };
    thread::scope(|scope| {
        for _further in 1..threads {
            // Where no thread can be made, those that are there do it all.
            let made = thread::Builder::new().name("writing".to_owned()).spawn_scoped(scope, go);
            if made.is_err() {
                break;
            }
        }
        go();
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is changed by single calls.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn as_many_pieces_as_there_are_threads_are_under_way_at_once() {
        // Nobody gets past it who is alone.
        let all_there = Barrier::new(3);
        let work: Vec<usize> = (0..9).collect();
        let mut done = each(
            work.clone(),
            3,
            || panic!("nothing fails"),
            |number| {
                all_there.wait();
                Ok(number)
            },
        )
        .unwrap();
        done.sort_unstable();
        assert_eq!(done, work);
    }

    #[test]
    fn after_the_first_failure_nothing_is_begun_and_that_failure_is_told() {
        let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let end = || {
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let outcome = each((0..100).collect(), 1, end, |number| {
            begun.fetch_add(1, Ordering::Relaxed);
            if number == 2 { Err(Stop::usage("the third")) } else { Ok(number) }
        });
        let told = format!("{:?}", outcome.unwrap_err());
        assert!(told.contains("the third"), "{told}");
        assert_eq!((begun.into_inner(), ended.into_inner()), (3, 1));
    }
}
