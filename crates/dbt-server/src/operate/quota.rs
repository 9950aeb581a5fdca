//! How much may lie at or below a path.
//!
//! What is there is counted when an upload begins; what others are uploading meanwhile counts as
//! if it were there already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dbt_core::repo_path::RepoPath;

use crate::app::App;
use crate::error::ApiError;

/// What is being uploaded below the paths that have a quota. Clones look at the same.
#[derive(Clone, Debug, Default)]
pub struct Reserved(Arc<Mutex<HashMap<RepoPath, u64>>>);

/// Room for an upload, until this goes.
#[derive(Debug, Default)]
#[must_use]
pub struct Room {
    held: Vec<(Reserved, RepoPath, u64)>,
    /// The most that the upload may bring, and the quota that says so.
    pub most: Option<(RepoPath, u64, u64)>,
}

/// Makes room for an upload of a length, if that is known, to a path.
///
/// One of unknown length gets all that is left.
pub async fn make_room(app: &App, path: &RepoPath, length: Option<u64>) -> Result<Room, ApiError> {
    let mut room = Room::default();
    for quota in app.limits.quotas.iter().filter(|quota| path.is_within(&quota.path)) {
        let there = app.storage.usage(quota.path.clone()).await?;
        let over = || ApiError::OverQuota { path: quota.path.clone(), limit: quota.bytes };
        let reserved = app.running.reserved.clone();
        let mut all = reserved.locked();
        let coming = all.entry(quota.path.clone()).or_default();
        let left = quota.bytes.saturating_sub(there).saturating_sub(*coming);
        let wanted = length.unwrap_or(left);
        if wanted > left || left == 0 {
            return Err(over());
        }
        *coming += wanted;
        drop(all);
        room.held.push((reserved, quota.path.clone(), wanted));
        if room.most.as_ref().is_none_or(|(_path, _limit, most)| left < *most) {
            room.most = Some((quota.path.clone(), quota.bytes, left));
        }
    }
    Ok(room)
}

impl Reserved {
    fn locked(&self) -> MutexGuard<'_, HashMap<RepoPath, u64>> {
        // Every change is a single number, so a panic elsewhere left nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for (reserved, path, bytes) in &self.held {
            let mut all = reserved.locked();
            let Some(coming) = all.get_mut(path) else { continue };
            *coming = coming.saturating_sub(*bytes);
            if *coming == 0 {
                all.remove(path);
            }
        }
    }
}
