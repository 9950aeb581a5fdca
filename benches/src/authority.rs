//! Certificates for servers of ours, and what a secure connection costs by itself.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use crate::Fault;

/// The files of an authority and of a server that it vouches for.
pub const FILES: [&str; 3] = ["ca.pem", "server.pem", "server.key"];

/// Makes an authority and a server's certificate for these addresses, in [`FILES`].
pub fn create(directory: &Path, addresses: &[IpAddr]) -> Result<(), Fault> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let names: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let key = KeyPair::generate()?;
    let server = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    let texts = [authority.pem(), server.pem(), key.serialize_pem()];
    for (file, text) in FILES.iter().zip(texts) {
        std::fs::write(directory.join(file), text)?;
    }
    Ok(())
}

/// Returns the settings of a client that believes one authority.
pub fn client(authority: &Path) -> Result<Arc<ClientConfig>, Fault> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(authority)?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Opens a secure connection.
pub fn connect(
    config: Arc<ClientConfig>,
    address: IpAddr,
    stream: TcpStream,
) -> Result<StreamOwned<ClientConnection, TcpStream>, Fault> {
    let connection = ClientConnection::new(config, ServerName::from(address))?;
    Ok(StreamOwned::new(connection, stream))
}

/// Both ends of a handshake in one process, without a network.
pub struct Handshake {
    authority: std::path::PathBuf,
    server: Arc<ServerConfig>,
    address: IpAddr,
}

impl Handshake {
    /// Reads the certificates.
    pub fn new(directory: &Path, address: IpAddr) -> Result<Self, Fault> {
        let [authority, certificate, key] = FILES.map(|file| directory.join(file));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_file(certificate)?],
                PrivateKeyDer::from_pem_file(key)?,
            )?;
        Ok(Self { authority, server: Arc::new(server), address })
    }

    /// Makes one, whole: nothing is resumed.
    pub fn shake(&self) -> Result<(), Fault> {
        let config = client(&self.authority)?;
        let mut client = ClientConnection::new(config, ServerName::from(self.address))?;
        let mut server = ServerConnection::new(Arc::clone(&self.server))?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut flight = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut flight)?;
            }
            server.read_tls(&mut flight.as_slice())?;
            server.process_new_packets()?;
            let mut flight = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut flight)?;
            }
            client.read_tls(&mut flight.as_slice())?;
            client.process_new_packets()?;
        }
        Ok(())
    }
}

/// A connection, secure or not.
pub enum Stream {
    /// As it is.
    Plain(TcpStream),
    /// Within TLS.
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Secure(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(buffer),
            Self::Secure(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Secure(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handshake_succeeds_with_whom_the_authority_vouches_for() {
        let directory = tempfile::tempdir().unwrap();
        let address: IpAddr = [127, 0, 0, 1].into();
        create(directory.path(), &[address]).unwrap();
        Handshake::new(directory.path(), address).unwrap().shake().unwrap();
        let other = [127, 0, 0, 2].into();
        assert!(Handshake::new(directory.path(), other).unwrap().shake().is_err());
    }
}
