//! docs/trusted-publishing.md: its rules are taken, and give the jobs that it is about what it says.

use serde_json::{Value, json};

use crate::oidc::Issuer;
use crate::trusted_publishing::{exchange, exchanged, github_claims, unique};
use crate::world::{Place, Server, looked_through};

const PAGE: &str = include_str!("../../../../docs/trusted-publishing.md");

/// Returns the blocks of JSON on the page, in order: whole settings, rules, and a line of settings.
fn blocks() -> Vec<Value> {
    let blocks = PAGE.split("```json\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = |text: &str| {
        let text = if text.starts_with('"') { format!("{{{text}}}") } else { text.to_owned() };
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    blocks.map(whole).collect()
}

/// Returns the block in which something has this name.
fn rule(name: &str) -> Value {
    let whole = blocks().into_iter();
    let mut rules = whole.flat_map(|block| match block["auth"]["federation"]["rules"].as_array() {
        Some(rules) => rules.clone(),
        None => vec![block],
    });
    rules.find(|rule| rule["name"] == name).unwrap_or_else(|| panic!("{name}"))
}

/// Starts a server with the first settings of the page and this rule, about the jobs of an issuer.
fn server(issuer: &Issuer, name: &str) -> Server {
    let mut settings = blocks().remove(0);
    let mut rule = rule(name);
    rule["issuer"] = issuer.url().into();
    settings["auth"]["federation"]["rules"] = json!([rule]);
    let members = settings.to_string();
    let members = members.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap();
    Server::with(members)
}

fn identity(issuer: &Issuer, claims: &Value) -> String {
    let sub = claims["sub"].as_str().unwrap_or("x").to_owned();
    issuer.token(&sub, claims)
}

fn put(server: &Server, line: &str, tool: &str) -> u16 {
    let path = format!("/dbt-tools/{tool}/1.0.0/linux/amd64/{tool}");
    server.send("PUT", &path, &[line], b"bytes").status
}

#[test]
fn the_rules_on_the_page_are_taken_as_they_are() {
    let place = Place::new().argument("check-config");
    let mut settings = blocks().remove(0);
    let (gitlab, other) = (rule("release from GitLab"), rule("nightly"));
    settings["auth"]["federation"]["rules"].as_array_mut().unwrap().extend([gitlab, other]);
    let mut issuers = blocks().pop().unwrap()["issuers"].take();
    // The file is the reader's own.
    issuers[0].as_object_mut().unwrap().remove("caFile").unwrap();
    settings["auth"]["federation"]["issuers"] = issuers;
    let members = settings.to_string();
    let members = members.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap();
    let output = looked_through(&mut place.command(members));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(said.contains("audience of jobs = https://dbt.example.com "), "{said}");
    assert!(!said.contains("is about jobs of"), "{said}");
    // Of one that leaves the branch open, it warns.
    settings["auth"]["federation"]["rules"] = json!([{
        "name": "wide", "issuer": "github", "claims": {"repository_owner_id": 1234},
        "tools": ["deploy"], "permits": ["publish"],
    }]);
    settings["auth"]["federation"].as_object_mut().unwrap().remove("issuers");
    let members = settings.to_string();
    let members = members.strip_prefix('{').and_then(|it| it.strip_suffix('}')).unwrap();
    let output = looked_through(&mut place.command(members));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("the rule `wide` of `auth.federation.rules` is about jobs of any branch"),
        "{said}"
    );
}

#[test]
fn what_the_page_says_of_github_is_so() {
    let issuer = Issuer::new();
    let server = server(&issuer, "release deploy");
    let job = |changes: Value| {
        let mut claims = github_claims();
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        exchange(&server, &identity(&issuer, &claims))
    };
    let job_of_the_page = exchanged(&server, &identity(&issuer, &github_claims()));
    assert_eq!(put(&server, &job_of_the_page, "deploy"), 201);
    assert_eq!(put(&server, &job_of_the_page, "other"), 403);
    for (claim, value) in [
        ("repository_owner_id", "4321"),
        ("environment", "staging"),
        ("event_name", "pull_request_target"),
        ("event_name", "workflow_run"),
        ("event_name", "pull_request"),
        ("event_name", "issue_comment"),
        ("event_name", "fork"),
    ] {
        let reply = job(json!({claim: value}));
        reply.is_refused(403, "forbidden");
        let detail = reply.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("the claim `{claim}` is `{value}`")), "{detail}");
    }
    let elsewhere = "acme/deploy/.github/workflows/test.yml@refs/heads/main";
    let named = json!({"workflow": "release.yml", "workflow_ref": elsewhere, "job_workflow_ref": elsewhere});
    job(named).is_refused(403, "forbidden");
    let answer = server.command_beside(&[
        "explain",
        "rule:release deploy",
        "PUT",
        "/dbt-tools/deploy/1.0.0/linux/amd64/deploy",
    ]);
    assert!(answer.contains("allowed: `rule:release deploy` may `create`"), "{answer}");
    assert!(
        answer.contains("refused: no rule permits `rule:release deploy` to `replace`"),
        "{answer}"
    );
}

#[test]
fn what_the_page_says_of_gitlab_is_so() {
    let issuer = Issuer::new();
    let server = server(&issuer, "release from GitLab");
    let claims = json!({
        "jti": unique(), "namespace_id": "72", "project_id": "20", "project_path": "acme/deploy",
        "pipeline_id": "574", "pipeline_source": "push", "job_id": "302", "ref": "main",
        "ref_protected": "true", "environment": "production", "sha": "714a629",
        "ci_config_ref_uri": "gitlab.example.com/acme/deploy//.gitlab-ci.yml@refs/heads/main",
    });
    let one = identity(&issuer, &claims);
    let (first, second) = (exchanged(&server, &one), exchanged(&server, &one));
    assert_eq!(first, second, "both containers have the same token");
    assert_eq!(put(&server, &first, "deploy"), 201);
    for (claim, value) in [
        ("pipeline_source", "merge_request_event"),
        ("pipeline_source", "external_pull_request_event"),
        ("pipeline_source", "parent_pipeline"),
        ("pipeline_source", "pipeline"),
        ("pipeline_source", "trigger"),
        ("ref_protected", "false"),
    ] {
        let mut changed = claims.clone();
        changed[claim] = value.into();
        exchange(&server, &identity(&issuer, &changed)).is_refused(403, "forbidden");
    }
}

#[test]
fn what_the_page_says_of_other_issuers_is_so() {
    let issuer = Issuer::new();
    let server = server(&issuer, "nightly");
    let sub = "https://jenkins.example.com/job/nightly/";
    let of_build = |number: u64| identity(&issuer, &json!({"sub": sub, "build_number": number}));
    let (one, two) = (of_build(1), of_build(2));
    let job = exchanged(&server, &one);
    assert_eq!(put(&server, &job, "nightly-build"), 201);
    assert_eq!(put(&server, &job, "deploy"), 403);
    assert_eq!(exchanged(&server, &one), job);
    assert_ne!(exchanged(&server, &two), job);
    for claims in [
        json!({"sub": sub}),
        json!({"sub": "https://jenkins.example.com/job/other/", "build_number": 1}),
    ] {
        exchange(&server, &identity(&issuer, &claims)).is_refused(403, "forbidden");
    }
}

/// Whoever has the identity knows all that it claims: with a key made of that they would have the token, too.
#[test]
fn the_key_on_the_page_is_made_of_nothing_that_others_know() {
    let keys: Vec<&str> = PAGE.split("Idempotency-Key: ").skip(1).collect();
    assert!(!keys.is_empty());
    for key in keys {
        let key = key.split_once("\" ").map_or("", |(key, _rest)| key);
        assert_eq!(key, "$(openssl rand -hex 16)");
    }
}

#[test]
fn every_key_of_the_schema_is_on_the_page_and_every_word_that_is_there_is_said() {
    let schema: Value =
        serde_json::from_str(include_str!("../../../../docs/reposerver.schema.json")).unwrap();
    let federation = &schema["properties"]["auth"]["properties"]["federation"]["properties"];
    for list in ["rules", "issuers"] {
        let keys = federation[list]["items"]["properties"].as_object().unwrap();
        assert!(keys.len() > 5, "{keys:?}");
        for key in keys.keys() {
            assert!(PAGE.contains(&format!("`{key}`")), "{list}: {key}");
        }
    }
    let issuer = Issuer::new();
    let server = server(&issuer, "release deploy");
    let row = |code: &str, words: &str| {
        let rows = PAGE.lines().filter(|line| line.starts_with(&format!("| {code}")));
        assert!(rows.into_iter().any(|line| line.contains(words)), "{code} {words}");
    };
    let refusal = |claims: Value| {
        let mut all = github_claims();
        for (claim, value) in claims.as_object().unwrap() {
            all[claim] = value.clone();
        }
        let reply = exchange(&server, &identity(&issuer, &all)).json();
        let code = reply["type"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
        (format!("{} `{code}`", reply["status"]), reply["detail"].as_str().unwrap().to_owned())
    };
    for (claims, words) in [
        (json!({"aud": "https://other.example.com"}), "it is for "),
        (json!({"exp": 1, "iat": 1}), "it expired "),
        (json!({"iss": "https://other.example.com"}), "the credential is not valid"),
        (json!({"repository_owner_id": "7"}), "no rule is about this job: the claim "),
        (json!({"event_name": "issues"}), "strangers may have a hand in such jobs"),
    ] {
        let (code, detail) = refusal(claims);
        assert!(detail.contains(words), "{words}: {detail}");
        row(&code, words.trim());
    }
    for (code, words) in [
        ("409 `identity-used`", "exchanged before"),
        ("409 `token-limit`", "1000 jobs"),
        ("429 `too-many-guesses`", "60 identities"),
        ("429 `too-many-exchanges`", "1000 identities"),
        ("503 `busy`", "keys are not known"),
    ] {
        row(code, words);
    }
}
