//! What `reposerver` and `publisher` say of a server (`/.well-known/dbt.json`), and what
//! `dbt server add` makes of it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::UNIX_EPOCH;

use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use dbt_testkit::server::FileServer;
use serde_json::{Value, json};

use crate::network::Network;
use crate::reposerver::{PASSPHRASE, Reposerver, TOKEN, built};

/// Prepares to run dbt in a home of its own.
fn dbt(home: &Path) -> Command {
    command(Path::new(env!("CARGO_BIN_EXE_dbt")), home)
}

fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    command
}

/// Runs dbt on a terminal of its own, where somebody types; returns what is on it.
fn on_terminal(home: &Path, words: &str, typed: &str) -> String {
    let (input, line) = (home.join("typed"), format!("{} {words}", env!("CARGO_BIN_EXE_dbt")));
    fs::write(&input, typed).unwrap();
    let mut command = command(Path::new("script"), home);
    command.args(["-qec", &line, "/dev/null"]).env("SHELL", "/bin/sh").env("NO_COLOR", "1");
    shown(&command.stdin(fs::File::open(input).unwrap()).output().unwrap())
}

/// Returns what a program that ended well has said.
#[track_caller]
fn shown(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{said:?}");
    said.concat()
}

fn server_in_config(home: &Path, name: &str) -> Value {
    let config = fs::read(home.join(".dbt/conf/dbt.json")).unwrap();
    let config: Value = serde_json::from_slice(&config).unwrap();
    config["servers"][name].clone()
}

fn home_in(server: &Reposerver) -> std::path::PathBuf {
    let home = server.place().join("reader");
    fs::create_dir(&home).unwrap();
    home
}

#[test]
fn a_server_is_added_with_the_urls_under_which_it_wants_to_be_known() {
    let network = Network::start();
    let server = Reposerver::with(&json!({"publicUrls": [network.url()]}));
    network.lead_to(server.root());
    server.publish("hello", "1.0.0", "echo hello");
    let home = home_in(&server);
    // Not under that URL, so that what it says can be told from what is usual.
    shown(&dbt(&home).args(["server", "add", "work", server.root(), "--yes"]).output().unwrap());
    let entry = server_in_config(&home, "work");
    assert_eq!(entry["repository"], format!("{}/dbt", network.url()));
    assert_eq!(entry["toolsRepository"], format!("{}/dbt-tools", network.url()));
    assert_eq!(entry["truststore"], format!("{}/dbt/truststore", network.url()));
    assert!(entry["trust"]["tools"].is_array() && entry["issuerUrl"].is_null(), "{entry}");
    assert_eq!(shown(&dbt(&home).arg("hello").output().unwrap()), "hello\n");
}

#[test]
fn where_reads_need_a_sign_in_that_is_taken_over_and_leads_to_a_tool() {
    let (key, network) = (SigningKey::p256("key"), Network::start());
    let provider = IdentityProvider::start(&[&key]);
    let url = network.url();
    let server = Reposerver::with(&json!({
        "publicUrls": [url], "authGets": true, "authTypeGet": "oidc,static-token",
        "authOptsGet": {"staticToken": TOKEN, "oidc": {"issuerUrl": provider.url()}},
        "announce": {"oidcClientId": "dbt-cli"},
    }));
    network.lead_to(server.root());
    server.publish("hello", "1.0.0", "echo hello");
    let home = home_in(&server);
    let announced = [
        ("authType", "oidc".to_owned()),
        ("issuerUrl", provider.url()),
        ("oidcAudience", url.clone()),
        ("oidcClientId", "dbt-cli".to_owned()),
    ];

    // Whoever says yes beforehand has not said that.
    let mut nobody = command(Path::new("setsid"), &home);
    nobody.args(["-w", env!("CARGO_BIN_EXE_dbt"), "server", "add", "alone", &url, "--yes"]);
    let said = shown(&nobody.output().unwrap());
    let keys = announced.each_ref().map(|(key, _value)| *key).join("`, `");
    assert!(said.contains(&format!("is left out, since nobody is there to be asked: `{keys}`")));
    assert!(said.contains("sign in with `dbt -s alone login`"), "{said}");
    assert!(announced.iter().all(|(key, _)| server_in_config(&home, "alone")[*key].is_null()));
    shown(&dbt(&home).args(["server", "remove", "alone"]).output().unwrap());

    let said = on_terminal(&home, &format!("server add work {url}"), "y\ny\n");
    let entry = server_in_config(&home, "work");
    for (key, value) in &announced {
        assert!(said.contains(&format!("{key}: {value}")), "{key}: {said}");
        assert_eq!(entry[*key], value.as_str(), "{key}");
    }
    assert!(said.contains("sign in with `dbt -s work login`"), "{said}");

    let now = Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let token = key.token(&json!({
        "iss": provider.url(), "sub": "alice", "aud": url, "iat": now, "exp": now + 300,
    }));
    let typed = home.join("token");
    fs::write(&typed, token).unwrap();
    let mut login = dbt(&home);
    login.args(["-s", "work", "login", "--token"]).stdin(fs::File::open(&typed).unwrap());
    let said = shown(&login.output().unwrap());
    assert!(said.contains("signed in to the server `work` as oidc:"), "{said}");
    let run = dbt(&home).arg("hello").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&run.stdout), "hello\n", "{run:?}");
}

#[test]
fn a_directory_on_a_static_host_says_where_it_is_served() {
    let place = tempfile::Builder::new().prefix("a").tempdir_in("/tmp").unwrap();
    let (served, home) = (place.path().join("served"), place.path().join("home"));
    for directory in [&served, &home] {
        fs::create_dir(directory).unwrap();
    }
    let (public, mirror) = (FileServer::start(&served), FileServer::start(&served));
    public.show_pages_only();
    mirror.show_pages_only();
    fs::write(place.path().join("script"), "#!/bin/sh\necho hello\n").unwrap();
    let (platform, url) = (Platform::CURRENT, public.url());
    for line in [
        "key generate demo --email demo@example.org".to_owned(),
        "truststore add demo --to served --signer file:demo".to_owned(),
        format!(
            "publish hello 1.0.0 {platform}=script --description says --to served --signer file:demo \
             --public-url {url}/"
        ),
    ] {
        let mut publisher = command(&built("publisher"), &home);
        publisher.args(line.split_whitespace()).current_dir(place.path());
        shown(&publisher.env("DBT_SIGNING_PASSPHRASE", PASSPHRASE).output().unwrap());
    }
    let added =
        dbt(&home).args(["server", "add", "site", &mirror.url(), "--yes"]).output().unwrap();
    shown(&added);
    let entry = server_in_config(&home, "site");
    assert_eq!(entry["toolsRepository"], format!("{url}/dbt-tools"));
    mirror.take_requests();
    assert_eq!(shown(&dbt(&home).arg("hello").output().unwrap()), "hello\n");
    assert!(mirror.take_requests().is_empty());
}
