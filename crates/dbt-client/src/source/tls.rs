//! Secure connections: the layer between the HTTP library and rustls.
//!
//! Whose certificates are believed is decided in `authorities.rs`.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, Error, StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};
use ureq::{Proxy, ProxyProtocol};

use super::authorities::{Believed, CertificateRoots, Places};
use super::certificate::{Issuer, Unknown};
use super::error::{Failure, TlsProblem};
use super::forward;

/// The TLS of one process. Costs nothing until the first secure connection.
pub(super) struct Tls {
    places: Places,
    config: Mutex<Option<(Arc<ClientConfig>, Arc<Believed>)>>,
}

impl Tls {
    pub(super) const fn new(places: Places) -> Self {
        Self { places, config: Mutex::new(None) }
    }

    /// Returns which authorities are believed on this host. Reads them all.
    pub(super) fn certificate_roots(&self) -> Result<CertificateRoots, Failure> {
        let (_config, believed) = self.config()?;
        believed.describe().map_err(|error| failure(&error))
    }

    fn config(&self) -> Result<(Arc<ClientConfig>, Arc<Believed>), Failure> {
        let mut made = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.as_ref() {
            return Ok(config.clone());
        }
        // Named here and not installed for the process: what a program installs is its own
        // decision, and a library without a default must not panic.
        let provider = Arc::new(ring::default_provider());
        let believed = Arc::new(Believed::new(&self.places, Arc::clone(&provider))?);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failure(&error))?
            .dangerous()
            .with_custom_certificate_verifier(believed.clone())
            .with_no_client_auth();
        Ok(made.insert((Arc::new(config), believed)).clone())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("places", &self.places).finish_non_exhaustive()
    }
}

/// Says why rustls refused, in words.
#[expect(clippy::wildcard_enum_match_arm, reason = "the rest is told in rustls's own words")]
pub(super) fn failure(error: &Error) -> Failure {
    Failure::Tls(match error {
        Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                TlsProblem::Expired
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                TlsProblem::NotYetValid
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                TlsProblem::WrongHost
            }
            CertificateError::Revoked => TlsProblem::Revoked,
            CertificateError::Other(other) => match other.0.downcast_ref::<Unknown>() {
                Some(unknown) => unknown_issuer(unknown),
                None => TlsProblem::Other(reason.to_string()),
            },
            other => TlsProblem::Other(other.to_string()),
        },
        Error::InvalidMessage(_) => TlsProblem::NotTls,
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            TlsProblem::Outdated
        }
        other => TlsProblem::Other(other.to_string()),
    })
}

fn unknown_issuer(unknown: &Unknown) -> TlsProblem {
    let unused = unknown.unused.clone();
    match &unknown.issuer {
        Some(Issuer::Itself) => TlsProblem::SelfSigned { unused },
        Some(Issuer::Named(issuer)) => {
            TlsProblem::UnknownIssuer { issuer: Some(issuer.clone()), unused }
        }
        None => TlsProblem::UnknownIssuer { issuer: None, unused },
    }
}

/// Wraps connections to `https` servers, and to `https` proxies.
#[derive(Debug)]
pub(super) struct TlsConnector(pub(super) Arc<Tls>);

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        let proxy = forward::proxy_of(details);
        let wanted = match proxy {
            Some(proxy) => proxy.protocol() == ProxyProtocol::Https,
            None => details.needs_tls(),
        };
        if !wanted || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = proxy.map_or_else(|| details.uri.host().unwrap_or_default(), Proxy::host);
        let broken =
            |error| ureq::Error::Other(Box::new(Handshake { host: host.to_owned(), error }));
        let refuse = |failure: Failure| broken(ureq::Error::Other(Box::new(failure)));
        let (config, _believed) = self.0.config().map_err(refuse)?;
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = name.strip_suffix('.').unwrap_or(name);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| refuse(Failure::Protocol(error.to_string())))?;

        let connection =
            ClientConnection::new(config, name).map_err(|error| refuse(failure(&error)))?;
        let clock = Arc::clone(&details.current_time);
        let socket = InOnePiece(TransportAdapter::new(transport.boxed(), clock));
        let mut stream = StreamOwned::new(connection, socket);
        stream.sock.0.set_timeout(details.timeout);
        shake_hands(&mut stream).map_err(|error| broken(error.into()))?;

        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers: LazyBuffers::new(input, output), stream })))
    }
}

/// There is no secure connection, and to whom: a server, or a proxy.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Handshake {
    pub(super) host: String,
    pub(super) error: ureq::Error,
}

/// Reads until the server is known. What is to be said last goes out with the first request, so
/// that the server is not woken for it.
fn shake_hands(stream: &mut Stream) -> io::Result<()> {
    let StreamOwned { conn, sock } = stream;
    while conn.is_handshaking() {
        while conn.wants_write() {
            conn.write_tls(sock)?;
        }
        if conn.read_tls(sock)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Err(error) = conn.process_new_packets() {
            // The server may be told why; if not, that is not what went wrong.
            let _told = conn.write_tls(sock);
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
    }
    Ok(())
}

type Stream = StreamOwned<ClientConnection, InOnePiece>;

/// Sends together what TLS has in pieces.
struct InOnePiece(TransportAdapter);

impl Read for InOnePiece {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for InOnePiece {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match pieces {
            [one] => self.0.write(one),
            pieces => self
                .0
                .write(&pieces.iter().flat_map(|piece| piece.iter().copied()).collect::<Vec<u8>>()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A connection with TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: Stream,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let StreamOwned { conn, sock } = &mut self.stream;
        sock.0.set_timeout(timeout);
        let mut output = self.buffers.output().get(..amount).unwrap_or_default();
        while !output.is_empty() {
            let taken = conn.writer().write(output)?;
            output = output.get(taken..).unwrap_or_default();
            while conn.wants_write() {
                conn.write_tls(sock)?;
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.0.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.0.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsTransport")
    }
}

#[cfg(test)]
mod tests;
