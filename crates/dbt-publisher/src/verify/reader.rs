//! Reading the two trees as clients do, many requests at a time.

use std::io::{self, Read, Seek, SeekFrom};

use dbt_client::source::{Answer, Ask, FetchError, Opened, Patience, Source};
use dbt_core::layout::{Location, Tree};
use dbt_core::listing::Listing;
use dbt_ui::bar::Bar;

use crate::exchange::{Exchange, asked_again, present};
use crate::place::Place;
use crate::stop::Stop;

/// The two trees of a repository.
pub(crate) struct Reader {
    own: Box<dyn Source>,
    tools: Box<dyn Source>,
}

/// How long to wait for a small file.
pub(crate) fn patience() -> Patience {
    Patience::without_cached_copy(1.0)
}

impl Reader {
    pub(crate) fn of(place: &Place, exchange: &Exchange) -> Result<Self, Stop> {
        Ok(Self {
            own: exchange.reading(place.tree(Tree::Repository)?),
            tools: exchange.reading(place.tree(Tree::Tools)?),
        })
    }

    /// Returns the tree that a place is in.
    pub(crate) fn source(&self, at: &Location) -> &dyn Source {
        match at.tree {
            Tree::Repository => self.own.as_ref(),
            Tree::Tools => self.tools.as_ref(),
        }
    }

    /// Returns where something is, for people.
    pub(crate) fn shown(&self, at: &Location) -> String {
        self.source(at).place_of(&at.path)
    }

    /// Reads a small file, or nothing where there is none.
    pub(crate) fn document(
        &self,
        at: &Location,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, FetchError> {
        let ask = || Ask::document(limit, &patience());
        let answer = asked_again(|| self.source(at).get(&at.path, &ask()));
        Ok(present(answer)?.map(|answer| match answer {
            Answer::Document { bytes, etag: _ } => bytes,
            // Nothing was said about what we have, so there is nothing that could be unchanged.
            Answer::NotModified => Vec::new(),
        }))
    }

    /// Lists a directory, or nothing where there is none.
    pub(crate) fn list(&self, at: &Location) -> Result<Option<Listing>, FetchError> {
        present(asked_again(|| self.source(at).list(&at.path, &patience())))
    }

    /// Begins to read an artifact, or nothing where there is none.
    pub(crate) fn open(&self, at: &Location) -> Result<Option<Opened>, FetchError> {
        let patience = || Patience::for_artifact(1.0);
        present(asked_again(|| self.source(at).open(&at.path, 0, None, &patience())))
    }
}

/// How much of the beginning of an artifact is kept, for its header: macOS and Windows programs
/// have theirs in the first few pages.
const HEAD: usize = 64 * 1024;

/// An artifact on its way to the verifier, which reads it once. Nothing is kept of it but its
/// beginning: neither memory nor disk is filled by what a server sends.
pub(crate) struct Passing<'a> {
    reader: Box<dyn Read + Send>,
    head: Vec<u8>,
    length: u64,
    bar: &'a Bar,
}

impl<'a> Passing<'a> {
    pub(crate) fn new(opened: Opened, bar: &'a Bar) -> Self {
        Self { reader: opened.reader, head: Vec::new(), length: 0, bar }
    }

    /// Returns how many bytes have passed.
    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    /// Returns the beginning of what has passed.
    pub(crate) fn into_head(self) -> Vec<u8> {
        self.head
    }
}

impl Read for Passing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        let room = HEAD.saturating_sub(self.head.len()).min(count);
        self.head.extend_from_slice(bytes.get(..room).unwrap_or_default());
        self.length += count as u64;
        self.bar.advance(count as u64);
        Ok(count)
    }
}

impl Seek for Passing<'_> {
    /// The verifier goes to the beginning before it reads; nothing else can be asked for.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        if to == SeekFrom::Start(0) && self.length == 0 {
            return Ok(0);
        }
        Err(io::Error::new(io::ErrorKind::Unsupported, "what has passed cannot be read again"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_read_once_and_only_its_beginning_is_kept() {
        let content = vec![7_u8; HEAD * 3];
        let reader: Box<dyn Read + Send> = Box::new(io::Cursor::new(content));
        let bar = Bar::new(false);
        let mut passing = Passing::new(
            Opened { length: None, offset: 0, etag: None, is_draft: false, reader },
            &bar,
        );
        passing.rewind().unwrap();
        io::copy(&mut passing, &mut io::sink()).unwrap();
        assert_eq!(passing.length(), HEAD as u64 * 3);
        assert!(passing.rewind().is_err());
        assert_eq!(passing.into_head().len(), HEAD);
    }
}
