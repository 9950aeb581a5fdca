//! What is installed, and removing it.
//!
//! Removing is safe at any moment: what runs keeps its file until it ends, and who is about to
//! start it finds out at the last look before executing. That a running tool is not removed is a
//! courtesy (its updates and child processes find it again), and as such best effort: on Linux
//! `/proc` tells, for a script by its interpreter's arguments; elsewhere nothing does.

use std::collections::{BTreeSet, HashSet};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_sys::files::{self, Facts};

use super::remembered::{RECORD_ENDING, REMEMBERED, RUNS_ENDING};
use super::root::{ARTIFACTS, FileName, Root, Rule, Stamp, prefix};
use super::staging::STAGING;
use super::{Inner, LOCK_ENDING, LOCKS, StoreError};
use crate::fsx::{self, is_old};

/// One installed artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The digest that its directory states. Nothing was read to check it.
    pub digest: Digest,
    /// The name of its file.
    pub file_name: String,
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub length: u64,
    /// When it was last installed or found again to be run.
    pub last_used: Option<SystemTime>,
    /// It is in a store that is only read.
    pub read_only: bool,
}

/// What [`Store::remove`](super::Store::remove) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// It was removed, and this many bytes are free.
    Removed {
        /// The bytes.
        bytes: u64,
    },
    /// A process runs it; it was left alone.
    Running,
    /// There is no such artifact in a store of ours.
    Missing,
}

/// What [`Store::clear`](super::Store::clear) did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cleared {
    /// How many artifacts were removed.
    pub removed: usize,
    /// How many bytes are free.
    pub bytes: u64,
    /// What was left alone because a process runs it.
    pub running: Vec<PathBuf>,
}

/// Lists what is installed.
pub(super) fn entries(store: &Inner) -> Vec<Entry> {
    let mut entries: Vec<_> = store.roots().flat_map(|root| entries_of(root)).collect();
    entries.sort_by(|one, other| (&one.file_name, &one.path).cmp(&(&other.file_name, &other.path)));
    entries
}

fn entries_of(root: &Root) -> Vec<Entry> {
    let digests = digests_of(root);
    digests.into_iter().flat_map(|(digest, directory)| files_of(root, digest, &directory)).collect()
}

/// Lists the directories that are named like digests, in the place where they belong.
fn digests_of(root: &Root) -> Vec<(Digest, PathBuf)> {
    let shelves = names_in(&root.top.path.join(ARTIFACTS));
    let directories = shelves.iter().flat_map(|shelf| names_in(shelf));
    let named = directories.filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let shelf = path.parent()?.file_name()?.to_str()?;
        let digest: Digest = name.parse().ok()?;
        (digest.to_string() == name && prefix(name) == shelf).then_some((digest, path))
    });
    named.collect()
}

fn files_of(root: &Root, digest: Digest, directory: &Path) -> Vec<Entry> {
    let last_used = fs::symlink_metadata(directory).and_then(|metadata| metadata.modified()).ok();
    let files = names_in(directory).into_iter().filter_map(|path| {
        let metadata = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        let file_name = FileName::new(path.file_name()?.to_str()?)?.as_str().to_owned();
        let read_only = root.rule == Rule::ReadOnly;
        Some(Entry { digest, file_name, path, length: metadata.len(), last_used, read_only })
    });
    files.collect()
}

/// Lists the paths in a directory; what cannot be listed is empty.
fn names_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

/// Removes an artifact that did not pass verification.
pub(super) fn discard(
    store: &Arc<Inner>,
    digest: Digest,
    name: &FileName,
) -> Result<bool, StoreError> {
    let mut any = false;
    for root in store.own_roots() {
        let directory = directory_of(root, digest);
        let path = directory.join(name.as_str());
        if let Ok(metadata) = fs::symlink_metadata(&path) {
            let outcome =
                if metadata.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
            outcome.map_err(|source| StoreError::InTheWay { path, source })?;
            forget(root, digest, name.as_str());
            remove_empty(root, &directory);
            any = true;
        }
    }
    Ok(any)
}

/// Removes an artifact under all its names, unless a process runs it.
pub(super) fn remove(store: &Inner, digest: Digest) -> Result<Removal, StoreError> {
    let running = Running::now();
    let mut bytes = None;
    for root in store.own_roots() {
        let entries = files_of(root, digest, &directory_of(root, digest));
        if entries.iter().any(|entry| running.includes(&entry.path)) {
            return Ok(Removal::Running);
        }
        for entry in &entries {
            remove_entry(root, entry)?;
            bytes = Some(bytes.unwrap_or(0) + entry.length);
        }
    }
    Ok(bytes.map_or(Removal::Missing, |bytes| Removal::Removed { bytes }))
}

/// Removes every artifact that no process runs and that is not to be kept.
pub(super) fn clear(
    store: &Inner,
    kept: &BTreeSet<Digest>,
    now: SystemTime,
) -> Result<Cleared, StoreError> {
    let running = Running::now();
    let mut cleared = Cleared::default();
    let mut going = Vec::new();
    for root in store.own_roots() {
        let entries = entries_of(root).into_iter();
        for entry in entries.filter(|entry| !kept.contains(&entry.digest)) {
            if running.includes(&entry.path) {
                cleared.running.push(entry.path);
            } else if let Some(identity) = identity_of(&entry.path) {
                set_mode(&entry.path, GOING);
                going.push((root, entry, identity));
            }
        }
    }
    if !going.is_empty() {
        std::thread::sleep(STARTING);
    }
    let running = Running::now();
    for (root, entry, identity) in going {
        if running.includes(&entry.path) {
            // The next who finds it gives it its mode back.
            set_mode(&entry.path, STAYING);
            cleared.running.push(entry.path);
        } else if identity_of(&entry.path) == Some(identity) {
            // Otherwise somebody has installed it anew.
            remove_entry(root, &entry)?;
            cleared.removed += 1;
            cleared.bytes += entry.length;
        }
    }
    sweep(store, now);
    Ok(cleared)
}

/// The mode of a file that is about to be removed: nobody finds it or starts it any more, and the
/// interpreter of a script that was started a moment ago can still read it.
const GOING: u32 = 0o1400;

/// The mode of one that is not removed after all.
const STAYING: u32 = 0o500;

/// How long it takes at most from the last look at a file to the process that shows that it runs.
const STARTING: Duration = Duration::from_millis(300);

fn identity_of(path: &Path) -> Option<(u64, u64)> {
    Facts::of_name(path).ok().map(|facts| Stamp::of(&facts).identity())
}

fn set_mode(path: &Path, mode: u32) {
    if let Ok(file) = fsx::open_nofollow(path) {
        let _best_effort = files::set_mode(&file, mode);
    }
}

fn remove_entry(root: &Root, entry: &Entry) -> Result<(), StoreError> {
    fsx::remove(&entry.path)?;
    forget(root, entry.digest, &entry.file_name);
    if let Some(directory) = entry.path.parent() {
        remove_empty(root, directory);
    }
    Ok(())
}

/// Forgets the digests of a file that is gone.
fn forget(root: &Root, digest: Digest, file_name: &str) {
    for ending in [RECORD_ENDING, RUNS_ENDING] {
        let name = format!("{digest}-{file_name}{ending}");
        let _best_effort = fsx::remove(&root.top.path.join(REMEMBERED).join(name));
    }
}

/// Removes a directory and its shelf if nothing is in them. Whoever is about to use them makes
/// them again.
fn remove_empty(root: &Root, directory: &Path) {
    let top = root.top.path.join(ARTIFACTS);
    let shelf = directory.parent().filter(|shelf| shelf.parent() == Some(top.as_path()));
    for empty in std::iter::once(directory).chain(shelf) {
        let _unless_used = fs::remove_dir(empty);
    }
}

fn directory_of(root: &Root, digest: Digest) -> PathBuf {
    let hex = digest.to_string();
    root.top.path.join(ARTIFACTS).join(prefix(&hex)).join(&hex)
}

/// Lists what killed processes have left behind that takes space.
pub(super) fn left_behind(store: &Inner, now: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for root in store.own_roots() {
        let staged = names_in(&root.top.path.join(STAGING)).into_iter();
        found.extend(staged.filter(|it| is_staging_name(it) && is_abandoned(it, now)));
        // Half-written records; the others go with their artifact.
        found.extend(fsx::left_behind(&root.top.path.join(REMEMBERED), now));
    }
    found
}

/// Removes what killed processes have left behind.
pub(super) fn sweep(store: &Inner, now: SystemTime) {
    for path in left_behind(store, now) {
        let _best_effort = fsx::remove(&path);
    }
    for root in store.own_roots() {
        for path in names_in(&root.top.path.join(LOCKS)) {
            if name_of(&path).ends_with(LOCK_ENDING) {
                fsx::remove_free_lock(&path, now);
            }
        }
        for (_digest, directory) in digests_of(root) {
            if is_old(&directory, now) {
                remove_empty(root, &directory);
            }
        }
    }
}

/// Says whether nobody needs a file any more. Process numbers would not do: the store may be
/// shared with other machines and containers.
fn is_abandoned(path: &Path, now: SystemTime) -> bool {
    let Ok(file) = fsx::open_nofollow(path) else { return false };
    match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_no_locks_here)) => is_old(path, now),
    }
}

/// Says whether we have given a staging file this name.
fn is_staging_name(path: &Path) -> bool {
    let name = name_of(path);
    name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default()
}

/// The files that processes of ours execute, as far as can be seen.
#[derive(Debug, Default)]
struct Running {
    files: HashSet<(u64, u64)>,
    /// What interpreters were given as their first arguments.
    scripts: HashSet<PathBuf>,
}

impl Running {
    /// Nobody says which these are; see [`files::is_held_as_a_program`].
    #[cfg(not(unix))]
    fn now() -> Self {
        Self::default()
    }

    #[cfg(unix)]
    fn now() -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        use std::os::unix::fs::MetadataExt as _;

        let mut running = Self::default();
        for process in names_in(Path::new("/proc")) {
            if !name_of(&process).bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            // Following this link leads to the file even when its name is gone.
            if let Ok(metadata) = fs::metadata(process.join("exe")) {
                running.files.insert((metadata.dev(), metadata.ino()));
            }
            let Ok(line) = fsx::read_limited(&process.join("cmdline"), 64 * 1024) else { continue };
            let first = line.split(|byte| *byte == 0).skip(1).take(3);
            let paths = first.filter(|argument| argument.starts_with(b"/"));
            running
                .scripts
                .extend(paths.map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path))));
        }
        running
    }

    fn includes(&self, path: &Path) -> bool {
        let identity = File::open(path).and_then(|file| Facts::of(&file));
        let is_executed =
            identity.is_ok_and(|facts| self.files.contains(&Stamp::of(&facts).identity()));
        is_executed || files::is_held_as_a_program(path) || self.scripts.contains(path)
    }
}
