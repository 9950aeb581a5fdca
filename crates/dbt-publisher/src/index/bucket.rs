//! The pages of buckets that are served as sites of pages, behind a content delivery network.
//!
//! Direct readers of a bucket need none. So pages are written only where the root of a tree has one:
//! an empty one asks for all.

use std::collections::BTreeSet;

use dbt_core::listing::{Listing, page};
use dbt_core::repo_path::RepoPath;
use dbt_ui::report::Report;

use super::{PAGE_LIMIT, ROUNDS};
use crate::exchange::{Exchange, Spot};
use crate::stop::Stop;

/// Brings the pages up to date that name these files, if they are in a bucket that has pages: those
/// of their own directories first, and last the root's.
pub(crate) fn follow(spots: &[Spot], exchange: &Exchange) -> Result<(), Stop> {
    let Some(first) = spots.iter().find(|spot| spot.base.bucket().is_some()) else {
        return Ok(());
    };
    let root = Spot { base: first.base.clone(), path: RepoPath::root() };
    let Some(known) = exchange.get_page(&page_of(&root)?, PAGE_LIMIT)? else { return Ok(()) };
    if known.is_empty() {
        return fill(&root, exchange);
    }
    let mut above = BTreeSet::new();
    for spot in spots.iter().filter(|spot| spot.base == root.base) {
        let mut next = spot.path.parent();
        while let Some(directory) = next {
            next = directory.parent();
            above.insert((directory.segments().count(), directory));
        }
    }
    for (_depth, path) in above.into_iter().rev() {
        write_page(&Spot { base: root.base.clone(), path }, exchange)?;
    }
    Ok(())
}

/// Writes the pages of all directories below one, and its own last.
fn fill(directory: &Spot, exchange: &Exchange) -> Result<(), Stop> {
    let listing = exchange.list(directory)?.unwrap_or_default();
    for name in listing.directories() {
        let path = directory.path.join(name).map_err(Report::internal)?;
        fill(&Spot { base: directory.base.clone(), path }, exchange)?;
    }
    write_page(directory, exchange)
}

/// Writes a directory's page, unless it says already what it should. Of a directory that is gone the
/// page goes, too.
fn write_page(directory: &Spot, exchange: &Exchange) -> Result<(), Stop> {
    let page = page_of(directory)?;
    // As in a directory: whoever writes last has seen everything, or looks again.
    for _round in 0..ROUNDS {
        let Some(listing) = exchange.list(directory)? else {
            if exchange.get_page(&page, PAGE_LIMIT)?.is_some() {
                exchange.delete(&page)?;
            }
            return Ok(());
        };
        let wanted = Listing::to_page(&listing);
        if exchange.get_page(&page, PAGE_LIMIT)?.as_deref() == Some(wanted.as_bytes()) {
            return Ok(());
        }
        exchange.put_page(&page, &wanted)?;
    }
    Ok(())
}

fn page_of(directory: &Spot) -> Result<Spot, Stop> {
    let path = directory.path.join(page::FILE).map_err(Report::internal)?;
    Ok(Spot { base: directory.base.clone(), path })
}
