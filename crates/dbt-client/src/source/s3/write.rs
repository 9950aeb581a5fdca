//! Writing to a bucket, for the publisher.

use std::io::Read;
use std::sync::Arc;

use dbt_core::layout::{CHECKSUM_ENDING, SIGNATURE_ENDING};
use dbt_core::repo_path::RepoPath;
use dbt_core::version::Version;
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::listing::{Depth, Page};
use super::problem::BucketProblem;
use super::{Store, Wanted, plain, said_by};
use crate::beside;
use crate::source::connector::Connector;
use crate::source::destination::{ASKED_FIRST, Content, Destination, Replace};
use crate::source::error::{Failure, FetchError};
use crate::source::http::{Failed, drain};
use crate::source::patience::Patience;
use crate::source::uploads::PART;
use crate::url::RepositoryUrl;

/// A bucket that is written.
#[derive(Debug)]
pub(in crate::source) struct Writer(Store);

/// How many objects are deleted at once.
const AT_ONCE: usize = 4;

impl Writer {
    /// Returns the place of a URL in a bucket; nothing for any other URL.
    pub(in crate::source) fn at(url: &RepositoryUrl, connector: &Arc<Connector>) -> Option<Self> {
        Store::at(url, connector).map(Self)
    }

    /// Writes an object. What cannot be sent again is sent where the bucket is known to be.
    fn write(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<(), Failed> {
        let key = self.0.key(path);
        let condition = self.condition(&key, replace, patience)?;
        let is_conditional = condition.is_some();
        let mut headers = about(path, replace);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.length));
        headers.extend(condition.map(|value| (header::IF_NONE_MATCH, value)));
        if content.length >= ASKED_FIRST {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        let wanted = Wanted {
            method: Method::PUT,
            permission: "s3:PutObject",
            ..Store::reading(&key, headers, &[200, 201])
        };
        let keys = self.0.keys(patience)?;
        let body = Some((body, content.length, &content.sha256));
        let mut reply = self.0.send_once(&wanted, body, keys.as_ref(), patience)?;
        if wanted.answers.contains(&reply.status) {
            drain(&mut reply.body);
            return Ok(());
        }
        let said = said_by(&mut reply);
        if said.is_elsewhere() {
            self.0.go_where(&said)?;
            let bucket = self.0.bucket.name().to_owned();
            let is = said.region.map(|region| region.to_string()).unwrap_or_default();
            // The next try goes there.
            return Err(Failed::after(&reply, BucketProblem::Moved { bucket, is }.into()));
        }
        if let Some(keys) = keys.as_ref().filter(|_keys| said.is_expired())
            && self.0.renew(keys, patience)?
        {
            let key = keys.id.clone();
            return Err(Failed::after(&reply, BucketProblem::Renewed { key }.into()));
        }
        if is_conditional && said.is_not_implemented() {
            self.learn_no_conditions();
            let code = "NotImplemented".to_owned();
            return Err(Failed::after(&reply, BucketProblem::Conflict { code }.into()));
        }
        let failure = said.failure(self.0.asked(&wanted, keys.as_ref()));
        Err(Failed::after(&reply, failure))
    }

    /// Returns what has the store refuse to replace an object. One that knows no such condition is
    /// asked before whether the object is there.
    pub(super) fn condition(
        &self,
        key: &str,
        replace: Replace,
        patience: &Patience,
    ) -> Result<Option<HeaderValue>, Failed> {
        if replace == Replace::Allowed {
            return Ok(None);
        }
        if self.0.connector.aws().has_conditions(self.0.bucket.name()) {
            return Ok(Some(HeaderValue::from_static("*")));
        }
        if self.is_there(key, patience)? { Err(Failure::Exists.into()) } else { Ok(None) }
    }

    pub(super) fn learn_no_conditions(&self) {
        self.0.connector.aws().learn_no_conditions(self.0.bucket.name());
    }

    pub(super) const fn store(&self) -> &Store {
        &self.0
    }

    /// Says whether there is an object: for stores that do not know the condition of a write.
    fn is_there(&self, key: &str, patience: &Patience) -> Result<bool, Failed> {
        let wanted = Wanted {
            method: Method::HEAD,
            answers: &[200, 404],
            ..Store::reading(key, plain(), &[])
        };
        Ok(self.0.send(&wanted, patience)?.status == 200)
    }

    /// Deletes an object and everything below it, what makes a version one first: what is left half
    /// done is a version that is not published, and no broken one.
    fn remove(&self, path: &RepoPath, patience: &Patience) -> Result<(), FetchError> {
        let told = self.0.told("delete", path);
        let own = self.0.key(path);
        let pages = self.0.pages(path, Depth::All, patience)?;
        let mut keys: Vec<String> = pages.into_iter().flat_map(|Page { keys, .. }| keys).collect();
        if keys.is_empty() && !self.is_there(&own, patience).map_err(&told)? {
            return Err(told(Failure::NotFound.into()));
        }
        keys.push(own);
        let is_proof = |key: &String| {
            [CHECKSUM_ENDING, SIGNATURE_ENDING].iter().any(|ending| key.ends_with(ending))
        };
        let (proofs, others): (Vec<String>, Vec<String>) = keys.into_iter().partition(is_proof);
        for some in [proofs, others] {
            for outcome in beside::each(&some, AT_ONCE, |key| self.remove_one(key, patience)) {
                outcome.map_err(&told)?;
            }
        }
        Ok(())
    }

    fn remove_one(&self, key: &str, patience: &Patience) -> Result<(), Failed> {
        let wanted = Wanted {
            method: Method::DELETE,
            permission: "s3:DeleteObject",
            answers: &[200, 204, 404],
            ..Store::reading(key, plain(), &[])
        };
        let mut reply = self.0.send(&wanted, patience)?;
        drain(&mut reply.body);
        Ok(())
    }
}

impl Destination for Writer {
    fn put(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<(), FetchError> {
        if content.length > PART && self.write_in_parts(path, body, content, replace, patience)? {
            return Ok(());
        }
        let told = self.0.told("write", path);
        self.write(path, body, content, replace, patience).map_err(told)
    }

    fn delete(&self, path: &RepoPath, patience: &Patience) -> Result<(), FetchError> {
        if path.is_root() {
            return Err(self.0.told("delete", path)(Failure::Forbidden.into()));
        }
        self.remove(path, patience)
    }
}

/// Returns what browsers and caches between the bucket and its readers are told of an object.
///
/// An artifact that was only to be created stays as it is, so caches need not ask for it again;
/// everything else may change, and is asked for each time.
pub(super) fn about(path: &RepoPath, replace: Replace) -> HeaderMap {
    let name = path.file_name().unwrap_or_default();
    let kind = match name.rsplit_once('.').map(|(_name, ending)| ending) {
        Some("html") => "text/html; charset=utf-8",
        Some("json") => "application/json",
        Some("asc" | "md5" | "sha1" | "sha256" | "sh" | "txt") => "text/plain; charset=utf-8",
        _ if name == "latest" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    };
    let stays = replace == Replace::CreateOnly && is_artifact(path);
    let caching = if stays { "public, max-age=31536000, immutable" } else { "no-cache" };
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
    ])
}

/// Says whether a path is that of an artifact: `…/VERSION/OS/ARCH/NAME`, and nothing beside it.
fn is_artifact(path: &RepoPath) -> bool {
    let segments: Vec<&str> = path.segments().collect();
    let [.., version, _os, _arch, name] = segments.as_slice() else { return false };
    let is_beside = [".asc", ".sha256", ".sha1", ".md5", ".jsonl"];
    version.parse::<Version>().is_ok() && !is_beside.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, replace: Replace, kind: &str, caching: &str) {
        let headers = about(&path.parse().unwrap(), replace);
        assert_eq!(
            (&headers["content-type"], &headers["cache-control"]),
            (&HeaderValue::from_str(kind).unwrap(), &HeaderValue::from_str(caching).unwrap(),)
        );
    }

    #[test]
    fn caches_keep_artifacts_and_ask_for_everything_else() {
        let for_ever = "public, max-age=31536000, immutable";
        let (octets, text) = ("application/octet-stream", "text/plain; charset=utf-8");
        let artifact = "tool/1.0.0/linux/amd64/tool";
        check(artifact, Replace::CreateOnly, octets, for_ever);
        check(artifact, Replace::Allowed, octets, "no-cache");
        check("1.0.0/linux/amd64/dbt", Replace::CreateOnly, octets, for_ever);
        for path in ["tool/1.0.0/linux/amd64/tool.asc", "tool/1.0.0/description.txt", "latest"] {
            check(path, Replace::CreateOnly, text, "no-cache");
        }
        check("truststore", Replace::CreateOnly, octets, "no-cache");
        check("tool/index.html", Replace::Allowed, "text/html; charset=utf-8", "no-cache");
        check("tool/withdrawn.json", Replace::Allowed, "application/json", "no-cache");
    }
}
