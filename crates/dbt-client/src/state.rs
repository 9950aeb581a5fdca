//! What this machine remembers of one server: trust, history, and what is installed.
//!
//! All of it belongs to one server's directory and to no other (trust design, 2.5). Every file is
//! written whole, beside itself, and renamed; a lock keeps two runs from losing each other's
//! changes. Where nothing can be written, what was written before counts, and changes live in
//! memory for this run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::name::{ServerName, ToolName};
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::history::History;
use dbt_core::trust::keys::KnownGood;
use dbt_core::trust::memory::TrustMemory;
use dbt_core::trust::{Companions, Fingerprint};
use dbt_core::version::Version;

use crate::fsx::{self, FsxError};
use crate::ownership::{self, Distrust};
use crate::settings::Places;
use crate::url::RepositoryUrl;

mod truststore;

pub(crate) use truststore::Judged;
use truststore::{PREVIOUS_TRUSTSTORE, SavedTruststore, TRUSTSTORE};

/// The schema of the files below; a higher one was written by a newer program.
const SCHEMA: u32 = 1;

/// The most bytes of one state file.
const STATE_LIMIT: u64 = 16 * 1024 * 1024;

/// One server's state on this machine.
///
/// What a run has read it does not read again: it decides by one state of things from beginning
/// to end. A change is made to what is in the file by then.
#[derive(Debug)]
pub struct ServerState {
    directory: Option<PathBuf>,
    /// What was written when it could be; read where `directory` is missing and the memory is
    /// empty.
    read_only: Option<PathBuf>,
    memory: Mutex<InMemory>,
    /// This run goes on where its changes cannot be written.
    may_forget: AtomicBool,
    /// Why its changes are not written any more.
    forgetting: OnceLock<String>,
    /// Who else could change what is remembered: then nothing of it is believed.
    distrust: Option<Distrust>,
}

/// What this run has read; where no file can be written, all there is.
#[derive(Debug, Default)]
struct InMemory {
    server: Option<ServerRecord>,
    tools: BTreeMap<String, ToolRecord>,
    truststore: Option<SavedTruststore>,
}

/// What is remembered of a server as a whole.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ServerRecord {
    pub(crate) schema: u32,
    /// Its certificates.
    pub trust: TrustMemory,
    /// The entity tag of the truststore last accepted.
    pub truststore_etag: Option<String>,
    /// The digest of that truststore.
    pub(crate) truststore_sha256: Option<Digest>,
    /// When the server last confirmed the truststore.
    pub confirmed: Option<Timestamp>,
    /// How often in a row it could not be used.
    pub failures: u32,
    /// When the last such failure was.
    pub failed: Option<Timestamp>,
    /// What happened then, for people.
    pub failure: Option<String>,
    /// When the versions of dbt itself could last not be listed, although the server answered.
    pub program_failed: Option<Timestamp>,
    /// When each notice was last said.
    pub said: BTreeMap<String, Timestamp>,
    /// When the server last said that it has no catalog in one document.
    pub(crate) no_catalog: Option<Timestamp>,
    /// The repository's `trust` metadata or manifest was last refused then.
    pub manifest_refused: Option<Timestamp>,
    /// The entity tag of the timestamp of the signed index.
    pub(crate) timestamp_etag: Option<String>,
    /// When the server was last asked for a newer root.
    pub(crate) root_probed: Option<Timestamp>,
    /// When a signed index was last not adopted.
    pub(crate) index_refused: Option<Timestamp>,
    /// Signatures between keys that need not be verified again.
    pub(crate) known_good: KnownSignatures,
}

/// Signatures between keys whose arithmetic was done by an earlier run.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub(crate) struct KnownSignatures {
    edition: String,
    digests: Vec<Digest>,
}

impl KnownSignatures {
    /// Returns what this build may believe of it.
    pub(crate) fn known(&self) -> KnownGood {
        let ours = self.edition == KnownGood::EDITION;
        KnownGood::remembered(self.digests.iter().copied().filter(|_digest| ours))
    }

    pub(crate) fn learnt(digests: Vec<Digest>) -> Self {
        Self { edition: KnownGood::EDITION.to_owned(), digests }
    }
}

/// What is remembered of one tool, or of dbt itself.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct ToolRecord {
    pub(crate) schema: u32,
    /// What has been seen of it.
    pub history: History,
    /// The versions in the store.
    pub installed: Vec<InstalledVersion>,
    /// This machine is held on a version.
    pub hold: Option<Hold>,
    /// When the server was last asked about it.
    pub checked: Option<Timestamp>,
    /// The server has a list of withdrawn versions of it, with this entity tag.
    pub withdrawn_etag: Option<String>,
    /// A newer version was seen that is not for this platform.
    pub newer_elsewhere: Option<Version>,
}

/// One verified version in the store, with what is needed to verify it again.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct InstalledVersion {
    /// Its version, as spelt in the repository.
    pub version: Version,
    /// Its platform, as `os/arch`.
    pub platform: String,
    /// The digest of its content.
    pub sha256: Digest,
    /// Its length in bytes.
    pub length: u64,
    /// Its `.asc` file.
    pub signature: String,
    /// Its signer, for people.
    pub signer: String,
    /// When it was installed.
    pub installed: Timestamp,
    /// When it was last run, to the day.
    pub used: Timestamp,
}

/// This machine stays on a version until something newer than the one left behind appears.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hold {
    /// The version it stays on.
    pub version: Version,
    /// The version it left.
    pub left: Version,
}

impl InstalledVersion {
    /// Returns the artifact's name, for a subject.
    pub fn id(&self, subject: &Subject) -> Option<ArtifactId> {
        let platform: Platform = self.platform.parse().ok()?;
        Some(ArtifactId { subject: subject.clone(), version: self.version.clone(), platform })
    }

    /// Returns the companions it was verified with.
    pub fn companions(&self) -> Companions {
        Companions {
            checksum: self.sha256.to_string().into_bytes(),
            signature: self.signature.clone().into_bytes(),
        }
    }
}

impl ServerState {
    /// Opens the state of a server below dbt's home; without one it is kept in memory.
    pub fn open(places: &Places, name: &ServerName, repository: &RepositoryUrl) -> Self {
        let below = |home: &PathBuf| below(home, name, repository);
        let directory = places.home.as_ref().map(below);
        let (directory, read_only) = match directory {
            Some(directory) if is_usable(&directory) => (Some(directory), None),
            Some(directory) => (None, Some(directory)),
            None => (None, places.read_only_home.as_ref().map(below)),
        };
        let read_only = read_only.filter(|directory| is_readable(directory));
        let home = places.home.as_deref().or(places.read_only_home.as_deref());
        let judged = home.zip(directory.as_deref().or(read_only.as_deref()));
        let distrust = judged.and_then(|(home, it)| ownership::of_ours(home, it).err());
        Self { distrust, ..Self::at(directory, read_only) }
    }

    /// Returns the tools of a server of which something is remembered, in order, at most so many.
    /// Makes no directory and reads no record: shells ask while somebody types.
    pub fn known_tools(
        places: &Places,
        name: &ServerName,
        repository: &RepositoryUrl,
        most: usize,
    ) -> Vec<ToolName> {
        let home = places.home.as_ref().or(places.read_only_home.as_ref());
        let directory = home.map(|home| below(home, name, repository));
        let subjects = Self::at(None, directory).tools().into_iter();
        let tools = subjects.filter_map(|subject| match subject {
            Subject::Tool(name) => Some(name),
            Subject::Program => None,
        });
        tools.take(most).collect()
    }

    /// Opens the states of all servers that were ever used, below dbt's home.
    pub fn all(home: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(home.join("state")).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .map(|path| Self::at(Some(path), None))
            .collect()
    }

    fn at(directory: Option<PathBuf>, read_only: Option<PathBuf>) -> Self {
        let (may_forget, forgetting) = (AtomicBool::new(false), OnceLock::new());
        let (memory, distrust) = (Mutex::default(), None);
        Self { directory, read_only, memory, may_forget, forgetting, distrust }
    }

    /// Lets this run go on where the disk is full: from the first change on that cannot be written
    /// its changes live in memory, as where nothing can be written.
    pub(crate) fn may_forget(&self) {
        self.may_forget.store(true, Ordering::Relaxed);
    }

    /// Returns why this run's changes are not remembered, if they are not.
    pub(crate) fn forgetting(&self) -> Option<&str> {
        self.forgetting.get().map(String::as_str)
    }

    /// Returns where changes are written.
    fn writable(&self) -> Option<&Path> {
        self.directory.as_deref().filter(|_| self.forgetting.get().is_none())
    }

    /// Returns where to read what the memory does not have.
    fn readable(&self) -> Option<&Path> {
        self.directory.as_deref().or(self.read_only.as_deref())
    }

    /// Says whether a change was written. On a full disk it is kept in memory if this run may.
    fn written(&self, outcome: Result<(), FsxError>) -> Result<(), StateError> {
        match outcome {
            Err(error) if self.may_forget.load(Ordering::Relaxed) && is_full(&error) => {
                self.forgetting.get_or_init(|| crate::anchor::in_one_line(&error));
                Ok(())
            }
            outcome => outcome.map_err(StateError::Write),
        }
    }

    /// Returns where the state is, or nothing when it lives in memory.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Reads what is remembered of the server.
    pub fn server(&self) -> Result<ServerRecord, StateError> {
        if let Some(read) = &self.in_memory().server {
            return Ok(read.clone());
        }
        self.judge()?;
        let record = self.server_by_now()?;
        self.in_memory().server = Some(record.clone());
        Ok(record)
    }

    /// Changes what is remembered of the server, under the lock; writes only what differs.
    ///
    /// The change is tried on what this run has read: most change nothing, and cost nothing.
    pub fn change_server(
        &self,
        mut change: impl FnMut(&mut ServerRecord),
    ) -> Result<ServerRecord, StateError> {
        let read = self.server()?;
        let mut changed = read.clone();
        change(&mut changed);
        if changed == read {
            return Ok(read);
        }
        let _lock = self.directory.as_deref().and_then(lock);
        let before = self.server_by_now()?;
        let mut after = before.clone();
        change(&mut after);
        self.keep_server(&before, after)
    }

    /// Refuses to believe what somebody else could have changed.
    fn judge(&self) -> Result<(), StateError> {
        self.distrust.clone().map_or(Ok(()), |distrust| Err(StateError::Distrusted(distrust)))
    }

    /// What is remembered of the server in this moment.
    fn server_by_now(&self) -> Result<ServerRecord, StateError> {
        match self.writable() {
            Some(directory) => Ok(read_json(&directory.join("state.json"))?.unwrap_or_default()),
            None => self.server_in(&self.in_memory()),
        }
    }

    /// Reads what is remembered of the server where nothing can be written.
    fn server_in(&self, memory: &InMemory) -> Result<ServerRecord, StateError> {
        match (&memory.server, self.readable()) {
            (Some(record), _) => Ok(record.clone()),
            (None, Some(directory)) => {
                Ok(read_json(&directory.join("state.json"))?.unwrap_or_default())
            }
            (None, None) => Ok(ServerRecord::default()),
        }
    }

    /// Reads what is remembered of a tool where nothing can be written.
    fn tool_in(&self, memory: &InMemory, subject: &Subject) -> Result<ToolRecord, StateError> {
        match (memory.tools.get(&file_name(subject)), self.readable()) {
            (Some(record), _) => Ok(record.clone()),
            (None, Some(directory)) => match read_json(&tool_path(directory, subject)) {
                Ok(record) => Ok(record.unwrap_or_default()),
                // It cannot be set aside, and would stop every run.
                Err(StateError::Damaged { .. }) => Ok(ToolRecord::default()),
                Err(error) => Err(error),
            },
            (None, None) => Ok(ToolRecord::default()),
        }
    }

    fn keep_server(
        &self,
        before: &ServerRecord,
        mut after: ServerRecord,
    ) -> Result<ServerRecord, StateError> {
        after.schema = SCHEMA;
        if let Some(directory) = self.writable()
            && after != *before
        {
            self.written(write_json(&directory.join("state.json"), &after)?)?;
        }
        self.in_memory().server = Some(after.clone());
        Ok(after)
    }

    /// Reads what is remembered of a tool or of dbt itself. A damaged file is set aside: the
    /// tool is looked at as if for the first time, and `damaged` is told.
    pub fn tool(
        &self,
        subject: &Subject,
        damaged: &mut dyn FnMut(&Path),
    ) -> Result<ToolRecord, StateError> {
        if let Some(read) = self.in_memory().tools.get(&file_name(subject)) {
            return Ok(read.clone());
        }
        self.judge()?;
        let record = self.tool_by_now(subject, damaged)?;
        self.in_memory().tools.insert(file_name(subject), record.clone());
        Ok(record)
    }

    /// What is remembered of a tool in this moment.
    fn tool_by_now(
        &self,
        subject: &Subject,
        damaged: &mut dyn FnMut(&Path),
    ) -> Result<ToolRecord, StateError> {
        let Some(directory) = self.writable() else {
            return self.tool_in(&self.in_memory(), subject);
        };
        let path = tool_path(directory, subject);
        match read_json(&path) {
            Ok(record) => Ok(record.unwrap_or_default()),
            Err(StateError::Damaged { .. }) => {
                fsx::rename(&path, &path.with_extension("json.damaged"))
                    .map_err(StateError::Write)?;
                damaged(&path);
                Ok(ToolRecord::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Changes what is remembered of a tool or of dbt itself, as [`Self::change_server`] does.
    pub fn change_tool(
        &self,
        subject: &Subject,
        mut change: impl FnMut(&mut ToolRecord),
    ) -> Result<ToolRecord, StateError> {
        let read = self.tool(subject, &mut |_path| {})?;
        let mut changed = read.clone();
        change(&mut changed);
        if changed == read {
            return Ok(read);
        }
        let _lock = self.directory.as_deref().and_then(lock);
        let before = self.tool_by_now(subject, &mut |_path| {})?;
        let mut after = before.clone();
        change(&mut after);
        after.schema = SCHEMA;
        if let Some(directory) = self.writable()
            && after != before
        {
            self.written(write_json(&tool_path(directory, subject), &after)?)?;
        }
        self.in_memory().tools.insert(file_name(subject), after.clone());
        Ok(after)
    }

    /// Returns the tools of which something is remembered.
    pub fn tools(&self) -> Vec<Subject> {
        let listed = self.readable().map(|directory| std::fs::read_dir(directory.join("tools")));
        let mut names: BTreeSet<String> = listed
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.extend(self.in_memory().tools.keys().cloned());
        names.iter().filter_map(|name| subject_of(name)).collect()
    }

    /// Forgets everything about the server's trust but this key, which a person has named, and
    /// keeps what is installed. At no moment would the server's next answer be a first contact.
    pub fn reset_trust(&self, anchor: &Fingerprint) -> Result<(), StateError> {
        let mut record = ServerRecord { schema: SCHEMA, ..ServerRecord::default() };
        record.trust.approve(anchor);
        let Some(directory) = &self.directory else {
            *self.in_memory() = InMemory { server: Some(record), ..InMemory::default() };
            return Ok(());
        };
        *self.in_memory() = InMemory::default();
        let _lock = lock(directory);
        write_json(&directory.join("state.json"), &record)?.map_err(StateError::Write)?;
        // What was seen of a signed index goes with the keys by which it was adopted.
        let index = ["root.json", "timestamp.json", "snapshot.json"]
            .map(|name| format!("{}/{name}", crate::tuf::DIRECTORY));
        let index = index.iter().map(String::as_str);
        for name in index.chain([TRUSTSTORE, PREVIOUS_TRUSTSTORE]) {
            fsx::remove(&directory.join(name)).map_err(StateError::Write)?;
        }
        Ok(())
    }

    fn in_memory(&self) -> std::sync::MutexGuard<'_, InMemory> {
        self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How long a run waits for another one's change; then it goes on, since every write is whole.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Returns the directory of a server's state.
///
/// It carries the server's name for people and the repository's URL for safety: a name that is
/// pointed at another repository starts anew.
fn below(home: &Path, name: &ServerName, repository: &RepositoryUrl) -> PathBuf {
    let digest = Digest::of(repository.to_string().as_bytes()).to_string();
    let digest: String = digest.chars().take(16).collect();
    home.join("state").join(format!("{}-{digest}", name.slug()))
}

/// Makes the directory and says whether it can be written.
fn is_usable(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    let tools = directory.join("tools");
    let can_write = || {
        [directory, tools.as_path()]
            .iter()
            .all(|path| access(*path, Access::WRITE_OK | Access::EXEC_OK).is_ok())
    };
    can_write() || (fsx::create_dir_all(&tools, 0o700).is_ok() && can_write())
}

/// Says whether what is remembered in a directory can be read: in another user's home it cannot,
/// and this machine is then as new to us.
fn is_readable(directory: &Path) -> bool {
    let state = directory.join("state.json");
    rustix::fs::access(&state, rustix::fs::Access::READ_OK).is_ok()
}

/// Keeps other runs from changing the state at the same time. Where locks do not work the run
/// goes on without one: every write is whole.
fn lock(directory: &Path) -> Option<fsx::Lock> {
    fsx::lock_file(&directory.join("lock"), LOCK_PATIENCE).ok()
}

fn read_if_any(path: &Path) -> Result<Option<Vec<u8>>, StateError> {
    match fsx::read_own(path, STATE_LIMIT) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(StateError::Read(error)),
    }
}

/// dbt's own record is told from that of a tool named `dbt` by a character that no tool has.
fn file_name(subject: &Subject) -> String {
    match subject {
        Subject::Program => "@self.json".to_owned(),
        Subject::Tool(name) => format!("{name}.json"),
    }
}

fn subject_of(file_name: &str) -> Option<Subject> {
    let name = file_name.strip_suffix(".json")?;
    match name {
        "@self" => Some(Subject::Program),
        _ => name.parse().ok().map(Subject::Tool),
    }
}

fn tool_path(directory: &Path, subject: &Subject) -> PathBuf {
    directory.join("tools").join(file_name(subject))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let Some(bytes) = read_if_any(path)? else {
        return Ok(None);
    };
    let damaged = |source| StateError::Damaged { path: path.to_owned(), source };
    // The schema first: what a newer program wrote need not be what this one can read.
    let Schema { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if schema > SCHEMA.into() {
        return Err(StateError::Newer { path: path.to_owned() });
    }
    if schema == 0 {
        // Every field may be missing, so an empty object would be a machine that knows nobody.
        return Err(damaged(serde::de::Error::custom("it does not say its schema")));
    }
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// What every state file says, whoever wrote it.
#[derive(serde::Deserialize)]
struct Schema {
    #[serde(default)]
    schema: u64,
}

/// Writes a file; says apart what cannot be said as JSON and what cannot be written.
fn write_json<T: serde::Serialize>(
    path: &Path,
    value: &T,
) -> Result<Result<(), FsxError>, StateError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|source| StateError::Damaged { path: path.to_owned(), source })?;
    Ok(fsx::write_atomic(path, &bytes, 0o600))
}

fn is_full(error: &FsxError) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// How long nobody asks for the versions of dbt itself after they could not be listed.
const PROGRAM_REST: Duration = Duration::from_mins(10);

/// How long a failed server is left alone: a minute after the first failure, doubling to ten.
pub fn back_off(failures: u32) -> Duration {
    const FIRST: Duration = Duration::from_mins(1);
    const LONGEST: Duration = Duration::from_mins(10);
    if failures == 0 {
        return Duration::ZERO;
    }
    FIRST.saturating_mul(2_u32.saturating_pow(failures - 1)).min(LONGEST)
}

impl ServerRecord {
    /// Returns why the server is left alone now, if it is.
    pub fn left_alone(&self, now: SystemTime) -> Option<String> {
        let Timestamp(failed) = self.failed?;
        // A clock that went back must not keep the server away for longer than the back-off.
        let since = now.duration_since(failed).ok()?;
        (since < back_off(self.failures)).then(|| self.failure.clone().unwrap_or_default())
    }

    /// Counts a failure of a run that began at `now`, when the last one remembered was `known`.
    ///
    /// Runs that find out the same at the same time count once, in whichever order they end.
    pub fn count_failure(&mut self, known: Option<Timestamp>, now: SystemTime, reason: &str) {
        let by_another = self.failed.is_some() && self.failed != known;
        if by_another || self.left_alone(now).is_some() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed = Some(Timestamp(now));
        self.failure = Some(reason.to_owned());
    }

    /// Says whether the versions of dbt itself are not asked for now: what does not answer must
    /// not hold up every run of a tool.
    pub fn program_rests(&self, now: SystemTime) -> bool {
        let failed = self.program_failed.map(|Timestamp(failed)| failed);
        failed.is_some_and(|failed| {
            now.duration_since(failed).is_ok_and(|since| since < PROGRAM_REST)
        })
    }
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A file could not be read.
    #[error("failed to read the state of a server")]
    Read(#[source] FsxError),
    /// A file could not be written.
    #[error("failed to write the state of a server")]
    Write(#[source] FsxError),
    /// A file holds something else than state.
    #[error("`{}` is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Somebody else could have changed it.
    #[error("refusing to believe what is remembered of a server: {0}")]
    Distrusted(Distrust),
    /// A newer program wrote it.
    #[error("`{}` was written by a newer version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
}

impl StateError {
    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        let program = dbt_core::brand::PROGRAM;
        match self {
            Self::Read(_) | Self::Write(_) => {
                format!(
                    "`{program} doctor` checks whose the files are and what may be done to them"
                )
            }
            Self::Damaged { .. } => {
                "put it back from a backup, or ask an administrator before you \
                                     remove it: it says whose signatures count on this machine"
                    .to_owned()
            }
            Self::Distrusted(distrust) => distrust.hint(),
            Self::Newer { .. } => format!("use the newer version of `{program}`"),
        }
    }
}

#[cfg(test)]
mod tests;
