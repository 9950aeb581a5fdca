//! Signing in with a token that a person has: kept for its server alone, and forgotten again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::Run;
use dbt_testkit::server::{Fault, FileServer};
use dbt_testkit::world::World;

use crate::provider::offer::on_terminal;
use crate::{asked_in_a_warm_run, pinned};

const TOKEN: &str = "dbt_0123456789abcdef";
const WHOAMI: &str = "/-/api/v1/whoami";

/// A server that wants a token, and a client without any.
fn world() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world.server().require_token(TOKEN);
    world
}

fn login(world: &World, token: &str) -> Run {
    world.invoke(["login", "--token"]).stdin(format!("{token}\n").as_bytes()).run()
}

/// Returns how often a server was told anything.
fn told(server: &FileServer) -> usize {
    let requests = server.take_requests();
    requests.iter().filter(|it| it.request.header("authorization").is_some()).count()
}

#[test]
fn a_token_that_is_given_is_kept_for_later_runs_until_it_is_forgotten() {
    let world = world();
    let file = world.may_keep_tokens();
    world.dbt(["deploy"]).exits_with(exits::REFUSED).mentions("`dbt login` signs you in");
    let answer = br#"{"subject": "agent:deployer", "roles": ["readonly"]}"#.to_vec();
    let answer = Answer::of(200, "application/json", answer);
    world.server().fault(WHOAMI, Fault::Answer(answer));
    let run = login(&world, TOKEN);
    run.exits_with(0).mentions("signed in to the server `acme` as agent:deployer");
    assert!(run.stdout().is_empty());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    let shown = world.dbt(["whoami"]).exits_with(0).stdout();
    assert!(shown.contains("signs in with: the token of `dbt login`\n"), "{shown}");
    assert!(shown.contains("known as: agent:deployer\nroles: readonly\n"), "{shown}");
    world.dbt(["login"]).exits_with(0).mentions("signed in to the server `acme` with a token");

    world
        .dbt(["logout"])
        .exits_with(0)
        .mentions("the token for the server `acme` is forgotten here, and counts until it ends");
    assert!(!fs::read_to_string(&file).unwrap_or_default().contains(TOKEN));
    world.server().take_requests();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").mentions("wants you to sign in");
    assert_eq!(told(world.server()), 0);
    world.dbt(["logout"]).exits_with(0).mentions("no sign-in to the server `acme` is kept here");
}

#[test]
fn a_warm_run_with_a_kept_token_makes_the_same_requests_as_one_without() {
    let world = world();
    world.may_keep_tokens();
    login(&world, TOKEN).exits_with(0).mentions("is sent to the server `acme` from now on");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    let requests = asked_in_a_warm_run(&world, world.invoke(["deploy"]));
    let sent = format!("Bearer {TOKEN}");
    assert!(requests.iter().all(|it| it.request.header("authorization") == Some(&sent)));
}

#[test]
fn a_token_that_the_server_does_not_accept_is_not_kept() {
    let world = world();
    for (token, code, words) in [
        ("dbt_another_old_token", exits::REFUSED, "the server `acme` does not accept the token"),
        ("", exits::USAGE, "what was given is no token"),
        ("two words", exits::USAGE, "what was given is no token"),
    ] {
        login(&world, token).exits_with(code).mentions(words);
    }
    assert!(!world.dbt_home().join("state/tokens.json").exists());
    world.nothing_happened();
}

#[test]
fn at_a_terminal_a_login_asks_for_a_token_where_nothing_else_signs_in() {
    let world = world();
    let file = world.may_keep_tokens();
    let asks = || {
        let run = on_terminal(&world, &["login"], "two words\n");
        run.exits_with(exits::USAGE);
        let shown = run.stdout();
        assert!(shown.contains("token for the server `acme` (it is not shown): "), "{shown}");
        assert!(shown.contains("error: what was given is no token"), "{shown}");
    };
    asks();
    assert!(!file.exists());
    // So it is where one is kept, which may count no more.
    login(&world, TOKEN).exits_with(0);
    asks();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.server().fault(WHOAMI, Fault::Status(401));
    world
        .dbt(["whoami"])
        .exits_with(exits::REFUSED)
        .mentions("error: the server `acme` does not accept the token of `dbt login`\n")
        .mentions("hint: it has ended or was revoked: `dbt login --token` takes another one\n");
}

#[test]
fn a_kept_token_goes_to_its_own_server_alone() {
    let (world, other) = (world(), pinned());
    world.may_keep_tokens();
    other.repository().publish("deploy", "1.4.0").now();
    world.configure(|config| config["servers"]["other"] = other.server_entry());
    login(&world, TOKEN).exits_with(0);
    world.dbt(["-s", "other", "deploy"]).exits_with(0);
    world.dbt(["-s", "other", "logout"]).mentions("no sign-in to the server `other` is kept");
    // Nor does it follow the name of its server to another address.
    world.move_server(&other.server().url());
    world.dbt(["deploy"]).exits_with(0);
    assert_eq!(told(other.server()), 0);
}

#[test]
fn no_other_server_uses_replaces_or_forgets_the_sign_in_of_a_server() {
    let (world, other) = (world(), pinned());
    let file = world.may_keep_tokens();
    login(&world, TOKEN).exits_with(0);
    let mut entry = other.server_entry();
    entry["toolsRepository"] = format!("{}/dbt-tools", world.server().url()).into();
    world.configure(|config| config["servers"]["evil"] = entry);
    world.server().take_requests();
    world
        .dbt(["-s", "evil", "deploy"])
        .exits_with(exits::REFUSED)
        .mentions("the sign-in that is kept for `[SERVER]` is that of the server which is at home");
    assert_eq!(told(world.server()), 0);
    world.nothing_happened();

    let given = "dbt_the_new_token";
    let line = format!("{given}\n");
    let run = world.invoke(["-s", "evil", "login", "--token"]).stdin(line.as_bytes()).run();
    run.exits_with(0).mentions("  sent to: ");
    run.mentions("[SERVER] (the server `acme`, whose own sign-in stays)");
    let kept = || -> Vec<(String, String, String)> {
        let kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let tokens = kept["tokens"].as_array().unwrap().iter();
        let mut tokens: Vec<_> = tokens
            .map(|it| (text(&it["origin"]), text(&it["server"]), text(&it["token"])))
            .collect();
        tokens.sort();
        tokens
    };
    let entry = |url: String, server: &str, token: &str| (url, server.to_owned(), token.to_owned());
    let own = entry(world.server().url(), "", TOKEN);
    let mut all = [
        own.clone(),
        entry(world.server().url(), "evil", given),
        entry(other.server().url(), "", given),
    ];
    all.sort();
    assert_eq!(kept(), all);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
    world.dbt(["-s", "evil", "logout"]).exits_with(0).mentions("is forgotten here");
    assert_eq!(kept(), [own]);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
}

#[test]
fn what_is_configured_comes_first_and_login_says_so() {
    let world = world();
    let file = world.may_keep_tokens();
    login(&world, TOKEN).exits_with(0);
    world.server().require_token("dbt_the_new_token");
    let run = world.invoke(["deploy"]).env("DBT_REPO_TOKEN", "dbt_the_new_token").run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let asked = world
        .invoke(["login", "--token"])
        .stdin(TOKEN.as_bytes())
        .env("DBT_REPO_TOKEN", "dbt_the_new_token")
        .run();
    asked.exits_with(exits::CONFIGURATION).mentions("the token of `DBT_REPO_TOKEN`");
    world.set("token", "dbt_the_new_token");
    let kept = fs::read(&file).unwrap();
    login(&world, "dbt_the_new_token")
        .exits_with(exits::CONFIGURATION)
        .mentions("is sent the token of `servers.acme.token`, which comes before any token");
    assert_eq!(fs::read(&file).unwrap(), kept);
    world.dbt(["logout"]).mentions("the token of `servers.acme.token` stays in use");
}

#[test]
fn a_token_opens_a_server_that_would_ask_an_identity_provider() {
    let world = world();
    world.may_keep_tokens();
    world.set("authType", "oidc");
    world.dbt(["whoami"]).exits_with(exits::CONFIGURATION).mentions("`servers.acme.authType`");
    login(&world, TOKEN).exits_with(0);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["whoami"]).exits_with(0);
}

#[test]
fn what_could_not_be_forgotten_is_not_called_forgotten() {
    let world = world();
    let file = world.may_keep_tokens();
    login(&world, TOKEN).exits_with(0);
    let kept = fs::read_to_string(&file).unwrap();
    let newer = kept.replace("\"schema\":1", "\"schema\":2");
    assert_ne!(newer, kept);
    fs::write(&file, &newer).unwrap();
    world
        .dbt(["logout"])
        .exits_with(exits::CONFIGURATION)
        .mentions("error: the sign-in to the server `acme` is not forgotten")
        .mentions("was written by a newer version");
    assert_eq!(fs::read_to_string(&file).unwrap(), newer);
    fs::write(&file, &kept).unwrap();
    world.dbt(["logout"]).exits_with(0).mentions("is forgotten here");
}

#[test]
fn no_token_is_taken_for_a_server_that_everybody_could_listen_to() {
    let world = world();
    world.move_server("http://repo.test");
    let run = world
        .invoke(["login", "--token"])
        .stdin(TOKEN.as_bytes())
        .env("HTTP_PROXY", world.server().url())
        .run();
    run.exits_with(exits::CONFIGURATION)
        .mentions("refusing to send credentials to `http://repo.test` without TLS");
    assert_eq!(world.server().take_lines(), [""; 0]);
    assert!(!world.dbt_home().join("state/tokens.json").exists());
}

#[test]
fn a_token_that_cannot_be_tried_is_kept_and_that_is_said() {
    let world = world();
    world.may_keep_tokens();
    world.set("timeout", 0.1);
    world.server().fault(WHOAMI, Fault::Reset);
    let run = login(&world, TOKEN);
    run.exits_with(0).mentions("warning: the token was not tried").mentions("from now on");
    world.dbt(["deploy"]).prints("deploy 1.4.0\n");
}
