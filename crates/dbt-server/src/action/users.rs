//! Seeing who is known, and changing what is kept of people.

use dbt_core::repo_path::RepoPath;

use super::{Action, Kind};
use crate::authz::permission::Permission;
use crate::authz::rules::Wish;
use crate::authz::{Guarded, Reach};

/// Seeing who is known, and who of them is suspended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeeUsers(Place);

/// Adding or deleting somebody, giving them roles, suspending them, or taking that back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeUser(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: RepoPath,
    everywhere: RepoPath,
}

impl Place {
    fn of(id: Option<&str>) -> Self {
        Self { path: place(id), everywhere: RepoPath::root() }
    }

    /// What is done to people counts everywhere.
    const fn wish(&self, permission: Permission) -> Wish<'_> {
        Wish { permission, path: &self.everywhere, reach: Reach::Below, conditional: true }
    }
}

impl SeeUsers {
    /// Returns the action on everybody, or on the one with this id.
    pub fn of(id: Option<&str>) -> Self {
        Self(Place::of(id))
    }
}

impl ChangeUser {
    /// Returns the action on the one with this id, or on somebody whose is not known yet.
    pub fn of(id: Option<&str>) -> Self {
        Self(Place::of(id))
    }
}

impl Guarded for SeeUsers {
    fn permission(&self) -> Permission {
        Permission::UserManage
    }

    fn wish(&self, permission: Permission) -> Wish<'_> {
        self.0.wish(permission)
    }
}

impl Guarded for ChangeUser {
    fn permission(&self) -> Permission {
        Permission::UserManage
    }

    fn wish(&self, permission: Permission) -> Wish<'_> {
        self.0.wish(permission)
    }
}

impl Action for SeeUsers {
    /// Whoever is suspended must not see this for a second longer.
    const KIND: Kind = Kind::Write;
    const STORES: bool = false;

    fn path(&self) -> &RepoPath {
        &self.0.path
    }
}

impl Action for ChangeUser {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0.path
    }
}

/// Returns where the API has people, or one of them.
pub fn place(id: Option<&str>) -> RepoPath {
    let names = ["-", "api", "v1", "users"].into_iter().chain(id);
    let path = names.into_iter().try_fold(RepoPath::root(), |path, name| path.join(name));
    // What cannot be a name is nobody's id.
    path.unwrap_or_else(|_no_name| RepoPath::root())
}
