//! What a provider says of itself, and who may say it.

use dbt_client::oidc::{Addresses, Provider};
use dbt_client::source::Class;
use dbt_testkit::http::Answer;
use dbt_testkit::identity_provider::DISCOVERY;
use dbt_testkit::token_endpoint::{TokenEndpoint, of_json};
use serde_json::{Value, json};

use super::{addresses, channel, said};

/// Has a provider say something; returns what becomes of it.
#[track_caller]
fn refused(answer: Answer) -> (String, Option<String>) {
    let endpoint = TokenEndpoint::start();
    endpoint.next(DISCOVERY, answer);
    let error = Provider::discover(&channel(), &addresses(&endpoint)).unwrap_err();
    assert_eq!(endpoint.take_asked().len(), 1, "it is asked once");
    (said(&error, &endpoint), error.hint())
}

#[test]
fn a_provider_is_asked_once_where_it_says_what_it_offers() {
    let endpoint = TokenEndpoint::start();
    let provider = Provider::discover(&channel(), &addresses(&endpoint)).unwrap();
    assert_eq!(provider.token_endpoint().unwrap().to_uri(), format!("{}/token", endpoint.url()));
    assert!(provider.offers_device_codes() && provider.offers_browsers());
    let asked = endpoint.take_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].request.path, DISCOVERY);
    assert_eq!(asked[0].request.header("authorization"), None);
}

#[test]
fn a_slash_at_its_end_is_no_part_of_the_path() {
    let endpoint = TokenEndpoint::start();
    let issuer = format!("{}/", endpoint.url());
    endpoint.offer("issuer", json!(issuer));
    let addresses = Addresses::of(issuer.parse().unwrap());
    Provider::discover(&channel(), &addresses).unwrap();
    assert_eq!(endpoint.take_asked()[0].request.path, DISCOVERY);
}

#[test]
fn a_provider_that_is_somebody_else_is_refused() {
    let evil =
        json!({"issuer": "https://evil.example.com", "token_endpoint": "https://evil/token"});
    let (words, hint) = refused(of_json(200, &evil));
    let place = "URL/.well-known/openid-configuration";
    let expected = format!("`{place}` is the provider `https://evil.example.com`, and not `URL`");
    assert_eq!(words, expected);
    assert!(hint.unwrap().contains("`discoveryUrl`"));

    let endpoint = TokenEndpoint::start();
    let with_slash = format!("{}/", endpoint.url());
    endpoint.offer("issuer", json!(with_slash));
    let error = Provider::discover(&channel(), &addresses(&endpoint)).unwrap_err();
    let expected = format!("write `issuerUrl` as `{with_slash}`: the slash at its end counts");
    assert_eq!(error.hint(), Some(expected));
    assert_eq!(error.class(), Class::SignIn);
}

#[test]
fn what_is_no_such_document_is_told_as_what_it_is() {
    let place = "URL/.well-known/openid-configuration";
    for (answer, words) in [
        (
            of_json(200, &json!(["s3cr3t"])),
            format!(
                "the answer of `{place}` cannot be used: it is not a document that says what a provider offers"
            ),
        ),
        (
            of_json(200, &json!({"issuer": 7})),
            format!(
                "the answer of `{place}` cannot be used: it is not a document that says what a provider offers"
            ),
        ),
        (
            Answer::of(200, "text/html", b"<!doctype html><p>Sign in to this network".to_vec()),
            format!(
                "failed to ask `{place}`: `127.0.0.1` answered with a page (text/html) instead of data"
            ),
        ),
        (
            Answer::of(404, "text/html", b"<!doctype html><p>No".to_vec()),
            format!("failed to ask `{place}`: the server gave an unexpected answer (404)"),
        ),
        (Answer::text(503, "away"), format!("failed to ask `{place}`: the server failed (503)")),
        (
            Answer::text(302, "").with("Location", "https://elsewhere.example.com/"),
            format!("failed to ask `{place}`: the server gave an unexpected answer (302)"),
        ),
        (
            of_json(200, &json!({"issuer": "x".repeat(600 * 1024)})),
            format!("failed to ask `{place}`: the answer has more than 524288 bytes"),
        ),
    ] {
        assert_eq!(refused(answer).0, words);
    }
}

#[test]
fn it_is_asked_where_the_configuration_says() {
    let endpoint = TokenEndpoint::start();
    let issuer = "https://id.example.com/realms/x";
    endpoint.offer("issuer", json!(issuer));
    for (name, path) in
        [("token_endpoint", "token"), ("device_authorization_endpoint", "device/code")]
    {
        endpoint.offer(name, json!(format!("{issuer}/{path}")));
    }
    let here = Some(endpoint.url().parse().unwrap());
    let addresses = Addresses { backchannel: here, ..Addresses::of(issuer.parse().unwrap()) };
    let provider = Provider::discover(&channel(), &addresses).unwrap();
    assert_eq!(provider.token_endpoint().unwrap().to_uri(), format!("{}/token", endpoint.url()));

    let document =
        of_json(200, &json!({"issuer": issuer, "token_endpoint": format!("{issuer}/token")}));
    endpoint.next("/elsewhere", document);
    let discovery = Some(format!("{}/elsewhere?p=x", endpoint.url()).parse().unwrap());
    let addresses = Addresses { discovery, ..Addresses::of(issuer.parse().unwrap()) };
    let provider = Provider::discover(&channel(), &addresses).unwrap();
    assert_eq!(provider.token_endpoint().unwrap().to_uri(), format!("{issuer}/token"));
    assert_eq!(endpoint.take_asked().last().unwrap().request.path, "/elsewhere?p=x");
}

#[test]
fn a_provider_cannot_have_tokens_asked_for_without_tls() {
    let endpoint = TokenEndpoint::start();
    endpoint.offer("token_endpoint", json!("http://id.example.com/token"));
    let provider = Provider::discover(&channel(), &addresses(&endpoint)).unwrap();
    let words = "`token_endpoint` cannot be used: `http://id.example.com/token` is not the URL of an \
                 endpoint: without TLS (`https`) only servers on this machine are asked";
    assert_eq!(said(&provider.token_endpoint().unwrap_err(), &endpoint), words);
    endpoint.offer("token_endpoint", Value::Null);
    let provider = Provider::discover(&channel(), &addresses(&endpoint)).unwrap();
    let words = said(&provider.token_endpoint().unwrap_err(), &endpoint);
    assert_eq!(words, "`URL` does not offer tokens");
}
