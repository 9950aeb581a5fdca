//! One update: each state can only be reached through the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp as Instant;
use sigstore_tuf::{Error, MetaFile, Metadata, Root, Snapshot, Targets, TrustedMetadataSet};

use super::error::MetadataError;
use super::recalled::Recalled;
use super::search::Wanted;
use super::{ROOT_LIMIT, SNAPSHOT_LIMIT, TARGETS_LIMIT, TIMESTAMP_LIMIT, crypto, form};

/// Metadata that was checked and is trusted: what a store may write, exactly as it was received.
///
/// Only the steps of an update make one:
///
/// ```compile_fail
/// use dbt_core::trust::metadata::Accepted;
/// let forged = Accepted { file: "root.json".to_owned(), bytes: b"{}" };
/// ```
#[derive(Debug)]
pub struct Accepted<'a> {
    file: String,
    bytes: &'a [u8],
}

impl<'a> Accepted<'a> {
    fn of(role: &str, bytes: &'a [u8]) -> Self {
        Self { file: format!("{role}.json"), bytes }
    }

    /// Returns the name of the file it is kept in: without a version, one segment.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns it as it was received.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A file of the repository that is needed next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name, escaped: one segment of a URL.
    pub name: String,
    /// The most bytes that are read of it.
    pub limit: u64,
}

impl RemoteFile {
    /// Returns its name as it stands in a directory: not escaped. Of the characters that tools' names may have, one
    /// is escaped.
    pub fn plain_name(&self) -> String {
        self.name.replace("%2B", "+")
    }

    fn listed(role: &str, listed: &MetaFile, is_versioned: bool, limit: u64) -> Self {
        let name = if is_versioned {
            format!("{}.{role}.json", listed.version)
        } else {
            format!("{role}.json")
        };
        Self { name, limit: listed.length.map_or(limit, |length| length.min(limit)) }
    }
}

/// What an earlier update left behind, as it was received.
#[derive(Debug, Default, Clone)]
pub struct Stored {
    /// The timestamp.
    pub timestamp: Option<Vec<u8>>,
    /// The snapshot.
    pub snapshot: Option<Vec<u8>>,
}

/// The root, which may still be followed by newer ones (specification, 5.3).
#[derive(Debug)]
pub struct Roots {
    set: Box<TrustedMetadataSet>,
    online: BTreeSet<(String, String)>,
    now: Instant,
}

impl Roots {
    /// Begins an update at `now` with a root that is trusted already: pinned, or accepted before.
    ///
    /// It has to be signed by itself. It may have expired, as long as a newer one has not.
    pub fn pinned(bytes: &[u8], now: SystemTime) -> Result<Self, MetadataError> {
        crypto::install();
        form::check(bytes, "root", "root")?;
        let of = |error| MetadataError::of("root", error);
        let set = TrustedMetadataSet::from_root(bytes).map_err(of)?;
        let online = online_keys(set.root());
        Ok(Self { set: Box::new(set), online, now: instant(now)? })
    }

    /// Returns the root that is trusted now.
    pub fn current(&self) -> Accepted<'_> {
        Accepted::of("root", self.set.root_bytes())
    }

    /// Returns the version of the root that is trusted now.
    pub fn version(&self) -> u64 {
        self.set.root().version
    }

    /// Returns the file of the root that would follow (5.3.3).
    pub fn next(&self) -> RemoteFile {
        let version = self.version().saturating_add(1);
        RemoteFile { name: format!("{version}.root.json"), limit: ROOT_LIMIT }
    }

    /// Takes the next root: signed by enough keys of the one before and of its own, and exactly
    /// one version newer (5.3.4, 5.3.5). Whether it expired does not matter yet (5.3.7).
    pub fn follow<'a>(&mut self, bytes: &'a [u8]) -> Result<Accepted<'a>, MetadataError> {
        form::check(bytes, "root", "root")?;
        self.set.update_root(bytes).map_err(|error| MetadataError::of("root", error))?;
        Ok(Accepted::of("root", bytes))
    }

    /// Says whether a key lost its right to sign timestamps or snapshots since the update began. Then
    /// the stored timestamp and snapshot have to be deleted: whoever had that key may have raised
    /// their versions out of reach (5.3.11).
    pub fn is_rotated(&self) -> bool {
        !self.online.is_subset(&online_keys(self.set.root()))
    }

    /// Reads what earlier updates have accepted of this root's targets, where nobody can be asked: signatures count, and
    /// neither versions nor ends. Its age is for the caller to judge.
    pub fn recall(self, targets: &[u8]) -> Result<Trusted, MetadataError> {
        let recalled = Recalled::of(self.set.root(), targets)?;
        Ok(Trusted { set: self.set, now: self.now, recalled: Some(recalled) })
    }

    /// Ends the chain: the last root must not have expired (5.3.10).
    pub fn settle(self) -> Result<Rooted, MetadataError> {
        let Self { set, online: _, now } = self;
        set.check_root_expired(now).map_err(|error| MetadataError::of("root", error))?;
        Ok(Rooted { set, floors: Floors::default(), now })
    }
}

/// The keys that may sign timestamps or snapshots, each with its role.
fn online_keys(root: &Root) -> BTreeSet<(String, String)> {
    let keys_of = |role: &'static str| {
        let ids = root.role(role).into_iter().flat_map(|role| &role.keyids);
        let keys = ids.filter_map(|id| root.keys.get(id));
        keys.map(move |key| (role.to_owned(), key.keyval.public.clone()))
    };
    keys_of("timestamp").chain(keys_of("snapshot")).collect()
}

/// What a stored snapshot says of versions below which nothing may come again.
#[derive(Debug, Default)]
struct Floors {
    versions: BTreeMap<String, u64>,
    /// The snapshot that says it.
    snapshot: Option<Vec<u8>>,
}

/// A root that is good now.
#[derive(Debug)]
pub struct Rooted {
    set: Box<TrustedMetadataSet>,
    floors: Floors,
    now: Instant,
}

impl Rooted {
    /// Says whether metadata and targets have names that never mean other bytes (specification,
    /// 6).
    pub fn has_consistent_snapshots(&self) -> bool {
        self.set.root().consistent_snapshot
    }

    /// Takes in what an earlier update saw, so that nothing older is believed. It is checked again
    /// from the root on; what does not pass is as if it were not there. It may have expired.
    ///
    /// The snapshot counts by itself, whatever the stored timestamp says: an update that ended
    /// between the two has left a newer timestamp beside it.
    pub fn remember(&mut self, stored: Stored) {
        let Stored { timestamp, snapshot } = stored;
        if let Some(bytes) = timestamp
            && form::check(&bytes, "timestamp", "timestamp").is_ok()
        {
            // The beginning of time: nothing has expired.
            let _unusable = self.set.update_timestamp(&bytes, Instant::MIN);
        }
        if let Some(bytes) = snapshot
            && let Ok(versions) = self.versions_in(&bytes)
        {
            self.floors = Floors { versions, snapshot: Some(bytes) };
        }
    }

    fn versions_in(&self, bytes: &[u8]) -> Result<BTreeMap<String, u64>, MetadataError> {
        form::check(bytes, "snapshot", "snapshot")?;
        let of = |error| MetadataError::of("snapshot", error);
        let snapshot = Metadata::<Snapshot>::from_slice(bytes).map_err(of)?;
        let root = self.set.root();
        let role = root.role("snapshot").ok_or_else(|| Error::UnknownRole("snapshot".to_owned()));
        let checked = role.and_then(|role| snapshot.verify_threshold(&root.keys, role, "snapshot"));
        checked.map_err(of)?;
        let meta = snapshot.into_signed().meta;
        Ok(meta.into_iter().map(|(file, listed)| (file, listed.version)).collect())
    }

    /// Returns the file of the timestamp.
    pub fn timestamp_file(&self) -> RemoteFile {
        RemoteFile { name: "timestamp.json".to_owned(), limit: TIMESTAMP_LIMIT }
    }

    /// Takes the repository's timestamp (5.4). One of the same version is not looked into: the stored
    /// one stays, which is no error.
    pub fn timestamp(
        mut self,
        bytes: &[u8],
    ) -> Result<(Timed, Option<Accepted<'_>>), MetadataError> {
        form::check(bytes, "timestamp", "timestamp")?;
        let of = |error| MetadataError::of("timestamp", error);
        let accepted = match self.set.update_timestamp(bytes, self.now) {
            Ok(()) => Some(Accepted::of("timestamp", bytes)),
            Err(Error::EqualVersion { .. }) => None,
            Err(error) => return Err(of(error)),
        };
        // The one that stays may have expired in the meantime.
        self.set.check_timestamp_expired(self.now).map_err(of)?;
        let Self { set, floors, now } = self;
        Ok((Timed { set, floors, now }, accepted))
    }
}

/// A timestamp that is good now.
#[derive(Debug)]
pub struct Timed {
    set: Box<TrustedMetadataSet>,
    floors: Floors,
    now: Instant,
}

impl Timed {
    /// Returns the file of the snapshot.
    pub fn snapshot_file(&self) -> Result<RemoteFile, MetadataError> {
        let listed = self.set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
        let listed = listed.ok_or_else(|| not_listed("snapshot.json"))?;
        let is_versioned = self.set.root().consistent_snapshot;
        Ok(RemoteFile::listed("snapshot", listed, is_versioned, SNAPSHOT_LIMIT))
    }

    /// Takes the stored snapshot, if it is the one that the timestamp names. If not, the repository's
    /// is needed.
    pub fn reuse(self) -> Result<Listed, Self> {
        let mut set = self.set.clone();
        let is_current = self
            .floors
            .snapshot
            .as_deref()
            .is_some_and(|bytes| set.update_snapshot(bytes, self.now).is_ok());
        if is_current { Ok(Listed { set, now: self.now }) } else { Err(self) }
    }

    /// Takes the repository's snapshot (5.5): the one that the timestamp names, in which no file is
    /// missing or older that the stored one lists.
    pub fn snapshot(self, bytes: &[u8]) -> Result<(Listed, Accepted<'_>), MetadataError> {
        let Self { mut set, floors, now } = self;
        form::check(bytes, "snapshot", "snapshot")?;
        set.update_snapshot(bytes, now).map_err(|error| MetadataError::of("snapshot", error))?;
        let listed = set.snapshot().ok_or_else(|| not_listed("snapshot.json"))?;
        for (file, trusted) in floors.versions {
            match listed.meta.get(&file).map(|listed| listed.version) {
                None => return Err(MetadataError::Removed { file }),
                Some(new) if new < trusted => {
                    return Err(MetadataError::Rollback { role: file, trusted, new });
                }
                Some(_) => {}
            }
        }
        Ok((Listed { set, now }, Accepted::of("snapshot", bytes)))
    }
}

/// A snapshot that is good now: the list of all targets files.
#[derive(Debug)]
pub struct Listed {
    set: Box<TrustedMetadataSet>,
    now: Instant,
}

impl Listed {
    /// Returns the file of the top-level targets.
    pub fn targets_file(&self) -> Result<RemoteFile, MetadataError> {
        targets_file(&self.set, "targets", "targets")
    }

    /// Takes stored targets, if they are what the snapshot lists. If not, the repository's are
    /// needed.
    pub fn reuse(mut self, stored: &[u8]) -> Result<Trusted, Self> {
        let is_current = form::check(stored, "targets", "targets").is_ok()
            && self.set.update_targets(stored, self.now).is_ok();
        if is_current {
            Ok(Trusted { set: self.set, now: self.now, recalled: None })
        } else {
            Err(self)
        }
    }

    /// Takes the repository's top-level targets (5.6).
    pub fn targets(mut self, bytes: &[u8]) -> Result<(Trusted, Accepted<'_>), MetadataError> {
        form::check(bytes, "targets", "targets")?;
        let of = |error| MetadataError::of("targets", error);
        self.set.update_targets(bytes, self.now).map_err(of)?;
        Ok((
            Trusted { set: self.set, now: self.now, recalled: None },
            Accepted::of("targets", bytes),
        ))
    }
}

/// All top-level metadata, good now: what targets are looked for in.
///
/// Only an update makes one:
///
/// ```compile_fail
/// use dbt_core::trust::metadata::Trusted;
/// let forged = Trusted { set: todo!(), now: todo!(), recalled: None };
/// ```
#[derive(Debug)]
pub struct Trusted {
    set: Box<TrustedMetadataSet>,
    now: Instant,
    /// In the place of the set's lists, where nobody was asked.
    recalled: Option<Recalled>,
}

impl Trusted {
    /// Says whether targets have names that never mean other bytes.
    pub fn has_consistent_snapshots(&self) -> bool {
        self.set.root().consistent_snapshot
    }

    /// Returns the file of a delegated role.
    pub fn file_of(&self, wanted: &Wanted) -> Result<RemoteFile, MetadataError> {
        targets_file(&self.set, wanted.role.as_str(), &wanted.role.escaped())
    }

    /// Takes a delegated role's metadata, stored or the repository's: signed as its delegator demands,
    /// and the file that the snapshot lists.
    pub fn admit<'a>(
        &mut self,
        wanted: &Wanted,
        bytes: &'a [u8],
    ) -> Result<Accepted<'a>, MetadataError> {
        let role = wanted.role.as_str();
        if let Some(recalled) = &mut self.recalled {
            recalled.admit(role, &wanted.delegator, bytes)?;
            return Ok(Accepted::of(&wanted.role.escaped(), bytes));
        }
        form::check(bytes, "targets", role)?;
        let admitted = self.set.update_delegated_targets(bytes, role, &wanted.delegator, self.now);
        admitted.map_err(|error| MetadataError::of(role, error))?;
        Ok(Accepted::of(&wanted.role.escaped(), bytes))
    }

    /// Returns the metadata of a role that a search has looked into.
    pub(super) fn set_role(&self, role: &str) -> Option<&Targets> {
        match &self.recalled {
            Some(recalled) => recalled.role(role),
            None => self.set.targets_role(role),
        }
    }

    pub(super) fn targets(&self) -> Result<&Targets, MetadataError> {
        self.set_role("targets").ok_or_else(|| not_listed("targets.json"))
    }

    /// Returns a delegated role's metadata if it is there, checked against this delegator: another
    /// one may trust other keys with the same name.
    pub(super) fn delegated(&self, wanted: &Wanted) -> Result<Option<&Targets>, MetadataError> {
        let role = wanted.role.as_str();
        if let Some(recalled) = &self.recalled {
            return recalled.delegated(role, &wanted.delegator);
        }
        if self.set.targets_role(role).is_none() {
            return Ok(None);
        }
        let checked = self.set.verify_delegated_targets(role, &wanted.delegator, self.now);
        checked.map(Some).map_err(|error| MetadataError::of(role, error))
    }
}

fn targets_file(
    set: &TrustedMetadataSet,
    role: &str,
    escaped: &str,
) -> Result<RemoteFile, MetadataError> {
    let file = format!("{role}.json");
    let listed = set.snapshot().and_then(|snapshot| snapshot.meta.get(&file));
    let listed = listed.ok_or_else(|| not_listed(&file))?;
    Ok(RemoteFile::listed(escaped, listed, set.root().consistent_snapshot, TARGETS_LIMIT))
}

fn not_listed(file: &str) -> MetadataError {
    MetadataError::NotListed { file: file.to_owned() }
}

/// Returns the time of an update as the library compares it.
///
/// Metadata is good until the second it names, and no longer (specification, 5.4.5). The library
/// takes that second in as well, so that the comparison happens a moment after it.
fn instant(now: SystemTime) -> Result<Instant, MetadataError> {
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
    Instant::new(seconds, 1)
        .map_err(|_error| MetadataError::malformed("root", "the clock shows no time it could have"))
}
