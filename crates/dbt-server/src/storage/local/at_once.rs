//! Files that are answered without waiting: no thread is woken for what is in memory anyway.

use std::fs::{File, Metadata};
use std::io;
use std::sync::Arc;

use dbt_core::repo_path::RepoPath;

use super::remembered::Identity;
use super::{Opened, Tree};

impl Tree {
    /// Opens a file of which everything is in memory that an answer needs. Nothing for any other,
    /// and for all that is no file: [`Tree::look`] says what there is.
    pub(super) fn look_at_once(&self, path: &RepoPath) -> Option<Opened> {
        if self.folds_case {
            return None;
        }
        let file = self.root.open_at_once(path)?;
        let metadata = file.metadata().ok().filter(Metadata::is_file)?;
        let identity = Identity::of(&metadata);
        let (digest, older) = self.remembered.recall_at_once(path, identity)?;
        let (length, modified) = (metadata.len(), metadata.modified().ok()?);
        let (file, digest) = (Arc::new(file), Some(digest));
        Some(Opened { file, identity, length, modified, digest, older })
    }
}

/// Reads what is in memory, from the first byte that is wanted on, and returns how much that was.
#[cfg(target_os = "linux")]
pub(super) fn read(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    use rustix::io::ReadWriteFlags;
    let buffers = &mut [io::IoSliceMut::new(buffer)];
    // A file system that cannot tell says so, and is read by a thread.
    rustix::io::preadv2(file, buffers, offset, ReadWriteFlags::NOWAIT).unwrap_or(0)
}

/// As on Linux, where no call of the system can do it.
#[cfg(not(target_os = "linux"))]
pub(super) fn read(_file: &File, _buffer: &mut [u8], _offset: u64) -> usize {
    0
}

#[cfg(test)]
mod tests {
    use super::super::{Detail, Local, Looked, Rules, VerifyUploads};
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    fn local(root: &std::path::Path) -> Local {
        let rules = Rules {
            with_quota: Vec::new(),
            state_dir: None,
            immutable: false,
            refuse_case_variants: false,
            verify: VerifyUploads::Never,
            keep_deleted: Duration::ZERO,
            listing_entries: 10,
        };
        Local::open_to_read(root, rules).unwrap()
    }

    fn path(text: &str) -> RepoPath {
        text.parse().unwrap()
    }

    /// Says whether this kernel opens at once what it has in memory, and this is one of the usual
    /// file systems of a machine's own.
    fn the_system_can(directory: &std::path::Path) -> bool {
        use rustix::fs::{Mode, OFlags, ResolveFlags};
        const USUAL: [u32; 4] = [0xEF53, 0x5846_5342, 0x0102_1994, 0x794C_7630];
        let directory = File::open(directory).unwrap();
        let opened = rustix::fs::openat2(
            &directory,
            "a/b",
            OFlags::RDONLY,
            Mode::empty(),
            ResolveFlags::CACHED | ResolveFlags::BENEATH,
        );
        let kind = u32::try_from(rustix::fs::fstatfs(&directory).unwrap().f_type).unwrap();
        opened.is_ok() && USUAL.contains(&kind)
    }

    #[test]
    fn a_file_is_answered_at_once_when_it_was_seen_before_and_is_the_same() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("a")).unwrap();
        let file = root.path().join("a/b");
        fs::write(&file, "one").unwrap();
        let Local(tree) = local(root.path());
        let place = path("a/b");
        assert!(tree.look_at_once(&place).is_none(), "its digest is not known yet");
        let seen = || match tree.look(&place, Detail::Names).unwrap() {
            Looked::File(opened) => opened,
            Looked::Directory(_) => panic!("it is a file"),
        };
        let first = seen();
        if !the_system_can(root.path()) {
            return assert!(tree.look_at_once(&place).is_none());
        }
        let again = tree.look_at_once(&place).expect("it is in memory now");
        assert_eq!((again.identity, again.digest), (first.identity, first.digest));
        assert_eq!((again.length, again.modified), (3, first.modified));

        fs::write(&file, "other").unwrap();
        assert!(tree.look_at_once(&place).is_none(), "it is another file now");
        assert_ne!(seen().digest, first.digest);
        assert_eq!(tree.look_at_once(&place).unwrap().length, 5);

        fs::remove_file(&file).unwrap();
        assert!(tree.look_at_once(&place).is_none());
    }

    #[test]
    fn links_and_directories_are_not_answered_at_once() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let root = tempfile::tempdir().unwrap();
        symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
        symlink(outside.path(), root.path().join("way")).unwrap();
        fs::create_dir(root.path().join("directory")).unwrap();
        let Local(tree) = local(root.path());
        for place in ["file", "way/secret", "directory", "missing"] {
            assert!(tree.root.open_at_once(&path(place)).is_none() || place == "directory");
            assert!(tree.look_at_once(&path(place)).is_none(), "{place}");
        }
    }

    #[test]
    fn what_is_in_memory_is_read_at_once() {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, b"0123456789").unwrap();
        let mut buffer = [0; 20];
        // Not every file system can tell what it has in memory.
        let asked = rustix::io::preadv2(
            &file,
            &mut [io::IoSliceMut::new(&mut [0; 8])],
            2,
            rustix::io::ReadWriteFlags::NOWAIT,
        );
        let count = read(&file, &mut buffer, 2);
        assert_eq!(count, if asked.is_ok() { 8 } else { 0 }, "{asked:?}");
        assert_eq!(&buffer[..count], &b"23456789"[..count]);
    }
}
