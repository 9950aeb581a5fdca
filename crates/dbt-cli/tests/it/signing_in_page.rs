//! docs/signing-in.md: what it tells people to write and to run does what it says, in its words.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::server::Fault;
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::tls::{Authority, TlsServer};
use dbt_testkit::world::World;
use serde_json::Value;

use crate::pinned;

const PAGE: &str = include_str!("../../../../docs/signing-in.md");
const TOKEN: &str = "dbt_0123456789abcdef";

/// Returns a section of the page.
fn section(title: &str) -> &'static str {
    let text = PAGE.split(&format!("\n## {title}\n")).nth(1);
    let text = text.unwrap_or_else(|| panic!("the page has lost `{title}`"));
    text.split("\n## ").next().unwrap()
}

/// Returns the first block of a language in a section.
fn block(title: &str, language: &str) -> &'static str {
    let text = section(title).split(&format!("```{language}\n")).nth(1).unwrap();
    text.split("```").next().unwrap()
}

fn published() -> World {
    let world = pinned();
    world.repository().publish("deploy", "1.4.0").now();
    world
}

/// A server that knows a key, and a client with what the page says; only the server is another one.
fn with_key(line: &str) -> World {
    let world = published();
    world.server().require_ssh_key(line);
    let written: Value = serde_json::from_str(block("With an SSH key", "json")).unwrap();
    let keys = written["servers"]["acme"].as_object().unwrap().clone();
    for (key, value) in keys {
        if !key.ends_with("epository") {
            world.set(&key, value);
        }
    }
    let directory = world.home().join(".ssh");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("id_ed25519.pub"), format!("{line}\n")).unwrap();
    world
}

#[test]
fn a_key_in_the_agent_signs_in_with_what_the_page_writes() {
    let agent = Agent::start();
    let world = with_key(&agent.key("mine", &["-t", "ed25519"]));
    let run = world.invoke(["deploy"]).env("SSH_AUTH_SOCK", agent.socket()).run();
    run.prints("deploy 1.4.0\n").says_nothing();
    let shown = world.invoke(["whoami"]).env("SSH_AUTH_SOCK", agent.socket()).run();
    let shown = shown.stdout();
    assert!(shown.contains("user: alice\n"), "{shown}");
}

#[test]
fn what_the_page_says_of_agents_is_what_is_said() {
    let agent = Agent::start();
    let world = with_key(&agent.key_outside("mine", &["-t", "ed25519"]));
    let said = |socket: Option<&std::path::Path>| {
        let run = match socket {
            Some(socket) => world.invoke(["deploy"]).env("SSH_AUTH_SOCK", socket).run(),
            None => world.dbt(["deploy"]),
        };
        run.exits_with(exits::REFUSED);
        run.stderr()
    };
    let gone = world.directory().join("gone");
    let mut all = vec![said(None), said(Some(&gone)), said(Some(&agent.socket()))];
    agent.key("another", &["-t", "ed25519"]);
    all.push(said(Some(&agent.socket())));
    agent.add("mine", &["-c"]);
    all.push(said(Some(&agent.socket())));
    world.configure(|config| {
        config["servers"]["acme"].as_object_mut().unwrap().remove("username");
    });
    all.push(said(Some(&agent.socket())));

    let rows = section("With an SSH key").lines().filter_map(|line| line.strip_prefix("| ``"));
    let messages: Vec<&str> = rows.map(|row| row.split("`` |").next().unwrap()).collect();
    assert_eq!(messages.len(), all.len(), "{messages:?}");
    for message in messages {
        let parts: Vec<&str> = message.trim().split('…').collect();
        let is_it = |text: &&String| parts.iter().all(|part| text.contains(part.trim()));
        assert!(all.iter().any(|text| is_it(&text)), "nobody says {message}: {all:#?}");
    }
}

#[test]
fn a_token_that_is_given_is_kept_where_the_page_says_and_in_its_words() {
    let world = published();
    world.server().require_token(TOKEN);
    let kept = world.may_keep_tokens();
    let identity = br#"{"subject": "agent:deployer"}"#.to_vec();
    let identity = Answer::of(200, "application/json", identity);
    world.server().fault("/-/api/v1/whoami", Fault::Answer(identity));
    let lines: Vec<&str> = block("With a token", "console").lines().collect();
    let [command, _asked_on_a_terminal, answer] = lines.as_slice() else { panic!("{lines:?}") };
    let words: Vec<&str> = command.strip_prefix("$ dbt ").unwrap().split(' ').collect();
    let run = world.invoke(&words).stdin(format!("{TOKEN}\n").as_bytes()).run();
    run.exits_with(0).mentions(answer);
    assert!(section("With a token").contains("`~/.dbt/state/tokens.json`"));
    assert_eq!(kept, world.home().join(".dbt/state/tokens.json"));
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
    world.dbt(["logout"]).exits_with(0);
    assert!(!fs::read_to_string(&kept).unwrap_or_default().contains(TOKEN));
}

#[test]
fn the_line_of_the_netrc_file_counts_as_the_page_says() {
    let world = published();
    world.server().require_basic("alice", "correct-horse-battery");
    let authority = Authority::new("Acme Authority");
    let file = world.directory().join("ca.pem");
    authority.write_to(&file);
    world.set("caFile", file.to_str().unwrap());
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    crate::certificates::move_to(&world, &server.url());
    let line = block("With a netrc file", "text");
    let line = line.replace("dbt.example.com", "127.0.0.1");
    let line = line.replace("SECRET", "correct-horse-battery");
    let netrc = world.home().join(".netrc");
    world.write_secret(&netrc, &line);
    fs::set_permissions(&netrc, Permissions::from_mode(0o644)).unwrap();
    let run = world.dbt(["deploy"]);
    run.exits_with(exits::REFUSED).mentions("is not used").mentions("chmod 600");
    assert!(section("With a netrc file").contains("`chmod 600 ~/.netrc`"));
    fs::set_permissions(&netrc, Permissions::from_mode(0o600)).unwrap();
    world.dbt(["deploy"]).prints("deploy 1.4.0\n").says_nothing();
}
