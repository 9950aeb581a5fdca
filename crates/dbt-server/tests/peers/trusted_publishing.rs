//! The exchange as docs/trusted-publishing.md has it with curl and jq, as GitHub and GitLab run it.

use std::path::Path;
use std::process::{Command, Output};

use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use serde_json::{Value, json};

use crate::tokens::now;
use crate::world::Server;

const PAGE: &str = include_str!("../../../../docs/trusted-publishing.md");
const URL: &str = "https://dbt.example.com";
const ARTIFACT: &str = "/dbt-tools/deploy/1.0.0/linux/amd64/deploy";

/// Returns the blocks of a language behind a heading.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let section = PAGE.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

/// Returns the scripts with curl: for jobs of GitHub, and for who has an identity in a variable.
fn scripts() -> [String; 2] {
    blocks("The exchange", "sh").try_into().unwrap()
}

/// Starts a server with a rule of the page, about the jobs of a provider.
fn server(provider: &IdentityProvider, mut rule: Value) -> Server {
    rule["issuer"] = provider.url().into();
    let federation = json!({"rules": [rule]});
    Server::with(&format!(
        r#""authTypePut": "api-token", "publicUrls": ["{URL}"], "auth": {{"federation": {federation}}}"#
    ))
}

fn identity(provider: &IdentityProvider, key: &SigningKey, claims: &Value) -> String {
    let mut claims = claims.clone();
    for (claim, value) in [
        ("iss", json!(provider.url())),
        ("aud", json!(URL)),
        ("iat", json!(now())),
        ("exp", json!(now() + 300)),
    ] {
        claims[claim] = value;
    }
    key.token(&claims)
}

/// Runs a script as a job does, with the file that it publishes in its directory.
fn run(server: &Server, script: &str, variables: &[(&str, &str)], shell: &str) -> Output {
    // What speaks to the server speaks to this one; what names the audience stays.
    let script = script.replace(&format!("{URL}/"), &format!("http://{}/", server.address));
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("deploy"), b"artifact").unwrap();
    run_in(directory.path(), &script, variables, shell)
}

fn run_in(directory: &Path, script: &str, variables: &[(&str, &str)], shell: &str) -> Output {
    let mut command = Command::new(shell);
    // As GitHub runs them.
    command.args(["-e", "-c", script]).current_dir(directory).env_clear();
    command.env("PATH", "/usr/bin:/bin").envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn the_script_for_github_publishes() {
    let key = SigningKey::rsa("key");
    let provider = IdentityProvider::start(&[&key]);
    let settings: Value =
        serde_json::from_str(PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap())
            .unwrap();
    let server = server(&provider, settings["auth"]["federation"]["rules"][0].clone());
    let file = "acme/deploy/.github/workflows/release.yml@refs/tags/v1";
    let claims = json!({
        "sub": "repo:acme/deploy:environment:production", "jti": "one", "repository": "acme/deploy",
        "repository_owner_id": "1234", "environment": "production", "event_name": "push",
        "run_id": "7", "workflow_ref": file, "job_workflow_ref": file,
    });
    let token = identity(&provider, &key, &claims);
    server.keep_secret(&token);
    // What the runner asks for the identity, with the audience behind it.
    provider.say(&format!("/token?api-version=2.0&audience={URL}"), &json!({"value": token}));
    let [script, _] = scripts();
    let asking = format!("{}/token?api-version=2.0", provider.url());
    let variables = [
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "planted-bearer"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", asking.as_str()),
    ];
    let output = run(&server, &script, &variables, "bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("::add-mask::dbt_tp_"));
    assert_eq!(server.drafts().iter().filter(|path| path.ends_with("/deploy")).count(), 1);
    // Who has nothing but its identity gets nothing for it.
    let thief = run(&server, &script, &variables, "bash");
    assert!(!thief.status.success());
    assert!(String::from_utf8_lossy(&thief.stderr).contains("409"), "{thief:?}");
    // The next job has another, and uploads the same.
    let mut next = claims;
    next["jti"] = "two".into();
    let token = identity(&provider, &key, &next);
    server.keep_secret(&token);
    provider.say(&format!("/token?api-version=2.0&audience={URL}"), &json!({"value": token}));
    let again = run(&server, &script, &variables, "bash");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn the_script_for_gitlab_publishes() {
    let key = SigningKey::rsa("key");
    let provider = IdentityProvider::start(&[&key]);
    let rule = blocks("GitLab", "json").remove(0).parse().unwrap();
    let server = server(&provider, rule);
    let token = identity(
        &provider,
        &key,
        &json!({
            "sub": "project_path:acme/deploy:ref_type:branch:ref:main", "namespace_id": "72",
            "project_path": "acme/deploy", "pipeline_id": "1", "job_id": "302", "ref_protected": "true",
            "pipeline_source": "push", "environment": "production",
            "ci_config_ref_uri": "gitlab.example.com/acme/deploy//.gitlab-ci.yml@refs/heads/main",
        }),
    );
    server.keep_secret(&token);
    let [_, script] = scripts();
    for _attempt in 0..2 {
        let output = run(&server, &script, &[("DBT_ID_TOKEN", &token)], "sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(script.contains(ARTIFACT));
    assert_eq!(server.drafts().iter().filter(|path| path.ends_with("/deploy")).count(), 1);
}
