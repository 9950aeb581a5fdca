//! Whose certificates the server believes when it asks others.
//!
//! The machine's own authorities and those that the configuration names besides; Mozilla's only
//! where there are none (an empty container). Nothing turns the checks off.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::authn::watched::{Unreadable, Watched};

/// Begins TLS on connections to other servers.
#[derive(Clone)]
pub struct Tls(Believed);

#[derive(Clone)]
enum Believed {
    /// The machine's authorities.
    Machine(TlsConnector),
    /// Those of a file too, as it is now.
    File(Arc<Watched<TlsConnector>>),
}

impl Tls {
    /// Believes the machine's authorities, and those of a file, which is read again when it
    /// changes.
    pub fn trusting(file: Option<&Path>) -> Result<Self, TlsError> {
        Ok(Self(match file {
            None => Believed::Machine(connector(&[])?),
            Some(file) => Believed::File(Arc::new(Watched::open(file, |text| {
                let further = certificates(text).map_err(|error| error.to_string())?;
                connector(&further).map_err(|error| error.to_string())
            })?)),
        }))
    }

    /// Begins TLS with this host, which must prove its name.
    pub async fn begin(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connector = match &self.0 {
            Believed::Machine(connector) => connector.clone(),
            Believed::File(file) => {
                let file = Arc::clone(file);
                tokio::task::spawn_blocking(move || TlsConnector::clone(&file.current())).await?
            }
        };
        connector.connect(name, stream).await
    }
}

fn connector(further: &[CertificateDer<'static>]) -> Result<TlsConnector, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(further.iter().cloned());
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Checks that a file holds certificates.
pub fn check_authorities(path: &Path) -> io::Result<()> {
    certificates(&std::fs::read(path)?).map(|_usable| ())
}

/// Reads the certificates of a PEM file, of which there must be at least one.
fn certificates(text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|error| io::Error::other(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let (usable, _ignored) = roots.add_parsable_certificates(certificates.iter().cloned());
    if usable == 0 {
        return Err(io::Error::other("there is no certificate in it"));
    }
    Ok(certificates)
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be prepared.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The further authorities cannot be read.
    #[error(transparent)]
    Authorities(#[from] Unreadable),
}
