//! The store: verified artifacts by digest, side by side (trust design, 2.10).
//!
//! ```text
//! <store>/sha256/<aa>/<hex>/<file name>   installed artifacts: mode 0500 in directories of 0700
//! <store>/staging/                        what is being written; nothing here is executable
//! <store>/remembered/                     digests of large files, and of what the kernel keeps
//! <store>/locks/                          so that one of many downloads; never needed to be right
//! ```
//!
//! The road through here is [`Store::find`] or [`Store::staging`], then verification, then
//! [`Store::install`]. Nothing in this module says that bytes are good: what is found is as
//! unknown as what was downloaded, and only a [`Verified`] file becomes [`Installed`].
//!
//! Everything is right without locks, on any file system, with any number of processes, killed
//! at any moment. Nothing else in the directory is ever touched: the reference keeps its own
//! files there.

mod file;
mod install;
mod memory;
mod remembered;
mod root;
mod staging;
mod upkeep;
mod verity;

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use dbt_core::brand;
use dbt_core::digest::Digest;
use dbt_core::name::{ServerName, ToolName};
use dbt_core::trust::Verified;
use dbt_core::trust::openpgp::ContentDigests;

use crate::fsx::{self, FsxError};
use crate::ownership;
use crate::settings::Places;

pub use file::{Installed, StoreFile};
pub(crate) use memory::{create as create_memory, seal_and_compare};
pub use root::{Concern, Oddity};
pub use upkeep::{Cleared, Entry, Removal};

use file::{Form, Placed};
use root::{FileName, Opened, Root, Rule};

/// The stores of this run: those that are only read, our own, and what stands in for it where it
/// cannot be written.
#[derive(Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

/// What store and files share; files know by it which store they belong to.
#[derive(Debug)]
struct Inner {
    /// Our effective user id.
    owner: u32,
    read_only: Vec<Arc<Root>>,
    own_path: Option<PathBuf>,
    own_rule: Rule,
    own: OnceLock<Arc<Root>>,
    shared_path: PathBuf,
    shared: OnceLock<Arc<Root>>,
    /// It was looked whether the shared one exists.
    looked_for_shared: OnceLock<()>,
    writable: OnceLock<Option<Arc<Root>>>,
    /// Where the reference keeps its files.
    reference: Option<PathBuf>,
    concerns: Mutex<Vec<Concern>>,
}

/// Where artifacts are installed in this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritablePlace<'a> {
    /// In the user's own store.
    Own(&'a Path),
    /// In a directory of ours among the system's temporary files.
    Temporary(&'a Path),
    /// In memory, for this run only: nothing can be written anywhere.
    Memory,
}

impl Store {
    /// Opens what exists of the stores. Nothing is created before it is needed, and nothing that
    /// is missing or wrong is an error: see [`Store::concerns`].
    pub fn open(places: &Places) -> Self {
        let owner = ownership::us();
        let home = places.home.as_deref().map(absolute);
        let own_path = places.store.as_deref().map(absolute);
        let is_in_home = own_path.as_deref().zip(home.as_deref()).is_some_and(|(own, home)| {
            // There the home was judged.
            own.starts_with(home)
        });
        let shared_name = format!("{}-{owner}", brand::PROGRAM);
        let inner = Inner {
            owner,
            read_only: Vec::new(),
            own_rule: if is_in_home { Rule::Ours } else { Rule::Named },
            own_path,
            own: OnceLock::new(),
            shared_path: absolute(&places.temporary).join(shared_name),
            shared: OnceLock::new(),
            looked_for_shared: OnceLock::new(),
            writable: OnceLock::new(),
            reference: home.map(|home| home.join("tools")),
            concerns: Mutex::new(Vec::new()),
        };
        let read_only = places.read_only_stores.iter().filter_map(|path| {
            inner.noting(Root::open(&absolute(path), Rule::ReadOnly, owner)).flatten().map(Arc::new)
        });
        let read_only = read_only.collect();
        let open_own = |path| inner.noting(Root::open(path, inner.own_rule, owner)).flatten();
        if let Some(root) = inner.own_path.as_deref().and_then(open_own) {
            inner.set_own(root);
        }
        Self { inner: Arc::new(Inner { read_only, ..inner }) }
    }

    /// Finds an installed artifact, in the read-only stores first. It is open, and everything but
    /// its content has been checked; verify it like a download.
    ///
    /// What exists but is not in order is not returned: see [`Store::concerns`].
    pub fn find(&self, digest: Digest, file_name: &str) -> Option<StoreFile> {
        let name = FileName::new(file_name)?;
        self.inner.roots().find_map(|root| {
            let opened = self.inner.noting(root.open_artifact(digest, &name)).flatten()?;
            let Opened { path, directory, file, stamp } = opened;
            let placed = Placed { root: Arc::clone(root), directory, digest, name: name.clone() };
            Some(StoreFile {
                file,
                form: Form::Placed(placed),
                path,
                stamp: Some(stamp),
                remembered: false.into(),
                store: Arc::clone(&self.inner),
            })
        })
    }

    /// Finds what the reference has cached of a tool, in whatever version that is. Its content is
    /// to be verified; installing makes a copy of it.
    pub fn find_reference_copy(&self, server: &ServerName, tool: &ToolName) -> Option<StoreFile> {
        let path = self.inner.reference_path(server, tool.as_str())?;
        let file = fsx::open_nofollow(&path).ok()?;
        let stamp = root::Stamp::of(&file.metadata().ok()?);
        Some(StoreFile {
            file,
            form: Form::Reference,
            path,
            stamp: Some(stamp),
            remembered: false.into(),
            store: Arc::clone(&self.inner),
        })
    }

    /// Returns the small file that the reference keeps beside a cached tool: `ending` is
    /// `.sha256` or `.asc`.
    pub fn reference_companion(
        &self,
        server: &ServerName,
        tool: &ToolName,
        ending: &str,
    ) -> Option<Vec<u8>> {
        /// Larger than any signature block with many signers.
        const LIMIT: u64 = 1024 * 1024;

        let path = self.inner.reference_path(server, &format!("{tool}{ending}"))?;
        fsx::read_limited(&path, LIMIT).ok()
    }

    /// Opens a new file to download into. It is not executable, and it has no name, or one that
    /// nobody executes, until it is installed.
    pub fn staging(&self) -> Result<StoreFile, StoreError> {
        staging::create(&self.inner)
    }

    /// Installs a verified artifact, and returns it ready to be executed.
    ///
    /// A staging file gets its name; if somebody else was first, theirs is taken once its bytes
    /// have been compared. An artifact that was found here is looked at once more. What has
    /// changed since its verification began is refused, and so is a file of another store.
    pub fn install(&self, verified: Verified<StoreFile>) -> Result<Installed, StoreError> {
        let digest = verified.digest();
        let file_name = verified.id().file_name();
        let name = FileName::new(&file_name)
            .ok_or_else(|| StoreError::BadName { name: file_name.clone() })?;
        install::keep(&self.inner, verified.into_content(), digest, &name)
    }

    /// Removes a found artifact that did not pass verification, so that it is fetched again. Says
    /// whether there was one in a place of ours.
    pub fn discard(&self, digest: Digest, file_name: &str) -> Result<bool, StoreError> {
        let name = FileName::new(file_name)
            .ok_or_else(|| StoreError::BadName { name: file_name.into() })?;
        upkeep::discard(&self.inner, digest, &name)
    }

    /// Returns the digests that an earlier run computed over this very file, if it is too large
    /// to be read on every run or kept unchanged by the kernel, and nothing speaks against
    /// believing them. Counts this run.
    pub fn remembered(&self, file: &StoreFile, now: SystemTime) -> Option<ContentDigests> {
        remembered::recall(file, now)
    }

    /// Remembers the digests of a large or kept file that this run has read. Does nothing where that is
    /// not worth it or could not be believed.
    pub fn remember(&self, installed: &Installed, digests: &ContentDigests, now: SystemTime) {
        remembered::remember(installed, digests, now);
    }

    /// Waits until nobody else works on `key`, but no longer than `patience`, so that one of many
    /// processes downloads and the others find what it has installed.
    ///
    /// Whoever [has waited](Reservation::has_waited) looks again before downloading. Where locks
    /// do not work everybody downloads, which is slower and just as right.
    pub fn reserve(&self, key: &str, patience: Duration) -> Reservation {
        let Some(root) = self.inner.writable() else { return Reservation { lock: None } };
        let Some(locks) = self.inner.noting(root.make_room(LOCKS)) else {
            return Reservation { lock: None };
        };
        let path = locks.path.join(format!("{}{LOCK_ENDING}", Digest::of(key.as_bytes())));
        Reservation { lock: fsx::lock_file(&path, patience).ok() }
    }

    /// Says where artifacts are installed, creating that place if needed.
    pub fn writable_place(&self) -> WritablePlace<'_> {
        match self.inner.writable() {
            None => WritablePlace::Memory,
            Some(root) if root.top.path == self.inner.shared_path => {
                WritablePlace::Temporary(&root.top.path)
            }
            Some(root) => WritablePlace::Own(&root.top.path),
        }
    }

    /// Returns why tools are kept elsewhere than in the user's own store, if that is refused.
    pub fn why_elsewhere(&self) -> Option<Concern> {
        let own = self.inner.own_path.as_deref()?;
        if matches!(self.writable_place(), WritablePlace::Own(_)) {
            return None;
        }
        self.inner.concerns().into_iter().find(|concern| concern.path == own)
    }

    /// Says whether the file system with the store forbids executing anything (`noexec`).
    pub fn forbids_execution(&self) -> bool {
        self.inner.writable().is_some_and(|root| forbids_execution(&root.top.handle))
    }

    /// Says whether tools can run from memory.
    pub fn can_use_memory() -> bool {
        memory::create(brand::PROGRAM).is_ok()
    }

    /// Writes a little where artifacts are installed, and leaves nothing of it.
    pub fn try_writing(&self) -> Result<(), StoreError> {
        let mut file = self.staging()?;
        let path = file.path().to_owned();
        let opened = file.file_mut();
        let written =
            opened.write_all(&vec![0; TRIED]).and_then(|()| fsx::synced(opened.sync_all()));
        written.map_err(|error| FsxError::new("write to", path, error).into())
    }

    /// Looks at everything that is installed, and at the way to it, and returns what is wrong with
    /// that and with the stores.
    ///
    /// Who can rename a directory on the way can put another one there. That stops no run: volumes
    /// of containers are open to everybody, where nobody else is.
    pub fn inspect(&self) -> Vec<Concern> {
        if let Some(own) = self.inner.own_path.as_deref()
            && let Err(distrust) = ownership::of_way_to(own.parent().unwrap_or(own))
        {
            self.inner.note(Concern::new(own, Oddity::Way(distrust)));
        }
        for entry in self.entries() {
            let _concern_is_noted = self.find(entry.digest, &entry.file_name);
        }
        self.concerns()
    }

    /// Lists what killed processes have left behind.
    pub fn left_behind(&self, now: SystemTime) -> Vec<PathBuf> {
        upkeep::left_behind(&self.inner, now)
    }

    /// Returns what was found wrong so far, for `doctor` and for errors.
    pub fn concerns(&self) -> Vec<Concern> {
        let _opened = self.inner.shared();
        self.inner.concerns()
    }

    /// Lists what is installed, in every store of this run.
    pub fn entries(&self) -> Vec<Entry> {
        upkeep::entries(&self.inner)
    }

    /// Removes an artifact under all its names, unless a process runs it.
    pub fn remove(&self, digest: Digest) -> Result<Removal, StoreError> {
        upkeep::remove(&self.inner, digest)
    }

    /// Removes what killed processes have left behind. Never fails, and never touches what
    /// somebody may still need.
    pub fn sweep(&self, now: SystemTime) {
        upkeep::sweep(&self.inner, now);
    }

    /// Removes every installed artifact that no process runs and that is not to be kept, and
    /// everything we remember of them. Only our own files: what the reference or anybody else has
    /// put beside them stays.
    pub fn clear(&self, kept: &BTreeSet<Digest>, now: SystemTime) -> Result<Cleared, StoreError> {
        upkeep::clear(&self.inner, kept, now)
    }
}

/// How much is written to find out whether anything can be: more than a file system keeps beside
/// a file's name.
const TRIED: usize = 64 * 1024;

/// The directory of the locks below a root.
const LOCKS: &str = "locks";

/// The directories that we make at the top of a root.
const OURS: [&str; 4] = [root::ARTIFACTS, staging::STAGING, remembered::REMEMBERED, LOCKS];

/// What the name of a lock ends in.
const LOCK_ENDING: &str = ".lock";

/// The right to work on something while others wait; given back when it is dropped, or when the
/// process ends in any way.
#[derive(Debug)]
#[must_use = "the reservation ends when this is dropped"]
pub struct Reservation {
    lock: Option<fsx::Lock>,
}

impl Reservation {
    /// Says whether others wait for us. If not, they work beside us.
    pub fn is_held(&self) -> bool {
        self.lock.as_ref().is_some_and(fsx::Lock::is_held)
    }

    /// Says whether somebody else had it in between, so that what one wanted may be there.
    pub fn has_waited(&self) -> bool {
        self.lock.as_ref().is_some_and(fsx::Lock::has_waited)
    }
}

impl Inner {
    /// Returns the stores in the order in which they are looked up.
    fn roots(&self) -> impl Iterator<Item = &Arc<Root>> {
        self.read_only.iter().chain(self.own_roots())
    }

    fn own_roots(&self) -> impl Iterator<Item = &Arc<Root>> {
        self.own.get().into_iter().chain(std::iter::once_with(|| self.shared()).flatten())
    }

    /// Returns the one that stands in for our own, if it exists. Few runs ever look for it.
    fn shared(&self) -> Option<&Arc<Root>> {
        self.looked_for_shared.get_or_init(|| {
            let opened = self.noting(Root::open_shared(&self.shared_path, self.owner));
            if let Some(root) = opened.flatten() {
                self.set_shared(root);
            }
        });
        self.shared.get()
    }

    /// Returns the store that is written, which is decided once: our own, else the temporary one.
    fn writable(&self) -> Option<&Arc<Root>> {
        let decide = || {
            let own = self.own_path.as_deref();
            let own =
                own.and_then(|path| self.noting(Root::create(path, self.own_rule, self.owner)));
            if let Some(root) = own {
                self.set_own(root);
                return self.own.get().cloned();
            }
            let shared = self.noting(Root::create_shared(&self.shared_path, self.owner))?;
            self.set_shared(shared);
            self.shared.get().cloned()
        };
        self.writable.get_or_init(decide).as_ref()
    }

    /// Keeps the first handle: files that were found through it stay comparable.
    fn set_own(&self, root: Root) {
        self.own.get_or_init(|| Arc::new(root));
    }

    fn set_shared(&self, root: Root) {
        self.shared.get_or_init(|| Arc::new(root));
    }

    /// Writes a concern down and goes on without what it is about.
    fn noting<T>(&self, outcome: Result<T, Concern>) -> Option<T> {
        outcome.map_err(|concern| self.note(concern)).ok()
    }

    fn note(&self, concern: Concern) {
        let mut concerns = self.concerns.lock().unwrap_or_else(PoisonError::into_inner);
        // What is looked at twice is wrong once.
        let words = concern.to_string();
        if !concerns.iter().any(|it| it.path == concern.path && it.to_string() == words) {
            concerns.push(concern);
        }
    }

    fn concerns(&self) -> Vec<Concern> {
        self.concerns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns where the reference has a file; it leaves the level of the server out when that is
    /// called `default`.
    fn reference_path(&self, server: &ServerName, file: &str) -> Option<PathBuf> {
        let top = self.reference.as_ref()?;
        match server.as_str() {
            "default" => Some(top.join(file)),
            // A name is whatever somebody wrote in the configuration.
            name if name.contains(['/', '\\']) || name.starts_with('.') => None,
            name => Some(top.join(name).join(file)),
        }
    }
}

/// Says whether the file system that `file` is on forbids executing.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn forbids_execution(file: &std::fs::File) -> bool {
    use rustix::fs::StatVfsMountFlags;

    rustix::fs::fstatvfs(file).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::NOEXEC))
}

/// The same on macOS, whose `fstatvfs` does not say it.
#[cfg(target_vendor = "apple")]
pub(crate) fn forbids_execution(file: &std::fs::File) -> bool {
    /// `sys/mount.h`
    const MNT_NOEXEC: u32 = 0x4;

    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_flags & MNT_NOEXEC != 0)
}

/// Makes a path independent of the current directory, as a path to be executed must be.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_error| path.to_owned())
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No place can be written, and this system cannot execute from memory.
    #[error("there is no place to keep tools: {}", listed(concerns))]
    Nowhere {
        /// Why not where.
        concerns: Vec<Concern>,
    },
    /// Something in the store is not as it must be.
    #[error(transparent)]
    Refused(#[from] Concern),
    /// The system refused something.
    #[error(transparent)]
    File(#[from] FsxError),
    /// Somebody touched the file after its verification began.
    #[error("`{}` was changed or replaced while it was being verified", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The file was opened by another [`Store`].
    #[error("`{}` was not opened by this store", path.display())]
    Stranger {
        /// The file.
        path: PathBuf,
    },
    /// Something else has the artifact's name and cannot be removed.
    #[error("`{}` is in the way and cannot be removed", path.display())]
    InTheWay {
        /// What is in the way.
        path: PathBuf,
        /// Why it cannot be removed.
        source: io::Error,
    },
    /// Others installed and removed the same artifact all the time.
    #[error("failed to install in `{}`: other processes keep changing it", path.display())]
    Contended {
        /// The artifact's directory.
        path: PathBuf,
    },
    /// A file cannot be called this.
    #[error("`{}` cannot be the name of an artifact's file", name.escape_debug())]
    BadName {
        /// The name.
        name: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandomness,
}

fn listed(concerns: &[Concern]) -> String {
    concerns.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

const fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

const fn is_forbidden(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

impl StoreError {
    /// Returns what the user can do about it, if anything.
    pub fn hint(&self) -> Option<String> {
        let moved = || {
            let prefix = brand::ENV_PREFIX;
            format!("set {prefix}CACHE_DIR to a directory that can be written")
        };
        match self {
            Self::Nowhere { .. } | Self::Refused(_) => Some(moved()),
            Self::File(error) if is_full(error.kind()) => {
                let program = brand::PROGRAM;
                Some(format!("free some space (`{program} cache prune`), or {}", moved()))
            }
            Self::File(error) if is_forbidden(error.kind()) => Some(moved()),
            Self::InTheWay { path, .. } => Some(format!("remove `{}`", path.display())),
            Self::Changed { .. } | Self::Contended { .. } => {
                Some("run the same command again".into())
            }
            Self::File(_) | Self::Stranger { .. } | Self::BadName { .. } | Self::NoRandomness => {
                None
            }
        }
    }

    /// Says whether trying again from the beginning may help: another process was at work.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Changed { .. } | Self::Contended { .. })
    }
}

#[cfg(test)]
mod tests;
