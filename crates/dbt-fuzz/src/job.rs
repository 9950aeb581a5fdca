//! Patterns of rules about jobs, and what identities of jobs claim.

use std::collections::HashMap;
use std::time::Duration;

use dbt_server::authn::Scope;
use dbt_server::authn::federation::pattern::Pattern;
use dbt_server::authn::federation::rules::{Expected, Replay, Right, Rule, TRIGGERS};
use dbt_server::strict_json;
use serde_json::Value;

/// What strangers may start jobs by, and what does not say who began it.
const OF_STRANGERS: [&str; 9] = [
    "pull_request",
    "pull_request_target",
    "issue_comment",
    "issues",
    "workflow_run",
    "external_pull_request_event",
    "merge_request_event",
    "parent_pipeline",
    "trigger",
];

/// Takes the first line for a pattern, and the rest for a text, or for the claims of an identity: what
/// matches is what matches by another way of knowing it, and a rule is only about jobs that are as it says.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (written, rest) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(pattern) = written.parse::<Pattern>() else { return };
    assert_eq!(pattern.to_string(), written);
    assert_eq!(pattern.is_exact(), !written.contains('*'));
    let matches = pattern.matches(rest);
    assert!(!matches || !pattern.is_exact() || written == rest);
    if rest.len() <= 512 {
        assert_eq!(matches, slowly(written, rest), "{written:?} {rest:?}");
    }
    let Ok(Value::Object(claims)) = strict_json::parse(rest.as_bytes()) else { return };
    let claim = |name: &str| Expected {
        claim: name.to_owned(),
        one_of: vec![pattern.clone()],
        names_owner: name == "x",
    };
    let rule = Rule {
        name: "the rule".to_owned(),
        issuer: "https://ci.example.com".to_owned(),
        claims: vec![claim("x"), claim("a.b")],
        workflow: vec![pattern.clone()],
        triggers: None,
        tools: vec![Pattern::exactly("deploy")],
        permits: vec![Right::Publish],
        life: Duration::from_mins(1),
        replay: Replay::Once,
    };
    for scope in Scope::ALL {
        match rule.matches(&claims, scope) {
            Ok(()) => {
                let value = claims.get("x").expect("it is there");
                let several = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                let text = |value: &Value| {
                    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
                };
                assert!(several.iter().any(|value| slowly(written, &text(value))), "{value}");
                let events = TRIGGERS.iter().filter_map(|name| claims.get(*name));
                assert!(events.into_iter().all(|it| !OF_STRANGERS.contains(&it.as_str().unwrap())));
                assert!(scope == Scope::Reads || claims.contains_key("jti"));
            }
            Err(mismatch) => {
                assert!(!mismatch.told.contains(char::is_control), "{:?}", mismatch.told);
                assert!(mismatch.told.chars().count() < 8000);
            }
        }
    }
}

/// Says whether a pattern matches, place by place.
fn slowly(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    rest_matches(&pattern, &text, &mut HashMap::new())
}

fn rest_matches(
    pattern: &[char],
    text: &[char],
    known: &mut HashMap<(usize, usize), bool>,
) -> bool {
    let place = (pattern.len(), text.len());
    if let Some(known) = known.get(&place) {
        return *known;
    }
    let matches = match (pattern, text) {
        ([], []) => true,
        (['*', '*', rest @ ..], _) => {
            rest_matches(rest, text, known)
                || !text.is_empty() && rest_matches(pattern, &text[1..], known)
        }
        (['*', rest @ ..], _) => {
            rest_matches(rest, text, known)
                || text.first().is_some_and(|it| !['/', ':', '@'].contains(it))
                    && rest_matches(pattern, &text[1..], known)
        }
        ([one, rest @ ..], [other, tail @ ..]) if one == other => rest_matches(rest, tail, known),
        _ => false,
    };
    known.insert(place, matches);
    matches
}
