//! File operations that name their path when they fail.
//!
//! "No such file or directory" alone helps nobody: every error made here says what was being done
//! to which file, with the system's reason as its source. The lock is here too, because the same
//! care applies: where locks do not work (many network file systems), it says so and nobody stops.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

#[cfg(unix)]
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};

use dbt_sys::files::{self, Facts};

/// What could not be done to which file.
#[derive(Debug)]
pub struct FsxError {
    doing: &'static str,
    path: PathBuf,
    target: Option<PathBuf>,
    source: io::Error,
}

impl FsxError {
    /// Says that `doing` ("read", "lock") could not be done to `path`.
    pub fn new(
        doing: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self { doing, path: path.into(), target: None, source: source.into() }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the kind of the system's reason.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns the system's reason, for an error that names the file itself.
    pub(crate) fn into_cause(self) -> io::Error {
        self.source
    }

    /// Says whether the file does not exist.
    pub fn is_missing(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }
}

impl fmt::Display for FsxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {} `{}`", self.doing, self.path.display())?;
        match &self.target {
            Some(target) => write!(f, " to `{}`", target.display()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FsxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<FsxError> for io::Error {
    /// Keeps the kind, and the whole error as the text.
    fn from(error: FsxError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Gives what was there a new name, replacing what has that name.
#[expect(clippy::disallowed_methods, reason = "the one place that renames, and names both paths")]
pub fn rename(from: &Path, to: &Path) -> Result<(), FsxError> {
    fs::rename(from, to).map_err(|source| FsxError {
        doing: "rename",
        path: from.to_owned(),
        target: Some(to.to_owned()),
        source,
    })
}

/// Creates a directory and what is missing above it. Those that are made get `mode`; those that
/// exist are left as they are.
pub fn create_dir_all(path: &Path, mode: u32) -> Result<(), FsxError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(mode);
    #[cfg(not(unix))]
    let _unused = mode;
    builder.create(path).map_err(|source| FsxError::new("create the directory", path, source))
}

/// Reads a file of at most `limit` bytes. Anything but a regular file is refused without waiting
/// for it: a FIFO in the place of a configuration must not stop us. Symbolic links are followed.
pub fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, FsxError> {
    read_with_metadata(path, limit).map(|(bytes, _metadata)| bytes)
}

/// Reads a file, as [`read_limited`] does, and what the system says of that very file.
pub(crate) fn read_with_metadata(
    path: &Path,
    limit: u64,
) -> Result<(Vec<u8>, fs::Metadata), FsxError> {
    let failed = |source| FsxError::new("read", path, source);
    let file = open_without_waiting(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    Ok((read_opened(file, limit).map_err(failed)?, metadata))
}

/// Reads a whole file of ours, as [`read_limited`] does; a symbolic link in its place is refused.
pub fn read_own(path: &Path, limit: u64) -> Result<Vec<u8>, FsxError> {
    let failed = |source| FsxError::new("read", path, source);
    read_opened(open_without_links(path)?, limit).map_err(failed)
}

fn read_opened(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    read_all(file, &metadata, limit)?.ok_or_else(|| {
        let words = format!("it is larger than {limit} bytes");
        io::Error::new(io::ErrorKind::FileTooLarge, words)
    })
}

/// Reads all that is in an open file, or nothing if that is more than `limit` bytes.
///
/// A file is as long as the system says, so that its end need not be looked for. Only what has no
/// length, a pipe or what the kernel writes while it is read, is read until nothing comes.
pub(crate) fn read_all(
    file: File,
    metadata: &fs::Metadata,
    limit: u64,
) -> io::Result<Option<Vec<u8>>> {
    let length = if metadata.is_file() { metadata.len() } else { 0 };
    if length > limit {
        return Ok(None);
    }
    // Where there is no length, the room is for what is usual.
    let room = if length == 0 { 4096 } else { length };
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    let most = if length == 0 { limit.saturating_add(1) } else { length };
    file.take(most).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

/// Opens whatever is there, without waiting for it, unless it is a symbolic link.
fn open_without_links(path: &Path) -> Result<File, FsxError> {
    files::open_without_links(path).map_err(|source| FsxError::new("open", path, source))
}

/// Opens whatever is there, links followed, without waiting for it.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    options.custom_flags(nonblocking());
    options.open(path)
}

/// Opens a regular file for reading; a symbolic link, a FIFO or anything else is refused.
pub fn open_nofollow(path: &Path) -> Result<File, FsxError> {
    let failed = |source| FsxError::new("open", path, source);
    let file = open_without_links(path)?;
    if !file.metadata().map_err(failed)?.is_file() {
        let words = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
        return Err(failed(words));
    }
    Ok(file)
}

/// Takes the rights of everybody else from a file. Returns whether there were any; a file that is not
/// there has none. What a link leads to is left alone: it may be there for others.
#[cfg(unix)]
pub fn hide_from_others(path: &Path) -> Result<bool, FsxError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |source| FsxError::new("restrict", path, source);
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_link) => return Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    }
    let file = open_nofollow(path)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    let own = mode & 0o700;
    if own == mode & 0o777 {
        return Ok(false);
    }
    give_mode(&file, own).map_err(failed)?;
    Ok(true)
}

/// The same where what lies in a person's profile is that person's alone.
#[cfg(not(unix))]
pub fn hide_from_others(_path: &Path) -> Result<bool, FsxError> {
    Ok(false)
}

/// Writes a whole file so that at any moment, power loss included, either the old content or the
/// new one is there. The file gets exactly `mode`.
///
/// A symbolic link at `path` is replaced, not followed: whoever rewrites a file that people link
/// elsewhere resolves the link first.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FsxError> {
    write_staged(path, bytes, mode, "")
}

/// Does so for whoever holds a lock on the file: under it, [`staged`] lists what killed writers of this
/// label have left behind.
pub(crate) fn write_atomic_labelled(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    label: &str,
) -> Result<(), FsxError> {
    write_staged(path, bytes, mode, &format!("{label}-"))
}

fn write_staged(path: &Path, bytes: &[u8], mode: u32, label: &str) -> Result<(), FsxError> {
    let failed = |source| FsxError::new("write", path, source);
    let directory = directory_of(path);
    let (staged, mut file) = Staged::create(directory, label).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    give_mode(&file, mode).map_err(failed)?;
    synced(file.sync_all()).map_err(failed)?;
    drop(file);
    staged.keep_as(path).map_err(failed)?;
    sync_dir(directory)
}

/// Gives a file its mode. What has it already is not asked for it: some file systems of other
/// machines refuse every change.
fn give_mode(file: &File, mode: u32) -> io::Result<()> {
    if Facts::of(file)?.mode & 0o7777 == mode {
        return Ok(());
    }
    files::set_mode(file, mode)
}

/// Takes a file system that cannot be told to write to its disk for one that does it by itself,
/// as some of other machines do.
pub(crate) fn synced(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        outcome => outcome,
    }
}

/// A file with a random name, removed unless it gets another one.
struct Staged {
    path: Option<PathBuf>,
}

impl Staged {
    fn create(directory: &Path, label: &str) -> io::Result<(Self, File)> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        loop {
            let mut random = [0_u8; 8];
            getrandom::fill(&mut random).map_err(io::Error::other)?;
            let random = u64::from_ne_bytes(random);
            let path = directory.join(format!("{STAGED}{label}{random:016x}"));
            match options.open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(file) => return Ok((Self { path: Some(path) }, file)),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the caller names the path that a person knows")]
    fn keep_as(mut self, path: &Path) -> io::Result<()> {
        if let Some(staged) = &self.path {
            fs::rename(staged, path)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _best_effort = fs::remove_file(path);
        }
    }
}

/// What the name of a file begins with that is about to replace another.
pub const STAGED: &str = ".new-";

/// After this, what cannot be asked for its owner is taken for left behind.
const ABANDONED: Duration = Duration::from_hours(24);

/// Lists the files in a directory, and in those below it, that were to replace others and that
/// whoever wrote them has left behind.
pub fn left_behind(directory: &Path, now: SystemTime) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            let is_staged = name.to_str().is_some_and(|name| label_of(name).is_some());
            if is_staged && is_old(&entry.path(), now) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Lists the files in a directory that were to replace others under this label.
pub(crate) fn staged(directory: &Path, label: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let its = entries.filter(|entry| entry.file_name().to_str().and_then(label_of) == Some(label));
    its.map(|entry| entry.path()).collect()
}

/// Returns the label, perhaps none, in a name that [`write_atomic`] has given a file.
fn label_of(name: &str) -> Option<&str> {
    let rest = name.strip_prefix(STAGED)?;
    let (label, digits) = rest.rsplit_once('-').unwrap_or(("", rest));
    let is_random =
        digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_random && label.bytes().all(|byte| byte.is_ascii_lowercase())).then_some(label)
}

/// Says whether nobody has changed a file for so long that its writer is gone.
pub(crate) fn is_old(path: &Path, now: SystemTime) -> bool {
    is_older(path, ABANDONED, now)
}

/// Says whether nobody has changed a file for longer than `limit`.
pub(crate) fn is_older(path: &Path, limit: Duration, now: SystemTime) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
    age.is_some_and(|age| age > limit)
}

/// Makes the names in a directory survive a power loss, where the file system can.
pub fn sync_dir(path: &Path) -> Result<(), FsxError> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let outcome = File::open(path).and_then(|directory| directory.sync_all());
    synced(outcome).map_err(|source| FsxError::new("write to disk", path, source))
}

/// Removes a file's name. Says whether there was one.
pub fn remove(path: &Path) -> Result<bool, FsxError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FsxError::new("remove", path, source)),
    }
}

/// How waiting for a lock ended. Dropping it lets the next one in; so does the end of the
/// process, however it ends.
#[derive(Debug)]
#[must_use = "the lock is given back when this is dropped"]
pub struct Lock {
    held: Option<File>,
    waited: bool,
}

impl Lock {
    /// Says whether we hold the lock. If not, locks do not work here or patience has ended, and
    /// what follows must be right without one.
    pub const fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Says whether somebody else held the lock in between, so that what one wanted to do may
    /// have been done.
    pub const fn has_waited(&self) -> bool {
        self.waited
    }
}

/// Locks a file that exists for nothing else; it is created with mode 0600, and may be removed
/// by others while nobody holds it.
///
/// Waits no longer than `patience` for whoever holds it. Only opening the file can fail.
pub fn lock_file(path: &Path, patience: Duration) -> Result<Lock, FsxError> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut waited = false;
    loop {
        let file = open_lock(path)?;
        match file.try_lock() {
            Ok(()) if is_still_named(&file, path) => return Ok(Lock { held: Some(file), waited }),
            // Somebody swept the file away between opening and locking: whoever comes next would
            // lock another one.
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) => waited = true,
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(_no_locks_here)) => return Ok(Lock { held: None, waited }),
        }
        let left = patience.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(Lock { held: None, waited });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Removes a lock that nobody holds, while we hold it: who has opened it in between finds that it
/// has no name any more, and locks the next one.
pub(crate) fn remove_free_lock(path: &Path, now: SystemTime) {
    let Ok(file) = open_nofollow(path) else { return };
    let is_free = match file.try_lock() {
        Ok(()) => true,
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_no_locks_here)) => is_old(path, now),
    };
    if is_free {
        let _best_effort = remove(path);
    }
}

/// How long a lock may be free before somebody who waits for it notices.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

fn open_lock(path: &Path) -> Result<File, FsxError> {
    files::open_lock(path).map_err(|source| FsxError::new("lock", path, source))
}

fn is_still_named(file: &File, path: &Path) -> bool {
    let (named, locked) = (Facts::of_name(path), Facts::of(file));
    matches!((named, locked), (Ok(named), Ok(locked)) if named.is_same_file(&locked))
}

/// Returns the directory that a path's last name is in.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn nonblocking() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::error::Error as _;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn fifo(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
        assert!(made.success());
    }

    #[test]
    fn an_error_names_what_was_done_to_which_file_and_why() {
        let missing = Path::new("/dev/null/file");
        let error = read_limited(missing, 1).unwrap_err();
        assert_eq!(error.to_string(), "failed to read `/dev/null/file`");
        assert_eq!(error.source().unwrap().to_string(), "Not a directory (os error 20)");
        assert!(!error.is_missing());

        let error = rename(missing, Path::new("/dev/null/other")).unwrap_err();
        let words = "failed to rename `/dev/null/file` to `/dev/null/other`";
        assert_eq!(error.to_string(), words);
        assert_eq!(io::Error::from(error).to_string(), words);

        let error = write_atomic(missing, b"", 0o600).unwrap_err();
        assert_eq!(error.to_string(), "failed to write `/dev/null/file`");
        assert_eq!(error.source().unwrap().to_string(), "Not a directory (os error 20)");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_has_no_length_is_read_to_its_end() {
        // The kernel writes it while it is read, in more than one piece.
        let whole = fs::read("/proc/self/mountinfo").unwrap();
        assert_eq!(fs::metadata("/proc/self/mountinfo").unwrap().len(), 0);
        assert_eq!(read_limited(Path::new("/proc/self/mountinfo"), 1 << 20).unwrap(), whole);
        let refused = read_limited(Path::new("/proc/self/mountinfo"), 10).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("empty");
        fs::write(&path, b"").unwrap();
        assert_eq!(read_limited(&path, 0).unwrap(), b"");
    }

    #[test]
    fn a_file_that_is_too_large_or_no_file_is_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(read_limited(&path, 5).unwrap(), b"12345");
        assert_eq!(read_limited(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_limited(place.path(), 4).is_err());

        let pipe = place.path().join("pipe");
        fifo(&pipe);
        assert!(read_limited(&pipe, 4).is_err());
        assert!(open_nofollow(&pipe).is_err());
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read_limited(&link, 5).unwrap(), b"12345");
        assert!(open_nofollow(&link).is_err());
        assert!(open_nofollow(&path).is_ok());
    }

    #[test]
    fn writing_replaces_the_whole_file_and_leaves_nothing_beside_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        write_atomic(&path, b"old", 0o600).unwrap();
        let mut reader = File::open(&path).unwrap();
        write_atomic(&path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o644);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "old", "whoever had it open keeps what he had");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);

        fs::create_dir(place.path().join("directory")).unwrap();
        assert!(write_atomic(&place.path().join("directory"), b"", 0o600).is_err());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_killed_writers_left_is_found_after_a_day_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let below = place.path().join("below");
        fs::create_dir(&below).unwrap();
        let labelled = place.path().join(".new-tokens-0123456789abcdef");
        let ours = [
            place.path().join(".new-0123456789abcdef"),
            labelled.clone(),
            below.join(".new-0000000000000000"),
        ];
        let theirs = [".new-mine", ".new-0123456789ABCDEF", ".new-Our-0123456789abcdef", "file"];
        let theirs = theirs.map(|it| place.path().join(it));
        for path in ours.iter().chain(&theirs) {
            fs::write(path, b"").unwrap();
        }
        let now = fs::metadata(&ours[1]).unwrap().modified().unwrap();
        let hours = |hours| now + Duration::from_hours(hours);
        assert_eq!(left_behind(place.path(), hours(23)), [""; 0].map(PathBuf::from));
        let found: BTreeSet<PathBuf> = left_behind(place.path(), hours(25)).into_iter().collect();
        assert_eq!(found, ours.into());
        // Whoever holds the lock need not wait.
        assert_eq!(staged(place.path(), "tokens"), [labelled]);
    }

    #[test]
    fn removing_what_is_not_there_is_no_error() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        assert!(!remove(&path).unwrap());
        fs::write(&path, b"").unwrap();
        assert!(remove(&path).unwrap());
    }

    #[test]
    fn a_lock_is_held_by_one_at_a_time_and_patience_ends() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let first = lock_file(&path, Duration::ZERO).unwrap();
        assert!(first.is_held() && !first.has_waited());
        assert_eq!(mode(&path), 0o600);
        let second = lock_file(&path, Duration::from_millis(5)).unwrap();
        assert!(!second.is_held() && second.has_waited());
        drop(first);
        assert!(lock_file(&path, Duration::ZERO).unwrap().is_held());
    }

    #[test]
    fn a_lock_whose_file_was_swept_away_is_taken_on_the_new_one() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("lock");
        let first = lock_file(&path, Duration::ZERO).unwrap();
        remove(&path).unwrap();
        let second = lock_file(&path, Duration::ZERO).unwrap();
        assert!(first.is_held() && second.is_held());
        assert!(!lock_file(&path, Duration::ZERO).unwrap().is_held());
    }

    #[test]
    fn directories_are_created_with_the_given_mode_and_existing_ones_kept() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let inner = place.path().join("a/b");
        create_dir_all(&inner, 0o700).unwrap();
        create_dir_all(&inner, 0o711).unwrap();
        assert_eq!((mode(place.path()), mode(&inner)), (0o755, 0o700));
    }
}
