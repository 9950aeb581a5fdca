//! Digests of large files, remembered between runs.
//!
//! Every run reads what it executes; above 64 MiB that is felt. Then the digests of an earlier run
//! stand in for reading the file, if everything the file system says of it is unchanged (trust
//! design, 2.10). Where the kernel keeps a file as it is (fs-verity), they do so for as long as the
//! kernel says that it is the same. What is remembered is what the bytes are, never that they were
//! accepted: signatures are judged on every run.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use dbt_core::digest::Digest;
use dbt_core::trust::openpgp::ContentDigests;
use dbt_sys::files;

use super::file::{Form, Installed, InstalledPlace, StoreFile, mark_remembered};
use super::install::LARGE;
use super::root::{FileName, Root, Rule, Stamp};
use super::verity;
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
    /// What the kernel kept the file as when it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_as: Option<Digest>,
}

/// Returns what an earlier run computed over the very same file, and counts this run.
pub(super) fn recall(file: &StoreFile, now: SystemTime) -> Option<ContentDigests> {
    let Form::Placed(placed) = &file.form else { return None };
    let stamp = file.stamp?;
    let kept_as = verity::kept_as(&file.file, stamp);
    if !is_worth(placed.root.rule, stamp, kept_as) {
        return None;
    }
    let place = Place::of(&placed.root, placed.digest, &placed.name);
    let record = place.read()?;
    if !record.is_of(&placed.name, stamp) || record.digests.sha256() != placed.digest {
        return None;
    }
    // The kernel has compared the bytes with what is measured, and goes on doing so while they are
    // executed: neither age nor a power loss makes them others.
    if kept_as.is_none() || record.kept_as != kept_as {
        let believed = stamp.length > LARGE && record.is_believed(stamp, now);
        if !believed || !is_local(&file.file) || place.count_a_run()? > BELIEVED_RUNS {
            return None;
        }
    }
    mark_remembered(file);
    Some(record.digests)
}

fn is_worth(rule: Rule, stamp: Stamp, kept_as: Option<Digest>) -> bool {
    rule != Rule::ReadOnly && (stamp.length > LARGE || kept_as.is_some())
}

/// Writes down what this run computed, if a later run may believe it. Failing to is no error.
pub(super) fn remember(installed: &Installed, digests: &ContentDigests, now: SystemTime) {
    let InstalledPlace::Store { stamp, root, name, .. } = &installed.place else { return };
    let kept_as = installed.kept_as;
    // What was itself remembered must not become young again without anybody reading the file.
    let worth = is_worth(root.rule, *stamp, kept_as) && !installed.remembered;
    if !worth || digests.sha256() != installed.digest || digests.length() != stamp.length {
        return;
    }
    // Nobody can write to what the kernel keeps, within the same tick or later.
    if kept_as.is_none() && (is_racy(*stamp, now) || !is_local(&installed.file)) {
        return;
    }
    let Some(record) = Record::new(name, *stamp, digests.clone(), kept_as, now) else { return };
    let place = Place::of(root, installed.digest, name);
    let _best_effort = place.write(root, &record);
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
        kept_as: Option<Digest>,
        now: SystemTime,
    ) -> Option<Self> {
        let read = now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        let (name, boot) = (name.as_str().to_owned(), boot_id()?);
        Some(Self { format: FORMAT, name, stamp, boot, read, digests, kept_as })
    }

    /// Says whether this is about a file of that name and length.
    fn is_of(&self, name: &FileName, stamp: Stamp) -> bool {
        self.format == FORMAT && self.name == name.as_str() && self.digests.length() == stamp.length
    }

    /// Says whether the file has been left alone since it was read, which was not long ago.
    fn is_believed(&self, stamp: Stamp, now: SystemTime) -> bool {
        let read = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.read));
        // A clock that went back makes the difference negative, and the record worthless.
        let age = read.and_then(|read| now.duration_since(read).ok());
        self.stamp == stamp
            && boot_id().is_some_and(|current| current == self.boot)
            && age.is_some_and(|age| age < BELIEVED_FOR)
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
        let mut file = files::append_without_links(&self.runs).ok()?;
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::super::{Store, install};
    use super::*;

    /// A store with one large file, nothing of which is really read: what is remembered of it
    /// was never computed.
    struct World {
        top: tempfile::TempDir,
        now: SystemTime,
    }

    const NAME: &str = "tool";

    impl World {
        /// Returns nothing where the file system of temporary files is not one that is believed.
        fn new(length: u64) -> Option<Self> {
            let top = tempfile::tempdir().unwrap();
            let mut world = Self { top, now: SystemTime::UNIX_EPOCH };
            let store = world.store();
            let mut file = store.staging().unwrap();
            file.file_mut().set_len(length).unwrap();
            file.read_exact(&mut [0; 1]).unwrap();
            let name = FileName::new(NAME).unwrap();
            let installed = install::keep(&store.inner, file, digest(), &name).unwrap();
            let changed = installed.file().metadata().unwrap().modified().unwrap();
            world.now = changed + Duration::from_mins(1);
            is_local(installed.file()).then_some(world)
        }

        fn store(&self) -> Store {
            Store::open(&crate::settings::Places {
                read_only_home: None,
                home: None,
                store: Some(self.top.path().join("store")),
                read_only_stores: Vec::new(),
                temporary: self.top.path().to_owned(),
                links: None,
            })
        }

        /// One run: says whether it could go on without reading the file, and what it leaves.
        fn run(&self, now: SystemTime) -> bool {
            let store = self.store();
            let file = store.find(digest(), NAME).unwrap();
            let remembered = store.remembered(&file, now);
            let name = FileName::new(NAME).unwrap();
            let length = file.length().unwrap();
            let installed = install::keep(&store.inner, file, digest(), &name).unwrap();
            let digests = remembered.clone().unwrap_or_else(|| digests(length));
            store.remember(&installed, &digests, now);
            remembered.is_some()
        }

        fn path(&self) -> PathBuf {
            self.store().find(digest(), NAME).unwrap().path().to_owned()
        }

        fn runs(&self) -> PathBuf {
            let name = format!("store/remembered/{}-{NAME}{RUNS_ENDING}", digest());
            self.top.path().join(name)
        }

        fn change_record(&self, change: impl FnOnce(&mut serde_json::Value)) {
            let path = self.runs().with_extension("json");
            let mut record = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            change(&mut record);
            std::fs::write(&path, record.to_string()).unwrap();
        }
    }

    fn digest() -> Digest {
        Digest::of(b"stands for the content")
    }

    fn digests(length: u64) -> ContentDigests {
        let (sha256, signatures) = (digest(), Digest::of(b"signatures"));
        let value = serde_json::json!({
            "sha256": sha256, "length": length, "signatures": signatures, "with_trailers": []
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_large_file_is_read_once_and_then_remembered() {
        let Some(world) = World::new(LARGE + 1) else { return };
        assert!(!world.run(world.now));
        assert!(world.run(world.now));
        assert!(world.run(world.now + Duration::from_hours(23)));
    }

    #[test]
    fn a_file_of_ordinary_size_is_read_on_every_run() {
        let Some(world) = World::new(LARGE) else { return };
        assert!(!world.run(world.now) && !world.run(world.now));
    }

    #[test]
    fn what_is_remembered_is_not_believed_for_ever() {
        let Some(world) = World::new(LARGE + 1) else { return };
        world.run(world.now);
        // Using what is remembered does not make it younger.
        assert!(world.run(world.now + Duration::from_hours(23)));
        assert!(!world.run(world.now + Duration::from_hours(24)));
        assert!(world.run(world.now + Duration::from_hours(25)));
        assert!(!world.run(world.now), "the clock went back");

        std::fs::write(world.runs(), vec![b'.'; 999]).unwrap();
        assert!(world.run(world.now));
        assert!(!world.run(world.now), "this would be run 1001");
        assert!(world.run(world.now));
    }

    // That a file is kept is tested where a kernel does it: `make test-static`.
    #[test]
    fn a_record_cannot_say_that_the_kernel_keeps_a_file_that_it_does_not_keep() {
        let Some(world) = World::new(LARGE + 1) else { return };
        world.run(world.now);
        world.change_record(|record| record["kept_as"] = digest().to_string().into());
        assert!(!world.run(world.now + Duration::from_hours(24)));
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_remembered() {
        let Some(world) = World::new(LARGE + 1) else { return };
        let just_now = world.now - Duration::from_mins(1) + Duration::from_secs(1);
        assert!(!world.run(just_now) && !world.run(world.now));
        assert!(world.run(world.now));
    }

    #[test]
    fn any_change_of_the_file_or_of_the_machine_makes_it_read_again() {
        let Some(world) = World::new(LARGE + 1) else { return };
        world.run(world.now);
        let change: [&dyn Fn(); 5] = [
            &|| File::open(world.path()).unwrap().set_modified(world.now).unwrap(),
            &|| world.change_record(|record| record["boot"] = "another".into()),
            &|| world.change_record(|record| record["format"] = 2.into()),
            &|| world.change_record(|record| record["name"] = "other".into()),
            &|| std::fs::write(world.runs().with_extension("json"), b"{").unwrap(),
        ];
        for (index, change) in change.iter().enumerate() {
            assert!(world.run(world.now), "before change {index}");
            change();
            let later = world.now + Duration::from_mins(1);
            assert!(!world.run(later), "after change {index}");
            world.run(later);
            // The changed file is what it is from now on.
            world.change_record(|record| record["read"] = 0.into());
            world.run(world.now + Duration::from_mins(2));
            let later = world.now + Duration::from_mins(2);
            assert!(world.run(later), "again after change {index}");
            world.change_record(|record| {
                let now = world.now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
                record["read"] = now.as_secs().into();
            });
        }
    }
}
