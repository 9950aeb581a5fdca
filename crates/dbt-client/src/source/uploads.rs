//! Files that come to a `reposerver` in parts (`/-/api/v1/uploads`), so that what came before a
//! connection broke is not sent again.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use dbt_core::repo_path::RepoPath;
use serde::Deserialize;
use serde_json::json;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::api::{Api, Refusal, Request};
use super::connector::Connector;
use super::destination::{Content, Replace};
use super::error::Failure;
use super::patience::Patience;
use crate::auth::Credentials;
use crate::url::RepositoryUrl;

/// How much is sent at once, and from which length on a file comes in parts.
///
/// Our server keeps what came of a part that was cut, but a proxy that reads a request to its end before
/// it passes it on loses it: this is what has to be sent again behind one. With 1.2 Mbit/s it takes less
/// than the minute that proxies wait, and it is below the 10 MB that some take. Each part costs the
/// server a flush to its disk and both ends a request: more of them would be felt.
pub const PART: u64 = 8 * 1024 * 1024;

/// Where in the upload a part begins.
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// The uploads of one repository of a server.
#[derive(Debug)]
pub(super) struct Uploads {
    api: Api,
    /// The name of the repository at the server.
    repository: RepoPath,
}

/// An upload as the server tells it. Text from outside.
#[derive(Debug, Deserialize)]
pub(super) struct Begun {
    id: String,
    offset: u64,
}

impl Uploads {
    /// Returns those to a repository that has one of the usual names; nothing elsewhere.
    pub(super) fn to(
        repository: &RepositoryUrl,
        connector: &Arc<Connector>,
        credentials: &Credentials,
    ) -> Option<Self> {
        let root = super::root_above(repository)?;
        let (_root, name) = repository.split_last()?;
        Some(Self { api: Api::at(&root, connector, credentials)?, repository: name })
    }

    /// Begins the upload of a file. Whoever has begun it before gets the same one, with what has come.
    pub(super) fn begin(
        &self,
        path: &RepoPath,
        content: &Content,
        patience: &Patience,
    ) -> Result<Begun, Refusal> {
        let bytes = self.say(Method::POST, &[], self.named(path, content), None, patience)?;
        let malformed = || Failure::Protocol("an upload without an id".to_owned());
        serde_json::from_slice(&bytes).map_err(|_error| malformed().into())
    }

    /// Sends what is missing of a file, and publishes it. `body` begins at the beginning of the file.
    ///
    /// An error for which [`Failure::Interrupted`] stands, or a connection that broke, leaves the upload
    /// as it is at the server: beginning again goes on with it.
    pub(super) fn finish(
        &self,
        begun: &Begun,
        (path, content): (&RepoPath, &Content),
        body: &mut dyn Read,
        replace: Replace,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        if begun.offset > content.length {
            return Err(self.abandon(begun, Failure::Interrupted, patience));
        }
        let skipped = io::copy(&mut Read::take(&mut *body, begun.offset), &mut io::sink());
        let skipped = skipped.map_err(|source| Failure::Content { source })?;
        if skipped != begun.offset {
            let source = io::ErrorKind::UnexpectedEof.into();
            return Err(Failure::Content { source }.into());
        }
        let mut offset = begun.offset;
        while offset < content.length {
            let length = PART.min(content.length - offset);
            self.append(begun, offset, body, length, patience)?;
            offset += length;
        }
        let committed = self.say(
            Method::POST,
            &[&begun.id, "commit"],
            self.named(path, content),
            (replace == Replace::CreateOnly).then_some((header::IF_NONE_MATCH, "*")),
            patience,
        );
        match committed.map_err(gone) {
            Err(Refusal::Problem(problem)) if problem.code() == "digest-mismatch" => {
                Err(self.abandon(begun, problem.failure(), patience))
            }
            outcome => outcome.map(drop),
        }
    }

    fn append(
        &self,
        begun: &Begun,
        offset: u64,
        body: &mut dyn Read,
        length: u64,
        patience: &Patience,
    ) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(UPLOAD_OFFSET, HeaderValue::from(offset));
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
        // Whatever can be refused is refused before it is sent.
        headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        let path = ["uploads", &begun.id];
        let request = Request { method: Method::PATCH, path: &path, headers, body, length };
        self.api.ask(request, patience).map(drop).map_err(gone)
    }

    /// Gives up what is no good, so that beginning again begins at the beginning.
    fn abandon(&self, begun: &Begun, failure: Failure, patience: &Patience) -> Refusal {
        let given_up = self.say(Method::DELETE, &[&begun.id], String::new(), None, patience);
        given_up.err().map_or_else(|| failure.into(), gone)
    }

    /// Returns the words for where a file goes and what it is.
    fn named(&self, path: &RepoPath, content: &Content) -> String {
        let path = format!("/{}/{path}", self.repository);
        json!({ "path": path, "sha256": content.sha256.to_string() }).to_string()
    }

    fn say(
        &self,
        method: Method,
        path: &[&str],
        words: String,
        line: Option<(HeaderName, &'static str)>,
        patience: &Patience,
    ) -> Result<Vec<u8>, Refusal> {
        let mut headers = HeaderMap::new();
        if !words.is_empty() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        headers.extend(line.map(|(name, value)| (name, HeaderValue::from_static(value))));
        let path = [&["uploads"], path].concat();
        let (length, body) = (words.len() as u64, &mut Cursor::new(words));
        self.api.ask(Request { method, path: &path, headers, body, length }, patience)
    }
}

/// Says of an upload that has expired or that somebody else goes on with, that it is so: asking anew
/// where it ends helps.
fn gone(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::Problem(problem) if matches!(problem.code(), "not-found" | "offset-mismatch") => {
            Failure::Interrupted.into()
        }
        other @ (Refusal::Failed(_) | Refusal::NotKnown(_) | Refusal::Problem(_)) => other,
    }
}
