//! Requests to the API of a `reposerver` (`/-/api/v1/`), for the publisher.

use std::io::Read;
use std::sync::Arc;

use dbt_core::repo_path::RepoPath;
use serde::Deserialize;
use ureq::http::{HeaderMap, HeaderValue, Method, header};

use super::connector::{Call, Connector, Reply};
use super::error::Failure;
use super::http::{Client, Failed, failure_of_status};
use super::patience::Patience;
use super::target::Target;
use crate::auth::Credentials;
use crate::url::RepositoryUrl;

/// The most that a server says to one request.
const LIMIT: u64 = 256 * 1024;

/// What the errors of a server of ours are called by.
const PROBLEM: &str = "urn:dbt:problem:";

/// The API of one server.
#[derive(Debug)]
pub(super) struct Api {
    root: RepositoryUrl,
    client: Client,
}

/// One request.
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// What of the API, segment by segment.
    pub(super) path: &'a [&'a str],
    pub(super) headers: HeaderMap,
    pub(super) body: &'a mut dyn Read,
    /// The number of bytes of the body.
    pub(super) length: u64,
}

/// Why a request was not carried out.
pub(super) enum Refusal {
    /// The server was not reached, refuses the caller, or cannot.
    Failed(Failed),
    /// This is no answer of the API: another web server, or one without writers.
    NotKnown(Failed),
    /// The server says why not.
    Problem(Problem),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

impl Refusal {
    /// Returns the error of a request that was to write a file.
    pub(super) fn into_failed(self) -> Failed {
        match self {
            Self::Failed(failed) | Self::NotKnown(failed) => failed,
            Self::Problem(problem) => problem.failure().into(),
        }
    }
}

/// What a server of ours says about a request that it did not carry out (RFC 9457). Text from outside.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    pub(super) status: u16,
    /// What is wrong, for people.
    #[serde(default)]
    pub(super) detail: String,
    /// The files that a release waits for.
    #[serde(default)]
    pub(super) waiting_for: Vec<String>,
}

impl Problem {
    /// Reads one; nothing if it is none of ours.
    pub(super) fn read(status: u16, bytes: &[u8]) -> Option<Self> {
        let read = serde_json::from_slice::<Self>(bytes).ok()?;
        read.kind.starts_with(PROBLEM).then_some(Self { status, ..read })
    }

    /// Returns the word for it.
    pub(super) fn code(&self) -> &str {
        self.kind.strip_prefix(PROBLEM).unwrap_or_default()
    }

    /// Returns what it means for a file that was to be written.
    pub(super) fn failure(self) -> Failure {
        match self.code() {
            "immutable-conflict" | "precondition-failed" => Failure::Exists,
            "digest-mismatch" => Failure::Garbled,
            _ => Failure::Declined { status: self.status, detail: self.detail },
        }
    }
}

impl Api {
    /// Returns that of the server whose root this is, above its repositories; nothing for a bucket or a
    /// directory.
    pub(super) fn at(
        root: &RepositoryUrl,
        connector: &Arc<Connector>,
        credentials: &Credentials,
    ) -> Option<Self> {
        let client = Client::new(connector, credentials);
        root.origin().is_some().then(|| Self { root: root.clone(), client })
    }

    /// Returns the root of the server.
    pub(super) const fn root(&self) -> &RepositoryUrl {
        &self.root
    }

    /// Makes a request, once, and returns what is said to it.
    pub(super) fn ask(
        &self,
        request: Request<'_>,
        patience: &Patience,
    ) -> Result<Vec<u8>, Refusal> {
        let Request { method, path, mut headers, body, length } = request;
        let target = self.target(path)?;
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        let headers = self.client.signed_in(&method, &headers, &target, patience)?;
        let call = Call { method, target: &target, headers, patience };
        let mut reply = self.client.connector().send_body(&call, body, length)?;
        let bytes = reply.body.read_all(LIMIT);
        if matches!(reply.status, 200 | 201 | 204) {
            return bytes.map_err(|failure| Refusal::Failed(Failed::after(&reply, failure)));
        }
        Err(refusal(&reply, &bytes.unwrap_or_default()))
    }

    fn target(&self, path: &[&str]) -> Result<Target, Failure> {
        let malformed = || Failure::Protocol("the server calls something by no name".to_owned());
        let segments = ["-", "api", "v1"];
        let mut path = segments.iter().chain(path);
        let path = path.try_fold(RepoPath::root(), |path, segment| path.join(segment));
        let path = path.map_err(|_not_a_segment| malformed())?;
        Target::of(&self.root.join(&path)).ok_or_else(malformed)
    }
}

/// Says what an answer means that is none of success.
fn refusal(reply: &Reply, bytes: &[u8]) -> Refusal {
    let failed = Failed::after(reply, failure_of_status(reply));
    match (reply.status, Problem::read(reply.status, bytes)) {
        (405 | 501, _) => Refusal::NotKnown(failed),
        (401 | 403 | 429 | 500.., _) => Refusal::Failed(failed),
        (_, None) => Refusal::NotKnown(failed),
        (_, Some(problem)) => Refusal::Problem(problem),
    }
}
