use serde_json::{Value, json};

use super::*;

/// Decides on one rule, and the rest of the settings.
fn decide(rule: &Value, further: &Value) -> Result<Settings, String> {
    decide_noting(rule, further).map(|(settings, _notices)| settings)
}

/// The same, with what it remarks.
fn decide_noting(rule: &Value, further: &Value) -> Result<(Settings, Vec<String>), String> {
    let mut settings = json!({
        "serverRoot": "/srv", "authTypePut": "api-token",
        "publicUrls": ["https://DBT.example.com/dbt", "https://other.example.com:8443"],
        "auth": {"federation": {"rules": [rule]}},
    });
    for (key, value) in further.as_object().unwrap() {
        settings[key] = value.clone();
    }
    let written: Written = serde_json::from_value(settings).unwrap();
    let environment = Environment::new();
    let mut decide = Decide {
        source: crate::config::Source::Variables,
        settings: Vec::new(),
        notices: Vec::new(),
    };
    let decided = decide
        .doors(&written, &environment)
        .and_then(|(reads, writes)| decide.federation(&written, &environment, &reads, &writes));
    let settings = decided.map(Option::unwrap).map_err(|error| error.to_string())?;
    Ok((settings, decide.notices))
}

fn with(changes: Value) -> Value {
    let mut rule = json!({
        "name": "r", "issuer": "github", "claims": {"repository_owner_id": 7, "repository": "a/b"},
        "tools": ["deploy"], "permits": ["publish"],
    });
    for (key, value) in changes.as_object().unwrap() {
        rule[key] = value.clone();
    }
    rule
}

#[test]
fn what_is_left_out_has_the_stricter_meaning() {
    let settings = decide(&with(json!({})), &json!({})).unwrap();
    assert_eq!(settings.audience, "https://dbt.example.com");
    let issuer = &settings.issuers[0];
    assert_eq!(issuer.issuer, "https://token.actions.githubusercontent.com");
    assert_eq!(issuer.audiences, ["https://dbt.example.com", "https://other.example.com:8443"]);
    assert!(issuer.is_for_all && !issuer.is_for_people && !issuer.any_issuer);
    let rule = &settings.rules[0];
    assert_eq!(
        (rule.life, &rule.replay, &rule.triggers),
        (Duration::from_mins(15), &Replay::Once, &None)
    );
    let claims: Vec<(&str, bool)> =
        rule.claims.iter().map(|it| (it.claim.as_str(), it.names_owner)).collect();
    assert_eq!(claims, [("repository_owner_id", true), ("repository", false)], "owners first");
    let gitlab = with(json!({
        "issuer": "https://gitlab.example.com", "claims": {"project_path": "a/b", "namespace_id": "7"},
        "replay": "until-expiry", "minutes": 60,
    }));
    let rule = &decide(&gitlab, &json!({})).unwrap().rules[0];
    assert_eq!(rule.replay, Replay::UntilExpiry { job: vec!["job_id".to_owned()] });
    // A system of which nothing is known: what names the job, and whose it is, is the administrator's word.
    let other = with(json!({
        "issuer": "https://jenkins.example.com/oidc", "claims": {"sub": "https://jenkins.example.com/job/x/"},
        "replay": "until-expiry", "job": ["sub", "build_number"],
    }));
    assert!(decide(&other, &json!({})).is_ok());
    let named = json!({"auth": {"federation": {
        "issuers": [{"issuerUrl": "https://jenkins.example.com/oidc", "audience": "fixed"}],
        "rules": [other],
    }}, "publicUrls": null});
    assert_eq!(decide(&other, &named).unwrap().audience, "fixed");
}

#[test]
fn what_would_let_in_jobs_of_others_or_says_nothing_stops_the_start() {
    for (changes, why) in [
        (json!({"name": " "}), "rules[0].name` must have"),
        (json!({"name": "a\nb"}), "rules[0].name` must have"),
        (json!({"issuer": ""}), "rules.r.issuer` is needed"),
        (json!({"issuer": "http://ci.example.com"}), "must begin with `https://`"),
        (json!({"issuer": "gitlab.example.com"}), "is not the URL of a server"),
        (json!({"claims": {}}), "rules.r.claims` must say which jobs"),
        (json!({"claims": {"repository": "a/b"}}), "by its number"),
        (json!({"claims": {"repository": "a/b", "repository_owner_id": "7*"}}), "by its number"),
        (
            json!({"claims": {"repository": "a/b", "repository_owner_id": ["7", "x"]}}),
            "by its number",
        ),
        (json!({"claims": {"repository": "a/b", "repository_owner": "a"}}), "by its number"),
        (json!({"claims": {"sub": "repo:a/b:ref:refs/heads/main"}}), "by its number"),
        (
            json!({"issuer": "gitlab", "claims": {"project_path": "a/b"}}),
            "`namespace_id`, `project_id`",
        ),
        (json!({"issuer": "gitlab", "claims": {"sub": "x"}}), "`namespace_id`, `project_id`"),
        (
            json!({"issuer": "gitlab", "claims": {"repository_id": 7}}),
            "`namespace_id`, `project_id`",
        ),
        (
            json!({"issuer": "https://ghe.example.com/_services/token", "claims": {"sub": "x"}}),
            "`repository_owner_id`, `repository_id`",
        ),
        (
            json!({"issuer": "https://oidc.vercel.com/acme", "claims": {"environment": "x"}}),
            "exactly whose jobs are meant",
        ),
        (
            json!({"issuer": "https://gitlab.example.com", "claims": {"project_path": "a/b"}}),
            "`namespace_id`, `project_id`",
        ),
        (
            json!({"issuer": "https://git.example.com", "claims": {"repository": "a/b"}}),
            "`repository_owner_id`, `repository_id`",
        ),
        (
            json!({"issuer": "https://agent.buildkite.com", "claims": {"build_branch": "main"}}),
            "exactly whose jobs are meant: one of `organization_id`",
        ),
        (
            json!({"issuer": "https://agent.buildkite.com", "claims": {"organization_slug": "a*"}}),
            "exactly whose jobs are meant",
        ),
        (
            json!({"claims": {"repository_owner_id": 7, "workflow": "x"}}),
            "claims.workflow` is what a workflow calls",
        ),
        (json!({"claims": {"repository_owner_id": 7, "event_name": "push"}}), "is for `triggers`"),
        (json!({"claims": {"repository_owner_id": 7, "aud": "x"}}), "is judged anyway"),
        (json!({"claims": {"repository_owner_id": 7, "ref": "**"}}), "which says nothing"),
        (json!({"claims": {"repository_owner_id": 7, "ref": ["main", "*"]}}), "which says nothing"),
        (json!({"claims": {"repository_owner_id": 7, "ref": []}}), "must be something"),
        (json!({"claims": {"repository_owner_id": 7, "ref": ""}}), "is no pattern"),
        (json!({"workflow": "*"}), "which says nothing"),
        (json!({"triggers": []}), "triggers` must name"),
        (json!({"tools": []}), "tools` must name"),
        (json!({"tools": ["*"]}), "for tools with names"),
        (json!({"tools": ["dbt"]}), "published by people"),
        (json!({"tools": ["a/b"]}), "is no name of a tool"),
        (json!({"tools": ["../x"]}), "is no name of a tool"),
        (json!({"tools": ["a**"]}), "is no name of a tool"),
        (json!({"permits": []}), "permits` must name"),
        (json!({"permits": ["publsh"]}), "the nearest is `publish`"),
        (json!({"permits": ["admin"]}), "is no right"),
        (json!({"minutes": 0}), "minutes` must be 1 to 60"),
        (json!({"minutes": 61}), "minutes` must be 1 to 60"),
        (json!({"replay": "always"}), "the nearest is"),
        (json!({"replay": "until-expiry"}), "must name the claims"),
        (json!({"replay": "until-expiry", "job": []}), "job` must name claims"),
        (json!({"job": ["job_id"]}), "has no effect without"),
    ] {
        let said = decide(&with(changes.clone()), &json!({})).unwrap_err();
        assert!(said.contains(why), "{changes}: {said}");
    }
}

#[test]
fn it_warns_of_what_everybody_can_have_who_may_write_to_some_branch() {
    let github = |claims: Value| {
        let mut all = json!({"repository_owner_id": 7, "repository": "a/b"});
        for (claim, value) in claims.as_object().unwrap() {
            all[claim] = value.clone();
        }
        with(json!({"claims": all}))
    };
    let workflow = |value: Value| with(json!({"workflow": value}));
    for (rule, is_wide) in [
        (github(json!({})), true),
        (github(json!({"environment": "production"})), false),
        (github(json!({"environment": ["production", "staging"]})), false),
        (github(json!({"environment": "prod*"})), true),
        (github(json!({"ref": "refs/heads/main"})), false),
        (github(json!({"ref": "refs/tags/v*"})), false),
        (github(json!({"ref": "refs/**"})), true),
        (github(json!({"ref": "refs/*/main"})), true),
        (github(json!({"ref": "refs/heads/*"})), true),
        (github(json!({"ref": ["refs/heads/main", "refs/**"]})), true),
        (github(json!({"sub": "repo:a/b:environment:production"})), false),
        (github(json!({"sub": "repo:a/b:ref:refs/tags/*"})), false),
        (github(json!({"sub": "repo:a/b:**"})), true),
        (github(json!({"ref_protected": true})), false),
        (github(json!({"ref_protected": ["true", "false"]})), true),
        (github(json!({"actor": "alice"})), true),
        (workflow(json!("release.yml")), true),
        (workflow(json!("release.yml@refs/**")), true),
        (workflow(json!("a/b/.github/workflows/release.yml@refs/heads/main")), false),
        (workflow(json!("a/*/.github/workflows/release.yml@refs/tags/*")), false),
        (workflow(json!(["release.yml", "a/b/.github/workflows/release.yml@refs/tags/*"])), true),
    ] {
        let (_settings, notices) = decide_noting(&rule, &json!({})).unwrap();
        let expected: &[&str] = if is_wide { &["is about jobs of any branch: name "] } else { &[] };
        assert_eq!(notices.len(), expected.len(), "{rule}: {notices:?}");
        assert!(notices.iter().zip(expected).all(|(it, part)| it.contains(part)), "{notices:?}");
    }
    let of_all =
        "the rule `r` of `auth.federation.rules` is about jobs of every repository of the owner";
    for (claims, expected) in [
        (json!({"repository_owner_id": 7, "environment": "production"}), true),
        (json!({"repository_owner_id": 7, "environment": "p", "repository": "a/*"}), false),
        (json!({"repository_id": 7, "environment": "p"}), false),
        (json!({"namespace_id": 7, "environment": "p"}), true),
        (json!({"namespace_id": 7, "environment": "p", "project_path": "a/b"}), false),
        (json!({"project_id": 7, "environment": "p"}), false),
    ] {
        let issuer = "https://ci.example.com";
        let rule = with(json!({"claims": claims, "issuer": issuer}));
        let (_settings, notices) = decide_noting(&rule, &json!({})).unwrap();
        assert_eq!(notices.iter().any(|it| it.starts_with(of_all)), expected, "{claims}");
        assert_eq!(notices.len(), usize::from(expected), "{claims}: {notices:?}");
    }
    // Who may only read is warned of nothing.
    let reads = with(json!({"permits": ["read"]}));
    assert_eq!(decide_noting(&reads, &json!({})).unwrap().1, [""; 0]);
}

#[test]
fn settings_that_contradict_the_rules_stop_the_start() {
    let github = "https://token.actions.githubusercontent.com";
    let federation = |further: Value| {
        let mut federation = json!({"rules": [with(json!({}))]});
        for (key, value) in further.as_object().unwrap() {
            federation[key] = value.clone();
        }
        json!({"auth": {"federation": federation}})
    };
    let people = |options: Value| {
        let mut settings = federation(json!({}));
        settings["authTypePut"] = "oidc".into();
        settings["auth"]["issuers"] = json!([options]);
        settings["policies"] = json!([]);
        settings
    };
    for (further, why) in [
        (json!({"publicUrls": null}), "`publicUrls` must be there"),
        (json!({"publicUrls": ["dbt.example.com"]}), "is no URL of a server"),
        (json!({"authTypePut": null}), "rules.r.permits` writes, and `authTypePut` is empty"),
        (
            federation(json!({"rules": [with(json!({})), with(json!({}))]})),
            "has the name `r` twice",
        ),
        (
            federation(json!({"rules": [], "issuers": [{"issuerUrl": github}]})),
            "issuers` has no effect without",
        ),
        (
            federation(json!({"issuers": [{"issuerUrl": "https://x.example"}]})),
            "is that of no rule",
        ),
        (
            federation(json!({"issuers": [{"issuerUrl": github}, {"issuerUrl": github}]})),
            "a second time",
        ),
        (
            federation(json!({"issuers": [{"issuerUrl": github, "audience": " "}]})),
            "audience` is empty",
        ),
        (
            federation(json!({"issuers": [{"issuerUrl": github, "audience": "sigstore"}]})),
            "audience` is for systems that cannot be told",
        ),
        (
            people(json!({"issuerUrl": github, "audiences": ["x"],
                "requiredClaims": {"repository_owner_id": 7}})),
            "are for the exchange alone",
        ),
        (
            people(json!({"issuerUrl": "https://id.example.com", "audiences": ["x"],
                "skipIssuerVerify": true})),
            "are for the exchange alone",
        ),
    ] {
        let said = decide(&with(json!({})), &further).unwrap_err();
        assert!(said.contains(why), "{further}: {said}");
    }
    // People of another provider sign in as ever.
    let others = people(json!({"issuerUrl": "https://id.example.com", "audiences": ["x"]}));
    assert!(decide(&with(json!({})), &others).is_ok());
}
