//! Releases: drafts that are held back until all of their platforms are whole, and then appear
//! in one step.

use std::io;
use std::sync::Arc;

use dbt_core::clock::Clock;
use dbt_core::repo_path::RepoPath;
use rustix::fs::FileType;

use super::commit::follow;
use super::drafts::{Draft, below};
use super::judge::{Judgement, Outlook};
use super::publish::writing;
use super::{Tree, on_disk, version};
use crate::action::{Action as _, Release, TakeOver};
use crate::authz::Grant;
use crate::limits;
use crate::log::causes;
use crate::storage::{PlatformState, ReleaseState, ReleaseStep, StorageError};
use crate::time;
use crate::writable::InVersion;

pub(super) async fn take(
    tree: &Arc<Tree>,
    grant: Grant<Release>,
    step: ReleaseStep,
) -> Result<ReleaseState, StorageError> {
    let tree = Arc::clone(tree);
    let undeleted = Arc::clone(&tree.deletions).read_owned().await;
    let turn = version::turn(&tree, grant.action().path()).await?;
    on_disk(move || {
        let state = tree.take(&grant, step);
        drop((turn, undeleted));
        state
    })
    .await
}

impl ReleaseState {
    fn without_platforms(draft: &Draft, version: &RepoPath) -> Self {
        Self {
            id: draft.release.clone().unwrap_or_default(),
            version: version.clone(),
            platforms: Vec::new(),
            expires: draft.expires(),
            is_published: false,
            staged: draft.staged.clone(),
        }
    }
}

/// Makes somebody's upload the caller's, held back as a release until the caller has decided.
pub(super) async fn take_over(
    tree: &Arc<Tree>,
    grant: Grant<TakeOver>,
    id: String,
) -> Result<ReleaseState, StorageError> {
    let tree = Arc::clone(tree);
    let undeleted = Arc::clone(&tree.deletions).read_owned().await;
    let version = grant.action().path().clone();
    let turn = version::turn(&tree, &version).await?;
    on_disk(move || {
        tree.temporary()?;
        let owner = super::owner(grant.caller());
        let state = match tree.drafts.find(&version) {
            Some(theirs) if theirs.owner != owner => tree
                .drafts
                .give(&tree.root, &version, &owner, id, Clock::System.now())
                .map_err(|error| writing("take over", &version, error))
                .and_then(|draft| tree.state_of(&version, &draft)),
            own => tree.begin_release(&version, &owner, own, id),
        };
        drop((turn, undeleted));
        state
    })
    .await
}

impl Tree {
    fn take(
        &self,
        grant: &Grant<Release>,
        step: ReleaseStep,
    ) -> Result<ReleaseState, StorageError> {
        self.temporary()?;
        let version = grant.action().path();
        let owner = super::owner(grant.caller());
        let failed = |error| writing("release", version, error);
        let draft = self.drafts.find(version);
        match step {
            ReleaseStep::Begin { id } => return self.begin_release(version, &owner, draft, id),
            ReleaseStep::Stage { id, by } => {
                self.begin_release(version, &owner, draft, id)?;
                self.drafts.stage(&self.root, version, by).map_err(failed)?;
                let draft = self.drafts.find(version).ok_or(StorageError::NotFound)?;
                return self.state_of(version, &draft);
            }
            ReleaseStep::TakeUp { id } => return self.take_up(version, &owner, draft, id),
            ReleaseStep::Look { .. } | ReleaseStep::Commit { .. } | ReleaseStep::Abandon { .. } => {
            }
        }
        let is_it =
            |draft: &Draft| draft.owner == owner && draft.release.as_deref() == Some(step.id());
        let Some(draft) = draft.filter(is_it) else {
            return self.take_again(&owner, version, &step);
        };
        match step {
            ReleaseStep::Commit { .. } => self.commit_release(version, &draft),
            ReleaseStep::Abandon { .. } => {
                // Whatever is in it, also what would never be published.
                self.remove_draft(version).map_err(failed)?;
                Ok(ReleaseState::without_platforms(&draft, version))
            }
            ReleaseStep::Begin { .. }
            | ReleaseStep::Stage { .. }
            | ReleaseStep::TakeUp { .. }
            | ReleaseStep::Look { .. } => self.state_of(version, &draft),
        }
    }

    /// Makes what was staged the caller's. Whoever staged it has said that this is meant, so it
    /// takes no more than the right to publish the version.
    fn take_up(
        &self,
        version: &RepoPath,
        owner: &str,
        draft: Option<Draft>,
        id: String,
    ) -> Result<ReleaseState, StorageError> {
        let draft = draft.ok_or(StorageError::NotFound)?;
        let is_own = draft.owner == owner && draft.release.is_some();
        if !is_own && draft.staged.is_none() {
            return Err(StorageError::NotFound);
        }
        let draft = if is_own {
            draft
        } else {
            let given = self.drafts.give(&self.root, version, owner, id, Clock::System.now());
            given.map_err(|error| writing("take up", version, error))?
        };
        self.state_of(version, &draft)
    }

    /// Answers about a release that is published already: the answer to that was lost.
    fn take_again(
        &self,
        owner: &str,
        version: &RepoPath,
        step: &ReleaseStep,
    ) -> Result<ReleaseState, StorageError> {
        match (step, self.released.find(step.id())) {
            (ReleaseStep::Look { .. } | ReleaseStep::Commit { .. }, Some((its_owner, state)))
                if its_owner == owner && state.version == *version =>
            {
                Ok(state)
            }
            _ => Err(StorageError::NotFound),
        }
    }

    fn begin_release(
        &self,
        version: &RepoPath,
        owner: &str,
        draft: Option<Draft>,
        id: String,
    ) -> Result<ReleaseState, StorageError> {
        let failed = |error| writing("begin a release of", version, error);
        match draft {
            Some(other) if other.owner != owner => {
                return Err(StorageError::Claimed { until: other.expires(), owner: other.owner });
            }
            // The answer was lost; it is the same release.
            Some(draft) if draft.release.is_some() => return self.state_of(version, &draft),
            Some(_unheld) => self.drafts.hold(&self.root, version, id),
            None => {
                let now = Clock::System.now();
                self.drafts.begin(&self.root, version, owner, Some(id), now).map(|_draft| ())
            }
        }
        .map_err(failed)?;
        let draft = self.drafts.find(version).ok_or(StorageError::NotFound)?;
        self.state_of(version, &draft)
    }

    fn commit_release(
        &self,
        version: &RepoPath,
        draft: &Draft,
    ) -> Result<ReleaseState, StorageError> {
        let failed = |error| writing("publish", version, error);
        let mut state = self.state_of(version, draft)?;
        let waiting: Vec<String> =
            state.platforms.iter().flat_map(|platform| platform.waiting_for.clone()).collect();
        // Without any platform it is another description of a version that is seen; without any file
        // too, an earlier commit was carried out and the program ended.
        let is_seen = self.root.open_directory(version).is_ok();
        if !waiting.is_empty() || (state.platforms.is_empty() && !is_seen) {
            return Err(StorageError::Incomplete { waiting_for: waiting });
        }
        let mut parts: Vec<RepoPath> =
            state.platforms.iter().filter_map(|platform| platform.platform.parse().ok()).collect();
        for (name, kind) in self.root.entries(&draft.files()).map_err(failed)? {
            if kind == FileType::RegularFile {
                parts.push(below(&RepoPath::root(), &name));
            }
        }
        if !parts.is_empty() {
            let _spelling = self.only_spelling(version)?;
            self.refuse_to_replace(version, draft, &parts)?;
            self.commit(version, draft, &parts).map_err(failed)?;
        }
        state.is_published = true;
        state.expires = time::whole_seconds(Clock::System.now() + limits::DRAFT_LIFE);
        match self.released.remember(&self.root, &draft.owner, &state) {
            Ok(()) => self.remove_draft(version).map_err(failed)?,
            // The draft, in which nothing is left, tells it too.
            Err(error) => {
                tracing::warn!(
                    error = causes(&error),
                    "a release is published and cannot be written down"
                );
            }
        }
        Ok(state)
    }

    fn state_of(&self, version: &RepoPath, draft: &Draft) -> Result<ReleaseState, StorageError> {
        let failed = |error: io::Error| writing("look at", version, error);
        let mut platforms = Vec::new();
        for platform in self.platforms_in(draft).map_err(failed)? {
            platforms.push(self.platform_state(version, draft, &platform)?);
        }
        Ok(ReleaseState { platforms, ..ReleaseState::without_platforms(draft, version) })
    }

    fn platform_state(
        &self,
        version: &RepoPath,
        draft: &Draft,
        platform: &RepoPath,
    ) -> Result<PlatformState, StorageError> {
        let drafted = follow(&draft.files(), platform);
        let any_file = below(&follow(version, platform), "any");
        let inside = InVersion::of(&any_file).ok_or(StorageError::NotFound)?;
        let trust = self.trust(Clock::System.now())?;
        let judgement = Outlook {
            tree: self,
            inside: &inside,
            platform,
            drafted: Some(drafted),
            arriving: None,
            trust: trust.as_ref(),
        }
        .judge()
        .map_err(|error| writing("look at", version, error))?;
        let waiting_for = match judgement {
            Judgement::Whole => Vec::new(),
            Judgement::Waiting(files) => files,
            Judgement::Refused(reason) => return Err(StorageError::NotPublishable { reason }),
        };
        Ok(PlatformState { platform: platform.to_string(), waiting_for })
    }

    fn platforms_in(&self, draft: &Draft) -> io::Result<Vec<RepoPath>> {
        let mut platforms = Vec::new();
        for (os, kind) in self.root.entries(&draft.files())? {
            if kind != FileType::Directory {
                continue;
            }
            let os = below(&RepoPath::root(), &os);
            for (arch, _kind) in self.root.entries(&follow(&draft.files(), &os))? {
                let platform = below(&os, &arch);
                // Deletions leave empty directories.
                if !self.files_below(&follow(&draft.files(), &platform))?.is_empty() {
                    platforms.push(platform);
                }
            }
        }
        Ok(platforms)
    }
}
