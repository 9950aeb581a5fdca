//! Writing to a repository, for the publisher: a server, a bucket, or a directory.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use tempfile::Builder;
use ureq::http::header;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::api::{Problem, Refusal};
use super::connector::{Call, Connector, Reply};
use super::error::{Failure, FetchError, RedirectProblem};
use super::file::{inside, local, shown};
use super::http::{Client, Failed, drain, failure_of_status, is_redirect, target_of};
use super::patience::Patience;
use super::s3::Writer;
use super::target::Target;
use super::uploads::{PART, Uploads};
use crate::auth::Credentials;
use crate::url::RepositoryUrl;

/// A repository that is written.
pub trait Destination: Send + Sync + Debug {
    /// Writes a file. It is there whole, or not at all; directories on the way are made.
    ///
    /// A write is not repeated when it fails: the caller has the content and can.
    fn put(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<(), FetchError>;

    /// Deletes a file, or a directory with all that is in it.
    fn delete(&self, path: &RepoPath, patience: &Patience) -> Result<(), FetchError>;
}

/// What is written: its length and digest are known before, so that both ends can check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The number of bytes.
    pub length: u64,
    /// Their digest.
    pub sha256: Digest,
}

/// Whether what is there may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It may not. Servers are asked with `If-None-Match: *`; those that do not know it (the
    /// reference) replace all the same.
    CreateOnly,
    /// It may.
    Allowed,
}

/// Returns the repository at a place, for writing. Nothing is done yet.
pub fn open_destination(
    url: &RepositoryUrl,
    connector: &Arc<Connector>,
    credentials: &Credentials,
) -> Box<dyn Destination> {
    if let Some(root) = url.directory() {
        return Box::new(Directory { root: root.to_owned() });
    }
    match Writer::at(url, connector) {
        Some(writer) => Box::new(writer),
        None => Box::new(Server {
            url: url.clone(),
            client: Client::new(connector, credentials),
            uploads: Uploads::to(url, connector, credentials),
        }),
    }
}

/// A repository on a server that takes `PUT` and `DELETE`.
#[derive(Debug)]
struct Server {
    url: RepositoryUrl,
    client: Client,
    /// How large files come here, if this is a server of ours.
    uploads: Option<Uploads>,
}

/// From which length on a server is asked before it is sent everything: one that refuses then
/// says so, instead of cutting the connection.
pub(super) const ASKED_FIRST: u64 = 64 * 1024;

impl Server {
    fn call(
        &self,
        method: Method,
        target: &Target,
        headers: HeaderMap,
        body: Option<(&mut dyn Read, u64)>,
        patience: &Patience,
    ) -> Result<(), Failed> {
        let headers = self.client.signed_in(&method, &headers, target, patience)?;
        let call = Call { method, target, headers, patience };
        let mut reply = match body {
            Some((body, length)) => self.client.connector().send_body(&call, body, length)?,
            None => self.client.connector().send(&call)?,
        };
        if matches!(reply.status, 200 | 201 | 202 | 204) {
            drain(&mut reply.body);
            return Ok(());
        }
        let words = reply.body.read_all(PROBLEM_LIMIT).unwrap_or_default();
        Err(Failed::after(&reply, refusal(&reply, &words)))
    }

    /// Sends a large file in parts, from where a try before has come to. Says whether this is a server
    /// that takes them; of one that does not, nothing of the body is read.
    fn put_in_parts(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<bool, Failed> {
        let Some(uploads) = self.uploads.as_ref().filter(|_uploads| content.length > PART) else {
            return Ok(false);
        };
        let begun = match uploads.begin(path, content, patience) {
            Ok(begun) => begun,
            Err(Refusal::NotKnown(_)) => return Ok(false),
            // Others say so to a method that they do not know.
            Err(Refusal::Failed(failed)) if failed.is_about_the_caller() => return Ok(false),
            Err(refusal) => return Err(refusal.into_failed()),
        };
        let finished = uploads.finish(&begun, (path, content), body, replace, patience);
        finished.map(|()| true).map_err(Refusal::into_failed)
    }
}

/// The most that a server says about a write that it does not do.
const PROBLEM_LIMIT: u64 = 64 * 1024;

/// Returns why a write was not done.
fn refusal(reply: &Reply, words: &[u8]) -> Failure {
    match (reply.status, Problem::read(reply.status, words)) {
        (400 | 405..=409 | 411..=428, Some(problem)) => problem.failure(),
        (409 | 412, None) => Failure::Exists,
        (status, _) if is_redirect(status) => RedirectProblem::Write.into(),
        _ => failure_of_status(reply),
    }
}

impl Destination for Server {
    fn put(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        patience: &Patience,
    ) -> Result<(), FetchError> {
        let target = target_of(&self.url, path, "write")?;
        let told = |failed: Failed| failed.into_error("write", &target);
        if self.put_in_parts(path, body, content, replace, patience).map_err(told)? {
            return Ok(());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(content.length));
        let octets = HeaderValue::from_static("application/octet-stream");
        headers.insert(header::CONTENT_TYPE, octets);
        if let Ok(digest) = HeaderValue::from_str(&content.sha256.to_string()) {
            headers.insert(HeaderName::from_static("x-checksum-sha256"), digest);
        }
        if replace == Replace::CreateOnly {
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        if content.length >= ASKED_FIRST {
            headers.insert(header::EXPECT, HeaderValue::from_static("100-continue"));
        }
        let body = Some((body, content.length));
        self.call(Method::PUT, &target, headers, body, patience).map_err(told)
    }

    fn delete(&self, path: &RepoPath, patience: &Patience) -> Result<(), FetchError> {
        let target = target_of(&self.url, path, "delete")?;
        if path.is_root() {
            // The reference deletes everything then, root included.
            let failed = Failed::from(Failure::Forbidden);
            return Err(failed.into_error("delete", &target));
        }
        self.call(Method::DELETE, &target, HeaderMap::new(), None, patience)
            .map_err(|failed| failed.into_error("delete", &target))
    }
}

/// A repository in a directory.
#[derive(Debug)]
struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Makes the directories above a file and returns the one that holds it.
    fn directory_of(&self, path: &RepoPath) -> Result<PathBuf, Failure> {
        fs::create_dir_all(&self.root).map_err(|error| local(&self.root, error))?;
        let mut reached = RepoPath::root();
        let above = path.parent().unwrap_or_else(RepoPath::root);
        for segment in above.segments() {
            // One at a time, so that no directory is made through a link that leads out.
            let real = inside(&self.root, &reached)?.join(segment);
            match fs::create_dir(&real) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(local(&real, error));
                }
                Ok(()) | Err(_) => {}
            }
            reached = reached.join(segment).map_err(|_error| Failure::NotFound)?;
        }
        inside(&self.root, &reached)
    }

    fn write(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
    ) -> Result<(), Failure> {
        let name = path.file_name().ok_or(Failure::Forbidden)?;
        let directory = self.directory_of(path)?;
        let there = directory.join(name);
        let fail = |source| Failure::Local { path: there.clone(), source };

        let mut staged = staging(&directory).map_err(fail)?;
        let mut bounded = body.take(content.length.saturating_add(1));
        let (digest, length) = {
            let mut tee = Tee { from: &mut bounded, to: staged.as_file_mut(), failed: None };
            match Digest::of_reader(&mut tee) {
                Ok(read) => read,
                Err(_error) if tee.failed.is_some() => {
                    return Err(fail(tee.failed.unwrap_or_else(|| io::ErrorKind::Other.into())));
                }
                Err(source) => return Err(Failure::Content { source }),
            }
        };
        if (digest, length) != (content.sha256, content.length) {
            let source = io::Error::other("it is not what was announced");
            return Err(Failure::Content { source });
        }
        staged.as_file().sync_all().map_err(fail)?;
        let placed = match replace {
            Replace::Allowed => staged.persist(&there),
            Replace::CreateOnly => staged.persist_noclobber(&there),
        };
        placed.map_err(|error| {
            let exists = error.error.kind() == io::ErrorKind::AlreadyExists;
            if exists { Failure::Exists } else { fail(error.error) }
        })?;
        sync_directory(&directory).map_err(fail)
    }

    fn remove(&self, path: &RepoPath) -> Result<(), Failure> {
        let name = path.file_name().ok_or(Failure::Forbidden)?;
        let directory = inside(&self.root, &path.parent().unwrap_or_else(RepoPath::root))?;
        let there = directory.join(name);
        let metadata = fs::symlink_metadata(&there).map_err(|error| local(&there, error))?;
        let removed =
            if metadata.is_dir() { fs::remove_dir_all(&there) } else { fs::remove_file(&there) };
        removed.map_err(|error| local(&there, error))?;
        sync_directory(&directory).map_err(|error| local(&directory, error))
    }
}

impl Destination for Directory {
    fn put(
        &self,
        path: &RepoPath,
        body: &mut dyn Read,
        content: &Content,
        replace: Replace,
        _patience: &Patience,
    ) -> Result<(), FetchError> {
        self.write(path, body, content, replace)
            .map_err(|failure| FetchError::new("write", shown(&self.root, path), failure))
    }

    fn delete(&self, path: &RepoPath, _patience: &Patience) -> Result<(), FetchError> {
        self.remove(path)
            .map_err(|failure| FetchError::new("delete", shown(&self.root, path), failure))
    }
}

/// Makes the file that is written before it gets its name. Everybody may read it, as everything
/// in a repository; nobody may run it there.
fn staging(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = Builder::new();
    builder.prefix(".incoming-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(directory)
}

/// Writes what is read through it.
struct Tee<'a> {
    from: &'a mut dyn Read,
    to: &'a mut File,
    /// Set when it was the writing that failed.
    failed: Option<io::Error>,
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        use std::io::Write;
        let count = self.from.read(buffer)?;
        if let Err(error) = self.to.write_all(buffer.get(..count).unwrap_or_default()) {
            self.failed = Some(error);
            return Err(io::ErrorKind::Other.into());
        }
        Ok(count)
    }
}

/// Makes a name's change last through a power failure.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}
