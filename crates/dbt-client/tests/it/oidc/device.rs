//! Codes that somebody confirms elsewhere. No test waits: time goes by when it is told to.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use dbt_client::oidc::device::{Invitation, sign_in};
use dbt_client::oidc::{Client, OidcError, Pace, Tokens, UnverifiedClaims};
use dbt_testkit::http::Answer;
use dbt_testkit::token_endpoint::{Asked, DEVICE_CODE, TOKEN, TokenEndpoint, of_json};
use serde_json::{Value, json};

use super::{channel, client, discovered, said};

/// Time that goes by only in pauses, which are remembered.
#[derive(Default)]
struct FakePace {
    elapsed: Cell<Duration>,
    pauses: RefCell<Vec<u64>>,
    ends_after: Option<usize>,
}

impl Pace for FakePace {
    fn elapsed(&self) -> Duration {
        self.elapsed.get()
    }

    fn wait(&self, pause: Duration) -> bool {
        self.elapsed.set(self.elapsed.get() + pause);
        self.pauses.borrow_mut().push(pause.as_secs());
        self.ends_after != Some(self.pauses.borrow().len())
    }
}

/// Signs in; returns how it ended, what was shown, and how long was waited each time.
fn signed_in(
    endpoint: &TokenEndpoint,
    confirm: bool,
) -> (Result<Tokens, OidcError>, Vec<Invitation>, Vec<u64>) {
    let (pace, mut shown) = (FakePace::default(), Vec::new());
    let provider = discovered(endpoint);
    let outcome = sign_in(&channel(), &provider, &client(), &pace, &mut |invitation| {
        shown.push(invitation.clone());
        if confirm {
            endpoint.confirm();
        }
    });
    (outcome, shown, pace.pauses.into_inner())
}

#[test]
fn who_confirms_the_code_elsewhere_is_signed_in_here() {
    let endpoint = TokenEndpoint::start();
    let provider = discovered(&endpoint);
    let pace = FakePace::default();
    let asks = Client { audience: Some("dbt-server".to_owned()), ..client() };
    let tokens = sign_in(&channel(), &provider, &asks, &pace, &mut |invitation| {
        assert_eq!(invitation.code, "WDJB-MJHT");
        assert_eq!(invitation.page, format!("{}/device", endpoint.url()));
        let complete = format!("{}/device?user_code=WDJB-MJHT", endpoint.url());
        assert_eq!(invitation.complete_page, Some(complete));
        assert_eq!(invitation.lasts, Duration::from_mins(5));
        endpoint.confirm();
    });
    let tokens = tokens.unwrap();
    let claims = UnverifiedClaims::of(&tokens.token).unwrap();
    assert_eq!(claims.texts("groups"), ["developers"], "the ID token is what is shown");
    assert!(tokens.refresh_token.is_some());

    let asked = endpoint.take_asked();
    assert_eq!(asked.iter().map(Asked::path).collect::<Vec<_>>(), [DEVICE_CODE, TOKEN]);
    assert_eq!(asked[0].field("scope").unwrap(), "openid profile email groups offline_access");
    assert_eq!(asked[0].field("client_id").as_deref(), Some("app"));
    assert_eq!(asked[0].field("audience").as_deref(), Some("dbt-server"));
    let grant = "urn:ietf:params:oauth:grant-type:device_code";
    assert_eq!(asked[1].field("grant_type").as_deref(), Some(grant));
    assert_eq!(*pace.pauses.borrow(), [5]);
}

#[test]
fn it_is_asked_as_often_as_the_provider_wants_and_more_slowly_when_told() {
    let endpoint = TokenEndpoint::start();
    for error in ["authorization_pending", "slow_down", "authorization_pending", "slow_down"] {
        endpoint.refuse_next(TOKEN, 400, error, "");
    }
    let (outcome, shown, pauses) = signed_in(&endpoint, true);
    outcome.unwrap();
    assert_eq!(shown.len(), 1);
    assert_eq!(pauses, [5, 5, 10, 10, 15]);
}

#[test]
fn an_outage_while_somebody_confirms_it_ends_nothing() {
    let endpoint = TokenEndpoint::start();
    endpoint.next(TOKEN, Answer::text(503, "away"));
    endpoint.next(TOKEN, Answer::of(200, "text/html", b"<html>Sign in to the network".to_vec()));
    let (outcome, _shown, pauses) = signed_in(&endpoint, true);
    outcome.unwrap();
    assert_eq!(pauses, [5, 10, 20]);
}

#[test]
fn a_refusal_ends_it_and_says_whose_it_is() {
    for (error, words) in [
        ("access_denied", "somebody, or a rule, has said no (access_denied)"),
        ("expired_token", "the code has expired (expired_token)"),
        ("invalid_grant", "the code is not good (invalid_grant)"),
    ] {
        let endpoint = TokenEndpoint::start();
        endpoint.refuse_next(TOKEN, 400, error, "");
        let (outcome, _shown, pauses) = signed_in(&endpoint, true);
        let error = outcome.unwrap_err();
        let expected = format!("`URL/token` refuses to give a token for the code: {words}");
        assert_eq!(said(&error, &endpoint), expected);
        assert_eq!(error.hint().unwrap(), "sign in with `dbt login`");
        assert_eq!((pauses.len(), endpoint.given()), (1, 1), "no token was given");
    }
}

#[test]
fn who_confirms_nothing_is_not_waited_for_for_ever() {
    let endpoint = TokenEndpoint::start();
    let (outcome, _shown, pauses) = signed_in(&endpoint, false);
    let error = outcome.unwrap_err();
    assert_eq!(said(&error, &endpoint), "nobody signed in within 5 minutes");
    assert_eq!(pauses.len(), 59, "every 5 s, and not after the code has expired");

    let pace = FakePace { ends_after: Some(2), ..FakePace::default() };
    let provider = discovered(&endpoint);
    let outcome = sign_in(&channel(), &provider, &client(), &pace, &mut |_invitation| {});
    assert_eq!(outcome.unwrap_err().to_string(), "signing in was cancelled");
    assert_eq!(endpoint.take_asked().len(), 2);
}

#[test]
fn what_cannot_be_shown_or_followed_is_refused_before_anybody_sees_it() {
    let good = json!({
        "device_code": "s3cr3t", "user_code": "A", "verification_uri": "https://h/", "expires_in": 9,
    });
    let unreadable = "the answer of `URL/device/code` cannot be used: it does not say what code to \
                      confirm, where, and for how long";
    let plain = "`verification_uri` cannot be used: `http://h/` is not the URL of an endpoint: \
                 without TLS (`https`) only servers on this machine are asked";
    let script = "`verification_uri_complete` cannot be used: `javascript:alert(1)` is not the URL \
                  of an endpoint: it begins neither with `https://` nor with `http://`";
    let untyped = "the answer of `URL` cannot be used: its code cannot be typed";
    for (name, value, words) in [
        ("device_code", Value::Null, unreadable),
        ("expires_in", json!("s3cr3t"), unreadable),
        ("verification_uri", json!("http://h/"), plain),
        ("verification_uri_complete", json!("javascript:alert(1)"), script),
        ("user_code", json!("\u{1b}[2J"), untyped),
        ("user_code", json!(""), untyped),
        ("user_code", json!("A".repeat(65)), untyped),
    ] {
        let endpoint = TokenEndpoint::start();
        let mut begun = good.clone();
        begun[name] = value;
        endpoint.next(DEVICE_CODE, of_json(200, &begun));
        let (outcome, shown, pauses) = signed_in(&endpoint, false);
        assert_eq!(said(&outcome.unwrap_err(), &endpoint), words);
        assert!(shown.is_empty() && pauses.is_empty(), "{words}");
    }
}

#[test]
fn a_provider_without_codes_says_so() {
    let endpoint = TokenEndpoint::start();
    endpoint.offer("device_authorization_endpoint", Value::Null);
    let (outcome, shown, _pauses) = signed_in(&endpoint, false);
    let error = outcome.unwrap_err();
    let words = "`URL` does not offer signing in by a code that is confirmed elsewhere";
    assert_eq!(said(&error, &endpoint), words);
    assert!(error.hint().unwrap().contains("--browser"));
    assert!(shown.is_empty() && endpoint.take_asked().is_empty());
}

#[test]
fn a_token_for_another_client_is_not_taken() {
    let endpoint = TokenEndpoint::start();
    let token = endpoint.sign(json!({"sub": "alice", "aud": "other"}));
    let answer = json!({"access_token": "s3cr3t", "token_type": "bearer", "id_token": token});
    endpoint.next(TOKEN, of_json(200, &answer));
    let (outcome, _shown, _pauses) = signed_in(&endpoint, false);
    let words = "the ID token of `URL` cannot be used: it is for another client";
    assert_eq!(said(&outcome.unwrap_err(), &endpoint), words);
}
