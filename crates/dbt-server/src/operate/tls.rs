//! The server's own certificate: read from two files, and again when they change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

use super::certificate;

/// What HTTP is spoken, the preferred first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, followed by those between it and an authority that clients know.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// One of the files cannot be read.
    #[error("failed to read `{}`", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// One of the files does not hold what it should.
    #[error("`{}` holds no {what} in PEM", path.display())]
    Empty {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not belong together, or are of a kind that is not supported.
    #[error("the certificate `{}` and the key `{}` cannot be used", files.certificate.display(), files.key.display())]
    Unusable {
        /// They.
        files: Files,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// What proves who we are.
pub struct Prepared {
    /// For connections.
    pub config: Arc<ServerConfig>,
    /// Until when it is valid: the first of the certificates that ends.
    pub end: Option<SystemTime>,
}

/// Prepares to prove who we are with these files.
pub fn prepare(files: &Files) -> Result<Prepared, CertificateError> {
    let chain = certificates(&files.certificate)?;
    let end = chain.iter().filter_map(|it| certificate::end(it)).min();
    let key = read(&files.key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_error| CertificateError::Empty {
        path: files.key.clone(),
        what: "private key",
    })?;
    let unusable = |source| CertificateError::Unusable { files: files.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.into_iter().map(<[u8]>::to_vec).collect();
    Ok(Prepared { config: Arc::new(config), end })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let text = read(path)?;
    let empty = || CertificateError::Empty { path: path.to_owned(), what: "certificate" };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_error| empty())?;
    if chain.is_empty() { Err(empty()) } else { Ok(chain) }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|source| CertificateError::Read { path: path.to_owned(), source })
}
