//! What this machine knows of the running program itself: `state/self.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::timestamp::Timestamp;
use dbt_core::version::Version;
use dbt_sys::files::Facts;

use crate::fsx;
use crate::session::Session;

use super::SelfUpdateError;

/// How long a rejected candidate is left alone; then it is looked at, and said, again.
const REJECTION_LASTS: Duration = Duration::from_hours(24);

/// How long a candidate is left alone that the server did not give completely, or not in time; it
/// doubles each time, to the longest.
const TRANSFER_RESTS: Duration = Duration::from_mins(10);
const LONGEST_REST: Duration = Duration::from_hours(24);

/// How long a published checksum is believed: nobody has signed it.
const CHECKSUM_LASTS: Duration = Duration::from_hours(24);

/// How many rejected candidates are remembered, and how much of what was said about each.
const REJECTED_LIMIT: usize = 16;
const REASON_LIMIT: usize = 500;

/// How many versions' checksums are remembered.
const CHECKSUMS_LIMIT: usize = 32;

/// The most bytes of the file.
const LIMIT: u64 = 1024 * 1024;

/// What is known of the running program.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    path: PathBuf,
    stat: FileStamp,
    /// The digest of its file.
    pub sha256: Digest,
    version: Version,
    signed: Option<Timestamp>,
    #[serde(default)]
    rejected: Vec<Rejected>,
    #[serde(default)]
    published: BTreeMap<String, Published>,
    #[serde(default)]
    not_given: Option<NotGiven>,
    /// A person went back from this version: nothing up to it is taken over again.
    #[serde(default)]
    left: Option<Version>,
}

/// A candidate that was not switched to.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Rejected {
    /// Its version.
    pub version: Version,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// A checksum, as published.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
struct Published {
    sha256: Digest,
    seen: Timestamp,
}

/// A candidate that the server did not give completely.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
struct NotGiven {
    version: Version,
    at: Timestamp,
    /// How often in a row.
    #[serde(default)]
    times: u32,
}

impl NotGiven {
    fn rests(&self) -> Duration {
        let doubled = 2_u32.saturating_pow(self.times.saturating_sub(1));
        TRANSFER_RESTS.saturating_mul(doubled).min(LONGEST_REST)
    }
}

/// What tells one file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileStamp {
    fn of(facts: &Facts) -> Self {
        let nanoseconds =
            |(seconds, rest): (i64, i64)| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: facts.device,
            inode: facts.number,
            size: facts.length,
            modified_ns: nanoseconds(facts.modified),
            changed_ns: nanoseconds(facts.changed),
        }
    }
}

impl Identity {
    /// Returns what is known of the program at `executable`; without a record that fits the file
    /// it is hashed once.
    pub(super) fn of(session: &Session<'_>, executable: &Path) -> Result<Self, SelfUpdateError> {
        let failed = |source| SelfUpdateError::Write { path: executable.to_owned(), source };
        let stat = FileStamp::of(&Facts::of_path(executable).map_err(failed)?);
        let known = read(session);
        if let Some(known) =
            known.as_ref().filter(|known| known.path == executable && known.stat == stat)
        {
            return Ok(known.clone());
        }
        let mut file = std::fs::File::open(executable).map_err(failed)?;
        let (sha256, _length) = Digest::of_reader(&mut file).map_err(failed)?;
        let same = known.as_ref().filter(|known| known.sha256 == sha256);
        let identity = Self {
            path: executable.to_owned(),
            stat,
            sha256,
            version: same.map_or_else(
                || session.settings.program.version.clone(),
                |known| known.version.clone(),
            ),
            signed: same.and_then(|known| known.signed),
            rejected: known.as_ref().map(|known| known.rejected.clone()).unwrap_or_default(),
            left: known.as_ref().and_then(|known| known.left.clone()),
            not_given: known.as_ref().and_then(|known| known.not_given.clone()),
            published: known.map(|known| known.published).unwrap_or_default(),
        };
        write(session, &identity)?;
        Ok(identity)
    }

    /// Returns what is remembered of the running program, if anything. Nothing is written.
    pub fn remembered(session: &Session<'_>) -> Option<Self> {
        read(session)
    }

    /// Changes what is known and writes it.
    pub(super) fn change(
        session: &Session<'_>,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), SelfUpdateError> {
        let Some(mut identity) = read(session) else {
            return Ok(());
        };
        identity.retain_recent(session.now());
        change(&mut identity);
        write(session, &identity)
    }

    /// Returns the version as published.
    pub const fn version(&self) -> &Version {
        &self.version
    }

    /// Returns when its signature was made, if it came by an update.
    pub(super) fn signed(&self) -> Option<SystemTime> {
        self.signed.map(|Timestamp(signed)| signed)
    }

    /// Returns the candidates that were not switched to.
    pub fn rejected(&self) -> &[Rejected] {
        &self.rejected
    }

    /// Says whether a person went back from this version or a later one.
    pub(super) fn was_left(&self, version: &Version) -> bool {
        self.left.as_ref().is_some_and(|left| version.cmp_number(left).is_le())
    }

    /// Says whether a version was rejected lately.
    pub(super) fn rejects(&self, version: &Version, now: SystemTime) -> bool {
        self.rejected.iter().any(|it| it.version.same_number(version) && it.is_recent(now))
    }

    /// Remembers that a person went back from the present version.
    pub(super) fn go_back(&mut self) {
        self.left = Some(self.version.clone());
    }

    /// Says whether a version is left alone for a while, because the server did not give it.
    pub(super) fn leaves_alone(&self, version: &Version, now: SystemTime) -> bool {
        self.not_given
            .as_ref()
            .is_some_and(|it| it.version.same_number(version) && is_within(it.at, it.rests(), now))
    }

    pub(super) fn leave_alone(&mut self, version: &Version, now: SystemTime) {
        let before = self.not_given.take().filter(|it| it.version.same_number(version));
        let times = before.map_or(0, |it| it.times).saturating_add(1);
        self.not_given = Some(NotGiven { version: version.clone(), at: Timestamp(now), times });
    }

    pub(super) fn checksum_of(&self, version: &Version, now: SystemTime) -> Option<Digest> {
        let published = self.published.get(version.spelling())?;
        is_within(published.seen, CHECKSUM_LASTS, now).then_some(published.sha256)
    }

    pub(super) fn saw(&mut self, version: &Version, sha256: Digest, now: SystemTime) {
        let published = Published { sha256, seen: Timestamp(now) };
        self.published.insert(version.spelling().to_owned(), published);
        while self.published.len() > CHECKSUMS_LIMIT {
            self.published.pop_first();
        }
    }

    pub(super) fn reject(&mut self, version: &Version, reason: &str, now: SystemTime) {
        self.published.remove(version.spelling());
        self.rejected.push(Rejected {
            version: version.clone(),
            at: Timestamp(now),
            reason: reason.chars().take(REASON_LIMIT).collect(),
        });
        let surplus = self.rejected.len().saturating_sub(REJECTED_LIMIT);
        self.rejected.drain(..surplus);
    }

    pub(super) fn became(
        &mut self,
        executable: &Path,
        version: &Version,
        sha256: Digest,
        signed: Timestamp,
    ) {
        if let Ok(facts) = Facts::of_path(executable) {
            self.stat = FileStamp::of(&facts);
        }
        executable.clone_into(&mut self.path);
        self.version = version.clone();
        self.sha256 = sha256;
        self.signed = Some(signed);
    }

    fn retain_recent(&mut self, now: SystemTime) {
        self.rejected.retain(|rejected| rejected.is_recent(now));
    }
}

impl Rejected {
    fn is_recent(&self, now: SystemTime) -> bool {
        is_within(self.at, REJECTION_LASTS, now)
    }
}

/// Says whether something is not older than so much. What is dated in the future is.
fn is_within(Timestamp(at): Timestamp, lasts: Duration, now: SystemTime) -> bool {
    now.duration_since(at).is_ok_and(|age| age < lasts)
}

fn path(session: &Session<'_>) -> Option<PathBuf> {
    session.settings.places.home.as_ref().map(|home| home.join("state").join("self.json"))
}

/// A record that cannot be read is made anew from the file itself.
fn read(session: &Session<'_>) -> Option<Identity> {
    let bytes = fsx::read_limited(&path(session)?, LIMIT).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Where nothing can be written, the program is hashed again on the next run.
fn write(session: &Session<'_>, identity: &Identity) -> Result<(), SelfUpdateError> {
    let Some(path) = path(session).filter(|path| path.parent().is_some_and(Path::is_dir)) else {
        return Ok(());
    };
    let bytes = serde_json::to_vec(identity)
        .map_err(|error| SelfUpdateError::SelfTest(error.to_string()))?;
    fsx::write_atomic(&path, &bytes, 0o600)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        let stat = FileStamp { device: 0, inode: 0, size: 0, modified_ns: 0, changed_ns: 0 };
        Identity {
            path: "/bin/dbt".into(),
            stat,
            sha256: Digest::of(b"ours"),
            version: "4.0.0".parse().unwrap(),
            signed: None,
            rejected: Vec::new(),
            published: BTreeMap::new(),
            not_given: None,
            left: None,
        }
    }

    #[test]
    fn a_checksum_that_nobody_signed_counts_for_a_day() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let version: Version = "5.0.0".parse().unwrap();
        let mut identity = identity();
        identity.saw(&version, Digest::of(b"ours"), now);
        let later = |hours| now + Duration::from_hours(hours);
        assert_eq!(identity.checksum_of(&version, later(23)), Some(Digest::of(b"ours")));
        assert_eq!(identity.checksum_of(&version, later(25)), None);
        assert_eq!(identity.checksum_of(&version, now - Duration::from_secs(1)), None);
    }

    #[test]
    fn what_the_server_does_not_give_is_left_alone_for_a_while() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let version = |text: &str| text.parse::<Version>().unwrap();
        let mut identity = identity();
        identity.leave_alone(&version("5.0.0"), now);
        assert!(identity.leaves_alone(&version("v5.0.0"), now + Duration::from_mins(9)));
        assert!(!identity.leaves_alone(&version("5.0.0"), now + Duration::from_mins(11)));
        assert!(!identity.leaves_alone(&version("5.0.1"), now));
        // Longer each time, and never for good; another version has done nothing yet.
        let mut rests = Vec::new();
        for _ in 0..10 {
            rests.push(identity.not_given.as_ref().unwrap().rests().as_secs() / 60);
            identity.leave_alone(&version("5.0.0"), now);
        }
        assert_eq!(rests, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440]);
        identity.leave_alone(&version("5.0.1"), now);
        assert!(!identity.leaves_alone(&version("5.0.1"), now + Duration::from_mins(11)));
    }

    #[test]
    fn only_so_many_rejections_are_remembered() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let mut identity = identity();
        for number in 0..100 {
            let version = format!("{number}.0.0").parse().unwrap();
            identity.reject(&version, &"x".repeat(100_000), now);
        }
        assert!(serde_json::to_vec(&identity).unwrap().len() < 32 * 1024);
        assert!(identity.rejects(&"99.0.0".parse().unwrap(), now));
    }
}
