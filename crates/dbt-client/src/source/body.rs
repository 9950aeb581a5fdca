//! The body of an answer: bounded in time, counted, and checked for pages where data is due.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::connector::failure_of_io;
use super::error::Failure;
use super::patience::Patience;
use super::turns::Turn;

/// Reads one body and watches it.
///
/// Only the time spent waiting for the server counts: a slow disk is not the server's stall.
pub(super) struct Body {
    reader: ureq::BodyReader<'static>,
    received: u64,
    expected: Option<u64>,
    stretch: Stretch,
    patience: Patience,
    /// Held until the body goes: the connection is in use as long.
    _turn: Turn,
}

/// What came since the rate was last looked at.
#[derive(Default)]
struct Stretch {
    waited: Duration,
    bytes: u64,
}

impl Body {
    pub(super) fn new(
        reader: ureq::BodyReader<'static>,
        expected: Option<u64>,
        patience: Patience,
        turn: Turn,
    ) -> Self {
        let stretch = Stretch::default();
        Self { reader, received: 0, expected, stretch, patience, _turn: turn }
    }

    /// Returns the length that the server announced.
    pub(super) const fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Reads everything, up to a limit.
    pub(super) fn read_all(&mut self, limit: u64) -> Result<Vec<u8>, Failure> {
        if self.expected.is_some_and(|expected| expected > limit) {
            return Err(Failure::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        self.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failure_of_io)?;
        if bytes.len() as u64 > limit {
            return Err(Failure::TooLarge { limit });
        }
        Ok(bytes)
    }

    fn watch(&mut self, waited: Duration, count: usize) -> Result<(), Failure> {
        let stretch = &mut self.stretch;
        stretch.waited += waited;
        stretch.bytes += count as u64;
        if stretch.waited < self.patience.stall {
            return Ok(());
        }
        if stretch.bytes < self.patience.least_bytes() {
            return Err(Failure::Stall { limit: self.patience.stall });
        }
        *stretch = Stretch::default();
        Ok(())
    }

    fn explained(&self, error: io::Error) -> Failure {
        match (failure_of_io(error), self.expected) {
            (Failure::Reset { .. }, Some(expected)) => {
                Failure::Truncated { received: self.received, expected }
            }
            // The library's limit for one read is set to our limit of a stall.
            (Failure::Stall { .. }, _) => Failure::Stall { limit: self.patience.stall },
            (failure, _) => failure,
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.patience.cancel.is_cancelled() {
            return Err(io::Error::other(Failure::Cancelled));
        }
        let began = Instant::now();
        let count = match self.reader.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(io::Error::other(self.explained(error))),
        };
        self.received += count as u64;
        if count > 0 {
            self.watch(began.elapsed(), count).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// How much of an artifact is looked at.
pub(super) const SNIFFED: usize = 512;

/// Says whether bytes are the beginning of a page for people.
pub(super) fn is_html(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    let begins = |mark: &str| {
        let start = bytes.get(..mark.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(mark.as_bytes()))
    };
    begins("<!doctype") || begins("<html") || begins("<head") || begins("<body")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_told_from_data() {
        for page in ["<!DOCTYPE html>", "\u{feff} \r\n<HTML lang=en>", "<head><title>", "<body>"] {
            assert!(is_html(page.as_bytes()), "{page}");
        }
        for data in
            ["", "-----BEGIN PGP", "\x7fELF", "#!/bin/sh\n", "{\"html\":1}", "<htm", "<?xml"]
        {
            assert!(!is_html(data.as_bytes()), "{data}");
        }
    }
}
