use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;
use ureq::unversioned::transport::time::Instant;

use super::*;
use crate::source::system_store::SystemStore;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn server(&self) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec!["dbt.test".to_owned()]).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), &self.0).unwrap().der().clone()
    }
}

/// A host with files of authorities.
struct Host {
    directory: TempDir,
    places: Places,
}

impl Host {
    /// Its store is there and empty.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("certs")).unwrap();
        let at = |name: &str| directory.path().join(name);
        let bundles = vec![at("missing"), at("certs"), at("bundle")];
        let system = SystemStore::of_files(bundles, vec![at("missing"), at("certs")]);
        Self { places: Places { system, ..Places::default() }, directory }
    }

    fn write(&self, name: &str, authorities: &[&Authority]) -> PathBuf {
        let path = self.directory.path().join(name);
        let text: String = authorities.iter().map(|authority| authority.0.pem()).collect();
        fs::write(&path, format!("words that are no certificate\n{text}")).unwrap();
        path
    }

    fn believed(&self) -> Arc<Believed> {
        Tls::new(self.places.clone()).config().unwrap().1
    }
}

fn check(believed: &Believed, server: &CertificateDer<'_>) -> Result<(), Failure> {
    let name = ServerName::try_from("dbt.test").unwrap();
    let now = UnixTime::now();
    let verified = believed.verify_server_cert(server, &[], &name, &[], now);
    verified.map(|_verified| ()).map_err(|error| failure(&error))
}

#[test]
fn every_place_adds_to_the_others() {
    let names = ["ca-file", "cert-file", "cert-dir", "bundle", "directory"];
    let authorities = names.map(Authority::new);
    let [ca_file, cert_file, cert_dir, bundle, directory] = &authorities;
    let mut host = Host::new();
    fs::create_dir(host.directory.path().join("dir")).unwrap();
    host.write("dir/one.pem", &[cert_dir]);
    host.write("bundle", &[bundle]);
    host.write("certs/12345678.0", &[directory]);
    host.places.ca_file = Some(host.write("a", &[ca_file]));
    host.places.file = Some(host.write("b", &[cert_file]));
    host.places.directories = vec![host.directory.path().join("dir")];

    let believed = host.believed();
    for authority in &authorities {
        check(&believed, &authority.server()).unwrap();
    }
    // Another of the same name is somebody else.
    check(&believed, &Authority::new("bundle").server()).unwrap_err();
    let roots = believed.describe().unwrap();
    let found: Vec<&str> = roots.places.iter().filter_map(|it| it.rsplit('/').next()).collect();
    assert_eq!(found, ["a`", "b`", "dir`", "bundle`", "certs`"]);
    assert!(!roots.is_mozilla && roots.unused.is_empty(), "{roots:?}");
}

#[test]
fn the_systems_store_is_not_read_for_what_the_configured_files_vouch_for() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let mut by_ca_file = Host::new();
    by_ca_file.places.ca_file = Some(by_ca_file.write("a", &[&ours]));
    let mut by_variable = Host::new();
    by_variable.places.file = Some(by_variable.write("b", &[&ours]));
    for host in [by_ca_file, by_variable] {
        host.write("bundle", &[&theirs]);
        let believed = host.believed();
        assert!(!believed.has_asked_the_system());
        check(&believed, &ours.server()).unwrap();
        assert!(!believed.has_asked_the_system());
        check(&believed, &theirs.server()).unwrap();
        assert!(believed.has_asked_the_system());
    }
}

#[test]
fn what_the_environment_names_and_cannot_be_used_is_named_and_stops_nothing() {
    let (system, other) = (Authority::new("system"), Authority::new("other"));
    let mut host = Host::new();
    host.write("bundle", &[&system]);
    let empty = host.write("empty", &[]);
    let missing = host.directory.path().join("missing");
    let directory = host.directory.path().to_owned();
    for (file, directories, words) in [
        (Some(missing.clone()), vec![], "`SSL_CERT_FILE` names `"),
        (Some(directory), vec![], "it is not a regular file"),
        (Some(empty), vec![], "there is no usable certificate in it"),
        (None, vec![missing], "`SSL_CERT_DIR` names `"),
    ] {
        host.places.file = file;
        host.places.directories = directories;
        let believed = host.believed();
        check(&believed, &system.server()).unwrap();
        let hint = check(&believed, &other.server()).unwrap_err().hint().unwrap();
        assert!(hint.contains(words), "{hint}");
        let unused = believed.describe().unwrap().unused;
        assert!(matches!(&*unused, [unused] if unused.contains(words)), "{unused:?}");
    }
}

#[test]
fn mozillas_list_is_used_only_where_there_is_no_store() {
    let host = Host::new();
    let roots = host.believed().describe().unwrap();
    assert!(roots.is_mozilla && roots.places.is_empty(), "{roots:?}");
    check(&host.believed(), &Authority::new("other").server()).unwrap_err();
    // What the environment adds is no store of the system.
    let mut named = Host::new();
    named.places.file = Some(named.write("b", &[&Authority::new("named")]));
    assert!(named.believed().describe().unwrap().is_mozilla);
    for name in ["bundle", "certs/one.pem"] {
        let host = Host::new();
        host.write(name, &[&Authority::new("system")]);
        assert!(!host.believed().describe().unwrap().is_mozilla, "{name}");
    }
}

#[test]
fn a_refusal_names_the_authority_that_is_not_known() {
    let host = Host::new();
    let error = check(&host.believed(), &Authority::new("Acme Inspection").server()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "there is no secure connection: the server's certificate is signed by `Acme Inspection`, \
         and this machine does not know that authority"
    );
    assert!(error.hint().unwrap().contains("`caFile`"));
}

/// A server at the other end of the wire, which counts what it is woken for.
struct Wire {
    buffers: LazyBuffers,
    server: ServerConnection,
    sent: Arc<AtomicUsize>,
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, _timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut bytes = &self.buffers.output()[..amount];
        while !bytes.is_empty() {
            self.server.read_tls(&mut bytes)?;
            self.server.process_new_packets().unwrap();
        }
        Ok(())
    }

    fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let mut answer = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut answer)?;
        }
        self.buffers.input_append_buf()[..answer.len()].copy_from_slice(&answer);
        self.buffers.input_appended(answer.len());
        Ok(!answer.is_empty())
    }

    fn is_open(&mut self) -> bool {
        true
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[test]
fn the_first_request_goes_out_with_the_end_of_the_handshake() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let authority = Authority::new("ours");
        let host = Host::new();
        host.write("bundle", &[&authority]);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["dbt.test".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority.0).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key.into())
            .unwrap();
        let sent = Arc::new(AtomicUsize::new(0));
        let wire = Wire {
            buffers: LazyBuffers::new(BUFFER, BUFFER),
            server: ServerConnection::new(Arc::new(server)).unwrap(),
            sent: Arc::clone(&sent),
        };
        let config = Tls::new(host.places.clone()).config().unwrap().0;
        let name = ServerName::try_from("dbt.test").unwrap();
        let socket = TransportAdapter::new(wire.boxed(), Arc::new(Instant::now));
        let connection = ClientConnection::new(config, name).unwrap();
        let mut stream = StreamOwned::new(connection, InOnePiece(socket));
        shake_hands(&mut stream).unwrap();
        let mut transport = TlsTransport { buffers: LazyBuffers::new(BUFFER, BUFFER), stream };
        let request = b"GET / HTTP/1.1\r\n\r\n";
        transport.buffers().output()[..request.len()].copy_from_slice(request);
        transport.transmit_output(request.len(), NextTimeout::default()).unwrap();

        // TLS 1.2 has a second flight of its own, after which the server speaks.
        let expected = if version.version == rustls::ProtocolVersion::TLSv1_2 { 3 } else { 2 };
        assert_eq!(sent.load(Ordering::Relaxed), expected, "{version:?}");
    }
}

const BUFFER: usize = 16 * 1024;
