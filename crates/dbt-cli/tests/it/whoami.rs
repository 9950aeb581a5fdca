//! As whom a server knows a client: what it says, and what it does not.

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::server::Fault;
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::world;

const WHOAMI: &str = "/-/api/v1/whoami";

/// A client with a password, at a server that says this of it.
fn known_as(identity: &Value) -> World {
    let world = world();
    world.set("username", "alice");
    world.set("password", "wonderland");
    let answer = Answer::of(200, "application/json", identity.to_string().into_bytes());
    world.server().fault(WHOAMI, Fault::Answer(answer));
    world
}

#[test]
fn what_the_server_knows_is_shown_and_cannot_write_to_the_terminal() {
    let world = known_as(&json!({
        "subject": "oidc:https://id.example.com#7", "name": "Alice\u{1b}[2J", "email": "alice@example.com",
        "groups": ["developers", "on-call"], "roles": ["publisher"], "method": "oidc",
        "expires": "2026-11-23T12:00:00Z", "more": { "is": "left out" },
    }));
    let sent = format!(
        "server: acme\nsigns in with: a user name and a password\nuser: alice\nsent to: {}\n",
        world.server().url()
    );
    let known = "known as: oidc:https://id.example.com#7\nname: Alice\\u{1b}[2J\ne-mail: alice@example.com\n\
                 groups: developers, on-call\nroles: publisher\nproved by: oidc\nuntil: 2026-11-23T12:00:00Z\n";
    for words in ["whoami", "--auth-check"] {
        world.dbt([words]).prints(&format!("{sent}{known}")).says_nothing();
    }
    for words in ["whoami", "--auth-check"] {
        let run = world.dbt([words, "--json"]);
        let shown: Value =
            serde_json::from_str(&run.exits_with(0).says_nothing().stdout()).unwrap();
        assert_eq!(shown["identity"]["subject"], "oidc:https://id.example.com#7");
        assert_eq!(shown["identity"]["groups"], json!(["developers", "on-call"]));
        assert_eq!(shown["identity"].get("more"), None);
        assert_eq!(shown["user"], "alice");
    }

    // Nobody is asked when nobody may be.
    world.server().take_requests();
    world.dbt(["-o", "whoami"]).prints(&sent).says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn a_check_that_names_a_tool_is_refused_and_asks_nobody() {
    let world = known_as(&json!({"subject": "alice"}));
    world.server().take_requests();
    for (word, said) in [
        ("junk", "`--auth-check` runs no tool, and does not expect `junk`"),
        ("--more", "unknown flag `--more`"),
    ] {
        let run = world.dbt(["--auth-check", word, "--json"]);
        run.exits_with(exits::USAGE).mentions(&format!("error: {said}\n"));
        assert_eq!(run.stdout(), "");
    }
    assert_eq!(world.server().take_lines(), [""; 0]);
}

#[test]
fn a_server_that_does_not_know_the_question_leaves_what_is_sent() {
    let page = Answer::of(200, "text/html", b"<!doctype html><html>Welcome</html>".to_vec());
    let other = Answer::of(200, "application/json", b"{\"status\": \"ok\"}".to_vec());
    for fault in [
        Fault::Status(404),
        Fault::Status(405),
        Fault::Status(403),
        Fault::Answer(page),
        Fault::Answer(other),
    ] {
        let world = known_as(&Value::Null);
        world.server().fault(WHOAMI, fault.clone());
        let run = world.dbt(["whoami"]);
        let printed = run.exits_with(0).says_nothing().stdout();
        assert!(printed.ends_with(&format!("sent to: {}\n", world.server().url())), "{fault:?}");
        let run = world.dbt(["whoami", "--json"]);
        let shown: Value = serde_json::from_str(&run.exits_with(0).stdout()).unwrap();
        assert_eq!(shown["identity"], Value::Null);
    }
}

#[test]
fn a_sign_in_that_does_not_count_fails_and_still_shows_what_was_sent() {
    let world = known_as(&Value::Null);
    world.server().require_basic("alice", "correct-horse-battery");
    world.server().fault(WHOAMI, Fault::Status(401));
    for words in ["whoami", "--auth-check"] {
        let run = world.dbt([words]);
        run.exits_with(exits::REFUSED)
            .mentions("the server `acme` does not accept a user name and a password")
            .mentions(
                "hint: whoever administers the server finds the request in its record, and why\n",
            );
        assert!(run.stdout().starts_with("server: acme\nsigns in with: a user name"), "{run:?}");
    }
    world.server().fault(WHOAMI, Fault::Reset);
    world.set("timeout", 0.1);
    let run = world.dbt(["whoami"]);
    assert!(run.exits_with(exits::UNREACHABLE).stdout().contains("user: alice"), "{run:?}");
}

#[test]
fn a_check_fails_where_nothing_is_sent_and_the_server_lets_no_stranger_in() {
    let world = world();
    let facts = "server: acme\nsigns in with: nothing\n";
    world.dbt(["--auth-check"]).prints(facts).says_nothing();
    world.server().fault("*", Fault::Status(401));
    for words in [&["--auth-check"][..], &["--auth-check", "--json"]] {
        let run = world.dbt(words);
        run.exits_with(exits::REFUSED)
            .mentions("error: the server `acme` wants you to sign in, and is sent nothing\n")
            .mentions("hint: `dbt login` signs you in\n");
        assert!(run.stdout().contains("acme"), "{run:?}");
    }
    // What a server is not asked it does not refuse.
    world.server().take_requests();
    world.dbt(["whoami"]).prints(facts).says_nothing();
    world.dbt(["-o", "--auth-check"]).prints(facts).says_nothing();
    assert_eq!(world.server().take_lines(), [""; 0]);
    // What is not there, or is away, is no sign-in that is missing.
    world.set("timeout", 0.1);
    for fault in [Fault::Status(404), Fault::Status(403), Fault::Reset] {
        world.server().fault("*", fault);
        world.dbt(["--auth-check"]).prints(facts).says_nothing();
    }
}
