//! Versions that readers do not see yet: which there are, whose they are, and for how long.
//!
//! Files of a platform that is not whole lie in `.reposerver/drafts`, never in the tree, so that
//! nobody sees half a platform, whatever serves the tree. They belong to whoever began to upload
//! them, and go when nothing was added for a day.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use dbt_core::digest::Digest;
use dbt_core::repo_path::RepoPath;
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use super::beneath::{Root, Taken, is_not_a_directory};
use super::private;
use super::publish::temporary_name;
use crate::limits;
use crate::log::causes;
use crate::storage::Stager;

const ABOUT: &str = "about.json";

/// How many turns are kept before those that nobody waits for are given up.
const TURNS: usize = 1024;

/// The versions that are being uploaded.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    drafts: BTreeMap<RepoPath, Draft>,
    turns: BTreeMap<RepoPath, Arc<tokio::sync::Mutex<()>>>,
}

/// A version that is being uploaded.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    /// Whose it is.
    pub(super) owner: String,
    /// The release that holds it back until it is committed, if there is one.
    pub(super) release: Option<String>,
    /// When something was last added.
    pub(super) touched: SystemTime,
    /// Who has left it to others to sign and commit, if somebody has.
    pub(super) staged: Option<Stager>,
    /// Whether files of it lie where they should only be while they are published.
    pub(super) is_scattered: bool,
    key: String,
}

/// What is written beside a draft's files.
#[derive(Serialize, Deserialize)]
struct About {
    version: String,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    staged: Option<Stager>,
}

impl Draft {
    /// Returns where the draft's files lie: as if this were the directory of the version.
    pub(super) fn files(&self) -> RepoPath {
        below(&self.directory(), "files")
    }

    /// Returns a word that names the draft and no other.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Returns where a path at or below the version lies in the draft.
    pub(super) fn place_of(&self, version: &RepoPath, path: &RepoPath) -> RepoPath {
        let depth = version.segments().count();
        path.segments().skip(depth).fold(self.files(), |place, segment| below(&place, segment))
    }

    /// Says when the draft goes unless something is added.
    pub(super) fn expires(&self) -> SystemTime {
        let life = if self.staged.is_some() { limits::STAGED_LIFE } else { limits::DRAFT_LIFE };
        self.touched + life
    }

    fn directory(&self) -> RepoPath {
        below(&private::drafts(), &self.key)
    }
}

impl Drafts {
    /// Finds the drafts of an earlier run.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        let (drafts, broken) = on_disk(root)?;
        for place in broken {
            // It was being begun or removed when the program ended; nothing was promised.
            root.remove(&place)?;
        }
        Ok(Self { state: Mutex::new(State { drafts, turns: BTreeMap::new() }) })
    }

    /// Returns the drafts that are on the disk, perhaps those of a server that is running beside.
    pub(super) fn look(root: &Root) -> io::Result<Self> {
        let (drafts, _being_begun_or_removed) = on_disk(root)?;
        Ok(Self { state: Mutex::new(State { drafts, turns: BTreeMap::new() }) })
    }

    /// Returns the draft of a version.
    pub(super) fn find(&self, version: &RepoPath) -> Option<Draft> {
        self.state().drafts.get(version).cloned()
    }

    /// Returns the draft that a path is part of, and its version.
    pub(super) fn around(&self, path: &RepoPath) -> Option<(RepoPath, Draft)> {
        let state = self.state();
        // Every read comes by here, and mostly there is none.
        if state.drafts.is_empty() {
            return None;
        }
        let mut places = std::iter::successors(Some(path.clone()), RepoPath::parent);
        places.find_map(|place| state.drafts.get(&place).cloned().map(|draft| (place, draft)))
    }

    /// Returns the drafts at or below a path.
    pub(super) fn within(&self, path: &RepoPath) -> Vec<(RepoPath, Draft)> {
        let state = self.state();
        let inside = state.drafts.iter().filter(|(version, _draft)| version.is_within(path));
        inside.map(|(version, draft)| (version.clone(), draft.clone())).collect()
    }

    /// Returns all drafts.
    pub(super) fn all(&self) -> Vec<(RepoPath, Draft)> {
        self.within(&RepoPath::root())
    }

    /// Begins a draft, or notes that something is being added to it.
    pub(super) fn touch(
        &self,
        root: &Root,
        version: &RepoPath,
        owner: &str,
        now: SystemTime,
    ) -> io::Result<Draft> {
        match self.find(version) {
            Some(mut draft) => {
                draft.touched = now;
                if draft.staged.take().is_some() {
                    // What is added was not there when somebody said whose it is.
                    self.write(root, version, &draft)?;
                    return Ok(draft);
                }
                root.touch(&below(&draft.directory(), ABOUT))?;
                self.state().drafts.insert(version.clone(), draft.clone());
                Ok(draft)
            }
            None => self.begin(root, version, owner, None, now),
        }
    }

    /// Begins a draft. With a release, its platforms appear when that is committed.
    pub(super) fn begin(
        &self,
        root: &Root,
        version: &RepoPath,
        owner: &str,
        release: Option<String>,
        now: SystemTime,
    ) -> io::Result<Draft> {
        let mut key = Digest::of(version.as_str().as_bytes()).to_string();
        key.truncate(32);
        let owner = owner.to_owned();
        let draft = Draft { owner, release, touched: now, staged: None, is_scattered: false, key };
        self.write(root, version, &draft)?;
        Ok(draft)
    }

    /// Makes a draft a release.
    pub(super) fn hold(&self, root: &Root, version: &RepoPath, release: String) -> io::Result<()> {
        match self.find(version) {
            Some(draft) => self.write(root, version, &Draft { release: Some(release), ..draft }),
            None => Ok(()),
        }
    }

    /// Leaves a draft to others.
    pub(super) fn stage(&self, root: &Root, version: &RepoPath, by: Stager) -> io::Result<()> {
        match self.find(version) {
            Some(draft) => self.write(root, version, &Draft { staged: Some(by), ..draft }),
            None => Ok(()),
        }
    }

    /// Gives a draft to somebody else, as a release.
    pub(super) fn give(
        &self,
        root: &Root,
        version: &RepoPath,
        owner: &str,
        release: String,
        now: SystemTime,
    ) -> io::Result<Draft> {
        let draft = self.find(version).ok_or(io::ErrorKind::NotFound)?;
        let given =
            Draft { owner: owner.to_owned(), release: Some(release), touched: now, ..draft };
        self.write(root, version, &given)?;
        Ok(given)
    }

    /// Says whether files of a version's draft are not in it.
    pub(super) fn is_scattered(&self, version: &RepoPath) -> bool {
        self.state().drafts.get(version).is_some_and(|draft| draft.is_scattered)
    }

    /// Notes whether files of a draft lie where they should only be while they are published.
    pub(super) fn set_scattered(&self, version: &RepoPath, is_scattered: bool) {
        if let Some(draft) = self.state().drafts.get_mut(version) {
            draft.is_scattered = is_scattered;
        }
    }

    /// Returns the version of a release.
    pub(super) fn of_release(&self, id: &str) -> Option<RepoPath> {
        let state = self.state();
        let is_it = |draft: &Draft| draft.release.as_deref() == Some(id);
        state.drafts.iter().find(|(_, draft)| is_it(draft)).map(|(version, _)| version.clone())
    }

    fn write(&self, root: &Root, version: &RepoPath, draft: &Draft) -> io::Result<()> {
        let about = About {
            version: version.to_string(),
            owner: draft.owner.clone(),
            release: draft.release.clone(),
            staged: draft.staged.clone(),
        };
        let place = below(&draft.directory(), ABOUT);
        let new = below(&draft.directory(), "about.new");
        root.write_private(&new, &serde_json::to_vec(&about)?)?;
        root.rename(&new, &place, Taken::IsReplaced)?;
        self.state().drafts.insert(version.clone(), draft.clone());
        Ok(())
    }

    /// Forgets a draft with everything in it.
    pub(super) fn remove(&self, root: &Root, version: &RepoPath) -> io::Result<()> {
        let Some(draft) = self.find(version) else { return Ok(()) };
        // In one step: nobody could go on with half of it.
        let place = below(&private::inside("tmp"), &temporary_name());
        match root.rename(&draft.directory(), &place, Taken::Fails) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                // It can have happened although it could not be flushed. Whoever went on with a draft
                // that is gone would be refused for as long as the program runs.
                let there = root.open_directory(&draft.directory());
                if there.is_err_and(|there| there.kind() == io::ErrorKind::NotFound) {
                    self.state().drafts.remove(version);
                }
                return Err(error);
            }
            Ok(()) => {}
        }
        self.state().drafts.remove(version);
        if let Err(error) = root.remove(&place) {
            tracing::warn!(
                error = causes(&error),
                "what was uploaded and is over takes space until the next start"
            );
        }
        Ok(())
    }

    /// Waits for the right to be the only one that changes a version.
    pub(super) async fn turn(&self, version: &RepoPath) -> OwnedMutexGuard<()> {
        let turn = {
            let mut state = self.state();
            if state.turns.len() >= TURNS {
                // Whoever has one or waits for it holds it twice with us.
                state.turns.retain(|_version, turn| Arc::strong_count(turn) > 1);
            }
            Arc::clone(state.turns.entry(version.clone()).or_default())
        };
        turn.lock_owned().await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a single call on a map, so a panic elsewhere left nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the drafts on the disk, and the places of what is none.
fn on_disk(root: &Root) -> io::Result<(BTreeMap<RepoPath, Draft>, Vec<RepoPath>)> {
    let (mut drafts, mut broken) = (BTreeMap::new(), Vec::new());
    for (key, _kind) in root.entries(&private::drafts())? {
        let place = below(&private::drafts(), &key);
        match read(root, &place, &key)? {
            Some((version, draft)) => {
                drafts.insert(version, draft);
            }
            None => broken.push(place),
        }
    }
    Ok((drafts, broken))
}

/// Returns the draft at a place; nothing if what is there is none. One that could not be read is
/// an error: it would be removed.
fn read(root: &Root, place: &RepoPath, key: &str) -> io::Result<Option<(RepoPath, Draft)>> {
    let file = match root.open(&below(place, ABOUT)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if is_not_a_directory(&error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let touched = file.metadata()?.modified()?;
    let text = root.read(&below(place, ABOUT))?;
    let Ok(About { version, owner, release, staged }) = serde_json::from_slice(&text) else {
        return Ok(None);
    };
    let Ok(version) = version.parse() else { return Ok(None) };
    // Where the program ended while it published, that is the first thing that the next one mends.
    let is_scattered = false;
    let key = key.to_owned();
    Ok(Some((version, Draft { owner, release, touched, staged, is_scattered, key })))
}

/// Joins a segment that is legal by how it was made.
pub(super) fn below(path: &RepoPath, segment: &str) -> RepoPath {
    path.join(segment).unwrap_or_else(|_too_long| path.clone())
}
