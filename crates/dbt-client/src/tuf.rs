//! Updates of a repository's signed metadata, strictly as the TUF specification says: one file after
//! the other, nothing asked for that the specification does not, no shortcut.
//!
//! What is believed is decided by [`dbt_core::trust::metadata`]; here files come from somewhere and
//! are kept. In reading order: [`Remote`] has the files, [`Kept`] keeps what was accepted, and
//! [`refresh`] and [`find`] are the two halves of the specification's section 5.

mod beside;
mod kept;

use std::time::SystemTime;

use dbt_core::trust::metadata::{
    Listed, MatchingTarget, MetadataError, ROOTS_LIMIT, RemoteFile, Rooted, Roots, Search, Step,
    Stored, Target, Timed, Trusted, Wanted,
};

use crate::fsx::FsxError;
use crate::source::{Ask, FetchError, Files, Patience};
use crate::url::escaped;

pub use beside::{Beside, DIRECTORY};
pub(crate) use beside::{path_of, timestamp_path};
pub use kept::Kept;

/// Where the files of a repository are.
pub trait Remote {
    /// Reads a metadata file, or returns nothing where there is none.
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError>;

    /// Reads a target at a path that is not escaped, of at most `limit` bytes, or returns nothing
    /// where there is none.
    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError>;
}

/// Files on a server.
#[derive(Debug)]
pub struct Web {
    /// Where the metadata is.
    pub metadata: Files,
    /// Where the targets are; nothing where none are wanted.
    pub targets: Option<Files>,
    /// How long one file is waited for.
    pub time_scale: f64,
}

impl Web {
    fn ask(&self, limit: u64) -> Ask {
        Ask::document(limit, &Patience::for_artifact(self.time_scale)).from_anywhere()
    }
}

impl Remote for Web {
    fn metadata(&self, file: &RemoteFile) -> Result<Option<Vec<u8>>, FetchError> {
        self.metadata.get(&file.name, &self.ask(file.limit))
    }

    fn target(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, FetchError> {
        let Some(targets) = &self.targets else { return Ok(None) };
        // A target may be a page for people: what it is, its digest says.
        let ask = Ask { accepts_html: true, ..self.ask(limit) };
        targets.get(&escaped(path.as_bytes()), &ask)
    }
}

/// Begins to trust a root that was brought by hand, and asks nobody for a newer one.
pub fn init(kept: &Kept, root: &[u8], now: SystemTime) -> Result<(), UpdateError> {
    let roots = Roots::pinned(root, now)?;
    kept.write(&roots.current())?;
    Ok(())
}

/// Brings the top-level metadata up to date (specification, 5.1 to 5.6), at a time that is the same
/// for all of it. Whatever was accepted is kept, whatever fails after it.
pub fn refresh(kept: &Kept, remote: &dyn Remote, now: SystemTime) -> Result<Trusted, UpdateError> {
    let mut rooted = follow_roots(kept, remote, now)?;
    rooted.remember(Stored {
        timestamp: kept.read("timestamp.json")?,
        snapshot: kept.read("snapshot.json")?,
    });
    let timed = take_timestamp(rooted, kept, remote)?;
    let listed = take_snapshot(timed, kept, remote)?;
    take_targets(listed, kept, remote)
}

/// Reads what is kept, where nobody can be asked. Its age is for the caller to judge.
pub fn recall(kept: &Kept, now: SystemTime) -> Result<Trusted, UpdateError> {
    let root = kept.read("root.json")?.ok_or(UpdateError::NoRoot)?;
    let missing = || UpdateError::Missing { file: "targets.json".to_owned() };
    let targets = kept.read("targets.json")?.ok_or_else(missing)?;
    Ok(Roots::pinned(&root, now)?.recall(&targets)?)
}

/// Updates the root: 5.3.
fn follow_roots(kept: &Kept, remote: &dyn Remote, now: SystemTime) -> Result<Rooted, UpdateError> {
    let root = kept.read("root.json")?.ok_or(UpdateError::NoRoot)?;
    let mut roots = Roots::pinned(&root, now)?;
    for _ in 0..ROOTS_LIMIT {
        let Some(bytes) = remote.metadata(&roots.next())? else { break };
        let accepted = roots.follow(&bytes)?;
        // Before the root is kept: whoever is stopped between the two would never know that what is
        // stored was signed by a key that is not trusted any more.
        if roots.is_rotated() {
            kept.forget("timestamp.json")?;
            kept.forget("snapshot.json")?;
        }
        kept.write(&accepted)?;
    }
    Ok(roots.settle()?)
}

/// Updates the timestamp: 5.4.
fn take_timestamp(rooted: Rooted, kept: &Kept, remote: &dyn Remote) -> Result<Timed, UpdateError> {
    let bytes = fetched(remote, &rooted.timestamp_file())?;
    let (timed, accepted) = rooted.timestamp(&bytes)?;
    if let Some(accepted) = accepted {
        kept.write(&accepted)?;
    }
    Ok(timed)
}

/// Updates the snapshot: 5.5.
fn take_snapshot(timed: Timed, kept: &Kept, remote: &dyn Remote) -> Result<Listed, UpdateError> {
    let timed = match timed.reuse() {
        Ok(listed) => return Ok(listed),
        Err(timed) => timed,
    };
    let bytes = fetched(remote, &timed.snapshot_file()?)?;
    let (listed, accepted) = timed.snapshot(&bytes)?;
    kept.write(&accepted)?;
    Ok(listed)
}

/// Updates the top-level targets: 5.6.
fn take_targets(
    mut listed: Listed,
    kept: &Kept,
    remote: &dyn Remote,
) -> Result<Trusted, UpdateError> {
    if let Some(stored) = kept.read("targets.json")? {
        listed = match listed.reuse(&stored) {
            Ok(trusted) => return Ok(trusted),
            Err(listed) => listed,
        };
    }
    let bytes = fetched(remote, &listed.targets_file()?)?;
    let (trusted, accepted) = listed.targets(&bytes)?;
    kept.write(&accepted)?;
    Ok(trusted)
}

/// Finds a target, through delegations if need be: 5.6.7.
pub fn find(
    trusted: &mut Trusted,
    path: &str,
    kept: &Kept,
    remote: &dyn Remote,
) -> Result<Target, UpdateError> {
    let mut search = Search::of(path);
    loop {
        match trusted.step(&mut search)? {
            Step::Found(target) => return Ok(target),
            Step::NotFound => return Err(UpdateError::NoTarget { path: path.to_owned() }),
            Step::Wanted(wanted) => take_delegated(trusted, &wanted, kept, remote)?,
        }
    }
}

fn take_delegated(
    trusted: &mut Trusted,
    wanted: &Wanted,
    kept: &Kept,
    remote: &dyn Remote,
) -> Result<(), UpdateError> {
    if let Some(stored) = kept.read(&format!("{}.json", wanted.role().escaped()))?
        && trusted.admit(wanted, &stored).is_ok()
    {
        return Ok(());
    }
    let bytes = fetched(remote, &trusted.file_of(wanted)?)?;
    let accepted = trusted.admit(wanted, &bytes)?;
    kept.write(&accepted)?;
    Ok(())
}

/// Fetches a target and compares it with what is listed (5.7).
pub fn download(
    target: Target,
    has_consistent_snapshots: bool,
    remote: &dyn Remote,
) -> Result<MatchingTarget, UpdateError> {
    let path = target.remote_path(has_consistent_snapshots)?;
    let bytes = remote.target(&path, target.length())?;
    let bytes = bytes.ok_or(UpdateError::Missing { file: path })?;
    Ok(target.verify(bytes)?)
}

fn fetched(remote: &dyn Remote, file: &RemoteFile) -> Result<Vec<u8>, UpdateError> {
    let bytes = remote.metadata(file)?;
    bytes.ok_or_else(|| UpdateError::Missing { file: file.name.clone() })
}

/// Why an update or a download failed.
///
/// Names of files and targets are text from outside: escape it before a terminal sees it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Nothing is trusted yet.
    #[error("there is no trusted root")]
    NoRoot,

    /// The repository does not have what it lists.
    #[error("the repository has no `{file}`")]
    Missing {
        /// The file.
        file: String,
    },

    /// Nobody who may list it does.
    #[error("`{path}` is not listed by any role that may list it")]
    NoTarget {
        /// The target.
        path: String,
    },

    /// It could not be fetched.
    #[error("cannot fetch metadata or a target")]
    Fetch(#[from] FetchError),

    /// It is not to be believed.
    #[error("the repository's metadata is refused")]
    Refused(#[from] MetadataError),

    /// It could not be kept, or what was kept cannot be read.
    #[error("cannot use the directory of trusted metadata")]
    Keep(#[from] FsxError),
}
