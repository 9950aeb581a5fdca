//! As whom a server knows us, if it is one that says so.

use std::sync::Arc;

use dbt_core::repo_path::RepoPath;

use crate::auth::Credentials;
use crate::source::{self, Answer, Ask, Class, Connector, Failure, FetchError, Patience};
use crate::url::RepositoryUrl;

/// The most that a server says.
const LIMIT: u64 = 64 * 1024;

/// As whom a server knows us. Text from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Who: `ssh:alice`.
    pub subject: String,
    /// What people call them.
    pub name: Option<String>,
    /// Where they get mail.
    pub email: Option<String>,
    /// The groups they are in.
    pub groups: Vec<String>,
    /// The roles they have.
    pub roles: Vec<String>,
    /// How it was proved.
    pub method: Option<String>,
    /// Until when the proof counts, as RFC 3339 writes times.
    pub expires: Option<String>,
}

/// Asks the server whose root this is, above its repositories. Nothing, if it does not know the
/// question: a web server, or an older one.
pub fn ask(
    root: &RepositoryUrl,
    connector: &Arc<Connector>,
    credentials: &Credentials,
    patience: &Patience,
) -> Result<Option<Identity>, FetchError> {
    let source = source::open(root, connector, credentials);
    match source.get(&path(), &Ask::document(LIMIT, patience)) {
        Ok(Answer::Document { bytes, etag: _ }) => {
            let identity = serde_json::from_slice(&bytes).ok();
            Ok(identity.filter(|identity: &Identity| !identity.subject.is_empty()))
        }
        Ok(Answer::NotModified) => Ok(None),
        // A page for people, in the place of an answer; or that there is none to this question.
        Err(error) if matches!(error.failure(), Failure::Html { .. } | Failure::Status { .. }) => {
            Ok(None)
        }
        Err(error) => match error.class() {
            Class::SignIn | Class::Outage => Err(error),
            Class::Forbidden | Class::NotFound | Class::Refused => Ok(None),
        },
    }
}

/// Returns where servers say it, below their root.
fn path() -> RepoPath {
    let segments = ["-", "api", "v1", "whoami"];
    // The segments are legal; were one not, the root would be asked and say nothing useful.
    segments.iter().fold(RepoPath::root(), |path, segment| path.join(segment).unwrap_or(path))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_path_is_the_one_of_the_api() {
        assert_eq!(super::path().as_str(), "-/api/v1/whoami");
    }
}
