//! `oidc-provider`, at whose pages a real browser signs people in.

use std::cell::{Cell, RefCell};

use dbt_client::oidc::refresh::renewed;
use dbt_client::oidc::{UnverifiedClaims, device};
use dbt_core::secret::Secret;
use dbt_testkit::browser::{Place, sign_in};
use dbt_testkit::oidc_provider::OidcProvider;

use super::{
    Hurry, channel, client, discovered, groups, known_as, publish, server_of, with_browser,
};

#[test]
fn a_browser_signs_somebody_in_who_publishes_and_is_renewed_until_the_session_ends() {
    let provider = OidcProvider::start();
    let server = server_of(provider.url());
    let tokens = with_browser(provider.url(), |invitation| {
        let seen = sign_in("alice", invitation.page, Place::Here);
        assert!(seen.text.contains("You can close this page"), "{seen:?}");
    });
    let tokens = tokens.unwrap();
    let known = known_as(&server, &tokens.token).unwrap();
    assert_eq!(known["subject"], format!("oidc:{}#alice", provider.url()));
    assert_eq!(known["groups"], groups(provider.url(), &["/publishers", "/staff"]));
    assert_eq!(publish(&server, "1.0.0", &tokens.token).status.code(), Some(0));

    let discovered = discovered(provider.url());
    let renew = |tokens| renewed(&channel(), &discovered, &client(), tokens);
    let next = renew(&tokens).unwrap().unwrap();
    assert_ne!(next.refresh_token, tokens.refresh_token);
    assert_eq!(publish(&server, "1.1.0", &next.token).status.code(), Some(0));
    provider.revoke(next.refresh_token.as_ref().unwrap().expose());
    let error = renew(&next).unwrap_err();
    assert!(error.ends_the_session(), "{error}");
    assert!(error.to_string().contains("the session has ended (invalid_grant"), "{error}");
}

#[test]
fn where_no_browser_is_at_hand_the_address_of_another_is_pasted() {
    let provider = OidcProvider::start();
    let tokens = with_browser(provider.url(), |invitation| {
        let seen = sign_in("bob", invitation.page, Place::Elsewhere);
        assert!(!seen.text.contains("You can close this page"), "{seen:?}");
        invitation.paste.address(&Secret::new(seen.address)).unwrap();
    });
    let token = tokens.unwrap().token;
    assert_eq!(UnverifiedClaims::of(&token).unwrap().text("sub"), Some("bob"));
    // Who is in another group reads, and writes nothing.
    let server = server_of(provider.url());
    assert_eq!(known_as(&server, &token).unwrap()["groups"], groups(provider.url(), &["/staff"]));
    let refused = publish(&server, "1.0.0", &token);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("403"), "{said}");
    assert!(!server.served().join("dbt-tools/hello").exists());
}

#[test]
fn a_code_is_confirmed_in_a_browser_elsewhere() {
    let provider = OidcProvider::start();
    let (page, seen) = (RefCell::new(String::new()), Cell::new(0));
    let confirm = || {
        let shown = sign_in("alice", &page.borrow(), Place::Elsewhere);
        assert!(shown.text.contains("Sign-in Success"), "{shown:?}");
    };
    let hurry = Hurry { pauses: Cell::new(0), is_real: false, confirm: &confirm };
    let discovered = discovered(provider.url());
    let tokens = device::sign_in(&channel(), &discovered, &client(), &hurry, &mut |invitation| {
        seen.set(seen.get() + 1);
        assert!(invitation.page.ends_with("/device"), "{invitation:?}");
        page.replace(invitation.complete_page.clone().unwrap());
    });
    let tokens = tokens.unwrap();
    assert_eq!(seen.get(), 1);
    let again = renewed(&channel(), &discovered, &client(), &tokens).unwrap().unwrap();
    let server = server_of(provider.url());
    let known = known_as(&server, &again.token).unwrap();
    assert_eq!(known["subject"], format!("oidc:{}#alice", provider.url()));
}

#[test]
fn keys_that_change_while_the_server_runs_are_followed() {
    let provider = OidcProvider::start();
    let server = server_of(provider.url());
    let sign_in = || {
        let person = |invitation: &dbt_client::oidc::browser::Invitation<'_>| {
            sign_in("alice", invitation.page, Place::Here);
        };
        with_browser(provider.url(), person).unwrap().token
    };
    let before = sign_in();
    assert!(known_as(&server, &before).is_some());
    provider.rotate();
    let after = sign_in();
    assert_eq!(publish(&server, "1.0.0", &after).status.code(), Some(0));
    // What the old keys have signed counts no more, as the provider has it.
    assert_eq!(known_as(&server, &before), None);
}
