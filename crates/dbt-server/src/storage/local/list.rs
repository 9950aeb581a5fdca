//! What is in a directory, as far as it can be asked for.

use std::fs::{File, Metadata};
use std::io;
use std::time::{Duration, SystemTime};

use dbt_core::listing::page;
use dbt_core::repo_path::RepoPath;
use rustix::fs::{AtFlags, FileType};

use crate::action;
use crate::storage::{Detail, Directory, Entry, EntryKind};

/// Lists a directory; nothing for one with more entries than the limit.
pub(super) fn list(
    directory: &File,
    metadata: &Metadata,
    detail: Detail,
    limit: usize,
) -> io::Result<Option<Directory>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        // Names that no path can have cannot be asked for, so they are not shown either.
        let Ok(name) = entry.file_name().to_str() else { continue };
        let legal = RepoPath::root().join(name).is_ok();
        if !legal || !action::is_visible(name) || name == page::FILE {
            continue;
        }
        let needs_look = detail == Detail::All || entry.file_type() == FileType::Unknown;
        let looked = if needs_look {
            match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                // It went away meanwhile.
                Err(_gone) => continue,
            }
        } else {
            None
        };
        let file_type =
            looked.map_or_else(|| entry.file_type(), |stat| FileType::from_raw_mode(stat.st_mode));
        let kind = if file_type == FileType::RegularFile {
            EntryKind::File
        } else if file_type == FileType::Directory {
            EntryKind::Directory
        } else {
            continue;
        };
        let modified = looked.and_then(|stat| modified(stat.st_mtime, stat.st_mtime_nsec));
        let size = looked.filter(|_stat| kind == EntryKind::File);
        let size = size.and_then(|stat| u64::try_from(stat.st_size).ok());
        if entries.len() >= limit {
            return Ok(None);
        }
        entries.push(Entry { name: name.to_owned(), kind, size, modified });
    }
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(Some(Directory { modified: metadata.modified()?, entries }))
}

fn modified(seconds: i64, nanoseconds: impl TryInto<u32>) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanoseconds = nanoseconds.try_into().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
}
