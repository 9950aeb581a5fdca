//! Exchanging what a key has signed.

use dbt_client::oidc::exchange::{Exchange, SubjectToken, one, with_keys};
use dbt_client::oidc::{Client, Provider, TriedKey, UnverifiedClaims};
use dbt_client::source::Class;
use dbt_testkit::http::Answer;
use dbt_testkit::token_endpoint::{TOKEN, TokenEndpoint, of_json};
use serde_json::json;

use super::{addresses, channel, client, discovered, said, secret};

fn connector() -> Exchange {
    Exchange::Connector("ssh".to_owned())
}

fn dex(endpoint: &TokenEndpoint) -> Provider {
    Provider::of_dex(&addresses(endpoint))
}

fn signed(key: &str) -> SubjectToken {
    SubjectToken { key: key.to_owned(), token: secret(&format!("s3cr3t-signed-by-{key}")) }
}

#[test]
fn a_connector_is_asked_once_in_the_form_of_the_reference() {
    let endpoint = TokenEndpoint::start();
    let client = Client { audience: Some("dbt-server".to_owned()), ..client() };
    let tokens =
        with_keys(&channel(), &dex(&endpoint), &client, &connector(), [Ok(signed("a"))]).unwrap();
    let claims = UnverifiedClaims::of(&tokens.token).unwrap();
    assert_eq!(claims.texts("aud"), ["dbt-server"]);
    assert_eq!(tokens.refresh_token, None);
    let life = tokens.expires.unwrap().duration_since(tokens.received).unwrap();
    assert!((3590..=3600).contains(&life.as_secs()), "{life:?}");

    let asked = endpoint.take_asked();
    assert_eq!(asked.len(), 1);
    let [asked] = asked.as_slice() else { panic!("{asked:?}") };
    assert_eq!((asked.request.method.as_str(), asked.path()), ("POST", TOKEN));
    assert_eq!(asked.request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.request.header("accept"), Some("application/json"));
    assert_eq!(asked.request.header("authorization"), None);
    let expected = [
        ("audience", "dbt-server"),
        ("client_id", "app"),
        ("connector_id", "ssh"),
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:id_token"),
        ("scope", "openid email groups profile"),
        ("subject_token", "s3cr3t-signed-by-a"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(asked.fields(), expected);
    assert!(asked.body.contains("scope=openid+email+groups+profile"), "{}", asked.body);
}

#[test]
fn a_clients_secret_is_a_field_at_a_connector_and_a_header_where_that_is_wanted() {
    let endpoint = TokenEndpoint::start();
    endpoint.demand_secret("hunter2-of-the-client");
    let client = Client { secret: Some(secret("hunter2-of-the-client")), ..client() };
    one(&channel(), &dex(&endpoint), &client, &connector(), &secret("s3cr3t")).unwrap();
    let asked = endpoint.take_asked().remove(0);
    assert_eq!(asked.field("client_secret").as_deref(), Some("hunter2-of-the-client"));

    endpoint.offer("token_endpoint_auth_methods_supported", json!(["client_secret_basic"]));
    let provider = discovered(&endpoint);
    one(&channel(), &provider, &client, &Exchange::Standard, &secret("s3cr3t")).unwrap();
    let asked = endpoint.take_asked().remove(0);
    assert_eq!((asked.field("client_secret"), asked.field("client_id")), (None, None));

    let wrong = Client { secret: Some(secret("hunter2-of-nobody")), ..client };
    let error = one(&channel(), &dex(&endpoint), &wrong, &connector(), &secret("s3cr3t"));
    let error = error.unwrap_err();
    let words = "`URL/token` refuses to exchange a signed token: it does not know the client, or not \
                 with this secret (invalid_client: Invalid client credentials.)";
    assert_eq!(said(&error, &endpoint), words);
    assert!(error.hint().unwrap().contains("`oidcClientSecret`"));
    assert_eq!(error.class(), Class::SignIn);
}

#[test]
fn other_providers_are_asked_as_the_standard_has_it() {
    let endpoint = TokenEndpoint::start();
    let provider = discovered(&endpoint);
    one(&channel(), &provider, &client(), &Exchange::Standard, &secret("s3cr3t")).unwrap();
    let asked = endpoint.take_asked().remove(0);
    assert_eq!(asked.field("connector_id"), None);
    let kind = asked.field("subject_token_type").unwrap();
    assert_eq!(kind, "urn:ietf:params:oauth:token-type:jwt");
}

#[test]
fn keys_are_shown_one_after_the_other_until_one_is_known() {
    let endpoint = TokenEndpoint::start();
    endpoint.know(|token| token.ends_with("-c").then(|| "alice".to_owned()));
    let mut made = Vec::new();
    let keys = ["a", "b", "c", "d"].map(|key| {
        let silent =
            TriedKey { name: key.to_owned(), answer: "the agent does not sign".to_owned() };
        if key == "b" { Err(silent) } else { Ok(signed(key)) }
    });
    let keys = keys.into_iter().inspect(|key| made.push(key.is_ok()));
    let tokens = with_keys(&channel(), &dex(&endpoint), &client(), &connector(), keys).unwrap();
    assert_eq!(UnverifiedClaims::of(&tokens.token).unwrap().text("sub"), Some("alice"));
    assert_eq!(endpoint.take_asked().len(), 2, "once for each key that could sign");
    assert_eq!(made, [true, false, true], "the last one was not asked to sign");
}

#[test]
fn where_no_key_is_known_each_is_named_with_its_answer() {
    let endpoint = TokenEndpoint::start();
    endpoint.know(|_token| None);
    let keys =
        || [Ok(signed("a")), Err(TriedKey { name: "b".to_owned(), answer: "silent".to_owned() })];
    let try_all = |keys| with_keys(&channel(), &dex(&endpoint), &client(), &connector(), keys);
    let error = try_all(keys().into_iter().collect::<Vec<_>>()).unwrap_err();
    let words = "`URL/token` accepts none of your 2 keys: a (it is not known there), b (silent)";
    assert_eq!(said(&error, &endpoint), words);
    assert!(error.hint().unwrap().contains("ssh-add -L"));
    let error = try_all(vec![Ok(signed("a"))]).unwrap_err();
    let words = "`URL/token` accepts none of your keys: a (it is not known there)";
    assert_eq!(said(&error, &endpoint), words);
    let error = try_all(Vec::new()).unwrap_err();
    assert_eq!(said(&error, &endpoint), "there is no key to sign in with at `URL/token`");
}

#[test]
fn what_is_not_about_the_key_ends_it_at_once() {
    let unknown = "`URL/token` refuses to exchange a signed token: it does not understand the \
                   request (invalid_request: Requested connector does not exist.)";
    let other =
        "`URL/token` refuses to exchange a signed token: it says no (request_not_supported)";
    let failed = "`URL/token` refuses to exchange a signed token: it has failed (server_error)";
    let away = "failed to ask `URL/token`: the server failed (502)";
    let saml = "the answer of `URL/token` cannot be used: its token is neither an access token nor \
                an ID token";
    let nobody = "`URL/token` refuses to exchange a signed token: it does not know the client, or \
                  not with this secret (invalid_client)";
    let missing = "Requested connector does not exist.";
    let refusal = |status, error: &str| of_json(status, &json!({"error": error}));
    for (answer, words, class) in [
        (
            of_json(400, &json!({"error": "invalid_request", "error_description": missing})),
            unknown,
            Class::SignIn,
        ),
        (refusal(400, "request_not_supported"), other, Class::SignIn),
        (refusal(500, "server_error"), failed, Class::Outage),
        // Whatever else an answer says: it says no.
        (
            of_json(
                200,
                &json!({
                    "error": "invalid_client", "error_description": ["s3cr3t"],
                    "access_token": "s3cr3t", "token_type": "bearer",
                }),
            ),
            nobody,
            Class::SignIn,
        ),
        (Answer::of(502, "text/html", b"<html>Bad gateway".to_vec()), away, Class::Outage),
        (
            of_json(
                200,
                &json!({
                    "access_token": "s3cr3t", "token_type": "N_A",
                    "issued_token_type": "urn:ietf:params:oauth:token-type:saml2",
                }),
            ),
            saml,
            Class::SignIn,
        ),
    ] {
        let endpoint = TokenEndpoint::start();
        endpoint.next(TOKEN, answer);
        let keys = [Ok(signed("a")), Ok(signed("b"))];
        let error = with_keys(&channel(), &dex(&endpoint), &client(), &connector(), keys);
        let error = error.unwrap_err();
        assert_eq!(said(&error, &endpoint), words);
        assert_eq!(error.class(), class, "{words}");
        assert_eq!(endpoint.take_asked().len(), 1, "{words}");
    }
}

#[test]
fn a_provider_that_repeats_the_token_does_not_get_it_into_an_error() {
    let endpoint = TokenEndpoint::start();
    let token = secret("s3cr3t-signed");
    for (error, description) in [
        ("invalid_request", "cannot parse s3cr3t-signed"),
        ("s3cr3t-signed", "\u{1b}[2Js3cr3t-signed\r\n"),
    ] {
        endpoint.refuse_next(TOKEN, 400, error, description);
        let error = one(&channel(), &dex(&endpoint), &client(), &connector(), &token).unwrap_err();
        let words = format!("{} {error:?}", said(&error, &endpoint));
        assert!(!words.contains("s3cr3t") && !words.contains('\u{1b}'), "{words}");
    }
}
