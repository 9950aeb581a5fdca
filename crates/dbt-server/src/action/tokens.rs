//! Seeing, making and revoking the server's own tokens.

use std::marker::PhantomData;

use dbt_core::repo_path::RepoPath;

use super::{Action, Kind};
use crate::authz::permission::Permission;
use crate::authz::rules::Wish;
use crate::authz::{Guarded, Reach};

/// Whose tokens somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Their own.
    Own,
    /// Anybody's.
    Anybodys,
}

/// Doing something with tokens: with all of them, or with one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfTokens<D> {
    whose: Whose,
    path: RepoPath,
    everywhere: RepoPath,
    deed: PhantomData<D>,
}

/// What can be done with tokens.
pub trait Deed: Send + Sync + 'static {
    /// What it takes to do it with one's own.
    const OWN: Permission;
    /// How the record calls it.
    const KIND: Kind;
    /// Whether it changes something.
    const STORES: bool;
    /// Whether it is what a token for one use is for.
    const FOR_ONE_USE: bool = false;
}

/// Seeing them. Who may revoke tokens sees which there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct See;

/// Making one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Make;

/// Revoking one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoke;

/// Taking one over from whoever owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Own;

impl Deed for Own {
    const OWN: Permission = Permission::TokenManage;
    const KIND: Kind = Kind::Write;
    const STORES: bool = true;
}

impl Deed for See {
    const OWN: Permission = Permission::TokenRevokeOwn;
    const KIND: Kind = Kind::Write;
    const STORES: bool = false;
}

impl Deed for Make {
    const OWN: Permission = Permission::TokenCreateOwn;
    const KIND: Kind = Kind::Write;
    const STORES: bool = true;
    const FOR_ONE_USE: bool = true;
}

impl Deed for Revoke {
    const OWN: Permission = Permission::TokenRevokeOwn;
    const KIND: Kind = Kind::Delete;
    const STORES: bool = true;
}

impl<D: Deed> OfTokens<D> {
    /// Returns the action on all tokens that somebody may ask for, or on one with this id.
    pub fn new(whose: Whose, id: Option<&str>) -> Self {
        Self { whose, path: place(id), everywhere: RepoPath::root(), deed: PhantomData }
    }

    /// Says whose tokens are asked for.
    pub const fn whose(&self) -> Whose {
        self.whose
    }
}

impl<D: Deed> Guarded for OfTokens<D> {
    fn permission(&self) -> Permission {
        match self.whose {
            Whose::Own => D::OWN,
            Whose::Anybodys => Permission::TokenManage,
        }
    }

    fn is_for_one_use(&self) -> bool {
        D::FOR_ONE_USE
    }

    /// What somebody does with their own tokens gives nobody a right, wherever it is permitted. What
    /// they do with others' counts everywhere.
    fn reach(&self) -> Reach {
        match self.whose {
            Whose::Own => Reach::Anywhere,
            Whose::Anybodys => Reach::Below,
        }
    }

    fn wish(&self, permission: Permission) -> Wish<'_> {
        let (path, reach) = (&self.everywhere, self.reach());
        Wish { permission, path, reach, conditional: true }
    }
}

impl<D: Deed> Action for OfTokens<D> {
    const KIND: Kind = D::KIND;
    const STORES: bool = D::STORES;

    fn path(&self) -> &RepoPath {
        &self.path
    }
}

/// Returns where the API has tokens, or one of them.
pub fn place(id: Option<&str>) -> RepoPath {
    let names = ["-", "api", "v1", "tokens"].into_iter().chain(id);
    let path = names.into_iter().try_fold(RepoPath::root(), |path, name| path.join(name));
    // What cannot be a name is nobody's id.
    path.unwrap_or_else(|_no_name| RepoPath::root())
}
