//! Exchanging the identity of a job for a token of this server's own.

use dbt_core::repo_path::RepoPath;

use super::{Action, Kind};
use crate::authz::permission::Permission;
use crate::authz::{Guarded, Reach};

/// Exchanging an identity: for whoever has got any right by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange(RepoPath);

impl Exchange {
    /// Returns the action.
    pub fn new() -> Self {
        let names = ["-", "api", "v1", "oidc", "exchange"];
        let path = names.into_iter().try_fold(RepoPath::root(), |path, name| path.join(name));
        // All of them are names.
        Self(path.unwrap_or_else(|_no_name| RepoPath::root()))
    }
}

impl Default for Exchange {
    fn default() -> Self {
        Self::new()
    }
}

impl Guarded for Exchange {
    /// Each rule that gives a job something lets it read.
    fn permission(&self) -> Permission {
        Permission::Read
    }

    fn reach(&self) -> Reach {
        Reach::Anywhere
    }
}

impl Action for Exchange {
    const KIND: Kind = Kind::Write;

    fn path(&self) -> &RepoPath {
        &self.0
    }
}
