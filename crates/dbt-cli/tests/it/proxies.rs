//! Proxies of companies and of attackers: each works, or is named in words, and no password of one
//! is ever said.

use std::net::TcpListener;
use std::sync::Arc;

use dbt_testkit::exits;
use dbt_testkit::invocation::Run;
use dbt_testkit::proxy::{Manner, PASSWORD, Proxy};
use dbt_testkit::tls::{Authority, TlsServer};
use dbt_testkit::world::World;

use crate::certificates::move_to;
use crate::pinned;

/// A world with `deploy` 1.4.0, whose server is said to be at another machine.
fn published(url: &str) -> World {
    let world = pinned();
    world.set("timeout", 1);
    world.repository().publish("deploy", "1.4.0").now();
    move_to(&world, url);
    world
}

/// Runs `deploy` with these variables.
fn run(world: &World, variables: &[(&str, &str)]) -> Run {
    let run = world.invoke(["deploy"]);
    variables.iter().fold(run, |run, (name, value)| run.env(name, value)).run()
}

/// Returns proxies through which the world's server is reached, by `http` and by `https`.
fn good_proxies(world: &World) -> (Proxy, Proxy) {
    let authority = Arc::new(Authority::new("Acme Authority"));
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").display().to_string());
    let behind = world.server().address();
    let http = Proxy::start(Manner::WholeUrls(behind));
    (http, Proxy::start(Manner::Inspect(authority, behind)))
}

#[test]
fn plain_http_goes_through_a_proxy_that_opens_no_tunnels() {
    let world = published("http://repo.test");
    let proxy = Proxy::wanting_a_password(Manner::WholeUrls(world.server().address()));
    let url = proxy.url_with_password();
    run(&world, &[("HTTP_PROXY", &url)]).prints("deploy 1.4.0\n").says_nothing();
    let asked = proxy.asked();
    assert!(asked.contains(&"GET http://repo.test/dbt/truststore".to_owned()), "{asked:?}");
    assert!(asked.iter().all(|line| line.starts_with("GET http://repo.test/")), "{asked:?}");

    let doctor = world.invoke(["doctor", "--json"]).env("http_proxy", &url).run();
    let words = format!("`http://repo.test` is reached through the proxy `{}`", proxy.url());
    let words = words.replace("`http://127", "`127");
    assert!(doctor.stdout().contains(&words), "{}", doctor.stdout());
    world.no_secret_is_remembered();
}

#[test]
fn https_goes_through_a_tunnel_and_the_proxy_learns_nothing_but_the_host() {
    let world = published("https://repo.test:8443");
    let authority = Authority::new("Acme Authority");
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").display().to_string());
    let server = TlsServer::start(authority.server("repo.test"), world.server().address());
    let proxy = Proxy::wanting_a_password(Manner::Tunnel(server.address()));
    let url = proxy.url_with_password();
    run(&world, &[("HTTPS_PROXY", &url)]).prints("deploy 1.4.0\n").says_nothing();
    assert!(proxy.asked().iter().all(|line| line == "CONNECT repo.test:8443"));
    world.no_secret_is_remembered();
}

#[test]
fn a_proxy_that_looks_into_connections_is_named_by_its_authority_until_that_is_believed() {
    let world = published("https://repo.test");
    let inspector = Arc::new(Authority::new("Acme Web Inspection"));
    let ca_file = world.directory().join("inspection.pem");
    inspector.write_to(&ca_file);
    let proxy = Proxy::start(Manner::Inspect(inspector, world.server().address()));
    let proxied = [("HTTPS_PROXY", &*proxy.url())];
    let refused = run(&world, &proxied);
    refused.exits_with(exits::UNREACHABLE).mentions("is signed by `Acme Web Inspection`");
    refused.mentions("its proxy").mentions("`caFile`");
    world.nothing_happened();

    let file = ca_file.display().to_string();
    let named = [proxied[0], ("SSL_CERT_FILE", &*file)];
    run(&world, &named).prints("deploy 1.4.0\n").says_nothing();
    world.set("caFile", file.clone());
    run(&world, &proxied).prints("deploy 1.4.0\n").says_nothing();
}

#[test]
fn an_inspecting_proxy_that_is_believed_can_still_change_nothing() {
    let world = published("https://repo.test");
    let inspector = Arc::new(Authority::new("Acme Web Inspection"));
    let ca_file = world.directory().join("inspection.pem");
    inspector.write_to(&ca_file);
    world.set("caFile", ca_file.display().to_string());
    world.repository().flip_a_bit("deploy", "1.4.0");
    let proxy = Proxy::start(Manner::Inspect(inspector, world.server().address()));
    let refused = run(&world, &[("HTTPS_PROXY", &proxy.url())]);
    refused.exits_with(exits::VERIFICATION_REFUSED);
    world.nothing_happened();
}

#[test]
fn a_proxy_that_wants_a_password_or_refuses_is_named_with_what_it_said() {
    for url in ["http://repo.test", "https://repo.test"] {
        let world = published(url);
        let behind = world.server().address();
        let proxied = |url: String| {
            let run = run(&world, &[("HTTP_PROXY", &url), ("HTTPS_PROXY", &url)]);
            world.nothing_happened();
            run.exits_with(exits::UNREACHABLE);
            run
        };
        let wants = Proxy::wanting_a_password(Manner::WholeUrls(behind));
        let said = proxied(wants.url());
        said.mentions("the proxy `127.0.0.1:").mentions("it wants to know who asks (407)");
        let refuses = Proxy::start(Manner::Refuse(502));
        proxied(refuses.url_with_password()).mentions("(502)");
    }
}

#[test]
fn an_attackers_proxy_stops_nothing_that_was_verified_and_brings_nothing_else() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (page, refuse, close) = (
        Proxy::start(Manner::Page),
        Proxy::start(Manner::Refuse(403)),
        Proxy::start(Manner::Close),
    );
    let with_password = |address: &str| format!("http://alice:{PASSWORD}@{address}");
    let urls = [
        page.url_with_password(),
        close.url_with_password(),
        with_password(&gone.to_string()),
        with_password("proxy.invalid:3128"),
        with_password(":not:a:port"),
    ];
    for server in ["http://repo.test", "https://repo.test"] {
        for url in &urls {
            let world = published(server);
            let proxied = [("HTTP_PROXY", url.as_str()), ("HTTPS_PROXY", url.as_str())];
            run(&world, &proxied).exits_with(exits::UNREACHABLE);
            world.nothing_happened();

            let (http, https) = good_proxies(&world);
            let good = [("HTTP_PROXY", &*http.url()), ("HTTPS_PROXY", &*https.url())];
            run(&world, &good).prints("deploy 1.4.0\n");
            let with_copy = run(&world, &proxied);
            with_copy.prints("deploy 1.4.0\n").mentions("cannot be used");
            world.no_secret_is_remembered();
        }
    }
    // Over plain http, nobody can tell whose 403 it is.
    let world = published("https://repo.test");
    let refused = run(&world, &[("HTTPS_PROXY", &refuse.url_with_password())]);
    refused.exits_with(exits::UNREACHABLE).mentions("it does not allow this connection (403)");
    let world = published("http://repo.test");
    let refused = run(&world, &[("HTTP_PROXY", &refuse.url_with_password())]);
    refused.exits_with(exits::REFUSED).mentions("access is denied (403)");
}

#[test]
fn no_proxy_in_every_form_goes_around_the_proxy() {
    for (host, rules, is_direct) in [
        ("repo.test", "repo.test", true),
        ("repo.test", "test", true),
        ("repo.test", ".test", true),
        ("repo.test", "*.test", true),
        ("repo.test", "*", true),
        ("repo.test", "other.example, REPO.test.", true),
        ("repo.test:81", "repo.test:81", true),
        ("repo.test:81", "repo.test:82", false),
        ("repo.test", "po.test", false),
        ("192.0.2.7", "192.0.2.0/24", true),
        ("192.0.2.7", "192.0.3.0/24", false),
        ("192.0.2.7", "192.0.2.7", true),
        ("[2001:db8::7]", "2001:db8::/32", true),
        ("[2001:db8::7]", "2001:db8::7", true),
        ("[2001:db8::7]", "[2001:db8::7]", true),
        ("[2001:db8::7]:81", "[2001:db8::7]:81", true),
        ("[2001:db8::7]", "2001:db9::/32", false),
    ] {
        let world = published(&format!("http://{host}"));
        let doctor = world.invoke(["-o", "doctor", "--json"]).env("http_proxy", "proxy.test:3128");
        let found = doctor.env("no_proxy", rules).run().stdout();
        let words = format!("`http://{host}` is reached through the proxy `proxy.test:3128`");
        assert_eq!(!found.contains(&words), is_direct, "{host} NO_PROXY={rules}\n{found}");
    }
    // What is said is what is done.
    let world = published("http://repo.invalid");
    let proxy = Proxy::start(Manner::WholeUrls(world.server().address()));
    let proxied = |rules| run(&world, &[("http_proxy", &proxy.url()), ("no_proxy", rules)]);
    let direct = proxied("other.invalid,.invalid");
    direct.exits_with(exits::UNREACHABLE).mentions("`repo.invalid` cannot be resolved");
    assert_eq!(proxy.asked(), [""; 0]);
    proxied("other.invalid").prints("deploy 1.4.0\n");
}

#[test]
fn credentials_go_to_the_repository_and_not_to_the_proxy() {
    let world = published("https://repo.test");
    world.set("token", "t0ken-of-the-repository");
    let page = Proxy::start(Manner::Page);
    run(&world, &[("HTTPS_PROXY", &page.url())]).exits_with(exits::UNREACHABLE);
    assert!(page.asked().iter().all(|line| line == "CONNECT repo.test:443"));
    // Without TLS the proxy could read it: it is not sent, and nobody is asked.
    let plain = published("http://repo.test");
    plain.set("token", "t0ken-of-the-repository");
    let page = Proxy::start(Manner::WholeUrls(plain.server().address()));
    let refused = run(&plain, &[("HTTP_PROXY", &page.url())]);
    refused.exits_with(exits::REFUSED);
    refused.mentions("refusing to send credentials to `http://repo.test` without TLS");
    assert_eq!(page.asked(), [""; 0]);
    plain.nothing_happened();
}
