//! Requests through a proxy.

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::settings::Network;
use dbt_client::source::{self, Ask, Class, Connector, Content, FetchError, Patience, Replace};
use dbt_client::url::RepositoryUrl;
use dbt_core::digest::Digest;
use dbt_core::secret::Secret;

use crate::server::{TestProxy, TestServer, ok, reply};
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
fn a_server_without_tls_is_asked_for_by_its_whole_url() {
    let proxy = TestServer::start(|request| match request.path.as_str() {
        "http://repo.test/repo/file" | "http://other.test:81/repo/file" => ok("words"),
        _ => reply(400, &[], ""),
    });
    let network = Network {
        http_proxy: Some(format!("http://alice:hunter%3a2@{}", proxy.address())),
        https_proxy: Some("http://127.0.0.1:1".to_owned()),
        ..Network::default()
    };
    let connector = Connector::new(&network, None, "dbt/4.0.0");
    let get = |url: &str| {
        let source = source::open(&url.parse().unwrap(), &connector, &Credentials::none());
        text(source.get(&path("file"), &Ask::document(10, &patience())).unwrap())
    };
    for _ in 0..3 {
        assert_eq!(get("http://repo.test/repo"), "words");
    }
    assert_eq!(get("http://other.test:81/repo"), "words");
    let requests = proxy.requests();
    let hosts: Vec<_> = requests.iter().filter_map(|request| request.header("host")).collect();
    assert_eq!(hosts, ["repo.test", "repo.test", "repo.test", "other.test:81"]);
    for request in requests {
        let basic = "Basic YWxpY2U6aHVudGVyOjI=";
        assert_eq!(request.header("proxy-authorization"), Some(basic));
        assert_eq!(request.header("authorization"), None);
    }
    // One connection for each server, used again.
    assert_eq!(proxy.connections(), 2);
}

#[test]
fn what_is_written_goes_through_the_proxy_as_it_is() {
    let proxy = TestServer::start(|_request| reply(201, &[], ""));
    let network = Network { http_proxy: Some(proxy.address().to_string()), ..Network::default() };
    let connector = Connector::new(&network, None, "publisher/4.0.0");
    let url = "http://repo.test/repo".parse().unwrap();
    let destination = source::open_destination(&url, &connector, &Credentials::none());
    // Looks like the head of a request, in several pieces.
    let body = b"PUT /file HTTP/1.1\r\n\r\n".repeat(20_000);
    for name in ["one", "two"] {
        let content = Content { length: body.len() as u64, sha256: Digest::of(&body) };
        let put = destination.put(
            &path(name),
            &mut body.as_slice(),
            &content,
            Replace::Allowed,
            &patience(),
        );
        put.unwrap();
    }
    for (request, name) in proxy.requests().iter().zip(["one", "two"]) {
        assert_eq!(request.path, format!("http://repo.test/repo/{name}"));
        assert_eq!(request.body, body);
    }
    assert_eq!(proxy.requests().len(), 2);
}

#[test]
fn a_secure_proxy_takes_whole_urls_and_must_prove_who_it_is() {
    let (authority, evil) = (Authority::new(), Authority::new());
    let known = &authority;
    let get = |authority: &Authority, host: &str| {
        let proxy = TestServer::start_tls(authority.server(host), |_request| ok("words"));
        let url = format!("https://alice:hunter2@{}", proxy.address());
        let network = Network { http_proxy: Some(url), ..Network::default() };
        let connector = Connector::new(&network, Some(known.file()), "dbt/4.0.0");
        let url = "http://repo.test/repo".parse().unwrap();
        let source = source::open(&url, &connector, &Credentials::none());
        let answer = source.get(&path("file"), &Ask::document(10, &patience())).map(text);
        (answer, proxy.paths())
    };
    let (answer, paths) = get(&authority, "127.0.0.1");
    assert_eq!(answer.unwrap(), "words");
    assert_eq!(paths, ["http://repo.test/repo/file"]);
    for (authority, host) in [(&evil, "127.0.0.1"), (&authority, "repo.test")] {
        let (answer, paths) = get(authority, host);
        let words = said(&answer.unwrap_err());
        assert!(words.contains("the proxy `127.0.0.1:"), "{words}");
        assert!(words.contains("certificate"), "{words}");
        assert_eq!(paths, [""; 0]);
    }
}

#[test]
fn a_proxys_own_answers_are_told_from_the_servers() {
    let words = |status, name: &str, scheme: &str| {
        let name = name.to_owned();
        let proxy = TestServer::start(move |_request| reply(status, &[(&name, "x")], ""));
        let url = format!("http://alice:hunter2@{}", proxy.address());
        let network =
            Network { http_proxy: Some(url.clone()), https_proxy: Some(url), ..Network::default() };
        let connector = Connector::new(&network, None, "dbt/4.0.0");
        let url = format!("{scheme}://repo.test/repo").parse().unwrap();
        let source = source::open(&url, &connector, &Credentials::none());
        let limits = Patience::with_cached_copy(1.0);
        let error = source.get(&path("file"), &Ask::document(10, &limits)).unwrap_err();
        assert!(!format!("{error:?}").contains("hunter2"));
        (said(&error), error.class())
    };
    for (status, name, of_proxy) in [
        (407, "x", "it wants to know who asks (407)"),
        (403, "Proxy-Status", "it does not allow this connection (403)"),
        (502, "X-Squid-Error", "it cannot reach the server (502)"),
    ] {
        for scheme in ["http", "https"] {
            let (said, class) = words(status, name, scheme);
            assert!(said.contains("the proxy `127.0.0.1:"), "{said}");
            assert!(said.contains(of_proxy), "{said}");
            assert_eq!(class, Class::Outage);
        }
    }
    let (said, class) = words(403, "x", "http");
    assert!(said.contains("access is denied (403)"), "{said}");
    assert_eq!(class, Class::Forbidden);
}
