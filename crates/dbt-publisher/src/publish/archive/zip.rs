//! zip archives (APPNOTE 6.3): stored or deflated, without encryption and below 4 GiB.
//!
//! The directory at the end decides what there is. An entry whose own header disagrees with it is
//! refused: readers that go by the one would see another program than those that go by the other.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use dbt_core::trust::ARTIFACT_LIMIT;
use flate2::Crc;
use flate2::read::DeflateDecoder;

use super::{Entry, Problem, Taken, copy};

/// The record at the end, without the comment that may follow it.
const END: usize = 22;

/// The longest comment.
const COMMENT_LIMIT: u64 = 0xffff;

/// The most bytes of the directory.
const DIRECTORY_LIMIT: u64 = 32 << 20;

const NOT_ZIP: Problem = Problem::Format("it is not a zip archive, or a damaged one");
const DISAGREES: Problem = Problem::Format("its directory and its entries say different things");

/// Finds and unpacks what is wanted.
pub(super) fn read(mut archive: File, taken: &mut Taken<'_>) -> Result<(), Problem> {
    let directory = directory_of(&mut archive)?;
    let mut rest = directory.as_slice();
    while !rest.is_empty() {
        let (member, after) = Member::first(rest)?;
        rest = after;
        if let Some(program) = taken.meet(&member.path, member.entry())? {
            member.unpack(&mut archive, program)?;
        }
    }
    Ok(())
}

fn directory_of(archive: &mut File) -> Result<Vec<u8>, Problem> {
    let length = archive.seek(SeekFrom::End(0)).map_err(Problem::Read)?;
    let tail = length.min(END as u64 + COMMENT_LIMIT);
    let tail = read_at(archive, length - tail, tail)?;
    let last = tail.len().checked_sub(END).ok_or(NOT_ZIP)?;
    // The comment reaches to the end, so that a record within a comment is none.
    let is_end = |at: &usize| {
        let comment = u16_at(&tail, at + 20).map(usize::from);
        tail.get(*at..).is_some_and(|from| from.starts_with(b"PK\x05\x06"))
            && comment == Some(last - at)
    };
    let end = (0..=last).rev().find(is_end).ok_or(NOT_ZIP)?;
    let size = u64::from(u32_at(&tail, end + 12).ok_or(NOT_ZIP)?);
    let from = u64::from(u32_at(&tail, end + 16).ok_or(NOT_ZIP)?);
    if size == u64::from(u32::MAX) || from == u64::from(u32::MAX) {
        return Err(Problem::Format("it is a ZIP64 archive, which is not read"));
    }
    if size > DIRECTORY_LIMIT || from + size > length {
        return Err(NOT_ZIP);
    }
    read_at(archive, from, size)
}

/// An entry of the directory.
struct Member {
    path: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u64,
    length: u64,
    /// The upper half is a mode of unix, where one was written.
    attributes: u32,
    at: u64,
}

impl Member {
    fn first(directory: &[u8]) -> Result<(Self, &[u8]), Problem> {
        let parse = || {
            if !directory.starts_with(b"PK\x01\x02") {
                return None;
            }
            let half = |at| u16_at(directory, at);
            let word = |at| u32_at(directory, at);
            let (path, extra, comment) = (half(28)?, half(30)?, half(32)?);
            let path_end = 46 + usize::from(path);
            let member = Self {
                path: directory.get(46..path_end)?.to_vec(),
                flags: half(8)?,
                method: half(10)?,
                crc: word(16)?,
                packed: u64::from(word(20)?),
                length: u64::from(word(24)?),
                attributes: word(38)?,
                at: u64::from(word(42)?),
            };
            let rest = directory.get(path_end + usize::from(extra) + usize::from(comment)..)?;
            Some((member, rest))
        };
        parse().ok_or(NOT_ZIP)
    }

    fn entry(&self) -> Entry {
        match self.attributes >> 28 {
            0xa => Entry::Link,
            0 | 8 => Entry::File,
            _ => Entry::Other,
        }
    }

    fn unpack(&self, archive: &mut File, to: &mut File) -> Result<(), Problem> {
        if self.flags & 1 != 0 {
            return Err(Problem::Format("it is encrypted"));
        }
        if self.length > ARTIFACT_LIMIT {
            return Err(Problem::TooLarge);
        }
        let header = read_at(archive, self.at, 30)?;
        let path = u16_at(&header, 26).ok_or(DISAGREES)?;
        let extra = u16_at(&header, 28).ok_or(DISAGREES)?;
        let named = read_at(archive, self.at + 30, u64::from(path))?;
        let same = header.starts_with(b"PK\x03\x04")
            && named == self.path
            && u16_at(&header, 8) == Some(self.method);
        if !same {
            return Err(DISAGREES);
        }
        let from = self.at + 30 + u64::from(path) + u64::from(extra);
        archive.seek(SeekFrom::Start(from)).map_err(Problem::Read)?;
        let packed = archive.take(self.packed);
        let mut checked = Checked { to, crc: Crc::new() };
        let mut rest = [0_u8; 1];
        let more = match self.method {
            0 if self.packed != self.length => return Err(DISAGREES),
            0 => {
                copy(packed, &mut checked, self.length)?;
                0
            }
            8 => {
                let mut unpacked = DeflateDecoder::new(packed);
                copy(&mut unpacked, &mut checked, self.length)?;
                unpacked.read(&mut rest).map_err(Problem::Read)?
            }
            _ => return Err(Problem::Format("it is compressed by a method that is not read")),
        };
        if more != 0 || checked.crc.sum() != self.crc {
            return Err(Problem::Format("its content is damaged"));
        }
        Ok(())
    }
}

/// Computes the sum of what is written through it.
struct Checked<'a> {
    to: &'a mut File,
    crc: Crc,
}

impl Write for Checked<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.crc.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

fn read_at(archive: &mut File, from: u64, length: u64) -> Result<Vec<u8>, Problem> {
    archive.seek(SeekFrom::Start(from)).map_err(Problem::Read)?;
    let mut bytes = Vec::new();
    copy(archive, &mut bytes, length)?;
    Ok(bytes)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
