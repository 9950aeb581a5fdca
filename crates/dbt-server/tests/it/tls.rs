//! Connections that the server itself encrypts.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dbt_testkit::tls::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::world::{Place, Server, WRITABLE};

const TLS: &str = r#""listen": {"tls": {"certFile": "cert.pem", "keyFile": "key.pem"},
    "metrics": "127.0.0.1:0"}"#;

/// Begins a server for `localhost` with a certificate of an authority.
fn start(authority: &Authority, more: &str) -> Server {
    let place = Place::new();
    let (certificate, key) = authority.server_files("localhost");
    place.put_beside("cert.pem", certificate.as_bytes());
    place.put_beside("key.pem", key.as_bytes());
    Server::on(place, &format!("{WRITABLE}, {TLS}{more}"))
}

fn client(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("authority.pem");
    authority.write_to(&file);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&file).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// Asks for a path; returns what was answered, or why there is no answer, and the protocol.
fn get(
    server: &Server,
    config: &Arc<ClientConfig>,
    path: &str,
) -> Result<(String, Option<Vec<u8>>), std::io::Error> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, server.connect());
    stream.write_all(
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let protocol = stream.conn.alpn_protocol().map(<[u8]>::to_vec);
    if answer.is_empty() {
        read?;
    }
    Ok((String::from_utf8_lossy(&answer).into_owned(), protocol))
}

#[test]
fn both_versions_of_tls_and_of_http_are_spoken() {
    let authority = Authority::new("ours");
    let server = start(&authority, "");
    server.put_on_disk("dbt/latest", b"1.0.0");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (answer, protocol) =
            get(&server, &client(&authority, &[version], &[b"http/1.1"]), "/dbt/latest").unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("1.0.0"), "{answer}");
        assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
        let both = client(&authority, &[version], &[b"h2", b"http/1.1"]);
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(both, name).unwrap();
        let mut stream = StreamOwned::new(connection, server.connect());
        // The preface and empty settings of HTTP/2; it answers with its own settings.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).unwrap();
        assert_eq!((stream.conn.alpn_protocol(), frame[3]), (Some(&b"h2"[..]), 4));
    }
    let strangers = client(&Authority::new("another"), rustls::ALL_VERSIONS, &[]);
    assert!(get(&server, &strangers, "/dbt/latest").is_err());
    assert_eq!(server.raw(b"GET /dbt/latest HTTP/1.1\r\nHost: t\r\n\r\n").status, 0, "plain HTTP");
}

#[test]
fn a_new_certificate_is_shown_without_a_restart_and_a_bad_pair_is_not() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = start(&old, "");
    let asked = |authority| get(&server, &client(authority, rustls::ALL_VERSIONS, &[]), "/healthz");
    assert!(asked(&old).is_ok() && asked(&new).is_err());
    let put = |name: &str, text: &str| std::fs::write(server.outside().join(name), text).unwrap();

    let (certificate, key) = new.server_files("localhost");
    put("cert.pem", &certificate);
    // A certificate without its key, then a key that is none.
    let is_bad = |server: &Server| {
        server.metric("reposerver_config_last_reload_success").as_deref() == Some("0")
    };
    server.eventually("refused", is_bad);
    assert!(asked(&old).is_ok() && asked(&new).is_err());
    put("key.pem", "nonsense");
    server.eventually("said", |server| server.log().contains("holds no private key in PEM"));
    assert!(is_bad(&server) && asked(&old).is_ok());

    put("key.pem", &key);
    server.eventually("shown", |_server| asked(&new).is_ok());
    assert!(asked(&old).is_err());
    assert!(!server.log().contains("PRIVATE KEY"));
}

#[test]
fn who_never_finishes_its_greeting_is_cut() {
    let server = start(&Authority::new("ours"), r#", "limits": {"headerSeconds": 1}"#);
    for start in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = server.connect();
        stream.write_all(start).unwrap();
        let began = Instant::now();
        let mut rest = Vec::new();
        let _reset = stream.read_to_end(&mut rest);
        assert!(began.elapsed() < Duration::from_secs(8), "{start:?}");
    }
    let cut = "reposerver_connections_cut_total{reason=\"slow-tls\"}";
    server.eventually("counted", |server| server.metric(cut).as_deref() == Some("2"));
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_and_a_key_is_never_served() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.server_files("localhost");
    let (_other, wrong) = authority.server_files("localhost");
    let place = Place::new();
    place.put_beside("cert.pem", certificate.as_bytes());
    assert!(place.refusal(TLS).contains("failed to read `key.pem`"));
    place.put_beside("key.pem", wrong.as_bytes());
    assert!(place.refusal(TLS).contains("and the key `key.pem` cannot be used"));
    let half = r#""listen": {"tls": {"certFile": "cert.pem"}}"#;
    assert!(place.refusal(half).contains("`listen.tls.keyFile` is needed for TLS"));
    place.put_on_disk("key.pem", key.as_bytes());
    let served = format!(
        r#""listen": {{"tls": {{"certFile": "cert.pem", "keyFile": {}}}}}"#,
        serde_json::json!(place.root().join("key.pem"))
    );
    let said = place.refusal(&served);
    assert!(said.contains("lies in the directory to serve"), "{said}");
}
