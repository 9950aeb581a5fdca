//! Programs of macOS: each page is hashed in the ad-hoc signature at the end, without which the
//! system does not start them. What is changed is hashed anew.
//!
//! Source: Apple's `cs_blobs.h` and `mach-o/loader.h`. Numbers of the file are little-endian, those of
//! the signature big-endian.

use std::ops::Range;

use dbt_core::digest::Digest;

use super::room::{BakeError, Room};

/// `MH_MAGIC_64`.
const MAGIC: u32 = 0xfeed_facf;
/// The size of `mach_header_64`.
const HEADER: usize = 32;
/// `LC_CODE_SIGNATURE`.
const CODE_SIGNATURE: u32 = 0x1d;
/// `CSMAGIC_EMBEDDED_SIGNATURE`.
const SUPER_BLOB: u32 = 0xfade_0cc0;
/// `CSMAGIC_CODEDIRECTORY`.
const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// `CSSLOT_SIGNATURESLOT`: the signature of an identity.
const SIGNATURE_SLOT: u32 = 0x1_0000;
/// The size of a blob with nothing in it.
const EMPTY_BLOB: u32 = 8;
/// `CS_HASHTYPE_SHA256`.
const SHA256: u8 = 2;
/// The size of such a hash.
const SHA256_SIZE: usize = 32;

/// Changes a program, and hashes the changed pages anew.
pub(super) fn change(
    program: &mut [u8],
    fill: impl FnOnce(&mut Room<'_>) -> Result<Range<usize>, BakeError>,
) -> Result<(), BakeError> {
    let directories = code_directories(program)?;
    // A page that does not fit its hash now would be taken for one that we have changed.
    for directory in &directories {
        directory.check(program)?;
    }
    let changed = fill(&mut Room::new(program))?;
    for directory in &directories {
        directory.hash(program, &changed)?;
        directory.check(program)?;
    }
    Ok(())
}

/// Where a code directory has the hashes of which pages.
#[derive(Debug, Clone, Copy)]
struct CodeDirectory {
    /// Where in the file the hash of the first page is.
    hashes: usize,
    pages: usize,
    /// How much of the file is hashed.
    limit: usize,
    page_size: usize,
}

impl CodeDirectory {
    /// Returns a page's place in the file.
    fn page(&self, index: usize) -> Option<Range<usize>> {
        let begin = index.checked_mul(self.page_size).filter(|begin| *begin < self.limit)?;
        Some(begin..begin.saturating_add(self.page_size).min(self.limit))
    }

    fn hash_place(&self, index: usize) -> Range<usize> {
        let begin = self.hashes.saturating_add(index.saturating_mul(SHA256_SIZE));
        begin..begin.saturating_add(SHA256_SIZE)
    }

    /// Compares every page with its hash.
    fn check(&self, program: &[u8]) -> Result<(), BakeError> {
        for index in 0..self.pages {
            let page = self.page(index).and_then(|page| program.get(page));
            let page = page.ok_or(BakeError::Damaged("its signature has too many pages"))?;
            if program.get(self.hash_place(index)) != Some(Digest::of(page).as_bytes().as_slice()) {
                return Err(BakeError::Damaged("a page does not fit its hash in the signature"));
            }
        }
        Ok(())
    }

    /// Hashes the pages anew that a change touches.
    fn hash(&self, program: &mut [u8], changed: &Range<usize>) -> Result<(), BakeError> {
        for index in 0..self.pages {
            let Some(page) = self.page(index) else { continue };
            if page.start >= changed.end || changed.start >= page.end {
                continue;
            }
            let digest = Digest::of(program.get(page).unwrap_or_default());
            let place = program.get_mut(self.hash_place(index));
            place
                .ok_or(BakeError::Damaged("its signature is cut off"))?
                .copy_from_slice(digest.as_bytes());
        }
        Ok(())
    }
}

/// Finds what hashes the pages; nothing, if the program is not signed at all.
fn code_directories(program: &[u8]) -> Result<Vec<CodeDirectory>, BakeError> {
    let Some(signature) = signature(program)? else { return Ok(Vec::new()) };
    let blob = Blob { program, begin: signature.start };
    if blob.u32(0)? != SUPER_BLOB {
        return Err(BakeError::Damaged("its signature is none"));
    }
    let count = blob.u32(8)?;
    let mut found = Vec::new();
    for index in 0..count.min(64) {
        let entry = 12 + 8 * size(index);
        let (slot, offset) = (blob.u32(entry)?, size(blob.u32(entry + 4)?));
        let inner = Blob { program, begin: signature.start.saturating_add(offset) };
        if slot == SIGNATURE_SLOT && inner.u32(4)? > EMPTY_BLOB {
            return Err(BakeError::Signed);
        }
        if inner.u32(0)? == CODE_DIRECTORY {
            found.push(inner.code_directory()?);
        }
    }
    if found.is_empty() {
        return Err(BakeError::Damaged("its signature hashes no pages"));
    }
    Ok(found)
}

/// Returns where the signature is.
fn signature(program: &[u8]) -> Result<Option<Range<usize>>, BakeError> {
    let cut = || BakeError::Damaged("its load commands are cut off");
    let word = |at: usize| {
        let bytes = program.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    };
    if word(0) != Some(MAGIC) {
        return Err(BakeError::Damaged("it is no 64-bit program for one processor"));
    }
    let mut at = HEADER;
    for _command in 0..word(16).ok_or_else(cut)? {
        let (command, length) = (word(at).ok_or_else(cut)?, word(at + 4).ok_or_else(cut)?);
        if command == CODE_SIGNATURE {
            let begin = size(word(at + 8).ok_or_else(cut)?);
            let end = begin.saturating_add(size(word(at + 12).ok_or_else(cut)?));
            return Ok(Some(begin..end));
        }
        at = at.checked_add(size(length)).filter(|_at| length >= 8).ok_or_else(cut)?;
    }
    Ok(None)
}

/// A part of the signature.
#[derive(Clone, Copy)]
struct Blob<'a> {
    program: &'a [u8],
    begin: usize,
}

impl Blob<'_> {
    fn u32(&self, at: usize) -> Result<u32, BakeError> {
        let begin = self.begin.saturating_add(at);
        let bytes = self.program.get(begin..begin.saturating_add(4));
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        Ok(u32::from_be_bytes(bytes.ok_or(BakeError::Damaged("its signature is cut off"))?))
    }

    fn byte(&self, at: usize) -> Result<u8, BakeError> {
        let byte = self.program.get(self.begin.saturating_add(at)).copied();
        byte.ok_or(BakeError::Damaged("its signature is cut off"))
    }

    /// Reads a `CS_CodeDirectory`.
    fn code_directory(&self) -> Result<CodeDirectory, BakeError> {
        let (hash_size, hash_type) = (self.byte(36)?, self.byte(37)?);
        if hash_type != SHA256 || usize::from(hash_size) != SHA256_SIZE {
            return Err(BakeError::HashType(hash_type));
        }
        let (hashes, pages, limit) = (self.u32(16)?, self.u32(28)?, self.u32(32)?);
        let page_size = 1_usize
            .checked_shl(u32::from(self.byte(39)?))
            .filter(|size| (512..=1 << 20).contains(size))
            .ok_or(BakeError::Damaged("its pages have a size that no system has"))?;
        let (pages, limit) = (size(pages), size(limit));
        // Every byte up to the signature must be hashed, or it could be anything.
        if limit.div_ceil(page_size) != pages || limit > self.begin {
            return Err(BakeError::Damaged("its signature does not hash all of it"));
        }
        let hashes = self.begin.saturating_add(size(hashes));
        Ok(CodeDirectory { hashes, pages, limit, page_size })
    }
}

/// Takes a number of the file as a place in it.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dbt_client::reserved;

    const PAGE: usize = 4096;

    /// A program with a room somewhere in its pages and an ad-hoc signature, as linkers make it.
    fn program(hash_type: u8, identity: bool) -> Vec<u8> {
        let mut text = vec![0x90; 3 * PAGE + 100];
        text.extend(reserved::empty());
        text.extend(vec![0x91; PAGE + 7]);
        let limit = text.len() + HEADER + 24 + 16;
        let mut bytes = Vec::new();
        for word in [MAGIC, 0x0100_000c, 0, 2, 2, 40, 0, 0] {
            bytes.extend(u32::to_le_bytes(word));
        }
        // A command that means nothing here, and the one of the signature.
        for word in [0x1b, 24, 1, 2, 3, 4] {
            bytes.extend(u32::to_le_bytes(word));
        }
        for word in [CODE_SIGNATURE, 16, u32::try_from(limit).unwrap(), 0] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&text);
        assert_eq!(bytes.len(), limit);
        let pages: Vec<&[u8]> = bytes.chunks(PAGE).collect();
        let mut directory = Vec::new();
        let (ident, count) = (44, u32::try_from(pages.len()).unwrap());
        for word in [CODE_DIRECTORY, 0, 0x2_0400, 2, ident + 4, ident, 0, count] {
            directory.extend(word.to_be_bytes());
        }
        directory.extend(u32::try_from(limit).unwrap().to_be_bytes());
        directory.extend([32, hash_type, 0, 12]);
        directory.extend([0; 4]);
        directory.extend(b"dbt\0");
        for page in &pages {
            directory.extend(Digest::of(page).as_bytes());
        }
        let after = 12 + 16 + u32::try_from(directory.len()).unwrap();
        let mut signature = Vec::new();
        for word in [SUPER_BLOB, 0, 2, 0, 28, SIGNATURE_SLOT, after] {
            signature.extend(word.to_be_bytes());
        }
        signature.extend(directory);
        signature.extend(0xfade_0b01_u32.to_be_bytes());
        signature.extend((if identity { 100_u32 } else { EMPTY_BLOB }).to_be_bytes());
        bytes.extend(signature);
        bytes
    }

    #[test]
    fn every_page_fits_its_hash_afterwards_and_no_other_byte_has_changed() {
        let before = program(SHA256, false);
        let mut after = before.clone();
        let settings = br#"{"url": "https://dbt.example.com"}"#;
        let mut place = 0..0;
        change(&mut after, |room| {
            place = room.fill(settings)?;
            Ok(place.clone())
        })
        .unwrap();
        assert_eq!(reserved::settings_in(&after), Some(settings.as_slice()));

        // All of them, by the format alone and not by the code above.
        let limit = after.len() - (before.len() - limit_of(&before));
        let hashes = limit + 28 + 48;
        let mut changed = Vec::new();
        for (index, page) in after[..limit].chunks(PAGE).enumerate() {
            let at = hashes + 32 * index;
            assert_eq!(&after[at..at + 32], Digest::of(page).as_bytes(), "page {index}");
            if after[at..at + 32] != before[at..at + 32] {
                changed.push(index);
            }
        }
        assert_eq!(changed, [place.start / PAGE]);
        assert_eq!(after[..place.start], before[..place.start]);
        assert_eq!(after[place.end..hashes], before[place.end..hashes]);
        assert_eq!(after.len(), before.len());
    }

    fn limit_of(program: &[u8]) -> usize {
        signature(program).unwrap().unwrap().start
    }

    #[test]
    fn a_room_over_several_pages_has_all_of_them_hashed() {
        let mut program = program(SHA256, false);
        let settings = vec![b' '; reserved::ROOM - 36];
        change(&mut program, |room| room.fill(&settings)).unwrap();
        for directory in code_directories(&program).unwrap() {
            directory.check(&program).unwrap();
        }
    }

    #[test]
    fn what_cannot_be_signed_anew_or_does_not_fit_is_left_alone() {
        let fill = |room: &mut Room<'_>| room.fill(b"{}");
        let refused = |mut program: Vec<u8>| change(&mut program, fill).unwrap_err().to_string();
        assert!(refused(program(SHA256, true)).contains("signed already"));
        assert!(refused(program(1, false)).contains("type 1"));
        let mut damaged = program(SHA256, false);
        damaged[PAGE + 1] ^= 1;
        assert!(refused(damaged).contains("a page does not fit its hash"));
        for length in [10, HEADER + 4, PAGE, program(SHA256, false).len() - 60] {
            let cut = program(SHA256, false)[..length].to_vec();
            assert!(change(&mut cut.clone(), fill).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_not_signed_at_all_stays_so() {
        let mut bytes = program(SHA256, false);
        // The command means something else.
        bytes[HEADER + 24] = 0x1b;
        change(&mut bytes, |room| room.fill(b"{}")).unwrap();
        assert_eq!(reserved::settings_in(&bytes), Some(b"{}".as_slice()));
    }
}
