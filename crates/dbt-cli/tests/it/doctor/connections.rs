//! Each thing that can be wrong with a secure connection, and what helps against that one.

use std::sync::Arc;

use dbt_testkit::proxy::{Manner, Proxy};
use dbt_testkit::tls::{Authority, Flaw, RawServer, TlsServer};

use super::{Case, error, healthy};
use crate::certificates::{move_to, server_hello};

/// What helps where nobody known vouches for a certificate.
const NAME_IT: &str = "`\"caFile\": \"FILE\"` for the server";

#[test]
fn each_flaw_of_a_certificate_has_its_own_fix() {
    let flaws = [
        (Flaw::Expired, "has expired", "look at the clock of this machine"),
        (Flaw::NotYetValid, "is not valid yet", "look at the clock of this machine"),
        (Flaw::OtherHost, "is for another host", "correct the host in `https://127.0.0.1:"),
        (Flaw::SelfSigned, "is signed by nobody but itself", NAME_IT),
    ];
    for (flaw, found, fix) in flaws {
        let world = healthy();
        let authority = Authority::new("Acme Authority");
        let file = world.directory().join("ca.pem");
        authority.write_to(&file);
        world.set("caFile", file.display().to_string());
        let flawed = authority.flawed("127.0.0.1", flaw);
        let server = TlsServer::start(flawed, world.server().address());
        move_to(&world, &server.url());
        error("server-tls", found, fix).is_named(&world, |run| run);
    }
}

#[test]
fn an_authority_of_the_organisation_that_is_not_known_is_to_be_named() {
    let world = healthy();
    let authority = Authority::new("Acme Authority");
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    move_to(&world, &server.url());
    error("server-tls", "is signed by `Acme Authority`", NAME_IT).is_named(&world, |run| run);

    let inspector = Arc::new(Authority::new("Acme Web Inspection"));
    let proxy = Proxy::start(Manner::Inspect(inspector, world.server().address()));
    move_to(&world, "https://repo.test");
    error("server-tls", "is signed by `Acme Web Inspection`", NAME_IT)
        .is_named(&world, |run| run.env("HTTPS_PROXY", proxy.url()));
}

#[test]
fn a_server_with_nothing_but_old_protocols_is_its_administrators_matter() {
    let world = healthy();
    let server = RawServer::saying(&server_hello(1));
    move_to(&world, &format!("https://{}", server.address()));
    error("server-tls", "no longer safe", "tell the server's administrator")
        .is_named(&world, |run| run);
}

#[test]
fn a_page_of_a_proxy_in_the_place_of_the_server_is_told_from_the_servers() {
    let world = healthy();
    let proxy = Proxy::start(Manner::Page);
    move_to(&world, "http://repo.test");
    let case = error("server-page", "a page", "`export NO_PROXY=repo.test`");
    Case { also: &["server-without-tls"], ..case }
        .is_named(&world, |run| run.env("HTTP_PROXY", proxy.url()));
}
