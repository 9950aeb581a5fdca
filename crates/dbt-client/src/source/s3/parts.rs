//! Large objects, in parts (S3 API reference, "Uploading and copying objects using multipart upload"):
//! what came of one is not sent again when a connection breaks, and an object may be larger than a
//! store takes at once.

use std::io::{self, Read};

use dbt_core::digest::Hasher;
use dbt_core::repo_path::RepoPath;
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderValue, Method};

use super::problem::{BucketProblem, Said};
use super::write::{Writer, about};
use super::{Store, WORDS, Wanted, plain};
use crate::source::destination::{Content, Replace};
use crate::source::error::{Failure, FetchError};
use crate::source::http::{Failed, drain, until_good};
use crate::source::patience::{Cancel, Patience};
use crate::source::uploads::PART;
use crate::source::{encoded, xml};

/// The most parts that an object may have.
const PARTS: u64 = 10_000;

/// An upload that a store has begun.
struct Upload<'a> {
    store: &'a Store,
    key: &'a str,
    /// What the store calls it, escaped.
    id: String,
}

impl Writer {
    /// Writes a large object. Says whether the store takes parts: of one that does not, nothing of the
    /// body is read.
    pub(super) fn write_in_parts(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<bool, FetchError> {
        let told = self.store().told("write", path);
        let key = self.store().key(path);
        let condition = self.condition(&key, replace, patience).map_err(&told)?;
        let headers = about(path, replace);
        let begin = || Upload::begin(self.store(), &key, &headers, patience);
        let Some(upload) = until_good(patience, &told, begin)? else { return Ok(false) };
        let parts = upload.send(body, content, &told, patience);
        let outcome = parts.and_then(|parts| {
            // Not asked twice: whoever has lost the answer looks at what is there.
            let finished = upload.finish(&parts, condition.as_ref(), patience);
            finished.map_err(|failed| told(self.without_condition(condition.as_ref(), failed)))
        });
        if outcome.is_err() {
            upload.give_up();
        }
        outcome.map(|()| true)
    }

    /// Remembers of a store that refused a condition that it knows none; the next try goes without.
    fn without_condition(&self, condition: Option<&HeaderValue>, failed: Failed) -> Failed {
        if let Failure::Bucket(BucketProblem::Unknown { code }) = &failed.failure
            && condition.is_some()
        {
            self.learn_no_conditions();
            return Failure::from(BucketProblem::Conflict { code: code.clone() }).into();
        }
        failed
    }
}

impl<'a> Upload<'a> {
    /// Begins one; nothing at a store that takes no parts.
    fn begin(
        store: &'a Store,
        key: &'a str,
        headers: &HeaderMap,
        patience: &Patience,
    ) -> Result<Option<Self>, Failed> {
        let mut headers = headers.clone();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        let wanted =
            Wanted { method: Method::POST, headers, ..Self::wanted(key, "uploads=", Some(b"")) };
        let mut reply = match store.send(&wanted, patience) {
            Ok(reply) => reply,
            Err(failed) if is_not_known(&failed.failure) => return Ok(None),
            Err(failed) => return Err(failed),
        };
        let bytes = reply.body.read_all(WORDS).map_err(|failure| Failed::after(&reply, failure))?;
        let leaves = xml::leaves(&bytes).unwrap_or_default();
        let id = leaves.iter().find(|leaf| leaf.path == "InitiateMultipartUploadResult/UploadId");
        let id = id.map(|leaf| leaf.text.as_str()).filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| malformed("an upload without an id"))?;
        Ok(Some(Self { store, key, id: format!("uploadId={}", encoded(id)) }))
    }

    /// Sends everything, and returns what the store calls each part.
    fn send(
        &self,
        body: &mut dyn Read,
        content: &Content,
        told: &dyn Fn(Failed) -> FetchError,
        patience: &Patience,
    ) -> Result<Vec<String>, FetchError> {
        let unreadable = |source| told(Failure::Content { source }.into());
        let (mut etags, mut hasher) = (Vec::new(), Hasher::default());
        let (mut part, mut left) = (Vec::new(), content.length);
        while left > 0 {
            let length = size_of_parts(content.length).min(left);
            part.clear();
            let read = Read::take(&mut *body, length).read_to_end(&mut part);
            if read.map_err(unreadable)? as u64 != length {
                return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            hasher.update(&part);
            let number = etags.len() + 1;
            etags.push(until_good(patience, told, || self.send_part(number, &part, patience))?);
            left -= length;
        }
        // The store has compared each part with its digest, and knows none of the whole.
        if hasher.finish() != content.sha256 {
            let changed = "it is not what it was when it was looked at";
            return Err(unreadable(io::Error::new(io::ErrorKind::InvalidData, changed)));
        }
        Ok(etags)
    }

    fn send_part(&self, number: usize, part: &[u8], patience: &Patience) -> Result<String, Failed> {
        let query = format!("partNumber={number}&{}", self.id);
        let mut headers = plain();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(part.len()));
        let wanted =
            Wanted { method: Method::PUT, headers, ..Self::wanted(self.key, &query, Some(part)) };
        let mut reply = self.store.send(&wanted, patience).map_err(gone)?;
        let etag = reply.header("etag").filter(|etag| is_name(etag)).map(str::to_owned);
        drain(&mut reply.body);
        etag.ok_or_else(|| malformed("a part without a name"))
    }

    /// Makes the object of its parts.
    fn finish(
        &self,
        etags: &[String],
        condition: Option<&HeaderValue>,
        patience: &Patience,
    ) -> Result<(), Failed> {
        let parts = etags.iter().zip(1..).map(|(etag, number)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
        });
        let words = format!(
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}</CompleteMultipartUpload>",
            parts.collect::<String>()
        );
        let mut headers = plain();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(words.len()));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
        headers.extend(condition.map(|value| (header::IF_NONE_MATCH, value.clone())));
        let wanted = Wanted {
            method: Method::POST,
            headers,
            ..Self::wanted(self.key, &self.id, Some(words.as_bytes()))
        };
        let mut reply = self.store.send(&wanted, patience).map_err(gone)?;
        let bytes = reply.body.read_all(WORDS).map_err(|failure| Failed::after(&reply, failure))?;
        // A store begins to answer before it knows: what went wrong afterwards is in the body.
        if is_finished(&bytes) {
            return Ok(());
        }
        let keys = self.store.keys(patience)?;
        let failure =
            Said::read(500, None, &bytes).failure(self.store.asked(&wanted, keys.as_ref()));
        Err(Failed::after(&reply, failure))
    }

    /// Lets the store remove what it has. That it does not costs its owner room, and nobody else
    /// anything.
    fn give_up(&self) {
        // Also where somebody has ended the work.
        let patience = Patience::without_cached_copy(1.0).cancelled_by(Cancel::default());
        let wanted = Wanted {
            method: Method::DELETE,
            permission: "s3:AbortMultipartUpload",
            answers: &[200, 204, 404],
            ..Self::wanted(self.key, &self.id, None)
        };
        let _given_up = self.store.send(&wanted, &patience);
    }

    fn wanted<'b>(key: &'b str, query: &'b str, body: Option<&'b [u8]>) -> Wanted<'b> {
        let permission = "s3:PutObject";
        Wanted { query, body, permission, ..Store::reading(key, plain(), &[200]) }
    }
}

/// Returns how long the parts of an object are: as short as its number of parts allows.
fn size_of_parts(length: u64) -> u64 {
    PART.max(length.div_ceil(PARTS))
}

/// Says whether a store does not know what parts are.
fn is_not_known(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Bucket(BucketProblem::Unknown { .. } | BucketProblem::Refused { status: 405, .. })
            | Failure::Status { status: 405 }
    )
}

/// Says of an upload that the store does not have any more that it is so: beginning anew helps.
fn gone(failed: Failed) -> Failed {
    let is_gone = matches!(failed.failure, Failure::NotFound);
    if is_gone { Failure::Interrupted.into() } else { failed }
}

/// Says whether text can stand in XML as it is.
fn is_name(etag: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_graphic() && !b"<>&".contains(&byte);
    !etag.is_empty() && etag.len() <= 256 && etag.bytes().all(legal)
}

fn is_finished(bytes: &[u8]) -> bool {
    let leaves = xml::leaves(bytes).unwrap_or_default();
    leaves.iter().any(|leaf| leaf.path.starts_with("CompleteMultipartUploadResult/"))
}

fn malformed(words: &str) -> Failed {
    Failure::Protocol(words.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_more_parts_than_a_store_takes() {
        for length in [1, PART, PART + 1, PART * PARTS, PART * PARTS + 1, 5 << 40] {
            let size = size_of_parts(length);
            assert!(size >= PART && length.div_ceil(size) <= PARTS, "{length}: {size}");
        }
        assert_eq!(size_of_parts(PART * PARTS), PART);
    }

    #[test]
    fn an_answer_that_begins_well_may_end_in_a_refusal() {
        let good = b"<CompleteMultipartUploadResult><ETag>&quot;x&quot;</ETag></CompleteMultipartUploadResult>";
        assert!(is_finished(good));
        for bad in ["", "<Error><Code>InternalError</Code></Error>", "<html>"] {
            assert!(!is_finished(bad.as_bytes()), "{bad}");
        }
    }
}
