//! Servers and proxies at addresses of version 6.
//!
//! Where a machine has no such address, the test asserts what a run says there.

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use dbt_testkit::exits;
use dbt_testkit::proxy::{Manner, Proxy};
use dbt_testkit::tls::{Authority, Ending, TlsServer};
use dbt_testkit::world::World;

use crate::certificates::move_to;
use crate::published;

const LOOPBACK: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Says whether this machine has `::1`; if not, checks that this is said.
fn has_version_6(world: &World) -> bool {
    if TcpListener::bind((LOOPBACK, 0)).is_ok() {
        return true;
    }
    move_to(world, "http://[::1]:9");
    world.dbt(["deploy"]).exits_with(exits::UNREACHABLE).mentions("cannot connect");
    world.nothing_happened();
    false
}

#[test]
fn a_server_at_an_address_of_version_6_is_reached() {
    let world = published();
    if !has_version_6(&world) {
        return;
    }
    let authority = Authority::new("Acme Authority");
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").display().to_string());
    let behind = world.server().address();
    let start =
        |host: &str| TlsServer::start_at(LOOPBACK, authority.server(host), behind, Ending::InOrder);
    let wrong = start("::2");
    move_to(&world, &wrong.url());
    let refused = world.dbt(["deploy"]);
    refused.exits_with(exits::UNREACHABLE).mentions("the server's certificate is for another host");
    world.nothing_happened();
    let right = start("::1");
    assert!(right.url().starts_with("https://[::1]:"), "{}", right.url());
    move_to(&world, &right.url());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn a_proxy_at_an_address_of_version_6_is_used() {
    let world = published();
    if !has_version_6(&world) {
        return;
    }
    let plain = Manner::WholeUrls(world.server().address());
    let proxy = Proxy::start_at(LOOPBACK, plain, true);
    move_to(&world, "http://[2001:db8::7]:81");
    let url = proxy.url_with_password();
    let run = world.invoke(["deploy"]).env("HTTP_PROXY", url).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let asked = proxy.asked();
    assert!(asked.iter().all(|line| line.starts_with("GET http://[2001:db8::7]:81/")), "{asked:?}");

    let refusing = Proxy::start_at(LOOPBACK, Manner::Refuse(403), false);
    move_to(&world, "https://[2001:db8::7]");
    let run = world.invoke(["update", "deploy"]).env("HTTPS_PROXY", refusing.url()).run();
    run.mentions("the proxy `[::1]:").mentions("(403)");
    assert_eq!(refusing.asked().first().map(String::as_str), Some("CONNECT [2001:db8::7]:443"));
}
