//! Certificate authorities of organisations, and servers with TLS in front of a world's file
//! server.

use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate authority of some organisation.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with this common name.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        Self { issuer: issuer.unwrap() }
    }

    /// Writes its certificate to a file.
    pub fn write_to(&self, file: &Path) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, self.issuer.pem()).unwrap();
    }

    /// Returns what a server for a host needs.
    pub fn server(&self, host: &str) -> ServerConfig {
        let (params, key) = of_host(host);
        self.signed(&params, &key)
    }

    /// Returns the certificate and the key of a server for a host, as PEM texts.
    pub fn server_files(&self, host: &str) -> (String, String) {
        let (params, key) = of_host(host);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Returns the certificate and the key of a server for a host, valid until this day.
    pub fn server_files_until(
        &self,
        host: &str,
        year: i32,
        month: u8,
        day: u8,
    ) -> (String, String) {
        let (mut params, key) = of_host(host);
        params.not_after = date_time_ymd(year, month, day);
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// Returns what a server has that nobody should believe.
    pub fn flawed(&self, host: &str, flaw: Flaw) -> ServerConfig {
        let (mut params, key) = of_host(host);
        match flaw {
            Flaw::Expired => params.not_after = date_time_ymd(2020, 1, 1),
            Flaw::NotYetValid => params.not_before = date_time_ymd(3000, 1, 1),
            Flaw::OtherHost => return self.server("other.test"),
            Flaw::SelfSigned => {
                return config(params.self_signed(&key).unwrap().der().clone(), &key);
            }
        }
        self.signed(&params, &key)
    }

    fn signed(&self, params: &CertificateParams, key: &KeyPair) -> ServerConfig {
        config(params.signed_by(key, &self.issuer).unwrap().der().clone(), key)
    }
}

/// What can be wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYetValid,
    /// It is for `other.test`.
    OtherHost,
    /// Nobody else signed it.
    SelfSigned,
}

fn of_host(host: &str) -> (CertificateParams, KeyPair) {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, host);
    (params, KeyPair::generate().unwrap())
}

fn config(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

/// How answers end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As the server behind says, and the connection goes on.
    InOrder,
    /// After so many bytes the connection is closed, and TLS does not say so.
    CutAfter(usize),
    /// Without a length: the end of the connection is the end of the answer.
    NoLength {
        /// Whether TLS says that it is the end, and not an attacker.
        is_said: bool,
    },
}

/// A server with TLS: passes each request on, and answers what it is answered.
#[derive(Debug)]
pub struct TlsServer {
    address: SocketAddr,
}

impl TlsServer {
    /// Starts one on `127.0.0.1`.
    pub fn start(config: ServerConfig, behind: SocketAddr) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), config, behind, Ending::InOrder)
    }

    /// Starts one whose answers end in some way.
    pub fn ending(config: ServerConfig, behind: SocketAddr, ending: Ending) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), config, behind, ending)
    }

    /// Starts one somewhere.
    pub fn start_at(at: IpAddr, config: ServerConfig, behind: SocketAddr, ending: Ending) -> Self {
        let config = Arc::new(config);
        let address = listen(at, move |stream| {
            // A client that breaks off is what many tests are about.
            drop(converse(stream, Arc::clone(&config), behind, ending));
        });
        Self { address }
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns `https://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

/// Listens until the test ends; each connection gets a thread.
pub(crate) fn listen(at: IpAddr, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind((at, 0)).expect("this address can be used");
    let address = listener.local_addr().expect("a listener has an address");
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = Arc::clone(&handle);
            thread::spawn(move || handle(stream));
        }
    });
    address
}

/// Speaks TLS on a connection, and passes requests on.
pub(crate) fn converse(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    behind: SocketAddr,
    ending: Ending,
) -> io::Result<()> {
    let raw = stream.try_clone()?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    while let Some(head) = read_head(&mut reader)? {
        let answer = ask(behind, &head)?;
        let tls = reader.get_mut();
        match ending {
            Ending::InOrder => {
                tls.write_all(&answer)?;
                tls.flush()?;
                continue;
            }
            Ending::CutAfter(count) => tls.write_all(answer.get(..count).unwrap_or(&answer))?,
            Ending::NoLength { is_said } => {
                tls.write_all(&without_length(&answer))?;
                if is_said {
                    tls.conn.send_close_notify();
                }
            }
        }
        tls.flush()?;
        return raw.shutdown(Shutdown::Both);
    }
    Ok(())
}

/// Reads a request that has no body, as it is.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if from.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(head))
}

/// Asks the server behind on a connection of its own; returns the whole answer.
pub(crate) fn ask(behind: SocketAddr, head: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(behind)?;
    stream.write_all(head)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

fn without_length(answer: &[u8]) -> Vec<u8> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 2;
    let (head, body) = answer.split_at(end);
    let head = String::from_utf8(head.to_vec()).unwrap();
    let kept = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Content-Length"));
    let head: String = kept.chain(["Connection: close\r\n"]).collect();
    [head.as_bytes(), body].concat()
}

/// A server that says the same bytes to everybody, whatever was asked, and closes.
#[derive(Debug)]
pub struct RawServer {
    address: SocketAddr,
}

impl RawServer {
    /// Starts one.
    pub fn saying(bytes: &[u8]) -> Self {
        let bytes = bytes.to_vec();
        let address = listen(Ipv4Addr::LOCALHOST.into(), move |stream| {
            drop(answer_once(&stream, &bytes));
        });
        Self { address }
    }

    /// Returns where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

fn answer_once(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    let mut asked = [0; 4096];
    let _some = stream.read(&mut asked)?;
    stream.write_all(bytes)?;
    stream.shutdown(Shutdown::Write)?;
    // Until the client goes: closing with unread bytes would be a reset.
    io::copy(&mut stream, &mut io::sink()).map(|_count| ())
}
