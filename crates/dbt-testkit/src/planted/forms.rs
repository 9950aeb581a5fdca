//! What a secret looks like where somebody has encoded it, and finding it among other bytes.

use std::collections::HashMap;
use std::fmt::Write as _;

use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// By so many bytes at its beginning a form is looked up.
const START: usize = 4;

/// Secrets in all their forms.
pub(super) struct Forms {
    /// Whether a form begins so, by a hash of its beginning: a look at every byte has to be quick.
    begins: Vec<bool>,
    by_start: HashMap<[u8; START], Vec<(Vec<u8>, &'static str)>>,
}

impl Default for Forms {
    fn default() -> Self {
        Self { begins: vec![false; 1 << 16], by_start: HashMap::new() }
    }
}

/// Without what they are.
impl std::fmt::Debug for Forms {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Forms").finish_non_exhaustive()
    }
}

impl Forms {
    /// Adds a secret: as it is, with its spaces as in a form of a page, in hexadecimal digits, and in
    /// both alphabets of Base64 wherever in it the secret begins. What is escaped is found as it is.
    pub(super) fn add(&mut self, name: &'static str, secret: &str) {
        let mut all = vec![secret.as_bytes().to_vec(), secret.replace(' ', "+").into_bytes()];
        let mut hexadecimal = String::new();
        for byte in secret.bytes() {
            write!(hexadecimal, "{byte:02x}").unwrap();
        }
        all.push(hexadecimal.to_uppercase().into_bytes());
        all.push(hexadecimal.into_bytes());
        for before in 0..3 {
            all.push(in_base64(&STANDARD, secret, before));
            all.push(in_base64(&URL_SAFE, secret, before));
        }
        all.sort();
        all.dedup();
        for form in all {
            let start = *form.first_chunk().expect("a secret is longer");
            self.begins[hash(start)] = true;
            self.by_start.entry(start).or_default().push((form, name));
        }
    }

    /// Returns what of them is in some bytes, or that a signed token is: as it is, or where what
    /// is escaped in URLs, JSON or Rust stands for it.
    pub(super) fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        self.find_as_it_is(bytes).or_else(|| self.find_as_it_is(&unescaped(bytes)?))
    }

    fn find_as_it_is(&self, bytes: &[u8]) -> Option<&'static str> {
        // Indices, because without optimisation iterators are several times slower.
        let mut at = 0;
        while at + START <= bytes.len() {
            let start = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
            if self.begins[hash(start)]
                && let Some(forms) = self.by_start.get(&start)
                && let Some((_, name)) = forms.iter().find(|it| bytes[at..].starts_with(&it.0))
            {
                return Some(name);
            }
            // What every object of JSON with a first key begins with.
            if start.starts_with(b"eyJ") && begin_with_signed_token(&bytes[at..]) {
                return Some("a signed token");
            }
            at += 1;
        }
        None
    }
}

fn hash(start: [u8; START]) -> usize {
    (u32::from_le_bytes(start).wrapping_mul(0x9E37_79B1) >> 16) as usize
}

/// Returns the characters of a text's Base64 that are the same whatever stands around it, where the
/// text begins this many bytes after a group of three.
fn in_base64(alphabet: &impl base64::Engine, text: &str, before: usize) -> Vec<u8> {
    let encoded = alphabet.encode([&vec![0; before], text.as_bytes()].concat());
    let first = (before * 8).div_ceil(6);
    let last = (before + text.len()) * 8 / 6;
    encoded.as_bytes()[first..last].to_vec()
}

/// Says whether some bytes begin with a signed token: three parts in Base64, of which the first holds
/// JSON and the last is long enough for a signature.
fn begin_with_signed_token(bytes: &[u8]) -> bool {
    let part = |from: usize| {
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        bytes[from..].iter().take_while(|byte| is_base64(byte)).count()
    };
    let head = part(0);
    if bytes.get(head) != Some(&b'.') {
        return false;
    }
    let claims = part(head + 1);
    let signature = head + 1 + claims + 1;
    claims > 3 && bytes.get(signature - 1) == Some(&b'.') && part(signature) > 40
}

/// Returns what bytes stand for that have escapes of URLs, JSON or Rust in them; nothing where there
/// are none.
fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| matches!(byte, b'%' | b'\\'))?;
    let mut plain = bytes[..first].to_vec();
    let mut at = first;
    while at < bytes.len() {
        let length = match escape(&bytes[at..]) {
            Some((Escape::Byte(byte), length)) => {
                plain.push(byte);
                length
            }
            Some((Escape::Character(character), length)) => {
                plain.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
                length
            }
            None => {
                plain.push(bytes[at]);
                1
            }
        };
        at += length;
    }
    Some(plain)
}

/// What an escape stands for.
enum Escape {
    Byte(u8),
    Character(char),
}

/// Reads an escape, and returns how long it is.
fn escape(bytes: &[u8]) -> Option<(Escape, usize)> {
    let digits = |from: usize, to: usize| {
        let digits = std::str::from_utf8(bytes.get(from..to)?).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let byte = |from, to| Some((Escape::Byte(u8::try_from(digits(from, to)?).ok()?), to));
    let character = |from, to| Some(Escape::Character(char::from_u32(digits(from, to)?)?));
    match bytes {
        [b'%', ..] => byte(1, 3),
        [b'\\', b'x', ..] => byte(2, 4),
        [b'\\', b'u', b'{', ..] => {
            let end = bytes.iter().take(10).position(|byte| *byte == b'}')?;
            Some((character(3, end)?, end + 1))
        }
        [b'\\', b'u', ..] => Some((character(2, 6)?, 6)),
        [b'\\', b'n', ..] => Some((Escape::Byte(b'\n'), 2)),
        [b'\\', b't', ..] => Some((Escape::Byte(b'\t'), 2)),
        [b'\\', b'r', ..] => Some((Escape::Byte(b'\r'), 2)),
        [b'\\', itself, ..] => Some((Escape::Byte(*itself), 2)),
        _ => None,
    }
}
