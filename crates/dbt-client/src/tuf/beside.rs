//! Metadata that lies beside the files of a repository of ours, in a directory of its own.

use dbt_core::repo_path::RepoPath;
use dbt_core::trust::metadata::RemoteFile;

use super::Remote;
use crate::source::{Answer, Ask, Failure, FetchError, Patience, Source};

/// The directory of metadata, in the repository of the program itself. (Trust design, 2.3.)
pub const DIRECTORY: &str = "tuf";

/// Where targets lie that other bytes may take the place of, by their digests.
const TARGETS: &str = "targets";

/// The metadata of a repository of ours.
pub struct Beside<'a> {
    source: &'a dyn Source,
    patience: Patience,
}

impl<'a> Beside<'a> {
    /// Names the repository of the program itself. Nothing is read yet.
    pub const fn of(source: &'a dyn Source, patience: Patience) -> Self {
        Self { source, patience }
    }

    /// Reads a file of the directory, or returns nothing where there is none.
    fn read(&self, path: &RepoPath, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        match self.source.get(path, &Ask::document(limit, &self.patience)) {
            Ok(Answer::Document { bytes, etag: _ }) => Ok(Some(bytes)),
            // Nothing was said about what we have, so there is nothing that could be unchanged.
            Ok(Answer::NotModified) => Ok(None),
            Err(error) if is_missing(path, &error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Returns where a file of metadata is in the repository; nothing for a name that no file of ours has.
pub(crate) fn path_of(name: &str) -> Option<RepoPath> {
    RepoPath::root().join(DIRECTORY).ok()?.join(name).ok()
}

/// Returns where the timestamp is in the repository.
pub(crate) fn timestamp_path() -> RepoPath {
    path_of("timestamp.json").unwrap_or_else(RepoPath::root)
}

/// Says whether a file is not there. Object stores answer 403 for one that is not there to whoever may not list the
/// others, and there always is a root that is not there.
fn is_missing(path: &RepoPath, error: &FetchError) -> bool {
    let is_root = path.file_name().is_some_and(|name| name.ends_with(".root.json"));
    matches!(error.failure(), Failure::NotFound | Failure::RootMissing)
        || (is_root && matches!(error.failure(), Failure::Forbidden))
}

impl Remote for Beside<'_> {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        path_of(&file.plain_name()).map_or(Ok(None), |path| self.read(&path, file.limit))
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        // `dbt/DIGEST.truststore`: only the last segment is a name there.
        let name = path.rsplit('/').next().unwrap_or_default();
        let at = path_of(TARGETS).and_then(|directory| directory.join(name).ok());
        at.map_or(Ok(None), |at| self.read(&at, limit))
    }
}
