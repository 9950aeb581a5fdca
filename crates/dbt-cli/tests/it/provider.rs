//! Signing in with an identity provider: which way is gone, who is asked what, and that one sign-in
//! serves every run until its session ends.

pub(crate) mod browser;
mod keychain;
mod keys;
mod logout;
pub(crate) mod offer;
mod runs;

use std::net::Ipv4Addr;

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_testkit::exits;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::{Fault, FileServer};
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::tls::{Authority, Ending, TlsServer};
use dbt_testkit::token_endpoint::{DEVICE_CODE, TOKEN, TokenEndpoint};
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::{other_time, pinned};

/// A provider, and a server that takes its tokens and no others.
pub(crate) fn world() -> (TokenEndpoint, World) {
    let (provider, world) = (TokenEndpoint::start(), pinned());
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token_of(&provider);
    world.set("authType", "oidc");
    world.set("issuerUrl", provider.url());
    world.set("oidcClientId", "app");
    // A busy machine is not a provider that is away: what is still good is given up for none that
    // takes a second.
    world.set("timeout", 20);
    world.may_keep_tokens();
    (provider, world)
}

/// The same, where somebody has signed in, and nothing was asked since.
fn signed_in() -> (TokenEndpoint, World) {
    let (provider, world) = world();
    provider.confirm_at_once();
    world.dbt(["login", "--device"]).exits_with(0);
    provider.take_asked();
    world.server().take_requests();
    (provider, world)
}

/// Returns what a provider was asked, as paths.
fn asked(provider: &TokenEndpoint) -> Vec<String> {
    provider.take_asked().iter().map(|asked| asked.path().to_owned()).collect()
}

/// Returns a library with which a program runs so long after this moment.
#[expect(clippy::disallowed_methods, reason = "a token's life begins when it is given")]
fn later(world: &World, minutes: u64) -> PathBuf {
    let then = SystemTime::now() + Duration::from_mins(minutes);
    other_time(world, then.duration_since(UNIX_EPOCH).unwrap().as_secs())
}

/// Returns how often a server was told who asks.
fn told(server: &FileServer) -> usize {
    let requests = server.take_requests();
    requests.iter().filter(|it| it.request.header("authorization").is_some()).count()
}

#[test]
fn a_code_is_shown_with_its_page_and_what_it_is_exchanged_for_serves_later_runs() {
    let (provider, world) = world();
    provider.confirm_at_once();
    let run = world.dbt(["login", "--device"]);
    let url = provider.url();
    run.exits_with(0)
        .mentions(&format!("open {url}/device on any device and enter the code WDJB-MJHT"))
        .mentions(&format!("or open {url}/device?user_code=WDJB-MJHT, where the same code"))
        .mentions("this is possible for 5 minutes")
        .mentions("signed in to the server `acme` as alice");
    assert!(run.stdout().is_empty());
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration", DEVICE_CODE, TOKEN]);

    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_code_that_is_denied_signs_nobody_in() {
    let (provider, world) = world();
    provider.confirm_at_once();
    provider.refuse_next(TOKEN, 400, "access_denied", "The user said no.");
    world
        .dbt(["login", "--device"])
        .exits_with(exits::REFUSED)
        .mentions("failed to sign in to the server `acme`")
        .mentions("somebody, or a rule, has said no (access_denied: The user said no.)");
    assert!(!world.dbt_home().join("state/tokens.json").exists());
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("`dbt login` signs you in");
    world.nothing_happened();
}

#[test]
fn a_way_that_the_provider_does_not_offer_is_told_with_the_others() {
    let (provider, world) = world();
    provider.offer("device_authorization_endpoint", Value::Null);
    world
        .dbt(["login", "--device"])
        .exits_with(exits::REFUSED)
        .mentions("does not offer signing in by a code that is confirmed elsewhere")
        .mentions("`dbt login --browser`, `--device`, `--ssh` or `--token`");
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration"]);
}

#[test]
fn a_token_that_the_server_does_not_take_is_not_kept() {
    let (provider, world) = world();
    provider.confirm_at_once();
    world.server().require_token("dbt_the_only_token");
    world
        .dbt(["login", "--device"])
        .exits_with(exits::REFUSED)
        .mentions(&format!("the server `acme` does not accept the token of `{}`", provider.url()));
    assert!(!world.dbt_home().join("state/tokens.json").exists());
}

#[test]
fn without_a_provider_no_way_to_one_is_gone() {
    let world = crate::world();
    for flag in ["--ssh", "--device", "--browser"] {
        world
            .dbt(["login", flag])
            .exits_with(exits::CONFIGURATION)
            .mentions(&format!("`{flag}` signs in with an identity provider, and none is"))
            .mentions("`issuerUrl` and `oidcClientId` name one");
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn where_the_server_could_be_listened_to_nobody_signs_in() {
    let (provider, world) = world();
    world.move_server("http://repo.test");
    let run = world.invoke(["login", "--device"]).env("HTTP_PROXY", world.server().url()).run();
    run.exits_with(exits::CONFIGURATION)
        .mentions("refusing to send credentials to `http://repo.test` without TLS");
    assert!(asked(&provider).is_empty());
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn a_provider_that_is_somebody_else_is_asked_for_nothing() {
    let (provider, world) = world();
    provider.offer("issuer", "https://evil.example.com".into());
    world
        .dbt(["login", "--device"])
        .exits_with(exits::REFUSED)
        .mentions("is the provider `https://evil.example.com`, and not");
    assert_eq!(asked(&provider), ["/.well-known/openid-configuration"]);
}

#[test]
fn a_secret_of_the_client_is_shown_to_the_provider_alone() {
    let (provider, world) = world();
    provider.demand_secret("hunter2-of-the-client");
    world.set("oidcClientSecret", "hunter2-of-the-client");
    provider.confirm_at_once();
    let run = world.invoke(["-V", "login", "--device"]).run();
    run.exits_with(0);
    world.dbt(["-V", "deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["doctor", "--report"]);
}

#[test]
fn a_token_of_a_provider_goes_to_its_own_server_alone() {
    let ((provider, world), other) = (signed_in(), pinned());
    other.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| config["servers"]["other"] = other.server_entry());
    world.dbt(["-s", "other", "deploy"]).exits_with(0);
    // Nor does it follow the name of its server to another address.
    world.move_server(&other.server().url());
    world.dbt(["deploy"]).exits_with(0);
    assert_eq!(told(other.server()), 0);
    assert!(asked(&provider).is_empty());
}

#[test]
fn a_token_of_a_provider_does_not_follow_an_artifact_to_another_host() {
    let ((provider, world), other) = (world(), pinned());
    let authority = Authority::new("Acme Authority");
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").to_str().unwrap());
    let here = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    crate::certificates::move_to(&world, &here.url());
    let (address, behind) = (Ipv4Addr::new(127, 0, 0, 2), other.server().address());
    let config = authority.server("127.0.0.2");
    let there = TlsServer::start_at(address.into(), config, behind, Ending::InOrder);
    provider.confirm_at_once();
    world.dbt(["login", "--device"]).exits_with(0);
    world.server().take_requests();

    let path = artifact("deploy", "1.4.0");
    other.repository().write(&path, &world.repository().read(&path));
    world.server().fault(&path, Fault::RedirectTo(format!("{}{path}", there.url())));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let requests = other.server().take_requests();
    let lines: Vec<String> = requests.iter().map(dbt_testkit::server::Received::line).collect();
    assert_eq!(lines, [format!("GET {path}")]);
    assert_eq!(requests[0].request.header("authorization"), None);
    let requests = world.server().take_requests();
    assert!(requests.iter().all(|it| it.request.header("authorization").is_some()), "{requests:?}");
    assert!(requests.iter().any(|it| it.request.path == path), "{requests:?}");
}

/// Moves the keys that say how one signs in to the top level of the configuration, which belongs to
/// the default server.
fn at_the_top(world: &World) {
    world.configure(|config| {
        for key in ["authType", "issuerUrl", "oidcClientId"] {
            let server = config["servers"]["acme"].as_object_mut().unwrap();
            let value = server.remove(key).unwrap();
            config[key] = value;
        }
    });
}

#[test]
fn a_provider_at_the_top_level_signs_in_to_its_owner_and_to_nobody_else() {
    let ((provider, world), other) = (world(), pinned());
    other.repository().publish("deploy", "1.4.0").now();
    other.server().require_token_of(&provider);
    at_the_top(&world);
    world.configure(|config| config["servers"]["other"] = other.server_entry());
    provider.confirm_at_once();
    for words in [&["-s", "other", "login"][..], &["-s", "other", "login", "--device"]] {
        world.dbt(words).exits_with(exits::CONFIGURATION).mentions(
            "`authType` at the top level of the configuration belong to the server `acme`",
        );
    }
    assert!(asked(&provider).is_empty(), "no token is asked for");
    world.dbt(["login", "--device"]).exits_with(0).mentions("signed in to the server `acme`");
    provider.take_asked();

    world
        .dbt(["-s", "other", "deploy"])
        .exits_with(exits::REFUSED)
        .mentions("`authType` at the top level of the configuration belong to the server `acme`")
        .mentions("what is meant for this one stands in `servers.other`");
    assert_eq!(told(other.server()), 0);
    world.nothing_happened();
    world.dbt(["-s", "other", "whoami"]).exits_with(0).does_not_mention("alice");
    assert_eq!(told(other.server()), 0);
    assert!(asked(&provider).is_empty());
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_ne!(told(world.server()), 0);
}

#[test]
fn a_key_at_the_top_level_signs_for_no_other_server() {
    let ((provider, world), other, agent) = (world(), pinned(), Agent::start());
    other.repository().publish("deploy", "1.4.0").now();
    let line = agent.key("mine", &["-t", "ed25519"]);
    world.configure(|config| {
        config["servers"]["other"] = other.server_entry();
        config["username"] = json!("alice");
        config["pubkey"] = json!(line);
    });
    at_the_top(&world);
    let run = |words: &[&str]| world.invoke(words).env("SSH_AUTH_SOCK", agent.socket()).run();
    run(&["-s", "other", "deploy"]).prints("deploy 1.4.0\n");
    let requests = other.server().take_requests();
    for name in ["authorization", "token"] {
        assert!(requests.iter().all(|it| it.request.header(name).is_none()), "{requests:?}");
    }
    assert!(asked(&provider).is_empty());
    run(&["deploy"]).prints("deploy 1.4.0\n");
    assert_ne!(told(world.server()), 0);
}

/// A world with a second entry, `evil`, whose server has people sign in at the same provider.
fn beside_evil(client: &str) -> (TokenEndpoint, World, World) {
    let ((provider, world), other) = (world(), pinned());
    provider.confirm_at_once();
    let mut entry = other.server_entry();
    entry["authType"] = json!("oidc");
    entry["issuerUrl"] = json!(provider.url());
    entry["oidcClientId"] = json!(client);
    world.configure(|config| config["servers"]["evil"] = entry);
    (provider, world, other)
}

#[test]
fn nobody_signs_in_where_the_audience_is_the_address_of_another_server() {
    let (provider, world, other) = beside_evil("evil");
    let set = |audience: String| {
        world.configure(|config| config["servers"]["evil"]["oidcAudience"] = json!(audience));
    };
    let url = world.server().url();
    for audience in
        [url.clone(), format!("{url}/"), format!("{url}/dbt"), url.replace("http://", "")]
    {
        set(audience.clone());
        world
            .dbt(["-s", "evil", "login", "--device"])
            .exits_with(exits::CONFIGURATION)
            .mentions("cannot sign in to the server `evil` as configured")
            .mentions("is the address of the server `acme`")
            .mentions("write the one that its own administrator names, or leave it out");
        assert!(asked(&provider).is_empty(), "{audience}: no token is asked for");
    }
    assert_eq!(told(other.server()), 0);
    // Its own address may be it, and what is nobody's here: providers call their interfaces so.
    for audience in [other.server().url(), "https://api.example.com/".to_owned(), "dbt".to_owned()]
    {
        set(audience);
        world.dbt(["-s", "evil", "login", "--device"]).exits_with(0);
    }
    // The other server is not harmed.
    set(url);
    world.dbt(["login", "--device"]).exits_with(0);
}

#[test]
fn whoami_says_what_the_token_does_where_the_server_says_nothing() {
    let (provider, world) = signed_in();
    let url = provider.url();
    for words in ["whoami", "--auth-check"] {
        let shown = world.dbt([words]).exits_with(0).stdout();
        let expected = format!("server: acme\nsigns in with: the token of `{url}`\nsent to: ");
        assert!(shown.starts_with(&expected), "{shown}");
        let known = "known as: alice\ne-mail: alice@example.com\ngroups: developers\nproved by: oidc\nuntil: ";
        assert!(shown.contains(known), "{shown}");
    }
    for words in ["whoami", "--auth-check"] {
        let run = world.dbt([words, "--json"]);
        let shown: Value = serde_json::from_str(&run.exits_with(0).stdout()).unwrap();
        assert_eq!((&shown["kind"], &shown["from"]), (&json!("oidc"), &json!(url)));
        assert_eq!(shown["identity"]["subject"], "alice");
        assert_eq!(shown["identity"]["groups"], json!(["developers"]));
    }
    assert!(asked(&provider).is_empty());
}

#[test]
fn whoami_says_that_nobody_is_signed_in_and_asks_nobody() {
    let (provider, world) = world();
    let run = world.dbt(["whoami"]);
    run.exits_with(exits::REFUSED)
        .mentions("nobody is signed in to the server `acme`")
        .mentions("`dbt login` signs you in");
    assert!(run.stdout().starts_with("server: acme\n"), "{run:?}");
    assert!(asked(&provider).is_empty());
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn nobody_signs_in_to_a_server_whose_tokens_count_at_another_one() {
    let (provider, world, other) = beside_evil("app");
    for (server, named) in [("evil", "`evil` and `acme`"), ("acme", "`acme` and `evil`")] {
        for arguments in [["-s", server, "login", "--device"], ["-s", server, "login", "--ssh"]] {
            world
                .dbt(arguments)
                .exits_with(exits::CONFIGURATION)
                .mentions(&format!("cannot sign in to the server `{server}` as configured"))
                .mentions(&format!("the servers {named} are the same client `app` at"));
        }
    }
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("are the same client");
    assert!(asked(&provider).is_empty(), "no token was asked for");
    assert_eq!(told(other.server()), 0);

    // One audience is not two: the provider may not look at it.
    world.configure(|config| config["servers"]["evil"]["oidcAudience"] = json!("evil"));
    world.dbt(["-s", "acme", "login", "--device"]).exits_with(exits::CONFIGURATION);
    world.set("oidcAudience", "acme");
    world.dbt(["-s", "acme", "login", "--device"]).exits_with(0);
}
