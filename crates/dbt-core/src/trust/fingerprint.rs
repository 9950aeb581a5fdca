//! The fingerprint of an `OpenPGP` certificate: its name in configuration, in metadata and in
//! messages.

use std::fmt;
use std::str::FromStr;

/// The fingerprint of a certificate's primary key (RFC 9580, section 5.5.4).
///
/// 20 bytes for version 4 keys, 32 bytes for version 6 keys. Shown as upper-case hexadecimal
/// digits without spaces; read in any case, with spaces between the digits and with or without
/// `0x`, because that is how people and programs write them down. A short or long key id is not a
/// fingerprint and is not read.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(Vec<u8>);

impl Fingerprint {
    /// Returns the 20 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Wraps the fingerprint that the library computed, if it is of a key version we accept.
    pub(super) fn of_key(key: &impl pgp::types::KeyDetails) -> Self {
        Self(key.fingerprint().as_bytes().to_vec())
    }
}

/// Some text is not the fingerprint of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the fingerprint of an OpenPGP key (40 or 64 hexadecimal digits)")]
pub struct InvalidFingerprint;

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let text = text.trim_matches(' ');
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
        let mut bytes = Vec::with_capacity(32);
        let mut high = None;
        for digit in digits.chars().filter(|character| *character != ' ') {
            let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
            let value = value.ok_or(InvalidFingerprint)?;
            match high.take() {
                None => high = Some(value),
                Some(first) => bytes.push((first << 4) | value),
            }
            if bytes.len() > 32 {
                return Err(InvalidFingerprint);
            }
        }
        match (bytes.len(), high) {
            (20 | 32, None) => Ok(Self(bytes)),
            _ => Err(InvalidFingerprint),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "D4A9C7F0113355779900AABBCCDDEEFF01234567";

    #[test]
    fn the_spellings_people_use_are_all_the_same_fingerprint() {
        let expected: Fingerprint = PLAIN.parse().unwrap();
        for text in [
            PLAIN.to_lowercase(),
            format!("0x{PLAIN}"),
            format!("  {PLAIN} "),
            "D4A9 C7F0 1133 5577 9900  AABB CCDD EEFF 0123 4567".to_owned(),
        ] {
            assert_eq!(text.parse(), Ok(expected.clone()), "{text:?}");
        }
        assert_eq!(expected.to_string(), PLAIN);
        assert_eq!(serde_json::to_string(&expected).unwrap(), format!("\"{PLAIN}\""));
    }

    #[test]
    fn a_fingerprint_of_a_version_6_key_has_64_digits() {
        let text = "AB".repeat(32);
        assert_eq!(text.parse::<Fingerprint>().unwrap().to_string(), text);
    }

    #[test]
    fn a_key_id_or_anything_else_is_not_a_fingerprint() {
        for text in [
            "",
            "0x",
            "CCDDEEFF01234567",
            "Alice <alice@example.org>",
            &PLAIN[..39],
            &format!("{PLAIN}0"),
            &format!("{PLAIN}00"),
            &"AB".repeat(33),
            &PLAIN.replace('D', "é"),
            &PLAIN.replace('D', "\u{ff24}"),
        ] {
            assert_eq!(text.parse::<Fingerprint>(), Err(InvalidFingerprint), "{text:?}");
        }
    }
}
