//! Whose certificates are believed, and what is said about the others.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbt_client::auth::Credentials;
use dbt_client::settings::Network;
use dbt_client::source::{
    self, Answer, Ask, Class, Connector, Failure, FetchError, Patience, TlsProblem,
};
use dbt_core::repo_path::RepoPath;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, SupportedProtocolVersion};

use crate::server::{Step, TestServer, ok};
use crate::source_http::{path, patience, said, text};

/// A certificate authority of some organisation, with its file.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _directory: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Acme Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file, _directory: directory }
    }

    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns what a server for `host` needs.
    pub(crate) fn server(&self, host: &str) -> ServerConfig {
        self.server_with(host, |_params| {}, rustls::ALL_VERSIONS)
    }

    fn server_with(
        &self,
        host: &str,
        change: impl FnOnce(&mut CertificateParams),
        versions: &[&'static SupportedProtocolVersion],
    ) -> ServerConfig {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        config(certificate.der().clone(), &key, versions)
    }
}

fn config(
    certificate: CertificateDer<'static>,
    key: &KeyPair,
    versions: &[&'static SupportedProtocolVersion],
) -> ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

fn self_signed(host: &str) -> (ServerConfig, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (config(certificate.der().clone(), &key, rustls::ALL_VERSIONS), certificate.pem())
}

fn get(tls: ServerConfig, ca_file: Option<&Path>) -> Result<Answer, FetchError> {
    let server = TestServer::start_tls(tls, |_request| ok("words"));
    let connector = Connector::new(&Network::default(), ca_file, "dbt/4.0.0");
    let source = source::open(&server.repository(), &connector, &Credentials::none());
    source.get(&path("file"), &Ask::document(10, &patience()))
}

#[track_caller]
fn check(tls: ServerConfig, ca_file: Option<&Path>, problem: &TlsProblem, words: &str) {
    let error = get(tls, ca_file).unwrap_err();
    assert!(matches!(error.failure(), Failure::Tls(found) if found == problem), "{error:?}");
    assert_eq!(
        said(&error),
        format!("failed to read `URL`: there is no secure connection: {words}")
    );
    assert_eq!(error.class(), Class::Outage);
}

const UNKNOWN: &str = "the server's certificate is signed by `Acme Authority`, and this \
                       machine does not know that authority";

fn unknown() -> TlsProblem {
    let issuer = Some("Acme Authority".to_owned());
    TlsProblem::UnknownIssuer { issuer, unused: Vec::new() }
}

#[test]
fn a_self_signed_certificate_is_refused_in_words_and_accepted_by_name() {
    let (tls, _pem) = self_signed("127.0.0.1");
    let words = "the server's certificate is signed by nobody but itself";
    check(tls, None, &TlsProblem::SelfSigned { unused: Vec::new() }, words);

    let (tls, pem) = self_signed("127.0.0.1");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("server.pem");
    std::fs::write(&file, pem).unwrap();
    assert_eq!(text(get(tls, Some(&file)).unwrap()), "words");
}

#[test]
fn the_organisations_own_authority_is_believed_when_it_is_configured() {
    let authority = Authority::new();
    check(authority.server("127.0.0.1"), None, &unknown(), UNKNOWN);
    let answer = get(authority.server("127.0.0.1"), Some(authority.file()));
    assert_eq!(text(answer.unwrap()), "words");

    // `SSL_CERT_FILE` says the same.
    let network =
        Network { ssl_cert_file: Some(authority.file().to_owned()), ..Network::default() };
    let server = TestServer::start_tls(authority.server("127.0.0.1"), |_request| ok("words"));
    let connector = Connector::new(&network, None, "dbt/4.0.0");
    let source = source::open(&server.repository(), &connector, &Credentials::none());
    source.get(&path("file"), &Ask::document(10, &patience())).unwrap();
}

#[test]
fn another_authority_of_the_same_kind_is_not_believed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    check(theirs.server("127.0.0.1"), Some(ours.file()), &unknown(), UNKNOWN);
}

#[test]
fn a_certificate_for_another_host_is_refused_in_words() {
    let authority = Authority::new();
    let words = "the server's certificate is for another host";
    let tls = authority.server("dbt.example.com");
    check(tls, Some(authority.file()), &TlsProblem::WrongHost, words);
}

#[test]
fn a_certificate_out_of_its_time_is_refused_in_words() {
    let authority = Authority::new();
    let old = authority.server_with(
        "127.0.0.1",
        |params| params.not_after = date_time_ymd(2020, 1, 1),
        rustls::ALL_VERSIONS,
    );
    let words = "the server's certificate has expired";
    check(old, Some(authority.file()), &TlsProblem::Expired, words);
    let new = authority.server_with(
        "127.0.0.1",
        |params| params.not_before = date_time_ymd(3000, 1, 1),
        rustls::ALL_VERSIONS,
    );
    let words = "the server's certificate is not valid yet";
    check(new, Some(authority.file()), &TlsProblem::NotYetValid, words);
}

#[test]
fn both_safe_versions_of_tls_are_spoken() {
    let authority = Authority::new();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = authority.server_with("127.0.0.1", |_params| {}, &[version]);
        assert_eq!(text(get(tls, Some(authority.file())).unwrap()), "words");
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_with_a_bad_certificate() {
    let greeting = vec![Step::Send(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()), Step::Close];
    let server = TestServer::start(move |_request| greeting.clone());
    let url = format!("https://{}/repo", server.address()).parse().unwrap();
    let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
    let source = source::open(&url, &connector, &Credentials::none());
    let error = source.list(&RepoPath::root(), &patience()).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
}

#[test]
fn an_authority_file_that_cannot_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "no certificate\n").unwrap();
    for file in [empty, directory.path().join("missing.pem"), PathBuf::from("/")] {
        let error = get(Authority::new().server("127.0.0.1"), Some(&file)).unwrap_err();
        let failure = error.failure();
        assert!(
            matches!(failure, Failure::CertificateFile { path, .. } if *path == file),
            "{error:?}"
        );
    }
}

#[test]
fn the_roots_that_are_used_can_be_asked_for() {
    let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
    connector.certificate_roots().unwrap();
}

#[test]
fn a_connection_that_ends_without_saying_so_is_truncated() {
    let authority = Authority::new();
    let server = TestServer::start_tls(authority.server("127.0.0.1"), |_request| {
        let mut short = crate::server::head(200, &[("Content-Length", "10")]);
        short.extend_from_slice(b"12345");
        vec![Step::Send(short), Step::Close]
    });
    let connector = Connector::new(&Network::default(), Some(authority.file()), "dbt/4.0.0");
    let source = source::open(&server.repository(), &connector, &Credentials::none());
    let error = source.get(&path("file"), &Ask::document(10, &patience())).unwrap_err();
    assert!(
        matches!(error.failure(), Failure::Truncated { received: 5, expected: 10 }),
        "{error:?}"
    );
}

#[test]
fn an_answer_without_a_length_ends_only_where_that_is_said() {
    let authority = Authority::new();
    let answer = || Step::Send([crate::server::head(200, &[]), b"words".to_vec()].concat());
    let secure = TestServer::start_tls(authority.server("127.0.0.1"), move |_request| {
        vec![answer(), Step::Close]
    });
    let wait = Step::Wait(std::time::Duration::from_millis(100));
    let reset = TestServer::start(move |_request| vec![answer(), wait.clone(), Step::Reset]);
    for server in [secure, reset] {
        let connector = Connector::new(&Network::default(), Some(authority.file()), "dbt/4.0.0");
        let source = source::open(&server.repository(), &connector, &Credentials::none());
        let limits = Patience::with_cached_copy(1.0);
        let error = source.get(&path("file"), &Ask::document(10, &limits)).unwrap_err();
        assert!(matches!(error.failure(), Failure::Reset { .. }), "{error:?}");
    }
    // Without TLS the end of the connection is all there is.
    let plain = TestServer::start(move |_request| vec![answer(), Step::Close]);
    let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
    let source = source::open(&plain.repository(), &connector, &Credentials::none());
    let answer = source.get(&path("file"), &Ask::document(10, &patience()));
    assert_eq!(text(answer.unwrap()), "words");
}
