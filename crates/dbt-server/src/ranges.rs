//! Byte ranges: RFC 9110, section 14.

use crate::limits;

/// A part of a file. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The first byte.
    pub start: u64,
    /// How many.
    pub length: u64,
}

impl Part {
    /// Returns the value of `Content-Range`.
    pub fn content_range(&self, size: u64) -> String {
        format!("bytes {}-{}/{size}", self.start, self.start + self.length - 1)
    }
}

/// What a `Range` header asks of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ranges {
    /// Everything: there is no header, or one that does not bind us.
    Whole,
    /// These parts, in order, apart from each other.
    Parts(Vec<Part>),
    /// Only bytes that do not exist.
    Unsatisfiable,
}

impl Ranges {
    /// Reads the header. What cannot be understood is ignored, as the standard asks.
    pub fn of(header: &str, size: u64) -> Self {
        let Some((unit, set)) = header.split_once('=') else { return Self::Whole };
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Self::Whole;
        }
        let specs: Vec<&str> = set.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
        // An empty file has no bytes to ask for; clients that always ask are given all of it.
        if specs.is_empty() || specs.len() > limits::RANGES || size == 0 {
            return Self::Whole;
        }
        let mut parts = Vec::new();
        for spec in specs {
            match part(spec, size) {
                Ok(Some(part)) => parts.push(part),
                Ok(None) => {}
                Err(NotARange) => return Self::Whole,
            }
        }
        if parts.is_empty() { Self::Unsatisfiable } else { Self::Parts(coalesced(parts)) }
    }
}

struct NotARange;

fn part(spec: &str, size: u64) -> Result<Option<Part>, NotARange> {
    let number = |text: &str| -> Result<u64, NotARange> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotARange);
        }
        // More digits than fit mean a place behind every file.
        Ok(text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = spec.split_once('-').ok_or(NotARange)?;
    if first.is_empty() {
        let length = number(last)?.min(size);
        return Ok((length > 0).then(|| Part { start: size - length, length }));
    }
    let start = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    if last < start {
        return Err(NotARange);
    }
    let end = last.min(size - 1);
    Ok((start < size).then(|| Part { start, length: end - start + 1 }))
}

/// Sorts parts and joins those that touch, so that no byte is sent twice.
fn coalesced(mut parts: Vec<Part>) -> Vec<Part> {
    parts.sort_unstable();
    let mut joined: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match joined.last_mut() {
            Some(last) if part.start <= last.start + last.length => {
                let end = (last.start + last.length).max(part.start + part.length);
                last.length = end - last.start;
            }
            _ => joined.push(part),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(header: &str) -> Vec<(u64, u64)> {
        let Ranges::Parts(parts) = Ranges::of(header, 100) else { panic!("{header}") };
        parts.iter().map(|part| (part.start, part.length)).collect()
    }

    #[test]
    fn ranges_are_read_cut_to_the_file_and_joined() {
        assert_eq!(parts("bytes=0-0"), [(0, 1)]);
        assert_eq!(parts("bytes=10-"), [(10, 90)]);
        assert_eq!(parts("bytes=-5"), [(95, 5)]);
        assert_eq!(parts("bytes=-500"), [(0, 100)]);
        assert_eq!(parts("Bytes = 90-99999999999999999999999"), [(90, 10)]);
        assert_eq!(parts("bytes=50-59, 0-9,,200-300"), [(0, 10), (50, 10)]);
        assert_eq!(parts("bytes=0-9,10-19,5-7"), [(0, 20)]);
    }

    #[test]
    fn what_is_no_range_means_the_whole_file() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-1",
            "bytes=-",
            "bytes=1",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=0-1,x",
            "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16",
        ] {
            assert_eq!(Ranges::of(header, 100), Ranges::Whole, "{header}");
        }
        assert_eq!(Ranges::of("bytes=0-", 0), Ranges::Whole);
    }

    #[test]
    fn bytes_behind_the_end_are_refused() {
        for header in ["bytes=100-", "bytes=-0", "bytes=1000-2000,300-"] {
            assert_eq!(Ranges::of(header, 100), Ranges::Unsatisfiable, "{header}");
        }
    }

    proptest! {
        #[test]
        fn parts_lie_in_the_file_and_apart(header in "bytes=[0-9,-]{0,40}", size in 0_u64..300) {
            if let Ranges::Parts(parts) = Ranges::of(&header, size) {
                prop_assert!(!parts.is_empty() && parts.len() <= limits::RANGES);
                prop_assert!(parts.iter().all(|p| p.length > 0 && p.start + p.length <= size));
                prop_assert!(parts.windows(2).all(|w| w[0].start + w[0].length < w[1].start));
            }
        }
    }
}
