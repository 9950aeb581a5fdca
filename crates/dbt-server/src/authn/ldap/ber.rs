//! As much of BER (X.690) as LDAP uses: elements with a tag of one byte and a definite length.

/// Tags that every protocol shares.
pub const BOOLEAN: u8 = 0x01;
/// A number.
pub const INTEGER: u8 = 0x02;
/// Bytes, most often text.
pub const OCTETS: u8 = 0x04;
/// A number that stands for something.
pub const ENUMERATED: u8 = 0x0a;
/// Elements one after another.
pub const SEQUENCE: u8 = 0x30;
/// Elements in any order.
pub const SET: u8 = 0x31;

/// The most bytes of a length that says how many bytes say the length.
pub const LENGTH_BYTES: usize = 4;

/// Writes an element.
pub fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short) if short < 0x80 => bytes.push(short),
        _ => {
            let length = content.len().to_be_bytes();
            let first = length.iter().position(|byte| *byte != 0).unwrap_or(length.len() - 1);
            let significant = length.get(first..).unwrap_or_default();
            // A length in memory has at most eight bytes.
            bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            bytes.extend(significant);
        }
    }
    bytes.extend(content);
    bytes
}

/// Writes an element of several parts.
pub fn parts(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    element(tag, &parts.concat())
}

/// Writes a number that is not negative.
pub fn number(tag: u8, value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    let mut content = bytes.get(first..).unwrap_or_default().to_vec();
    if content.first().is_some_and(|byte| *byte >= 0x80) {
        content.insert(0, 0);
    }
    element(tag, &content)
}

/// Writes a text.
pub fn text(tag: u8, text: &str) -> Vec<u8> {
    element(tag, text.as_bytes())
}

/// An element that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
}

impl<'a> Element<'a> {
    /// Reads an element, and returns what follows it.
    pub fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&tag, rest) = bytes.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > LENGTH_BYTES {
                return None;
            }
            let (length, rest) = rest.split_at_checked(count)?;
            (big_endian(length), rest)
        };
        let (content, rest) = rest.split_at_checked(length)?;
        Some((Self { tag, content }, rest))
    }

    /// Reads all elements inside this one.
    pub fn inside(self) -> Option<Vec<Self>> {
        let (mut elements, mut rest) = (Vec::new(), self.content);
        while !rest.is_empty() {
            let (element, after) = Self::first(rest)?;
            elements.push(element);
            rest = after;
        }
        Some(elements)
    }

    /// Returns it as text.
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.content).ok()
    }

    /// Returns it as a number that is not negative.
    pub fn number(self) -> Option<u32> {
        let is_negative = self.content.first().is_none_or(|byte| *byte >= 0x80);
        if is_negative || self.content.len() > 5 {
            return None;
        }
        u32::try_from(big_endian(self.content)).ok()
    }
}

/// Returns the number that some bytes are; no more than fit are given.
pub fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| (number << 8) | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0, 1, 127, 128, 255, 256, 65_535, 65_536] {
            let content = vec![7; length];
            let bytes = [element(OCTETS, &content), vec![1, 2]].concat();
            let (element, rest) = Element::first(&bytes).unwrap();
            assert_eq!((element.tag, element.content.len(), rest), (OCTETS, length, &[1, 2][..]));
        }
        for value in [0, 1, 127, 128, 255, 256, 65_536, u32::MAX] {
            let bytes = number(INTEGER, value);
            assert_eq!(Element::first(&bytes).unwrap().0.number(), Some(value));
        }
        assert_eq!(number(INTEGER, 128), [2, 2, 0, 128]);
        let both = parts(SEQUENCE, &[text(OCTETS, "a"), text(OCTETS, "b")]);
        let inside = Element::first(&both).unwrap().0.inside().unwrap();
        assert_eq!(inside.iter().map(|e| e.text().unwrap()).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn what_is_cut_or_endless_is_nothing() {
        for bytes in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80],
            &[4, 0x81],
            &[4, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[4, 0x85, 0, 0, 0, 0, 1, 7],
            &[4, 0xff],
        ] {
            assert_eq!(Element::first(bytes), None, "{bytes:?}");
        }
        assert_eq!(Element { tag: SEQUENCE, content: &[4, 2, 1] }.inside(), None);
        for content in [&[][..], &[0x80], &[0xff, 1], &[0, 0, 0, 0, 0, 1], &[1, 0, 0, 0, 0]] {
            assert_eq!(Element { tag: INTEGER, content }.number(), None, "{content:?}");
        }
    }
}
