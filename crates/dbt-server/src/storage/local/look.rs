//! What lies at a path, for whoever is uploading it and for everybody else.

use std::sync::Arc;

use dbt_core::repo_path::RepoPath;

use super::{Local, Looked, Tree, on_disk, owner};
use crate::action::{Action as _, Read};
use crate::authn::Scope;
use crate::authz::Grant;
use crate::storage::{Detail, StorageError};

/// Where somebody's own upload of a path lies.
pub(super) struct Drafted {
    version: RepoPath,
    place: RepoPath,
}

impl Local {
    /// Returns where the draft of a path lies and of which version it is, if the caller is the one who
    /// is uploading it.
    pub(super) fn drafted_for(&self, grant: &Grant<Read>) -> Option<Drafted> {
        let path = grant.action().path();
        let (version, draft) = self.0.drafts.around(path)?;
        let caller = grant.caller();
        let is_owner = caller.is_proven_for(Scope::Writes) && owner(caller) == draft.owner;
        let place = draft.place_of(&version, path);
        is_owner.then_some(Drafted { version, place })
    }
}

/// Looks at a path, and returns where it was and whether that is a draft.
pub(super) async fn find(
    tree: Arc<Tree>,
    path: RepoPath,
    drafted: Option<Drafted>,
    detail: Detail,
) -> Result<(RepoPath, bool, Looked), StorageError> {
    let Some(Drafted { version, place }) = drafted else {
        return look(tree, path, None, detail).await;
    };
    match look(Arc::clone(&tree), path.clone(), Some(place.clone()), detail).await {
        // On its way from the draft to the tree it is in neither. Whoever is uploading it waits for
        // that: it was taken, and is there.
        Err(StorageError::NotFound) => {
            drop(tree.drafts.turn(&version).await);
            look(tree, path, Some(place), detail).await
        }
        found => found,
    }
}

async fn look(
    tree: Arc<Tree>,
    path: RepoPath,
    drafted: Option<RepoPath>,
    detail: Detail,
) -> Result<(RepoPath, bool, Looked), StorageError> {
    on_disk(move || {
        if let Some(drafted) = drafted {
            match tree.look_with_draft(&path, &drafted, detail) {
                Err(StorageError::NotFound) => {}
                other => return other.map(|found| (drafted, true, found)),
            }
        }
        tree.look(&path, detail).map(|found| (path, false, found))
    })
    .await
}
