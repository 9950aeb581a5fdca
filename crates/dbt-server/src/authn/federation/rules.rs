//! Rules of trusted publishing: which jobs get which rights, and how far another job is from one.

use std::time::Duration;

use dbt_core::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pattern::Pattern;
use crate::authn::Scope;
use crate::authn::oidc::claims::{Claims, lookup, plain};

/// The claims by which CI systems say what has started a job: GitHub, Gitea and Forgejo; GitLab.
pub const TRIGGERS: [&str; 2] = ["event_name", "pipeline_source"];

/// What starts jobs only by the hand of somebody who may write to the repository, by the claim that says it.
///
/// Any other has to be named by the rule that means it: with `pull_request_target` or `issue_comment` a
/// stranger's code or words are what the job works with; with `workflow_run`, `parent_pipeline`, `pipeline`
/// and `trigger` it is not said what began the whole; and of what a CI system will think of tomorrow
/// nothing is known. A `deployment` runs the workflow of the commit that it deploys, and services make
/// deployments of commits of strangers' pull requests.
const HARMLESS: [(&str, &[&str]); 2] = [
    (
        "event_name",
        &["push", "release", "workflow_dispatch", "schedule", "merge_group", "repository_dispatch"],
    ),
    ("pipeline_source", &["push", "web", "schedule", "api"]),
];

/// The claims that say which file a job's steps are written in, first the one that decides.
const FILES: [&str; 3] = ["job_workflow_ref", "workflow_ref", "ci_config_ref_uri"];

/// The longest part of a claim that is told.
const TOLD: usize = 200;

/// Which jobs get which rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name, for the record and for whoever owns what it is about.
    pub name: String,
    /// The `iss` of the jobs' identities, exactly.
    pub issuer: String,
    /// What claims must be: all of them, each one of its patterns. Those that name an owner come first, so
    /// that a stranger learns of nothing else.
    pub claims: Vec<Expected>,
    /// The file of the workflow, which must be one of these.
    pub workflow: Vec<Pattern>,
    /// What may have started the job; what strangers have no hand in, if that is not said.
    pub triggers: Option<Vec<String>>,
    /// The tools that it is about.
    pub tools: Vec<Pattern>,
    /// What it permits there.
    pub permits: Vec<Right>,
    /// For how long.
    pub life: Duration,
    /// How often an identity counts for writing.
    pub replay: Replay,
}

/// What one claim must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The claim.
    pub claim: String,
    /// One of these.
    pub one_of: Vec<Pattern>,
    /// Whether it says whose the job is.
    pub names_owner: bool,
}

/// What a rule permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Reading the tools and what everybody who installs reads.
    Read,
    /// Publishing versions, without replacing what is published; and reading.
    Publish,
    /// Withdrawing versions; and reading.
    Withdraw,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Publish, Self::Withdraw];

    /// Returns the word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Publish => "publish",
            Self::Withdraw => "withdraw",
        }
    }

    /// Says whether it changes something.
    pub const fn writes(self) -> bool {
        matches!(self, Self::Publish | Self::Withdraw)
    }
}

/// How often an identity counts for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replay {
    /// Once.
    Once,
    /// Until it expires, for the one job that these claims name.
    UntilExpiry {
        /// They.
        job: Vec<String>,
    },
}

/// Returns what the rules of the policy are called that permit something by a rule of this name.
pub fn name_in_policy(name: &str) -> String {
    format!("trusted publishing: {name}")
}

/// How a rule is known again: it counts for what came of it as long as it is the very same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownRule {
    /// Its name.
    pub name: String,
    /// The digest of everything that it says.
    pub digest: String,
}

impl KnownRule {
    /// Has it be known by this, too.
    #[must_use]
    pub fn with(self, further: &str) -> Self {
        let digest = Digest::of(format!("{} {further}", self.digest).as_bytes()).to_string();
        Self { digest, ..self }
    }
}

/// The first that is not as a rule says, and how much before it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// How many before it were as they should be.
    pub right: usize,
    /// Whether the job is of the owner whom the rule names, so that it may know of the rule.
    pub is_of_owner: bool,
    /// What is wrong, in words that repeat nothing but what the job's own identity says.
    pub told: String,
    /// What the rule says there, for the record.
    pub expected: String,
}

impl Rule {
    /// Says whether it permits to change something.
    pub fn writes(&self) -> bool {
        self.permits.iter().any(|right| right.writes())
    }

    /// Returns how it is known again.
    pub fn known(&self) -> KnownRule {
        let Self { name, issuer, claims, workflow, triggers, tools, permits, life, replay } = self;
        let texts = |patterns: &[Pattern]| -> Vec<String> {
            patterns.iter().map(ToString::to_string).collect()
        };
        let claims: Vec<Value> = claims
            .iter()
            .map(|Expected { claim, one_of, names_owner: _follows }| json!([claim, texts(one_of)]))
            .collect();
        let job = match replay {
            Replay::Once => None,
            Replay::UntilExpiry { job } => Some(job),
        };
        let all = json!([
            name,
            issuer,
            claims,
            texts(workflow),
            triggers,
            texts(tools),
            permits,
            life.as_secs(),
            job
        ]);
        let digest = Digest::of(all.to_string().as_bytes()).to_string();
        KnownRule { name: name.clone(), digest }
    }

    /// Says whether the verified claims of a job are what the rule is about, for reading or for writing; if
    /// not, what is the first that is not.
    pub fn matches(&self, claims: &Claims, scope: Scope) -> Result<(), Mismatch> {
        let mut so_far = SoFar { right: 0, is_of_owner: false };
        for Expected { claim, one_of, names_owner } in &self.claims {
            // Those that name an owner come first.
            so_far.is_of_owner |= !names_owner;
            let found = lookup(claims, claim);
            if !found.is_some_and(|value| is_one_of(value, one_of)) {
                return Err(so_far.mismatch(told_of(claim, found), told_patterns(one_of)));
            }
            so_far.right += 1;
        }
        so_far.is_of_owner = true;
        if !self.workflow.is_empty() {
            so_far.judge(workflow(claims, &self.workflow))?;
        }
        so_far.judge(self.trigger(claims))?;
        if scope == Scope::Writes && self.writes() {
            so_far.judge(self.identity(claims))?;
        }
        Ok(())
    }

    /// Judges what has started the job. Of several claims that say it, each must be right.
    fn trigger(&self, claims: &Claims) -> Result<(), (String, String)> {
        let is_right = |claim: &str, value: &Value| {
            value.as_str().is_some_and(|event| match &self.triggers {
                Some(known) => known.iter().any(|it| it == event),
                None => HARMLESS.iter().any(|(of, known)| *of == claim && known.contains(&event)),
            })
        };
        let mut said = TRIGGERS.into_iter().filter_map(|claim| Some((claim, claims.get(claim)?)));
        let is_said = said.clone().next().is_some();
        match (said.find(|(claim, value)| !is_right(claim, value)), &self.triggers) {
            (Some((claim, value)), Some(known)) => {
                Err((told_of(claim, Some(value)), format!("`{}`", known.join("`, `"))))
            }
            (Some((claim, value)), None) => Err((
                format!(
                    "{}: strangers may have a hand in such jobs, and no rule names them in `triggers`",
                    told_of(claim, Some(value))
                ),
                "one that only who may write to the repository causes".to_owned(),
            )),
            (None, Some(known)) if !is_said => {
                Err((told_of("event_name", None), format!("`{}`", known.join("`, `"))))
            }
            (None, _) => Ok(()),
        }
    }

    /// Judges by what the identity is known again.
    fn identity(&self, claims: &Claims) -> Result<(), (String, String)> {
        let needed: &[String] = match &self.replay {
            Replay::Once => {
                let is_there = claims.get("jti").and_then(plain).is_some_and(|id| !id.is_empty());
                let missing =
                    || (told_of("jti", claims.get("jti")), "one that is not empty".to_owned());
                return if is_there { Ok(()) } else { Err(missing()) };
            }
            Replay::UntilExpiry { job } => job,
        };
        let is_missing = |claim: &&String| lookup(claims, claim).and_then(plain).is_none();
        match needed.iter().find(is_missing) {
            Some(claim) => {
                Err((told_of(claim, lookup(claims, claim)), "what names the job".to_owned()))
            }
            None => Ok(()),
        }
    }
}

/// How much of a rule is as it should be.
struct SoFar {
    right: usize,
    is_of_owner: bool,
}

impl SoFar {
    fn judge(&mut self, result: Result<(), (String, String)>) -> Result<(), Mismatch> {
        match result {
            Ok(()) => {
                self.right += 1;
                Ok(())
            }
            Err((told, expected)) => Err(self.mismatch(told, expected)),
        }
    }

    const fn mismatch(&self, told: String, expected: String) -> Mismatch {
        Mismatch { right: self.right, is_of_owner: self.is_of_owner, told, expected }
    }
}

/// Says whether a claim is what it must be. One that is a list must hold it.
fn is_one_of(value: &Value, patterns: &[Pattern]) -> bool {
    let values = value.as_array().map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
    let texts = values.iter().filter_map(plain);
    texts.into_iter().any(|text| patterns.iter().any(|pattern| pattern.matches(&text)))
}

/// Judges which file the job's steps are written in: the reusable workflow that it calls, and only without
/// one that of its own workflow, whose other jobs may have steps of anybody. What a workflow calls itself
/// (`workflow`) says nothing.
fn workflow(claims: &Claims, patterns: &[Pattern]) -> Result<(), (String, String)> {
    let is_said = |claim: &&str| {
        claims.get(*claim).is_some_and(|it| !it.is_null() && it.as_str() != Some(""))
    };
    let claim = FILES.into_iter().find(is_said).unwrap_or("workflow_ref");
    let place = claims.get(claim).and_then(Value::as_str).unwrap_or_default();
    if spellings(claims, place).iter().any(|it| patterns.iter().any(|one| one.matches(it))) {
        return Ok(());
    }
    Err((told_of(claim, claims.get(claim)), told_patterns(patterns)))
}

/// Returns the texts by which a rule may name a file: all of it, without what it was taken from
/// (`@refs/heads/main`), and, of the job's own repository, the file alone.
fn spellings(claims: &Claims, place: &str) -> Vec<String> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str).filter(|it| !it.is_empty());
    let without_ref = without_ref(place);
    let own = text("repository").and_then(|repository| {
        without_ref.strip_prefix(repository)?.strip_prefix("/.github/workflows/")
    });
    // `gitlab.example.com/group/project//.gitlab-ci.yml`
    let of_project = text("project_path").and_then(|project| {
        let (before, file) = without_ref.split_once("//")?;
        before.strip_suffix(project)?.ends_with('/').then_some(file)
    });
    let own = own.into_iter().chain(of_project);
    [place, without_ref].into_iter().chain(own).map(ToOwned::to_owned).collect()
}

/// Returns a file without what it was taken from, if it is certain what that is: names of files and of
/// branches may have an `@`, too, and `release.yml@x.yml` must not be taken for `release.yml`.
fn without_ref(place: &str) -> &str {
    let is_commit = |text: &str| {
        matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    match place.split_once('@') {
        Some((file, from))
            if !from.contains('@') && (from.starts_with("refs/") || is_commit(from)) =>
        {
            file
        }
        _ => place,
    }
}

/// Says what a claim of a job's own identity is.
fn told_of(claim: &str, value: Option<&Value>) -> String {
    let Some(value) = value else { return format!("the claim `{claim}` is not there") };
    let text = plain(value).unwrap_or_else(|| value.to_string());
    let mut shown: String = text.chars().take(TOLD).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("the claim `{claim}` is `{}`", shown.escape_debug())
}

fn told_patterns(patterns: &[Pattern]) -> String {
    let texts: Vec<&str> = patterns.iter().map(Pattern::as_str).collect();
    format!("`{}`", texts.join("`, `"))
}
