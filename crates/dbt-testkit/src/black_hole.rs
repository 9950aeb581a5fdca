//! A port that neither accepts nor refuses: its queue is full, so the system drops what arrives.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The port.
#[derive(Debug)]
pub struct BlackHole {
    listener: TcpListener,
    address: SocketAddr,
    fillers: Vec<TcpStream>,
}

/// How many connections fill a queue that was made for none; systems round up.
const FILLERS: usize = 16;

impl BlackHole {
    /// Opens one.
    pub fn open() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        // A second call changes the length of the queue.
        rustix::net::listen(&listener, 0).unwrap();
        let address = listener.local_addr().unwrap();
        let patience = Duration::from_millis(200);
        let connect = || TcpStream::connect_timeout(&address, patience).ok();
        let fillers: Vec<TcpStream> = std::iter::from_fn(connect).take(FILLERS).collect();
        assert!(fillers.len() < FILLERS, "the queue does not fill");
        Self { listener, address, fillers }
    }

    /// Returns `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes room for one connection, so that the next attempt can be seen.
    pub fn make_room(&mut self) {
        for _filler in self.fillers.drain(..) {
            drop(self.listener.accept().unwrap());
        }
        self.listener.set_nonblocking(true).unwrap();
    }

    /// Counts who has connected since.
    pub fn arrivals(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}
