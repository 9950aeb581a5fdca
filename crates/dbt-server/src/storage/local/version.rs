//! Publishing the files of a version: into a draft until their platform is whole, then into the
//! tree, all of the platform at once.

use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use tokio::sync::OwnedMutexGuard;

use super::commit::follow;
use super::drafts::{Draft, below};
use super::judge::{Arriving, Judgement, Outlook};
use super::publish::{Finished, look, writing};
use super::{Tree, on_disk};
use crate::action::Write;
use crate::authz::{Grant, Overwrite};
use crate::conditions::Conditions;
use crate::storage::{Effect, Publication, StorageError, Written, decide};
use crate::writable::{InVersion, Place};

/// Publishes a file of a version that has arrived and is on the disk.
///
/// One at a time for each version. While something is deleted nothing of a version is published:
/// what was seen when a platform was judged is there still when it is published.
pub(super) async fn publish(
    finished: Arc<Finished>,
    grant: &Grant<Write>,
    conditions: &Conditions,
    inside: InVersion,
    digest: Digest,
    length: u64,
) -> Result<Written, StorageError> {
    let tree = Arc::clone(&finished.tree);
    let undeleted = Arc::clone(&tree.deletions).read_owned().await;
    let turn = turn(&tree, &inside.version).await?;
    let existing = look(&tree, &finished.path, grant).await?;
    decide(grant, conditions, existing.as_ref(), Some(digest))?;
    // Only now: what was there when the upload began can have been deleted since.
    let may_be_other = existing.is_some() || grant.overwrite() == Overwrite::Allowed;
    let before = existing.and_then(|existing| existing.digest);
    let effect = match before {
        None => Effect::Created,
        Some(before) if before == digest => Effect::Unchanged,
        Some(_other) => Effect::Replaced,
    };
    let owner = super::owner(grant.caller());
    let publication = on_disk(move || {
        if !may_be_other {
            finished.tree.refuse_after_deletion(&finished.path, digest)?;
        }
        let step = Step { tree: &finished.tree, inside: &inside, owner: &owner };
        let publication = step.take(&finished, effect, digest);
        drop((turn, undeleted));
        publication
    })
    .await?;
    Ok(Written { effect, digest, length, before, publication })
}

/// Waits for the right to be the only one that changes a version, and sees to it that the files of
/// its draft are where they belong.
pub(super) async fn turn(
    tree: &Arc<Tree>,
    version: &RepoPath,
) -> Result<OwnedMutexGuard<()>, StorageError> {
    let turn = tree.drafts.turn(version).await;
    if tree.drafts.is_scattered(version) {
        let (tree, version) = (Arc::clone(tree), version.clone());
        on_disk(move || {
            tree.gather_scattered(&version).map_err(|error| writing("publish", &version, error))
        })
        .await?;
    }
    Ok(turn)
}

/// One file that comes to a version.
struct Step<'a> {
    tree: &'a Tree,
    inside: &'a InVersion,
    owner: &'a str,
}

impl Step<'_> {
    fn take(
        &self,
        finished: &Finished,
        effect: Effect,
        digest: Digest,
    ) -> Result<Publication, StorageError> {
        let failed = |error| writing("publish", &finished.path, error);
        let draft = self.tree.drafts.find(&self.inside.version);
        let is_held = draft.as_ref().is_some_and(|draft| draft.release.is_some());
        let Some(platform) = self.inside.platform() else {
            return self.take_beside(finished, effect, digest, is_held);
        };
        let name = finished.path.file_name().unwrap_or_default();
        let drafted = draft.as_ref().map(|draft| follow(&draft.files(), &platform));
        let has_draft = match &drafted {
            Some(place) => !self.tree.files_below(place).map_err(failed)?.is_empty(),
            None => false,
        };
        let trust = self.tree.trust(Clock::System.now())?;
        let judgement = Outlook {
            tree: self.tree,
            inside: self.inside,
            platform: &platform,
            drafted,
            arriving: Some(Arriving { name, file: &finished.file, digest }),
            trust: trust.as_ref(),
        }
        .judge()
        .map_err(failed)?;
        match judgement {
            Judgement::Refused(reason) => Err(StorageError::NotPublishable { reason }),
            Judgement::Whole if is_held => {
                self.draft(finished, effect, digest)?;
                Ok(Publication::Held)
            }
            Judgement::Whole if !has_draft && self.is_published(&platform) => {
                self.publish_alone(finished, effect, digest)
            }
            Judgement::Whole => {
                let draft = self.draft(finished, effect, digest)?;
                self.commit(&draft, platform)?;
                Ok(Publication::Seen)
            }
            Judgement::Waiting(files) if effect == Effect::Unchanged && !has_draft => {
                // What was published before stays as it is, whole or not.
                drop(files);
                Ok(Publication::Seen)
            }
            Judgement::Waiting(files) => {
                self.draft(finished, effect, digest)?;
                Ok(Publication::WaitingFor(files))
            }
        }
    }

    /// A description is seen as soon as its version is.
    fn take_beside(
        &self,
        finished: &Finished,
        effect: Effect,
        digest: Digest,
        is_held: bool,
    ) -> Result<Publication, StorageError> {
        debug_assert_eq!(self.inside.place, Place::Beside);
        if is_held {
            self.draft(finished, effect, digest)?;
            return Ok(Publication::Held);
        }
        if self.is_published(&RepoPath::root()) {
            return self.publish_alone(finished, effect, digest);
        }
        self.draft(finished, effect, digest)?;
        Ok(Publication::WaitingFor(Vec::new()))
    }

    /// Says whether there is a directory in the tree, at a path below the version.
    fn is_published(&self, path: &RepoPath) -> bool {
        self.tree.root.open_directory(&follow(&self.inside.version, path)).is_ok()
    }

    fn publish_alone(
        &self,
        finished: &Finished,
        effect: Effect,
        digest: Digest,
    ) -> Result<Publication, StorageError> {
        if effect != Effect::Unchanged {
            let _turn = self.tree.names.blocking_lock();
            finished.name(&finished.path, effect, digest)?;
        }
        Ok(Publication::Seen)
    }

    /// Puts the file into the draft, which is begun if there is none.
    fn draft(
        &self,
        finished: &Finished,
        effect: Effect,
        digest: Digest,
    ) -> Result<Draft, StorageError> {
        let failed = |error| writing("publish", &finished.path, error);
        let (root, version) = (&self.tree.root, &self.inside.version);
        let now = Clock::System.now();
        let draft = self.tree.drafts.touch(root, version, self.owner, now).map_err(failed)?;
        let place = draft.place_of(version, &finished.path);
        if effect != Effect::Unchanged {
            // It may be new in the draft and replace what is in the tree.
            finished.name(&place, Effect::Replaced, digest)?;
        }
        Ok(draft)
    }

    /// Publishes a platform; with the first one of a version, its description too.
    fn commit(&self, draft: &Draft, platform: RepoPath) -> Result<(), StorageError> {
        let version = &self.inside.version;
        let failed = |error| writing("publish", version, error);
        let mut parts = vec![platform];
        if !self.is_published(&RepoPath::root()) {
            for (name, kind) in self.tree.root.entries(&draft.files()).map_err(failed)? {
                if kind == rustix::fs::FileType::RegularFile {
                    parts.push(below(&RepoPath::root(), &name));
                }
            }
        }
        let _spelling = self.tree.only_spelling(version)?;
        self.tree.refuse_to_replace(version, draft, &parts)?;
        self.tree.commit(version, draft, &parts).map_err(failed)
    }
}
