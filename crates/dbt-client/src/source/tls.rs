//! Secure connections: whose certificates are believed, and the layer between the HTTP library
//! and rustls.
//!
//! Believed are the configured certificate authorities and the system's. Mozilla's list is used
//! only where a host has no store at all (an empty container). Nothing turns the checks off.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct,
    Error, RootCertStore, SignatureScheme, StreamOwned,
};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
    TransportAdapter,
};

use super::error::{Failure, TlsProblem};

/// Which certificate authorities are believed besides the configured ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateRoots {
    /// The operating system's.
    System,
    /// Mozilla's, because this host has none.
    Mozilla,
}

/// The TLS of one process. Costs nothing until the first secure connection.
pub(super) struct Tls {
    /// Files with further certificate authorities.
    files: Vec<PathBuf>,
    config: Mutex<Option<(Arc<ClientConfig>, Arc<Believed>)>>,
}

impl Tls {
    pub(super) const fn new(files: Vec<PathBuf>) -> Self {
        Self { files, config: Mutex::new(None) }
    }

    /// Returns which store is used on this host.
    pub(super) fn certificate_roots(&self) -> Result<CertificateRoots, Failure> {
        let (_config, believed) = self.config()?;
        let system = believed.system().map_err(|error| failure(&error))?;
        Ok(system.roots)
    }

    fn config(&self) -> Result<(Arc<ClientConfig>, Arc<Believed>), Failure> {
        let mut made = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.as_ref() {
            return Ok(config.clone());
        }
        // Named here and not installed for the process: what a program installs is its own
        // decision, and a library without a default must not panic.
        let provider = Arc::new(ring::default_provider());
        let extra = self.extra_roots(&provider)?;
        let system = OnceLock::new();
        let believed = Arc::new(Believed { provider: Arc::clone(&provider), extra, system });
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| failure(&error))?
            .dangerous()
            .with_custom_certificate_verifier(believed.clone())
            .with_no_client_auth();
        Ok(made.insert((Arc::new(config), believed)).clone())
    }

    fn extra_roots(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<WebPkiServerVerifier>>, Failure> {
        if self.files.is_empty() {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for path in &self.files {
            let fail = |source| Failure::CertificateFile { path: path.clone(), source };
            let certificates = read_certificates(path).map_err(fail)?;
            let (usable, _ignored) = roots.add_parsable_certificates(certificates);
            if usable == 0 {
                return Err(fail(io::Error::other("there is no usable certificate in it")));
            }
        }
        webpki(roots, provider).map(Some).map_err(|error| failure(&error))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

fn read_certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let text = fs::read(path)?;
    CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::other(error.to_string()))
}

fn webpki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// Believes the configured authorities, then the host's, which are loaded only if they are needed.
struct Believed {
    provider: Arc<CryptoProvider>,
    extra: Option<Arc<WebPkiServerVerifier>>,
    system: OnceLock<Result<System, Error>>,
}

struct System {
    verifier: Arc<dyn ServerCertVerifier>,
    roots: CertificateRoots,
}

impl Believed {
    fn system(&self) -> Result<&System, Error> {
        self.system.get_or_init(|| System::load(&self.provider)).as_ref().map_err(Clone::clone)
    }
}

impl System {
    fn load(provider: &Arc<CryptoProvider>) -> Result<Self, Error> {
        match rustls_platform_verifier::Verifier::new(Arc::clone(provider)) {
            Ok(verifier) => {
                Ok(Self { verifier: Arc::new(verifier), roots: CertificateRoots::System })
            }
            // Where the store is files, the only failure is that there are none.
            Err(_no_store) if cfg!(all(unix, not(target_vendor = "apple"))) => {
                let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
                let verifier = webpki(roots, provider)?;
                Ok(Self { verifier, roots: CertificateRoots::Mozilla })
            }
            Err(error) => Err(error),
        }
    }
}

impl fmt::Debug for Believed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Believed")
    }
}

impl ServerCertVerifier for Believed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let by = |verifier: &dyn ServerCertVerifier| {
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let ours = match &self.extra {
            None => unknown.clone(),
            Some(extra) => match by(extra.as_ref()) {
                Ok(verified) => return Ok(verified),
                Err(error) => error,
            },
        };
        // Of two refusals, the one that knows the issuer says more.
        by(self.system()?.verifier.as_ref()).map_err(
            |theirs| {
                if theirs == unknown { ours } else { theirs }
            },
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
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
            // The second is an issuer of a known name whose key did not sign this.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                TlsProblem::UnknownIssuer
            }
            CertificateError::Revoked => TlsProblem::Revoked,
            other => TlsProblem::Other(other.to_string()),
        },
        Error::InvalidMessage(_) => TlsProblem::NotTls,
        Error::PeerIncompatible(_) | Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            TlsProblem::Outdated
        }
        other => TlsProblem::Other(other.to_string()),
    })
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
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let (config, _believed) = self.0.config().map_err(|error| other(Box::new(error)))?;
        let host = details.uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        let name = ServerName::try_from(host.to_owned()).map_err(|error| other(Box::new(error)))?;

        let connection = ClientConnection::new(config, name)?;
        let clock = Arc::clone(&details.current_time);
        let socket = TransportAdapter::new(transport.boxed(), clock);
        let mut stream = StreamOwned::new(connection, socket);
        stream.sock.set_timeout(details.timeout);
        stream.conn.complete_io(&mut stream.sock)?;

        let (input, output) =
            (details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers: LazyBuffers::new(input, output), stream })))
    }
}

fn other(error: Box<dyn std::error::Error + Send + Sync>) -> ureq::Error {
    ureq::Error::Other(error)
}

/// A connection with TLS.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
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
