//! What is being asked: to read, write or delete one path.
//!
//! An action exists only for a path on which it may be asked at all; who may ask it is
//! [`crate::authz`]'s business. Each kind is a type of its own, so that a grant for one cannot be
//! used for another.

use dbt_core::brand;
use dbt_core::layout::{TRUSTSTORE_FILE, WITHDRAWN_FILE};
use dbt_core::repo_path::RepoPath;

use crate::authz::Guarded;
use crate::authz::permission::Permission;
use crate::writable::{self, NotWritable};

/// An action of some kind on a path.
pub trait Action {
    /// Which kind.
    const KIND: Kind;

    /// Returns the path.
    fn path(&self) -> &RepoPath;
}

/// The kinds of action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Reading a file or listing a directory.
    Read,
    /// Creating or replacing a file.
    Write,
    /// Removing a file or a directory with everything below.
    Delete,
}

impl Kind {
    /// Returns the word used in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        }
    }
}

/// Reading a file or listing a directory, never one with a hidden part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    path: RepoPath,
    lists: bool,
}

impl Read {
    /// Returns the action, or nothing for a path that does not exist for readers.
    pub fn of(path: RepoPath) -> Option<Self> {
        let visible = path.segments().all(is_visible);
        visible.then_some(Self { path, lists: false })
    }

    /// Reading what is always there: the root.
    pub const fn root() -> Self {
        Self { path: RepoPath::root(), lists: false }
    }

    /// Makes it the listing of a directory, if it is one.
    #[must_use]
    pub fn listing(self, lists: bool) -> Self {
        Self { lists, ..self }
    }

    /// Says whether a listing is asked for.
    pub const fn lists(&self) -> bool {
        self.lists
    }
}

/// Creating or replacing a file, under the rules of [`crate::writable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write(RepoPath);

impl Write {
    /// Returns the action, or why no file may be written there.
    pub fn of(path: RepoPath) -> Result<Self, NotWritable> {
        writable::check(&path)?;
        Ok(Self(path))
    }
}

/// Removing a file or a directory with everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete(RepoPath);

impl Delete {
    /// Returns the action, or nothing for a path that does not exist for readers either.
    pub fn of(path: RepoPath) -> Option<Self> {
        let visible = path.segments().all(is_visible);
        visible.then_some(Self(path))
    }

    /// Says why nobody may delete this, if so.
    ///
    /// The roots hold everything, and a fleet without a truststore installs nothing.
    pub fn protected(&self) -> Option<&'static str> {
        let segments: Vec<&str> = self.0.segments().collect();
        match segments.as_slice() {
            [] => Some("the root of the server cannot be deleted"),
            [brand::REPOSITORY_PATH | brand::TOOLS_PATH] => {
                Some("the root of a repository cannot be deleted")
            }
            [brand::REPOSITORY_PATH, TRUSTSTORE_FILE] => {
                Some("the truststore can be replaced but not deleted")
            }
            [brand::REPOSITORY_PATH | brand::TOOLS_PATH, ..] => None,
            _ => Some("only files of the repositories can be deleted"),
        }
    }
}

/// Putting back what was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    path: RepoPath,
    id: String,
}

impl Restore {
    /// Returns the action of undoing one deletion at a path.
    pub const fn of(path: RepoPath, id: String) -> Self {
        Self { path, id }
    }

    /// Returns which deletion.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Guarded for Restore {
    fn permission(&self) -> Permission {
        Permission::Create
    }

    /// An older truststore or older metadata would take back what was revoked since.
    fn protected(&self) -> Option<&'static str> {
        let segments: Vec<&str> = self.path.segments().collect();
        match segments.as_slice() {
            [brand::REPOSITORY_PATH, name, ..]
                if name.starts_with(TRUSTSTORE_FILE) || *name == "tuf" =>
            {
                Some("the truststore and signed metadata are published again, never restored")
            }
            [_, .., name] if name.starts_with(WITHDRAWN_FILE) => {
                Some("withdrawals are published again, never restored")
            }
            _ => None,
        }
    }
}

/// Publishing all platforms of a version in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release(RepoPath);

impl Release {
    /// Returns the action for the directory of a version.
    pub const fn of(version: RepoPath) -> Self {
        Self(version)
    }
}

impl Guarded for Release {
    fn permission(&self) -> Permission {
        Permission::Create
    }
}

impl Action for Release {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

/// Seeing what was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListTrash(RepoPath);

impl ListTrash {
    /// Returns the action.
    pub const fn everything() -> Self {
        Self(RepoPath::root())
    }
}

impl Guarded for ListTrash {
    /// Who may delete everything sees everything that was deleted.
    fn permission(&self) -> Permission {
        Permission::Delete
    }
}

impl Action for Restore {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.path
    }
}

impl Action for ListTrash {
    const KIND: Kind = Kind::Delete;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

/// Says whether a name is shown to readers: names that begin with a dot are not, ours
/// (`.reposerver`) and an administrator's (`.htpasswd`, `.git`) alike.
pub fn is_visible(name: &str) -> bool {
    !name.starts_with('.')
}

impl Action for Read {
    const KIND: Kind = Kind::Read;

    fn path(&self) -> &RepoPath {
        &self.path
    }
}

impl Action for Write {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

impl Action for Delete {
    const KIND: Kind = Kind::Delete;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    #[test]
    fn hidden_names_do_not_exist_for_readers() {
        assert!(Read::of(path("dbt/truststore")).is_some());
        for hidden in [".reposerver", ".reposerver/tmp/x", "dbt/.git/config", "dbt/.htpasswd"] {
            assert!(Read::of(path(hidden)).is_none(), "{hidden}");
            assert!(Delete::of(path(hidden)).is_none(), "{hidden}");
        }
    }

    #[test]
    fn roots_and_the_truststore_cannot_be_deleted() {
        for text in ["", "dbt", "dbt-tools", "dbt/truststore", "elsewhere", "dbtEVIL/x"] {
            assert!(Delete::of(path(text)).unwrap().protected().is_some(), "{text}");
        }
        for text in ["dbt/1.0.0", "dbt-tools/x", "dbt-tools/truststore", "dbt/truststore/x"] {
            assert!(Delete::of(path(text)).unwrap().protected().is_none(), "{text}");
        }
    }
}
