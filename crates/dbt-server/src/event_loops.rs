//! The threads that serve connections. Each has an event loop of its own, and everything of a
//! connection happens on one of them: no thread is woken to look for the work of another, which costs
//! more than answering with a small file does.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// How long work that is not done is waited for at the end.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Some threads that serve connections, until this goes.
#[derive(Debug)]
pub struct EventLoops(Vec<EventLoop>);

#[derive(Debug)]
struct EventLoop {
    runtime: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped to end it.
    ended: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl EventLoops {
    /// Starts as many as processors may be used.
    ///
    /// # Errors
    ///
    /// If the system gives no thread or no descriptors.
    pub fn start() -> io::Result<Self> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        (0..count).map(EventLoop::start).collect::<io::Result<_>>().map(Self)
    }

    /// Serves a connection on the one that has fewest.
    pub fn serve<F: Future<Output = ()> + Send + 'static>(&self, connection: F) {
        let chosen = self.0.iter().min_by_key(|one| one.connections.load(Ordering::Relaxed));
        // There is always one.
        let Some(chosen) = chosen else { return };
        let counted = Counted::one(&chosen.connections);
        chosen.runtime.spawn(async move {
            connection.await;
            drop(counted);
        });
    }
}

impl EventLoop {
    fn start(number: usize) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (ended, end) = oneshot::channel::<Infallible>();
        let thread =
            thread::Builder::new().name(format!("connections-{number}")).spawn(move || {
                let _dropped = runtime.block_on(end);
                runtime.shutdown_timeout(AT_THE_END);
            })?;
        let (ended, thread) = (Some(ended), Some(thread));
        Ok(Self { runtime: handle, connections: Arc::default(), ended, thread })
    }
}

impl Drop for EventLoops {
    fn drop(&mut self) {
        for one in &mut self.0 {
            drop(one.ended.take());
        }
        for thread in self.0.iter_mut().filter_map(|one| one.thread.take()) {
            // What panicked there was told of there.
            let _ended = thread.join();
        }
    }
}

/// A connection, until this goes.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connections))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn connections_are_spread_evenly_and_end_with_the_loops() {
        let loops = EventLoops(vec![EventLoop::start(0).unwrap(), EventLoop::start(1).unwrap()]);
        let open = Arc::new(());
        let (served, serving) = mpsc::channel();
        let serve = |count: usize| {
            for _connection in 0..count {
                let (served, open) = (served.clone(), Arc::clone(&open));
                loops.serve(async move {
                    served.send(thread::current().name().unwrap().to_owned()).unwrap();
                    std::future::pending::<()>().await;
                    drop(open);
                });
            }
        };
        serve(8);
        let mut on: HashMap<String, usize> = HashMap::new();
        for name in serving.iter().take(8) {
            *on.entry(name).or_default() += 1;
        }
        let expected = ["connections-0", "connections-1"].map(|name| (name.to_owned(), 4));
        assert_eq!(on, HashMap::from(expected));
        drop(loops);
        assert_eq!(Arc::strong_count(&open), 1);
    }

    #[test]
    fn a_connection_that_has_ended_makes_room_where_it_was() {
        let loops = EventLoops(vec![EventLoop::start(0).unwrap(), EventLoop::start(1).unwrap()]);
        let (served, serving) = mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let serve = |until: Option<oneshot::Receiver<()>>| {
            let served = served.clone();
            loops.serve(async move {
                served.send(thread::current().name().unwrap().to_owned()).unwrap();
                match until {
                    Some(until) => drop(until.await),
                    None => std::future::pending().await,
                }
            });
            serving.recv().unwrap()
        };
        assert_eq!(serve(None), "connections-0");
        assert_eq!(serve(Some(ended)), "connections-1");
        assert_eq!(serve(None), "connections-0");
        end.send(()).unwrap();
        while loops.0[1].connections.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        assert_eq!(serve(None), "connections-1");
        assert_eq!(serve(None), "connections-1");
    }
}
