//! Programs of Windows: a checksum over the whole file, where the linker has made one.
//!
//! Source: Microsoft's "PE Format", the optional header.

use std::ops::Range;

use super::room::{BakeError, Room};

/// Where the file says where its header is.
const HEADER_PLACE: usize = 0x3c;
/// What comes before the optional header, from the mark on.
const BEFORE_OPTIONAL: usize = 24;
/// `PE32+`.
const PE32_PLUS: u16 = 0x20b;
/// Where the checksum is, in the optional header.
const CHECKSUM: usize = 64;
/// Where the certificate table is named, in the optional header of `PE32+`.
const CERTIFICATES: usize = 144;

/// Changes a program, and makes its checksum anew if it has one.
pub(super) fn change(
    program: &mut [u8],
    fill: impl FnOnce(&mut Room<'_>) -> Result<Range<usize>, BakeError>,
) -> Result<(), BakeError> {
    let optional = optional_header(program)?;
    if word(program, optional + CERTIFICATES + 4)? != 0 {
        return Err(BakeError::Signed);
    }
    let place = optional + CHECKSUM;
    let had_one = word(program, place)? != 0;
    fill(&mut Room::new(program))?;
    if had_one {
        let sum = checksum(program, place).to_le_bytes();
        if let Some(field) = program.get_mut(place..place + 4) {
            field.copy_from_slice(&sum);
        }
    }
    Ok(())
}

fn optional_header(program: &[u8]) -> Result<usize, BakeError> {
    let none = || BakeError::Damaged("it is no 64-bit program of Windows");
    let header = usize::try_from(word(program, HEADER_PLACE)?).map_err(|_error| none())?;
    let optional = header.checked_add(BEFORE_OPTIONAL).ok_or_else(none)?;
    let mark = program.get(header..).is_some_and(|rest| rest.starts_with(b"PE\0\0"));
    let kind = program.get(optional..optional.saturating_add(2));
    if !mark || kind != Some(PE32_PLUS.to_le_bytes().as_slice()) {
        return Err(none());
    }
    Ok(optional)
}

fn word(program: &[u8], at: usize) -> Result<u32, BakeError> {
    let bytes = at.checked_add(4).and_then(|end| program.get(at..end)?.try_into().ok());
    Ok(u32::from_le_bytes(bytes.ok_or(BakeError::Damaged("its header is cut off"))?))
}

/// Adds up the file in words of two bytes, with the carry, but for the checksum itself; and its length.
fn checksum(program: &[u8], place: usize) -> u32 {
    let mut sum = 0_u32;
    for (index, pair) in program.chunks(2).enumerate() {
        if (place..place + 4).contains(&(2 * index)) {
            continue;
        }
        let [low, high] = [pair.first(), pair.get(1)].map(|byte| byte.copied().unwrap_or(0));
        sum += u32::from(u16::from_le_bytes([low, high]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let length = u32::try_from(program.len()).unwrap_or(u32::MAX);
    sum.wrapping_add(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_client::reserved;

    /// A header at an even place, as linkers put it, and a room behind.
    fn program(checksum: u32, certificates: u32) -> Vec<u8> {
        let mut bytes = vec![0; 0x80 + BEFORE_OPTIONAL + 240];
        bytes[..2].copy_from_slice(b"MZ");
        bytes[HEADER_PLACE] = 0x80;
        bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
        let optional = 0x80 + BEFORE_OPTIONAL;
        bytes[optional..optional + 2].copy_from_slice(&PE32_PLUS.to_le_bytes());
        bytes[optional + CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
        bytes[optional + CERTIFICATES + 4..][..4].copy_from_slice(&certificates.to_le_bytes());
        bytes.extend(reserved::empty());
        bytes.push(0xff);
        bytes
    }

    #[test]
    fn a_checksum_is_made_anew_and_none_stays_none() {
        for before in [0, 12345] {
            let mut bytes = program(before, 0);
            change(&mut bytes, |room| room.fill(b"{}")).unwrap();
            let place = 0x80 + BEFORE_OPTIONAL + CHECKSUM;
            let after = word(&bytes, place).unwrap();
            if before == 0 {
                assert_eq!(after, 0);
                continue;
            }
            // Added up by another rule: all words as they are, folded at the end.
            let mut without = bytes.clone();
            without[place..place + 4].fill(0);
            without.push(0);
            let words = without.chunks(2).map(|pair| u64::from(pair[0]) + 256 * u64::from(pair[1]));
            let mut sum: u64 = words.sum();
            while sum > 0xffff {
                sum = (sum & 0xffff) + (sum >> 16);
            }
            assert_eq!(u64::from(after), sum + bytes.len() as u64);
        }
    }

    #[test]
    fn what_is_signed_or_is_no_program_is_left_alone() {
        let fill = |room: &mut Room<'_>| room.fill(b"{}");
        assert!(matches!(change(&mut program(0, 8), fill), Err(BakeError::Signed)));
        for length in [3, HEADER_PLACE + 2, 0x90, 0x80 + BEFORE_OPTIONAL + 20] {
            let mut cut = program(0, 0)[..length].to_vec();
            assert!(matches!(change(&mut cut, fill), Err(BakeError::Damaged(_))), "{length}");
        }
    }
}
