//! What is being asked: to read, write or delete one path.
//!
//! An action exists only for a path on which it may be asked at all; who may ask it is
//! [`crate::authz`]'s business. Each kind is a type of its own, so that a grant for one cannot be
//! used for another.

use dbt_core::brand;
use dbt_core::layout::{TRUSTSTORE_FILE, WITHDRAWN_FILE};
use dbt_core::repo_path::RepoPath;

use crate::authz::permission::Permission;
use crate::authz::{Guarded, Reach};
use crate::storage::EntryKind;
use crate::writable::{self, NotWritable};

pub mod exchange;
pub mod tokens;
pub mod users;

/// An action of some kind on a path.
pub trait Action {
    /// Which kind.
    const KIND: Kind;

    /// Whether it changes files, or what is kept beside them: a server that only reads refuses it.
    const STORES: bool = !matches!(Self::KIND, Kind::Read);

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
pub struct Write {
    path: RepoPath,
    conditional: bool,
}

impl Write {
    /// Returns the action, or why no file may be written there.
    pub fn of(path: RepoPath) -> Result<Self, NotWritable> {
        writable::check(&path)?;
        Ok(Self { path, conditional: false })
    }

    /// Says whether the request states what it expects to be there.
    #[must_use]
    pub fn conditional(self, conditional: bool) -> Self {
        Self { conditional, ..self }
    }
}

/// Removing a file or a directory with everything below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete {
    path: RepoPath,
    conditional: bool,
    only_directory: bool,
}

impl Delete {
    /// Returns the action, or nothing for a path that does not exist for readers either.
    pub fn of(path: RepoPath) -> Option<Self> {
        let visible = path.segments().all(is_visible);
        visible.then_some(Self { path, conditional: false, only_directory: false })
    }

    /// Says whether the request states what it expects to be there.
    #[must_use]
    pub fn conditional(self, conditional: bool) -> Self {
        Self { conditional, ..self }
    }

    /// Makes it the deletion of a directory and of nothing else, as a slash at the end says.
    #[must_use]
    pub fn of_directory(self, only_directory: bool) -> Self {
        Self { only_directory, ..self }
    }

    /// Says whether a file at the path is not meant.
    pub const fn only_directory(&self) -> bool {
        self.only_directory
    }

    /// Says why nobody may delete this, if so.
    ///
    /// The roots hold everything, and a fleet without a truststore installs nothing.
    pub fn protected(&self) -> Option<&'static str> {
        let segments: Vec<&str> = self.path.segments().collect();
        match segments.as_slice() {
            [] => Some("the root of the server cannot be deleted"),
            [brand::REPOSITORY_PATH | brand::TOOLS_PATH] => {
                Some("the root of a repository cannot be deleted")
            }
            // A directory in its place is in everybody's way.
            [brand::REPOSITORY_PATH, TRUSTSTORE_FILE] if !self.only_directory => {
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
    kind: EntryKind,
}

impl Restore {
    /// Returns the action of undoing one deletion at a path, of a thing of this kind.
    pub const fn of(path: RepoPath, id: String, kind: EntryKind) -> Self {
        Self { path, id, kind }
    }

    /// Returns which deletion.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Guarded for Restore {
    /// What is restored is published again.
    fn permission(&self) -> Permission {
        Permission::Create
    }

    /// A directory brings back whatever was in it.
    fn reach(&self) -> Reach {
        match self.kind {
            EntryKind::File => Reach::Path,
            EntryKind::Directory => Reach::Below,
        }
    }

    fn protected(&self) -> Option<&'static str> {
        never_restored(&self.path)
    }
}

/// Says why what was at a path is not put back there, if so: an older truststore or older metadata
/// would take back what was revoked since.
pub fn never_restored(path: &RepoPath) -> Option<&'static str> {
    let segments: Vec<&str> = path.segments().collect();
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

/// Says whether a path is that of a list of withdrawn versions, or of something that belongs to it.
pub fn is_of_withdrawals(path: &RepoPath) -> bool {
    path.file_name().is_some_and(|name| name.starts_with(WITHDRAWN_FILE))
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

/// Beginning something of which it is not known yet where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateSomewhere(RepoPath);

impl CreateSomewhere {
    /// Returns the action.
    pub const fn new() -> Self {
        Self(RepoPath::root())
    }
}

impl Default for CreateSomewhere {
    fn default() -> Self {
        Self::new()
    }
}

impl Guarded for CreateSomewhere {
    fn permission(&self) -> Permission {
        Permission::Create
    }

    fn reach(&self) -> Reach {
        Reach::Anywhere
    }
}

impl Action for CreateSomewhere {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

impl Action for Release {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

/// Making the upload of somebody else one's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeOver(RepoPath);

impl TakeOver {
    /// Returns the action for the directory of a version.
    pub const fn of(version: RepoPath) -> Self {
        Self(version)
    }
}

impl Guarded for TakeOver {
    /// It does to an upload what deleting it and uploading other bytes would do.
    fn permission(&self) -> Permission {
        Permission::Delete
    }

    fn also_needs(&self) -> &'static [Permission] {
        &[Permission::Create, Permission::Replace]
    }

    fn reach(&self) -> Reach {
        Reach::Below
    }
}

impl Action for TakeOver {
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
    pub const fn new() -> Self {
        Self(RepoPath::root())
    }
}

impl Default for ListTrash {
    fn default() -> Self {
        Self::new()
    }
}

impl Guarded for ListTrash {
    fn permission(&self) -> Permission {
        Permission::Create
    }

    /// Of the trash, somebody sees what they may restore.
    fn reach(&self) -> Reach {
        Reach::Anywhere
    }
}

/// Seeing what the server counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observe(RepoPath);

impl Observe {
    /// Returns the action.
    pub const fn everything() -> Self {
        Self(RepoPath::root())
    }
}

impl Guarded for Observe {
    fn permission(&self) -> Permission {
        Permission::MetricsRead
    }
}

impl Action for Observe {
    const KIND: Kind = Kind::Read;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

/// Having the server read its settings again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reload(RepoPath);

impl Reload {
    /// Returns the action.
    pub const fn settings() -> Self {
        Self(RepoPath::root())
    }
}

impl Guarded for Reload {
    /// Settings say who may do what, so it is for who manages that.
    fn permission(&self) -> Permission {
        Permission::UserManage
    }
}

impl Action for Reload {
    const KIND: Kind = Kind::Write;
    const STORES: bool = false;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}

impl Action for Restore {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.path
    }
}

impl Action for ListTrash {
    const KIND: Kind = Kind::Write;
    const STORES: bool = false;

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

impl Guarded for Write {
    fn permission(&self) -> Permission {
        Permission::Create
    }

    fn is_conditional(&self) -> bool {
        self.conditional
    }
}

impl Guarded for Delete {
    fn permission(&self) -> Permission {
        Permission::Delete
    }

    fn is_conditional(&self) -> bool {
        self.conditional
    }

    /// What removes a directory removes everything below it.
    fn reach(&self) -> Reach {
        if writable::is_release_file(&self.path) { Reach::Path } else { Reach::Below }
    }

    fn protected(&self) -> Option<&'static str> {
        Self::protected(self)
    }
}

impl Action for Write {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.path
    }
}

impl Action for Delete {
    const KIND: Kind = Kind::Delete;

    fn path(&self) -> &RepoPath {
        &self.path
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
        let directory = |text| Delete::of(path(text)).unwrap().of_directory(true);
        assert!(directory("dbt/truststore").protected().is_none());
        assert!(directory("dbt").protected().is_some());
    }
}
