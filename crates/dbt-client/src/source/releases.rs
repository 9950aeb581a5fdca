//! Releases of a `reposerver`, for the publisher: versions that readers do not see before they are
//! committed (`/-/api/v1/releases`).

use std::io::Cursor;
use std::sync::Arc;

use dbt_core::brand;
use dbt_core::release::Subject;
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::connector::{Call, Connector};
use super::error::FetchError;
use super::http::{Client, Failed, failure_of_status, target_of};
use super::patience::Patience;
use crate::auth::Credentials;
use crate::url::RepositoryUrl;

/// The most that a server says about a release.
const LIMIT: u64 = 256 * 1024;

/// How often a question is asked again whose answer was lost: asked again, it has the same one.
const RETRIES: u32 = 3;

/// What is said to the server, in errors.
const ACTION: &str = "ask";

/// The releases of one server.
#[derive(Debug)]
pub struct Releases {
    root: RepositoryUrl,
    client: Client,
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
    /// The server says why not.
    #[error("the server refuses: {detail} ({status})")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its words.
        detail: String,
    },
}

impl Releases {
    /// Returns those of the server whose root this is, above its repositories; nothing for a
    /// directory.
    pub fn at(
        root: &RepositoryUrl,
        connector: &Arc<Connector>,
        credentials: &Credentials,
    ) -> Option<Self> {
        root.directory()
            .is_none()
            .then(|| Self { root: root.clone(), client: Client::new(connector, credentials) })
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
        ReleaseError::NotKnown { root: self.root.to_string() }
    }

    fn ask(&self, method: Method, below: &[&str], body: &str) -> Result<Vec<u8>, ReleaseError> {
        let mut retries = 0;
        loop {
            match self.ask_once(&method, below, body) {
                Err(ReleaseError::Fetch(error))
                    if retries < RETRIES && error.failure().is_passing() =>
                {
                    retries += 1;
                    std::thread::sleep(error.retry_after().unwrap_or_default().min(LONGEST));
                }
                outcome => return outcome,
            }
        }
    }

    fn ask_once(
        &self,
        method: &Method,
        below: &[&str],
        body: &str,
    ) -> Result<Vec<u8>, ReleaseError> {
        let segments = ["-", "api", "v1", "releases"];
        let path = segments
            .iter()
            .chain(below)
            .try_fold(RepoPath::root(), |path, segment| path.join(segment))
            .map_err(|_bad_id| self.not_known())?;
        let target = target_of(&self.root, &path, ACTION)?;
        let failed = |failed: Failed| ReleaseError::from(failed.into_error(ACTION, &target));
        let patience = Patience::for_upload(1.0);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        let signed_in = self.client.signed_in(method, &headers, &target, &patience);
        let headers = signed_in.map_err(|failure| failed(failure.into()))?;
        let call = Call { method: method.clone(), target: &target, headers, patience: &patience };
        let connector = self.client.connector();
        let sent = connector.send_body(&call, &mut Cursor::new(body), body.len() as u64);
        let mut reply = sent.map_err(|failure| failed(failure.into()))?;
        let bytes = reply.body.read_all(LIMIT);
        if matches!(reply.status, 200 | 201 | 204) {
            return bytes.map_err(|failure| failed(Failed::after(&reply, failure)));
        }
        let problem = bytes.ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        let ours = problem
            .filter(|problem| problem["type"].as_str().is_some_and(|it| it.starts_with(PROBLEM)));
        let status = reply.status;
        match (status, ours) {
            (401 | 403 | 429 | 500.., _) => {
                Err(failed(Failed::after(&reply, failure_of_status(&reply))))
            }
            (404, Some(_nothing)) => Err(ReleaseError::Nothing),
            (405, _) | (_, None) => Err(self.not_known()),
            (status, Some(problem)) => {
                let detail = problem["detail"].as_str().unwrap_or_default().to_owned();
                Err(ReleaseError::Refused { status, detail })
            }
        }
    }
}

/// What the errors of a server of ours are called by.
const PROBLEM: &str = "urn:dbt:problem:";

/// The longest that a server may ask us to wait.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(30);

/// Returns the root of the server whose repository this is: what is above it, where it has its
/// usual name.
pub fn root_above(repository: &RepositoryUrl) -> Option<RepositoryUrl> {
    let (root, name) = repository.split_last()?;
    [brand::REPOSITORY_PATH, brand::TOOLS_PATH].contains(&name.as_str()).then_some(root)
}
