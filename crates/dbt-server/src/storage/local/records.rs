//! Which state belongs to the tree: the tree remembers its id, so that one that is lost is not
//! begun anew.

use std::io::{self, Read as _};

use dbt_core::repo_path::RepoPath;

use super::beneath::{Root, Taken};
use super::state_dir::StateDir;
use super::{Tree, private};
use crate::state::{FILE, Id, State, Unusable};

/// Opens the state of a tree. Only a server that writes to the tree (`is_ours`) makes one where
/// there was none.
pub(super) fn open(
    root: &Root,
    directory: Option<&StateDir>,
    is_ours: bool,
) -> io::Result<Result<State, Unusable>> {
    let remembered = remembered(root)?;
    let Some(directory) = directory else {
        let (path, reason) = (FILE.into(), "there is no state directory".to_owned());
        return Ok(Err(Unusable::Failed { path, reason }));
    };
    if !is_ours && !directory.is_held() {
        return Ok(State::open_existing(&directory.path, remembered.as_ref()));
    }
    let opened = State::open(&directory.path, remembered.as_ref());
    if let Ok(state) = &opened
        && remembered.is_none()
        && is_ours
    {
        remember(root, state.id())?;
    }
    Ok(opened)
}

/// Returns the id of the state that the tree remembers.
pub(super) fn remembered(root: &Root) -> io::Result<Option<Id>> {
    let file = match root.open(&place()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(64).read_to_string(&mut text)?;
    text.trim_end().parse().map(Some)
}

/// Lets the tree remember a state.
pub(super) fn remember(root: &Root, id: &Id) -> io::Result<()> {
    let new = private::inside("state-id.new");
    root.write_private(&new, format!("{id}\n").as_bytes())?;
    root.rename(&new, &place(), Taken::IsReplaced)
}

fn place() -> RepoPath {
    private::inside("state-id")
}

impl Tree {
    /// Returns what must not be forgotten.
    pub(super) fn known(&self) -> io::Result<&State> {
        self.records.as_ref().map_err(|unusable| io::Error::other(unusable.clone()))
    }

    /// Takes over what earlier versions of the program kept elsewhere. Without it nothing is
    /// written.
    pub(super) fn take_over_records(&mut self) {
        let Ok(state) = self.records.clone() else { return };
        if let Err(error) = self.take_over_tombstones(&state) {
            let path = ".reposerver/tombstones".into();
            self.records = Err(Unusable::Damaged { path, reason: error.to_string() });
        }
    }
}
