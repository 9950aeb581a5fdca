//! Jobs of CI systems: which one somebody is, by what its verified token claims.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The longest text of a job that is kept.
const TEXT_LIMIT: usize = 255;

/// A job of a CI system, as its identity says: for the record, and because a job makes no tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The repository.
    pub repository: String,
    /// The run, or pipeline.
    pub run: String,
    /// The branch or tag.
    pub reference: Option<String>,
    /// The commit.
    pub sha: Option<String>,
}

/// The claims of the repository and of the run: of GitHub, Gitea and Forgejo; of GitLab.
const SYSTEMS: [(&str, &str); 2] = [("repository", "run_id"), ("project_path", "pipeline_id")];

impl Job {
    /// Finds the job in verified claims, if they are those of one.
    pub fn of_claims(claims: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| {
            let text = match claims.get(name)? {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return None,
            };
            (!text.is_empty()).then(|| text.chars().take(TEXT_LIMIT).collect::<String>())
        };
        let mut systems = SYSTEMS.into_iter();
        let (repository, run) = systems.find_map(|(name, run)| Some((text(name)?, text(run)?)))?;
        Some(Self { repository, run, reference: text("ref"), sha: text("sha") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_job_has_a_repository_and_a_run_and_people_have_none() {
        let of = |claims: Value| Job::of_claims(claims.as_object().unwrap());
        let job = |run: &str, reference: Option<&str>, sha: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            Some(Job {
                repository: "acme/deploy".to_owned(),
                run: run.to_owned(),
                reference: owned(reference),
                sha: owned(sha),
            })
        };
        for (claims, expected) in [
            (
                // As GitHub writes them.
                json!({"repository": "acme/deploy", "run_id": "77", "run_attempt": "1",
                    "ref": "refs/tags/v1", "sha": "abc", "actor": "alice"}),
                job("77", Some("refs/tags/v1"), Some("abc")),
            ),
            (
                // As GitLab does; some of its versions send numbers.
                json!({"project_path": "acme/deploy", "pipeline_id": 78, "job_id": "79",
                    "ref": "main", "sha": "def"}),
                job("78", Some("main"), Some("def")),
            ),
            (
                json!({"repository": "acme/deploy", "run_id": "77", "ref": ""}),
                job("77", None, None),
            ),
            (json!({"repository": "acme/deploy"}), None),
            (json!({"run_id": "77", "sha": "abc"}), None),
            (json!({"repository": ["acme/deploy"], "run_id": "77"}), None),
            (json!({"sub": "alice", "email": "a@example.com"}), None),
        ] {
            assert_eq!(of(claims.clone()), expected, "{claims}");
        }
        let long = of(json!({"repository": "r".repeat(10_000), "run_id": "1"})).unwrap();
        assert_eq!(long.repository.len(), TEXT_LIMIT);
    }
}
