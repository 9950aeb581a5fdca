//! The identities of jobs, and what a server gives for them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dbt_client::oidc::ci::{Identity, Scope, exchange};
use dbt_client::source::Class;
use dbt_client::url::Origin;
use dbt_testkit::http::Answer;
use dbt_testkit::token_endpoint::{TokenEndpoint, of_json};
use serde_json::json;

use super::{channel, said, secret};
use crate::server::{Step, TestServer, head, ok, reply};

const EXCHANGE: &str = "/-/api/v1/oidc/exchange";

fn variables(set: &[(&str, &str)]) -> BTreeMap<String, OsString> {
    set.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
}

fn found(set: &[(&str, &str)]) -> Option<Identity> {
    Identity::find(&variables(set)).unwrap()
}

fn origin(endpoint: &TokenEndpoint) -> Origin {
    let url: dbt_client::url::RepositoryUrl = endpoint.url().parse().unwrap();
    url.origin().unwrap().clone()
}

#[test]
fn outside_of_a_job_there_is_no_identity() {
    for set in [
        &[][..],
        &[("DBT_ID_TOKEN", ""), ("DBT_ID_TOKEN_FILE", "")],
        &[("GITHUB_ACTIONS", "true"), ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://h")],
        &[("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cr3t")],
    ] {
        assert!(found(set).is_none(), "{set:?}");
    }
}

#[test]
fn github_makes_an_identity_for_the_server_and_nobody_else() {
    let endpoint = TokenEndpoint::start();
    let url = format!("{}/actions?api-version=2.0", endpoint.url());
    let set = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cr3t-of-the-job"),
    ];
    let identity = found(&set).unwrap();
    assert!(!format!("{identity:?}").contains("s3cr3t"));
    endpoint.next("/actions", of_json(200, &json!({"count": 1, "value": "s3cr3t-identity"})));
    let origin = origin(&endpoint);
    let token = identity.token(&channel(), &origin).unwrap();
    assert_eq!(token.expose(), "s3cr3t-identity");
    let asked = endpoint.take_asked().remove(0);
    assert_eq!(asked.field("audience"), Some(origin.to_string()));
    assert_eq!(asked.field("api-version").as_deref(), Some("2.0"));
    assert_eq!(asked.request.header("authorization"), Some("Bearer s3cr3t-of-the-job"));

    endpoint.next("/actions", of_json(200, &json!({"value": ""})));
    let error = identity.token(&channel(), &origin).unwrap_err();
    let words = "the answer of `URL/actions` cannot be used: there is no token in it";
    assert_eq!(said(&error, &endpoint), words);
    endpoint.next("/actions", Answer::text(403, "no"));
    let error = identity.token(&channel(), &origin).unwrap_err();
    assert_eq!(said(&error, &endpoint), "failed to ask `URL/actions`: access is denied (403)");
}

/// A hostile server would like an identity that another one exchanges: it names that one wherever
/// servers say for whom an identity must be.
#[test]
fn no_server_says_for_whom_an_identity_is() {
    let (github, victim) = (TokenEndpoint::start(), "https://dbt.example.com");
    let server = TestServer::start(move |request| match request.path.as_str() {
        EXCHANGE => {
            let problem = json!({
                "type": "urn:dbt:problem:unauthorised", "status": 401, "audience": victim,
                "detail": format!("it must be for `{victim}`, and for nobody else"),
            });
            let challenge = format!("Bearer realm=\"dbt\", aud=\"{victim}\"");
            let headers =
                [("Content-Type", "application/problem+json"), ("WWW-Authenticate", &challenge)];
            reply(401, &headers, problem.to_string())
        }
        _ => ok(json!({"audience": victim}).to_string()),
    });
    let url = format!("{}/actions", github.url());
    let set = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cr3t-of-the-job"),
    ];
    let identity = found(&set).unwrap();
    for _again in 0..2 {
        github.next("/actions", of_json(200, &json!({"value": "s3cr3t-identity"})));
        let token = identity.token(&channel(), &server.origin()).unwrap();
        let error = exchange(&channel(), &server.origin(), &token, Scope::Read).unwrap_err();
        assert!(error.to_string().contains("it must be for `https://dbt.example.com`"), "{error}");
    }
    let asked = github.take_asked();
    let audiences = asked.iter().map(|it| it.field("audience").unwrap());
    assert_eq!(audiences.collect::<Vec<_>>(), [server.url(), server.url()]);
    let paths: Vec<String> = server.requests().into_iter().map(|it| it.path).collect();
    assert_eq!(paths, [EXCHANGE, EXCHANGE], "nobody is asked for whom it must be");
}

#[test]
fn a_variable_comes_first_and_a_file_is_read_anew_each_time() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("token");
    let endpoint = TokenEndpoint::start();
    let origin = origin(&endpoint);
    let (one, two) = (made_for(&origin, "s3cr3t-one"), made_for(&origin, "s3cr3t-two"));
    fs::write(&file, format!("{one}\n")).unwrap();
    let path = file.to_str().unwrap();
    let set = [
        ("DBT_ID_TOKEN_FILE", path),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", "https://h"),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cr3t"),
    ];
    let identity = found(&set).unwrap();
    assert_eq!(*identity.token(&channel(), &origin).unwrap().expose(), one);
    fs::write(&file, &two).unwrap();
    assert_eq!(*identity.token(&channel(), &origin).unwrap().expose(), two);
    fs::write(&file, "two words").unwrap();
    let error = identity.token(&channel(), &origin).unwrap_err();
    assert_eq!(error.to_string(), "`DBT_ID_TOKEN_FILE` does not hold a token");
    fs::remove_file(&file).unwrap();
    let error = identity.token(&channel(), &origin).unwrap_err();
    let words = "failed to read the identity of this job from `FILE`, named by `DBT_ID_TOKEN_FILE`";
    assert_eq!(error.to_string().replace(path, "FILE"), words);

    let set = [("DBT_ID_TOKEN", one.as_str()), ("DBT_ID_TOKEN_FILE", path)];
    let token = found(&set).unwrap().token(&channel(), &origin).unwrap();
    assert_eq!(*token.expose(), one);
    let error = Identity::find(&variables(&[("DBT_ID_TOKEN", "s3cr3t two")])).unwrap_err();
    assert_eq!(error.to_string(), "`DBT_ID_TOKEN` does not hold a token");
    assert!(endpoint.take_asked().is_empty());
}

/// Returns an identity for a server, which nobody has signed.
fn made_for(origin: &Origin, signature: &str) -> String {
    with_audience(&json!(origin.to_string()), signature)
}

fn with_audience(audience: &serde_json::Value, signature: &str) -> String {
    let claims = json!({"iss": "https://ci.example.com", "aud": audience});
    format!("e30.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[test]
fn an_identity_for_another_server_is_shown_to_nobody() {
    let (endpoint, other) = (TokenEndpoint::start(), TokenEndpoint::start());
    let (ours, theirs) = (origin(&endpoint), origin(&other));
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("token");
    for (token, found_for) in [
        (made_for(&theirs, "s3cr3t"), format!("`{theirs}`")),
        (
            with_audience(&json!([ours.to_string(), theirs.to_string()]), "s3cr3t"),
            format!("`{ours}`, `{theirs}`"),
        ),
        (with_audience(&json!(format!("{ours}/")), "s3cr3t"), format!("`{ours}/`")),
        (with_audience(&json!([]), "s3cr3t"), "nobody".to_owned()),
        ("s3cr3t".to_owned(), "nobody".to_owned()),
    ] {
        fs::write(&file, &token).unwrap();
        for (variable, value) in
            [("DBT_ID_TOKEN", token.as_str()), ("DBT_ID_TOKEN_FILE", file.to_str().unwrap())]
        {
            let error = found(&[(variable, value)]).unwrap().token(&channel(), &ours).unwrap_err();
            let words = format!(
                "the identity in `{variable}` is for {found_for}, and not for `{ours}` alone"
            );
            assert_eq!(error.to_string(), words);
            assert_eq!(error.class(), Class::SignIn);
            assert!(error.hint().unwrap().contains(&format!("for the audience `{ours}`")));
        }
    }
    assert!(endpoint.take_asked().is_empty() && other.take_asked().is_empty());
}

#[test]
fn two_jobs_with_a_file_of_the_same_name_have_two_tokens() {
    let (endpoint, place) = (TokenEndpoint::start(), tempfile::tempdir().unwrap());
    let (origin, file) = (origin(&endpoint), place.path().join("token"));
    let identity = found(&[("DBT_ID_TOKEN_FILE", file.to_str().unwrap())]).unwrap();
    let key = |text: &str| {
        fs::write(&file, text).unwrap();
        identity.key(&origin, Scope::Read)
    };
    let first = key("s3cr3t-a");
    assert_ne!(first, key("s3cr3t-b"));
    assert_eq!(first, key("s3cr3t-a\n"));
    assert!(!format!("{first:?}").contains("s3cr3t"));
}

#[test]
fn what_one_job_was_given_is_no_other_jobs() {
    let endpoint = TokenEndpoint::start();
    let key = |token: &str, scope| {
        found(&[("DBT_ID_TOKEN", token)]).unwrap().key(&origin(&endpoint), scope)
    };
    assert_eq!(key("s3cr3t-a", Scope::Read), key("s3cr3t-a", Scope::Read));
    assert_ne!(key("s3cr3t-a", Scope::Read), key("s3cr3t-b", Scope::Read));
    assert_ne!(key("s3cr3t-a", Scope::Read), key("s3cr3t-a", Scope::Write));
    assert!(!format!("{:?}", key("s3cr3t-a", Scope::Read)).contains("s3cr3t"));
}

#[test]
fn the_server_gives_a_token_of_minutes_for_an_identity() {
    let endpoint = TokenEndpoint::start();
    let given = json!({"token": "dbt_the_token_of_a_job", "expires_in": 900});
    endpoint.next(EXCHANGE, of_json(200, &given));
    let tokens = exchange(&channel(), &origin(&endpoint), &secret("s3cr3t"), Scope::Write).unwrap();
    assert_eq!(tokens.token.expose(), "dbt_the_token_of_a_job");
    assert_eq!(tokens.expires, Some(tokens.received + Duration::from_mins(15)));
    assert_eq!(tokens.refresh_token, None);
    let asked = endpoint.take_asked();
    assert_eq!(asked.len(), 1);
    let request = &asked[0].request;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", EXCHANGE));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(asked[0].body, r#"{"token":"s3cr3t"}"#);

    endpoint.next(EXCHANGE, of_json(200, &given));
    exchange(&channel(), &origin(&endpoint), &secret("s3cr3t"), Scope::Read).unwrap();
    assert_eq!(endpoint.take_asked()[0].body, r#"{"scope":"read","token":"s3cr3t"}"#);
}

#[test]
fn an_answer_that_is_lost_is_asked_for_again_as_the_same_one() {
    let lost = vec![Step::Send(head(200, &[("Content-Length", "50")])), Step::Reset];
    let given = ok(r#"{"token":"dbt_the_token_of_a_job","expires_in":900}"#);
    let server = TestServer::answering(vec![lost.clone(), lost.clone(), given]);
    let tokens = exchange(&channel(), &server.origin(), &secret("s3cr3t"), Scope::Write).unwrap();
    assert_eq!(tokens.token.expose(), "dbt_the_token_of_a_job");
    let requests = server.requests();
    let keys: Vec<_> = requests.iter().map(|it| it.header("idempotency-key").unwrap()).collect();
    assert_eq!(keys.len(), 3);
    assert!(keys[0].len() == 32 && keys.iter().all(|key| *key == keys[0]), "{keys:?}");

    let server = TestServer::answering(vec![lost]);
    exchange(&channel(), &server.origin(), &secret("s3cr3t"), Scope::Write).unwrap_err();
    assert_eq!(server.requests().len(), 3);
    assert_ne!(server.requests()[0].header("idempotency-key"), Some(keys[0]));
}

#[test]
fn a_refusal_is_told_in_the_servers_words() {
    let server = TestServer::start(|_request| {
        let problem = json!({
            "type": "urn:dbt:problem:forbidden", "title": "Forbidden", "status": 403,
            "detail": "no rule fits: `ref` is `refs/heads/x`, and not `refs/heads/main` (s3cr3t)",
            "requestId": "abc-s3cr3t",
        });
        reply(403, &[("Content-Type", "application/problem+json")], problem.to_string())
    });
    let error =
        exchange(&channel(), &server.origin(), &secret("s3cr3t"), Scope::Write).unwrap_err();
    let words = error.to_string().replace(&server.url(), "URL");
    let expected = "`URL/-/api/v1/oidc/exchange` refuses to exchange the identity of this job: it \
                    says no (no rule fits: `ref` is `refs/heads/x`, and not `refs/heads/main` (***), \
                    request abc-***)";
    assert_eq!(words, expected);
    assert_eq!(error.class(), Class::SignIn);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_server_that_exchanges_nothing_or_is_away_is_told_as_that() {
    let words = |answer| {
        let server = TestServer::answering(vec![answer]);
        let error =
            exchange(&channel(), &server.origin(), &secret("s3cr3t"), Scope::Write).unwrap_err();
        let mut words = error.to_string();
        if let Some(cause) = std::error::Error::source(&error) {
            words = format!("{words}: {cause}");
        }
        words.replace(&server.url(), "").replace(EXCHANGE, "URL")
    };
    let unknown = "failed to ask `URL`: the server gave an unexpected answer (404)";
    assert_eq!(words(reply(404, &[], "404 page not found\n")), unknown);
    assert_eq!(words(reply(503, &[], "{}")), "failed to ask `URL`: the server failed (503)");
    let no_token = "the answer of `URL` cannot be used: it is not the JSON object with a `token` \
                    that it must be";
    assert_eq!(words(ok("{}")), no_token);
    let empty = "the answer of `URL` cannot be used: its token is empty, too long or has characters \
                 no token has";
    assert_eq!(words(ok(r#"{"token":""}"#)), empty);
}
