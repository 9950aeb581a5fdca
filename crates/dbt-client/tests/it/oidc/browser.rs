//! A browser that comes back to this machine, or whose address is pasted.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use dbt_client::oidc::browser::{Invitation, sign_in};
use dbt_client::oidc::{OidcError, Tokens, UnverifiedClaims};
use dbt_client::source::Cancel;
use dbt_testkit::token_endpoint::{AUTHORIZE, Asked, TOKEN, TokenEndpoint, of_json};
use serde_json::json;

use super::{channel, client, discovered, said, secret};

/// How long is waited for who does come.
const LONG: Duration = Duration::from_mins(1);

/// Goes to a page as a browser does, without following where it leads; returns the answer.
fn visit(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_at(rest.find('/').unwrap());
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    let (mut buffer, mut length) = ([0_u8; 4096], None);
    // The provider keeps its connections open.
    while length.is_none_or(|length| answer.len() < length) {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        answer.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let head = answer.split_once("\r\n\r\n").map(|(head, _body)| head);
        let said = head.and_then(|head| {
            let line = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
            Some(head.len() + 4 + line.parse::<usize>().unwrap())
        });
        length = length.or(said);
    }
    answer
}

/// Signs in at the provider; returns the address that it sends the browser to.
fn sent_back_to(page: &str) -> String {
    let answer = visit(page);
    let location = answer.lines().find_map(|line| line.strip_prefix("Location: "));
    location.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn signed_in(
    endpoint: &TokenEndpoint,
    limit: Duration,
    person: impl FnOnce(&Invitation<'_>) + Send,
) -> Result<Tokens, OidcError> {
    let (provider, cancel) = (discovered(endpoint), Cancel::default());
    std::thread::scope(|scope| {
        let mut person = Some(person);
        sign_in(&channel(), &provider, &client(), (limit, &cancel), &mut |invitation| {
            let person = person.take().unwrap();
            let (page, paste) = (invitation.page.to_owned(), invitation.paste.clone());
            scope.spawn(move || person(&Invitation { page: &page, paste }));
        })
    })
}

#[test]
fn who_signs_in_with_a_browser_is_signed_in_here() {
    let endpoint = TokenEndpoint::start();
    let tokens = signed_in(&endpoint, LONG, |invitation| {
        let page = visit(&sent_back_to(invitation.page));
        assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("You can close this page"));
    });
    let tokens = tokens.unwrap();
    assert_eq!(UnverifiedClaims::of(&tokens.token).unwrap().text("sub"), Some("alice"));
    assert!(tokens.refresh_token.is_some());

    let asked = endpoint.take_asked();
    assert_eq!(asked.iter().map(Asked::path).collect::<Vec<_>>(), [AUTHORIZE, TOKEN]);
    let sent = |name: &str| asked[0].field(name).unwrap();
    assert_eq!(sent("scope"), "openid profile email groups offline_access");
    assert_eq!(sent("prompt"), "consent");
    assert_eq!((sent("state").len(), sent("nonce").len()), (43, 43));
    assert!(sent("redirect_uri").starts_with("http://127.0.0.1:"));
    assert_eq!(asked[1].field("code_verifier").unwrap().len(), 43);
    assert_eq!(asked[1].field("redirect_uri").unwrap(), sent("redirect_uri"));
}

#[test]
fn where_the_browser_runs_elsewhere_its_address_is_pasted() {
    let endpoint = TokenEndpoint::start();
    let tokens = signed_in(&endpoint, LONG, |invitation| {
        let address = sent_back_to(invitation.page);
        let wrong = address.replace("state=", "state=x");
        for (pasted, problem) in [
            (wrong.as_str(), "it belongs to another sign-in"),
            ("hello", "it does not say which sign-in it belongs to"),
        ] {
            let error = invitation.paste.address(&secret(pasted)).unwrap_err();
            let words = "what was pasted is not the address that this sign-in leads to";
            assert_eq!(error.to_string(), format!("{words}: {problem}"));
            assert!(error.hint().unwrap().contains("the whole address"));
        }
        invitation.paste.address(&secret(&format!("  {address}\n"))).unwrap();
    });
    assert!(tokens.unwrap().refresh_token.is_some());
}

#[test]
fn who_else_knocks_changes_nothing() {
    let endpoint = TokenEndpoint::start();
    let tokens = signed_in(&endpoint, LONG, |invitation| {
        let address = sent_back_to(invitation.page);
        // A connection that a browser opens and does not use.
        let (place, _query) = address.split_once("/callback?").unwrap();
        let idle = TcpStream::connect(place.strip_prefix("http://").unwrap()).unwrap();
        for (other, status) in [
            (format!("{place}/favicon.ico"), 404),
            (format!("{place}/callback?code=evil&state=guess"), 400),
            (format!("{place}/callback?error=access_denied"), 400),
            (address.replace("iss=http", "iss=https"), 400),
        ] {
            let answer = visit(&other);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{other}: {answer}");
        }
        visit(&address);
        drop(idle);
    });
    tokens.unwrap();
    assert_eq!(endpoint.take_asked().iter().filter(|it| it.path() == TOKEN).count(), 1);
}

#[test]
fn a_refusal_comes_back_in_words() {
    let endpoint = TokenEndpoint::start();
    let error = signed_in(&endpoint, LONG, |invitation| {
        let address = sent_back_to(invitation.page);
        let (place, query) = address.split_once("?code=").unwrap();
        let (_code, rest) = query.split_once('&').unwrap();
        let words = "error=access_denied&error_description=You+are+not+in+the+group";
        let page = visit(&format!("{place}?{words}&{rest}"));
        assert!(page.contains("You are not signed in"), "{page}");
    });
    let error = error.unwrap_err();
    let words = "`URL/auth` refuses to sign you in: somebody, or a rule, has said no \
                 (access_denied: You are not in the group)";
    assert_eq!(said(&error, &endpoint), words);
    assert!(endpoint.take_asked().iter().all(|it| it.path() != TOKEN));
}

#[test]
fn a_token_that_answers_another_sign_in_is_not_taken() {
    let endpoint = TokenEndpoint::start();
    let token = endpoint.sign(json!({"sub": "alice", "aud": "app", "nonce": "another"}));
    let answer = json!({"access_token": "s3cr3t", "token_type": "bearer", "id_token": token});
    endpoint.next(TOKEN, of_json(200, &answer));
    let error = signed_in(&endpoint, LONG, |invitation| {
        visit(&sent_back_to(invitation.page));
    });
    let words = "the ID token of `URL` cannot be used: it belongs to another sign-in";
    assert_eq!(said(&error.unwrap_err(), &endpoint), words);
}

#[test]
fn who_does_not_come_back_is_not_waited_for_for_ever() {
    let endpoint = TokenEndpoint::start();
    let error = signed_in(&endpoint, Duration::ZERO, |_invitation| {}).unwrap_err();
    assert_eq!(said(&error, &endpoint), "nobody signed in within 0 seconds");
    let (provider, cancel) = (discovered(&endpoint), Cancel::default());
    let outcome = sign_in(&channel(), &provider, &client(), (LONG, &cancel), &mut |_invitation| {
        cancel.cancel();
    });
    assert_eq!(outcome.unwrap_err().to_string(), "signing in was cancelled");
    assert!(endpoint.take_asked().is_empty());
}

#[test]
fn a_provider_that_cannot_bind_a_code_to_us_is_not_used() {
    let endpoint = TokenEndpoint::start();
    endpoint.offer("code_challenge_methods_supported", json!(["plain"]));
    let error = signed_in(&endpoint, LONG, |_invitation| panic!("somebody was sent there"));
    let words = "`URL` does not offer signing in with a browser safely (PKCE with S256)";
    assert_eq!(said(&error.unwrap_err(), &endpoint), words);
}
