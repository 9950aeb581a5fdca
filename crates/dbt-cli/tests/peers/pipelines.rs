//! The pipelines of docs/trusted-publishing.md with the real programs, as GitHub, GitLab and others
//! run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::UNIX_EPOCH;

use dbt_core::clock::Clock;
use dbt_testkit::identity_provider::{IdentityProvider, SigningKey};
use serde_json::{Value, json};

use crate::network::Network;
use crate::reposerver::{Reposerver, TOKEN};

const PAGE: &str = include_str!("../../../../docs/trusted-publishing.md");

/// The server of the page.
const URL: &str = "https://dbt.example.com";

/// Returns the first block of a language behind a heading.
fn block(heading: &str, language: &str) -> String {
    let section = PAGE.split(&format!("## {heading}\n")).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let block = section.split(&format!("```{language}\n")).nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

/// Returns the folded text (`>-`) behind the beginning of a line of a pipeline, as YAML has it.
fn folded(pipeline: &str, begin: &str) -> String {
    let text = pipeline.split(&format!("{begin} >-\n")).nth(1).unwrap();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let depth = indent(text);
    let lines = text.lines().take_while(|line| indent(line) >= depth);
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

/// A CI system, and a server with the rule of the page about its jobs.
pub(crate) struct World {
    key: SigningKey,
    system: IdentityProvider,
    pub(crate) network: Network,
    pub(crate) server: Reposerver,
}

impl World {
    pub(crate) fn new(mut rule: Value) -> Self {
        let (key, network) = (SigningKey::rsa("key"), Network::start());
        let system = IdentityProvider::start(&[&key]);
        rule["issuer"] = system.url().into();
        let server = Reposerver::with(&json!({
            "publicUrls": [network.url()], "auth": {"federation": {"rules": [rule]}},
        }));
        network.lead_to(server.root());
        Self { key, system, network, server }
    }

    /// Returns the identity of a job, for this server.
    pub(crate) fn identity(&self, mut claims: Value) -> String {
        let now = Clock::System.now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        for (claim, value) in [
            ("iss", json!(self.system.url())),
            ("aud", json!(self.network.url())),
            ("iat", json!(now)),
            ("exp", json!(now + 300)),
        ] {
            claims[claim] = value;
        }
        self.key.token(&claims)
    }

    /// Lets GitHub have this identity for a job, and returns where the job asks for it.
    pub(crate) fn asked_at(&self, identity: &str) -> String {
        let audience = self.network.url().replace(':', "%3A").replace('/', "%2F");
        let asked = format!("/token?api-version=2.0&audience={audience}");
        self.system.say(&asked, &json!({"value": identity}));
        format!("{}/token?api-version=2.0", self.system.url())
    }

    /// Runs a script that is about a tool as a job does.
    fn runs(&self, script: &str, tool: &str, variables: &[(&str, &str)]) -> Output {
        fs::write(self.server.place().join(tool), "#!/bin/sh\necho hello\n").unwrap();
        self.runs_in(self.server.place(), script, variables)
    }

    /// Runs a script as a job does that has checked a project out here.
    pub(crate) fn runs_in(
        &self,
        project: &Path,
        script: &str,
        variables: &[(&str, &str)],
    ) -> Output {
        let script = script.replace(URL, &self.network.url());
        let key = self.server.key();
        let key = fs::read_to_string(key.strip_prefix("file:").unwrap()).unwrap();
        let home = self.server.place().join("job");
        fs::create_dir_all(&home).unwrap();
        let programs = Path::new(env!("CARGO_BIN_EXE_dbt")).parent().unwrap();
        let output = Command::new("sh")
            .args(["-e", "-c", &script])
            .current_dir(project)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", programs.display()))
            .env("HOME", &home)
            .env("SIGNING_KEY", key)
            .env("DBT_SIGNING_PASSPHRASE", "correct horse battery staple")
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let left: Vec<PathBuf> = dbt_testkit::planted::files_below(&home);
        assert!(left.is_empty(), "{left:?}");
        output
    }

    /// Runs a script that publishes a tool, and looks that it is there.
    fn publishes(&self, script: &str, tool: &str, variables: &[(&str, &str)]) {
        let output = self.runs(script, tool, variables);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
        let published = self.server.served().join("dbt-tools").join(tool).join("1.0.0");
        for file in ["description.txt.asc", &format!("linux/amd64/{tool}.sha256")] {
            assert!(published.join(file).is_file(), "{file}");
        }
    }
}

#[test]
fn the_workflow_for_github_publishes() {
    let (world, identity_url) = github();
    let script = folded(&block("GitHub Actions", "yaml"), "- run:");
    world.publishes(&script, "deploy", &variables_of(&identity_url));
}

#[test]
fn a_job_stages_without_a_key_and_a_person_is_told_of_which_run_it_is() {
    let (world, identity_url) = github();
    let script = folded(&block("GitHub Actions", "yaml"), "- run:");
    let script = script.replace("publisher publish", "publisher stage");
    let script = script.replace(" --signer env:SIGNING_KEY", "");
    let staged = world.runs(&script, "deploy", &variables_of(&identity_url));
    let said = String::from_utf8(staged.stderr).unwrap();
    let (day, rest) = said.split_once(" is kept until ").unwrap().1.split_once(", ").unwrap();
    assert!(
        day.len() == "2026-11-30".len() && rest.starts_with("and nobody sees it yet"),
        "{said}"
    );
    let published = world.server.served().join("dbt-tools/deploy");
    assert!(!published.exists(), "nobody sees it");

    let (root, key) = (world.server.root().to_owned(), world.server.key());
    let words = ["sign", "deploy", "1.0.0", "--to", &root, "--signer", &key, "--yes"];
    let signed = world.server.publisher_as(&words, ("DBT_PUBLISH_TOKEN", Path::new(TOKEN)));
    let said = String::from_utf8(signed.stderr).unwrap();
    assert!(signed.status.success(), "{said}");
    for words in ["`deploy` 1.0.0, staged by `", "run 7 of `acme/deploy`", "description  deploys"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    for file in ["description.txt.asc", "linux/amd64/deploy.asc"] {
        assert!(published.join("1.0.0").join(file).is_file(), "{file}");
    }
}

/// Returns what asks GitHub for the identity of a job.
pub(crate) fn variables_of(identity_url: &str) -> [(&str, &str); 2] {
    [
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "planted-bearer"),
        ("ACTIONS_ID_TOKEN_REQUEST_URL", identity_url),
    ]
}

/// Returns a world in which a job of the page's repository runs, and where it gets its identity.
fn github() -> (World, String) {
    let settings: Value =
        serde_json::from_str(PAGE.split("```json\n").nth(1).unwrap().split("```").next().unwrap())
            .unwrap();
    let world = World::new(settings["auth"]["federation"]["rules"][0].clone());
    let file = "acme/deploy/.github/workflows/release.yml@refs/tags/v1";
    let identity = world.identity(json!({
        "sub": "repo:acme/deploy:environment:production", "jti": "one", "repository": "acme/deploy",
        "repository_owner_id": "1234", "environment": "production", "event_name": "push",
        "run_id": "7", "workflow_ref": file, "job_workflow_ref": file,
    }));
    let asking = world.asked_at(&identity);
    (world, asking)
}

#[test]
fn the_pipeline_for_gitlab_publishes() {
    let world = World::new(serde_json::from_str(&block("GitLab", "json")).unwrap());
    let identity = world.identity(json!({
        "sub": "project_path:acme/deploy:ref_type:branch:ref:main", "namespace_id": "72",
        "project_path": "acme/deploy", "pipeline_id": "1", "job_id": "302", "ref_protected": "true",
        "pipeline_source": "push", "environment": "production",
        "ci_config_ref_uri": "gitlab.example.com/acme/deploy//.gitlab-ci.yml@refs/heads/main",
    }));
    let pipeline = block("GitLab", "yaml");
    assert!(pipeline.contains(&format!("DBT_ID_TOKEN:\n      aud: {URL}\n")), "{pipeline}");
    world.publishes(&folded(&pipeline, "-"), "deploy", &[("DBT_ID_TOKEN", &identity)]);
}

#[test]
fn the_script_for_any_other_system_publishes() {
    let world = World::new(serde_json::from_str(&block("Any other issuer", "json")).unwrap());
    let identity = world.identity(json!({
        "sub": "https://jenkins.example.com/job/nightly/", "build_number": 1,
    }));
    let file = world.server.place().join("identity");
    fs::write(&file, identity).unwrap();
    let script = block("Any other issuer", "sh");
    let script = script.replace("/run/secrets/identity", file.to_str().unwrap());
    world.publishes(&script, "nightly-build", &[]);
}
