//! Digests of large files, remembered between runs.
//!
//! Every run reads what it executes; above 64 MiB that is felt. Then, and only then, the digests
//! of an earlier run stand in for reading the file, if everything the file system says of it is
//! unchanged (trust design, 2.10). What is remembered is what the bytes are, never that they were
//! accepted: signatures are judged on every run.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::trust::openpgp::ContentDigests;

use super::file::{Form, Installed, InstalledPlace, StoreFile, mark_remembered};
use super::install::LARGE;
use super::root::{FileName, Root, Rule, Stamp};
use crate::fsx;

/// The directory of the records below a root.
pub(super) const REMEMBERED: &str = "remembered";

/// How long a record is believed.
const BELIEVED_FOR: Duration = Duration::from_hours(24);

/// For how many runs a record is believed.
const BELIEVED_RUNS: u64 = 1_000;

/// A file that changed more recently than this may change again within the same tick of the file
/// system's clock, and its times would not tell. (Git calls such an entry racy.)
const RACY: Duration = Duration::from_secs(2);

/// The most bytes of a record.
const RECORD_LIMIT: u64 = 64 * 1024;

/// The form of [`Record`]; another number is not read.
const FORMAT: u32 = 1;

#[derive(Debug, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    name: String,
    stamp: Stamp,
    boot: String,
    /// When the file was last read as a whole, in seconds since 1970.
    read: u64,
    digests: ContentDigests,
}

/// Returns what an earlier run computed over the very same file, and counts this run.
pub(super) fn recall(file: &StoreFile, now: SystemTime) -> Option<ContentDigests> {
    let Form::Placed(placed) = &file.form else { return None };
    let stamp = file.stamp?;
    if stamp.length <= LARGE || placed.root.rule != Rule::Ours {
        return None;
    }
    let place = Place::of(&placed.root, placed.digest, &placed.name);
    let record = place.read()?;
    if !is_believed(&record, &placed.name, stamp, now) || !is_local(&file.file) {
        return None;
    }
    if record.digests.sha256() != placed.digest || place.count_a_run()? > BELIEVED_RUNS {
        return None;
    }
    mark_remembered(file);
    Some(record.digests)
}

/// Writes down what this run computed, if a later run may believe it. Failing to is no error.
pub(super) fn remember(installed: &Installed, digests: &ContentDigests, now: SystemTime) {
    let InstalledPlace::Store { stamp, root, name, .. } = &installed.place else { return };
    // What was itself remembered must not become young again without anybody reading the file.
    let worth = stamp.length > LARGE && root.rule == Rule::Ours && !installed.remembered;
    if !worth || digests.sha256() != installed.digest || digests.length() != stamp.length {
        return;
    }
    if is_racy(*stamp, now) || !is_local(&installed.file) {
        return;
    }
    let Some(record) = Record::new(name, *stamp, digests.clone(), now) else { return };
    let place = Place::of(root, installed.digest, name);
    let _best_effort = place.write(root, &record);
}

fn is_believed(record: &Record, name: &FileName, stamp: Stamp, now: SystemTime) -> bool {
    let Record { format, name: recorded, stamp: seen, boot, read, digests: _ } = record;
    let read = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(*read));
    // A clock that went back makes the difference negative, and the record worthless.
    let age = read.and_then(|read| now.duration_since(read).ok());
    *format == FORMAT
        && recorded == name.as_str()
        && *seen == stamp
        && boot_id().is_some_and(|current| current == *boot)
        && age.is_some_and(|age| age < BELIEVED_FOR)
}

fn is_racy(stamp: Stamp, now: SystemTime) -> bool {
    let (seconds, nanoseconds) = stamp.changed;
    let changed = u64::try_from(seconds).ok().zip(u32::try_from(nanoseconds).ok()).and_then(
        |(seconds, rest)| SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, rest)),
    );
    let age = changed.and_then(|changed| now.duration_since(changed).ok());
    age.is_none_or(|age| age < RACY)
}

/// Says whether the file system keeps the promises that a record relies on: stable numbers and
/// exact times. Network, overlay, and foreign file systems do not.
#[cfg(target_os = "linux")]
fn is_local(file: &File) -> bool {
    const EXT: u64 = 0xEF53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683E;
    const TMPFS: u64 = 0x0102_1994;
    const ZFS: u64 = 0x2FC1_2FC1;
    const F2FS: u64 = 0xF2F5_2010;
    const BCACHEFS: u64 = 0xCA45_1A4E;

    let Ok(system) = rustix::fs::fstatfs(file) else { return false };
    u64::try_from(system.f_type).is_ok_and(|magic| {
        [EXT, XFS, BTRFS, TMPFS, ZFS, F2FS, BCACHEFS].contains(&(magic & 0xFFFF_FFFF))
    })
}

#[cfg(not(target_os = "linux"))]
fn is_local(_file: &File) -> bool {
    false
}

/// Names this run of the kernel. A record of another one may describe a file that a power loss
/// has damaged since.
fn boot_id() -> Option<String> {
    let bytes = fsx::read_limited("/proc/sys/kernel/random/boot_id".as_ref(), 64).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

impl Record {
    fn new(
        name: &FileName,
        stamp: Stamp,
        digests: ContentDigests,
        now: SystemTime,
    ) -> Option<Self> {
        let read = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let (name, boot) = (name.as_str().to_owned(), boot_id()?);
        Some(Self { format: FORMAT, name, stamp, boot, read, digests })
    }
}

/// Where a record is: the record itself, and a file with one byte for each run that believed it,
/// because appending a byte needs no lock and cannot be torn.
#[derive(Debug)]
struct Place {
    record: PathBuf,
    runs: PathBuf,
}

impl Place {
    fn of(root: &Root, digest: Digest, name: &FileName) -> Self {
        let directory = root.top.path.join(REMEMBERED);
        let file = |ending: &str| directory.join(format!("{digest}-{}{ending}", name.as_str()));
        Self { record: file(RECORD_ENDING), runs: file(RUNS_ENDING) }
    }

    fn read(&self) -> Option<Record> {
        let mut file = fsx::open_nofollow(&self.record).ok()?;
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut file, RECORD_LIMIT);
        std::io::Read::read_to_end(&mut limited, &mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn count_a_run(&self) -> Option<u64> {
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).custom_flags(flags.bits().cast_signed());
        let mut file = options.open(&self.runs).ok()?;
        file.write_all(b".").ok()?;
        file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
    }

    fn write(&self, root: &Root, record: &Record) -> Option<()> {
        let bytes = serde_json::to_vec(record).ok()?;
        root.make_room(REMEMBERED).ok()?;
        // In this order: an old count with a new record is early, the reverse would be late.
        fsx::write_atomic(&self.record, &bytes, 0o600).ok()?;
        fsx::remove(&self.runs).ok()?;
        Some(())
    }
}

/// What the name of a record ends in.
pub(super) const RECORD_ENDING: &str = ".json";

/// What the name of a record's counter ends in.
pub(super) const RUNS_ENDING: &str = ".runs";
