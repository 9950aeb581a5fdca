use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;

use super::rules::{Expected, Right};
use super::*;

const NOW: SystemTime = UNIX_EPOCH;

fn rule(claims: &[(&str, &str, bool)]) -> Rule {
    let expected = |(claim, pattern, names_owner): &(&str, &str, bool)| Expected {
        claim: (*claim).to_owned(),
        one_of: vec![pattern.parse().unwrap()],
        names_owner: *names_owner,
    };
    Rule {
        name: "r".to_owned(),
        issuer: "https://ci.example.com".to_owned(),
        claims: claims.iter().map(expected).collect(),
        workflow: Vec::new(),
        triggers: None,
        tools: vec!["deploy".parse().unwrap()],
        permits: vec![Right::Publish],
        life: Duration::from_mins(15),
        replay: Replay::Once,
    }
}

fn claims(value: Value) -> Claims {
    value.as_object().unwrap().clone()
}

fn told(rule: &Rule, value: Value, scope: Scope) -> String {
    rule.matches(&claims(value), scope).map_or_else(|it| it.told, |()| String::new())
}

#[test]
fn claims_of_every_kind_are_compared_as_texts_and_lists_must_hold_one() {
    let rule = rule(&[("x", "7", true), ("a.b", "y*", false)]);
    for (value, expected) in [
        (json!({"x": 7, "a": {"b": "yes"}}), true),
        (json!({"x": "7", "a.b": "y"}), true),
        (json!({"x": ["6", "7"], "a": {"b": ["n", "y"]}}), true),
        (json!({"x": 7.0, "a": {"b": "y"}}), false),
        (json!({"x": "7 ", "a": {"b": "y"}}), false),
        (json!({"x": [["7"]], "a": {"b": "y"}}), false),
        (json!({"x": null, "a": {"b": "y"}}), false),
        (json!({"x": {"7": "7"}, "a": {"b": "y"}}), false),
        (json!({"x": [], "a": {"b": "y"}}), false),
        (json!({"x": true, "a": {"b": "y"}}), false),
        (json!({"X": "7", "a": {"b": "y"}}), false),
        (json!({"x": "7", "a": "y"}), false),
        (json!({"x": "7"}), false),
    ] {
        let matches = rule.matches(&claims(value.clone()), Scope::Reads);
        assert_eq!(matches.is_ok(), expected, "{value} {matches:?}");
    }
}

#[test]
fn only_who_is_of_the_owner_learns_of_the_rule() {
    let rule = rule(&[("owner_id", "7", true), ("repository", "a/b", false)]);
    let is_of_owner =
        |value: Value| rule.matches(&claims(value), Scope::Reads).unwrap_err().is_of_owner;
    assert!(!is_of_owner(json!({"repository": "a/b"})));
    assert!(!is_of_owner(json!({"owner_id": 8, "repository": "a/b"})));
    assert!(is_of_owner(json!({"owner_id": 7, "repository": "a/c"})));
    assert!(is_of_owner(json!({"owner_id": 7, "repository": "a/b", "event_name": "fork"})));
}

#[test]
fn what_strangers_start_is_refused_unless_the_rule_names_it() {
    let plain = rule(&[("x", "7", true)]);
    let named = Rule { triggers: Some(vec!["workflow_run".to_owned()]), ..plain.clone() };
    let with = |claim: &str, event: Value| json!({"x": 7, "jti": "j", claim: event});
    for event in [
        "pull_request_target",
        "pull_request",
        "pull_request_sync",
        "pull_request_comment",
        "pull_request_review",
        "pull_request_review_approved",
        "workflow_run",
        "deployment",
        "deployment_status",
        "issue_comment",
        "issues",
        "discussion_comment",
        "fork",
        "watch",
        "gollum",
        "merge_request_event",
        "external_pull_request_event",
        "parent_pipeline",
        "pipeline",
        "trigger",
        "chat",
        "what nobody has thought of yet",
        "Push",
        "",
    ] {
        for claim in rules::TRIGGERS {
            let said = told(&plain, with(claim, json!(event)), Scope::Reads);
            assert!(
                said.starts_with(&format!("the claim `{claim}` is `{event}`: strangers")),
                "{said}"
            );
        }
    }
    for (event, by_default, by_name) in [
        (json!("push"), true, false),
        (json!("release"), true, false),
        (json!("workflow_dispatch"), true, false),
        (json!("web"), false, false),
        (json!("workflow_run"), false, true),
        (json!(["push"]), false, false),
        (json!(null), false, false),
    ] {
        let is_right =
            |rule: &Rule| told(rule, with("event_name", event.clone()), Scope::Writes).is_empty();
        assert_eq!((is_right(&plain), is_right(&named)), (by_default, by_name), "{event}");
    }
    for (source, expected) in
        [("push", true), ("web", true), ("schedule", true), ("api", true), ("release", false)]
    {
        let said = told(&plain, with("pipeline_source", json!(source)), Scope::Writes);
        assert_eq!(said.is_empty(), expected, "{source}: {said}");
    }
    // Other systems do not say it; a rule that wants to know is told so.
    assert_eq!(told(&plain, json!({"x": 7}), Scope::Reads), "");
    assert_eq!(told(&named, json!({"x": 7}), Scope::Reads), "the claim `event_name` is not there");
    // Of two, both would have to be right.
    let both = json!({"x": 7, "event_name": "push", "pipeline_source": "merge_request_event"});
    assert_ne!(told(&plain, both, Scope::Reads), "");
}

#[test]
fn a_workflow_is_a_file_of_the_jobs_own_repository_or_a_whole_path() {
    let with = |pattern: &str| Rule {
        workflow: vec![pattern.parse().unwrap()],
        ..rule(&[("x", "7", true)])
    };
    let github = |workflow: &str, job: &str| json!({"x": 7, "repository": "acme/deploy", "workflow_ref": workflow, "job_workflow_ref": job});
    let own = "acme/deploy/.github/workflows/release.yml@refs/heads/main";
    let shared = "acme/shared/.github/workflows/release.yml@refs/tags/v2";
    let gitlab = |uri: Value| json!({"x": 7, "project_path": "a/b", "ci_config_ref_uri": uri});
    for (pattern, value, expected) in [
        ("release.yml", github(own, own), true),
        // A job of it that calls another file has the steps of that one.
        ("release.yml", github(own, shared), false),
        ("release.yml", github("acme/deploy/.github/workflows/x.yml@refs/heads/main", own), true),
        ("release.yml", json!({"x": 7, "repository": "acme/deploy", "workflow_ref": own}), true),
        ("release.yml", github(own, ""), true),
        // What is behind the file has to be a ref or a commit: a name may have an `@`.
        (
            "release.yml",
            github("", "acme/deploy/.github/workflows/release.yml@x.yml@refs/heads/main"),
            false,
        ),
        (
            "release.yml",
            github("", "acme/deploy/.github/workflows/release.yml@refs/x.yml@refs/heads/main"),
            false,
        ),
        ("release.yml", github("", "acme/deploy/.github/workflows/release.yml@x.yml"), false),
        (
            "release.yml",
            github(
                "",
                "acme/deploy/.github/workflows/release.yml@0123456789abcdef0123456789abcdef01234567",
            ),
            true,
        ),
        (
            ".gitlab-ci.yml",
            gitlab(json!("gitlab.example.com/a/b//.gitlab-ci.yml@x.yml@refs/heads/main")),
            false,
        ),
        ("release.yml", github(shared, shared), false),
        (
            "release.yml",
            github("acme/deploy/.github/workflows/evil/release.yml@refs/heads/a", ""),
            false,
        ),
        (
            "release.yml",
            github("x/acme/deploy/.github/workflows/release.yml@refs/heads/a", ""),
            false,
        ),
        ("release.yml", github("acme/deploy/.github/workflows/x@y/release.yml", ""), false),
        ("acme/shared/.github/workflows/release.yml", github(own, shared), true),
        ("acme/shared/.github/workflows/release.yml", github(own, own), false),
        ("acme/*/.github/workflows/release.yml@refs/tags/*", github(own, shared), true),
        ("acme/*/.github/workflows/release.yml@refs/tags/*", github(own, own), false),
        ("release.yml", json!({"x": 7, "workflow_ref": own}), false),
        (
            "release.yml",
            json!({"x": 7, "repository": "", "workflow_ref": "/.github/workflows/release.yml@refs/x"}),
            false,
        ),
        (
            "release.yml",
            json!({"x": 7, "workflow": "release.yml", "repository": "acme/deploy"}),
            false,
        ),
        (
            ".gitlab-ci.yml",
            gitlab(json!("gitlab.example.com/a/b//.gitlab-ci.yml@refs/heads/main")),
            true,
        ),
        (
            ".gitlab-ci.yml",
            gitlab(json!("gitlab.example.com/xa/b//.gitlab-ci.yml@refs/heads/main")),
            false,
        ),
        (
            ".gitlab-ci.yml",
            gitlab(json!("gitlab.example.com/a/b//ci/.gitlab-ci.yml@refs/heads/main")),
            false,
        ),
        (".gitlab-ci.yml", gitlab(json!(null)), false),
    ] {
        let matches = with(pattern).matches(&claims(value.clone()), Scope::Reads);
        assert_eq!(matches.is_ok(), expected, "{pattern} {value} {matches:?}");
    }
}

#[test]
fn a_rule_is_known_again_by_everything_that_it_says() {
    let one = rule(&[("x", "7", true), ("y", "a", false)]);
    let pattern = |text: &str| vec![text.parse().unwrap()];
    let others = [
        Rule { name: "other".to_owned(), ..one.clone() },
        Rule { issuer: "https://other.example.com".to_owned(), ..one.clone() },
        rule(&[("x", "7", true)]),
        rule(&[("x", "8", true), ("y", "a", false)]),
        Rule { workflow: pattern("release.yml"), ..one.clone() },
        Rule { triggers: Some(vec!["push".to_owned()]), ..one.clone() },
        Rule { tools: pattern("other"), ..one.clone() },
        Rule { permits: vec![Right::Publish, Right::Withdraw], ..one.clone() },
        Rule { life: Duration::from_mins(16), ..one.clone() },
        Rule { replay: Replay::UntilExpiry { job: vec!["job_id".to_owned()] }, ..one.clone() },
    ];
    assert_eq!(one.known(), one.clone().known());
    let mut seen = vec![one.known().digest];
    for other in others {
        let digest = other.known().digest;
        assert!(!seen.contains(&digest), "{other:?}");
        seen.push(digest);
    }
}

#[test]
fn what_a_job_gets_is_as_strict_as_the_strictest_of_its_rules() {
    let once = rule(&[("x", "7", true)]);
    let job = vec!["job_id".to_owned()];
    let often = Rule {
        name: "often".to_owned(),
        life: Duration::from_mins(5),
        replay: Replay::UntilExpiry { job },
        ..once.clone()
    };
    let verified = claims(json!({"x": 7, "jti": "j", "job_id": 3, "iat": 100, "exp": 400}));
    let subject = crate::authn::Subject {
        method: "oidc",
        issuer: Some("https://ci.example.com".to_owned()),
        id: "s".to_owned(),
    };
    let identity = Identity::of(subject);
    let pair = |rule: &Rule| (rule.known(), rule.clone());
    let (once, often) = (pair(&once), pair(&often));
    let token = |text: &str| Secret::new(text.to_owned());
    let get = |pairs: &[&(KnownRule, Rule)], text: &str, scope| {
        admitted(identity.clone(), &verified, &token(text), pairs, scope, NOW)
    };
    let both = get(&[&once, &often], "a.b.c", Scope::Writes);
    assert!(!both.repeats && both.expires == NOW + Duration::from_mins(5));
    assert_eq!(both.rules.len(), 2);
    assert_eq!(both.until, UNIX_EPOCH + Duration::from_secs(400) + CLOCK_SKEW);
    assert_eq!((both.identity.subject.method, both.identity.default_rights), (WORD, false));
    // Known by its id: whatever its signature, and by which rule.
    let key = |pairs: &[&(KnownRule, Rule)], text: &str, scope| get(pairs, text, scope).key;
    assert_eq!(both.key, key(&[&once], "d.e.f", Scope::Writes));
    // Known by itself, without its signature, which can be written in several ways.
    let alone = key(&[&often], "a.b.c", Scope::Writes);
    assert_eq!(alone, key(&[&often], "a.b.d", Scope::Writes));
    let others =
        [key(&[&often], "a.x.c", Scope::Writes), key(&[&often], "a.b.c", Scope::Reads), both.key];
    assert!(!others.contains(&alone));
    assert!(get(&[&often], "a.b.c", Scope::Writes).repeats);
    assert!(get(&[&once], "a.b.c", Scope::Reads).repeats, "for reading as often as one likes");
    // However it is exchanged, it is the same.
    let source = |pairs: &[&(KnownRule, Rule)], text: &str, scope| get(pairs, text, scope).source;
    for pairs in [&[&once][..], &[&often], &[&once, &often]] {
        for scope in [Scope::Reads, Scope::Writes] {
            assert_eq!(source(pairs, "a.b.d", scope), both.source, "{scope:?}");
            assert_ne!(source(pairs, "a.x.c", scope), both.source, "{scope:?}");
        }
    }
}
