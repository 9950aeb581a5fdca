//! The next token, without anybody noticing.

use std::time::{Duration, SystemTime};

use dbt_client::oidc::refresh::{renewed, within};
use dbt_client::oidc::{OidcError, Tokens, UnverifiedClaims};
use dbt_client::settings::Places;
use dbt_client::source::Class;
use dbt_client::token_cache::{Key, Need, NoToken, Recipient, TokenCache};
use dbt_client::url::RepositoryUrl;
use dbt_core::clock::Clock;
use dbt_testkit::http::Answer;
use dbt_testkit::token_endpoint::{TOKEN, TokenEndpoint, of_json};
use serde_json::json;

use super::{channel, client, discovered, said, secret};

fn now() -> SystemTime {
    Clock::System.now()
}

/// What somebody got an hour ago.
fn ended(endpoint: &TokenEndpoint) -> Tokens {
    let received = now() - Duration::from_hours(1);
    let token = endpoint.sign(json!({"sub": "alice", "aud": "app", "exp": 1, "iat": 0}));
    let refresh_token = Some(secret(&endpoint.refresh_token()));
    Tokens { expires: Some(now()), ..Tokens::without_end(secret(&token), received) }
        .renewed_by(refresh_token)
}

fn key(endpoint: &TokenEndpoint) -> Key {
    let server: RepositoryUrl = "https://dbt.example.com".parse().unwrap();
    let (issuer, origin) = (endpoint.url(), server.origin().unwrap().clone());
    Key {
        issuer,
        client: "app".to_owned(),
        audience: String::new(),
        to: Recipient::at_home(origin),
        who: String::new(),
    }
}

fn cache_in(home: &std::path::Path) -> TokenCache {
    let places = Places {
        home: Some(home.to_owned()),
        read_only_home: None,
        store: None,
        read_only_stores: Vec::new(),
        temporary: home.to_owned(),
        links: None,
    };
    TokenCache::open(&places, |problem| panic!("{problem}"))
}

/// Gets a token the way a run does: by renewal, or not at all.
fn get(cache: &TokenCache, endpoint: &TokenEndpoint) -> Result<Tokens, NoToken<OidcError>> {
    let need = Need { now: now(), patience: Duration::from_mins(1), refused: None };
    cache.get_or_obtain(&key(endpoint), &need, |renewal| {
        let renewed = within(renewal, &channel(), || Ok(discovered(endpoint)), &client())?;
        renewed.ok_or(OidcError::NoKey { url: "somebody has to sign in".to_owned() })
    })
}

#[test]
fn a_token_is_renewed_and_what_renews_the_next_one_is_kept() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let before = ended(&endpoint);
    cache_in(home.path()).store(&key(&endpoint), &before);
    let after = get(&cache_in(home.path()), &endpoint).unwrap();
    assert_ne!(after.token, before.token);
    assert_ne!(after.refresh_token, before.refresh_token);
    let claims = UnverifiedClaims::of(&after.token).unwrap();
    assert_eq!(claims.texts("groups"), ["developers"]);

    let asked = endpoint.take_asked();
    assert_eq!(asked.len(), 1);
    let mut fields = asked[0].fields();
    fields.retain(|(name, _value)| name != "refresh_token");
    let expected = [("client_id", "app"), ("grant_type", "refresh_token")];
    assert_eq!(fields, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));

    // The next process uses it and asks nobody; the one after its end renews with the new one.
    let kept = get(&cache_in(home.path()), &endpoint).unwrap();
    assert_eq!(kept.refresh_token, after.refresh_token);
    assert!(endpoint.take_asked().is_empty());
    let over = Tokens { expires: Some(now()), ..kept };
    cache_in(home.path()).store(&key(&endpoint), &over);
    get(&cache_in(home.path()), &endpoint).unwrap();
}

#[test]
fn a_session_that_the_provider_has_ended_is_forgotten_and_nobody_asks_again() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    cache_in(home.path()).store(&key(&endpoint), &ended(&endpoint));
    endpoint.end_sessions();
    for _run in 0..2 {
        let error = get(&cache_in(home.path()), &endpoint).unwrap_err();
        assert!(error.to_string().contains("somebody has to sign in"), "{error}");
        assert_eq!(cache_in(home.path()).peek(&key(&endpoint)), None);
    }
    assert_eq!(endpoint.take_asked().len(), 1);
}

#[test]
fn a_provider_that_refuses_without_words_has_ended_the_session_too() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    cache_in(home.path()).store(&key(&endpoint), &ended(&endpoint));
    endpoint.next(TOKEN, Answer::text(400, ""));
    let error = get(&cache_in(home.path()), &endpoint).unwrap_err();
    assert!(error.to_string().contains("somebody has to sign in"), "{error}");
    assert_eq!(cache_in(home.path()).peek(&key(&endpoint)), None);
}

#[test]
fn words_that_are_no_refusal_end_no_session() {
    for words in ["<html>Bad Request</html>", r#"{"Error": "invalid_grant"}"#] {
        let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
        cache_in(home.path()).store(&key(&endpoint), &ended(&endpoint));
        endpoint.next(TOKEN, Answer::text(400, words));
        let error = get(&cache_in(home.path()), &endpoint).unwrap_err().into_cause().unwrap();
        assert!(!error.ends_the_session());
        let words = "failed to ask `URL/token`: the server gave an unexpected answer (400)";
        assert_eq!(said(&error, &endpoint), words);
        get(&cache_in(home.path()), &endpoint).unwrap();
    }
}

#[test]
fn an_outage_ends_no_session() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    cache_in(home.path()).store(&key(&endpoint), &ended(&endpoint));
    endpoint.refuse_next(TOKEN, 503, "temporarily_unavailable", "later");
    let error = get(&cache_in(home.path()), &endpoint).unwrap_err().into_cause().unwrap();
    let words = "`URL/token` refuses to renew the token: it cannot do it now \
                 (temporarily_unavailable: later)";
    assert_eq!(said(&error, &endpoint), words);
    assert_eq!(error.class(), Class::Outage);
    get(&cache_in(home.path()), &endpoint).unwrap();
}

#[test]
fn a_provider_that_does_not_replace_what_renews_is_asked_with_the_same_again() {
    let endpoint = TokenEndpoint::start();
    let provider = discovered(&endpoint);
    let before = ended(&endpoint);
    let opaque = Tokens { token: secret("an-access-token-1"), ..before.clone() };
    let answer =
        json!({"access_token": "an-access-token-2", "token_type": "bearer", "expires_in": 60});
    endpoint.next(TOKEN, of_json(200, &answer));
    let after = renewed(&channel(), &provider, &client(), &opaque).unwrap().unwrap();
    assert_eq!(after.refresh_token, before.refresh_token);
    assert_eq!(after.token.expose(), "an-access-token-2");
    assert_eq!(after.expires, Some(after.received + Duration::from_mins(1)));

    let without = Tokens::without_end(secret("s3cr3t"), now());
    assert_eq!(renewed(&channel(), &provider, &client(), &without).unwrap(), None);
}

#[test]
fn an_access_token_never_takes_the_place_of_an_id_token() {
    let (endpoint, home) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let answer = || {
        let answer = json!({
            "access_token": "an-access-token", "token_type": "bearer", "expires_in": 60,
            "refresh_token": "a-refresh-token-of-next",
        });
        endpoint.next(TOKEN, of_json(200, &answer));
    };
    let over = ended(&endpoint);
    answer();
    let error = renewed(&channel(), &discovered(&endpoint), &client(), &over).unwrap_err();
    assert_eq!(said(&error, &endpoint), "`URL` does not offer the renewal of ID tokens");
    assert_eq!(error.class(), Class::SignIn);
    endpoint.take_asked();

    // What is good still is used until it ends, and nobody is asked again.
    let almost_over = Tokens { expires: Some(now() + Duration::from_mins(2)), ..over.clone() };
    cache_in(home.path()).store(&key(&endpoint), &almost_over);
    answer();
    for _run in 0..2 {
        let got = get(&cache_in(home.path()), &endpoint).unwrap();
        assert_eq!((&got.token, &got.refresh_token), (&over.token, &None));
    }
    assert_eq!(endpoint.take_asked().len(), 1);

    // What is over is forgotten, and somebody signs in.
    cache_in(home.path()).store(&key(&endpoint), &over);
    answer();
    for _run in 0..2 {
        let error = get(&cache_in(home.path()), &endpoint).unwrap_err();
        assert!(error.to_string().contains("somebody has to sign in"), "{error}");
        assert_eq!(cache_in(home.path()).peek(&key(&endpoint)), None);
    }
    assert_eq!(endpoint.take_asked().len(), 1);
}

#[test]
fn somebody_elses_token_is_not_taken() {
    let endpoint = TokenEndpoint::start();
    let provider = discovered(&endpoint);
    let token = endpoint.sign(json!({"sub": "mallory", "aud": "app"}));
    let answer = json!({"access_token": "s3cr3t", "token_type": "bearer", "id_token": token});
    endpoint.next(TOKEN, of_json(200, &answer));
    let error = renewed(&channel(), &provider, &client(), &ended(&endpoint)).unwrap_err();
    let words = "the ID token of `URL` cannot be used: it is somebody else's";
    assert_eq!(said(&error, &endpoint), words);
}
