//! Where redirects lead, and where not.

use dbt_client::source::{Ask, Class, Failure, RedirectProblem};

use crate::server::{Reply, TestServer, ok, redirect};
use crate::source_http::{get, open, path, patience, said, text};

/// A server whose `/repo/file` redirects to `location`.
fn redirecting(status: u16, location: &str) -> TestServer {
    let location = location.to_owned();
    TestServer::start(move |request| match request.path.as_str() {
        "/repo/file" => redirect(status, &location),
        _ => ok("there"),
    })
}

#[test]
fn redirects_within_an_origin_are_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = redirecting(status, "/repo/other?version=2");
        assert_eq!(text(get(&server).unwrap()), "there", "{status}");
        assert_eq!(server.paths(), ["/repo/file", "/repo/other?version=2"]);
    }
}

#[test]
fn the_truststore_does_not_come_from_another_server() {
    let other = TestServer::start(|_request| ok("forged"));
    let server = redirecting(302, &format!("{}/file", other.url()));
    let error = get(&server).unwrap_err();
    let there = other.url();
    let words = format!("failed to read `URL`: the server redirects to another server, `{there}`");
    assert_eq!(said(&error), words);
    // What the sign-in page of a network does: the cached copy may run.
    assert_eq!(error.class(), Class::Outage);
    assert!(other.requests().is_empty());
}

#[test]
fn an_artifact_does_not_come_from_another_server_without_tls() {
    let other = TestServer::start(|_request| ok("forged"));
    let server = redirecting(302, &format!("{}/file", other.url()));
    let error = open(&server.repository()).open(&path("file"), 0, None, &patience()).unwrap_err();
    let plain = Failure::Redirect(RedirectProblem::PlainHttp(other.origin()));
    assert_eq!(error.failure().to_string(), plain.to_string());
    assert_eq!(error.class(), Class::Refused);
    assert!(other.requests().is_empty());
}

#[test]
fn redirects_that_go_nowhere_are_refused_in_words() {
    for (location, words) in [
        ("file:///etc/passwd", "to a `file` URL"),
        ("javascript:alert(1)", "to a `javascript` URL"),
        ("http://user:hunter2@127.0.0.1/", "to a URL with a user name"),
        ("http://127.0.0.1:0/", "to something that is no URL"),
        ("/repo/file", "in a circle"),
    ] {
        let server = redirecting(302, location);
        for anywhere in [false, true] {
            let ask = Ask::document(1000, &patience());
            let ask = if anywhere { ask.from_anywhere() } else { ask };
            let error = open(&server.repository()).get(&path("file"), &ask).unwrap_err();
            assert_eq!(said(&error), format!("failed to read `URL`: the server redirects {words}"));
        }
    }
    let nowhere = TestServer::start(|_request| crate::server::reply(302, &[], ""));
    let error = get(&nowhere).unwrap_err();
    assert!(said(&error).ends_with("the server redirects without saying where to"));
}

#[test]
fn a_chain_of_redirects_has_an_end() {
    let chain = |length: usize| {
        TestServer::start(move |request| -> Reply {
            let hop = request.path.strip_prefix("/repo/file").unwrap();
            let hop: usize = hop.parse().unwrap_or(0);
            let next = format!("/repo/file{}", hop + 1);
            if hop < length { redirect(302, &next) } else { ok("there") }
        })
    };
    assert_eq!(text(get(&chain(3)).unwrap()), "there");
    let endless = chain(300);
    let error = get(&endless).unwrap_err();
    assert!(said(&error).ends_with("the server redirects more than 3 times"), "{}", said(&error));
    assert_eq!(endless.requests().len(), 4);
}

#[test]
fn a_listing_is_read_from_where_a_redirect_led() {
    let server = TestServer::start(|request| match request.path.as_str() {
        "/repo/tool/" => redirect(301, "/moved/tool/"),
        _ => ok("<pre><a href=\"/moved/tool/1.0.0/\">x</a><a href=\"/repo/tool/9.0.0/\">x</a>"),
    });
    let listing = open(&server.repository()).list(&path("tool"), &patience()).unwrap();
    assert_eq!(listing.names().collect::<Vec<_>>(), ["1.0.0"]);
}
