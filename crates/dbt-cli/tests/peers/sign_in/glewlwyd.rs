//! `glewlwyd`, which is another provider in many ways.

use std::cell::{Cell, RefCell};

use dbt_client::oidc::refresh::renewed;
use dbt_client::oidc::{Tokens, device};
use dbt_testkit::glewlwyd::Glewlwyd;
use dbt_testkit::http;

use super::{
    Hurry, channel, client, discovered, groups, known_as, publish, server_of, with_browser,
};

/// Signs Alice in, at whose browser the provider asks nothing but whether to go on.
fn signed_in(provider: &Glewlwyd) -> Tokens {
    let tokens = with_browser(&provider.issuer(), |invitation| {
        // It compares redirects with their ports, of which this one was chosen by chance.
        let query = invitation.page.split('&').find_map(|pair| pair.strip_prefix("redirect_uri="));
        provider.allow(&query.unwrap().replace("%3A", ":").replace("%2F", "/"));
        let address = provider.alice().go_on_at(invitation.page);
        let page = http::ask("GET", &address, &[], None).unwrap();
        let text = String::from_utf8(page.body).unwrap();
        assert!(text.contains("You can close this page"), "{text}");
    });
    tokens.unwrap()
}

#[test]
fn a_browser_signs_somebody_in_also_after_its_key_has_changed() {
    let provider = Glewlwyd::start();
    let server = server_of(&provider.issuer());
    let before = signed_in(&provider).token;
    let known = known_as(&server, &before).unwrap();
    let subject = known["subject"].as_str().unwrap();
    assert!(subject.starts_with(&format!("oidc:{}#", provider.issuer())), "{subject}");
    assert_eq!(known["groups"], groups(&provider.issuer(), &["publishers", "staff"]));
    assert_eq!(publish(&server, "1.0.0", &before).status.code(), Some(0));
    provider.rotate();
    let after = signed_in(&provider).token;
    assert_eq!(publish(&server, "1.1.0", &after).status.code(), Some(0));
    assert_eq!(known_as(&server, &before), None);
}

#[test]
fn a_code_is_confirmed_while_it_demands_pauses() {
    let provider = Glewlwyd::start();
    let page = RefCell::new(String::new());
    let confirm = || {
        let led_to = provider.alice().go_on_at(&page.borrow());
        assert!(led_to.contains("prompt=deviceComplete"), "{led_to}");
    };
    let hurry = Hurry { pauses: Cell::new(0), is_real: true, confirm: &confirm };
    let discovered = discovered(&provider.issuer());
    let tokens = device::sign_in(&channel(), &discovered, &client(), &hurry, &mut |invitation| {
        page.replace(invitation.complete_page.clone().unwrap());
    });
    let server = server_of(&provider.issuer());
    let known = known_as(&server, &tokens.unwrap().token).unwrap();
    assert_eq!(known["groups"], groups(&provider.issuer(), &["publishers", "staff"]));
}

#[test]
fn it_renews_no_id_token_so_that_somebody_signs_in_anew_and_nothing_else_is_shown() {
    let provider = Glewlwyd::start();
    let tokens = signed_in(&provider);
    assert!(tokens.refresh_token.is_some());
    let discovered = discovered(&provider.issuer());
    let error = renewed(&channel(), &discovered, &client(), &tokens).unwrap_err();
    assert!(error.to_string().contains("the renewal of ID tokens"), "{error}");
    // It was asked, and what it was asked with counts once.
    let error = renewed(&channel(), &discovered, &client(), &tokens).unwrap_err();
    assert!(error.ends_the_session(), "{error}");
}
