//! Where downloads are written before anything is known about them.
//!
//! A staging file is mode 0600 and, wherever the file system can, has no name at all: if we are
//! killed, nothing remains. Elsewhere it has a random name that nothing executes, and holds a
//! lock by which a later sweep sees that its writer is gone.

use std::fs::{File, TryLockError};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use dbt_sys::cause::Cause;
use dbt_sys::files::Facts;

use super::file::{Form, StagingName, StoreFile};
use super::root::{Concern, Directory, Root};
use super::{Inner, StoreError, memory};

/// The directory of the staging files below a root.
pub(super) const STAGING: &str = "staging";

/// Opens a new staging file where artifacts are installed; in memory if that is nowhere.
pub(super) fn create(store: &Arc<Inner>) -> Result<StoreFile, StoreError> {
    let Some(root) = store.writable() else { return in_memory(store) };
    let directory = root.make_room(STAGING)?;
    match directory.create_unnamed() {
        Some(file) => Ok(staged(store, file, directory.path, Form::Unnamed(Arc::clone(root)))),
        None => named(store, root, directory),
    }
}

/// The same, always with a name: for file systems that have no unnamed files.
pub(super) fn named(
    store: &Arc<Inner>,
    root: &Arc<Root>,
    directory: Directory,
) -> Result<StoreFile, StoreError> {
    loop {
        let name = random_name()?;
        let path = directory.path.join(&name);
        match directory.create_file(&name) {
            Err(error) if Cause::Exists.explains(&error) => {}
            Err(error) => return Err(Concern::unusable(path, error).into()),
            Ok(file) => {
                if is_swept(&file) {
                    continue;
                }
                let name = StagingName { directory, name, owned: true };
                return Ok(staged(store, file, path, Form::Named(Arc::clone(root), name)));
            }
        }
    }
}

fn in_memory(store: &Arc<Inner>) -> Result<StoreFile, StoreError> {
    let name = dbt_core::brand::PROGRAM;
    match memory::create(name) {
        Ok(file) => Ok(staged(store, file, PathBuf::from("memory"), Form::Memory)),
        Err(_no_such_thing) => Err(StoreError::Nowhere { concerns: store.concerns() }),
    }
}

fn staged(store: &Arc<Inner>, file: File, path: PathBuf, form: Form) -> StoreFile {
    let remembered = AtomicBool::new(false);
    StoreFile { file, form, path, stamp: None, remembered, store: Arc::clone(store) }
}

/// Locks the new file, and says whether a sweep has taken it for a dead one before that.
fn is_swept(file: &File) -> bool {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => true,
        // Without locks the sweep goes by age.
        Ok(()) | Err(TryLockError::Error(_)) => Facts::of(file).is_ok_and(|facts| facts.names == 0),
    }
}

/// Returns a name that nobody can guess or collide with.
pub(super) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_error| StoreError::NoRandomness)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}
