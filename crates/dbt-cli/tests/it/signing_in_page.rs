//! docs/signing-in.md: what it tells people to write and to run does what it says, in its words.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use dbt_client::token_cache::{KEYCHAIN_PATIENCE, KeychainError};
use dbt_testkit::exits;
use dbt_testkit::http::Answer;
use dbt_testkit::invocation::Run;
use dbt_testkit::keychain::Keychain;
use dbt_testkit::server::Fault;
use dbt_testkit::ssh_agent::Agent;
use dbt_testkit::tls::{Authority, TlsServer};
use dbt_testkit::token_endpoint::{DEVICE_CODE, TOKEN as TOKENS, TokenEndpoint, of_json};
use dbt_testkit::world::World;
use serde_json::{Value, json};

use crate::pinned;
use crate::provider::browser::pasted;
use crate::provider::world as with_provider;

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

    every_row_is_said("With an SSH key", &all);
}

/// Expects that the table of a section has as many messages as there are runs, and that each is said by
/// one of them: `…`, `A` and `B` stand for what differs.
#[track_caller]
fn every_row_is_said(title: &str, said: &[String]) {
    let rows = section(title).lines().filter_map(|line| line.strip_prefix("| ``"));
    let messages: Vec<&str> = rows.map(|row| row.split("``").next().unwrap()).collect();
    assert_eq!(messages.len(), said.len(), "{messages:?}");
    for message in messages {
        let message = message.replace("`A`", "…").replace("`B`", "…");
        let parts: Vec<&str> = message.trim().split('…').collect();
        let is_it = |text: &&String| parts.iter().all(|part| text.contains(part.trim()));
        assert!(said.iter().any(|text| is_it(&text)), "nobody says {message}: {said:#?}");
    }
}

/// Returns what a sign-in says that fails with this code.
#[track_caller]
fn refused(world: &World, words: &[&str], code: i32) -> String {
    world.dbt(words).exits_with(code).stderr()
}

/// Adds a second server to a configuration, which signs in at the same provider.
fn with_evil(world: &World, other: &World, provider: &TokenEndpoint, keys: &[(&str, &str)]) {
    let mut entry = other.server_entry();
    entry["authType"] = json!("oidc");
    entry["issuerUrl"] = json!(provider.url());
    for (key, value) in keys {
        entry[key] = json!(value);
    }
    world.configure(|config| config["servers"]["evil"] = entry);
}

#[test]
fn what_the_page_says_of_providers_is_what_is_said() {
    let mut all = Vec::new();
    let device = ["login", "--device"];

    let (provider, world) = with_provider();
    provider.offer("issuer", json!("https://other.example.com"));
    all.push(refused(&world, &device, exits::REFUSED));

    let (provider, world) = with_provider();
    let other = pinned();
    with_evil(&world, &other, &provider, &[("oidcClientId", "app")]);
    all.push(refused(&world, &["-s", "evil", "login"], exits::CONFIGURATION));
    let url = world.server().url();
    with_evil(&world, &other, &provider, &[("oidcClientId", "evil"), ("oidcAudience", &url)]);
    all.push(refused(&world, &["-s", "evil", "login"], exits::CONFIGURATION));

    // A place that others could write into is none for a page, nor for a token.
    let (_provider, world) = with_provider();
    let state = world.dbt_home().join("state");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, Permissions::from_mode(0o777)).unwrap();
    let login = world.invoke(["login", "--browser"]).env("BROWSER", "/no/such/browser");
    let (run, said) = pasted(&world, login);
    run.exits_with(exits::CONFIGURATION);
    let lines = |word: &str| -> String { said.lines().filter(|it| it.contains(word)).collect() };
    all.extend([lines("no browser"), lines("not kept")]);

    let (provider, world) = with_provider();
    let agent = Agent::start();
    agent.key("mine", &["-t", "ed25519"]);
    world.set("connectorId", "ssh");
    provider.know(|_token| None);
    let run = world.invoke(["login", "--ssh"]).env("SSH_AUTH_SOCK", agent.socket()).run();
    all.push(run.exits_with(exits::REFUSED).stderr());

    let (provider, world) = with_provider();
    provider.confirm_at_once();
    world.server().require_token("dbt_the_only_token");
    all.push(refused(&world, &device, exits::REFUSED));

    let (provider, world) = with_provider();
    let begun = json!({
        "device_code": "a-device-code-of-a-second", "user_code": "WDJB-MJHT", "expires_in": 1,
        "interval": 1, "verification_uri": format!("{}/device", provider.url()),
    });
    provider.next(DEVICE_CODE, of_json(200, &begun));
    for _attempt in 0..3 {
        provider.refuse_next(TOKENS, 400, "authorization_pending", "");
    }
    all.push(refused(&world, &device, exits::REFUSED));

    let (_provider, world) = with_provider();
    world.configure(|config| config["tokenStore"] = "keychain".into());
    let run = world.invoke(device).env("PATH", "/nowhere").run();
    all.push(run.exits_with(exits::CONFIGURATION).stderr());

    every_row_is_said("With an identity provider", &all);
}

/// A server that wants a token, and somebody who has given it, if `is_given`, into a keychain.
fn with_keychain(is_given: bool) -> (World, Keychain) {
    let (world, keychain) = (published(), Keychain::new());
    world.may_keep_tokens();
    world.server().require_token(TOKEN);
    world.configure(|config| config["tokenStore"] = "keychain".into());
    if is_given {
        give(&world, &keychain, TOKEN).exits_with(0);
    }
    (world, keychain)
}

fn give(world: &World, keychain: &Keychain, token: &str) -> Run {
    let login = world.invoke(["login", "--token"]).env("PATH", keychain.path());
    login.stdin(token.as_bytes()).run()
}

#[test]
fn what_the_page_says_of_keychains_is_what_is_said() {
    let mut all = Vec::new();
    let (world, keychain) = with_keychain(false);
    let nowhere = world.invoke(["login", "--token"]).env("PATH", "/nowhere").run();
    all.push(nowhere.exits_with(exits::CONFIGURATION).stderr());
    for wrong in ["fails", "locked"] {
        keychain.now(Some(wrong));
        all.push(give(&world, &keychain, TOKEN).exits_with(exits::CONFIGURATION).stderr());
    }
    keychain.now(None);
    // More than its program takes: the server would accept it.
    let long = format!("{TOKEN}{}", "a".repeat(7000));
    world.server().require_token(&long);
    let run = give(&world, &keychain, &long);
    assert_ne!(run.code(), Some(0), "{run:?}");
    all.push(run.stderr());

    let (world, keychain) = with_keychain(true);
    keychain.lose();
    let run = world.invoke(["deploy"]).env("PATH", keychain.path()).run();
    all.push(run.exits_with(exits::REFUSED).stderr());

    // Nobody waits here as long as a program may take.
    let (program, limit) = ("secret-tool".to_owned(), KEYCHAIN_PATIENCE);
    all.push(KeychainError::TimeOver { program, limit }.to_string());
    every_row_is_said("In the keychain of the system", &all);
}

/// What is sent, as `whoami` says it without asking anybody: how, and where it comes from.
fn sent(world: &World, env: &[(&str, &str)]) -> (String, String) {
    let whoami = world.invoke(["-o", "whoami", "--json"]);
    let run = env.iter().fold(whoami, |run, (name, value)| run.env(name, value)).run();
    let shown: Value = serde_json::from_str(&run.stdout()).unwrap();
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    (text("kind"), text("from"))
}

#[test]
fn what_is_sent_is_the_first_of_the_list_that_there_is() {
    // From its end: each comes before all that was there.
    let (system, world) = (TokenEndpoint::start(), published());
    world.may_keep_tokens();
    let authority = Authority::new("Acme Authority");
    let file = world.directory().join("ca.pem");
    authority.write_to(&file);
    world.set("caFile", file.to_str().unwrap());
    let server = TlsServer::start(authority.server("127.0.0.1"), world.server().address());
    crate::certificates::move_to(&world, &server.url());
    let request = format!("{}/actions?api-version=2.0", system.url());
    let github = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", request.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "a-token-for-this-test-alone"),
    ];
    let pair = |kind: &str, from: &str| (kind.to_owned(), from.to_owned());
    assert_eq!(sent(&world, &[]), pair("none", ""));
    let mut list = vec![("GitHub Actions", sent(&world, &github), pair("ci", "GitHub Actions"))];

    let netrc = world.home().join(".netrc");
    world.write_secret(&netrc, "machine 127.0.0.1 login alice password correct-horse-battery\n");
    fs::set_permissions(&netrc, Permissions::from_mode(0o600)).unwrap();
    let from = netrc.display().to_string();
    list.push(("`~/.netrc`", sent(&world, &github), pair("netrc", &from)));

    let login = || world.invoke(["login", "--token"]).stdin(TOKEN.as_bytes()).run();
    login().exits_with(0);
    list.push(("`dbt login --token`", sent(&world, &github), pair("login", "")));

    world.set("username", "alice");
    world.set("password", "correct-horse-battery");
    list.push(("`username`", sent(&world, &github), pair("basic", "")));

    world.set("authType", "oidc");
    world.set("issuerUrl", system.url());
    world.set("oidcClientId", "app");
    // Of this one itself, the token that was given comes first, and then the job.
    assert_eq!(sent(&world, &github), pair("login", ""));
    world.dbt(["logout"]).exits_with(0);
    assert_eq!(sent(&world, &github), pair("ci", "GitHub Actions"));
    list.push(("where `authType` is `oidc`", sent(&world, &[]), pair("oidc", &system.url())));

    world.set("token", TOKEN);
    list.push(("`token`, `tokenFile`", sent(&world, &github), pair("token", "servers.acme.token")));

    let identity = |audience: &str| system.sign(json!({"sub": "a", "aud": audience, "jti": "1"}));
    let (own, others) = (identity(&server.url()), identity("https://other.example.com"));
    assert_eq!(sent(&world, &[("DBT_ID_TOKEN", &others)]), pair("token", "servers.acme.token"));
    let given = [("DBT_ID_TOKEN", own.as_str())];
    list.push(("`DBT_ID_TOKEN`", sent(&world, &given), pair("ci", "`DBT_ID_TOKEN`")));

    let both = [("DBT_ID_TOKEN", own.as_str()), ("DBT_REPO_TOKEN", "dbt_the_new_token")];
    list.push(("`DBT_REPO_TOKEN`", sent(&world, &both), pair("token", "DBT_REPO_TOKEN")));

    list.reverse();
    let text = section("What is sent");
    for (index, (words, found, expected)) in list.iter().enumerate() {
        assert_eq!(found, expected, "{words}");
        let item = text.split(&format!("\n{}. ", index + 1)).nth(1).unwrap();
        let item = item.split(&format!("\n{}. ", index + 2)).next().unwrap();
        assert!(item.contains(words), "{words} is not in {item}");
    }
    assert!(!text.contains(&format!("\n{}. ", list.len() + 1)), "the list has more");
    assert!(system.take_asked().is_empty());
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
