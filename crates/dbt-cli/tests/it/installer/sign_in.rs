//! Signing in while the program is installed: the repository may let nobody in without it.

use dbt_testkit::exits;
use dbt_testkit::token_endpoint::TokenEndpoint;
use dbt_testkit::world::World;
use serde_json::json;

use super::{
    config, install, installed, invoke, nothing_is_there, put_beside, run, settings, world,
};

/// A server that wants tokens of a provider, which the settings name.
fn guarded() -> (TokenEndpoint, World) {
    let (provider, world) = (TokenEndpoint::start(), world());
    world.server().require_token_of(&provider);
    let mut settings = settings(&world);
    settings["authType"] = json!("oidc");
    settings["issuerUrl"] = json!(provider.url());
    settings["oidcClientId"] = json!("app");
    put_beside(&world, &settings);
    (provider, world)
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
    let (provider, world) = guarded();
    let mut settings = settings(&world);
    settings["authType"] = json!("oidc");
    settings["issuerUrl"] = json!(provider.url());
    settings["oidcClientId"] = json!("app");
    settings["connectorId"] = json!("ssh");
    put_beside(&world, &settings);
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
