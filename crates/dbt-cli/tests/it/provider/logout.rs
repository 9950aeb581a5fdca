//! Signing out: forgotten here, and ended where it came from.

use std::fs;

use dbt_testkit::token_endpoint::{REVOKE, TOKEN, TokenEndpoint};
use serde_json::Value;

use super::{asked, signed_in};

const DISCOVERY: &str = "/.well-known/openid-configuration";

fn offers_revocation(provider: &TokenEndpoint) {
    provider.offer("revocation_endpoint", format!("{}{REVOKE}", provider.url()).into());
}

#[test]
fn the_session_is_ended_at_the_provider_and_forgotten_here() {
    let (provider, world) = signed_in();
    offers_revocation(&provider);
    let file = world.dbt_home().join("state/tokens.json");
    let kept: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let refresh_token = kept["tokens"][0]["refresh_token"].as_str().unwrap().to_owned();
    world
        .dbt(["logout"])
        .exits_with(0)
        .mentions("is forgotten here and ended at the identity provider");
    let requests = provider.take_asked();
    assert_eq!(requests.len(), 2, "what it offers, and the end");
    let field = |name| requests[1].field(name);
    assert_eq!(requests[1].path(), REVOKE);
    assert_eq!(field("token"), Some(refresh_token));
    assert_eq!(field("token_type_hint").as_deref(), Some("refresh_token"));
    assert_eq!(field("client_id").as_deref(), Some("app"));
    assert!(!fs::read_to_string(&file).unwrap().contains("refresh_token"));

    world.dbt(["logout"]).exits_with(0).mentions("no sign-in to the server `acme` is kept here");
    world.dbt(["deploy"]).exits_with(dbt_testkit::exits::REFUSED);
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_session_that_cannot_be_ended_is_said_and_forgotten_all_the_same() {
    let (provider, world) = signed_in();
    offers_revocation(&provider);
    provider.refuse_next(REVOKE, 503, "temporarily_unavailable", "Come back later.");
    let file = world.dbt_home().join("state/tokens.json");
    world
        .dbt(["logout"])
        .exits_with(0)
        .mentions("warning: the session at `http://127.0.0.1:")
        .mentions("was not ended: ")
        .mentions("it cannot do it now (temporarily_unavailable: Come back later.)")
        .mentions("is forgotten here, and counts until it ends or is revoked");
    assert!(!fs::read_to_string(&file).unwrap().contains("refresh_token"));
    assert_eq!(asked(&provider), [DISCOVERY, REVOKE]);
}

#[test]
fn a_provider_that_takes_nothing_back_and_no_network_are_no_failures() {
    let (provider, world) = signed_in();
    world.dbt(["logout"]).exits_with(0).mentions("counts until it ends or is revoked");
    assert_eq!(asked(&provider), [DISCOVERY]);
    world.dbt(["login", "--device"]).exits_with(0);
    provider.take_asked();
    offers_revocation(&provider);
    world.dbt(["-o", "logout"]).exits_with(0).mentions("counts until it ends or is revoked");
    assert!(asked(&provider).is_empty());
    world.dbt(["login", "--device"]).exits_with(0);
    assert_eq!(asked(&provider).last().map(String::as_str), Some(TOKEN));
}
