//! Signing in with a key of the SSH agent, which a provider exchanges for its token.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use dbt_core::clock::Clock;
use dbt_testkit::dex::{Connector, User};
use dbt_testkit::exits;
use dbt_testkit::invocation::Run;
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::token_endpoint::{TOKEN, TokenEndpoint};
use dbt_testkit::world::World;
use serde_json::Value;

use super::{asked, world};

/// A provider with a connector for SSH keys, and an agent.
fn with_agent() -> (TokenEndpoint, World, Agent) {
    let ((provider, world), agent) = (world(), Agent::start());
    world.set("connectorId", "ssh");
    world.set("oidcAudience", "dbt-server");
    world.set("oidcUsername", "alice");
    (provider, world, agent)
}

fn run(world: &World, agent: &Agent, words: &[&str]) -> Run {
    world.invoke(words).env("SSH_AUTH_SOCK", agent.socket()).run()
}

/// The connector of a Dex, which knows alice by a key.
fn connector(provider: &TokenEndpoint, line: &str) -> Connector {
    let alice = User { name: "alice".to_owned(), keys: vec![line.to_owned()], groups: Vec::new() };
    let target_audiences = vec!["dbt-server".to_owned()];
    Connector { instance: provider.url(), target_audiences, users: vec![alice] }
}

/// Changes the last byte of a signature.
fn changed(signature: &[u8]) -> Vec<u8> {
    let (last, before) = signature.split_last().unwrap();
    [before, &[last ^ 1]].concat()
}

fn now() -> u64 {
    Clock::System.now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn each_kind_of_key_signs_in_without_a_sign_in_and_one_request_serves_every_run() {
    for (name, kind, length) in [
        ("ed25519", &["-t", "ed25519"][..], 64..=64),
        ("rsa", &["-t", "rsa", "-b", "2048"], 256..=256),
        ("p256", &["-t", "ecdsa", "-b", "256"], 70..=80),
        ("p521", &["-t", "ecdsa", "-b", "521"], 130..=145),
    ] {
        let (provider, world, agent) = with_agent();
        let line = agent.key(name, kind);
        run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        let requests = provider.take_asked();
        assert_eq!(requests.len(), 1, "{name}: a Dex is not asked what it offers");
        let request = &requests[0];
        let field = |name: &str| request.field(name).unwrap_or_default();
        assert_eq!((request.path(), field("connector_id").as_str()), (TOKEN, "ssh"));
        assert_eq!(field("audience"), "dbt-server");
        let token = field("subject_token");
        let parts: Vec<Vec<u8>> =
            token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
        assert_eq!(parts[0], br#"{"alg":"SSH","typ":"JWT"}"#);
        let claims: Value = serde_json::from_slice(&parts[1]).unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&"kubectl-ssh-oidc".into(), &"alice".into()));
        assert_eq!(claims["aud"], provider.url());
        assert_eq!(claims["target_audience"], "dbt-server");
        let signature = STANDARD.decode(&parts[2]).unwrap();
        assert!(length.contains(&signature.len()), "{name}: {}", signature.len());
        let identified = |token: &str| connector(&provider, &line).identify(token, now()).is_some();
        assert!(identified(&token), "{name}: a Dex believes it");
        let (signed, _signature) = token.rsplit_once('.').unwrap();
        let other =
            [signed, &URL_SAFE_NO_PAD.encode(STANDARD.encode(changed(&signature)))].join(".");
        assert!(!identified(&other), "{name}: nobody signed that");

        run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        assert!(asked(&provider).is_empty(), "{name}");
    }
}

#[test]
fn a_token_that_an_agent_signed_for_is_not_used_by_who_brings_another_agent() {
    let (provider, world, alices) = with_agent();
    alices.key("mine", &["-t", "ed25519"]);
    let bobs = Agent::start();
    bobs.key("mine", &["-t", "ed25519"]);
    run(&world, &alices, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    run(&world, &bobs, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&provider), [TOKEN, TOKEN]);
    // Each has their own from then on.
    for agent in [&alices, &bobs] {
        run(&world, agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    }
    assert!(asked(&provider).is_empty());
    // Without an agent nobody says whose they are.
    world.dbt(["whoami"]).exits_with(exits::REFUSED).mentions("no SSH agent is known");
    // Who signs out takes both with them.
    run(&world, &bobs, &["logout"]).exits_with(0).mentions("is forgotten here");
    run(&world, &alices, &["deploy"]).prints("deploy 1.4.0\n");
    assert_eq!(asked(&provider).last().map(String::as_str), Some(TOKEN));
}

#[test]
fn who_signs_in_with_a_key_that_no_run_would_show_is_signed_in_as_long_as_they_have_it() {
    let ((provider, world), agent, other) = (world(), Agent::start(), Agent::start());
    agent.key("mine", &["-t", "ed25519"]);
    other.key("mine", &["-t", "ed25519"]);
    run(&world, &agent, &["login", "--ssh"]).exits_with(0).mentions("as alice");
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(asked(&provider), [TOKEN]);
    for words in [&["whoami"][..], &["-o", "whoami"]] {
        run(&world, &other, words).exits_with(exits::REFUSED).mentions("nobody is signed in");
        world.dbt(words).exits_with(exits::REFUSED).mentions("nobody is signed in");
    }
    // A person who signs in at the provider takes its place, whatever agent they have.
    provider.confirm_at_once();
    run(&world, &agent, &["login", "--device"]).exits_with(0);
    provider.take_asked();
    for agent in [&agent, &other] {
        run(&world, agent, &["whoami"]).exits_with(0);
    }
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_name_that_is_empty_is_that_of_the_user_and_without_any_it_is_the_clients() {
    for (own, username, expected) in [
        (Some(""), Some("alice"), "alice"),
        (Some("bot"), Some("alice"), "bot"),
        (Some(""), None, "app"),
    ] {
        let (provider, world, agent) = with_agent();
        agent.key("mine", &["-t", "ed25519"]);
        world.configure(|config| {
            let server = config["servers"]["acme"].as_object_mut().unwrap();
            server.remove("oidcUsername");
            server.extend(own.map(|name| ("oidcUsername".to_owned(), name.into())));
            server.extend(username.map(|name| ("username".to_owned(), name.into())));
        });
        run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
        let token = provider.take_asked()[0].field("subject_token").unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["sub"], expected, "{own:?} {username:?}");
    }
}

#[test]
fn keys_are_shown_in_the_agents_order_until_one_is_known() {
    let (provider, world, agent) = with_agent();
    for name in ["one", "two", "three"] {
        agent.key(name, &["-t", "ed25519"]);
    }
    provider.refuse_next(TOKEN, 401, "access_denied", "");
    run(&world, &agent, &["login"]).exits_with(0).mentions("signed in to the server `acme`");
    assert_eq!(asked(&provider), [TOKEN, TOKEN]);
}

#[test]
fn a_provider_that_knows_no_key_is_told_with_each_of_them() {
    let (provider, world, agent) = with_agent();
    agent.key("one", &["-t", "ed25519", "-C", "alice@laptop"]);
    agent.key("two", &["-t", "ed25519", "-C", "alice@desk"]);
    provider.know(|_token| None);
    for words in [&["deploy"][..], &["login"], &["whoami"]] {
        run(&world, &agent, words)
            .exits_with(exits::REFUSED)
            .mentions("accepts none of your 2 keys: SHA256:")
            .mentions(" alice@laptop (it is not known there)");
        assert_eq!(asked(&provider), [TOKEN, TOKEN], "{words:?}");
    }
    world.nothing_happened();
}

#[test]
fn the_key_that_is_configured_is_the_only_one_that_is_shown() {
    let (provider, world, agent) = with_agent();
    agent.key("other", &["-t", "ed25519"]);
    let line = agent.key("mine", &["-t", "ed25519"]);
    world.set("pubkey", line);
    provider.know(|_token| None);
    run(&world, &agent, &["deploy"])
        .exits_with(exits::REFUSED)
        .mentions("accepts none of your keys: SHA256:");
    assert_eq!(asked(&provider), [TOKEN]);
}

#[test]
fn without_an_agent_a_run_says_what_helps_and_asks_nobody() {
    let (provider, world, agent) = with_agent();
    world
        .dbt(["deploy"])
        .exits_with(exits::REFUSED)
        .mentions("no SSH agent is known: `SSH_AUTH_SOCK` is not set")
        .mentions("`dbt login`");
    run(&world, &agent, &["deploy"])
        .exits_with(exits::REFUSED)
        .mentions("there is no key to sign in with at");
    assert!(asked(&provider).is_empty());
    // A sign-in goes on with another way, and says why.
    provider.confirm_at_once();
    world
        .dbt(["login"])
        .exits_with(0)
        .mentions("warning: no SSH agent is known")
        .mentions("signed in to the server `acme` as alice");
    // Unless this one was asked for.
    world.dbt(["login", "--ssh"]).exits_with(exits::REFUSED).mentions("no SSH agent is known");
}

#[test]
fn a_key_signs_a_plain_token_where_the_provider_is_no_dex() {
    let ((provider, world), agent) = (world(), Agent::start());
    let line = agent.key("mine", &["-t", "ed25519"]);
    world.set("pubkey", line);
    world.set("username", "alice");
    run(&world, &agent, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = provider.take_asked();
    assert_eq!(requests.len(), 2, "what it offers, and the exchange");
    let token = requests[1].field("subject_token").unwrap();
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    assert_eq!(header, br#"{"alg":"EdDSA","typ":"JWT"}"#);
    let kind = requests[1].field("subject_token_type").unwrap();
    assert_eq!(kind, "urn:ietf:params:oauth:token-type:jwt");
}
