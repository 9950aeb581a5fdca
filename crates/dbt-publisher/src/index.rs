//! The pages that make a directory a repository on hosts that list nothing themselves: hosts of
//! static pages, content delivery networks, buckets.
//!
//! Every directory of the two trees gets an `index.html` in the form of the reference's listings,
//! written after what it names. So a version is on the page of its tool when all of it is there.

pub(crate) mod bucket;

use std::fs;
use std::path::{Path, PathBuf};

use dbt_client::fsx::{self, FsxError};
use dbt_core::listing::{Listing, page};
use dbt_ui::report::Report;

use crate::exchange::Spot;
use crate::stop::Stop;

/// How often a page is written again because its directory has changed meanwhile.
const ROUNDS: u32 = 16;

/// Everybody may read a page, as everything in a repository.
const MODE: u32 = 0o644;

/// Brings the pages up to date that name a file or directory, if it is in a directory: its own
/// directory's first, and last the root's.
pub(crate) fn follow(spot: &Spot) -> Result<(), Stop> {
    let Some(root) = spot.base.directory() else { return Ok(()) };
    let mut above = spot.path.parent();
    while let Some(directory) = above {
        let path = directory.segments().fold(root.to_owned(), |below, name| below.join(name));
        write_page(&path)?;
        above = directory.parent();
    }
    Ok(())
}

/// Writes the pages of a directory that nobody sees yet, and of all below it.
pub(crate) fn fill(directory: &Path) -> Result<(), Stop> {
    for entry in listing_of(directory)?.entries().iter().filter(|entry| entry.directory) {
        fill(&directory.join(&entry.name))?;
    }
    write_page(directory)
}

/// Writes a directory's page, unless it says already what it should.
fn write_page(directory: &Path) -> Result<(), Stop> {
    let page = directory.join(page::FILE);
    // Two who publish at once both list after they have written. Whoever writes the page last has
    // seen everything, or looks again.
    for _round in 0..ROUNDS {
        let wanted = listing_of(directory)?.to_page();
        let known = fsx::read_limited(&page, PAGE_LIMIT).ok();
        if known.as_deref() == Some(wanted.as_bytes()) {
            return Ok(());
        }
        fsx::write_atomic(&page, wanted.as_bytes(), MODE)?;
    }
    Ok(())
}

/// A page that does not say what is in its directory.
#[derive(Debug)]
pub(crate) struct Stale {
    /// The page.
    pub(crate) page: PathBuf,
    is_missing: bool,
}

impl Stale {
    /// Returns what is wrong with it.
    pub(crate) const fn words(&self) -> &'static str {
        if self.is_missing {
            "it is missing, and the directories around it have one"
        } else {
            "it does not name what is in its directory"
        }
    }
}

/// How many directories deep a repository is at most.
const DEPTH: usize = 8;

/// Returns the pages of a repository that do not say what is there. A repository without pages
/// needs none: its server lists.
pub(crate) fn stale(root: &Path) -> Result<Vec<Stale>, Stop> {
    let mut stale = Vec::new();
    if root.join(page::FILE).is_file() {
        compare(root, DEPTH, &mut stale)?;
    }
    Ok(stale)
}

fn compare(directory: &Path, depth: usize, stale: &mut Vec<Stale>) -> Result<(), Stop> {
    let listing = listing_of(directory)?;
    let page = directory.join(page::FILE);
    let known = fsx::read_limited(&page, PAGE_LIMIT).ok();
    if known.as_deref() != Some(listing.to_page().as_bytes()) {
        stale.push(Stale { page, is_missing: known.is_none() });
    }
    for entry in listing.entries().iter().filter(|entry| entry.directory && depth > 0) {
        let below = directory.join(&entry.name);
        // A link may lead back here.
        if !fs::symlink_metadata(&below).is_ok_and(|metadata| metadata.is_symlink()) {
            compare(&below, depth - 1, stale)?;
        }
    }
    Ok(())
}

/// The largest page that is compared before it is written.
const PAGE_LIMIT: u64 = dbt_core::listing::LISTING_LIMIT;

fn listing_of(directory: &Path) -> Result<Listing, Stop> {
    let failed = |error| FsxError::new("list", directory, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|name| is_shown(name)) else { continue };
        // What a link leads to decides; one that leads nowhere is no entry.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        names.push((name.to_owned(), metadata.is_dir()));
    }
    let listing = Listing::of_names(names.iter().map(|(name, is_dir)| (name.as_str(), *is_dir)));
    Ok(listing.map_err(Report::internal)?)
}

/// Hidden names are what is being written, and the host's own files.
fn is_shown(name: &str) -> bool {
    !name.starts_with('.') && name != page::FILE
}
