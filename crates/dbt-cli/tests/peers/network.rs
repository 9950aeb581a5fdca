//! What stands between a job and its server. The server must know its public address before it
//! listens, and some answers get lost.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// Where identities are exchanged.
const EXCHANGE: &[u8] = b"POST /-/api/v1/oidc/exchange ";

/// What stands between a job and the server, and loses the answer to an exchange when it is told to.
pub(crate) struct Network {
    address: SocketAddr,
    server: Arc<OnceLock<String>>,
    /// Whether the answer to the next exchange is lost.
    pub(crate) loses: Arc<AtomicBool>,
    /// How many exchanges were asked for.
    pub(crate) exchanges: Arc<AtomicUsize>,
}

impl Network {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let network = Self {
            address: listener.local_addr().unwrap(),
            server: Arc::default(),
            loses: Arc::default(),
            exchanges: Arc::default(),
        };
        let (server, loses) = (Arc::clone(&network.server), Arc::clone(&network.loses));
        let exchanges = Arc::clone(&network.exchanges);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let upstream = TcpStream::connect(server.wait().as_str()).unwrap();
                let lost = Arc::new(AtomicBool::new(false));
                let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                let (loses, exchanges, is_lost) =
                    (Arc::clone(&loses), Arc::clone(&exchanges), Arc::clone(&lost));
                std::thread::spawn(move || {
                    copy(from, to, |bytes| {
                        if bytes.starts_with(EXCHANGE) {
                            exchanges.fetch_add(1, Ordering::SeqCst);
                            is_lost.store(loses.swap(false, Ordering::SeqCst), Ordering::SeqCst);
                        }
                        true
                    });
                });
                std::thread::spawn(move || {
                    copy(upstream, client, |_bytes| !lost.load(Ordering::SeqCst));
                });
            }
        });
        network
    }

    /// Says where the server is, once it listens.
    pub(crate) fn lead_to(&self, root: &str) {
        self.server.set(root.strip_prefix("http://").unwrap().to_owned()).unwrap();
    }

    /// Returns the address by which jobs know the server.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Hands on what comes, as long as that may be; then both ways are closed.
fn copy(mut from: TcpStream, mut to: TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !may_pass(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _already_closed = stream.shutdown(Shutdown::Both);
    }
}
