//! A job of GitLab: it has one identity, which its two containers show, each with nothing else.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use dbt_core::clock::Clock;
use dbt_core::platform::Platform;
use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use serde_json::json;

use crate::network::Network;
use crate::reposerver::Reposerver;

/// Runs a program in a container: with a home of its own, and the job's identity.
fn in_container(home: &Path, program: &str, words: &[&str], identity: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_dbt")).with_file_name(program);
    Command::new(program)
        .args(words)
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/usr/bin:/bin")
        .env("CI", "true")
        .env("GITLAB_CI", "true")
        .env("DBT_ID_TOKEN", identity)
        .env("DBT_SIGNING_PASSPHRASE", "correct horse battery staple")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn one_job_in_two_containers_reads_twice_and_publishes_once_though_an_answer_is_lost() {
    let (key, network) = (SigningKey::rsa("key"), Network::start());
    let gitlab = IdentityProvider::start(&[&key]);
    let rule = json!({
        "name": "release from GitLab", "issuer": gitlab.url(), "replay": "until-expiry",
        "claims": {"namespace_id": "72", "project_path": "acme/hello", "ref_protected": true},
        "workflow": ".gitlab-ci.yml", "tools": ["hello", "base"], "permits": ["publish"],
    });
    let server = Reposerver::with(&json!({
        "authGets": true, "authTypeGet": "static-token", "publicUrls": [network.url()],
        "authOptsGet": {"staticToken": "a-token-for-this-test-alone"},
        "auth": {"federation": {"rules": [rule]}},
    }));
    network.lead_to(server.root());
    server.publish("base", "1.0.0", "echo base");
    let now = Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let identity = key.token(&json!({
        "iss": gitlab.url(), "aud": network.url(), "iat": now, "exp": now + 300, "jti": "one",
        "sub": "project_path:acme/hello:ref_type:branch:ref:main", "namespace_id": "72",
        "project_path": "acme/hello", "pipeline_id": "1", "pipeline_source": "push",
        "job_id": "302", "ref": "main", "ref_type": "branch", "ref_protected": "true",
        "ci_config_ref_uri": "gitlab.example.com/acme/hello//.gitlab-ci.yml@refs/heads/main",
    }));
    let homes = [server.place().join("one"), server.place().join("two")];
    let url = network.url();
    for home in &homes {
        let file = home.join(".dbt/conf/dbt.json");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let entry = json!({
            "repository": format!("{url}/dbt"), "toolsRepository": format!("{url}/dbt-tools"),
        });
        fs::write(&file, json!({"servers": {"acme": entry}}).to_string()).unwrap();
        let read = in_container(home, "dbt", &["base"], &identity);
        assert_eq!(read.stdout, b"base\n", "{read:?}");
    }
    assert_eq!(network.exchanges.load(Ordering::SeqCst), 2, "each container has asked once");

    network.loses.store(true, Ordering::SeqCst);
    let script = server.place().join("hello");
    fs::write(&script, "#!/bin/sh\necho hello\n").unwrap();
    let artifact = format!("{}={}", Platform::CURRENT, script.display());
    let signer = server.key();
    let mut words = vec!["publish", "hello", "1.0.0", &artifact, "--description", "says hello"];
    words.extend(["--to", &url, "--signer", &signer]);
    let published = in_container(&homes[0], "publisher", &words, &identity);
    assert!(published.status.success(), "{published:?}");
    assert!(!network.loses.load(Ordering::SeqCst), "no answer was lost");
    assert!(network.exchanges.load(Ordering::SeqCst) > 3, "the exchange was asked for again");
    // The job is retried: what is there already is there.
    let again = in_container(&homes[1], "publisher", &words, &identity);
    assert!(again.status.success(), "{again:?}");
    let read = in_container(&homes[1], "dbt", &["hello"], &identity);
    assert_eq!(read.stdout, b"hello\n", "{read:?}");
    for name in ["one", "two"] {
        let kept = dbt_testkit::planted::files_below(&server.place().join(name));
        // What the job got ends with each of its processes.
        assert!(!kept.iter().any(|file| file.ends_with("tokens.json")), "{kept:?}");
        for file in &kept {
            let bytes = fs::read(file).unwrap_or_default();
            assert_eq!(dbt_testkit::planted::found_in(&bytes), None, "{}", file.display());
            let of_job = b"dbt_tp_";
            let is_there = bytes.windows(of_job.len()).any(|it| it == of_job);
            assert!(!is_there, "{} holds a token of the job", file.display());
        }
    }
}
