//! Signing in at real identity providers, and what `reposerver` makes of their tokens.

mod glewlwyd;
mod oidc_provider;
mod programs;

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dbt_client::oidc::browser::{self, Invitation};
use dbt_client::oidc::{Addresses, Channel, Client, OidcError, Pace, Provider, Tokens};
use dbt_client::settings::Network;
use dbt_client::source::{Cancel, Connector};
use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_core::secret::Secret;
use dbt_testkit::oidc_provider::CLIENT;
use serde_json::{Value, json};

use crate::reposerver::Reposerver;

/// How long is waited for somebody who does come.
const LONG: Duration = Duration::from_mins(1);

/// Starts a server that takes the ID tokens of a provider from everybody to read, and from publishers
/// to write.
fn server_of(issuer: &str) -> Reposerver {
    let oidc = |groups: &[&str]| json!({"issuerUrl": issuer, "audiences": [CLIENT], "allowedGroups": groups});
    let server = Reposerver::with(&json!({
        "authGets": true, "authTypeGet": "static-token,oidc", "authTypePut": "static-token,oidc",
        "authOptsGet": {"staticToken": "a-token-for-this-test-alone", "oidc": oidc(&[])},
        "authOptsPut": {"staticToken": "a-token-for-this-test-alone", "oidc": oidc(&["publishers"])},
    }));
    let root = server.root();
    let entry = json!({
        "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
    });
    let file = server.home().join(".dbt/conf/dbt.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, json!({"servers": {"acme": entry}}).to_string()).unwrap();
    server
}

/// Returns as whom the server knows who shows this token; nothing if it refuses it.
fn known_as(server: &Reposerver, token: &Secret<String>) -> Option<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_dbt"))
        .args(["whoami", "--json"])
        .env_clear()
        .env("HOME", server.home())
        .env("PATH", "/usr/bin:/bin")
        .env("DBT_REPO_TOKEN", token.expose())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.success(), !shown["identity"].is_null(), "{output:?}");
    output.status.success().then(|| shown["identity"].clone())
}

/// Returns groups as the server knows them: those of one provider are not those of another.
fn groups(issuer: &str, names: &[&str]) -> Value {
    names.iter().map(|name| format!("{issuer}#{name}")).collect()
}

/// Publishes a version of a tool with this token.
fn publish(server: &Reposerver, version: &str, token: &Secret<String>) -> Output {
    let script = server.place().join("hello");
    fs::write(&script, "#!/bin/sh\necho hello\n").unwrap();
    let artifact = format!("{}={}", Platform::CURRENT, script.display());
    let (signer, root) = (server.key(), server.root().to_owned());
    let mut words = vec!["publish", "hello", version, &artifact, "--description", "says hello"];
    words.extend(["--to", &root, "--signer", &signer]);
    server.publisher_as(&words, ("DBT_PUBLISH_TOKEN", token.expose().as_ref()))
}

fn channel() -> Channel {
    let connector = Connector::new(&Network::default(), None, "dbt/4.0.0");
    Channel::new(&connector, Clock::System, 1.0)
}

fn discovered(issuer: &str) -> Provider {
    Provider::discover(&channel(), &Addresses::of(issuer.parse().unwrap())).unwrap()
}

fn client() -> Client {
    Client { id: CLIENT.to_owned(), secret: None, audience: None }
}

/// Signs in with a browser, at which a person does something in the meantime.
fn with_browser(
    issuer: &str,
    person: impl FnOnce(&Invitation<'_>) + Send,
) -> Result<Tokens, OidcError> {
    let (provider, cancel) = (discovered(issuer), Cancel::default());
    std::thread::scope(|scope| {
        let mut person = Some(person);
        let limit = (LONG, &cancel);
        browser::sign_in(&channel(), &provider, &client(), limit, &mut |invitation| {
            let person = person.take().unwrap();
            let (page, paste) = (invitation.page.to_owned(), invitation.paste.clone());
            scope.spawn(move || person(&Invitation { page: &page, paste }));
        })
    })
}

/// Time that goes by as it is asked for, and somebody who confirms a code in the second pause.
struct Hurry<'a> {
    pauses: std::cell::Cell<u32>,
    /// Whether the provider wants the pauses to be real.
    is_real: bool,
    confirm: &'a dyn Fn(),
}

impl Pace for Hurry<'_> {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn wait(&self, pause: Duration) -> bool {
        self.pauses.set(self.pauses.get() + 1);
        assert!(self.pauses.get() < 10, "nobody is let in");
        if self.is_real {
            std::thread::sleep(pause);
        }
        if self.pauses.get() == 2 {
            (self.confirm)();
        }
        true
    }
}
