//! Runs with a provider: what they ask, and what they do when a sign-in has ended.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::server::Fault;
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::token_endpoint::{TOKEN, TokenEndpoint};
use dbt_testkit::world::World;

use super::{asked, later, signed_in, world};
use crate::asked_in_a_warm_run;

#[test]
fn a_run_that_needs_a_sign_in_says_so_and_begins_none() {
    let (provider, world) = world();
    let line = "error: server `acme` wants you to sign in: `dbt login` signs you in\n";
    for words in [&["deploy"][..], &["fetch", "deploy"], &["update", "deploy"]] {
        world.dbt(words).exits_with(exits::REFUSED).says(line);
    }
    // Who looks closer sees why.
    world
        .dbt(["-V", "deploy"])
        .exits_with(exits::REFUSED)
        .mentions("error: server `acme` wants you to sign in\n  caused by: failed to read ")
        .mentions("  caused by: the server wants to know who asks (401)\n")
        .mentions("hint: `dbt login` signs you in\n");
    assert!(asked(&provider).is_empty());
    world.nothing_happened();
}

#[test]
fn the_line_that_says_so_names_the_request_where_the_server_does() {
    let (_provider, world) = world();
    let refusal = Answer::text(401, "who?").with("X-Request-Id", "abc");
    world.server().fault("*", Fault::Answer(refusal));
    world.dbt(["deploy"]).exits_with(exits::REFUSED).says(
        "error: server `acme` wants you to sign in (request abc): `dbt login` signs you in\n",
    );
}

#[test]
fn a_warm_run_makes_the_requests_of_one_without_authentication() {
    let (provider, world) = signed_in();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let requests = asked_in_a_warm_run(&world, world.invoke(["deploy"]));
    assert!(requests.iter().all(|it| it.request.header("authorization").is_some()), "{requests:?}");
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_hundred_first_runs_at_once_ask_for_one_token() {
    let ((provider, world), agent) = (world(), Agent::start());
    world.set("connectorId", "ssh");
    agent.key("mine", &["-t", "ed25519"]);
    let start = || world.invoke(["deploy"]).env("SSH_AUTH_SOCK", agent.socket()).start();
    let runs: Vec<_> = (0..100).map(|_run| start()).collect();
    for run in runs {
        run.finish().prints("deploy 1.4.0\n");
    }
    assert_eq!(asked(&provider), [TOKEN]);
}

/// Runs so long after this moment; the server must be reached, and the tool runs.
fn runs_later(world: &World, minutes: u64) -> dbt_testkit::invocation::Run {
    world.invoke(["deploy"]).env("LD_PRELOAD", later(world, minutes)).run()
}

#[test]
fn a_token_is_renewed_before_it_ends_and_after_and_each_refresh_token_counts_once() {
    let (provider, world) = signed_in();
    runs_later(&world, 50).prints("deploy 1.4.0\n").says_nothing();
    assert!(asked(&provider).is_empty(), "it is good for an hour");
    runs_later(&world, 57).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", TOKEN]);
    runs_later(&world, 58).prints("deploy 1.4.0\n").says_nothing();
    assert!(asked(&provider).is_empty());
    runs_later(&world, 60 * 5).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", TOKEN]);
}

#[test]
fn a_session_that_has_ended_runs_what_is_cached_and_names_the_command() {
    let (provider, world) = signed_in();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    provider.end_sessions();
    runs_later(&world, 60 * 5).prints("deploy 1.4.0\n").mentions("`dbt login`");
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", TOKEN]);
    // What counts no more is forgotten, and nobody is asked about it again.
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("`dbt login`");
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_token_that_the_server_refuses_is_renewed_once() {
    let (provider, world) = signed_in();
    provider.disown();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", TOKEN]);

    world.server().require_token("dbt_the_only_token");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("`dbt login`");
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", TOKEN]);
}

#[test]
fn a_provider_that_is_away_is_as_a_server_that_is() {
    let (provider, world) = signed_in();
    let away = |provider: &TokenEndpoint| {
        provider.next("/.well-known/openid-configuration", Answer::text(503, "later"));
    };
    away(&provider);
    runs_later(&world, 60 * 5)
        .exits_with(exits::UNREACHABLE)
        .mentions("/.well-known/openid-configuration")
        .mentions("(503)");
    world.nothing_happened();
    // A token that is still good is not given up for it.
    away(&provider);
    runs_later(&world, 57).prints("deploy 1.4.0\n").says_nothing();
}
