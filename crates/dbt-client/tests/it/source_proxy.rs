//! Requests through a proxy.

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::settings::Network;
use dbt_client::source::{self, Ask, Class, Connector, FetchError};
use dbt_client::url::RepositoryUrl;
use dbt_core::secret::Secret;

use crate::server::{TestProxy, TestServer, ok};
use crate::source_certificates::Authority;
use crate::source_http::{path, patience, said, text};

const URL: &str = "https://repo.test/repo";

fn network(proxy: &TestProxy) -> Network {
    Network { https_proxy: Some(proxy.url()), ..Network::default() }
}

/// Reads a file of [`URL`] with a token.
fn get(network: &Network, authority: &Authority) -> Result<String, FetchError> {
    let url: RepositoryUrl = URL.parse().unwrap();
    let token = SecretValue::fixed("token", Secret::new("t0ken".to_owned()));
    let credentials = Credentials::bearer([url.origin().unwrap().clone()], token);
    let connector = Connector::new(network, Some(authority.file()), "dbt/4.0.0");
    let source = source::open(&url, &connector, &credentials);
    source.get(&path("file"), &Ask::document(10, &patience())).map(text)
}

#[test]
fn a_secure_server_is_reached_through_a_proxy_that_sees_nothing() {
    let authority = Authority::new();
    let server = TestServer::start_tls(authority.server("repo.test"), |_request| ok("words"));
    let proxy = TestProxy::to(server.address(), None);
    assert_eq!(get(&network(&proxy), &authority).unwrap(), "words");

    let asked = proxy.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].method.as_str(), asked[0].path.as_str()), ("CONNECT", "repo.test:443"));
    assert_eq!(asked[0].header("proxy-authorization"), Some("Basic YWxpY2U6aHVudGVyMg=="));
    assert_eq!(asked[0].header("authorization"), None);
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer t0ken"));
    assert_eq!(server.requests()[0].header("proxy-authorization"), None);
}

#[test]
fn a_proxy_cannot_pretend_to_be_the_server() {
    let (authority, evil) = (Authority::new(), Authority::new());
    let server = TestServer::start_tls(evil.server("repo.test"), |_request| ok("forged"));
    let proxy = TestProxy::to(server.address(), None);
    let error = get(&network(&proxy), &authority).unwrap_err();
    assert_eq!(error.class(), Class::Outage);
    assert!(server.requests().is_empty());
}

#[test]
fn a_proxy_that_refuses_is_named_without_its_password() {
    let authority = Authority::new();
    let proxy = TestProxy::to(([127, 0, 0, 1], 1).into(), Some(407));
    let error = get(&network(&proxy), &authority).unwrap_err();
    assert!(said(&error).contains("the proxy `127.0.0.1:"), "{}", said(&error));
    assert!(said(&error).contains("407"), "{}", said(&error));
    assert!(!format!("{error:?}").contains("hunter2"));
    assert_eq!(error.class(), Class::Outage);
}

#[test]
fn a_proxy_that_cannot_be_reached_is_named() {
    let authority = Authority::new();
    let nobody = Network {
        https_proxy: Some("http://alice:hunter2@127.0.0.1:1".to_owned()),
        ..Network::default()
    };
    let error = get(&nobody, &authority).unwrap_err();
    assert!(said(&error).contains("the proxy `127.0.0.1:1` could not be used"), "{}", said(&error));
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn an_excepted_host_and_this_machine_are_reached_directly() {
    let authority = Authority::new();
    let server = TestServer::start_tls(authority.server("127.0.0.1"), |_request| ok("words"));
    let proxy = TestProxy::to(server.address(), None);
    let excepted = Network { no_proxy: vec!["test".to_owned()], ..network(&proxy) };
    get(&excepted, &authority).unwrap_err();

    let connector = Connector::new(&network(&proxy), Some(authority.file()), "dbt/4.0.0");
    let source = source::open(&server.repository(), &connector, &Credentials::none());
    source.get(&path("file"), &Ask::document(10, &patience())).unwrap();
    assert!(proxy.asked().is_empty());
}

#[test]
fn a_server_without_tls_is_reached_through_its_own_proxy() {
    let server = TestServer::start(|_request| ok("words"));
    let proxy = TestProxy::to(server.address(), None);
    let network = Network {
        http_proxy: Some(proxy.url()),
        https_proxy: Some("http://127.0.0.1:1".to_owned()),
        ..Network::default()
    };
    let connector = Connector::new(&network, None, "dbt/4.0.0");
    let url = "http://repo.test/repo".parse().unwrap();
    let source = source::open(&url, &connector, &Credentials::none());
    let answer = source.get(&path("file"), &Ask::document(10, &patience()));
    assert_eq!(text(answer.unwrap()), "words");
    assert_eq!(proxy.asked()[0].path, "repo.test:80");
}
