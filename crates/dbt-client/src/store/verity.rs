//! Files that the kernel keeps as they are (fs-verity), where the file system has that.
//!
//! It is enabled before a file gets its name, so that what has the name is never half kept, and
//! it is never needed: without it a file is read on every run.

use std::fs::File;

use dbt_core::digest::Digest;
use dbt_sys::files::{self, Facts};

use super::root::Stamp;

/// Below this, reading the file again costs no more than finding out that one need not.
const WORTH_KEEPING: u64 = 1024 * 1024;

/// Lets the kernel keep a new file as it is, if it can, and returns the file as it is then open,
/// and what it is then: enabling changes its times.
///
/// Where the file system cannot, finding that out is all that happens. Whoever else has the file
/// open for writing prevents it.
pub(super) fn kept_by_the_kernel(file: File, stamp: Stamp) -> (File, Stamp) {
    if stamp.length < WORTH_KEEPING || dbt_sys::verity::measure(&file).is_err() {
        return (file, stamp);
    }
    let Ok(reader) = files::reopen(&file) else { return (file, stamp) };
    // It is refused while anybody could write, and we are somebody.
    drop(file);
    let _best_effort = dbt_sys::verity::enable(&reader);
    let now = Facts::of(&reader).map(|facts| Stamp::of(&facts));
    let now = now.ok().filter(|now| now.is_same_file(&stamp) && now.length == stamp.length);
    // Another stamp than the file's is what others look for, and refuse.
    (reader, now.unwrap_or(stamp))
}

/// Returns what the kernel keeps the file as, if it does.
pub(super) fn kept_as(file: &File, stamp: Stamp) -> Option<Digest> {
    if stamp.length < WORTH_KEEPING {
        return None;
    }
    dbt_sys::verity::measure(file).ok().flatten().map(Digest::from_bytes)
}
