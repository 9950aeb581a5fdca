//! Is this very program current? If not: the same road as a tool, then a replacement instead of
//! a start. (Trust design, 2.7 and 2.11.)
//!
//! Nothing here stops the tool that the user asked for: a candidate that is refused is said, once
//! a day, and the running version goes on.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::layout::Location;
use dbt_core::release::{ArtifactId, Subject};
use dbt_core::select;
use dbt_core::timestamp::Timestamp;
use dbt_core::trust::{ARTIFACT_LIMIT, Expectation, Fetched, TrustStore, Verified};
use dbt_core::version::{Version, Wanted};

use crate::anchor::in_one_line;
use crate::download;
use crate::fsx;
use crate::notice::Notice;
use crate::repository::bytes_of;
use crate::session::Session;
use crate::settings::SelfUpdate;
use crate::source::{Class, Patience};
use crate::store::{Reservation, Store, StoreFile};

mod error;
mod fresh;
mod identity;
mod listed;

pub use error::SelfUpdateError;
pub use fresh::{Installed, fetch_newest, install, version_of};
pub use identity::{Identity, Rejected};

/// dbt has replaced itself.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// Where the new program is: the path of the running one.
    pub path: PathBuf,
    /// Its digest.
    pub sha256: Digest,
    /// Its version.
    pub version: Version,
}

/// What a candidate must answer when it is asked for `--self-test`, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SelfReport {
    /// The brand's program name.
    pub program: String,
    /// The version it was built as.
    pub version: String,
    /// The digest of its own file, which it was told to expect.
    pub sha256: Digest,
}

/// How long a candidate may take to report.
const SELF_TEST_PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes at most from making a candidate to locking it.
const MOMENT: Duration = Duration::from_mins(1);

/// How long a run waits for another one that replaces the same program.
const REPLACING_PATIENCE: Duration = Duration::from_secs(10);

/// How many times a busy file is tried again: another process may hold a descriptor it inherited
/// while the candidate was written.
const BUSY_TRIES: u32 = 20;

/// Says whether this run looks for a newer dbt: only from the home server, never because of `-s`
/// or `DBT_SERVER`.
pub fn is_wanted(session: &Session<'_>) -> bool {
    let settings = session.settings;
    settings.server.self_update != SelfUpdate::Off
        && settings.home_server.as_ref() == Some(&settings.server.name)
        && settings.program.executable.is_some()
        && !settings.program.restarted
}

/// Takes over the newest published version if it is newer than the running one.
pub(crate) fn update(
    session: &Session<'_>,
    published: &[Version],
    trust: &TrustStore,
    patience: &Patience,
) -> Option<Replaced> {
    if !trust.is_confirmed() {
        // Nothing new is installed in this run, which is said where it is found out.
        return None;
    }
    let only_tell = session.settings.server.self_update == SelfUpdate::Notify;
    let manner = if only_tell { Manner::Tell } else { Manner::ByItself };
    for version in candidates(published) {
        match attempt(session, &version, trust, patience, manner) {
            Ok(Attempt::Decided(replaced)) => return replaced,
            Ok(Attempt::NotPublished) => {}
            Err(error) => {
                refuse(session, version, &error);
                return None;
            }
        }
    }
    None
}

/// How many versions are looked at when the newest are not completely published.
const CANDIDATES: usize = 8;

/// Lists the published versions to look at, newest first.
fn candidates(published: &[Version]) -> impl Iterator<Item = Version> {
    select::candidates(published, &Wanted::Newest).into_iter().take(CANDIDATES)
}

/// Says that a candidate was not taken over, and remembers what the next run need not repeat.
fn refuse(session: &Session<'_>, version: Version, error: &SelfUpdateError) {
    let (mut reason, now) = (in_one_line(error), session.now());
    if error.is_too_slow() {
        let program = dbt_core::brand::PROGRAM;
        reason = format!("{reason}; `{program} self update` takes as long as it needs");
    }
    // If it cannot be kept, the candidate is looked at again, and refused again.
    if error.is_verdict() {
        // A verdict about these bytes stands until other bytes are offered.
        let _kept = Identity::change(session, |identity| identity.reject(&version, &reason, now));
    } else if error.is_transfer() {
        // A server that begins and does not go on must not hold up every run.
        let _kept = Identity::change(session, |identity| identity.leave_alone(&version, now));
    }
    session.say(Notice::SelfUpdateRefused { version, reason });
}

/// Finds out which versions are published, and whose signatures count.
fn look(
    session: &Session<'_>,
    patience: &Patience,
) -> Result<(Vec<Version>, TrustStore), SelfUpdateError> {
    if session.state.server()?.trust.demands_listing() {
        return listed::look(session, patience);
    }
    let repository = session.repository();
    let listing = repository.program_versions(patience).map_err(SelfUpdateError::Fetch)?;
    let etag = session.state.truststore_etag()?;
    let answer =
        repository.truststore(etag.as_deref(), patience).map_err(SelfUpdateError::Fetch)?;
    let manifest_listed = repository.shows_manifest(&listing);
    let anchored = session.anchor().confirm(answer, repository, manifest_listed, patience)?;
    anchored.notices.into_iter().for_each(|notice| session.say(notice));
    Ok((listing.versions(), anchored.store))
}

/// Updates now, because a person asked for it: errors are errors.
pub fn update_now(session: &Session<'_>) -> Result<Option<Replaced>, SelfUpdateError> {
    let patience = session.patience(false);
    let (published, trust) = look(session, &patience)?;
    for version in candidates(&published) {
        let attempt = attempt(session, &version, &trust, &patience, Manner::Asked);
        if let Attempt::Decided(replaced) = attempt.map_err(|error| error.of(&version))? {
            return Ok(replaced);
        }
    }
    Ok(None)
}

/// Goes back to the program that the last update replaced. What is left behind is not taken over
/// again; a newer version is.
pub fn go_back(session: &Session<'_>) -> Result<PathBuf, SelfUpdateError> {
    let executable = session.settings.program.executable.clone().ok_or(SelfUpdateError::Unknown)?;
    let previous = previous_path(&executable);
    if !previous.is_file() {
        return Err(SelfUpdateError::NoPrevious { path: previous });
    }
    // Not while another run keeps the present program as the one before.
    let _reservation = reserve(&session.store, &executable, REPLACING_PATIENCE);
    Identity::of(session, &executable)?;
    Identity::change(session, Identity::go_back)?;
    fsx::rename(&previous, &executable)?;
    Ok(executable)
}

/// Waits until nobody else replaces this program.
fn reserve(store: &Store, executable: &Path, patience: Duration) -> Reservation {
    store.reserve(&format!("replace {}", executable.display()), patience)
}

/// Removes the candidates that killed runs have left beside the program.
pub(crate) fn sweep(session: &Session<'_>, executable: &Path) {
    let Some((_reservation, candidates)) = abandoned(&session.store, executable, session.now())
    else {
        return;
    };
    for path in candidates {
        let _best_effort = fsx::remove(&path);
    }
}

/// Lists the candidates that killed runs have left beside the program.
pub fn left_behind(store: &Store, executable: &Path, now: SystemTime) -> Vec<PathBuf> {
    abandoned(store, executable, now)
        .map(|(_reservation, candidates)| candidates)
        .unwrap_or_default()
}

/// Lists the candidates that nobody needs, which stays so while the program is reserved.
fn abandoned(
    store: &Store,
    executable: &Path,
    now: SystemTime,
) -> Option<(Reservation, Vec<PathBuf>)> {
    let prefix = candidate_prefix(executable);
    let entries = executable.parent().and_then(|it| it.read_dir().ok()).into_iter().flatten();
    let ours = entries
        .flatten()
        .filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
    let mut candidates: Vec<PathBuf> = ours.map(|entry| entry.path()).collect();
    if candidates.is_empty() {
        return None;
    }
    let reservation = reserve(store, executable, Duration::ZERO);
    candidates.retain(|path| is_abandoned(path, &reservation, now));
    Some((reservation, candidates))
}

/// Says whether nobody needs a candidate any more. Who has made it holds a lock on it, but for a
/// further name of the present program, which is made under the reservation.
fn is_abandoned(path: &Path, reservation: &Reservation, now: SystemTime) -> bool {
    let Ok(file) = fsx::open_nofollow(path) else { return false };
    match file.try_lock() {
        // Its maker may be about to lock it.
        Ok(()) => reservation.is_held() && fsx::is_older(path, MOMENT, now),
        Err(TryLockError::WouldBlock) => false,
        // Without locks it goes by age.
        Err(TryLockError::Error(_no_locks_here)) => fsx::is_old(path, now),
    }
}

/// What the names of candidates begin with.
fn candidate_prefix(executable: &Path) -> String {
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    format!(".{name}{}", fsx::STAGED)
}

/// Why somebody looks for a newer version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// A run of a tool, to take it over.
    ByItself,
    /// A run of a tool, to say that there is one.
    Tell,
    /// A person wants it now.
    Asked,
}

/// What came of looking at one version.
enum Attempt {
    /// It is the one that counts: dbt was replaced by it, or there is a reason not to.
    Decided(Option<Replaced>),
    /// It is not, or not completely, published for this platform: the one below it counts.
    NotPublished,
}

fn attempt(
    session: &Session<'_>,
    version: &Version,
    trust: &TrustStore,
    patience: &Patience,
    manner: Manner,
) -> Result<Attempt, SelfUpdateError> {
    const NOT_TAKEN: Attempt = Attempt::Decided(None);
    let program = &session.settings.program;
    let Some(executable) = program.executable.as_deref() else {
        return Ok(NOT_TAKEN);
    };
    let identity = Identity::of(session, executable)?;
    let now = session.now();
    // Who asks is answered anew, with the reason; a run of a tool does not repeat itself.
    let rests = || identity.rejects(version, now) || identity.leaves_alone(version, now);
    if version.cmp_number(identity.version()).is_le()
        || identity.was_left(version)
        || (manner != Manner::Asked && rests())
    {
        return Ok(NOT_TAKEN);
    }
    let update = Update { session, executable, identity, patience, manner, now };
    let id = update.id_of(version);
    let Some(checksum) = update.checksum_of(&id)? else {
        return Ok(Attempt::NotPublished);
    };
    if checksum == update.identity.sha256 {
        // The published file is the one that runs. Nobody has signed that it has this number, so
        // nothing follows for what is published next.
        return Ok(NOT_TAKEN);
    }
    if manner == Manner::Tell {
        session.say(Notice::SelfUpdateAvailable { version: version.clone() });
        return Ok(NOT_TAKEN);
    }
    match update.fetch(&id, trust) {
        Ok(verified) => update.replace(verified).map(Attempt::Decided),
        Err(SelfUpdateError::Incomplete) => Ok(Attempt::NotPublished),
        Err(error) => Err(error),
    }
}

/// One replacement under way.
struct Update<'a> {
    session: &'a Session<'a>,
    executable: &'a Path,
    identity: Identity,
    patience: &'a Patience,
    manner: Manner,
    now: SystemTime,
}

impl Update<'_> {
    fn id_of(&self, version: &Version) -> ArtifactId {
        let platform = self.session.settings.platform;
        ArtifactId { subject: Subject::Program, version: version.clone(), platform }
    }

    /// Returns the published checksum; nothing when the version has no build for this platform.
    /// It is asked for once: a warm run makes no request for a version it knows.
    fn checksum_of(&self, id: &ArtifactId) -> Result<Option<Digest>, SelfUpdateError> {
        if let Some(checksum) = self.identity.checksum_of(&id.version, self.now) {
            return Ok(Some(checksum));
        }
        let limit = dbt_core::digest::CHECKSUM_FILE_LIMIT;
        let answer =
            self.session.repository().get(&Location::checksum(id), limit, None, self.patience);
        let bytes = match bytes_of(answer) {
            Ok(bytes) => bytes,
            Err(error) if error.class() == Class::NotFound => return Ok(None),
            Err(error) => return Err(SelfUpdateError::Fetch(error)),
        };
        let checksum = Digest::from_checksum_file(&bytes).map_err(SelfUpdateError::Checksum)?;
        Identity::change(self.session, |identity| {
            identity.saw(&id.version, checksum, self.now);
        })?;
        Ok(Some(checksum))
    }

    /// Fetches and verifies the candidate: the same road as a tool, with stricter rules about
    /// who may sign.
    fn fetch(
        &self,
        id: &ArtifactId,
        trust: &TrustStore,
    ) -> Result<Verified<StoreFile>, SelfUpdateError> {
        let scale = self.session.settings.server.time_scale;
        let artifact = match self.manner {
            Manner::Asked => Patience::for_artifact(scale),
            // The tool waits for it.
            Manner::ByItself | Manner::Tell => Patience::for_candidate(scale),
        };
        let record = self.session.record(&Subject::Program)?;
        let expectation = Expectation {
            must_be_bound: record.history.must_be_bound(),
            signed_since: self.identity.signed(),
            listed: self.session.listed(id).map_err(SelfUpdateError::Index)?,
        };
        fetch_verified(self.session, id, (self.patience, &artifact), trust, &expectation)
    }

    /// Puts the candidate beside the running program, asks it who it is, and switches; does
    /// nothing if somebody has put another program there since this run began.
    fn replace(&self, verified: Verified<StoreFile>) -> Result<Option<Replaced>, SelfUpdateError> {
        let (version, sha256) = (verified.id().version.clone(), verified.digest());
        let (bound, signed) = (verified.endorsement().bound, verified.endorsement().made);
        let id = verified.id().clone();
        let mut content = verified.into_content();

        let candidate = self.stage(&mut content, sha256)?;
        self_test(candidate.path(), &version, sha256)?;
        let replaced = Replaced { path: self.executable.to_owned(), sha256, version };
        let version = &replaced.version;

        // One after the other: the second must not keep what the first has just put there as the
        // program before.
        let _reservation = reserve(&self.session.store, self.executable, REPLACING_PATIENCE);
        let present = digest_of(self.executable)?;
        if present == sha256 {
            return Ok(Some(replaced));
        }
        if present != self.identity.sha256 {
            return Ok(None);
        }
        self.keep_previous()?;
        candidate.keep_as(self.executable)?;

        // The new program is in its place, whether or not that can be remembered: the next run
        // finds out from the file itself.
        let _kept = self.session.state.change_tool(&Subject::Program, |record| {
            record.history.record(&id, sha256, bound, true);
        });
        let _kept = Identity::change(self.session, |identity| {
            identity.became(self.executable, version, sha256, Timestamp(signed));
        });
        Ok(Some(replaced))
    }

    fn directory(&self) -> &Path {
        self.executable.parent().unwrap_or_else(|| Path::new("/"))
    }

    /// Copies the verified bytes into the program's own directory, where a rename is atomic, and
    /// checks that the copy is what was verified.
    fn stage(&self, content: &mut StoreFile, sha256: Digest) -> Result<Candidate, SelfUpdateError> {
        sweep(self.session, self.executable);
        Candidate::copy_of(content, sha256, self.executable)
    }

    /// Keeps the running program as `.NAME.prev` beside it, for `dbt self rollback`.
    fn keep_previous(&self) -> Result<(), SelfUpdateError> {
        let previous = previous_path(self.executable);
        // A hard link costs nothing; where there are none, a copy does. It is a new file: what has
        // the name could be a link to the program that runs.
        let linked = tempfile::Builder::new()
            .prefix(&candidate_prefix(self.executable))
            .make_in(self.directory(), |path| std::fs::hard_link(self.executable, path));
        if let Ok(linked) = linked {
            return keep(linked.into_temp_path(), &previous);
        }
        let failed = |source| SelfUpdateError::Write { path: previous.clone(), source };
        let mut program = File::open(self.executable).map_err(failed)?;
        let mut candidate = Candidate::create(self.executable)?;
        std::io::copy(&mut program, &mut candidate.file).map_err(failed)?;
        candidate.seal(self.identity.sha256)?;
        candidate.keep_as(&previous)
    }
}

/// Fetches one build of the program and verifies it. What is short, and the build itself, each have
/// their patience.
fn fetch_verified(
    session: &Session<'_>,
    id: &ArtifactId,
    (patience, for_artifact): (&Patience, &Patience),
    trust: &TrustStore,
    expectation: &Expectation,
) -> Result<Verified<StoreFile>, SelfUpdateError> {
    let repository = session.repository();
    let companions = repository
        .companions(id, patience)
        .map_err(SelfUpdateError::Fetch)?
        .ok_or(SelfUpdateError::Incomplete)?;
    let mut staged = session.store.staging()?;
    let at = Location::artifact(id);
    let (source, progress) = (repository.tree(at.tree), session.progress());
    download::fetch(source, &at.path, ARTIFACT_LIMIT, staged.file_mut(), progress, for_artifact)
        .map_err(|error| error.at(staged.path()))?;
    let fetched = Fetched::from_network(id.clone(), staged, companions);
    Ok(trust.verify(fetched, expectation, session.now())?)
}

fn digest_of(program: &Path) -> Result<Digest, SelfUpdateError> {
    let failed = |source| SelfUpdateError::Write { path: program.to_owned(), source };
    let mut file = File::open(program).map_err(failed)?;
    let (digest, _length) = Digest::of_reader(&mut file).map_err(failed)?;
    Ok(digest)
}

/// Returns where the replaced program is kept.
pub fn previous_path(executable: &Path) -> PathBuf {
    let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
    executable.with_file_name(format!(".{name}.prev"))
}

/// A new program that has no place yet; it is removed unless it is kept.
struct Candidate {
    file: File,
    path: tempfile::TempPath,
}

impl Candidate {
    /// Makes an empty one beside the program.
    fn create(executable: &Path) -> Result<Self, SelfUpdateError> {
        let directory = executable.parent().unwrap_or_else(|| Path::new("/"));
        let staged = tempfile::Builder::new()
            .prefix(&candidate_prefix(executable))
            .tempfile_in(directory)
            .map_err(|source| SelfUpdateError::Write { path: directory.to_owned(), source })?;
        let (file, path) = staged.into_parts();
        hold(&file);
        Ok(Self { file, path })
    }

    /// Copies verified bytes beside the program.
    fn copy_of(
        content: &mut StoreFile,
        sha256: Digest,
        executable: &Path,
    ) -> Result<Self, SelfUpdateError> {
        let mut candidate = Self::create(executable)?;
        let failed = |source| SelfUpdateError::Write { path: executable.to_owned(), source };
        content.rewind().map_err(failed)?;
        std::io::copy(content, &mut candidate.file).map_err(failed)?;
        candidate.seal(sha256)?;
        Ok(candidate)
    }

    fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the copy durable, closes it for writing, reads it back, and makes it executable if
    /// it is what was verified.
    fn seal(&mut self, sha256: Digest) -> Result<(), SelfUpdateError> {
        let path = self.path().to_owned();
        let failed = |source| SelfUpdateError::Write { path: path.clone(), source };
        self.file.sync_all().map_err(failed)?;
        // Executing a file that is open for writing fails, so this descriptor must go.
        let file = fsx::open_nofollow(&path)?;
        hold(&file);
        self.file = file;
        let (copied, _length) = Digest::of_reader(&mut self.file).map_err(failed)?;
        if copied != sha256 {
            return Err(SelfUpdateError::CopyDiffers { path });
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            self.file.set_permissions(std::fs::Permissions::from_mode(0o755)).map_err(failed)?;
        }
        self.file.sync_all().map_err(failed)
    }

    fn keep_as(self, executable: &Path) -> Result<(), SelfUpdateError> {
        keep(self.path, executable)
    }
}

/// Lets a sweep see that somebody needs this file.
fn hold(file: &File) {
    // Elsewhere a lock would keep ourselves from writing to it.
    if cfg!(unix) {
        let _without_locks = file.try_lock_shared();
    }
}

/// Gives a file its name, replacing what has it.
fn keep(staged: tempfile::TempPath, path: &Path) -> Result<(), SelfUpdateError> {
    let before = staged.to_path_buf();
    staged
        .persist(path)
        .map_err(|error| SelfUpdateError::Write { path: path.to_owned(), source: error.error })?;
    // Where both are names of one file already, as after an update that failed, renaming keeps both.
    let _best_effort = fsx::remove(&before);
    // The names matter after a power loss; where they cannot be synchronised the old program is
    // still there.
    let _synced = path.parent().map(fsx::sync_dir);
    Ok(())
}

/// Asks a candidate who it is. One that exits with a failure, hangs, or names another version or
/// brand is not switched to.
fn self_test(candidate: &Path, version: &Version, sha256: Digest) -> Result<(), SelfUpdateError> {
    let mut child = start(candidate, sha256)?;
    let output = finished(&mut child)?;
    let report: SelfReport = serde_json::from_slice(&output)
        .map_err(|_error| SelfUpdateError::SelfTest("it did not report who it is".to_owned()))?;
    let reported: Option<Version> = report.version.parse().ok();
    if report.program != dbt_core::brand::PROGRAM {
        let program = report.program.escape_debug().to_string();
        return Err(SelfUpdateError::SelfTest(format!("it says that it is `{program}`")));
    }
    if !reported.is_some_and(|reported| reported.same_number(version)) {
        let reported = report.version.escape_debug().to_string();
        return Err(SelfUpdateError::SelfTest(format!("it says that it is version `{reported}`")));
    }
    if report.sha256 != sha256 {
        let words = "it says that it is another file than the one that was verified";
        return Err(SelfUpdateError::SelfTest(words.to_owned()));
    }
    Ok(())
}

fn start(candidate: &Path, sha256: Digest) -> Result<Child, SelfUpdateError> {
    let mut command = Command::new(candidate);
    command
        .args(["--self-test", "--expect-sha256", &sha256.to_string()])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut tries = 0;
    loop {
        match command.spawn() {
            Ok(child) => return Ok(child),
            Err(error)
                if error.kind() == std::io::ErrorKind::ExecutableFileBusy && tries < BUSY_TRIES =>
            {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5 * u64::from(tries)));
            }
            Err(source) if is_shortage(&source) => {
                return Err(SelfUpdateError::Trial { path: candidate.to_owned(), source });
            }
            Err(error) => {
                return Err(SelfUpdateError::SelfTest(format!("it cannot be started: {error}")));
            }
        }
    }
}

/// Says whether this machine has nothing left to start any program with.
fn is_shortage(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    let shortages = [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE, Errno::NOSPC];
    errno.is_some_and(|errno| shortages.contains(&errno))
}

/// Waits for the report, for so long and no longer. What the candidate leaves running is not waited
/// for, and ended where it has not gone out of its way to live on.
fn finished(child: &mut Child) -> Result<Vec<u8>, SelfUpdateError> {
    let began = Instant::now();
    let failed = |error: std::io::Error| SelfUpdateError::SelfTest(error.to_string());
    while !has_ended(child).map_err(failed)? {
        if began.elapsed() >= SELF_TEST_PATIENCE {
            end_group(child);
            // It is ours and has no use any more; whether it is already gone does not matter.
            let _gone = child.kill().and_then(|()| child.wait());
            return Err(SelfUpdateError::SelfTest(
                "it did not finish within 10 seconds".to_owned(),
            ));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    end_group(child);
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(SelfUpdateError::SelfTest(format!("it ended with {status}")));
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // It has written what it had to say; the end of the pipe may be held by others.
        #[cfg(unix)]
        rustix::fs::fcntl_setfl(&stdout, rustix::fs::OFlags::NONBLOCK)
            .map_err(|error| failed(error.into()))?;
        match stdout.take(4096).read_to_end(&mut output) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                return Err(failed(error));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(output)
}

/// Says whether a child has ended. It stays one: its number is nobody else's until it is waited for.
#[cfg(unix)]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(Pid::from_child(child)), options)?.is_some())
}

#[cfg(not(unix))]
fn has_ended(child: &mut Child) -> std::io::Result<bool> {
    Ok(child.try_wait()?.is_some())
}

/// Ends what a child that leads a group of processes has started.
fn end_group(child: &Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        let _gone = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    #[cfg(not(unix))]
    let _nothing = child;
}
