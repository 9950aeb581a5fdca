//! Stands between a client and a server, and counts: requests, connections, and how often the client
//! waits for the server before it asks for more.
//!
//! Requests are held back until as many have arrived as are expected, and then answered together.
//! Where fewer arrive within a while, the client waits for what it has asked for: that ends a round.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::Fault;

/// How long more requests are waited for. A machine so busy that a client needs longer between two of
/// them counts a round too many, and never one too few.
const MORE: Duration = Duration::from_millis(400);

/// The most bytes before a request's empty line.
const HEAD_LIMIT: usize = 64 * 1024;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests.
    pub requests: u32,
    /// Connections that carried any of them.
    pub connections: u32,
    /// How often everything that was asked for had to be answered before more was asked.
    pub rounds: u32,
}

/// Who stands in between. It goes on until this process ends.
#[derive(Debug)]
pub struct Between {
    /// Where it listens.
    pub address: SocketAddr,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    /// How many requests of a round are answered together.
    together: u32,
    /// How many requests are answered, or may be.
    released: u32,
}

impl Between {
    /// Listens on this machine, for a server.
    pub fn listen(server: SocketAddr) -> Result<Self, Fault> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, gate) = (listener.local_addr()?, Arc::<Gate>::default());
        let shared = Arc::clone(&gate);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let gate = Arc::clone(&shared);
                thread::spawn(move || {
                    // Whoever breaks off has said all that he wanted.
                    let _over = carry(&client, server, &gate);
                });
            }
        });
        Ok(Self { address, gate })
    }

    /// Begins to count anew. `together` requests are answered at once; with 1, each is answered as it
    /// comes.
    pub fn begin(&self, together: u32) {
        *self.gate.state() = State { together, ..State::default() };
    }

    /// Returns what was counted since then.
    pub fn counts(&self) -> Counts {
        self.gate.state().counts
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request, and returns when it may be answered.
    fn pass(&self, is_first: bool) {
        let mut state = self.state();
        state.counts.requests += 1;
        state.counts.connections += u32::from(is_first);
        let own = state.counts.requests;
        self.changed.notify_all();
        while state.released < own {
            let arrived = state.counts.requests;
            let is_complete = arrived - state.released >= state.together;
            let (next, waited) = if is_complete {
                (state, true)
            } else {
                let waited = self.changed.wait_timeout(state, MORE);
                let (next, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (next, timeout.timed_out())
            };
            state = next;
            // Whoever notices first ends the round, unless one more came in the meantime.
            if waited && state.released < own && state.counts.requests == arrived {
                state.released = arrived;
                state.counts.rounds += 1;
                self.changed.notify_all();
            }
        }
    }
}

/// Carries one connection.
fn carry(client: &TcpStream, server: SocketAddr, gate: &Gate) -> io::Result<()> {
    let upstream = TcpStream::connect(server)?;
    for stream in [client, &upstream] {
        stream.set_nodelay(true)?;
    }
    let (mut from, mut back) = (upstream.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        let _over = io::copy(&mut from, &mut back);
        let _closed = back.shutdown(Shutdown::Write);
    });
    let outcome = requests(client, &upstream, gate);
    let _closed = upstream.shutdown(Shutdown::Write);
    let _joined = answers.join();
    outcome
}

/// Hands on each request when it may be answered. None has a body.
fn requests(mut client: &TcpStream, mut upstream: &TcpStream, gate: &Gate) -> io::Result<()> {
    const END: &[u8] = b"\r\n\r\n";
    let (mut held, mut piece, mut is_first) = (Vec::new(), [0; 4096], true);
    loop {
        while let Some(at) = held.windows(END.len()).position(|window| window == END) {
            gate.pass(is_first);
            is_first = false;
            let rest = held.split_off(at + END.len());
            upstream.write_all(&held)?;
            held = rest;
        }
        let count = client.read(&mut piece)?;
        if count == 0 {
            return Ok(());
        }
        held.extend_from_slice(piece.get(..count).unwrap_or_default());
        if held.len() > HEAD_LIMIT {
            return Err(io::Error::other("a request without end"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Connection;

    /// A server that answers everything.
    fn server() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut piece = [0; 4096];
                    while stream.read(&mut piece).is_ok_and(|count| count > 0) {
                        stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                            .unwrap();
                    }
                });
            }
        });
        address
    }

    fn connect(between: &Between) -> Connection<TcpStream> {
        Connection::new(TcpStream::connect(between.address).unwrap(), "host")
    }

    #[test]
    fn what_is_asked_together_is_one_round_and_what_waits_is_another() {
        let between = Between::listen(server()).unwrap();
        between.begin(3);
        let ask = || connect(&between).get("/", "").unwrap().body;
        thread::scope(|scope| {
            let asked: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            for answer in asked {
                assert_eq!(answer.join().unwrap(), b"hi");
            }
        });
        assert_eq!(between.counts(), Counts { requests: 3, connections: 3, rounds: 1 });

        between.begin(2);
        let mut connection = connect(&between);
        for _ in 0..2 {
            assert_eq!(connection.get("/", "").unwrap().body, b"hi");
        }
        assert_eq!(between.counts(), Counts { requests: 2, connections: 1, rounds: 2 });
    }
}
