//! Signing in while the program is installed: the repository may let nobody in without it.

use dbt_testkit::exits;
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::token_endpoint::TokenEndpoint;
use dbt_testkit::world::World;
use serde_json::json;

use crate::provider::browser::{Browser, signed_in_at, visit};

use super::{
    config, install, installed, invoke, nothing_is_there, put_beside, run, settings, world,
};

/// A server that wants tokens of a provider, which the settings name with what else they say.
fn guarded_by(further: &[(&str, &str)]) -> (TokenEndpoint, World) {
    let (provider, world) = (TokenEndpoint::start(), world());
    world.server().require_token_of(&provider);
    let mut settings = settings(&world);
    settings["authType"] = json!("oidc");
    settings["issuerUrl"] = json!(provider.url());
    settings["oidcClientId"] = json!("app");
    for (key, value) in further {
        settings[*key] = json!(value);
    }
    put_beside(&world, &settings);
    (provider, world)
}

fn guarded() -> (TokenEndpoint, World) {
    guarded_by(&[])
}

/// The same, where the provider exchanges what a key of the SSH agent has signed.
fn guarded_by_keys() -> (TokenEndpoint, World) {
    guarded_by(&[("connectorId", "ssh"), ("oidcAudience", "dbt-server")])
}

#[test]
fn a_code_that_is_confirmed_elsewhere_opens_the_repository() {
    let (provider, world) = guarded();
    world.may_keep_tokens();
    provider.confirm_at_once();
    install(&world, &["--yes", "--device"])
        .exits_with(0)
        .mentions("issuerUrl: http")
        .mentions("on any device and enter the code WDJB-MJHT")
        .mentions("signed in to the server `acme` as alice")
        .mentions("dbt 4.0.0 is installed as");
    // And it goes on opening it.
    run(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(config(&world)["servers"]["acme"]["oidcClientId"], json!("app"));

    // A second installation asks for nothing.
    provider.take_asked();
    install(&world, &["--yes"]).exits_with(0).does_not_mention("enter the code");
    let asked: Vec<String> =
        provider.take_asked().iter().map(|asked| asked.path().to_owned()).collect();
    assert_eq!(asked, [""; 0]);
}

#[test]
fn a_key_of_the_ssh_agent_opens_the_repository() {
    let ((provider, world), agent) = (guarded_by_keys(), Agent::start());
    world.may_keep_tokens();
    agent.key("alice", &["-t", "ed25519"]);
    invoke(&world, &["--yes", "--user", "alice"])
        .env("SSH_AUTH_SOCK", agent.socket())
        .run()
        .exits_with(0)
        .mentions("dbt 4.0.0 is installed as");
    let asked = provider.take_asked();
    assert!(
        asked.iter().all(|request| request.field("connector_id").as_deref() == Some("ssh")),
        "{asked:?}"
    );
    let run = world.invoke(["deploy"]).program(installed(&world));
    run.env("SSH_AUTH_SOCK", agent.socket()).run().prints("deploy 1.4.0\n");
}

#[test]
fn a_browser_opens_the_repository() {
    let (_provider, world) = guarded();
    world.may_keep_tokens();
    let browser = Browser::of(&world);
    let run = invoke(&world, &["--yes", "--browser"]).env("BROWSER", &browser.program).start();
    assert!(visit(&signed_in_at(&browser.page())).starts_with("HTTP/1.1 200 "));
    run.finish()
        .exits_with(0)
        .mentions("signed in to the server `acme` as alice")
        .mentions("dbt 4.0.0 is installed as");
    self::run(&world, &["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn who_the_configuration_names_is_not_asked_for_a_name_again() {
    let (provider, world) = guarded_by_keys();
    world.may_keep_tokens();
    provider.confirm_at_once();
    install(&world, &["--yes", "--user", "bob", "--device"]).exits_with(0);
    // Nobody is there, and nobody is asked; the name stays.
    install(&world, &["--yes", "--device"]).exits_with(0);
    assert_eq!(config(&world)["servers"]["acme"]["oidcUsername"], json!("bob"));
}

#[test]
fn who_does_not_sign_in_is_let_in_nowhere_and_gets_nothing() {
    let (_provider, world) = guarded();
    install(&world, &["--yes", "--no-sign-in"])
        .exits_with(exits::REFUSED)
        .mentions("dbt was not installed");
    assert!(!installed(&world).exists() && !world.config_file().exists());
    nothing_is_there(&world);
}

#[test]
fn a_name_is_wanted_where_a_key_signs_for_somebody() {
    let (provider, world) = guarded_by_keys();
    invoke(&world, &["--yes"])
        .env("USER", "alice")
        .run()
        .exits_with(exits::USAGE)
        .mentions("nobody is there to say in whose name the identity provider is asked")
        .mentions("`--user NAME` says it");
    nothing_is_there(&world);

    world.may_keep_tokens();
    provider.confirm_at_once();
    install(&world, &["--yes", "--user", "alice", "--device"]).exits_with(0);
    assert_eq!(config(&world)["servers"]["acme"]["oidcUsername"], json!("alice"));
}

#[test]
fn how_one_signs_in_is_not_taken_from_the_server_by_yes_alone() {
    let world = world();
    let announced = json!({"authType": "oidc", "issuerUrl": "https://id.acme.com"});
    let path = "/.well-known/dbt.json";
    world.repository().write(path, &serde_json::to_vec(&announced).unwrap());
    install(&world, &["--yes", "--from", &world.server().url(), "--name", "acme"])
        .exits_with(0)
        .mentions("is left out, since nobody is there to be asked: `authType`, `issuerUrl`");
    assert!(config(&world)["servers"]["acme"].get("issuerUrl").is_none());
}
