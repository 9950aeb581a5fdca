//! Files in a directory, at their plain paths, so that any other server can serve the same tree.
//!
//! Only `.reposerver` below the root is ours: uploads on their way, versions that are not whole yet,
//! what was deleted, and a lock that keeps a second server from writing to the same tree.

use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::name::ToolName;
use dbt_core::repo_path::RepoPath;
use dbt_core::trust::TrustStore;
use dbt_core::version::Version;
use tokio::sync::{Mutex, RwLock, Semaphore};

use self::amounts::Amounts;
use self::beneath::Root;
use self::bytes::{LocalContent, hash};
use self::drafts::Drafts;
use self::index::Index;
use self::on_disk::{Interrupted, on_disk};
use self::released::Released;
use self::remembered::{Identity, Remembered};
use self::state_dir::StateDir;
use super::{
    Detail, Directory, Entry, EntryKind, Found, PartialUpload, ReleaseState, ReleaseStep, Removed,
    Shelf, Storage, StorageError, StoredFile, Written,
};
use crate::action::{
    Action as _, CreateSomewhere, Delete, ListTrash, Read, Release, Restore, TakeOver, Write,
};
use crate::authn::Caller;
use crate::authz::Grant;
use crate::conditions::Conditions;
use crate::content::BoxFuture;
use crate::limits;
use crate::log::causes;
use crate::operate::metrics::Metrics;
use crate::state::{State, Unusable};
use crate::upload::{OlderChecksums, Upload};
use crate::writable::InVersion;

mod amounts;
mod at_once;
mod beneath;
mod buffers;
mod bytes;
mod commit;
mod committed;
mod condition;
mod drafts;
mod host;
mod index;
mod judge;
mod list;
mod look;
mod on_disk;
mod private;
mod publish;
mod records;
mod release;
mod released;
mod remembered;
mod remove;
mod shelf;
mod spelling;
mod state_dir;
mod tombstones;
mod trash;
mod trust;
mod uploads;
mod version;

pub use self::amounts::Amount;
pub use self::host::{AloneOnHost, OnHost, RestoreError, reindex, state_directory};
pub use self::private::OpenError;
pub use self::state_dir::state_of;
pub use self::trash::Discarded;
pub use self::trust::VerifyUploads;

/// How a tree is changed, and where what is known of it is kept.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The directory for what is known of the tree, if one is configured.
    pub state_dir: Option<PathBuf>,
    /// Whether what was published stays as it is, even after it was deleted.
    pub immutable: bool,
    /// Whether a name is refused that differs only in case from one that is there.
    pub refuse_case_variants: bool,
    /// Whether what is published must be signed by somebody in the truststore.
    pub verify: VerifyUploads,
    /// How long what was deleted can be restored.
    pub keep_deleted: Duration,
    /// The most entries of a directory that is listed.
    pub listing_entries: usize,
    /// The paths below which there may be so much and no more.
    pub with_quota: Vec<RepoPath>,
}

/// A directory of files.
#[derive(Clone)]
pub struct Local(Arc<Tree>);

/// What all uses of the directory share.
struct Tree {
    root: Root,
    remembered: Remembered,
    /// Held while a name is given or taken away, so that what was checked is still so.
    names: Arc<Mutex<()>>,
    /// One large file is hashed in the background at a time: serving comes first.
    background: Semaphore,
    private: Option<private::Directory>,
    state: Option<StateDir>,
    /// What must not be forgotten; without it nothing is written.
    records: Result<State, Unusable>,
    drafts: Drafts,
    released: Released,
    amounts: Amounts,
    metrics: OnceLock<Arc<Metrics>>,
    /// How often a directory that somebody may be reading has lost its name.
    replaced: AtomicU64,
    /// Held for reading while a version is published, and for writing while something is deleted.
    deletions: Arc<RwLock<()>>,
    rules: std::sync::RwLock<Arc<Rules>>,
    /// The disk takes names that differ only in case for one.
    folds_case: bool,
    /// Held while a new name is made, where each is to be there in one spelling.
    spelling: Arc<Mutex<()>>,
}

impl Local {
    /// Looks at a directory that this program does not change, beside a server or without one.
    pub fn open_to_read(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        let state = StateDir::for_reading(rules.state_dir.as_deref(), root);
        Self::open(root, None, state, rules)
    }

    /// Serves a directory that this server does not change. What it must not forget is kept where
    /// it has a state directory of its own.
    pub fn open_to_serve(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        let Some(state) = StateDir::of_its_own(rules.state_dir.as_deref()) else {
            return Self::open_to_read(root, rules);
        };
        Self::open(root, None, Some(state), rules)
    }

    /// Serves and changes a directory. Refused while another server does.
    ///
    /// What an earlier server left half done is completed or cleared away.
    pub fn open_to_write(root: &Path, rules: Rules) -> Result<Self, OpenError> {
        let private = private::Directory::open(root)?;
        let state = StateDir::for_writing(rules.state_dir.as_deref(), root)?;
        Self::open(root, Some(private), Some(state), rules)
    }

    fn open(
        path: &Path,
        private: Option<private::Directory>,
        state: Option<StateDir>,
        rules: Rules,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Open { path: PathBuf::from(path), source };
        let root = Root::open_root(path).map_err(failed)?;
        let folds_case = spelling::folds_case(&root);
        let is_ours = private.is_some();
        let (drafts, released) = if is_ours {
            (Drafts::open(&root).map_err(failed)?, Released::open(&root).map_err(failed)?)
        } else {
            (Drafts::default(), Released::default())
        };
        let amounts = Amounts::default();
        amounts.keep(&rules.with_quota);
        let records = records::open(&root, state.as_ref(), is_ours).map_err(failed)?;
        let mut tree = Tree {
            root,
            remembered: Remembered::with(index(state.as_ref(), path)),
            names: Arc::default(),
            background: Semaphore::new(1),
            private,
            state,
            records,
            drafts,
            released,
            amounts,
            metrics: OnceLock::new(),
            replaced: AtomicU64::new(0),
            deletions: Arc::default(),
            rules: std::sync::RwLock::new(Arc::new(rules)),
            folds_case,
            spelling: Arc::default(),
        };
        if is_ours {
            tree.recover().map_err(failed)?;
            tree.take_over_records();
        }
        Ok(Self(Arc::new(tree)))
    }

    /// Returns what must not be forgotten, or why it cannot be used: then nothing may be written.
    pub fn records(&self) -> Result<State, Unusable> {
        self.0.records.clone()
    }

    /// Removes drafts and deleted files whose time is over.
    pub async fn sweep(&self, now: SystemTime) {
        if self.0.records.is_err() {
            // Until an administrator has decided, everything stays as it is.
            return;
        }
        let alone = Arc::clone(&self.0.deletions).write_owned().await;
        let tree = Arc::clone(&self.0);
        let swept = on_disk(move || {
            for (version, draft) in tree.drafts.all() {
                if draft.expires() <= now {
                    tracing::info!(%version, owner = draft.owner, "an unfinished version has expired");
                    tree.remove_draft(&version)?;
                }
            }
            // What cannot be removed here must not fill the disk there.
            let swept = [
                tree.released.sweep(&tree.root, now),
                tree.sweep_committed(now),
                tree.sweep_uploads(now),
                tree.empty_trash(now),
            ];
            drop(alone);
            swept.into_iter().collect::<io::Result<()>>()
        });
        if let Err(error) = swept.await {
            tracing::warn!(error = causes(&error), "old files could not be removed");
        }
    }

    /// Hashes a file that was too large to be hashed while its reader waits.
    fn hash_in_background(&self, path: RepoPath, file: Arc<File>, identity: Identity) {
        if !self.0.remembered.begin_hashing(&path) {
            return;
        }
        let tree = Arc::clone(&self.0);
        tokio::spawn(async move {
            let turn = tree.background.acquire().await;
            let worker = Arc::clone(&tree);
            let place = path.clone();
            let hashed = on_disk(move || {
                let digest = hash(&file)?;
                worker.remembered.remember(&place, identity, digest);
                Ok::<(), io::Error>(())
            });
            if let Err(error) = hashed.await {
                tracing::warn!(%path, error = causes(&error), "a file could not be hashed");
            }
            tree.remembered.end_hashing(&path);
            drop(turn);
        });
    }
}

impl Storage for Local {
    fn look<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        detail: Detail,
    ) -> BoxFuture<'a, Result<Found, StorageError>> {
        Box::pin(async move {
            let path = grant.action().path().clone();
            let tree = Arc::clone(&self.0);
            let drafted = self.drafted_for(grant);
            if drafted.is_none()
                && let Some(opened) = tree.look_at_once(&path)
            {
                return Ok(Found::File(opened.stored(false)));
            }
            let (place, is_draft, found) = look::find(tree, path, drafted, detail).await?;
            let opened = match found {
                Looked::Directory(directory) => return Ok(Found::Directory(directory)),
                Looked::File(opened) => opened,
            };
            if opened.digest.is_none() {
                self.hash_in_background(place, Arc::clone(&opened.file), opened.identity);
            }
            Ok(Found::File(opened.stored(is_draft)))
        })
    }

    fn shelf<'a>(
        &'a self,
        grant: &'a Grant<Read>,
        after: Option<ToolName>,
    ) -> BoxFuture<'a, Result<Shelf, StorageError>> {
        Box::pin(shelf::look(&self.0, grant, after))
    }

    fn write<'a>(
        &'a self,
        grant: &'a Grant<Write>,
        upload: Upload,
    ) -> BoxFuture<'a, Result<Written, StorageError>> {
        Box::pin(publish::write(&self.0, grant, upload))
    }

    fn delete<'a>(
        &'a self,
        grant: &'a Grant<Delete>,
        conditions: &'a Conditions,
    ) -> BoxFuture<'a, Result<Removed, StorageError>> {
        Box::pin(remove::delete(&self.0, grant, conditions))
    }

    fn state_within_the_tree(&self) -> Option<&Path> {
        let state = self.0.state.as_ref().filter(|_state| self.0.private.is_some())?;
        state.is_within_tree.then_some(state.path.as_path())
    }

    fn has_draft(&self, path: &RepoPath) -> bool {
        self.0.drafts.around(path).is_some()
    }

    fn discarded<'a>(
        &'a self,
        _grant: &'a Grant<ListTrash>,
    ) -> BoxFuture<'a, Result<Vec<Discarded>, StorageError>> {
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || {
            tree.discarded().map_err(|error| publish::writing("list", &private::trash(), error))
        }))
    }

    fn restore(&self, grant: Grant<Restore>) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async move {
            let tree = Arc::clone(&self.0);
            let alone = Arc::clone(&tree.deletions).write_owned().await;
            on_disk(move || {
                let restored = tree.temporary().and_then(|_ours| tree.restore(grant.action()));
                drop(alone);
                restored
            })
            .await
        })
    }

    fn release(
        &self,
        grant: Grant<Release>,
        step: ReleaseStep,
    ) -> BoxFuture<'_, Result<ReleaseState, StorageError>> {
        Box::pin(release::take(&self.0, grant, step))
    }

    fn take_over(
        &self,
        grant: Grant<TakeOver>,
        id: String,
    ) -> BoxFuture<'_, Result<ReleaseState, StorageError>> {
        Box::pin(release::take_over(&self.0, grant, id))
    }

    fn begin_upload<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        named: Option<(RepoPath, Digest)>,
        each: u32,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        Box::pin(uploads::begin(&self.0, grant, named, each))
    }

    fn upload<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        let (tree, id, owner) = (Arc::clone(&self.0), id.to_owned(), owner(grant.caller()));
        Box::pin(on_disk(move || tree.upload(&id, &owner)))
    }

    fn append<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
        offset: u64,
        part: Upload,
    ) -> BoxFuture<'a, Result<PartialUpload, StorageError>> {
        Box::pin(uploads::append(&self.0, grant, id, offset, part))
    }

    fn uploaded<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<StoredFile, StorageError>> {
        let (tree, id, owner) = (Arc::clone(&self.0), id.to_owned(), owner(grant.caller()));
        Box::pin(on_disk(move || tree.uploaded(&id, &owner)))
    }

    fn forget_upload<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        let (tree, id, owner) = (Arc::clone(&self.0), id.to_owned(), owner(grant.caller()));
        Box::pin(on_disk(move || tree.forget_upload(&id, &owner)))
    }

    fn end_upload<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
        committed: (RepoPath, Digest),
    ) -> BoxFuture<'a, Result<(), StorageError>> {
        let (tree, id, owner) = (Arc::clone(&self.0), id.to_owned(), owner(grant.caller()));
        let (path, digest) = committed;
        Box::pin(async move {
            let present = Arc::clone(&tree.deletions).read_owned().await;
            on_disk(move || {
                let ended = tree.end_upload(&id, &owner, &path, digest);
                drop(present);
                ended
            })
            .await
        })
    }

    fn committed<'a>(
        &'a self,
        grant: &'a Grant<CreateSomewhere>,
        id: &'a str,
        committed: (RepoPath, Digest),
    ) -> BoxFuture<'a, Result<StoredFile, StorageError>> {
        let (tree, id, owner) = (Arc::clone(&self.0), id.to_owned(), owner(grant.caller()));
        let (path, digest) = committed;
        Box::pin(on_disk(move || tree.committed(&id, &owner, &path, digest)))
    }

    fn places_of(&self, digest: Digest) -> BoxFuture<'_, Vec<RepoPath>> {
        let tree = Arc::clone(&self.0);
        Box::pin(async move {
            let found = on_disk(move || Ok::<_, io::Error>(tree.remembered.places_of(digest)));
            found.await.unwrap_or_default()
        })
    }

    fn version_of_release(&self, id: &str) -> Option<RepoPath> {
        self.0.drafts.of_release(id).or_else(|| self.0.released.version(id))
    }

    fn trust(&self, now: SystemTime) -> BoxFuture<'_, Result<Option<TrustStore>, StorageError>> {
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || tree.trust(now)))
    }

    fn adapt(&self, rules: &Rules) {
        *self.0.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules.clone());
        self.0.amounts.keep(&rules.with_quota);
    }

    fn own_state(&self) -> Option<&Path> {
        self.0.own_state()
    }

    fn readable(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || tree.readable()))
    }

    fn writable(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || tree.writable()))
    }

    fn usage(&self, path: RepoPath) -> BoxFuture<'_, Result<u64, StorageError>> {
        if let Some(known) = self.0.amounts.known(&path) {
            return Box::pin(std::future::ready(Ok(known.bytes)));
        }
        let tree = Arc::clone(&self.0);
        Box::pin(on_disk(move || tree.count_below(&path).map_err(|error| reading(&path, error))))
    }

    fn observe(&self, metrics: &Arc<Metrics>) {
        // Once, when the server is built.
        let _observed = self.0.metrics.set(Arc::clone(metrics));
    }

    fn amount(&self) -> Option<Amount> {
        self.0.amounts.known(&RepoPath::root())
    }

    fn count(&self) -> BoxFuture<'_, ()> {
        Box::pin(amounts::count(&self.0))
    }

    fn uncounted(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.amounts.wanted())
    }

    fn space(&self) -> Option<(u64, u64)> {
        self.0.space()
    }

    fn sweep(&self, now: SystemTime) -> BoxFuture<'_, ()> {
        Box::pin(Self::sweep(self, now))
    }
}

/// Returns whose an upload is, as it is written down.
fn owner(caller: &Caller) -> String {
    caller.as_owner()
}

/// Opens the index. Without one, everything is hashed anew after a start.
fn index(state: Option<&StateDir>, root: &Path) -> Option<Index> {
    match Index::open(&state?.path, root) {
        Ok(index) => Some(index),
        Err(error) => {
            tracing::warn!(error = causes(&error), "the index cannot be opened: each start hashes");
            None
        }
    }
}

enum Looked {
    File(Opened),
    Directory(Directory),
}

/// A file that was opened and looked at.
struct Opened {
    file: Arc<File>,
    identity: Identity,
    length: u64,
    modified: SystemTime,
    digest: Option<Digest>,
    older: OlderChecksums,
}

impl Opened {
    fn stored(self, is_draft: bool) -> StoredFile {
        let Self { file, identity: _, length, modified, digest, older } = self;
        let content = Arc::new(LocalContent(file));
        StoredFile { length, modified, digest, older, is_draft, content }
    }
}

/// How often is looked again where directories are being replaced.
const LOOKS: u32 = 10;

impl Tree {
    /// Returns the rules that hold now.
    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether each name is to be there in one spelling.
    fn refuses_case_variants(&self) -> bool {
        self.folds_case || self.rules().refuse_case_variants
    }

    fn look(&self, path: &RepoPath, detail: Detail) -> Result<Looked, StorageError> {
        if !self.is_spelled(path) {
            return Err(StorageError::NotFound);
        }
        for _attempt in 1..LOOKS {
            let replaced = self.replaced.load(Ordering::SeqCst);
            let looked = self.look_once(path, detail);
            let is_open = matches!(looked, Ok(Looked::File(_)));
            if is_open || self.replaced.load(Ordering::SeqCst) == replaced {
                return looked;
            }
        }
        self.look_once(path, detail)
    }

    /// Notes that a directory is no longer what its path says, before anything in it is removed:
    /// who found it by the path meanwhile saw part of it, and looks again.
    fn note_replaced(&self) {
        self.replaced.fetch_add(1, Ordering::SeqCst);
    }

    fn look_once(&self, path: &RepoPath, detail: Detail) -> Result<Looked, StorageError> {
        let file = self.root.open(path).map_err(|error| reading(path, error))?;
        let metadata = file.metadata().map_err(|error| reading(path, error))?;
        if metadata.is_dir() {
            let limit = self.rules().listing_entries;
            let listed = list::list(&file, &metadata, detail, limit);
            let listed = listed.map_err(|error| reading(path, error))?;
            let mut directory = listed.ok_or(StorageError::TooLong { limit })?;
            if detail == Detail::Versions {
                self.date_versions(path, &mut directory.entries);
            }
            return Ok(Looked::Directory(directory));
        }
        if !metadata.is_file() {
            return Err(StorageError::NotFound);
        }
        self.opened(path, file, &metadata, limits::HASH_AT_ONCE).map(Looked::File)
    }

    /// Says of versions when they were published. The date of a directory would be that of
    /// whatever came to it last: another platform, a better description, a copy.
    fn date_versions(&self, path: &RepoPath, entries: &mut [Entry]) {
        for entry in entries {
            if entry.kind == EntryKind::Directory && entry.name.parse::<Version>().is_ok() {
                entry.modified = self.published_at(&drafts::below(path, &entry.name));
            }
        }
    }

    fn published_at(&self, version: &RepoPath) -> Option<SystemTime> {
        let modified =
            |file: &RepoPath| self.root.open(file).ok()?.metadata().ok()?.modified().ok();
        let files = self.files_below(version).unwrap_or_default();
        let is_artifact =
            |file: &&RepoPath| InVersion::of(file).is_some_and(|it| it.platform().is_some());
        let first = files.iter().filter(is_artifact).filter_map(modified).min();
        // One that was made by hand without any, or never filled.
        first.or_else(|| modified(version))
    }

    /// Looks at what only the uploader sees: the draft's file, or a directory with the entries of
    /// both.
    fn look_with_draft(
        &self,
        path: &RepoPath,
        drafted: &RepoPath,
        detail: Detail,
    ) -> Result<Looked, StorageError> {
        let Looked::Directory(mut directory) = self.look(drafted, detail)? else {
            return self.look(drafted, detail);
        };
        if let Ok(Looked::Directory(published)) = self.look(path, detail) {
            let is_new = |entry: &Entry| directory.entries.iter().all(|it| it.name != entry.name);
            let others: Vec<Entry> = published.entries.into_iter().filter(is_new).collect();
            directory.entries.extend(others);
            directory.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(Looked::Directory(directory))
    }

    /// Completes what is known of an opened file, hashing it if it is not too large for that.
    fn opened(
        &self,
        path: &RepoPath,
        file: File,
        metadata: &Metadata,
        hash_up_to: u64,
    ) -> Result<Opened, StorageError> {
        let identity = Identity::of(metadata);
        let mut digest = self.remembered.recall(path, identity);
        if digest.is_none() && metadata.len() <= hash_up_to {
            let fresh = hash(&file).map_err(|error| reading(path, error))?;
            self.remembered.remember(path, identity, fresh);
            digest = Some(fresh);
        }
        let older = digest.map(|digest| self.remembered.older(digest)).unwrap_or_default();
        let modified = metadata.modified().map_err(|error| reading(path, error))?;
        let (file, length) = (Arc::new(file), metadata.len());
        Ok(Opened { file, identity, length, modified, digest, older })
    }
}

fn reading(path: &RepoPath, source: io::Error) -> StorageError {
    if source.kind() == io::ErrorKind::NotFound || beneath::is_not_a_directory(&source) {
        StorageError::NotFound
    } else if source.kind() == io::ErrorKind::PermissionDenied {
        StorageError::NotReadable
    } else {
        StorageError::Io { action: "read", path: path.to_string(), source }
    }
}
