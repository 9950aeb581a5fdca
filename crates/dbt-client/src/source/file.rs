//! A directory as a repository: on this machine, or mounted.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use dbt_core::listing::{Listing, page};
use dbt_core::repo_path::RepoPath;

use super::body;
use super::error::{Failure, FetchError};
use super::patience::Patience;
use super::{Answer, Ask, Opened, Source};
use crate::url::RepositoryUrl;

/// A repository in a directory.
///
/// Links within it are followed, those that lead out of it are not: what is in a repository may
/// have come from others.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(super) fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn failed(&self, action: &'static str, path: &RepoPath, failure: Failure) -> FetchError {
        FetchError::new(action, shown(&self.root, path), failure)
    }

    /// Opens a regular file.
    fn file(&self, path: &RepoPath) -> Result<(File, Metadata), Failure> {
        let path = inside(&self.root, path)?;
        // Looked at before it is opened, because opening a pipe waits for its other end.
        let regular = fs::metadata(&path).map_err(|error| local(&path, error))?.is_file();
        if !regular {
            return Err(Failure::NotFound);
        }
        let file = File::open(&path).map_err(|error| local(&path, error))?;
        let metadata = file.metadata().map_err(|error| local(&path, error))?;
        Ok((file, metadata))
    }

    fn document(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, Failure> {
        let limit = ask.limit;
        let (file, metadata) = self.file(path)?;
        if metadata.len() > limit {
            return Err(Failure::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| local(&self.root.join(path.as_str()), error))?;
        if bytes.len() as u64 > limit {
            return Err(Failure::TooLarge { limit });
        }
        if !ask.accepts_html && body::is_html(&bytes) {
            let host = self.root.display().to_string();
            return Err(Failure::Html { host, content_type: "a file".to_owned() });
        }
        // Reading again costs less than being wrong about a file that changed within the
        // resolution of its time stamp.
        Ok(Answer::Document { bytes, etag: None })
    }

    fn listing(&self, directory: &RepoPath) -> Result<Listing, Failure> {
        let path = inside(&self.root, directory)?;
        let fail = |error| local(&path, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            if name == page::FILE {
                continue;
            }
            // What a link leads to decides; one that leads nowhere is no entry.
            let Ok(metadata) = fs::metadata(entry.path()) else { continue };
            names.push((name, metadata.is_dir()));
        }
        let names = names.iter().map(|(name, directory)| (name.as_str(), *directory));
        Ok(Listing::of_names(names)?)
    }

    fn artifact(&self, path: &RepoPath, from: u64) -> Result<Opened, Failure> {
        let (mut file, metadata) = self.file(path)?;
        let offset = from.min(metadata.len());
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| local(&self.root.join(path.as_str()), error))?;
        let length = Some(metadata.len());
        let reader = Box::new(Reader { file, path: self.root.join(path.as_str()) });
        // There is no connection that could break, so nothing to go on with.
        Ok(Opened { length, offset, etag: None, is_draft: false, reader })
    }
}

impl Source for Directory {
    fn get(&self, path: &RepoPath, ask: &Ask) -> Result<Answer, FetchError> {
        self.document(path, ask).map_err(|failure| self.failed("read", path, failure))
    }

    fn list(&self, directory: &RepoPath, _patience: &Patience) -> Result<Listing, FetchError> {
        self.listing(directory).map_err(|failure| self.failed("list", directory, failure))
    }

    fn open(
        &self,
        path: &RepoPath,
        from: u64,
        if_range: Option<&str>,
        _patience: &Patience,
    ) -> Result<Opened, FetchError> {
        // Files have no names that could be the asked one.
        let from = if if_range.is_some() { 0 } else { from };
        self.artifact(path, from).map_err(|failure| self.failed("copy", path, failure))
    }

    fn place_of(&self, path: &RepoPath) -> String {
        shown(&self.root, path)
    }
}

/// Reads a file, and says which one when that fails.
struct Reader {
    file: File,
    path: PathBuf,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read(buffer).map_err(|error| io::Error::other(local(&self.path, error)))
    }
}

/// Returns where a path really is, if that is inside of the root.
pub(super) fn inside(root: &Path, path: &RepoPath) -> Result<PathBuf, Failure> {
    let root = root.canonicalize().map_err(|error| {
        if is_missing(&error) { Failure::RootMissing } else { local(root, error) }
    })?;
    let wanted = path.segments().fold(root.clone(), |below, segment| below.join(segment));
    let real = wanted.canonicalize().map_err(|error| local(&wanted, error))?;
    if real.starts_with(&root) { Ok(real) } else { Err(Failure::LeavesRoot { path: wanted }) }
}

/// Returns a place as errors show it.
pub(super) fn shown(root: &Path, path: &RepoPath) -> String {
    RepositoryUrl::of_directory(root)
        .map_or_else(|_relative| path.to_string(), |url| url.join(path).to_string())
}

pub(super) fn local(path: &Path, error: io::Error) -> Failure {
    if is_missing(&error) {
        Failure::NotFound
    } else if error.kind() == io::ErrorKind::PermissionDenied {
        Failure::Forbidden
    } else {
        Failure::Local { path: path.to_owned(), source: error }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
