//! The bytes of an input, taken from the front; when there are none left, zeros.

/// What is left of an input.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    /// Takes a byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Takes a number that is less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        let number = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        number % end.max(1)
    }

    /// Takes one of these.
    pub fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// Says whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What ends one part of an input and begins the next.
const NEXT: &[u8] = b"\xff\xff";

/// Returns the parts of an input that stands for several things.
pub fn parts(data: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(NEXT.len()).position(|window| window == NEXT) {
        parts.push(&rest[..at]);
        rest = &rest[at + NEXT.len()..];
    }
    parts.push(rest);
    parts
}

/// Changes some bytes as an input says: a few operations, each at a place.
pub fn mutated(original: &[u8], mut input: Input<'_>) -> Vec<u8> {
    let mut bytes = original.to_vec();
    while !input.is_empty() && bytes.len() < 64 * 1024 {
        let operation = input.byte();
        let at = input.below(bytes.len() + 1);
        match operation % 6 {
            0 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= input.byte();
                }
            }
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = input.byte();
                }
            }
            2 => bytes.insert(at, input.byte()),
            3 => {
                let end = (at + usize::from(input.byte())).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let end = (at + usize::from(input.byte())).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.extend(again);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}
