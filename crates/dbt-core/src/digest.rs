//! SHA-256 digests: their one spelling, the three spellings of a checksum file, and a reader
//! that counts while it hashes.

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

/// The most bytes a `.sha256` file may have: a digest, a file name, and some room.
pub const CHECKSUM_FILE_LIMIT: u64 = 4 * 1024;

/// A SHA-256 digest. Shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of some bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Wraps 32 bytes that are already a digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a whole `.sha256` file.
    ///
    /// Three spellings exist in real repositories and are read: bare hexadecimal, the same with
    /// white space or a newline around it, and `sha256sum`'s `hash  file name`. Upper case counts.
    /// (Contract: wire formats, section 10.1.)
    pub fn from_checksum_file(contents: &[u8]) -> Result<Self, InvalidDigest> {
        let text = std::str::from_utf8(contents).map_err(|_error| InvalidDigest)?;
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let line = lines.next().ok_or(InvalidDigest)?;
        if lines.next().is_some() {
            return Err(InvalidDigest);
        }
        let first = line.split_whitespace().next().ok_or(InvalidDigest)?;
        first.trim_start_matches('\\').parse()
    }

    /// Reads everything from `content` and returns its digest and its length in bytes.
    pub fn of_reader(content: &mut dyn Read) -> io::Result<(Self, u64)> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0_u8; READ_SIZE];
        let mut length = 0_u64;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => return Ok((hasher.finish(), length)),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            hasher.update(buffer.get(..count).unwrap_or_default());
            length += count as u64;
        }
    }
}

/// Computes the digest of content that comes piece by piece.
#[derive(Debug, Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// How much is read at a time when hashing: large enough to make system calls irrelevant, small
/// enough to stay in the second-level cache.
pub const READ_SIZE: usize = 64 * 1024;

/// Some text is not a SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 checksum (64 hexadecimal digits)")]
pub struct InvalidDigest;

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(InvalidDigest);
        }
        let mut bytes = [0_u8; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else {
                return Err(InvalidDigest);
            };
            *byte = (hex_value(*high)? << 4) | hex_value(*low)?;
        }
        Ok(Self(bytes))
    }
}

fn hex_value(digit: u8) -> Result<u8, InvalidDigest> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(InvalidDigest),
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A server says several in each answer: made in one go, not as sixty-four numbers.
        let mut text = [0; 64];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(self.0) {
            *pair =
                [byte >> 4, byte & 15].map(|half| half + if half < 10 { b'0' } else { b'a' - 10 });
        }
        f.write_str(str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_three_spellings_of_a_checksum_file_are_read() {
        let upper = EMPTY.to_uppercase();
        for text in [
            EMPTY.to_owned(),
            format!("{EMPTY}\n"),
            format!("  {EMPTY}\r\n"),
            format!("{EMPTY}  dist/my tool\n"),
            format!("{EMPTY} *mytool\n"),
            upper,
        ] {
            assert_eq!(
                Digest::from_checksum_file(text.as_bytes()),
                Ok(Digest::of(b"")),
                "{text:?}"
            );
        }
    }

    #[test]
    fn anything_else_is_not_a_checksum() {
        for text in [
            String::new(),
            "\n\n".to_owned(),
            "<html>not found</html>".to_owned(),
            EMPTY[..63].to_owned(),
            format!("{EMPTY}0"),
            format!("{EMPTY}\n{EMPTY}\n"),
            "z".repeat(64),
        ] {
            assert_eq!(Digest::from_checksum_file(text.as_bytes()), Err(InvalidDigest), "{text:?}");
        }
        assert_eq!(Digest::from_checksum_file(&[0xff; 64]), Err(InvalidDigest));
    }

    #[test]
    fn a_reader_is_hashed_and_counted() {
        let bytes = vec![7_u8; 300_000];
        let (digest, length) = Digest::of_reader(&mut bytes.as_slice()).unwrap();
        assert_eq!((digest, length), (Digest::of(&bytes), 300_000));
    }

    proptest! {
        #[test]
        fn every_spelling_of_every_digest_is_read(
            bytes: [u8; 32],
            around in "[ \t]{0,3}",
            name in "[^\r\n]{0,20}",
            ending in "(\r?\n){0,2}",
        ) {
            let digest = Digest::from_bytes(bytes);
            let digits = digest.to_string();
            prop_assert_eq!(digits.parse(), Ok(digest));
            let upper = digits.to_uppercase();
            for text in [
                format!("{around}{digits}{around}{ending}"),
                format!("{upper}  {name}{ending}"),
                format!("\\{digits} *{name}{ending}"),
            ] {
                prop_assert_eq!(Digest::from_checksum_file(text.as_bytes()), Ok(digest), "{:?}", text);
            }
        }

        #[test]
        fn a_checksum_of_another_length_is_none(digits in "[0-9a-f]{0,130}") {
            let is_one = Digest::from_checksum_file(digits.as_bytes()).is_ok();
            prop_assert_eq!(is_one, digits.len() == 64);
        }
    }
}
