//! How many files and bytes there are, in all and below each path that has a quota: counted once,
//! and then kept by everything that changes the tree, so that an upload has nothing to count.
//!
//! What comes by hand is counted by the next count. What is deleted and can be restored is not there.

use crate::log::causes;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dbt_core::repo_path::RepoPath;
use rustix::fs::FileType;
use tokio::sync::Notify;

use super::commit::{follow, skip};
use super::drafts::below;
use super::{Tree, beneath, on_disk, private};

/// How often a count is tried beside changes before these wait for it.
const ATTEMPTS: u32 = 3;

/// How long a count waits for changes that are under way. Each takes as long as the disk does.
const PATIENCE: Duration = Duration::from_secs(1);

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// How many files.
    pub files: u64,
    /// How large they are together.
    pub bytes: u64,
}

/// The size of a file at the path that it has for readers, or will have.
pub(super) type Size = (RepoPath, u64);

/// The amounts that are kept.
#[derive(Debug, Default)]
pub(super) struct Amounts {
    state: Mutex<State>,
    /// A change has ended, or a count for which changes wait.
    ended: Condvar,
    /// There is something to count.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By path; nothing while it is not known.
    kept: BTreeMap<RepoPath, Option<Amount>>,
    /// How many changes there ever were, and how many are under way.
    begun: u64,
    under_way: u32,
    /// A count goes on that changes wait for.
    is_held: bool,
}

impl Amounts {
    /// Keeps the amounts below these paths, and in all, from now on. They are to be counted.
    pub(super) fn keep(&self, paths: &[RepoPath]) {
        let mut state = self.state();
        let before = std::mem::take(&mut state.kept);
        let paths = paths.iter().cloned().chain([RepoPath::root()]);
        state.kept = paths
            .map(|path| {
                let known = before.get(&path).copied().flatten();
                (path, known)
            })
            .collect();
        drop(state);
        self.wanted.notify_one();
    }

    /// Returns how much there is at or below a path, if that is kept and known.
    pub(super) fn known(&self, path: &RepoPath) -> Option<Amount> {
        self.state().kept.get(path).copied().flatten()
    }

    /// Waits until there is something to count.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Begins a change of the tree. It may wait for a count, and a count for what has begun: until it
    /// ends the caller begins no other, and waits for no lock.
    pub(super) fn change(&self) -> Change<'_> {
        let state = self.state();
        let mut state = self
            .ended
            .wait_while(state, |state| state.is_held)
            .unwrap_or_else(PoisonError::into_inner);
        state.begun += 1;
        state.under_way += 1;
        Change { amounts: self, came: Vec::new(), went: Vec::new(), is_unknown: false }
    }

    /// Counts everything anew. `walk` tells the size of each file.
    ///
    /// A count beside which something changed counts for nothing, and is made again; the last time
    /// changes wait for it.
    pub(super) fn count(
        &self,
        walk: impl Fn(&mut dyn FnMut(&RepoPath, u64)) -> io::Result<()>,
    ) -> io::Result<()> {
        for attempt in 1..=ATTEMPTS {
            let held = (attempt == ATTEMPTS).then(|| self.hold());
            let Some((begun, mut counted)) = self.begin_count(held.is_some()) else { continue };
            walk(&mut |file, bytes| add(&mut counted, file, bytes))?;
            let mut state = self.state();
            if state.begun != begun {
                continue;
            }
            for (path, amount) in counted {
                if let Some(kept) = state.kept.get_mut(&path) {
                    *kept = Some(amount);
                }
            }
            return Ok(());
        }
        Ok(())
    }

    /// Waits until no change is under way. If some take long, there is no count now, unless new ones
    /// wait for it.
    fn begin_count(&self, is_held: bool) -> Option<(u64, BTreeMap<RepoPath, Amount>)> {
        let is_busy = |state: &mut State| state.under_way > 0;
        let state = self.state();
        let state = if is_held {
            self.ended.wait_while(state, is_busy).unwrap_or_else(PoisonError::into_inner)
        } else {
            let waited = self.ended.wait_timeout_while(state, PATIENCE, is_busy);
            let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                return None;
            }
            state
        };
        let none = |path: &RepoPath| (path.clone(), Amount::default());
        Some((state.begun, state.kept.keys().map(none).collect()))
    }

    fn hold(&self) -> Held<'_> {
        self.state().is_held = true;
        Held(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers; after a panic in between they are wrong until the next count.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(amounts: &mut BTreeMap<RepoPath, Amount>, file: &RepoPath, bytes: u64) {
    for (path, amount) in amounts {
        if file.is_within(path) {
            amount.files += 1;
            amount.bytes += bytes;
        }
    }
}

/// Lets no change begin until this goes.
struct Held<'a>(&'a Amounts);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.state().is_held = false;
        self.0.ended.notify_all();
    }
}

/// A change of the tree that is under way. What came of it counts when this goes.
#[must_use]
pub(super) struct Change<'a> {
    amounts: &'a Amounts,
    came: Vec<Size>,
    went: Vec<Size>,
    is_unknown: bool,
}

impl Change<'_> {
    /// Notes files that are there now.
    pub(super) fn came(&mut self, files: impl IntoIterator<Item = Size>) {
        self.came.extend(files);
    }

    /// Notes files that are not there any more.
    pub(super) fn went(&mut self, files: impl IntoIterator<Item = Size>) {
        self.went.extend(files);
    }

    /// Notes that nobody knows what came of it: everything is counted anew.
    pub(super) const fn is_not_known(&mut self) {
        self.is_unknown = true;
    }

    /// Notes what was there before and is there now, as far as both could be seen.
    pub(super) fn replaced(&mut self, before: io::Result<Vec<Size>>, after: io::Result<Vec<Size>>) {
        match (before, after) {
            (Ok(before), Ok(after)) => {
                self.went(before);
                self.came(after);
            }
            (Err(_), _) | (_, Err(_)) => self.is_not_known(),
        }
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut state = self.amounts.state();
        let within = |files: &[Size], path: &RepoPath| {
            let inside = files.iter().filter(|(file, _bytes)| file.is_within(path));
            inside.fold(Amount::default(), |all, (_file, bytes)| Amount {
                files: all.files + 1,
                bytes: all.bytes + bytes,
            })
        };
        for (path, kept) in &mut state.kept {
            let Some(amount) = kept else { continue };
            let (came, went) = (within(&self.came, path), within(&self.went, path));
            // What was put there by hand can be more than was counted.
            amount.files = (amount.files + came.files).saturating_sub(went.files);
            amount.bytes = (amount.bytes + came.bytes).saturating_sub(went.bytes);
            if self.is_unknown {
                *kept = None;
            }
        }
        state.under_way -= 1;
        drop(state);
        self.amounts.ended.notify_all();
        if self.is_unknown {
            self.amounts.wanted.notify_one();
        }
    }
}

/// Counts everything that is kept, on a thread that may wait.
pub(super) async fn count(tree: &Arc<Tree>) {
    let tree = Arc::clone(tree);
    if let Err(error) = on_disk(move || tree.count_all()).await {
        tracing::warn!(error = causes(&error), "what lies in the tree could not be counted");
    }
}

impl Tree {
    /// Counts the bytes of all files at or below a path, unfinished ones too, where that is not known
    /// yet.
    pub(super) fn count_below(&self, path: &RepoPath) -> io::Result<u64> {
        let mut bytes = 0;
        let mut tell = |file: &RepoPath, size: u64| {
            bytes += if file.is_within(path) { size } else { 0 };
        };
        self.sizes_below(path, &mut tell)?;
        self.unfinished_sizes(&mut tell)?;
        Ok(bytes)
    }

    /// Counts everything that is kept.
    pub(super) fn count_all(&self) -> io::Result<()> {
        self.amounts.count(|tell| {
            self.sizes_below(&RepoPath::root(), tell)?;
            self.unfinished_sizes(tell)
        })
    }

    /// Tells the sizes of files that readers do not see yet.
    fn unfinished_sizes(&self, tell: &mut dyn FnMut(&RepoPath, u64)) -> io::Result<()> {
        let drafts = self.drafts.all().into_iter();
        let mut places: Vec<(RepoPath, RepoPath)> =
            drafts.map(|(version, draft)| (draft.files(), version)).collect();
        for (name, _kind) in self.root.entries(&private::publishing())? {
            places.push((below(&private::publishing(), &name), RepoPath::root()));
        }
        for (place, seen) in places {
            for (file, bytes) in self.sizes_of(&place, &seen)? {
                tell(&file, bytes);
            }
        }
        Ok(())
    }

    /// Returns the sizes of the files at or below a place, as if that were another path.
    pub(super) fn sizes_of(&self, place: &RepoPath, seen: &RepoPath) -> io::Result<Vec<Size>> {
        let depth = place.segments().count();
        let mut sizes = Vec::new();
        self.sizes_below(place, &mut |file, bytes| {
            sizes.push((follow(seen, &skip(file, depth)), bytes));
        })?;
        Ok(sizes)
    }

    /// Returns the sizes of the files of parts of a version in all places that it may have.
    pub(super) fn sizes_of_parts(
        &self,
        version: &RepoPath,
        parts: &[RepoPath],
        places: &[RepoPath],
    ) -> io::Result<Vec<Size>> {
        let mut sizes = Vec::new();
        for (part, place) in parts.iter().flat_map(|part| places.iter().map(move |it| (part, it))) {
            sizes.extend(self.sizes_of(&follow(place, part), &follow(version, part))?);
        }
        Ok(sizes)
    }

    /// Forgets a draft with everything in it.
    pub(super) fn remove_draft(&self, version: &RepoPath) -> io::Result<()> {
        let Some(draft) = self.drafts.find(version) else { return Ok(()) };
        // What is left on its way would be published by the next start.
        self.gather_scattered(version)?;
        let mut change = self.amounts.change();
        let before = self.sizes_of(&draft.files(), version);
        let removed = self.drafts.remove(&self.root, version);
        change.replaced(before, self.sizes_of(&draft.files(), version));
        removed
    }

    /// Tells the size of each file at or below a place, our own directory left out. What goes away
    /// meanwhile holds nothing.
    fn sizes_below(
        &self,
        place: &RepoPath,
        tell: &mut dyn FnMut(&RepoPath, u64),
    ) -> io::Result<()> {
        let mut waiting = vec![place.clone()];
        while let Some(place) = waiting.pop() {
            let entries = match self.root.entries(&place) {
                Ok(entries) => entries,
                Err(error) if beneath::is_not_a_directory(&error) => {
                    self.tell_size(&place, tell);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for (name, kind) in entries {
                let inner = below(&place, &name);
                if kind == FileType::Directory && !(place.is_root() && name == private::NAME) {
                    waiting.push(inner);
                } else if kind == FileType::RegularFile {
                    self.tell_size(&inner, tell);
                }
            }
        }
        Ok(())
    }

    fn tell_size(&self, file: &RepoPath, tell: &mut dyn FnMut(&RepoPath, u64)) {
        let metadata = self.root.open(file).and_then(|file| file.metadata());
        if let Ok(metadata) = metadata
            && metadata.is_file()
        {
            tell(file, metadata.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    const fn amount(files: u64, bytes: u64) -> Amount {
        Amount { files, bytes }
    }

    #[test]
    fn a_change_counts_for_each_path_around_it_once_that_was_counted() {
        let amounts = Amounts::default();
        amounts.keep(&[path("a"), path("a/b"), path("c")]);
        amounts.change().came([(path("a/b/x"), 5)]);
        assert_eq!(amounts.known(&path("a")), None);
        let walk = |tell: &mut dyn FnMut(&RepoPath, u64)| {
            tell(&path("a/b/x"), 5);
            tell(&path("ab/x"), 7);
            Ok(())
        };
        amounts.count(walk).unwrap();
        let mut change = amounts.change();
        change.came([(path("a/x"), 3)]);
        change.went([(path("a/b/x"), 5)]);
        assert_eq!(amounts.known(&path("a")), Some(amount(1, 5)), "not before it has ended");
        drop(change);
        for (kept, expected) in [
            (path("a"), Some(amount(1, 3))),
            (path("a/b"), Some(amount(0, 0))),
            (path("c"), Some(amount(0, 0))),
            (RepoPath::root(), Some(amount(2, 10))),
            (path("a/b/x"), None),
        ] {
            assert_eq!(amounts.known(&kept), expected, "{kept}");
        }
        amounts.change().is_not_known();
        assert_eq!(amounts.known(&path("a")), None);
    }

    #[test]
    fn other_paths_are_kept_from_then_on_and_known_ones_stay_known() {
        let amounts = Amounts::default();
        amounts.keep(&[path("a")]);
        amounts
            .count(|tell| {
                tell(&path("a/x"), 1);
                Ok(())
            })
            .unwrap();
        amounts.keep(&[path("a"), path("b")]);
        assert_eq!(amounts.known(&path("a")), Some(amount(1, 1)));
        assert_eq!(amounts.known(&path("b")), None);
        amounts.keep(&[]);
        assert_eq!(amounts.known(&path("a")), None);
        assert_eq!(amounts.known(&RepoPath::root()), Some(amount(1, 1)));
    }

    #[test]
    fn a_count_beside_which_something_changed_is_made_again_and_at_last_without_changes() {
        let amounts = Amounts::default();
        amounts.keep(&[]);
        let walks = std::cell::Cell::new(0_u32);
        let walk = |tell: &mut dyn FnMut(&RepoPath, u64)| {
            walks.set(walks.get() + 1);
            if walks.get() < ATTEMPTS {
                // Whether the walk came by before or after it, nobody knows.
                amounts.change().came([(path("x"), 1)]);
            }
            tell(&path("x"), 1);
            Ok(())
        };
        amounts.count(walk).unwrap();
        assert_eq!(walks.get(), ATTEMPTS);
        assert_eq!(amounts.known(&RepoPath::root()), Some(amount(1, 1)));
        // Changes wait no longer.
        amounts.change().came([(path("y"), 1)]);
        assert_eq!(amounts.known(&RepoPath::root()), Some(amount(2, 2)));
    }

    #[test]
    fn changes_from_many_threads_beside_counts_are_all_counted() {
        use std::sync::atomic::{AtomicU64, Ordering};

        let amounts = Amounts::default();
        amounts.keep(&[]);
        let there = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _thread in 0..4 {
                scope.spawn(|| {
                    for _change in 0..500 {
                        let mut change = amounts.change();
                        there.fetch_add(1, Ordering::SeqCst);
                        change.came([(path("x"), 1)]);
                    }
                });
            }
            for _count in 0..50 {
                let walk = |tell: &mut dyn FnMut(&RepoPath, u64)| {
                    for _file in 0..there.load(Ordering::SeqCst) {
                        tell(&path("x"), 1);
                    }
                    Ok(())
                };
                amounts.count(walk).unwrap();
            }
        });
        assert_eq!(amounts.known(&RepoPath::root()), Some(amount(2000, 2000)));
    }
}
