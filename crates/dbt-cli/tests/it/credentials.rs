//! Credentials: sent to their own server, to no other, and never shown.

use std::fs;
use std::net::Ipv4Addr;

use dbt_testkit::exits;
use dbt_testkit::repository::artifact;
use dbt_testkit::server::{Fault, FileServer};
use dbt_testkit::tls::{Authority, Ending, TlsServer};
use dbt_testkit::world::World;
use serde_json::json;

use crate::pinned;

const PASSWORD: &str = "correct-horse-battery";

/// A server that wants a password, and a client that has it.
fn signed_in() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_basic("alice", PASSWORD);
    world.set("username", "alice");
    world.set("password", PASSWORD);
    world
}

fn sent_credentials(server: &FileServer) -> usize {
    let with = |requests: Vec<dbt_testkit::server::Received>| {
        requests
            .iter()
            .filter(|received| received.request.header("authorization").is_some())
            .count()
    };
    with(server.take_requests())
}

#[test]
fn a_password_opens_the_server_and_is_never_shown_or_remembered() {
    let world = signed_in();
    world.dbt(["-V", "deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.no_secret_is_remembered();
}

#[test]
fn a_wrong_password_is_refused_without_being_shown() {
    let world = signed_in();
    world.set("password", "wrong-horse-battery");
    world.dbt(["-V", "deploy"]).exits_with(exits::REFUSED);
    for words in
        [&["doctor", "--report"][..], &["whoami"], &["--auth-check"], &["doctor", "--json"]]
    {
        drop(world.dbt(words));
    }
    world.nothing_happened();
    world.no_secret_is_remembered();
}

#[test]
fn a_password_of_one_server_never_goes_to_another() {
    let (world, other) = (pinned(), pinned());
    other.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| {
        config["servers"]["other"] = other.server_entry();
        config["username"] = "alice".into();
        config["password"] = PASSWORD.into();
    });
    world.repository().publish("deploy", "1.4.0").now();
    world.dbt(["-s", "other", "deploy"]).exits_with(0);
    assert_eq!(sent_credentials(other.server()), 0);
    world.dbt(["deploy"]).exits_with(0);
    assert_ne!(sent_credentials(world.server()), 0);
}

#[test]
fn another_server_that_wants_a_password_gets_none_and_the_error_says_where_to_write_it() {
    let (world, other) = (pinned(), pinned());
    other.server().require_basic("alice", PASSWORD);
    world.configure(|config| {
        config["servers"]["other"] = other.server_entry();
        config["username"] = "alice".into();
        config["password"] = PASSWORD.into();
    });
    let run = world.dbt(["-s", "other", "deploy"]);
    run.exits_with(exits::REFUSED).mentions("servers.other");
    assert_eq!(sent_credentials(other.server()), 0);
}

#[test]
fn a_password_does_not_follow_a_redirect() {
    let (world, other) = (signed_in(), pinned());
    let there = format!("{}/x", other.server().url());
    world.server().fault(&artifact("deploy", "1.4.0"), Fault::RedirectTo(there));
    let run = world.dbt(["deploy"]);
    assert!(run.stdout().is_empty(), "{run:?}");
    assert_eq!(sent_credentials(other.server()), 0);
    world.nothing_happened();
}

#[test]
fn a_password_does_not_follow_an_artifact_to_another_host_with_tls() {
    let (world, other) = (signed_in(), pinned());
    let authority = Authority::new("Acme Authority");
    authority.write_to(&world.directory().join("ca.pem"));
    world.set("caFile", world.directory().join("ca.pem").to_str().unwrap());
    let here = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    crate::certificates::move_to(&world, &here.url());
    let (address, behind) = (Ipv4Addr::new(127, 0, 0, 2), other.server().address());
    let config = authority.server("127.0.0.2");
    let there = TlsServer::start_at(address.into(), config, behind, Ending::InOrder);

    let path = artifact("deploy", "1.4.0");
    other.repository().write(&path, &world.repository().read(&path));
    world.server().fault(&path, Fault::RedirectTo(format!("{}{path}", there.url())));
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let asked = other.server().take_requests();
    let lines: Vec<String> = asked.iter().map(dbt_testkit::server::Received::line).collect();
    assert_eq!(lines, [format!("GET {path}")]);
    for name in ["authorization", "cookie", "x-dbt-token"] {
        assert_eq!(asked[0].request.header(name), None, "{name}");
    }
    // Its own server got it each time, the one that redirected included.
    let asked = world.server().take_requests();
    assert!(asked.iter().all(|it| it.request.header("authorization").is_some()), "{asked:?}");
    assert!(asked.iter().any(|it| it.request.path == path), "{asked:?}");
}

#[test]
fn preset_variables_do_not_send_the_catalogs_password_elsewhere() {
    let (world, evil) = (signed_in(), pinned());
    let url = evil.server().url();
    let run = world
        .invoke(["catalog", "list"])
        .env("DBT_REPO", format!("{url}/dbt"))
        .env("DBT_TOOLS_REPO", format!("{url}/dbt-tools"))
        .env("DBT_TRUSTSTORE", format!("{url}/dbt/truststore"))
        .run();
    assert!(run.exits_with(0).stdout().contains("deploy"), "{run:?}");
    assert_eq!(evil.server().take_lines(), [""; 0]);
}

#[test]
fn a_command_that_prints_the_password_is_asked_once_in_a_run() {
    let world = signed_in();
    let asked = world.directory().join("asked");
    world.configure(|config| {
        let server = &mut config["servers"]["acme"];
        server.as_object_mut().unwrap().remove("password");
        server["passwordfunc"] = format!("echo x >> {}; echo {PASSWORD}", asked.display()).into();
    });
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(fs::read_to_string(asked).unwrap(), "x\n");
}

#[test]
fn a_command_that_fails_or_floods_is_named() {
    for command in ["exit 1", "head -c 1000000000 /dev/zero", "printf '\\377'"] {
        let world = signed_in();
        world.configure(|config| {
            let server = &mut config["servers"]["acme"];
            server.as_object_mut().unwrap().remove("password");
            server["passwordfunc"] = json!(command);
        });
        world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("passwordfunc");
        world.nothing_happened();
    }
}

/// Lets a command say the password.
fn ask(world: &World, command: &str) {
    world.configure(|config| {
        let server = &mut config["servers"]["acme"];
        server.as_object_mut().unwrap().remove("password");
        server["passwordfunc"] = json!(command);
    });
}

#[test]
fn with_a_copy_a_command_that_hangs_costs_one_run_a_moment_and_is_named() {
    let world = signed_in();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let asked = world.directory().join("asked");
    ask(&world, &format!("echo x >> {}; sleep 86397; echo", asked.display()));
    world.set("timeout", 0.1);
    world
        .dbt(["deploy"])
        .prints("deploy 1.4.0\n")
        .mentions("(the command of `servers.acme.passwordfunc` did not end within ")
        .mentions("running `deploy` 1.4.0")
        .does_not_mention("sign in");
    // Nothing of it is left, and the next runs do not wait again.
    assert!(!is_running("sleep\u{0}86397\u{0}"));
    for _ in 0..2 {
        world.dbt(["deploy"]).prints("deploy 1.4.0\n").does_not_mention("sign in");
    }
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\n");
    world.no_secret_is_remembered();
}

/// Says whether a process was started with these words.
fn is_running(words: &str) -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|it| fs::read_to_string(it.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line == words)
}

#[test]
fn with_a_copy_a_command_that_fails_or_floods_is_named() {
    for command in ["exit 1", "head -c 1000000000 /dev/zero", "printf '\\377'"] {
        let world = signed_in();
        world.dbt(["deploy"]).prints("deploy 1.4.0\n");
        ask(&world, command);
        world
            .dbt(["deploy"])
            .prints("deploy 1.4.0\n")
            .mentions("`servers.acme.passwordfunc`")
            .mentions("running `deploy` 1.4.0")
            .does_not_mention("sign in");
    }
}

#[test]
fn without_a_copy_a_command_that_hangs_is_named_too() {
    let world = signed_in();
    ask(&world, "sleep 86396; echo");
    world.set("timeout", 0.02);
    world
        .dbt(["deploy"])
        .exits_with(exits::REFUSED)
        .mentions("the credentials for server `acme` cannot be had")
        .mentions("the command of `servers.acme.passwordfunc` did not end within ")
        .mentions(
            "hint: run the command of `servers.acme.passwordfunc` in a shell to see what it does",
        )
        .does_not_mention("sign in");
    assert!(!is_running("sleep\u{0}86396\u{0}"));
    world.nothing_happened();
}

/// A server that wants a new token, a command that first gives the old one, and the file that says
/// how often it was asked.
fn with_expiring_token(then: &str) -> (World, std::path::PathBuf) {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token("dbt_the_new_token");
    let (asked, token) = (world.directory().join("asked"), world.home().join("token"));
    world.write_secret(&token, "dbt_the_old_token\n");
    let (said, kept) = (asked.display(), token.display());
    world.set("tokenFunc", format!("echo x >> {said}; cat {kept}; echo {then} > {kept}"));
    (world, asked)
}

#[test]
fn a_token_that_has_expired_is_asked_for_anew() {
    let (world, asked) = with_expiring_token("dbt_the_new_token");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\nx\n");
    // From then on it is the right one at once.
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\nx\nx\n");
    assert!(world.server().take_requests().iter().all(|received| received.status != 401));
}

#[test]
fn a_token_is_asked_for_anew_once_and_not_again() {
    let (world, asked) = with_expiring_token("dbt_another_old_token");
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("sign in");
    assert_eq!(fs::read_to_string(&asked).unwrap(), "x\nx\n");
    world.nothing_happened();

    // One that stays the same is not even tried again.
    world.set("tokenFunc", "echo dbt_another_old_token");
    world.server().take_requests();
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("sign in");
    let requests = world.server().take_lines();
    let distinct: std::collections::BTreeSet<&String> = requests.iter().collect();
    assert_eq!(distinct.len(), requests.len(), "{requests:?}");
}

#[test]
fn with_a_copy_a_token_that_stays_wrong_lets_it_run() {
    let (world, asked) = with_expiring_token("dbt_the_new_token");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    fs::remove_file(asked).unwrap();
    world.server().require_token("dbt_yet_another_token");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("wants you to sign in (`dbt login`)");
    world.no_secret_is_remembered();
}

#[test]
fn a_token_in_the_environment_is_sent_as_such() {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token("dbt_0123456789abcdef");
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("wants you to sign in");
    world.nothing_happened();
    world.server().take_requests();
    let run = world.invoke(["deploy"]).env("DBT_REPO_TOKEN", "dbt_0123456789abcdef").run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let requests = world.server().take_requests();
    assert!(!requests.is_empty());
    for received in requests {
        let sent = received.request.header("authorization");
        assert_eq!(sent, Some("Bearer dbt_0123456789abcdef"), "{}", received.line());
    }
    world.no_secret_is_remembered();
}
