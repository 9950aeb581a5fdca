//! Releases that were published: whoever did not get the answer may ask again.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};

use super::beneath::{Root, Taken};
use super::drafts::below;
use super::private;
use crate::storage::{PlatformState, ReleaseState};
use crate::time;

/// Ends the name of what is being written.
const NEW: &str = ".new";

/// What is known of the releases that were published of late.
#[derive(Debug, Default)]
pub(super) struct Released {
    known: Mutex<BTreeMap<String, About>>,
}

/// What is written down of one.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct About {
    version: String,
    owner: String,
    platforms: Vec<String>,
    /// When it is forgotten, in seconds since 1970.
    expires: u64,
}

impl Released {
    /// Finds those of an earlier run.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        let mut known = BTreeMap::new();
        for (id, _kind) in root.entries(&private::released())? {
            let place = below(&private::released(), &id);
            match serde_json::from_slice(&root.read(&place)?) {
                Ok(about) if !id.ends_with(NEW) => {
                    known.insert(id, about);
                }
                // It was being written when the program ended.
                _cut => root.remove(&place)?,
            }
        }
        Ok(Self { known: Mutex::new(known) })
    }

    /// Remembers a release that is published. On the disk when this returns.
    pub(super) fn remember(
        &self,
        root: &Root,
        owner: &str,
        state: &ReleaseState,
    ) -> io::Result<()> {
        let about = About {
            version: state.version.to_string(),
            owner: owner.to_owned(),
            platforms: state.platforms.iter().map(|it| it.platform.clone()).collect(),
            expires: time::since_epoch(state.expires).as_secs(),
        };
        let new = below(&private::released(), &format!("{}{NEW}", state.id));
        root.write_private(&new, &serde_json::to_vec(&about)?)?;
        root.rename(&new, &below(&private::released(), &state.id), Taken::IsReplaced)?;
        self.known().insert(state.id.clone(), about);
        Ok(())
    }

    /// Returns a release that is published, and whose it was.
    pub(super) fn find(&self, id: &str) -> Option<(String, ReleaseState)> {
        let about = self.known().get(id)?.clone();
        let whole = |platform| PlatformState { platform, waiting_for: Vec::new() };
        let state = ReleaseState {
            id: id.to_owned(),
            version: about.version.parse().ok()?,
            platforms: about.platforms.into_iter().map(whole).collect(),
            expires: UNIX_EPOCH + Duration::from_secs(about.expires),
            is_published: true,
            staged: None,
        };
        Some((about.owner, state))
    }

    /// Returns the version of a release that is published.
    pub(super) fn version(&self, id: &str) -> Option<RepoPath> {
        self.find(id).map(|(_owner, state)| state.version)
    }

    /// Forgets those whose time is over.
    pub(super) fn sweep(&self, root: &Root, now: SystemTime) -> io::Result<()> {
        let now = time::since_epoch(now).as_secs();
        let mut known = self.known();
        let over: Vec<String> = known
            .iter()
            .filter(|(_id, about)| about.expires <= now)
            .map(|(id, _about)| id.clone())
            .collect();
        for id in over {
            root.remove(&below(&private::released(), &id))?;
            known.remove(&id);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, About>> {
        // Every change is a single call on a map, so a panic elsewhere left nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
