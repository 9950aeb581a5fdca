//! Signing in with a real ssh-agent at a real `reposerver`: to read, to publish, and to be refused.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use dbt_core::platform::Platform;
use dbt_testkit::server::FileServer;
use dbt_testkit::ssh_agent::Agent;
use serde_json::json;

use crate::reposerver::Reposerver;

const KINDS: [(&str, &[&str]); 4] = [
    ("ed25519", &["-t", "ed25519"]),
    ("rsa", &["-t", "rsa", "-b", "2048"]),
    ("p256", &["-t", "ecdsa", "-b", "256"]),
    ("p384", &["-t", "ecdsa", "-b", "384"]),
];

/// An agent with a key of each kind, and a server that knows them all as users of that name.
fn server_and_agent() -> (Reposerver, Agent, tempfile::TempDir) {
    let (agent, place) = (Agent::start(), tempfile::tempdir().unwrap());
    let user = |(name, kind): &(&str, &[&str])| json!({ "username": name, "publickey": agent.key(name, kind) });
    let users: Vec<_> = KINDS.iter().map(user).collect();
    let file = place.path().join("keys.json");
    fs::write(&file, json!({ "getUsers": users, "putUsers": users }).to_string()).unwrap();
    let server = Reposerver::with(&json!({
        "authGets": true, "authTypeGet": "static-token,ssh-agent-file",
        "authTypePut": "static-token,ssh-agent-file", "pubkeysFile": file,
        "authOptsGet": { "staticToken": "a-token-for-this-test-alone" },
    }));
    (server, agent, place)
}

/// Writes a configuration that names the key of a user.
fn configure(server: &Reposerver, agent: &Agent, user: &str) {
    let root = server.root();
    let config = json!({ "servers": { "acme": {
        "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
        "username": user, "pubkeypath": agent.public_file(user),
    } } });
    let file = server.home().join(".dbt/conf/dbt.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, config.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

fn dbt(server: &Reposerver, socket: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dbt"))
        .args(words)
        .env_clear()
        .env("HOME", server.home())
        .env("PATH", "/usr/bin:/bin")
        .env("SSH_AUTH_SOCK", socket)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_key_of_each_kind_publishes_and_runs_what_was_published() {
    let (server, agent, _place) = server_and_agent();
    let script = server.place().join("hello");
    fs::write(&script, "#!/bin/sh\necho hello\n").unwrap();
    let signer = server.key();
    for (index, (user, _kind)) in KINDS.iter().enumerate() {
        configure(&server, &agent, user);
        let version = format!("1.{index}.0");
        let artifact = format!("{}={}", Platform::CURRENT, script.display());
        let words = [
            "publish",
            "hello",
            &version,
            &artifact,
            "--description",
            "says hello",
            "-s",
            "acme",
            "--signer",
            &signer,
        ];
        let output = server.publisher_as(&words, ("SSH_AUTH_SOCK", &agent.socket()));
        assert!(output.status.success(), "{user}: {output:?}");
        let output = dbt(&server, &agent.socket(), &["-v", &version, "hello"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "hello\n", "{user}: {output:?}");
        let output = dbt(&server, &agent.socket(), &["whoami"]);
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(shown.contains(&format!("known as: ssh:{user}\n")), "{shown}");
        assert!(shown.contains("proved by: ssh\n"), "{shown}");
    }
}

#[test]
fn a_key_that_the_server_does_not_know_reads_nothing() {
    let (server, agent, _place) = server_and_agent();
    agent.key("stranger", &["-t", "ed25519"]);
    configure(&server, &agent, "stranger");
    for words in [&["hello"][..], &["whoami"], &["--auth-check"]] {
        let output = dbt(&server, &agent.socket(), words);
        assert_eq!(output.status.code(), Some(83), "{output:?}");
    }
    assert!(!server.home().join(".dbt/tools/hello").exists());
}

/// A hostile server is shown a token by its own client, and brings it to another server that knows
/// the same key.
#[test]
fn what_is_relayed_by_a_hostile_server_opens_no_other() {
    let (agent, place) = (Agent::start(), tempfile::tempdir().unwrap());
    let line = agent.key("ed25519", &["-t", "ed25519"]);
    let users = [json!({ "username": "ed25519", "publickey": line })];
    let file = place.path().join("keys.json");
    fs::write(&file, json!({ "getUsers": users, "putUsers": users }).to_string()).unwrap();
    let honest = Reposerver::with(&json!({
        "authGets": true, "authTypeGet": "static-token,ssh-agent-file",
        "authTypePut": "static-token,ssh-agent-file", "pubkeysFile": file,
        "authOptsGet": { "staticToken": "a-token-for-this-test-alone" },
        "publicUrls": ["http://localhost"],
    }));
    let hostile = FileServer::start(place.path());
    let configured = |root: &str| {
        let config = json!({ "servers": { "acme": {
            "repository": format!("{root}/dbt"), "toolsRepository": format!("{root}/dbt-tools"),
            "username": "ed25519", "pubkeypath": agent.public_file("ed25519"),
        } } });
        let file = honest.home().join(".dbt/conf/dbt.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, config.to_string()).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    };
    configured(&hostile.url());
    dbt(&honest, &agent.socket(), &["hello"]);
    let requests = hostile.take_requests();
    let shown = requests.iter().find_map(|it| it.request.header("token")).unwrap().to_owned();
    let relay = |path: &str| {
        let (host, port) = honest.root().strip_prefix("http://").unwrap().split_once(':').unwrap();
        let mut stream = TcpStream::connect((host, port.parse::<u16>().unwrap())).unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nToken: {shown}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    for path in ["/dbt/truststore", "/dbt-tools/", "/-/api/v1/whoami"] {
        let answer = relay(path);
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
        assert!(answer.contains("the token is for another server"), "{path}: {answer}");
    }
    // The same key opens it for its own client.
    let port = honest.root().rsplit(':').next().unwrap();
    configured(&format!("http://localhost:{port}"));
    let output = dbt(&honest, &agent.socket(), &["whoami"]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(shown.contains("known as: ssh:ed25519\n"), "{output:?}");
}
