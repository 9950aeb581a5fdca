//! What this machine remembers of one server: trust, history, and what is installed.
//!
//! All of it belongs to one server's directory and to no other (trust design, 2.5). Every file is
//! written whole, beside itself, and renamed; a lock keeps two runs from losing each other's
//! changes. Where nothing can be written, what was written before still counts, and what changes
//! lives in memory for this run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::name::ServerName;
use dbt_core::platform::Platform;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::history::History;
use dbt_core::trust::memory::TrustMemory;
use dbt_core::trust::{Companions, Fingerprint};
use dbt_core::version::Version;

use crate::fsx::{self, FsxError};
use crate::url::RepositoryUrl;

/// The schema of the files below; a higher one was written by a newer program.
const SCHEMA: u32 = 1;

/// The most bytes of one state file.
const STATE_LIMIT: u64 = 16 * 1024 * 1024;

/// One server's state on this machine.
#[derive(Debug)]
pub struct ServerState {
    directory: Option<PathBuf>,
    /// A directory in which nothing can be written.
    read_only: Option<PathBuf>,
    memory: Mutex<InMemory>,
}

/// What would be in files, where no file can be written.
#[derive(Debug, Default)]
struct InMemory {
    server: Option<ServerRecord>,
    tools: BTreeMap<String, ToolRecord>,
    truststore: Option<Vec<u8>>,
}

/// What a truststore was judged by.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    /// What was remembered of the certificates.
    pub(crate) trust: &'a TrustMemory,
    /// The truststore last accepted.
    pub(crate) truststore: Option<&'a [u8]>,
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
    /// When each notice was last said.
    pub said: BTreeMap<String, Timestamp>,
    /// The repository's `trust` metadata or manifest was last refused then.
    pub manifest_refused: Option<Timestamp>,
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
    ///
    /// The directory carries the server's name for people and the repository's URL for safety:
    /// a name that is pointed at another repository starts anew.
    pub fn open(home: Option<&Path>, name: &ServerName, repository: &RepositoryUrl) -> Self {
        let directory = home.map(|home| directory_of(home, name, repository));
        let (directory, read_only) = match directory {
            Some(directory) if is_usable(&directory) => (Some(directory), None),
            read_only => (None, read_only),
        };
        Self { directory, read_only, memory: Mutex::default() }
    }

    /// Opens what was remembered below a home in which nothing can be written.
    pub fn open_read_only(home: &Path, name: &ServerName, repository: &RepositoryUrl) -> Self {
        let read_only = Some(directory_of(home, name, repository));
        Self { directory: None, read_only, memory: Mutex::default() }
    }

    /// Opens the states of all servers that were ever used, below dbt's home.
    pub fn all(home: &Path) -> Vec<Self> {
        let entries = std::fs::read_dir(home.join("state")).into_iter().flatten();
        entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .map(|path| Self { directory: Some(path), read_only: None, memory: Mutex::default() })
            .collect()
    }

    /// Returns where the state is, or nothing when it lives in memory.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Reads what is remembered of the server.
    pub fn server(&self) -> Result<ServerRecord, StateError> {
        match &self.directory {
            Some(directory) => Ok(read_json(&directory.join("state.json"))?.unwrap_or_default()),
            None => self.server_in(&mut self.in_memory()).cloned(),
        }
    }

    /// Changes what is remembered of the server, under the lock; writes only what differs.
    pub fn change_server(
        &self,
        change: impl FnOnce(&mut ServerRecord),
    ) -> Result<ServerRecord, StateError> {
        let Some(directory) = &self.directory else {
            let mut memory = self.in_memory();
            let record = self.server_in(&mut memory)?;
            change(record);
            return Ok(record.clone());
        };
        let _lock = lock(directory);
        let path = directory.join("state.json");
        let before: ServerRecord = read_json(&path)?.unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        after.schema = SCHEMA;
        if after != before {
            write_json(&path, &after)?;
        }
        Ok(after)
    }

    /// Reads what is remembered of a tool or of dbt itself. A damaged file is set aside: the
    /// tool is looked at as if for the first time, and `damaged` is told.
    pub fn tool(
        &self,
        subject: &Subject,
        damaged: &mut dyn FnMut(&Path),
    ) -> Result<ToolRecord, StateError> {
        let Some(directory) = &self.directory else {
            return self.tool_in(&mut self.in_memory(), subject).cloned();
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

    /// Changes what is remembered of a tool or of dbt itself; writes only what differs.
    pub fn change_tool(
        &self,
        subject: &Subject,
        change: impl FnOnce(&mut ToolRecord),
    ) -> Result<ToolRecord, StateError> {
        let Some(directory) = &self.directory else {
            let mut memory = self.in_memory();
            let record = self.tool_in(&mut memory, subject)?;
            change(record);
            return Ok(record.clone());
        };
        let _lock = lock(directory);
        let before = self.tool(subject, &mut |_path| {})?;
        let mut after = before.clone();
        change(&mut after);
        after.schema = SCHEMA;
        if after != before {
            write_json(&tool_path(directory, subject), &after)?;
        }
        Ok(after)
    }

    /// Returns the tools of which something is remembered.
    pub fn tools(&self) -> Vec<Subject> {
        let directory = self.directory.as_ref().or(self.read_only.as_ref());
        let mut names: Vec<String> = directory
            .and_then(|directory| std::fs::read_dir(directory.join("tools")).ok())
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.extend(self.in_memory().tools.keys().cloned());
        names.sort();
        names.dedup();
        names.iter().filter_map(|name| subject_of(name)).collect()
    }

    /// Returns the bytes of the truststore last accepted.
    pub fn truststore(&self) -> Result<Option<Vec<u8>>, StateError> {
        match &self.directory {
            Some(directory) => read_if_any(&directory.join("truststore")),
            None => match (&self.in_memory().truststore, &self.read_only) {
                (None, Some(directory)) => read_if_any(&directory.join("truststore")),
                (accepted, _) => Ok(accepted.clone()),
            },
        }
    }

    /// Returns the entity tag of the truststore last accepted, if that is still here as it was:
    /// without it, the answer that it is unchanged would be of no use.
    pub fn truststore_etag(&self) -> Result<Option<String>, StateError> {
        let record = self.server()?;
        let here = self.truststore()?.map(|bytes| Digest::of(&bytes));
        Ok(record.truststore_etag.filter(|_etag| here == record.truststore_sha256))
    }

    /// Takes over a truststore and what is to be remembered of it, in one step; the one before is
    /// kept as `truststore.previous`. Says whether it did.
    ///
    /// It does only if nobody has changed either since they were read (`judged`): a run that began
    /// earlier and judged by less must not undo what a later one has learnt.
    pub(crate) fn accept_truststore(
        &self,
        judged: &Judged<'_>,
        bytes: &[u8],
        change: impl FnOnce(&mut ServerRecord),
    ) -> Result<bool, StateError> {
        let Some(directory) = &self.directory else {
            let mut memory = self.in_memory();
            change(self.server_in(&mut memory)?);
            memory.truststore = Some(bytes.to_vec());
            return Ok(true);
        };
        let _lock = lock(directory);
        let path = directory.join("state.json");
        let before: ServerRecord = read_json(&path)?.unwrap_or_default();
        let known = self.truststore()?;
        if before.trust != *judged.trust || known.as_deref() != judged.truststore {
            return Ok(false);
        }
        if known.as_deref() != Some(bytes) {
            if let Some(known) = known {
                fsx::write_atomic(&directory.join("truststore.previous"), &known, 0o600)
                    .map_err(StateError::Write)?;
            }
            fsx::write_atomic(&directory.join("truststore"), bytes, 0o600)
                .map_err(StateError::Write)?;
        }
        let mut after = before.clone();
        change(&mut after);
        after.schema = SCHEMA;
        if after != before {
            write_json(&path, &after)?;
        }
        Ok(true)
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
        let _lock = lock(directory);
        write_json(&directory.join("state.json"), &record)?;
        for name in ["truststore", "truststore.previous"] {
            fsx::remove(&directory.join(name)).map_err(StateError::Write)?;
        }
        Ok(())
    }

    /// Returns what a run that can write nothing knows of the server: at first, what is there. A
    /// machine that cannot write must not take every truststore for the first that it sees.
    fn server_in<'a>(&self, memory: &'a mut InMemory) -> Result<&'a mut ServerRecord, StateError> {
        if memory.server.is_none()
            && let Some(directory) = &self.read_only
        {
            memory.server = read_json(&directory.join("state.json"))?;
        }
        Ok(memory.server.get_or_insert_default())
    }

    /// The same of a tool. What is damaged and cannot be set aside stays as it is.
    fn tool_in<'a>(
        &self,
        memory: &'a mut InMemory,
        subject: &Subject,
    ) -> Result<&'a mut ToolRecord, StateError> {
        let name = file_name(subject);
        if let Some(directory) = &self.read_only
            && !memory.tools.contains_key(&name)
            && let Some(record) = read_json(&tool_path(directory, subject))?
        {
            memory.tools.insert(name.clone(), record);
        }
        Ok(memory.tools.entry(name).or_default())
    }

    /// Removes what killed runs have left behind.
    pub(crate) fn sweep(&self, now: SystemTime) {
        if let Some(directory) = &self.directory {
            for directory in [directory, &directory.join("tools")] {
                fsx::sweep(directory, now);
            }
        }
    }

    fn in_memory(&self) -> std::sync::MutexGuard<'_, InMemory> {
        self.memory.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// How long a run waits for another one's change; then it goes on, since every write is whole.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

fn directory_of(home: &Path, name: &ServerName, repository: &RepositoryUrl) -> PathBuf {
    let digest = Digest::of(repository.to_string().as_bytes()).to_string();
    let digest: String = digest.chars().take(16).collect();
    home.join("state").join(format!("{}-{digest}", name.slug()))
}

/// Makes the directory and says whether it can be written.
fn is_usable(directory: &Path) -> bool {
    fsx::create_dir_all(&directory.join("tools"), 0o700).is_ok()
        && rustix::fs::access(directory, rustix::fs::Access::WRITE_OK).is_ok()
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
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    if value.get("schema").and_then(serde_json::Value::as_u64).is_some_and(|it| it > SCHEMA.into())
    {
        return Err(StateError::Newer { path: path.to_owned() });
    }
    serde_json::from_value(value).map(Some).map_err(damaged)
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StateError> {
    let bytes = serde_json::to_vec(value)
        .map_err(|source| StateError::Damaged { path: path.to_owned(), source })?;
    fsx::write_atomic(path, &bytes, 0o600).map_err(StateError::Write)
}

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
    /// A newer program wrote it.
    #[error("`{}` was written by a newer version", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_server_is_left_alone_for_a_minute_doubling_to_ten() {
        let minutes: Vec<u64> = (0..7).map(|failures| back_off(failures).as_secs() / 60).collect();
        assert_eq!(minutes, [0, 1, 2, 4, 8, 10, 10]);
    }

    #[test]
    fn a_clock_that_went_back_does_not_keep_the_server_away() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let record = |seconds: i64| ServerRecord {
            failures: 1,
            failed: Some(Timestamp(if seconds < 0 {
                now - Duration::from_secs(seconds.unsigned_abs())
            } else {
                now + Duration::from_secs(seconds.unsigned_abs())
            })),
            ..ServerRecord::default()
        };
        assert!(record(-10).left_alone(now).is_some());
        assert!(record(-61).left_alone(now).is_none());
        assert!(record(3600).left_alone(now).is_none());
    }

    fn state(home: &Path) -> ServerState {
        let repository = "https://dbt.example.com/dbt".parse().unwrap();
        ServerState::open(Some(home), &"acme".parse().unwrap(), &repository)
    }

    /// Accepts a truststore that was judged by what is remembered now.
    fn accept(state: &ServerState, bytes: &[u8]) {
        let (record, known) = (state.server().unwrap(), state.truststore().unwrap());
        let judged = Judged { trust: &record.trust, truststore: known.as_deref() };
        let etag = |record: &mut ServerRecord| {
            record.truststore_etag = Some("\"1\"".to_owned());
            record.truststore_sha256 = Some(Digest::of(bytes));
        };
        assert!(state.accept_truststore(&judged, bytes, etag).unwrap());
    }

    #[test]
    fn a_run_that_judged_by_less_does_not_undo_what_another_has_learnt() {
        let home = tempfile::tempdir().unwrap();
        let (early, late) = (state(home.path()), state(home.path()));
        accept(&early, b"first");
        let read = early.server().unwrap();
        let judged = Judged { trust: &read.trust, truststore: Some(b"first") };
        let not_reached = |_record: &mut ServerRecord| panic!("nothing is changed");

        accept(&late, b"second");
        assert!(!early.accept_truststore(&judged, b"first", not_reached).unwrap());
        assert_eq!(early.truststore().unwrap().as_deref(), Some(&b"second"[..]));

        let approve = |record: &mut ServerRecord| {
            record.trust.approve(&"A".repeat(40).parse().unwrap());
        };
        late.change_server(approve).unwrap();
        let judged = Judged { truststore: Some(b"second"), ..judged };
        assert!(!early.accept_truststore(&judged, b"third", not_reached).unwrap());
        assert_eq!(early.truststore().unwrap().as_deref(), Some(&b"second"[..]));
    }

    #[test]
    fn where_nothing_can_be_written_what_was_written_counts() {
        let home = tempfile::tempdir().unwrap();
        let writable = state(home.path());
        accept(&writable, b"truststore");
        let tool = Subject::Tool("deploy".parse().unwrap());
        let checked = Timestamp(SystemTime::UNIX_EPOCH);
        writable.change_tool(&tool, |record| record.checked = Some(checked)).unwrap();

        let directory = writable.directory().unwrap().to_owned();
        let state = ServerState {
            directory: None,
            read_only: Some(directory.clone()),
            memory: Mutex::default(),
        };
        assert_eq!(state.server().unwrap(), writable.server().unwrap());
        assert_eq!(state.truststore_etag().unwrap().as_deref(), Some("\"1\""));
        assert_eq!(state.tools(), std::slice::from_ref(&tool));
        assert_eq!(state.tool(&tool, &mut |_| {}).unwrap().checked, Some(checked));
        state.change_server(|record| record.failures = 7).unwrap();
        assert_eq!(state.server().unwrap().failures, 7);
        assert!(state.server().unwrap().truststore_etag.is_some());
        assert_eq!(writable.server().unwrap().failures, 0);
        accept(&state, b"another");
        assert_eq!(state.truststore().unwrap().as_deref(), Some(&b"another"[..]));

        std::fs::write(directory.join("state.json"), b"{").unwrap();
        let damaged =
            ServerState { directory: None, read_only: Some(directory), memory: Mutex::default() };
        assert!(damaged.server().is_err() && damaged.change_server(|_| {}).is_err());
    }

    #[test]
    fn nothing_is_unchanged_where_the_truststore_is_lost_or_damaged() {
        let home = tempfile::tempdir().unwrap();
        let state = state(home.path());
        accept(&state, b"truststore");
        assert!(state.truststore_etag().unwrap().is_some());
        let file = state.directory().unwrap().join("truststore");
        std::fs::write(&file, b"trust").unwrap();
        assert_eq!(state.truststore_etag().unwrap(), None);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(state.truststore_etag().unwrap(), None);
    }
}
