//! Credentials reach their own server and nobody else.

use dbt_client::auth::{Credentials, SecretValue};
use dbt_client::settings::Network;
use dbt_client::source::{self, Ask, Class, Connector};
use dbt_client::url::{Origin, RepositoryUrl};
use dbt_core::secret::Secret;

use crate::server::{TestServer, ok, redirect};
use crate::source_certificates::Authority;
use crate::source_http::{connector, path, patience, said, text};

fn alice(origins: impl IntoIterator<Item = Origin>) -> Credentials {
    let fixed = |text: &str| SecretValue::fixed("key", Secret::new(text.to_owned()));
    Credentials::basic(origins, fixed("alice"), fixed("hunter2"))
}

const HEADER: &str = "Basic YWxpY2U6aHVudGVyMg==";

#[test]
fn a_server_is_told_who_asks() {
    let server = TestServer::start(|_request| ok("words"));
    let source = source::open(&server.repository(), &connector(), &alice([server.origin()]));
    source.get(&path("file"), &Ask::document(10, &patience())).unwrap();
    source.open(&path("file"), 0, None, &patience()).unwrap();
    source.list(&path("file"), &patience()).unwrap_err();
    for request in server.requests() {
        assert_eq!(request.header("authorization"), Some(HEADER), "{}", request.path);
    }
}

#[test]
fn another_server_is_not_told_who_asks() {
    let server = TestServer::start(|_request| ok("words"));
    let ours: RepositoryUrl = "https://dbt.example.com".parse().unwrap();
    let credentials = alice([ours.origin().unwrap().clone()]);
    let source = source::open(&server.repository(), &connector(), &credentials);
    source.get(&path("file"), &Ask::document(10, &patience())).unwrap();
    assert_eq!(server.requests().remove(0).header("authorization"), None);
}

#[test]
fn credentials_do_not_follow_an_artifact_to_another_server() {
    let authority = Authority::new();
    let cdn = TestServer::start_tls(authority.server("127.0.0.1"), |_request| ok("bytes"));
    let elsewhere = format!("{}/x?X-Amz-Signature=s3cr3t", cdn.url());
    let server = TestServer::start(move |_request| redirect(307, &elsewhere));
    let connector = Connector::new(&Network::default(), Some(authority.file()), "dbt/4.0.0");
    let source = source::open(&server.repository(), &connector, &alice([server.origin()]));

    let ask = Ask::document(10, &patience()).from_anywhere();
    assert_eq!(text(source.get(&path("file.asc"), &ask).unwrap()), "bytes");
    source.open(&path("file"), 0, None, &patience()).unwrap();

    assert_eq!(server.requests()[0].header("authorization"), Some(HEADER));
    assert_eq!(cdn.requests().len(), 2);
    for request in cdn.requests() {
        assert_eq!(request.path, "/x?X-Amz-Signature=s3cr3t");
        assert!(!format!("{request:?}").contains("YWxpY2U6"), "{request:?}");
    }
}

#[test]
fn credentials_are_not_sent_without_tls_and_the_error_says_so() {
    let url: RepositoryUrl = "http://dbt.example.com/dbt".parse().unwrap();
    let credentials = alice([url.origin().unwrap().clone()]);
    let source = source::open(&url, &connector(), &credentials);
    let error = source.get(&path("truststore"), &Ask::document(10, &patience())).unwrap_err();
    let words = "failed to read `URL`: refusing to send credentials to `http://dbt.example.com` \
                 without TLS";
    assert_eq!(said(&error), words);
    assert_eq!(error.class(), Class::SignIn);
    assert!(error.hint().unwrap().contains("https://"));
}

#[test]
#[cfg(unix)]
fn a_command_that_fails_is_an_error_before_anything_is_sent() {
    let server = TestServer::start(|_request| ok("words"));
    let command = SecretValue::command("tokenFunc", "exit 7".to_owned());
    let credentials = Credentials::bearer([server.origin()], command);
    let source = source::open(&server.repository(), &connector(), &credentials);
    let error = source.get(&path("file"), &Ask::document(10, &patience())).unwrap_err();
    assert_eq!(
        said(&error),
        "failed to read `URL`: the command of `tokenFunc` failed (exit status: 7)"
    );
    assert!(server.requests().is_empty());
}

#[test]
fn errors_hold_no_secret() {
    let server = TestServer::start(|_request| redirect(302, "https://h/x?sig=hunter2"));
    let source = source::open(&server.repository(), &connector(), &alice([server.origin()]));
    let error = source.get(&path("file"), &Ask::document(10, &patience())).unwrap_err();
    let shown = format!("{error:?} {} {source:?}", said(&error));
    assert!(!shown.contains("hunter2") && !shown.contains("YWxpY2U6"), "{shown}");
}
