//! Who else could change what decides what runs here: one judgement for the configuration, for what
//! is remembered, and for stores.
//!
//! What belongs to root or to us is believed, unless everybody may write to it. A group may:
//! people share the administration of a machine so. In a directory where everybody may make files
//! but touch only their own (such as `/tmp`), what is ours stays ours. And a directory that root
//! has opened to everybody is a volume that was given to whoever runs here.
//!
//! A run looks at the few directories that are ours; `doctor` at the whole way to them
//! ([`of_way_to`]).

use std::fs::Metadata;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use dbt_sys::files;

/// Somebody else could change something. Completes "is not used: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// It belongs to another user.
    #[error("`{}` belongs to user {owner}, who could change it", path.display())]
    Owner {
        /// What.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        us: u32,
    },
    /// Everybody may write to it.
    #[error("other users can write to `{}` (mode {mode:04o})", path.display())]
    Mode {
        /// What.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl Distrust {
    /// Returns what it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Owner { path, .. } | Self::Mode { path, .. } => path,
        }
    }

    /// Returns what the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Owner { path, us, .. } => {
                format!("`sudo chown {us} '{}'`, after looking at what is there", path.display())
            }
            Self::Mode { path, .. } => {
                format!("`chmod o-w '{}'`, after looking at what is there", path.display())
            }
        }
    }
}

/// Judges a file or a directory by what the system says of it.
#[cfg(unix)]
pub fn of(path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    use std::os::unix::fs::MetadataExt as _;
    const WRITE_FOR_ALL: u32 = 0o002;
    const ONLY_ONES_OWN: u32 = 0o1000;

    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != 0 && owner != files::us() && !is_unmapped_root(owner) {
        return Err(Distrust::Owner { path: path.to_owned(), owner, us: files::us() });
    }
    let is_given = owner != files::us();
    let is_shared = metadata.is_dir() && (mode & ONLY_ONES_OWN != 0 || is_given);
    // Devices and pipes hold nothing that somebody could have left there.
    let holds_something = metadata.is_dir() || metadata.is_file();
    if mode & WRITE_FOR_ALL != 0 && holds_something && !is_shared {
        return Err(Distrust::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Judges nothing: on Windows the user's profile is kept for him by the system.
#[cfg(not(unix))]
pub fn of(_path: &Path, _metadata: &Metadata) -> Result<(), Distrust> {
    Ok(())
}

/// Judges a directory, links followed. What does not exist, or cannot be looked at, is nobody's.
pub fn of_directory(path: &Path) -> Result<(), Distrust> {
    std::fs::metadata(path).map_or(Ok(()), |metadata| of(path, &metadata))
}

/// Judges the directories of ours from `home` down to `directory`, `home` first: where nobody else
/// can go there, what is below is not looked at.
pub fn of_ours(home: &Path, directory: &Path) -> Result<(), Distrust> {
    let Ok(metadata) = std::fs::metadata(home) else { return Ok(()) };
    of(home, &metadata)?;
    if is_private(&metadata) {
        return Ok(());
    }
    let mut path = home.to_owned();
    for name in directory.strip_prefix(home).into_iter().flatten() {
        path.push(name);
        of_directory(&path)?;
    }
    Ok(())
}

/// Judges every directory on the way to a path: who can rename one of them can put another in its
/// place. What is above a directory of root's is the system's.
pub fn of_way_to(path: &Path) -> Result<(), Distrust> {
    // Links lead another way; where the end does not exist yet, its parents do.
    let real = path.ancestors().find_map(|it| it.canonicalize().ok());
    for directory in real.as_deref().unwrap_or(path).ancestors() {
        let Ok(metadata) = std::fs::metadata(directory) else { continue };
        of_step(directory, &metadata)?;
        if is_the_systems(&metadata) {
            break;
        }
    }
    Ok(())
}

/// Judges one directory of a way: also what root has opened is no way that nobody could change.
#[cfg(unix)]
fn of_step(directory: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    use std::os::unix::fs::MetadataExt as _;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o1002 == 0o0002 {
        return Err(Distrust::Mode { path: directory.to_owned(), mode });
    }
    of(directory, metadata)
}

#[cfg(not(unix))]
fn of_step(directory: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    of(directory, metadata)
}

#[cfg(unix)]
fn is_private(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.mode() & 0o777) | 0o700 == 0o700
}

#[cfg(not(unix))]
fn is_private(_metadata: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn is_the_systems(metadata: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    // For root everything of its own is that; so it looks at all.
    metadata.uid() == 0 && files::us() != 0
}

#[cfg(not(unix))]
fn is_the_systems(_metadata: &Metadata) -> bool {
    true
}

/// In a user namespace whose users are not all known outside, the owner of everything that is the
/// system's is a number that stands for nobody, and owns the root of the file system too.
#[cfg(unix)]
fn is_unmapped_root(owner: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    const NOBODY: u32 = 65534;
    owner == NOBODY && std::fs::metadata("/").is_ok_and(|root| root.uid() == NOBODY)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn with_mode(path: &Path, mode: u32) -> Result<(), Distrust> {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        of(path, &fs::metadata(path).unwrap())
    }

    #[test]
    fn what_everybody_may_write_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        for mode in [0o600, 0o644, 0o664, 0o500] {
            assert_eq!(with_mode(&file, mode), Ok(()), "{mode:o}");
            assert_eq!(with_mode(directory.path(), mode | 0o700), Ok(()), "{mode:o}");
        }
        assert!(with_mode(&file, 0o666).is_err() && with_mode(&file, 0o1666).is_err());
        assert_eq!(with_mode(directory.path(), 0o1777), Ok(()), "as `/tmp`");
        let words = with_mode(directory.path(), 0o777).unwrap_err();
        let shown = directory.path().display();
        assert_eq!(words.to_string(), format!("other users can write to `{shown}` (mode 0777)"));
        assert_eq!(words.hint(), format!("`chmod o-w '{shown}'`, after looking at what is there"));
    }

    #[test]
    fn every_directory_on_the_way_counts() {
        let top = tempfile::tempdir().unwrap();
        let (open, below) = (top.path().join("open"), top.path().join("open/a/b"));
        fs::create_dir_all(&below).unwrap();
        assert_eq!(of_way_to(&below), Ok(()));
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        assert_eq!(of_way_to(&below).unwrap_err().path(), open.canonicalize().unwrap());
        assert!(of_way_to(&below.join("missing")).is_err());
        let link = top.path().join("link");
        std::os::unix::fs::symlink(&below, &link).unwrap();
        assert!(of_way_to(&link).is_err(), "a link leads there, too");
    }

    #[test]
    fn below_what_nobody_else_can_enter_nothing_is_looked_at() {
        let top = tempfile::tempdir().unwrap();
        let (home, open) = (top.path().join("home"), top.path().join("home/a/b"));
        fs::create_dir_all(&open).unwrap();
        let home_mode = |mode| fs::set_permissions(&home, Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o777)).unwrap();
        home_mode(0o700);
        assert_eq!(of_ours(&home, &open), Ok(()));
        home_mode(0o755);
        assert_eq!(of_ours(&home, &open).unwrap_err().path(), open);
        assert_eq!(of_ours(&home, open.parent().unwrap()), Ok(()));
        home_mode(0o777);
        assert_eq!(of_ours(&home, &home).unwrap_err().path(), home);
    }
}
