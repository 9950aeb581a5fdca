//! CI jobs: the identity that each has is found, exchanged at its server and nowhere else, and serves
//! the whole job.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::server::Fault;
use dbt_testkit::token_endpoint::{TokenEndpoint, of_json};
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::{pinned, published};

const EXCHANGE: &str = "/-/api/v1/oidc/exchange";

const TOKEN: &str = "dbt_the_token_of_a_job";

/// A CI system, and a server that exchanges the identities it gives.
fn world() -> (TokenEndpoint, World) {
    let (system, world) = (TokenEndpoint::start(), published());
    world.server().require_token(TOKEN);
    let given = json!({"token": TOKEN, "expires_in": 900});
    world.server().fault(EXCHANGE, Fault::Answer(of_json(200, &given)));
    (system, world)
}

fn identity(system: &TokenEndpoint, audience: &str) -> String {
    system.sign(json!({"sub": "repo:acme/deploy", "aud": audience, "jti": "1"}))
}

/// Returns the questions of exchanges that a server was asked, and expects that whatever else it was
/// asked for was asked for with `credential`.
#[track_caller]
fn exchanges(world: &World, credential: Option<&str>) -> Vec<Value> {
    let requests = world.server().take_requests();
    let (exchanges, others): (Vec<_>, Vec<_>) =
        requests.iter().partition(|it| it.request.path == EXCHANGE);
    for other in others {
        let expected = credential.map(|token| format!("Bearer {token}"));
        assert_eq!(other.request.header("authorization"), expected.as_deref(), "{}", other.line());
    }
    assert!(exchanges.iter().all(|it| it.request.header("authorization").is_none()));
    assert!(exchanges.iter().all(|it| it.request.header("idempotency-key").is_some()));
    exchanges.iter().map(|it| serde_json::from_str(&it.body).unwrap()).collect()
}

#[test]
fn an_identity_in_a_variable_or_a_file_is_exchanged_once_for_reading() {
    let (system, world) = world();
    let identity = identity(&system, &world.server().url());
    let run = || world.invoke(["deploy"]).env("DBT_ID_TOKEN", &identity).run();
    run().prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(exchanges(&world, Some(TOKEN)), [json!({"token": identity, "scope": "read"})]);
    run().prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(exchanges(&world, Some(TOKEN)).len(), 1, "each process has its own");
    assert!(system.take_asked().is_empty());
    // The next job of this user finds nothing.
    assert!(!world.dbt_home().join("state/tokens.json").exists());

    let file = world.directory().join("identity");
    world.write_secret(&file, &identity);
    let run = world.invoke(["deploy"]).env("DBT_ID_TOKEN_FILE", &file).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(exchanges(&world, Some(TOKEN)), [json!({"token": identity, "scope": "read"})]);
    let run = world.invoke(["whoami"]).env("DBT_ID_TOKEN_FILE", &file).run();
    let shown = run.exits_with(0).stdout();
    assert!(shown.contains("the identity of this job, from `DBT_ID_TOKEN_FILE`\n"), "{shown}");
}

#[test]
fn an_identity_for_another_server_is_shown_to_nobody() {
    let (system, world) = world();
    for audience in ["https://other.example.com", "http://127.0.0.1", ""] {
        let identity = identity(&system, audience);
        let run = world.invoke(["deploy"]).env("DBT_ID_TOKEN", &identity).run();
        run.exits_with(exits::REFUSED)
            .mentions("server `acme` wants you to sign in")
            .mentions("hint: the identity in `DBT_ID_TOKEN` is for");
        assert!(exchanges(&world, None).is_empty());
    }
    // What is configured is used instead.
    world.set("token", TOKEN);
    let identity = identity(&system, "https://other.example.com");
    let run = world.invoke(["deploy"]).env("DBT_ID_TOKEN", &identity).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    assert!(exchanges(&world, Some(TOKEN)).is_empty());
}

/// Runs in a job of GitHub Actions.
fn at_github(world: &World, system: &TokenEndpoint) -> dbt_testkit::invocation::Run {
    let url = format!("{}/actions?api-version=2.0", system.url());
    world
        .invoke(["deploy"])
        .env("ACTIONS_ID_TOKEN_REQUEST_URL", url)
        .env("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-token-for-this-test-alone")
        .run()
}

#[test]
fn github_makes_an_identity_when_the_server_asks_who_it_is() {
    let (system, world) = world();
    let identity = identity(&system, &world.server().url());
    system.next("/actions", of_json(200, &json!({"value": identity})));
    at_github(&world, &system).prints("deploy 1.4.0\n").says_nothing();
    let asked = system.take_asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].field("audience"), Some(world.server().url()));
    let requests = world.server().take_requests();
    let count = requests.iter().filter(|it| it.request.path == EXCHANGE).count();
    assert_eq!(count, 1, "{requests:?}");
    assert!(!world.dbt_home().join("state/tokens.json").exists(), "it ends with the process");
}

#[test]
fn a_repository_that_everybody_reads_makes_github_do_nothing() {
    let (system, world) = (TokenEndpoint::start(), published());
    at_github(&world, &system).prints("deploy 1.4.0\n").says_nothing();
    assert!(system.take_asked().is_empty());
    assert!(exchanges(&world, None).is_empty());
}

#[test]
fn a_job_that_no_rule_is_about_is_refused_in_the_servers_words() {
    let (system, world) = world();
    let problem = json!({
        "type": "urn:dbt:problem:forbidden", "title": "Forbidden", "status": 403,
        "detail": "no rule is about this job: the claim `ref` is `refs/heads/x`",
        "requestId": "abc",
    });
    let refusal = Answer::of(403, "application/problem+json", problem.to_string().into_bytes());
    world.server().fault(EXCHANGE, Fault::Answer(refusal));
    let identity = identity(&system, &world.server().url());
    let run = world.invoke(["deploy"]).env("DBT_ID_TOKEN", &identity).run();
    run.exits_with(exits::REFUSED)
        .mentions("no rule is about this job: the claim `ref` is `refs/heads/x`, request abc")
        .mentions("an administrator's rule says which jobs may sign in");
    world.nothing_happened();
}

#[test]
fn a_server_that_exchanges_nothing_wants_another_sign_in() {
    let (system, world) = world();
    world.server().repair();
    world.server().fault(EXCHANGE, Fault::Status(404));
    let identity = identity(&system, &world.server().url());
    let run = world.invoke(["deploy"]).env("DBT_ID_TOKEN", &identity).run();
    run.exits_with(exits::REFUSED)
        .mentions("server `acme` wants you to sign in")
        .mentions("the server exchanges no identities of jobs");
}

#[test]
fn an_identity_is_shown_over_tls_alone() {
    let (system, world) = (TokenEndpoint::start(), pinned());
    world.repository().publish("deploy", "1.4.0").now();
    world.move_server("http://repo.test");
    let identity = identity(&system, "http://repo.test");
    let run = world
        .invoke(["deploy"])
        .env("DBT_ID_TOKEN", &identity)
        .env("HTTP_PROXY", world.server().url())
        .run();
    run.exits_with(exits::REFUSED)
        .mentions("refusing to send credentials to `http://repo.test` without TLS");
    assert_eq!(world.server().take_lines(), [""; 0]);
}
