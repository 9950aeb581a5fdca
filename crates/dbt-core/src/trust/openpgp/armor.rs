//! ASCII armor (RFC 9580, section 6), read strictly.
//!
//! The reader gets exactly the lines between BEGIN and END. Finding those lines is the caller's
//! business, because a signature file and a truststore have different rules about what may stand
//! around a block.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most header lines (`Comment: ...`) one block may have.
const HEADER_LINES: usize = 16;

/// What is between BEGIN and END is not an armored body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::trust) enum BadArmor {
    #[error("the armor headers are malformed, or the empty line after them is missing")]
    Headers,
    #[error("the armored text is not base64")]
    Base64,
    #[error("the armor checksum does not match: the text is damaged")]
    Checksum,
}

/// A line with what editors and mail programs add at its end removed.
pub(in crate::trust) fn trim_end(line: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r');
    let kept = line.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last + 1);
    line.get(..kept).unwrap_or_default()
}

/// The type of block that a line begins (`-----BEGIN PGP SIGNATURE-----` begins `SIGNATURE`).
pub(in crate::trust) fn begins(line: &[u8]) -> Option<&[u8]> {
    trim_end(line).strip_prefix(b"-----BEGIN PGP ")?.strip_suffix(b"-----")
}

/// The type of block that a line ends.
pub(in crate::trust) fn ends(line: &[u8]) -> Option<&[u8]> {
    trim_end(line).strip_prefix(b"-----END PGP ")?.strip_suffix(b"-----")
}

/// Decodes the lines between BEGIN and END: headers, an empty line, base64, and a checksum if
/// there is one.
///
/// A checksum that is there and does not match is refused, as the reference does: RFC 9580 lets
/// us ignore it, but then a damaged file would be explained as a forged one.
pub(in crate::trust) fn decode<'a>(
    lines: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<u8>, BadArmor> {
    let mut lines = lines.into_iter().map(trim_end);
    let mut headers = 0;
    loop {
        match lines.next() {
            Some([]) => break,
            Some(line) if is_header(line) && headers < HEADER_LINES => headers += 1,
            Some(_) | None => return Err(BadArmor::Headers),
        }
    }
    let mut text = Vec::new();
    let mut checksum = None;
    for line in lines {
        if checksum.is_some() {
            if line.is_empty() {
                continue;
            }
            return Err(BadArmor::Base64);
        }
        match line.strip_prefix(b"=") {
            Some(digits) if digits.len() == 4 => checksum = Some(digits.to_vec()),
            _ => text.extend_from_slice(line),
        }
    }
    let bytes = STANDARD.decode(&text).map_err(|_error| BadArmor::Base64)?;
    match checksum {
        Some(digits) if STANDARD.decode(&digits).ok() != Some(crc24(&bytes).to_vec()) => {
            Err(BadArmor::Checksum)
        }
        _ => Ok(bytes),
    }
}

/// `Key: value`, printable.
fn is_header(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return false;
    };
    let (key, value) = line.split_at(colon);
    let key_is_legal =
        !key.is_empty() && key.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    key_is_legal && !value.iter().any(u8::is_ascii_control)
}

/// Armors `bytes` as a block of type `kind`, with lines of 64 characters and a checksum.
pub(in crate::trust) fn encode(kind: &str, bytes: &[u8]) -> String {
    let mut body = String::new();
    // 48 bytes are 64 characters.
    for line in bytes.chunks(48) {
        STANDARD.encode_string(line, &mut body);
        body.push('\n');
    }
    let checksum = STANDARD.encode(crc24(bytes));
    format!("-----BEGIN PGP {kind}-----\n\n{body}={checksum}\n-----END PGP {kind}-----\n")
}

/// CRC-24 (RFC 9580, section 6.1.1).
fn crc24(bytes: &[u8]) -> [u8; 3] {
    let mut crc = 0x00b7_04ce_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _bit in 0..8 {
            crc <<= 1;
            if crc & 0x0100_0000 != 0 {
                crc ^= 0x0186_4cfb;
            }
        }
    }
    let [_, high, middle, low] = crc.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Vec<u8>, BadArmor> {
        decode(text.split('\n').map(str::as_bytes))
    }

    #[test]
    fn headers_are_allowed_and_the_checksum_may_be_missing() {
        assert_eq!(body("\naGVsbG8=\n"), Ok(b"hello".to_vec()));
        assert_eq!(
            body("Version: GnuPG v2\r\nComment:\r\n\r\naGVs  \r\nbG8=\r\n"),
            Ok(b"hello".to_vec())
        );
    }

    #[test]
    fn what_is_armored_is_decoded_again() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = encode("SIGNATURE", &bytes);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.iter().all(|line| line.len() <= 64));
        assert_eq!(body(&lines[1..lines.len() - 1].join("\n")), Ok(bytes));
    }

    #[test]
    fn damaged_armor_is_refused() {
        assert_eq!(body("aGVsbG8="), Err(BadArmor::Headers));
        assert_eq!(body("no colon\n\naGVsbG8="), Err(BadArmor::Headers));
        assert_eq!(body("Comment: a\x1b[2J\n\naGVsbG8="), Err(BadArmor::Headers));
        assert_eq!(body(&format!("{}\naGVsbG8=", "A: b\n".repeat(17))), Err(BadArmor::Headers));
        assert_eq!(body("\naGVsbG8"), Err(BadArmor::Base64));
        assert_eq!(body("\naGV$bG8="), Err(BadArmor::Base64));
        assert_eq!(body("\naGVsbG8=\n=AAAA"), Err(BadArmor::Checksum));
        assert_eq!(body("\naGVsbG8=\n=AAAA\naGVs"), Err(BadArmor::Base64));
    }
}
