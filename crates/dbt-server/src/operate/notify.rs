//! Telling whoever started the server, systemd say, that it takes requests now.
//!
//! The protocol is `sd_notify`: a datagram to the socket that a variable names. Without the
//! variable nobody wants to hear anything.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::env::Environment;
use crate::log::causes;

/// The variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// Says that requests are taken. Who does not hear it waits until a time is over, and then ends
/// the server, so that failing is worth a line in the log.
pub fn ready(environment: &Environment) {
    let Some(place) = environment.get(SOCKET).filter(|place| !place.is_empty()) else { return };
    if let Err(error) = send(place, b"READY=1") {
        tracing::warn!(
            error = causes(&error),
            "whoever started the server cannot be told that it is ready"
        );
    }
}

fn send(place: &str, message: &[u8]) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    socket.send_to_addr(message, &address(place)?)?;
    Ok(())
}

/// Returns the address of a socket: a path, or on Linux a name without a file, after an `@`.
fn address(place: &str) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = place.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt as _;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(place: &str, socket: &UnixDatagram) -> Vec<u8> {
        ready(&Environment::from([(SOCKET.to_owned(), place.to_owned())]));
        let mut message = [0; 64];
        let length = socket.recv(&mut message).unwrap();
        message[..length].to_vec()
    }

    #[test]
    fn whoever_started_the_server_is_told_by_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("notify");
        let socket = UnixDatagram::bind(&place).unwrap();
        assert_eq!(told(place.to_str().unwrap(), &socket), b"READY=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whoever_started_the_server_is_told_by_a_name_without_a_file() {
        let name = format!("dbt-server-test-{}", std::process::id());
        let own = address(&format!("@{name}")).unwrap();
        let socket = UnixDatagram::bind_addr(&own).unwrap();
        assert_eq!(told(&format!("@{name}"), &socket), b"READY=1");
    }

    #[test]
    fn nobody_is_told_who_did_not_ask_and_a_socket_that_is_gone_ends_nothing() {
        ready(&Environment::new());
        let gone = "/nonexistent/notify".to_owned();
        assert!(send(&gone, b"READY=1").is_err());
        ready(&Environment::from([(SOCKET.to_owned(), gone)]));
    }
}
