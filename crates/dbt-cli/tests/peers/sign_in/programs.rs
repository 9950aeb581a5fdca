//! `dbt login` and what follows from it, with real providers, keys and browsers.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dbt_testkit::browser::{Place, sign_in};
use dbt_testkit::dex::{CONNECTOR, Dex, User};
use dbt_testkit::glewlwyd::Glewlwyd;
use dbt_testkit::oidc_provider::{CLIENT, OidcProvider};
use dbt_testkit::ssh_agent::Agent;
use serde_json::{Value, json};

use super::server_of;
use crate::reposerver::Reposerver;

const KINDS: [(&str, &[&str]); 4] = [
    ("ed25519", &["-t", "ed25519"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384", &["-t", "ecdsa", "-b", "384"]),
];

/// What a Dex takes, and nobody else.
const P521: (&str, &[&str]) = ("p521", &["-t", "ecdsa", "-b", "521"]);

/// Starts a server with a tool, and tells the user's configuration who its provider is.
fn with_provider(issuer: &str, keys: &Value) -> Reposerver {
    let server = server_of(issuer);
    server.publish("hello", "1.0.0", "echo hello");
    configure(&server, issuer, keys);
    server
}

fn configure(server: &Reposerver, issuer: &str, keys: &Value) {
    let root = server.root();
    let mut entry = json!({
        "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
        "authType": "oidc", "issuerUrl": issuer, "oidcClientId": CLIENT,
    });
    for (key, value) in keys.as_object().unwrap() {
        entry[key] = value.clone();
    }
    let file = server.home().join(".dbt/conf/dbt.json");
    fs::write(&file, json!({"servers": {"acme": entry}}).to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn dbt(server: &Reposerver, words: &[&str], variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbt"));
    command.args(words).env_clear().env("HOME", server.home()).env("PATH", "/usr/bin:/bin");
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    command
}

/// Runs dbt, and returns what it prints and says; it must end well.
#[track_caller]
fn run(server: &Reposerver, words: &[&str], variables: &[(&str, &Path)]) -> String {
    let output = dbt(server, words, variables).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", said(&output));
    said(&output)
}

/// Runs the tool.
#[track_caller]
fn runs_the_tool(server: &Reposerver, variables: &[(&str, &Path)]) {
    let output = dbt(server, &["hello"], variables).output().unwrap();
    assert_eq!(output.stdout, b"hello\n", "{}", said(&output));
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// A program that waits for somebody. It is killed when this goes.
struct Waiting {
    process: Child,
    lines: Box<dyn Iterator<Item = String>>,
}

impl Waiting {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, lines: Box::new(lines.map_while(Result::ok)) }
    }

    /// Waits until it says a word that begins so, behind other words, and returns that.
    fn says(&mut self, before: &str) -> String {
        let found = self.lines.find_map(|line| {
            let (_before, rest) = line.split_once(before)?;
            Some(rest.split([' ', ',']).next().unwrap_or_default().to_owned())
        });
        found.unwrap_or_else(|| panic!("it does not say `{before}`"))
    }

    /// Waits until it has ended well, and returns what else it said.
    fn ends(mut self) -> String {
        drop(self.process.stdin.take());
        let rest: Vec<String> = self.lines.by_ref().collect();
        let rest = rest.join("\n");
        assert!(self.process.wait().unwrap().success(), "{rest}");
        rest
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _already_dead = self.process.kill();
        let _already_waited = self.process.wait();
    }
}

#[test]
fn a_browser_that_login_opens_signs_in_for_the_runs_after_it_until_logout() {
    let provider = OidcProvider::start();
    let server = with_provider(provider.url(), &json!({}));
    // What it opens tells the page; a real browser goes there.
    let (program, pages) = (server.place().join("browser"), server.place().join("page"));
    assert!(Command::new("mkfifo").arg(&pages).status().unwrap().success());
    fs::write(&program, format!("#!/bin/sh\nprintf %s \"$1\" > {}\n", pages.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let login = dbt(&server, &["login", "--browser"], &[("BROWSER", &program)]);
    let login = Waiting::start(login);
    let seen = sign_in("alice", &fs::read_to_string(&pages).unwrap(), Place::Here);
    assert!(seen.text.contains("You can close this page"), "{seen:?}");
    let subject = format!("oidc:{}#alice", provider.url());
    let ended = login.ends();
    assert!(ended.contains(&format!("signed in to the server `acme` as {subject}")), "{ended}");

    runs_the_tool(&server, &[]);
    let shown = run(&server, &["whoami"], &[]);
    assert!(shown.contains(&format!("known as: {subject}\n")), "{shown}");
    assert!(shown.contains("e-mail: alice@example.com\n"), "{shown}");
    let kept = fs::read_to_string(server.home().join(".dbt/state/tokens.json")).unwrap();
    let kept = refresh_token_in(&serde_json::from_str(&kept).unwrap()).unwrap();
    run(&server, &["logout"], &[]);
    // Also at the provider.
    let form = format!("client_id={CLIENT}&grant_type=refresh_token&refresh_token={kept}");
    assert!(provider.refuses("/token", &form).contains("invalid_grant"));
    let refused = dbt(&server, &["whoami"], &[]).output().unwrap();
    assert_eq!(refused.status.code(), Some(83), "{}", said(&refused));
}

/// Finds what gets the next token, wherever it is kept.
fn refresh_token_in(kept: &Value) -> Option<String> {
    match kept {
        Value::Object(members) => {
            let is_it = |(name, _): &(&String, &Value)| name.to_lowercase().starts_with("refresh");
            let own = members.iter().find(is_it).and_then(|(_name, value)| value.as_str());
            let own = own.map(str::to_owned);
            own.or_else(|| members.values().find_map(refresh_token_in))
        }
        Value::Array(values) => values.iter().find_map(refresh_token_in),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[test]
fn where_no_browser_opens_the_address_of_another_is_pasted() {
    let provider = OidcProvider::start();
    let server = with_provider(provider.url(), &json!({}));
    let mut login = Waiting::start(dbt(&server, &["login", "--browser"], &[]));
    let page = login.says(", open ");
    let seen = sign_in("bob", &page, Place::Elsewhere);
    let mut stdin = login.process.stdin.take().unwrap();
    // Half of it first, as it happens.
    let half = &seen.address[..seen.address.find("state=").unwrap()];
    writeln!(stdin, "{half}").unwrap();
    login.says("what was pasted is not the address that this sign-in leads to");
    writeln!(stdin, "{}", seen.address).unwrap();
    let ended = login.ends();
    assert!(ended.contains(&format!("as oidc:{}#bob", provider.url())), "{ended}");
    runs_the_tool(&server, &[]);
}

#[test]
fn a_code_that_login_shows_is_confirmed_at_both_providers() {
    let provider = OidcProvider::start();
    let server = with_provider(provider.url(), &json!({}));
    let mut login = Waiting::start(dbt(&server, &["login", "--device"], &[]));
    let page = login.says("or open ");
    let seen = sign_in("alice", &page, Place::Elsewhere);
    assert!(seen.text.contains("Sign-in Success"), "{seen:?}");
    let ended = login.ends();
    assert!(ended.contains(&format!("as oidc:{}#alice", provider.url())), "{ended}");

    let provider = Glewlwyd::start();
    let server = with_provider(&provider.issuer(), &json!({}));
    let mut login = Waiting::start(dbt(&server, &["login", "--device"], &[]));
    let page = login.says("or open ");
    provider.alice().go_on_at(&page);
    let ended = login.ends();
    assert!(ended.contains(&format!("as oidc:{}#", provider.issuer())), "{ended}");
    runs_the_tool(&server, &[]);
}

#[test]
fn a_key_of_each_kind_signs_in_where_the_provider_exchanges_plain_tokens() {
    let (provider, agent) = (OidcProvider::start(), Agent::start());
    let server = with_provider(provider.url(), &json!({}));
    for (name, kind) in KINDS {
        provider.trust(name, &agent.key(name, kind));
        let keys = json!({"username": name, "pubkeypath": agent.public_file(name)});
        configure(&server, provider.url(), &keys);
        fs::remove_file(server.home().join(".dbt/state/tokens.json")).ok();
        let socket = agent.socket();
        // No person is needed.
        runs_the_tool(&server, &[("SSH_AUTH_SOCK", &socket)]);
        let shown = run(&server, &["whoami"], &[]);
        let subject = format!("known as: oidc:{}#{name}\n", provider.url());
        assert!(shown.contains(&subject), "{shown}");
    }
    // Somebody else's name.
    let keys = json!({"username": "rsa", "pubkeypath": agent.public_file("p256")});
    configure(&server, provider.url(), &keys);
    fs::remove_file(server.home().join(".dbt/state/tokens.json")).unwrap();
    let socket = agent.socket();
    let refused = dbt(&server, &["whoami"], &[("SSH_AUTH_SOCK", &socket)]).output().unwrap();
    assert_eq!(refused.status.code(), Some(83), "{}", said(&refused));
    assert!(said(&refused).contains("accepts none of your keys: SHA256:"), "{}", said(&refused));
    assert!(!server.home().join(".dbt/state/tokens.json").exists());
}

#[test]
fn a_key_of_each_kind_signs_in_at_the_connector_of_a_dex() {
    let kinds = KINDS.into_iter().chain([P521]);
    let agents: Vec<_> = kinds.map(|(name, kind)| (name, Agent::start(), kind)).collect();
    let users = agents.iter().map(|(name, agent, kind)| User {
        name: (*name).to_owned(),
        keys: vec![agent.key(name, kind)],
        groups: vec!["staff".to_owned()],
    });
    let dex = Dex::start(users.collect(), &[CLIENT]);
    let keys = json!({"connectorId": CONNECTOR, "oidcAudience": CLIENT});
    let server = with_provider(&dex.url(), &keys);
    for (name, agent, _kind) in &agents {
        fs::remove_file(server.home().join(".dbt/state/tokens.json")).ok();
        dex.take_asked();
        let socket = agent.socket();
        let said = run(&server, &["login", "--ssh"], &[("SSH_AUTH_SOCK", &socket)]);
        assert!(said.contains(&format!("signed in to the server `acme` as oidc:{}#Cg", dex.url())));
        let asked = dex.take_asked();
        let posts = asked.iter().filter(|asked| asked.request.method == "POST").count();
        assert_eq!(posts, 1, "one exchange for {name}");
        let shown = run(&server, &["whoami"], &[("SSH_AUTH_SOCK", &socket)]);
        assert!(shown.contains(&format!("e-mail: {name}@example.com\n")), "{shown}");
        assert!(shown.contains(&format!("groups: {}#staff\n", dex.url())), "{shown}");
        runs_the_tool(&server, &[("SSH_AUTH_SOCK", &socket)]);
    }
    // A key that it does not know, before one that it does.
    let (_name, agent, _kind) = &agents[0];
    let known = agent.public_file("ed25519").with_extension("");
    let both = Agent::start();
    both.key("stranger", &["-t", "ed25519"]);
    fs::remove_file(server.home().join(".dbt/state/tokens.json")).unwrap();
    let alone = both.socket();
    let refused = dbt(&server, &["hello"], &[("SSH_AUTH_SOCK", &alone)]).output().unwrap();
    assert!(said(&refused).contains("accepts none of your keys: SHA256:"), "{}", said(&refused));
    dex.take_asked();
    let added = Command::new("ssh-add").arg(known).env("SSH_AUTH_SOCK", &alone).output().unwrap();
    assert!(added.status.success(), "{added:?}");
    run(&server, &["login", "--ssh"], &[("SSH_AUTH_SOCK", &alone)]);
    assert_eq!(dex.take_asked().len(), 2, "one for each key");
}
