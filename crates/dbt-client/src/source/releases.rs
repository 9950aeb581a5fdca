//! Releases of a `reposerver`, for the publisher: versions that readers do not see before they are
//! committed (`/-/api/v1/releases`).

use std::io::Cursor;
use std::sync::Arc;

use dbt_core::brand;
use dbt_core::release::Subject;
use dbt_core::version::Version;
use serde::Deserialize;
use serde_json::json;
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::api::{Api, Problem, Refusal, Request};
use super::connector::Connector;
use super::error::FetchError;
use super::http::{Failed, until_good};
use super::patience::Patience;
use crate::auth::Credentials;
use crate::url::RepositoryUrl;

/// What is said to the server, in errors.
const ACTION: &str = "ask";

/// The releases of one server.
#[derive(Debug)]
pub struct Releases {
    api: Api,
}

/// How a release is begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// As the caller's own. Asked again, it is the same one.
    Own,
    /// Like that, and left to whoever may publish the version.
    Staged,
    /// By making the caller's what somebody has staged.
    TakeUp,
}

/// An open release. Text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Release {
    /// Its id.
    pub id: String,
    /// The platforms of which something was uploaded.
    #[serde(default)]
    pub platforms: Vec<Held>,
    /// When it goes unless something is added, as RFC 3339 writes times.
    #[serde(default)]
    pub expires: String,
    /// Who has staged it, if somebody has.
    #[serde(default)]
    pub staged: Option<Staged>,
}

/// A platform of a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Held {
    /// Which, as `os/arch`.
    pub platform: String,
}

/// Who has staged a release.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Staged {
    /// As whom the server knew them.
    pub by: String,
    /// The job of a CI system that it was.
    #[serde(default)]
    pub job: Option<StagingJob>,
}

/// A job of a CI system.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StagingJob {
    /// The repository.
    pub repository: String,
    /// The run, or pipeline.
    pub run: String,
    /// The commit, if it is known.
    #[serde(default)]
    pub sha: Option<String>,
}

/// Why a release is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The server was not reached, or refuses the caller.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// It has no releases: another web server, or an older one.
    #[error("`{root}` cannot hold a version back: it is no `reposerver`, or one without writers")]
    NotKnown {
        /// Its root.
        root: String,
    },
    /// There is no such release, or nothing is staged.
    #[error("there is no such release")]
    Nothing,
    /// There is a platform of which files are missing.
    #[error("it waits for {}", listed(waiting_for))]
    Incomplete {
        /// Which, as `OS/ARCH/FILE`.
        waiting_for: Vec<String>,
    },
    /// The server says why not.
    #[error("the server refuses: {detail} ({status})")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its words.
        detail: String,
    },
}

fn listed(files: &[String]) -> String {
    let files: Vec<String> = files.iter().map(|file| format!("`{file}`")).collect();
    files.join(", ")
}

impl Releases {
    /// Returns those of the server whose root this is, above its repositories; nothing for a
    /// directory.
    pub fn at(
        root: &RepositoryUrl,
        connector: &Arc<Connector>,
        credentials: &Credentials,
    ) -> Option<Self> {
        Some(Self { api: Api::at(root, connector, credentials)? })
    }

    /// Begins one.
    pub fn begin(
        &self,
        subject: &Subject,
        version: &Version,
        how: Begin,
    ) -> Result<Release, ReleaseError> {
        let mut wanted = json!({ "tool": subject.name(), "version": version.spelling() });
        match how {
            Begin::Own => {}
            Begin::Staged => wanted["staged"] = json!(true),
            Begin::TakeUp => wanted["takeUp"] = json!(true),
        }
        let body = self.ask(Method::POST, &[], &wanted.to_string())?;
        let read = serde_json::from_slice::<Release>(&body).ok();
        // It becomes part of a path.
        let is_word = |release: &Release| {
            let id = &release.id;
            !id.is_empty() && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        read.filter(is_word).ok_or_else(|| self.not_known())
    }

    /// Publishes one.
    pub fn commit(&self, release: &Release) -> Result<(), ReleaseError> {
        self.ask(Method::POST, &[&release.id, "commit"], "").map(drop)
    }

    /// Gives one up, with everything in it.
    pub fn abandon(&self, release: &Release) -> Result<(), ReleaseError> {
        self.ask(Method::DELETE, &[&release.id], "").map(drop)
    }

    fn not_known(&self) -> ReleaseError {
        ReleaseError::NotKnown { root: self.api.root().to_string() }
    }

    /// Asks, and asks again where an answer was lost: asked again, it has the same one.
    fn ask(&self, method: Method, below: &[&str], words: &str) -> Result<Vec<u8>, ReleaseError> {
        let patience = Patience::for_upload(1.0);
        let path = [&["releases"], below].concat();
        let mut headers = HeaderMap::new();
        if !words.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let told = |failed: Failed| failed.into_error_at(ACTION, self.api.root());
        let outcome = until_good(&patience, told, || {
            let (method, headers) = (method.clone(), headers.clone());
            let (body, length) = (&mut Cursor::new(words), words.len() as u64);
            let request = Request { method, path: &path, headers, body, length };
            match self.api.ask(request, &patience) {
                Err(Refusal::Failed(failed)) => Err(failed),
                outcome => Ok(outcome),
            }
        })?;
        outcome.map_err(|refusal| match refusal {
            Refusal::Failed(failed) => told(failed).into(),
            Refusal::NotKnown(_) => self.not_known(),
            Refusal::Problem(problem) if problem.status == 404 => ReleaseError::Nothing,
            Refusal::Problem(Problem { waiting_for, .. }) if !waiting_for.is_empty() => {
                ReleaseError::Incomplete { waiting_for }
            }
            Refusal::Problem(Problem { status, detail, .. }) => {
                ReleaseError::Refused { status, detail }
            }
        })
    }
}

/// Returns the root of the server whose repository this is: what is above it, where it has its
/// usual name.
pub fn root_above(repository: &RepositoryUrl) -> Option<RepositoryUrl> {
    let (root, name) = repository.split_last()?;
    [brand::REPOSITORY_PATH, brand::TOOLS_PATH].contains(&name.as_str()).then_some(root)
}
