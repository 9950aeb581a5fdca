//! Is this very program current? If not: the same road as a tool, then a replacement instead of
//! a start. (Trust design, 2.7 and 2.11.)
//!
//! Nothing here stops the tool that the user asked for: a candidate that is refused is said, once
//! a day, and the running version goes on.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

mod candidate;
mod error;
mod fresh;
mod identity;
mod trial;

use candidate::{Aside, Candidate, candidate_prefix, keep};

pub use error::SelfUpdateError;
pub use fresh::{Installed, fetch_newest, install, version_of};
pub use identity::{Identity, Rejected};
pub use trial::{SelfReport, TRUST_OF_OLDER};

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

/// How long it takes at most from making a candidate to locking it.
const MOMENT: Duration = Duration::from_mins(1);

/// How long a run waits for another one that replaces the same program.
const REPLACING_PATIENCE: Duration = Duration::from_secs(10);

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
    let aside = Aside::of(&executable, &executable)?;
    fsx::rename(&previous, &executable).inspect_err(|_error| aside.back())?;
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
        };
        fetch_verified(self.session, id, (self.patience, &artifact), trust, &expectation)
    }

    /// Puts the candidate beside the running program, asks it who it is, and switches; does
    /// nothing if somebody has put another program there since this run began.
    fn replace(&self, verified: Verified<StoreFile>) -> Result<Option<Replaced>, SelfUpdateError> {
        let (version, sha256) = (verified.id().version.clone(), verified.digest());
        let (bound, signed) = (verified.endorsement().bound, verified.endorsement().made);
        let built_as = verified.endorsement().built_as.clone();
        let id = verified.id().clone();
        let mut content = verified.into_content();

        let candidate = self.stage(&mut content, sha256)?;
        let built_as = built_as.unwrap_or_else(|| version.clone());
        trial::passes(candidate.path(), &built_as, sha256)?;
        if let Some(home) = &self.session.settings.places.home {
            trial::make_room_for(&built_as, home);
        }
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
        candidate.keep_as(self.executable, self.executable)?;

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
            return keep(linked.into_temp_path(), &previous, self.executable);
        }
        let failed = |source| SelfUpdateError::Write { path: previous.clone(), source };
        let mut program = File::open(self.executable).map_err(failed)?;
        let mut candidate = Candidate::create(self.executable)?;
        std::io::copy(&mut program, &mut candidate.file).map_err(failed)?;
        candidate.seal(self.identity.sha256)?;
        candidate.keep_as(&previous, self.executable)
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
    let at = Location::artifact(id);
    let companions = repository
        .companions(&at, patience)
        .map_err(SelfUpdateError::Fetch)?
        .ok_or(SelfUpdateError::Incomplete)?;
    let mut staged = session.store.staging()?;
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
